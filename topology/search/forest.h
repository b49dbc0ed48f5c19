/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Spanning trees that together use a flow graph as well as its tightest cut allows: first switches are split away, each
 * logical arc between ranks remembering its way over the graph's arcs, then as many trees as each root demands are
 * packed into what is left.
 * Sources: Zhao, Krishnamurthy et al., "ForestColl" (arXiv 2402.06787); Bang-Jensen, Frank and Jackson, "Preserving and
 * increasing local edge-connectivity in mixed graphs" (1995) for the splitting; Bérczi and Frank, "Packing
 * arborescences" (2010) for the packing.
 */
#ifndef TOPOLOGY_SEARCH_FOREST_H
#define TOPOLOGY_SEARCH_FOREST_H

#include "topology/search/bound.h"
#include "topology/search/flow_graph.h"

/* Directly over one hop of the flow graph (`second` is TOPOLOGY_NONE), or over two logical arcs in turn. */
struct logical_arc {
    uint32_t from, to;
    int64_t capacity;       /* not yet used up by arcs that are composed of this one */
    uint32_t first, second; /* index into the graph's hops, or logical arcs */
};

struct logical_graph {
    uint32_t node_count, rank_count;
    struct logical_arc *arcs;
    uint32_t arc_count, arc_capacity;
    const uint64_t *demand; /* by rank: trees rooted there */
    uint64_t total_demand;
    bool failed; /* out of memory */
};

/*
 * A logical graph of @p graph with capacities times @p scale, in which every rank can still receive all trees, and no
 * arc touches a switch. False: memory (failed), the budget, or a switch that cannot be split away because it can
 * receive more than it can send, or less.
 */
bool split_switches(const struct search_flow_graph *graph, uint64_t scale, const uint64_t *demand,
                    const struct search_budget *budget, struct logical_graph *logical);
void logical_graph_free(struct logical_graph *logical);

struct hop_list {
    uint32_t *hops;
    uint32_t count, capacity;
};

/* Appends to @p hops the indices of the flow graph's hops that a logical arc stands for, in order. False: no memory. */
bool logical_arc_expand(const struct logical_graph *logical, uint32_t arc, struct hop_list *hops);
bool hop_list_add(struct hop_list *hops, uint32_t hop);

struct packed_tree {
    uint32_t root;
    int64_t weight;  /* how many of the demanded trees look like this */
    uint32_t *arcs;  /* rank_count - 1 logical arcs between ranks, parents first */
    uint32_t size;   /* ranks in it so far */
    uint32_t *depth; /* by rank; TOPOLOGY_NONE: not in it yet */
};

struct packing {
    struct packed_tree *trees;
    uint32_t tree_count, tree_capacity;
    bool failed;
};

/* Fills @p packing with trees of total weight demand[root] each. False: out of memory (failed) or the budget. */
bool pack_trees(struct logical_graph *logical, const struct search_budget *budget, struct packing *packing);
void packing_free(struct packing *packing);
#endif
