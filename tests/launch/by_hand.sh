#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# by_hand.sh WEFT-PERF RANK-PRINT: two shells, and the environment that torchrun makes.
. "$(dirname "$0")/lib.sh"

umask 077
od -An -N32 -tx1 /dev/urandom | tr -d ' \n' >"$scratch/key"
export WEFT_KEY_FILE=$scratch/key MASTER_ADDR=127.0.0.1 MASTER_PORT=29500

# shells COUNT COMMAND...: one shell a rank, each with RANK and WORLD_SIZE.
shells() {
  local count=$1 rank worst=0 pids=()
  shift
  for ((rank = 0; rank < count; rank++)); do
    RANK=$rank WORLD_SIZE=$count timeout -k 5 100 "$@" &
    pids+=($!)
  done
  for pid in "${pids[@]}"; do wait "$pid" || worst=1; done
  return $worst
}
export -f shells

two() {
  bash -c 'shells "$@"' bash "$@"
}
export -f two

expect_ranks 2 bash -c 'two "$@"' bash 2 "$rank_print"
expect_ranks 5 bash -c 'two "$@"' bash 5 "$rank_print"
expect_perf 2 bash -c 'two "$@"' bash 2 "$perf" all_reduce -e 1M --iters 5

# A restarted job of torchrun's is another one than its predecessor.
export TORCHELASTIC_RUN_ID=run TORCHELASTIC_RESTART_COUNT=0
expect_ranks 2 bash -c 'two "$@"' bash 2 "$rank_print"
export WEFT_DEADLINE=2s
# shellcheck disable=SC2016 # for the inner shell
expect_refusal 'deadline' bash -c 'two "$@"' bash 2 bash -c 'TORCHELASTIC_RESTART_COUNT=$RANK exec "$@"' bash "$rank_print"
# As are two jobs with different keys.
unset TORCHELASTIC_RUN_ID TORCHELASTIC_RESTART_COUNT
for rank in 0 1; do od -An -N32 -tx1 /dev/urandom | tr -d ' \n' >"$scratch/key$rank"; done
# shellcheck disable=SC2016
expect_refusal 'deadline' bash -c 'two "$@"' bash 2 bash -c 'WEFT_KEY_FILE=$WEFT_KEY_FILE$RANK exec "$@"' bash "$rank_print"
unset WEFT_KEY_FILE
expect_refusal 'there is no key to trust the other ranks by' env RANK=0 WORLD_SIZE=2 "$rank_print"
finish
