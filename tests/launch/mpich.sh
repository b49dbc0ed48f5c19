#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# mpich.sh WEFT-PERF RANK-PRINT: MPICH's mpirun, whose store is PMI-1.
. "$(dirname "$0")/lib.sh"
need mpirun.mpich mpich

expect_ranks 1 mpirun.mpich -n 1 "$rank_print"
expect_ranks 3 mpirun.mpich -n 3 "$rank_print"
expect_perf 2 mpirun.mpich -n 2 "$perf" all_reduce -e 1M --iters 5
expect_failure mpirun.mpich -n 3 "$rank_print" fail
expect_perf 2 mpirun.mpich -n 1 "$perf" all_reduce --ranks 2 -e 4K --iters 2
# The launcher's descriptor does not survive every wrapper. What ranks say when they fail may get lost on its way through
# mpirun, which ends everybody at once, so it goes to a file.
wrapper='PMI_FD=99 exec "$@" 2>>"$0"'
expect_refusal 'which is no open socket' bash -c 'mpirun.mpich -n 2 bash -c "$1" "$0" "$2" && exit; cat "$0" >&2; exit 1' \
  "$scratch/said" "$wrapper" "$rank_print"
finish
