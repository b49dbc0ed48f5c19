/* SPDX-License-Identifier: Apache-2.0 */
/* Cheapest ways between all pairs of ranks over switches only, at given prices of arcs; among equals the shortest. */
#ifndef TOPOLOGY_SEARCH_PATHS_H
#define TOPOLOGY_SEARCH_PATHS_H

#include "topology/search/flow_graph.h"

struct rank_path_entry {
    double distance;
    uint32_t length, node;
};

struct rank_paths {
    const struct search_flow_graph *graph;
    double *cost;  /* rank_count^2; INFINITY: no way without passing another rank */
    uint32_t *via; /* rank_count * node_count: the last arc of the way from a rank to a node */
    /* scratch of one source */
    double *distance;
    uint32_t *length;
    bool *settled;
    struct rank_path_entry *heap; /* an entry for each time a node got nearer; all but a node's last are stale */
    uint32_t heap_count;
};

bool rank_paths_init(struct rank_paths *paths, const struct search_flow_graph *graph);
void rank_paths_free(struct rank_paths *paths);
/* By arc, 0 or more; NULL: every arc costs 1. */
void rank_paths_find(struct rank_paths *paths, const double *prices);

/* The arcs from @p from to @p to in the order of travel; arcs[] has room for node_count. Their number. */
uint32_t rank_paths_arcs(const struct rank_paths *paths, uint32_t from, uint32_t to, uint32_t *arcs);

static inline double rank_paths_cost(const struct rank_paths *paths, uint32_t from, uint32_t to)
{
    return paths->cost[(size_t)from * paths->graph->rank_count + to];
}
#endif
