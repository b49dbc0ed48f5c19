/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "collectives/comm/topology.h"

static uint32_t count_kind(const weft_topology *graph, enum node_kind kind)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < graph->node_count; i++) count += graph->nodes[i].kind == kind;
    return count;
}

/* @p each ranks on every node of the kind, in the graph's order. */
static void place(const weft_topology *graph, enum node_kind kind, uint32_t each, uint32_t *nodes)
{
    uint32_t rank = 0;
    for (uint32_t i = 0; i < graph->node_count; i++)
        for (uint32_t k = 0; k < each && graph->nodes[i].kind == kind; k++) nodes[rank++] = i;
}

weft_status topology_place_ranks(const weft_topology *graph, const char *name, uint32_t rank_count, uint32_t *nodes,
                                 struct diagnostic *diagnostic)
{
    uint32_t gpus = count_kind(graph, NODE_GPU), hosts = count_kind(graph, NODE_HOST);
    if (gpus == rank_count) {
        place(graph, NODE_GPU, 1, nodes);
    } else if (hosts == rank_count) {
        place(graph, NODE_HOST, 1, nodes);
    } else if (gpus == 0 && hosts > 0 && rank_count % hosts == 0) {
        place(graph, NODE_HOST, rank_count / hosts, nodes);
    } else if (gpus == 0 && hosts == 0) {
        return diagnose(diagnostic, WEFT_INVALID_ARGUMENT,
                        "WEFT_TOPOLOGY %.160s has neither GPUs nor hosts to put %u ranks on", name, rank_count);
    } else {
        return diagnose(
            diagnostic, WEFT_INVALID_ARGUMENT,
            "WEFT_TOPOLOGY %.140s has %u GPUs on %u hosts, but there are %u ranks: one for each GPU, or one for "
            "each host, or where it has no GPU equally many for each",
            name, gpus, hosts, rank_count);
    }
    return WEFT_OK;
}
