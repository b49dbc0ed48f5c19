#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# usage.sh WEFT-PERF WEFT-TOPO: a mistake is answered by one line that holds the nearest right thing, and by exit code 2.
. "$(dirname "$0")/lib.sh"
perf=$1 topo=$2

# mistake WORDS COMMAND...: WORDS must be in the one line.
mistake() {
  local words=$1
  shift
  "$@" >"$scratch/out" 2>"$scratch/err"
  local code=$?
  [ $code -eq 2 ] || fail "$*: exit code $code, not 2"
  [ "$(wc -l <"$scratch/err")" -eq 1 ] || fail "$*: not one line: $(cat "$scratch/err")"
  [ -s "$scratch/out" ] && fail "$*: writes to standard output"
  grep -qF -- "$words" "$scratch/err" || fail "$*: \"$(cat "$scratch/err")\" does not say \"$words\""
}

mistake "weft-perf all_reduce --ranks 2" "$perf"
mistake "did you mean all_reduce?" "$perf" all_redcue
mistake "name one collective" "$perf" all_reduce broadcast
mistake "did you mean all_gather?" "$perf" all_gathr
mistake "did you mean --ranks?" "$perf" all_reduce --rnaks 2
mistake "--ranks needs a value" "$perf" all_reduce --ranks
mistake "1 to 4096" "$perf" all_reduce --ranks 0
mistake "is no number" "$perf" all_reduce --ranks two
mistake "write it as 65536, 64K or 1M" "$perf" all_reduce -b 64MB
mistake "is below -b" "$perf" all_reduce -b 1M -e 1K
mistake "--root 2 is no rank" "$perf" broadcast --ranks 2 --root 2
mistake "did you mean float32?" "$perf" all_reduce --dtype float
mistake "did you mean ring?" "$perf" all_reduce --algorithm rign
mistake "dpdk is not in this version; there is auto, shm, tcp, verbs" "$perf" all_reduce --transport dpdk
mistake "not in this version; there is plain, registered" "$perf" all_reduce --buffers cuda
mistake "--algorithm ring is never canonical" "$perf" all_reduce --canonical --algorithm ring
mistake "--algorithm hierarchical is never canonical" "$perf" all_reduce --canonical --algorithm=hierarchical
mistake "--no-check takes no value" "$perf" all_reduce --no-check=yes

mistake "weft-topo show" "$topo"
mistake "did you mean show?" "$topo" shwo
mistake 'no subcommand "rings"; there is show, check, plan, simulate' "$topo" rings
mistake "weft-topo check topology.xml" "$topo" check
mistake "name one FILE" "$topo" simulate
mistake "show takes one FILE" "$topo" show one.xml two.xml
mistake "plan takes one FILE" "$topo" plan one.xml two.xml
mistake "leave --ranks out" "$topo" plan one.xml --ranks 4
mistake "--rank and --channels go with --ranks" "$topo" plan one.xml --rank 0
mistake "a picture needs a FILE" "$topo" plan --ranks 4 --format svg
mistake "cannot both be had" "$topo" show --json --format weft
mistake "did you mean svg?" "$topo" show --format svq
mistake "weft-topo plan --ranks 4" "$topo" plan
mistake "--root must be below --ranks" "$topo" plan --ranks 4 --collective broadcast --root 4
mistake "--rank must be below --ranks" "$topo" plan --ranks 4 --rank 4
mistake "--explain needs a FILE" "$topo" plan --ranks 4 --explain
mistake "--root goes with" "$topo" plan --ranks 4 --root 1
mistake "did you mean --json?" "$topo" show --jsn

for tool in "$perf" "$topo" "$topo show" "$topo check" "$topo plan" "$topo simulate"; do
  # shellcheck disable=SC2086 # tool and subcommand are two words
  $tool --help >"$scratch/out" 2>"$scratch/err" || fail "$tool --help fails"
  grep -q '^usage: ' "$scratch/out" || fail "$tool --help has no usage"
  [ -s "$scratch/err" ] && fail "$tool --help writes to standard error"
  # shellcheck disable=SC2086
  $tool --version | grep -qE '^weft-(perf|topo)[a-z ]* [0-9]+\.[0-9]+\.[0-9]+$' || fail "$tool --version"
done
for word in busbw p99_us "#wrong" "man weft" "examples:"; do
  "$perf" --help | grep -qF -- "$word" || fail "weft-perf --help says nothing of $word"
done
finish
