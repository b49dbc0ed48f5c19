#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# symbols.sh HEADERS NM SHARED STATIC: both libraries export what the headers declare WEFT_API, no more and no less.
set -eu
headers=$1 nm=$2 shared=$3 static=$4
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

sed -n 's/^WEFT_API .*[ *]\(weft_[a-z0-9_]*\)(.*/\1/p' "$headers"/*.h | sort >"$work/declared"
declarations=$(cat "$headers"/*.h | grep -c '^WEFT_API')
if [ "$(wc -l <"$work/declared")" -ne "$declarations" ]; then
  echo "a WEFT_API declaration does not have its function's name on its first line: this test cannot read it"
  exit 1
fi
# The version's own name is an absolute symbol, which is no function.
"$nm" --dynamic --defined-only "$shared" | awk '$2 != "A" { sub(/@.*/, "", $3); print $3 }' | sort >"$work/shared"
"$nm" --extern-only --defined-only "$static" | awk 'NF == 3 { print $3 }' | sort >"$work/static"

status=0
for library in shared static; do
  for name in $(comm -23 "$work/declared" "$work/$library"); do
    echo "$library: $name is declared, but not exported (is it in library/weft.map?)"
    status=1
  done
  for name in $(comm -13 "$work/declared" "$work/$library"); do
    echo "$library: $name is exported, but declared in no public header"
    status=1
  done
done
[ $status -ne 0 ] || echo "$declarations functions declared and exported"
exit $status
