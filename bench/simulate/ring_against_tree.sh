#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# ring_against_tree.sh WEFT-TOPO [BYTES]: simulated all-reduce by ring and by double binary tree, from 64 to 24,576 GPUs.
#
# Hosts of 8 GPUs behind NVSwitches with a 400 Gb/s NIC each, 32 hosts to a rail-optimised group of 8 leaf switches, 32
# spines over all leaves. A ring's time grows with the number of ranks, a tree's with its logarithm. For the same number
# of GPUs NVIDIA published "up to 180x" (Massively Scale Your Deep Learning Training with NCCL 2.4, 2019).
set -eu
topo=$1 bytes=${2:-64K}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

cluster() { # HOSTS
  local hosts=$1 groups=$((($1 + 31) / 32)) group last
  cat <<YAML
weft_topology: 1
shapes:
  box:
    nodes:
      - {package: 0}
      - {pci_bridge: "pex[0-7]", in: package 0}
      - {gpu: "[0-7]", in: "pci_bridge pex[0-7]"}
      - {nic: "mlx5_[0-7]", in: "pci_bridge pex[0-7]", port_bandwidth: 400 Gb/s datasheet}
      - {nvswitch: "[0-3]"}
    links:
      - {pci: ["pci_bridge pex[0-7]", package 0], bandwidth: 64 GB/s datasheet}
      - {pci: ["gpu [0-7]", "pci_bridge pex[0-7]"], bandwidth: 64 GB/s datasheet}
      - {pci: ["nic mlx5_[0-7]", "pci_bridge pex[0-7]"], bandwidth: 64 GB/s datasheet}
      - {nvlink: ["gpu [0-7]", "nvswitch [0-3]"], join: all, bandwidth: 112.5 GB/s datasheet}
nodes:
  - {host: "node[0-$((hosts - 1))]", shape: box}
  - {switch: "spine[0-31]"}
YAML
  for ((group = 0; group < groups; group++)); do echo "  - {switch: \"leaf$group-[0-7]\"}"; done
  echo "links:"
  for ((group = 0; group < groups; group++)); do
    last=$((32 * group + 31 < hosts ? 32 * group + 31 : hosts - 1))
    echo "  - {network: [[\"node[$((32 * group))-$last]\", \"nic mlx5_[0-7]\"], \"switch leaf$group-[0-7]\"], join: cyclic, bandwidth: 400 Gb/s datasheet}"
    echo "  - {network: [\"switch leaf$group-[0-7]\", \"switch spine[0-31]\"], join: all, bandwidth: 400 Gb/s datasheet}"
  done
}

# One algorithm's plan in rank order, in microseconds; how it was simulated; the latency in NCCL's own model (LL).
time_of() { # ALGORITHM
  "$topo" simulate "$scratch/cluster.yaml" --bytes "$bytes" --algorithm "$1" --seconds 1 --json 2>/dev/null |
    jq -r '"\([.candidates[] | select(.plan | endswith("in rank order"))][0] | "\(.time_us) \(.method | split(":")[0])") \(.comparison.nccl_model_latency_ll_us)"'
}

printf '%8s %14s %10s %14s %10s %8s %14s\n' GPUs "ring us" "" "tree us" "" ratio "NCCL's model"
for hosts in ${HOSTS:-8 32 128 512 3072}; do
  cluster "$hosts" >"$scratch/cluster.yaml"
  read -r ring ring_method ring_nccl < <(time_of ring)
  read -r tree tree_method tree_nccl < <(time_of tree)
  printf '%8d %14.1f %10s %14.1f %10s %8.1f %14.1f\n' $((8 * hosts)) "$ring" "$ring_method" "$tree" "$tree_method" \
    "$(jq -n "$ring / $tree")" "$(jq -n "$ring_nccl / $tree_nccl")"
done
echo "published for 24,576 GPUs: up to 180"
