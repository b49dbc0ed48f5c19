# SPDX-License-Identifier: Apache-2.0
# Sourced by the scripts beside it, with the programs' paths: PERF weft-perf, RANK_PRINT, LIBRARY the shared library.
set -u
perf=$1 rank_print=$2
failures=0
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# What somebody's own launcher left in the environment must not decide how this goes.
for variable in ${!WEFT_@} ${!SLURM@} ${!PMIX_@} ${!PMI_@} ${!OMPI_@} ${!TORCHELASTIC_@} RANK WORLD_SIZE MASTER_ADDR MASTER_PORT; do
  unset "$variable"
done
# Debian's OpenMPI wants to be told twice that root may use it, and that two cores may carry more ranks.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
export WEFT_DEADLINE=60s

fail() {
  echo "FAILED: $*"
  sed 's/^/    /' "$scratch/out" "$scratch/err"
  failures=$((failures + 1))
}

need() {
  command -v "$1" >/dev/null && return
  echo "needs $1 (Debian: $2)"
  exit 77
}

# run COMMAND...: within two minutes, its output in $scratch/out and $scratch/err.
run() {
  timeout -k 5 120 "$@" >"$scratch/out" 2>"$scratch/err" </dev/null
}

# expect_ranks N COMMAND...: every rank joins, twice, and says so.
expect_ranks() {
  local count=$1 rank expected=
  shift
  for ((rank = 0; rank < count; rank++)); do expected+="rank $rank of $count"$'\n'; done
  if ! run "$@"; then
    fail "exit code of $*"
  elif [ "$(sort -V "$scratch/out")"$'\n' != "$expected" ]; then
    fail "ranks of $*"
  else
    echo "passed: $*"
  fi
}

# expect_perf N COMMAND...: weft-perf in the last words finds no wrong element over that many ranks.
expect_perf() {
  local count=$1
  shift
  if run "$@" && grep -q '^# wrong elements: 0$' "$scratch/out" && grep -qw "$count ranks" "$scratch/out"; then
    echo "passed: $*"
  else
    fail "$*"
  fi
}

# expect_refusal SENTENCE COMMAND...: it fails, and says why.
expect_refusal() {
  local sentence=$1
  shift
  if run "$@"; then
    fail "success of $*"
  elif ! grep -qF -- "$sentence" "$scratch/err" "$scratch/out"; then
    fail "no '$sentence' from $*"
  else
    echo "passed: refused: $*"
  fi
}

# expect_failure COMMAND...: it fails, and does not hang. What it says depends on whom the launcher kills first.
expect_failure() {
  run "$@"
  case $? in
  0) fail "success of $*" ;;
  124 | 137) fail "no end of $*" ;;
  *) echo "passed: failed: $*" ;;
  esac
}

finish() {
  [ "$failures" -eq 0 ] && echo "all as promised" && exit 0
  exit 1
}
