# SPDX-License-Identifier: Apache-2.0
# Sourced. files PATTERN...: the project's files with such a name, relative to the current folder, sorted; build trees
# and what version control keeps for itself are left out.

files() {
  expression=
  for pattern in "$@"; do
    expression="$expression${expression:+ -o} -name $pattern"
  done
  set -f # the patterns are for find
  # shellcheck disable=SC2086 # the expression is words
  find . \( -name .git -o -path './build*' -o -path ./out \) -prune -o -type f \( $expression \) -print | sed 's|^\./||' |
    sort
  set +f
}
