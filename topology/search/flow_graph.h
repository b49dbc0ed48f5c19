/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What of a topology carries data between ranks: a directed graph with whole-number capacities. Ranks come first;
 * parallel links are one arc; what leads nowhere is gone. docs/design/search.md lists the rules.
 */
#ifndef TOPOLOGY_SEARCH_FLOW_GRAPH_H
#define TOPOLOGY_SEARCH_FLOW_GRAPH_H

#include "base/arena.h"
#include "base/diagnostic.h"
#include "topology/model/model.h"
#include "topology/search/rational.h"
#include "topology/search/search.h"

struct flow_hop {
    uint32_t hop; /* SEARCH_HOP() or SEARCH_HOP_UNSEEN */
    int64_t capacity;
};

struct flow_arc {
    uint32_t from, to;
    int64_t capacity;   /* in multiples of the graph's unit, above 0 */
    uint32_t first_hop; /* the links that run in parallel here */
    uint32_t hop_count;
};

struct search_flow_graph {
    uint32_t rank_count; /* nodes 0 to rank_count - 1 are the ranks */
    uint32_t node_count;
    uint32_t *topology_node; /* TOPOLOGY_NONE: a network of which the topology shows nothing */
    uint32_t *host;          /* topology node of its host, or TOPOLOGY_NONE */
    struct flow_arc *arcs;   /* by `from`, then `to`; at most one for each pair */
    uint32_t arc_count;
    uint32_t *first_arc; /* node_count + 1 offsets into arcs */
    struct flow_hop *hops;
    uint32_t hop_count;
    struct rational unit; /* bytes/s (or links) of capacity 1 */
    bool unit_is_link;
    uint32_t assumed_links;
    uint32_t link_count, topology_node_count;
    const char *notes[8];
    uint32_t note_count;
};

/* A graph in the making: nodes by any number, arcs in any order. */
struct flow_sketch_arc {
    uint32_t from, to, hop;
    int64_t capacity; /* 0: not known */
    uint32_t kind;    /* enum link_kind */
    uint32_t count;   /* equal links that it stands for, 1 or more */
};

struct flow_sketch {
    uint32_t node_count;
    uint32_t *topology_node;
    uint32_t rank_count;
    const uint32_t *rank_nodes; /* sketch nodes, in rank order */
    struct flow_sketch_arc *arcs;
    uint32_t arc_count, arc_capacity;
    bool failed;
};

void flow_sketch_add(struct flow_sketch *sketch, struct flow_sketch_arc arc);

/*
 * Derive the graph for @p request from a sealed topology. All memory is the arena's. Errors as topology_search().
 */
weft_status flow_graph_derive(const weft_topology *topology, const struct search_request *request, struct arena *arena,
                              struct search_flow_graph **graph, struct diagnostic *diagnostic);

/* Prune, merge, number and scale a sketch. WEFT_OUT_OF_MEMORY. */
weft_status flow_graph_finish(struct flow_sketch *sketch, struct arena *arena, struct search_flow_graph *graph,
                              struct diagnostic *diagnostic);

/* The same graph with every arc turned around; shares all but the arcs. NULL when out of memory. */
struct search_flow_graph *flow_graph_reversed(const struct search_flow_graph *graph, struct arena *arena);
/* The arc between two nodes, or UINT32_MAX. */
uint32_t flow_graph_arc(const struct search_flow_graph *graph, uint32_t from, uint32_t to);
/* A sentence of the arena for the reader of the result; dropped when there is no room or memory. */
__attribute__((format(printf, 3, 4))) void flow_graph_note(struct search_flow_graph *graph, struct arena *arena,
                                                           const char *format, ...);
#endif
