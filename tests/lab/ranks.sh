# SPDX-License-Identifier: Apache-2.0
# Sourced inside the machines by the tests of whole programs: one run after the other, judged on rank 0.
. "$(dirname "${BASH_SOURCE[0]}")/in_guest.sh"
# An emulated processor that others use may answer late: patience of 2 s instead of half a second.
# Soft-RoCE takes 7 retries for "for ever".
export WEFT_TRANSPORT=verbs WEFT_VERBS_TIMEOUT=16 WEFT_VERBS_RETRIES=6
runs=0
status=0

wrong() {
  echo "WRONG: $*"
  status=1
}

# ranks_run NAME COMMAND...: all machines run it together, at a port of their own. Its output is in $LAB_SHARE/NAME.RANK,
# its seconds are printed. Returns its code.
ranks_run() {
  local name=$1 begin=$EPOCHREALTIME code
  shift
  runs=$((runs + 1))
  export WEFT_PORT=$((29600 + runs))
  "$@" >"$LAB_SHARE/$name.$RANK" 2>&1
  code=$?
  lab_meet "after.$name"
  [ "$RANK" -ne 0 ] || echo "$name: exit code $code after $(((${EPOCHREALTIME/./} - ${begin/./}) / 1000)) ms"
  return $code
}

# perf_right NAME OPTIONS...: an all-reduce of weft-perf with these options goes over RDMA, and no element is wrong.
perf_right() {
  local name=$1
  shift
  ranks_run "$name" "$perf" all_reduce "$@" || {
    wrong "$name: exit code $?"
    tail -n 5 "$LAB_SHARE/$name.$RANK"
  }
  [ "$RANK" -eq 0 ] || return 0
  grep -q '^# wrong elements: 0$' "$LAB_SHARE/$name.0" || wrong "$name: $(grep 'wrong elements' "$LAB_SHARE/$name.0")"
  grep -q '^# .*transport .*verbs' "$LAB_SHARE/$name.0" || wrong "$name: not over verbs"
}

# steady_start NAME ELEMENTS: lab_steady in the background; returns when it has begun on rank 0.
steady_start() {
  runs=$((runs + 1))
  WEFT_PORT=$((29600 + runs)) "$steady" "$2" "$LAB_SHARE/$1.stop" >"$LAB_SHARE/$1.$RANK" 2>&1 &
  steady_pid=$!
  until grep -qs begun "$LAB_SHARE/$1.0" || ! kill -0 $steady_pid; do lab_sleep 0.2; done
}

# steady_end NAME: it ends well, and no element was wrong.
steady_end() {
  touch "$LAB_SHARE/$1.stop"
  wait $steady_pid || wrong "$1: exit code $?"
  grep -q ' 0 elements wrong' "$LAB_SHARE/$1.$RANK" || wrong "$1: $(tail -n 3 "$LAB_SHARE/$1.$RANK")"
}
