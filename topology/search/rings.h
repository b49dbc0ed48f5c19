/* SPDX-License-Identifier: Apache-2.0 */
/* Rings in the making: orders of ranks with the arcs that each hop takes. */
#ifndef TOPOLOGY_SEARCH_RINGS_H
#define TOPOLOGY_SEARCH_RINGS_H

#include "topology/search/result.h"

struct ring {
    uint32_t *order; /* ranks */
    uint32_t *arcs;  /* flow arcs of all hops in turn */
    uint32_t *first; /* rank_count + 1 offsets into arcs: the hop from order[i] */
    uint64_t weight; /* weight / denominator of the set is its bandwidth in capacities of the graph */
};

struct ring_set {
    uint32_t rank_count;
    struct ring *rings;
    uint32_t count, capacity;
    uint64_t denominator;
    double value; /* fractional rings: the most there can be, before rounding down */
    bool optimal;
};

void ring_set_free(struct ring_set *set);
/* Room for one more ring of up to @p arc_count arcs, or NULL; counted once the caller has filled it: set->count++. */
struct ring *ring_set_add(struct ring_set *set, uint32_t arc_count);

/* Rings of most total bandwidth, in fractions; at most RING_FRACTION_RANKS ranks. False: out of memory, or no ring. */
#define RING_FRACTION_RANKS 14u
bool rings_fractional(struct search_context *context, struct ring_set *set);

/*
 * Rings that share no unit of any link, all of one bandwidth, more than @p at_least in total. @p most: no set of rings
 * has more than this (to within a millionth; 0: not known). False: out of memory, or no such rings.
 */
bool rings_disjoint(struct search_context *context, double most, uint64_t at_least, struct ring_set *set);

/* As long as there are rings in the set: choose links, make routes. */
void rings_realize(struct search_context *context, const struct ring_set *set, struct search_rings *rings);
#endif
