# SPDX-License-Identifier: Apache-2.0
# Sourced by the tests beside it, on the host.
set -u
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
failures=0
scratch=$(mktemp -d "${TMPDIR:-/tmp}/weft-lab-test.XXXXXX")
trap 'rm -rf "$scratch"' EXIT

fail() {
  echo "FAILED: $*"
  failures=$((failures + 1))
}

# lab NAME OPTIONS... -- COMMAND...: one run; its output is in $scratch/NAME, and printed too. Exits with 77 when this
# machine has no lab. Returns the lab's code.
lab() {
  local name=$1 code
  shift
  TMPDIR=$scratch "$here/run" "$@" >"$scratch/$name" 2>&1
  code=$?
  if [ $code -eq 77 ]; then
    cat "$scratch/$name"
    exit 77
  fi
  sed "s/^/$name | /" "$scratch/$name"
  return $code
}

# has NAME PATTERN: a line of that run's output matches.
has() {
  grep -qE "$2" "$scratch/$1" || fail "$1: no line matches \"$2\""
}

finish() {
  [ "$failures" -eq 0 ] && echo "all as promised" && exit 0
  echo "$failures failed"
  exit 1
}
