/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Maximum flow and minimum cut with whole-number capacities, reusable: clear, add arcs, run between as many pairs as
 * wanted. Running out of memory is remembered in `failed`, and flows are 0 from then on. One thread at a time.
 * Source: Dinic, Soviet Math. Doklady 11 (1970).
 */
#ifndef TOPOLOGY_SEARCH_MAX_FLOW_H
#define TOPOLOGY_SEARCH_MAX_FLOW_H

#include <stdbool.h>
#include <stdint.h>

/* More than any sum of capacities that callers may add up. */
#define MAX_FLOW_UNLIMITED (INT64_MAX / 4)

/* An all-zero struct is an empty network. */
struct max_flow {
    uint32_t node_count, node_capacity;
    uint32_t arc_count, arc_capacity; /* arcs come in pairs: 2k as added, 2k + 1 backwards */
    uint32_t *first;                  /* a node's first arc */
    uint32_t *next, *to;
    int64_t *capacity, *residual;
    uint32_t *level, *cursor, *queue; /* queue: breadth-first order, then the path of the depth-first search */
    bool failed;
};

void max_flow_free(struct max_flow *network);
/* Start anew with @p node_count nodes and no arcs, keeping the memory. */
void max_flow_clear(struct max_flow *network, uint32_t node_count);
/* One more node without arcs; its index. */
uint32_t max_flow_add_node(struct max_flow *network);
/* Returns the arc's index for max_flow_set(). */
uint32_t max_flow_add(struct max_flow *network, uint32_t from, uint32_t to, int64_t capacity);
void max_flow_set(struct max_flow *network, uint32_t arc, int64_t capacity);
/* The maximum flow, or @p limit if there is as much; every run starts from no flow. */
int64_t max_flow_run(struct max_flow *network, uint32_t source, uint32_t sink, int64_t limit);
/* Is @p node on the source's side of the smallest such cut? After a run that did not reach its limit. */
static inline bool max_flow_source_side(const struct max_flow *network, uint32_t node)
{
    return network->level[node] != UINT32_MAX;
}
/* The sink's side of the smallest such cut: fills side[node]. After a run that did not reach its limit. */
void max_flow_sink_side(const struct max_flow *network, uint32_t sink, bool *side);
#endif
