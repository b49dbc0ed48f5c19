#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# perf_output.sh WEFT-PERF: what it prints and writes, for each collective.
. "$(dirname "$0")/lib.sh"
perf=$1
need_jq

# Columns: size count type redop root, then time algbw busbw #wrong twice.
"$perf" all_reduce --ranks 2 -b 8 -e 32 --iters 5 --json "$scratch/json" >"$scratch/text" || fail "all_reduce fails"
[ "$(grep -c '^ ' "$scratch/text")" -eq 3 ] || fail "not a line a size: $(cat "$scratch/text")"
[ "$(grep '^ ' "$scratch/text" | awk '{print NF, $1, $2, $3, $4, $5}' | head -n 1)" = "13 8 2 float32 sum -1" ] || fail "columns"
grep -q '^# wrong elements: 0$' "$scratch/text" || fail "summary"
[ "$(jq -r 'keys_unsorted | join(" ")' "$scratch/json")" = "collective ranks transport dtype op buffers rows" ] || fail "keys"
[ "$(jq -r '.rows[0] | keys_unsorted | join(" ")' "$scratch/json")" = \
  "bytes in_place algorithm time_us p99_us algbw_gbps busbw_gbps wrong" ] || fail "keys of a row"
[ "$(jq -c '[.rows[] | [.bytes, .in_place]]' "$scratch/json")" = \
  '[[8,false],[8,true],[16,false],[16,true],[32,false],[32,true]]' ] || fail "rows"
check "values" jq -e '.collective == "all_reduce" and .ranks == 2 and .transport == "shm" and .dtype == "float32"
  and .op == "sum" and .buffers == "plain" and all(.rows[]; .wrong == 0 and .time_us > 0 and .p99_us >= .time_us)' "$scratch/json"
check "each row says which algorithm ran" jq -e 'all(.rows[]; .algorithm | IN("ring", "tree", "direct", "halving", "hierarchical"))' "$scratch/json"
check "busbw of two ranks is algbw" jq -e 'all(.rows[]; .busbw_gbps == .algbw_gbps)' "$scratch/json"

"$perf" all_reduce --ranks 2 --buffers registered -b 1M -e 1M --iters 5 --json "$scratch/json" >/dev/null || fail "registered"
check "registered buffers" jq -e '.buffers == "registered" and all(.rows[]; .wrong == 0)' "$scratch/json"

"$perf" all_reduce --ranks 4 -b 4K -e 4K --iters 5 --json "$scratch/json" >/dev/null || fail "four ranks fail"
check "busbw of four ranks is 1.5 algbw" \
  jq -e 'all(.rows[]; (.busbw_gbps / .algbw_gbps - 1.5) * 1000 | fabs < 1)' "$scratch/json"

"$perf" broadcast --ranks 3 --root 2 --dtype int64 -b 4 -e 100 -f 5 --iters 5 --json "$scratch/json" >"$scratch/text" || fail "broadcast fails"
[ "$(grep '^ ' "$scratch/text" | awk '{print $1, $2, $3, $4, $5}' | head -n 1)" = "8 1 int64 none 2" ] || fail "columns of a broadcast"
check "sizes are whole elements" jq -e 'all(.rows[]; .bytes % 8 == 0 and .wrong == 0)' "$scratch/json"

"$perf" barrier --ranks 3 --iters 5 --json "$scratch/json" >"$scratch/text" || fail "barrier fails"
grep -q 'N/A' "$scratch/text" || fail "a barrier has no in-place columns"
check "a barrier is one row" jq -e '(.rows | length) == 1 and .rows[0].bytes == 0' "$scratch/json"

"$perf" all_reduce --ranks 2 -b 8 -e 8 --iters 5 --no-check --json "$scratch/json" | grep -q 'not checked' || fail "--no-check"
check "unchecked is null, not 0" jq -e 'all(.rows[]; .wrong == null)' "$scratch/json"
"$perf" all_reduce -b 8 -e 8 --iters 5 | grep -q ' 1 rank,' || fail "without --ranks and launcher it is one rank"
"$perf" all_reduce --ranks 2 -e 8 --json "$scratch/none/json" >/dev/null 2>"$scratch/err"
[ $? -eq 1 ] || fail "a file that cannot be written is exit code 1"
grep -q "cannot write $scratch/none/json: No such file" "$scratch/err" || fail "it is named with the reason"
[ -s "$scratch/err" ] && [ "$(wc -l <"$scratch/err")" -eq 1 ] || fail "once: $(cat "$scratch/err")"
"$perf" all_reduce -e 4 --iters 2 >/dev/full 2>"$scratch/err" && fail "lines that were lost are exit code 1"
grep -q 'cannot write to standard output' "$scratch/err" || fail "the reason is said"
finish
