# SPDX-License-Identifier: Apache-2.0
# Sourced by the scripts beside it.
set -u
failures=0
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

fail() {
  echo "FAILED: $*"
  failures=$((failures + 1))
}

# check WHAT COMMAND...: the command must succeed.
check() {
  local what=$1
  shift
  "$@" >/dev/null || fail "$what"
}

need_jq() {
  command -v jq >/dev/null && return
  echo "needs jq"
  exit 77
}

finish() {
  [ "$failures" -eq 0 ] && echo "all as promised" && exit 0
  exit 1
}
