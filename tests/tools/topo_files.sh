#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# topo_files.sh WEFT-TOPO: files are shown, checked, planned over and simulated.
. "$(dirname "$0")/lib.sh"
topo=$1

# Two hosts of four GPUs on two NVSwitches, a NIC for each GPU, and a leaf switch for each pair of NICs.
cat >"$scratch/cluster.yaml" <<'YAML'
weft_topology: 1
shapes:
  box:
    nodes:
      - {package: 0}
      - {pci_bridge: "pex[0-3]", in: package 0}
      - {gpu: "[0-3]", in: "pci_bridge pex[0-3]"}
      - {nic: "mlx5_[0-3]", in: "pci_bridge pex[0-3]", port_bandwidth: 400 Gb/s datasheet}
      - {nvswitch: "[0-1]"}
    links:
      - {pci: ["pci_bridge pex[0-3]", package 0], bandwidth: 64 GB/s datasheet}
      - {pci: ["gpu [0-3]", "pci_bridge pex[0-3]"], bandwidth: 64 GB/s datasheet}
      - {pci: ["nic mlx5_[0-3]", "pci_bridge pex[0-3]"], bandwidth: 64 GB/s datasheet}
      - {nvlink: ["gpu [0-3]", "nvswitch [0-1]"], join: all, bandwidth: 200 GB/s datasheet}
nodes:
  - {host: "node[0-1]", shape: box}
  - {switch: "leaf[0-3]"}
links:
  - {network: [["node[0-1]", "nic mlx5_[0-3]"], "switch leaf[0-3]"], join: cyclic, bandwidth: 400 Gb/s datasheet}
YAML

"$topo" check "$scratch/cluster.yaml" >"$scratch/out" || fail "check: $(cat "$scratch/out")"
grep -q ": 2 hosts, 8 GPUs, 8 NICs, 8 switches, " "$scratch/out" || fail "check counts: $(cat "$scratch/out")"
echo "gibberish" >"$scratch/none"
"$topo" check "$scratch/none" "$scratch/cluster.yaml" >"$scratch/out"
[ $? -eq 1 ] || fail "check of what is no topology does not exit with 1"
[ "$(wc -l <"$scratch/out")" -eq 2 ] || fail "check does not say a line for each file"
grep -q "^$scratch/none: " "$scratch/out" || fail "check does not name the file: $(cat "$scratch/out")"
for sub in show plan simulate; do
  "$topo" $sub "$scratch/none" >"$scratch/out" 2>"$scratch/err"
  [ $? -eq 1 ] || fail "$sub of what is no topology does not exit with 1"
  [ "$(wc -l <"$scratch/err")" -eq 1 ] || fail "$sub: not one line: $(cat "$scratch/err")"
  [ -s "$scratch/out" ] && fail "$sub of what is no topology writes to standard output"
done

"$topo" show "$scratch/cluster.yaml" | grep -q "2 hosts, 8 GPUs" || fail "show does not count"
"$topo" show "$scratch/cluster.yaml" | grep -q "^transport" && fail "show FILE tells of this build"
"$topo" show "$scratch/cluster.yaml" --format weft >"$scratch/again.yaml" || fail "show --format weft"
"$topo" show "$scratch/again.yaml" --format weft | cmp -s - "$scratch/again.yaml" || fail "weft's own format does not come back equal"
"$topo" show "$scratch/cluster.yaml" --format dot >"$scratch/dot" || fail "show --format dot"
grep -q "^graph topology {" "$scratch/dot" || fail "no picture"

# Graphviz is asked for by name only where it is missing.
mkdir "$scratch/empty"
PATH=$scratch/empty "$topo" show "$scratch/cluster.yaml" --format svg >"$scratch/out" 2>"$scratch/err"
[ $? -eq 1 ] || fail "a picture without graphviz does not exit with 1"
grep -q "graphviz" "$scratch/err" || fail "nothing says that graphviz is missing: $(cat "$scratch/err")"
if command -v dot >/dev/null; then
  "$topo" plan "$scratch/cluster.yaml" --format svg >"$scratch/svg" || fail "plan --format svg"
  grep -q "<svg" "$scratch/svg" || fail "plan --format svg draws nothing"
fi

"$topo" plan "$scratch/cluster.yaml" --explain >"$scratch/out" || fail "plan --explain"
for words in "what binds" "candidates, priced for" "ring in rank order" "chosen" "bound: algbw"; do
  grep -q "$words" "$scratch/out" || fail "plan --explain does not say \"$words\""
done
"$topo" simulate "$scratch/cluster.yaml" --bytes 1M >"$scratch/out" || fail "simulate"
for words in "time .* us, algbw" "most used first" "critical path: " "for comparison: LogGOPS"; do
  grep -q "$words" "$scratch/out" || fail "simulate does not say \"$words\""
done

need_jq
"$topo" plan "$scratch/cluster.yaml" --json >"$scratch/json" || fail "plan --json"
[ "$(jq -r 'keys_unsorted | join(" ")' "$scratch/json")" = \
  "ranks rings trees ring_algbw_gbps tree_algbw_gbps bound_algbw_gbps gap" ] || fail "plan's keys"
plan() {
  jq -e "$2" "$scratch/json" >/dev/null || fail "plan: $1: $(head -c 300 "$scratch/json")"
}
plan "ranks" '.ranks == 8'
plan "something is planned" '(.rings | length) + (.trees | length) > 0'
plan "rings visit every rank once" '.ranks as $n | all(.rings[]; (.order | sort) == [range($n)] and .gbps > 0)'
plan "trees have an edge less than ranks" '.ranks as $n | all(.trees[]; (.edges | length) == $n - 1 and .gbps > 0)'
plan "trees reach every rank once" '.ranks as $n | all(.trees[]; ([.edges[][1]] + [.root] | sort) == [range($n)])'
plan "nothing betters the bound" '.bound_algbw_gbps * 1.000001 >= ([.ring_algbw_gbps, .tree_algbw_gbps] | max)'
plan "the gap" '(.gap - ([.ring_algbw_gbps, .tree_algbw_gbps] | max) / .bound_algbw_gbps) | fabs < 1e-9'
for collective in all_gather reduce_scatter broadcast reduce; do
  "$topo" plan "$scratch/cluster.yaml" --collective $collective --json >"$scratch/json" || fail "plan $collective"
  plan "$collective comes near its bound" '.gap > 0.98 and .gap <= 1.000001'
done

simulation() {
  jq -e "$2" "$scratch/json" >/dev/null || fail "simulate: $1: $(head -c 300 "$scratch/json")"
}
for algorithm in ring tree auto; do
  "$topo" simulate "$scratch/cluster.yaml" --bytes 4M --algorithm $algorithm --json >"$scratch/json" || fail "simulate $algorithm"
  simulation "$algorithm: time and bandwidth" '(.bytes / .time_us / 1000 - .algbw_gbps | fabs) < 1e-6 * .algbw_gbps'
  simulation "$algorithm: busbw" '(.busbw_gbps / .algbw_gbps - 2 * 7 / 8) | fabs < 1e-9'
  simulation "$algorithm: the chosen candidate is the fastest" \
    '(.candidates | map(select(.chosen))[0].time_us) == ([.candidates[] | .time_us // infinite] | min)'
  simulation "$algorithm: no link carries more than it can" 'all(.links[]; .used <= 1.000001 and .used <= .busy + 1e-9)'
  simulation "$algorithm: the path ends when all does" '(.critical_path[-1].end_us - .time_us | fabs) < 1e-6 * .time_us'
done
"$topo" simulate "$scratch/cluster.yaml" --bytes 4M --algorithm ring --json | cmp -s - <(
  "$topo" simulate "$scratch/cluster.yaml" --bytes 4M --algorithm ring --json) || fail "two simulations differ"
finish
