/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "topology/cost/cost.h"

const char nccl_source[] = "latency tables of NCCL's tuning model (src/graph/tuning.cc), microseconds there";

const struct nccl_latency nccl_ring[NCCL_PROTOCOL_COUNT] = {
    [NCCL_LL] = {6.6e-6, {[NCCL_NVLINK] = 0.6e-6, [NCCL_PCI] = 1.0e-6, [NCCL_NETWORK] = 2.7e-6}},
    [NCCL_LL128] = {14e-6, {[NCCL_NVLINK] = 1.9e-6, [NCCL_PCI] = 2.5e-6, [NCCL_NETWORK] = 4.0e-6}},
    [NCCL_SIMPLE] = {8.4e-6, {[NCCL_NVLINK] = 3.4e-6, [NCCL_PCI] = 5.7e-6, [NCCL_NETWORK] = 14e-6}},
};

const struct nccl_latency nccl_tree[NCCL_PROTOCOL_COUNT] = {
    [NCCL_LL] = {6.8e-6, {[NCCL_NVLINK] = 0.6e-6, [NCCL_PCI] = 1.0e-6, [NCCL_NETWORK] = 5.0e-6}},
    [NCCL_LL128] = {14e-6, {[NCCL_NVLINK] = 1.25e-6, [NCCL_PCI] = 1.9e-6, [NCCL_NETWORK] = 8.5e-6}},
    [NCCL_SIMPLE] = {8.4e-6, {[NCCL_NVLINK] = 4.0e-6, [NCCL_PCI] = 4.0e-6, [NCCL_NETWORK] = 14e-6}},
};

double nccl_ring_latency(enum nccl_protocol protocol, enum nccl_hop inside, uint32_t node_count,
                         uint32_t ranks_per_node)
{
    const struct nccl_latency *latency = &nccl_ring[protocol];
    double ranks = (double)node_count * ranks_per_node, between = 2.0 * (node_count - 1);
    return latency->base_s + (2 * (ranks - 1) - between) * latency->hop_s[inside] +
           between * latency->hop_s[NCCL_NETWORK];
}

double nccl_tree_latency(enum nccl_protocol protocol, enum nccl_hop inside, uint32_t node_count,
                         uint32_t ranks_per_node)
{
    const struct nccl_latency *latency = &nccl_tree[protocol];
    return latency->base_s +
           2 * ((ranks_per_node - 1.0) * latency->hop_s[inside] + log2(node_count) * latency->hop_s[NCCL_NETWORK]);
}
