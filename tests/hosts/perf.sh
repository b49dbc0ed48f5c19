#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# perf.sh HOSTS WEFT-PERF LARGEST: ring and tree all-reduce among hosts, 4 bytes and up: zero wrong.
. "$(dirname "$0")/lib.sh"
hosts_make "$1"
for algorithm in ring tree; do
  hosts_run "$2" all_reduce --algorithm $algorithm -b 4 -e "$3" -f 8 --iters 3
  code=$?
  cat "$scratch/out.0"
  if [ $code -ne 0 ] || ! grep -q '^# wrong elements: 0$' "$scratch/out.0"; then
    fail "$algorithm among $1 hosts (exit code $code)"
    tail -n 3 "$scratch"/out.*
  fi
  grep -q 'transport .*tcp' "$scratch/out.0" || fail "hosts did not use TCP"
done
finish
