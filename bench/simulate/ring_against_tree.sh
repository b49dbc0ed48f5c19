#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# ring_against_tree.sh WEFT-TOPO [BYTES [MORE...]]: simulated all-reduce of BYTES (64K) by ring and by double binary
# tree, from 64 to 24,576 GPUs; then of MORE bytes (8, 1M) over the most GPUs alone.
#
# Hosts of 8 GPUs behind NVSwitches with a 400 Gb/s NIC each, 32 hosts to a rail-optimised group of 8 leaf switches, 32
# spines over all leaves. A ring's time grows with the number of ranks, a tree's with its logarithm: the columns after
# each time divide it by that, and hardly change. For 24,576 GPUs NVIDIA published a latency "up to 180x" better
# (Massively Scale Your Deep Learning Training with NCCL 2.4, 2019, measured on Summit); NCCL's model is
# the ratio of latencies in its own tuning tables (LL).
set -eu
topo=$1 bytes=${2:-64K}
shift $(($# < 2 ? $# : 2))
[ $# -gt 0 ] || set -- 8 1M
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
time_of() { # ALGORITHM BYTES
  "$topo" simulate "$scratch/cluster.yaml" --bytes "$2" --algorithm "$1" --seconds 1 --json 2>/dev/null |
    jq -r '"\([.candidates[] | select(.plan | endswith("in rank order"))][0] | "\(.time_us) \(.method | split(":")[0])") \(.comparison.nccl_model_latency_ll_us)"'
}

row() { # GPUS BYTES
  local ring ring_method ring_nccl tree tree_method tree_nccl
  read -r ring ring_method ring_nccl < <(time_of ring "$2")
  read -r tree tree_method tree_nccl < <(time_of tree "$2")
  awk -v gpus="$1" -v bytes="$2" -v ring="$ring" -v ring_method="$ring_method" -v tree="$tree" \
    -v tree_method="$tree_method" -v model="$(jq -n "$ring_nccl / $tree_nccl")" 'BEGIN {
      printf "%8d %6s %12.1f %9.2f %10s %10.1f %11.2f %10s %8.1f %13.1f\n", gpus, bytes, ring, ring / gpus, ring_method,
             tree, tree / (log(gpus) / log(2)), tree_method, ring / tree, model }'
}

printf '%8s %6s %12s %9s %10s %10s %11s %10s %8s %13s\n' GPUs bytes "ring us" "us/GPU" "" "tree us" "us/log2" "" ratio \
  "NCCL's model"
for hosts in ${HOSTS:-8 32 128 512 3072}; do
  cluster "$hosts" >"$scratch/cluster.yaml"
  row $((8 * hosts)) "$bytes"
done
for size; do row $((8 * hosts)) "$size"; done
echo "published for 24,576 GPUs: up to 180 (NVIDIA, NCCL 2.4, 2019; latency on Summit)"
