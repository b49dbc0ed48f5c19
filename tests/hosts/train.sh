#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# train.sh HOSTS WEFT-TRAIN: training among hosts gives, bit for bit, the losses that the same ranks give on one host.
. "$(dirname "$0")/lib.sh"
hosts_make "$1"
train=$2
for i in $(seq 1 400); do echo "$i and $((i * i)) went to market, and $((i * 7 % 31)) came home."; done >"$scratch/text"
options=(--data "$scratch/text" --layers 2 --width 32 --heads 2 --context 32 --batch 4 --steps 20 --eval-every 0)

# The choice of algorithm depends on the transport; sums of equal order need the same one.
export WEFT_ALGORITHM=ring WEFT_SLICE=64K
"$train" "${options[@]}" --ranks "$1" --log "$scratch/one.jsonl" >"$scratch/one" 2>&1 || {
  fail "training on one host"
  cat "$scratch/one"
}
hosts_run "$train" "${options[@]}" --log "$scratch/several.jsonl" || {
  fail "training on $1 hosts"
  tail -n 3 "$scratch"/out.*
}
losses() { sed -n 's/.*"step":\([0-9]*\),"loss":\([^,}]*\).*/\1 \2/p' "$1"; }
losses "$scratch/one.jsonl" >"$scratch/one.losses"
losses "$scratch/several.jsonl" >"$scratch/several.losses"
[ "$(wc -l <"$scratch/one.losses")" -eq 20 ] || fail "20 losses expected, found $(wc -l <"$scratch/one.losses")"
cmp "$scratch/one.losses" "$scratch/several.losses" || fail "losses differ"
finish
