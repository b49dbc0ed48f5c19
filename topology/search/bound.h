/* SPDX-License-Identifier: Apache-2.0 */
/* What no plan can beat, exactly, in the capacities of a flow graph. docs/design/search.md has the proofs. */
#ifndef TOPOLOGY_SEARCH_BOUND_H
#define TOPOLOGY_SEARCH_BOUND_H

#include "topology/search/flow_graph.h"

static inline bool search_expired(const struct search_budget *budget)
{
    return budget && budget->expired && budget->expired(budget->context);
}

struct cut_bound {
    struct rational rate; /* capacity / demand of the tightest cut; no number: there is no such cut (one rank) */
    bool exact;           /* false: the budget struck; no cut found yet is tighter, but one may exist */
    bool *inside;         /* by node: the cut's near side */
    int64_t capacity;     /* out of the near side */
    uint64_t demand;      /* of the ranks inside */
};

/*
 * The largest x such that each rank r can broadcast x * demand[r] to all ranks at once: the minimum over cuts that hold
 * a rank and miss one, of what leaves over what is demanded inside (Edmonds 1973). A demand of 1 each is all-gather; a
 * single one broadcast. @p sinks (NULL: every rank) names the ranks that cuts may miss; a rank stands for
 * multiplicity[r] (NULL: 1) ranks of demand[r] each.
 */
weft_status bound_cut(const struct search_flow_graph *graph, const uint32_t *demand, const uint32_t *sinks,
                      uint32_t sink_count, const struct search_budget *budget, struct arena *arena,
                      struct cut_bound *bound);

struct partition_bound {
    struct rational rate; /* sum of what leads into the parts / (parts - 1); no number: one rank */
    bool exact;
    uint32_t part_count;
    uint32_t *part; /* by node; TOPOLOGY_NONE outside of all parts */
    int64_t capacity;
};

/*
 * The least, over partitions of the ranks into p >= 2 parts, of the sum of bandwidths into the parts over p - 1. What
 * leads into a part is the maximum flow from all other ranks: switches help whom they may. An all-reduce moves at least
 * p - 1 contributions out of parts and p - 1 results into parts, so M/T <= rate / 2.
 */
weft_status bound_partition(const struct search_flow_graph *graph, const struct search_budget *budget,
                            struct arena *arena, struct partition_bound *bound);

/* The smallest maximum flow from one rank to another, and its cut (demand 1). */
weft_status bound_pair(const struct search_flow_graph *graph, const struct search_budget *budget, struct arena *arena,
                       struct cut_bound *bound);
#endif
