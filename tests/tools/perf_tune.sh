#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# perf_tune.sh WEFT-PERF: what --tune keeps, communicators use; what it knows of others stays.
. "$(dirname "$0")/lib.sh"
perf=$1
need_jq
file=$scratch/tuning.json

# The fastest of an older run, of other ranks, and of these, which is to go.
cat >"$file" <<'END'
{"weft_tuning":1,"entries":[
{"collective":"all_reduce","transport":"shm","ranks":5,"from_bytes":0,"algorithm":"tree"},
{"collective":"all_reduce","transport":"shm","ranks":2,"from_bytes":777,"algorithm":"tree"}
]}
END
"$perf" --tune "$file" --transport shm -b 65536 -e 131072 -f 2 --compare --iters 1 --json "$scratch/rows" 2>"$scratch/err" || fail "--tune: $(cat "$scratch/err")"
check "the file is JSON of its version" jq -e '.weft_tuning == 1' "$file"
check "what is of other ranks stays" jq -e '[.entries[] | select(.ranks == 5 and .algorithm == "tree")] | length == 1' "$file"
check "what was of these is gone" jq -e '[.entries[] | select(.from_bytes == 777)] | length == 0' "$file"
check "every collective has its choice" jq -e '[.entries[] | select(.ranks == 2 and .from_bytes == 0) | .collective] | sort ==
  ["all_gather","all_reduce","all_to_all","all_to_allv","barrier","broadcast","gather","reduce","reduce_scatter","scatter"]' "$file"
check "blocks of different sizes have one choice" jq -e '[.entries[] | select(.ranks == 2 and .collective == "all_to_allv")] | length == 1' "$file"
check "every candidate's time is told" jq -e '[.rows[] | select(.collective == "all_reduce") | .algorithm] | length >= 3 and index("auto") != null' "$scratch/rows"
check "other slices and channels have turns too" jq -e '[.rows[] | select(.collective == "broadcast" and .bytes == 131072 and .algorithm == "direct") | [.channels, .slice_bytes]] | sort ==
  [[0, 0], [0, 65536], [2, 0]]' "$scratch/rows"
check "times are times" jq -e 'all(.rows[]; .time_us > 0)' "$scratch/rows"
[ ! -e "$file.rows" ] || fail "what ranks handed over is left"

# A communicator does what the file says, whatever a model would choose.
for algorithm in ring tree direct; do
  echo '{"weft_tuning":1,"entries":[{"collective":"all_reduce","transport":"shm","ranks":2,"from_bytes":64,"algorithm":"'$algorithm'"}]}' >"$file"
  WEFT_TUNING=$file "$perf" all_reduce --ranks 2 --transport shm -b 64 -e 64K -f 32 --iters 2 --json "$scratch/json" >/dev/null || fail "$algorithm"
  check "$algorithm is used" jq -e --arg a $algorithm 'all(.rows[]; .algorithm == $a and .wrong == 0)' "$scratch/json"
done

# More channels and larger slices than the model's have room.
echo '{"weft_tuning":1,"entries":[{"collective":"all_reduce","transport":"shm","ranks":3,"from_bytes":0,"algorithm":"ring","channels":3,"slice_bytes":1048576}]}' >"$file"
WEFT_TUNING=$file "$perf" all_reduce --ranks 3 --transport shm -b 8M -e 8M --iters 2 --json "$scratch/json" >/dev/null || fail "channels and slices"
check "and results are right" jq -e 'all(.rows[]; .wrong == 0)' "$scratch/json"

# A file with a mistake is an error that says where, not a choice made otherwise.
echo '{"weft_tuning":1,"entries":[{"collective":"all_reduse"}]}' >"$file"
WEFT_TUNING=$file "$perf" all_reduce --ranks 2 -b 8 -e 8 >/dev/null 2>"$scratch/err" && fail "a mistake is passed over"
grep -q "$file:1:43: no such \"collective\"" "$scratch/err" || fail "the mistake is named: $(cat "$scratch/err")"

# Ranks that read different files choose differently: they are told so, and exchange nothing.
port=$((20000 + RANDOM % 10000))
for rank in 0 1; do
  echo '{"weft_tuning":1,"entries":[{"collective":"all_reduce","transport":"shm","ranks":2,"from_bytes":'$rank',"algorithm":"ring"}]}' >"$file.$rank"
  WEFT_INSECURE=1 MASTER_ADDR=127.0.0.1 WEFT_PORT=$port WORLD_SIZE=2 RANK=$rank WEFT_TRANSPORT=shm WEFT_TUNING=$file.$rank \
    "$perf" all_reduce -b 64 -e 64 >/dev/null 2>"$scratch/err.$rank" &
done
wait
for rank in 0 1; do
  grep -q mismatch "$scratch/err.$rank" || fail "rank $rank does not notice: $(cat "$scratch/err.$rank")"
done

"$perf" all_reduce --tune "$file" 2>"$scratch/err" && fail "--tune with a collective"
grep -q 'times all of them' "$scratch/err" || fail "it says why"
finish
