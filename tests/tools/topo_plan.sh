#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# topo_plan.sh WEFT-TOPO: plans are printed and proved right.
. "$(dirname "$0")/lib.sh"
topo=$1

for collective in all_reduce broadcast barrier; do
  for algorithm in ring tree; do
    "$topo" plan --ranks 5 --collective $collective --algorithm $algorithm >"$scratch/text" 2>"$scratch/err"
    code=$?
    # An algorithm that a collective does not have is named so; what there is, is proved.
    if [ $code -ne 0 ]; then
      grep -q unsupported "$scratch/err" || fail "$collective $algorithm: $(cat "$scratch/err")"
      [ $collective = all_reduce ] && fail "all_reduce has no $algorithm"
      continue
    fi
    grep -q "^proved right: " "$scratch/err" || fail "$collective $algorithm is not proved"
    grep -q "^collective $collective$" "$scratch/text" || fail "$collective $algorithm prints something else"
  done
done
[ "$("$topo" plan --ranks 4 --rank 2 2>/dev/null | grep -c '^rank ')" -eq 1 ] || fail "--rank prints more than one rank"
need_jq
"$topo" plan --ranks 3 --json 2>/dev/null | jq -e '.ranks == 3' >/dev/null || fail "--json has no ranks"
finish
