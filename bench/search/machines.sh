#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# bench/search/machines.sh [WEFT-TOPO] [FILE...]   all-gather's bound, what the search reaches of it, and how long it takes
#
# WEFT-TOPO is build/release's where none is named; FILEs are the project's descriptions of well-known machines.
# Times are of the whole command, reading included. Needs jq.
set -euo pipefail
repository=$(cd "$(dirname "$0")/../.." && pwd)
case ${1-} in
-h | --help)
  sed -n '3,6s/^# *//p' "$0"
  exit 0
  ;;
esac
topo=${1:-$repository/build/release/tools/topo/weft-topo}
[ $# -eq 0 ] || shift
[ $# -gt 0 ] || set -- "$repository"/tests/topology/machines/*.yaml
[ -x "$topo" ] || {
  echo "machines.sh: $topo is not a program; build weft-topo, or name it" >&2
  exit 2
}
command -v jq >/dev/null || {
  echo "machines.sh: needs jq" >&2
  exit 2
}
printf '%-20s %6s %14s %8s %14s %6s %8s\n' machine ranks 'bound GB/s' reached 'rings GB/s' rings seconds
for file in "$@"; do
  begin=$EPOCHREALTIME
  "$topo" plan "$file" --collective all_gather --json 2>/dev/null |
    jq -r '[.ranks, .bound_algbw_gbps, .gap, .ring_algbw_gbps, (.rings | length)] | map(. // "-") | @tsv' |
    while IFS=$'\t' read -r ranks bound gap ring rings; do
      printf '%-20s %6s %14.8s %8.6s %14.8s %6s %8.3f\n' "$(basename "$file" .yaml)" "$ranks" "$bound" "$gap" "$ring" \
        "$rings" "$(awk -v a="$begin" -v b="$EPOCHREALTIME" 'BEGIN { print b - a }')"
    done
done
