/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which hosts of a flow graph look alike: equal inside (a shape), and linked alike to the same nodes outside (twins).
 */
#ifndef TOPOLOGY_SEARCH_SHAPES_H
#define TOPOLOGY_SEARCH_SHAPES_H

#include "topology/search/flow_graph.h"

struct host_shapes {
    uint32_t host_count;
    uint32_t *host;       /* topology nodes of the hosts with ranks, in the topology's order */
    uint32_t *host_index; /* by flow node; TOPOLOGY_NONE outside of hosts */
    uint32_t *local; /* by flow node: its place among its host's nodes; hosts of a shape correspond place by place */
    uint32_t *first_node;   /* host_count + 1 offsets into nodes */
    uint32_t *nodes;        /* flow nodes by host; its ranks come first, in rank order */
    uint32_t *rank_count;   /* by host */
    uint32_t *shape, *twin; /* by host: the first host that is like it */
    uint32_t shape_count, twin_count;
};

/* @p demand (by rank, NULL: all alike) is part of what twins share. All memory is the arena's. WEFT_OUT_OF_MEMORY. */
weft_status host_shapes_find(const struct search_flow_graph *graph, const uint32_t *demand, struct arena *arena,
                             struct host_shapes *shapes);
#endif
