/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bounds of large clusters on a small graph: hosts that are twins (the same inside, linked alike to the same switches)
 * become one, except where a cut has to tell one of them from the others. docs/design/search.md says why the bound is
 * the same.
 */
#ifndef TOPOLOGY_SEARCH_QUOTIENT_H
#define TOPOLOGY_SEARCH_QUOTIENT_H

#include "topology/search/bound.h"

/* As bound_cut() with every rank a sink; the cut is one of @p graph itself. */
weft_status quotient_cut(const struct search_flow_graph *graph, const uint32_t *demand,
                         const struct search_budget *budget, struct arena *arena, struct cut_bound *bound);

/*
 * The tightest of the partitions into ranks, hosts, groups of twins, and the two parts of each: proven, not `exact`,
 * since another partition may be tighter.
 */
weft_status quotient_partition(const struct search_flow_graph *graph, const struct search_budget *budget,
                               struct arena *arena, struct partition_bound *bound);
#endif
