#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# perf_failure.sh WEFT-PERF: when a rank is killed, the others end with an error that names it; a call that is refused
# ends with the reason.
. "$(dirname "$0")/lib.sh"
perf=$1

"$perf" scatter --ranks 2 -e 8 --algorithm ring >/dev/null 2>"$scratch/err"
[ $? -eq 1 ] || fail "a refused call does not end with 1"
grep -q 'scatter refused: .*ring.*; there is tree direct' "$scratch/err" || fail "no other algorithms than ring are named"

"$perf" all_reduce --ranks 3 -b 256K -e 256K --iters 100000000 >"$scratch/out" 2>"$scratch/err" &
supervisor=$!
victim=
for _ in $(seq 400); do
  sleep 0.1
  grep -q '^# ' "$scratch/out" || continue # the communicator stands
  for pid in $(cat "/proc/$supervisor/task/$supervisor/children" 2>/dev/null); do
    tr '\0' '\n' <"/proc/$pid/environ" 2>/dev/null | grep -qx 'RANK=1' && victim=$pid
  done
  [ -n "$victim" ] && break
done
if [ -z "$victim" ]; then
  kill "$supervisor"
  fail "rank 1 was not found among the supervisor's children"
  finish
fi
sleep 0.2
kill -9 "$victim"
wait "$supervisor"
code=$?
[ $code -ne 0 ] || fail "exit code 0 after a rank was killed"
for survivor in 0 2; do
  grep -qE "^weft-perf: rank $survivor: peer_failed: rank 1 " "$scratch/err" || fail "rank $survivor does not name rank 1"
done
grep -qE 'rank 1 .*killed' "$scratch/err" || fail "the supervisor does not say that rank 1 was killed"
[ $failures -eq 0 ] || cat "$scratch/err"
finish
