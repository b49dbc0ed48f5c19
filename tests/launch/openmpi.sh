#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# openmpi.sh WEFT-PERF RANK-PRINT: OpenMPI's mpirun, whose store is PMIx.
. "$(dirname "$0")/lib.sh"
need mpirun.openmpi openmpi-bin

expect_ranks 1 mpirun.openmpi -n 1 "$rank_print"
expect_ranks 3 mpirun.openmpi -n 3 "$rank_print"
expect_perf 2 mpirun.openmpi -n 2 "$perf" all_reduce -e 1M --iters 5
# A rank that fails is the job's end, and no hang.
expect_failure mpirun.openmpi -n 3 "$rank_print" fail
# A launcher inside a launcher: --ranks starts a job of its own in each process.
expect_perf 2 mpirun.openmpi -n 1 "$perf" all_reduce --ranks 2 -e 4K --iters 2
expect_refusal 'but PMIx says' mpirun.openmpi -n 2 -x RANK=0 -x WORLD_SIZE=8 "$rank_print"
finish
