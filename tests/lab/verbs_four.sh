#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# verbs_four.sh WEFT-PERF LAB-STEADY: three and four machines: right results, and a machine that dies is named by all
# others within their deadline.
. "$(dirname "$0")/lib.sh"

if [ "${1-}" = inside ]; then
  . "$here/ranks.sh"
  perf=$2 steady=$3
  for world in 3 4; do
    export WORLD_SIZE=$world
    for algorithm in ring tree; do
      if [ "$RANK" -lt $world ]; then
        perf_right $algorithm$world --algorithm $algorithm -b 4 -e 4M -f 64 --iters 1 --warmup 0
      else
        ranks_run $algorithm$world true
      fi
    done
  done

  export WEFT_KEEPALIVE=8s
  steady_start death 10000
  lab_meet death
  died=$EPOCHREALTIME
  [ "$RANK" -ne 0 ] || lab_request kill 3
  wait $steady_pid && wrong "a machine died, and rank $RANK ends well"
  took=$(((${EPOCHREALTIME/./} - ${died/./}) / 1000))
  echo "after $took ms: $(tail -n 1 "$LAB_SHARE/death.$RANK")"
  grep -q 'peer_failed: .*rank 3' "$LAB_SHARE/death.$RANK" || wrong "rank $RANK does not name rank 3"
  [ $took -lt 24000 ] || wrong "rank $RANK needs three times its deadline of 8 s"
  exit $status
fi

lab four --vms 4 --cpus 1 --timeout 280 -- "$here/verbs_four.sh" inside "$@" || fail "exit code $?"
finish
