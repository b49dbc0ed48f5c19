#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# topo_show.sh WEFT-TOPO: this machine as text and as JSON.
. "$(dirname "$0")/lib.sh"
topo=$1

"$topo" show >"$scratch/text" || fail "show fails"
grep -qE "^transport +verbs +(ready|no module|[^ ]+: cannot open)" "$scratch/text" || fail "show does not say whether there is verbs"
WEFT_MODULE_PATH=/nowhere "$topo" show | grep -qE "^transport +verbs +no module weft_verbs.so in /nowhere" || fail "show does not say where it looked for verbs"
for module in dpdk cuda; do
  grep -qE "^(transport|memory) +$module +not built in this version" "$scratch/text" || fail "show does not say why there is no $module"
done
grep -qE "^discovery +nvml +(ready|.*libnvidia-ml|nvml)" "$scratch/text" || fail "show does not say whether there is NVML"
grep -qE "^transport +shm +ready" "$scratch/text" || fail "show does not say that shm is ready"
grep -qE "^1 host, [0-9]+ GPUs?, [0-9]+ NICs?, " "$scratch/text" || fail "show does not count"
grep -qE "cpus? [0-9]" "$scratch/text" || fail "show draws no cores"

need_jq
"$topo" show --json >"$scratch/json" || fail "show --json fails"
[ "$(jq -r 'keys_unsorted | join(" ")' "$scratch/json")" = "hosts gpus nics switches links graph" ] || fail "keys"
[ "$(jq -r '.graph | keys_unsorted | join(" ")' "$scratch/json")" = "nodes edges" ] || fail "graph keys"
check "hosts is 1" jq -e '.hosts == 1' "$scratch/json"
count() {
  jq -e "$2" "$scratch/json" >/dev/null || fail "$1 does not agree with the graph"
}
count gpus '.gpus == ([.graph.nodes[] | select(.kind == "gpu")] | length)'
count nics '.nics == ([.graph.nodes[] | select(.kind == "nic")] | length)'
count switches '.switches == ([.graph.nodes[] | select(.kind == "switch" or .kind == "nvswitch")] | length)'
count links '.links == (.graph.edges | length)'
count "an id" '[.graph.nodes[].id] == [range(.graph.nodes | length)]'
count "an edge's end" '(.graph.nodes | length) as $n | all(.graph.edges[]; .from < $n and .to < $n and .from != .to)'
count "a figure's source" 'all(.graph.edges[]; (.bandwidth == null) == (.bandwidth_source == "unknown"))'
finish
