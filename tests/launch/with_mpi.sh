#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# with_mpi.sh WEFT-PERF RANK-PRINT openmpi|mpich SOURCE-DIR LIBRARY: a program that uses MPI and weft in one process.
. "$(dirname "$0")/lib.sh"
mpi=$3 source=$4 library=$5
need "mpirun.$mpi" "$mpi"
need "mpicc.$mpi" "lib$mpi-dev"

program=$scratch/with_mpi
"mpicc.$mpi" -std=gnu11 -Wall -I "$source/include" "$source/tests/launch/with_mpi.c" "$library" \
  -Wl,-rpath,"$(dirname "$library")" -o "$program" || exit 1

if [ "$mpi" = openmpi ]; then # both count their references to PMIx
  expect_ranks 2 mpirun.openmpi -n 2 "$program" first
  expect_ranks 2 mpirun.openmpi -n 2 "$program" last
else # MPI owns the descriptor, whether it has begun to use it or not
  expect_refusal 'this program uses MPI, to which PMI_FD belongs' mpirun.mpich -n 2 "$program" first
  expect_refusal 'this program uses MPI, to which PMI_FD belongs' mpirun.mpich -n 2 "$program" last
fi
expect_ranks 2 "mpirun.$mpi" -n 2 "$program" id
finish
