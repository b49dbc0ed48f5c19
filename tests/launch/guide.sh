#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# guide.sh WEFT-PERF RANK-PRINT GUIDE: every command of docs/guide/launching.md, as it stands there. A block of shell
# commands stands behind a line <!-- run: NAME; needs: THINGS -->; blocks of one name are run at the same time, "key" first.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/slurm_lib.sh"
guide=$3
mkdir "$scratch/home" "$scratch/blocks"
export HOME=$scratch/home
PATH=$(dirname "$perf"):$PATH
passed_over=0

# blocks/NAME.N has the commands, blocks/NAME.needs what they need.
awk -v folder="$scratch/blocks" '
/^<!-- run: / { name = $3; sub(/;$/, "", name); needs = ""
                if (match($0, /needs: [^>]* -->/)) needs = substr($0, RSTART + 7, RLENGTH - 11) }
/^```sh$/ { if (name == "") { print FILENAME ":" FNR ": commands that nobody runs"; wrong = 1; exit }
            file = folder "/" name "." (++count[name]); print needs > (folder "/" name ".needs"); inside = 1; next }
/^```$/ && inside { close(file); inside = 0; name = "" }
inside { print > file }
END { exit wrong }' "$guide" || exit 1

# What the block needs and is not there, if anything.
lacks() {
  local thing
  for thing in $(cat "$scratch/blocks/$1.needs"); do
    case $thing in
    key) ;;
    slurm) slurm_is_there || return 0 ;;
    torchrun) # Debian 12's stumbles over its own Python
      torchrun --nproc_per_node 1 --no_python true >/dev/null 2>&1 || { echo "needs a torchrun that works" && return 0; }
      ;;
    *) command -v "$thing" >/dev/null || { echo "needs $thing" && return 0; } ;;
    esac
  done
  return 1
}

run_blocks() {
  local name=$1 block pids=() worst=0
  for block in "$scratch/blocks/$name".[0-9]*; do
    timeout -k 5 120 bash -euo pipefail "$block" >"$block.out" 2>&1 </dev/null &
    pids+=($!)
  done
  for pid in "${pids[@]}"; do wait "$pid" || worst=1; done
  cat "$scratch/blocks/$name".*.out >"$scratch/out"
  : >"$scratch/err"
  [ $worst -eq 0 ] || { fail "$name" && return; }
  if [ "$name" != key ] && ! grep -q '^# wrong elements: 0$' "$scratch/out"; then
    fail "$name did not reduce"
  else
    echo "passed: $name"
  fi
}

names=$(cd "$scratch/blocks" && ls -- *.needs | sed 's/\.needs$//' | grep -vx key)
if grep -qw slurm "$scratch/blocks"/*.needs && slurm_is_there >/dev/null; then slurm_start; fi
for name in key $names; do
  if why=$(lacks "$name"); then
    echo "passed over: $name: $why"
    passed_over=$((passed_over + 1))
  else
    run_blocks "$name"
  fi
done
[ "$failures" -eq 0 ] || exit 1
echo "all ran as written, but $passed_over passed over"
