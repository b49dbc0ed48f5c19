#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# man_pages.sh ROOT BUILT-PAGES WEFT-PERF WEFT-TOPO: every function, option and variable is in the manual, which lints clean.
. "$(dirname "$0")/lib.sh"
root=$1 built=$2 perf=$3 topo=$4
pages=$root/docs/man

# The page that FUNCTION's page is, following an alias.
page_of() {
  if [ -f "$pages/$1.3" ]; then
    echo "$pages/$1.3"
  elif [ -f "$built/$1.3" ]; then
    sed -n "s|^\.so man3/|$pages/|p" "$built/$1.3"
  fi
}

functions=$(sed -n '/^WEFT_API/,/;/p' "$root"/include/weft/*.h | grep -oE '\bweft_[a-z_]+ *\(' | tr -d ' (' | sort -u)
[ -n "$functions" ] || fail "no functions found in the headers"
for function in $functions; do
  page=$(page_of "$function")
  if [ -z "$page" ]; then
    fail "$function has no page"
  else
    grep -qE "^\.B .*\b$function\(" "$page" || fail "$page does not show how $function is called"
    sed -n '/^\.SH NAME/,/^\.SH SYNOPSIS/p' "$page" | grep -qw "$function" || fail "$page does not name $function"
  fi
done

# plain PAGE: its words, with the escapes for hyphens taken out.
plain() {
  sed 's/\\-/-/g; s/\\f.//g' "$1"
}
for option in $("$perf" --help | grep -oE '^  --?[a-z-]+' | tr -d ' '); do
  plain "$pages/weft-perf.1" | grep -qE -- "(^|[ \"])$option( |\"|,|$)" || fail "weft-perf.1 lacks $option"
done
for option in $(for sub in show check plan simulate; do "$topo" $sub --help | grep -oE '^  --?[a-z-]+'; done); do
  plain "$pages/weft-topo.1" | grep -qE -- "(^|[ \"])$option( |\"|,|$)" || fail "weft-topo.1 lacks $option"
done
for variable in $(grep -oE '\bWEFT_[A-Z_]+\b' "$root/base/config.h" | sort -u); do
  grep -qE "^ *X\([a-z_]+, $variable," "$root/base/config.h" || continue
  grep -qx "\.B $variable" "$built/weft.7" || fail "weft.7 lacks $variable"
done
for reference in $(cat "$pages"/*.[137] "$built/weft.7" | sed -n 's/^\.BR \(weft[a-z_-]*\) (\([137]\)).*/\1.\2/p' | sort -u); do
  [ -f "$pages/$reference" ] || [ -f "$built/$reference" ] || fail "the manual refers to $reference, which is not there"
done

linted=
for page in "$pages"/*.[13] "$built/weft.7"; do
  if command -v mandoc >/dev/null; then
    linted=yes
    remarks=$(mandoc -T lint "$page") || fail "mandoc: $remarks"
  fi
  if command -v groff >/dev/null && groff -man -Tascii -z /dev/null 2>/dev/null; then
    linted=yes
    remarks=$(groff -man -Tutf8 -ww -z "$page" 2>&1)
    [ -z "$remarks" ] || fail "groff: $remarks"
  fi
done
if [ $failures -eq 0 ] && [ -z "$linted" ]; then
  echo "needs mandoc or groff with its man macros"
  exit 77
fi
finish
