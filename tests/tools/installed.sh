#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# installed.sh CMAKE BUILD BINDIR MANDIR: tools and manual work from where they are installed, also after a move.
. "$(dirname "$0")/lib.sh"
cmake=$1 build=$2 bin=$3 man=$4
tools="weft-perf weft-topo"
[ ! -x "$build/trainer/weft-train" ] || tools="$tools weft-train"

for component in library development tools trainer; do
  "$cmake" --install "$build" --prefix "$scratch/first" --component $component >"$scratch/log" 2>&1 ||
    fail "installing $component: $(cat "$scratch/log")"
done
mv "$scratch/first" "$scratch/moved"
for tool in $tools; do
  "$scratch/moved/$bin/$tool" --version >/dev/null || fail "$tool does not run"
  [ -f "$scratch/moved/$man/man1/$tool.1" ] || fail "$tool has no page"
done
"$scratch/moved/$bin/weft-perf" all_reduce --ranks 2 -e 8 --iters 2 >/dev/null || fail "weft-perf starts no ranks"
for page in man7/weft.7 man3/weft_all_reduce.3 man3/weft_broadcast.3; do
  [ -f "$scratch/moved/$man/$page" ] || fail "there is no $page"
done
if command -v man >/dev/null; then
  MANPATH=$scratch/moved/$man man -w 3 weft_broadcast >/dev/null || fail "man finds no weft_broadcast"
fi
finish
