/* SPDX-License-Identifier: Apache-2.0 */
/* Families of trees with routes: what a packing becomes, and what a forest is made of. */
#ifndef TOPOLOGY_SEARCH_TREES_H
#define TOPOLOGY_SEARCH_TREES_H

#include "topology/search/result.h"

struct family_tree {
    uint32_t root;
    uint64_t weight; /* times unit / scale is its bandwidth */
    const struct search_edge *edges;
};

struct tree_family {
    struct family_tree *trees;
    uint32_t tree_count;
    uint64_t scale;
};

/*
 * Trees from each rank to all others in @p graph, rate * demand[rank] (NULL: 1) of them at full rate. @p towards_root:
 * the graph is the reversed one. False: the budget, memory (context->failed), or switches that cannot be split away.
 */
bool trees_pack(struct search_context *context, const struct search_flow_graph *graph, bool towards_root,
                const uint32_t *demand, struct rational rate, struct tree_family *family);

/* @p copies: how many hosts the family is to be rotated over; 1: it has the trees of every root. */
void trees_one_way(struct search_context *context, const struct tree_family *family, bool towards_root, uint32_t copies,
                   struct search_forest *forest);
/* One after the other, or both at once at the rate @p algbw of the whole. */
void trees_two_way(struct search_context *context, const struct tree_family *up, const struct tree_family *down,
                   struct rational algbw, uint32_t copies, struct search_forest *forest);
#endif
