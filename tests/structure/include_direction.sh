#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# include_direction.sh ROOT: dependencies go down the list of folders in CMakeLists.txt, and keep the rules beside it.
set -eu
here=$(dirname "$0")
. "$here/files.sh"
cd "$1"

order=$(awk '/^foreach\(folder/ { inside = 1; sub(/^foreach\(folder/, "") }
             inside { last = /\)/; sub(/\).*/, ""); print; if (last) exit }' CMakeLists.txt)
[ -n "$order" ] || {
  echo "CMakeLists.txt: no foreach(folder ...) that lists the folders"
  exit 1
}

# Tests and measurements may look anywhere: they are below everything.
files '*.c' '*.h' '*.inc' | grep -vE '^(tests|bench)/' | tr '\n' '\0' |
  xargs -0 grep -nE '^[[:space:]]*#[[:space:]]*include' /dev/null |
  awk -v order="$order" '
function complain(text) { print place ": " text; wrong = 1 }
function folder_of(path) { return match(path, /\/[^\/]*$/) ? substr(path, 1, RSTART - 1) : "" }
function top_of(path) { sub(/\/.*/, "", path); return path }
BEGIN {
    count = split(order, names, /[[:space:]]+/)
    for (i = 1; i <= count; i++) if (names[i] != "") { position[names[i]] = i; top[top_of(names[i])] = 1 }
}
{
    split($0, part, ":")
    file = part[1]; place = file ":" part[2]; from = folder_of(file)
    match($0, /[<"][^>"]*[>"]/)
    quote = substr($0, RSTART, 1); target = substr($0, RSTART + 1, RLENGTH - 2)
    first = top_of(target)

    if (from ~ /^topology\// && from != "topology/discover" &&
        target ~ /^(pthread\.h|threads\.h|time\.h|unistd\.h|fcntl\.h|sys\/.*|base\/(clock|log|config)\.h)$/)
        complain("topology is pure: no I/O, threads or clock, so no " target)
    if (quote == "<" && !(first in top && index(target, "/"))) next     # a system header, or a public one
    to = index(target, "/") ? folder_of(target) : from
    if (to == from) next
    if (from ~ /^include/) { complain("a public header includes <weft/...> and the system alone, not " target); next }
    if (from ~ /^(trainer|tools|examples)(\/|$)/ && first != top_of(from)) { complain(from " knows include/weft alone, not " target); next }
    if (first == top_of(from) && first ~ /^(trainer|tools|examples)$/) next
    if (!(from in position)) { complain("the folder " from " is not in the list of CMakeLists.txt"); next }
    if (!(to in position)) { complain(target " is in no folder of the list of CMakeLists.txt"); next }
    if (position[to] > position[from]) complain(from " stands before " to " and cannot include " target)
    if (from ~ /^transport\// && to ~ /^transport\// && to != "transport/core")
        complain("a backend never includes its sibling: " target)
    if (from == "collectives/plan" && to ~ /^(transport|fabric)\//) complain("plans know no transport: " target)
    if (target ~ /_internal\.h$/) complain(target " stays inside " to)
}
END { exit wrong }'
