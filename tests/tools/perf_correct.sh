#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# perf_correct.sh WEFT-PERF LARGEST: no wrong element from 4 bytes up, ring and tree, 2, 3 and 5 ranks; then the other
# collectives, types and reductions at sizes that do not divide evenly.
. "$(dirname "$0")/lib.sh"
perf=$1 largest=$2

right() {
  "$perf" "$@" --warmup 1 >"$scratch/out" 2>"$scratch/err"
  local code=$?
  [ $code -eq 0 ] && grep -qE '^# wrong elements: 0$' "$scratch/out" && return
  fail "$* (exit code $code)"
  cat "$scratch/out" "$scratch/err"
}

for algorithm in ring tree; do
  for ranks in 2 3 5; do
    right all_reduce --ranks $ranks --algorithm $algorithm -b 4 -e "$largest" -f 4 --iters 3
  done
done
for ranks in 2 4; do
  right all_reduce --ranks $ranks --transport tcp -b 4 -e "$largest" -f 8 --iters 3
done
for root in 0 2; do
  right broadcast --ranks 3 --root $root -b 4 -e 1M -f 16 --iters 3
done
# Every collective, whatever algorithm suits its size, over either transport; blocks that are no power of two.
for collective in reduce_scatter all_gather reduce gather scatter all_to_all all_to_allv send_recv; do
  for transport in shm tcp; do
    right $collective --ranks 3 --transport $transport -b 12 -e 1M -f 37 --iters 2
  done
done
for root in 1 2; do
  for collective in reduce gather scatter; do
    right $collective --ranks 3 --root $root -b 24 -e 100K -f 50 --iters 2
  done
done
for collective in reduce_scatter reduce; do
  for dtype in float16 float8_e4m3 int64; do
    right $collective --ranks 3 --dtype $dtype --op avg -b 1000 -e 10000 -f 10 --iters 2
  done
done
for dtype in float32 float64 float16 bfloat16 float8_e4m3 float8_e5m2 int8 uint8 int32 uint32 int64 uint64; do
  for op in sum prod min max avg premul_sum; do
    right all_reduce --ranks 3 --dtype $dtype --op $op -b 1000 -e 100000 -f 10 --iters 2
  done
done
for collective in all_reduce reduce_scatter reduce broadcast; do
  right $collective --ranks 5 --canonical --dtype bfloat16 -b 1000 -e 1M -f 30 --iters 2
done
finish
