/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Arrangements: the rings and trees of a search, in the form that plans are made of.
 *
 * A search puts one rank on each GPU, or on each host: a place. Where several ranks share a place, a ring visits them
 * one after another, and a tree enters a place at one of them, from which a chain leads to the others.
 *
 * Pure. Owner: whoever asked for an arrangement, arrangement_free(); an all-zero one is empty.
 */
#ifndef COLLECTIVES_ARRANGE_H
#define COLLECTIVES_ARRANGE_H

#include <weft/plan.h>

#include "topology/search/search.h"

/* X(KIND, what a person calls it): in the order in which equally good ones are preferred. */
#define ARRANGEMENTS(X)                                                                                                \
    X(HOST_RING, "one ring, host by host in the fabric's order")                                                       \
    X(RINGS, "edge-disjoint rings")                                                                                    \
    X(FRACTIONAL_RINGS, "fractional rings")                                                                            \
    X(HOST_TREES, "double binary tree over hosts, chains inside")                                                      \
    X(TREES, "packed trees")                                                                                           \
    X(TWO_PHASE_TREES, "packed trees, reduce-scatter then all-gather")
#define ARRANGEMENT_ENUM(kind, name) ARRANGE_##kind,
enum arrangement_kind { ARRANGEMENTS(ARRANGEMENT_ENUM) ARRANGEMENT_KIND_COUNT };
#undef ARRANGEMENT_ENUM
const char *arrangement_name(enum arrangement_kind kind);

struct arrangement {
    weft_plan_layout layout; /* points into the rest */
    weft_plan_ring *rings;
    weft_plan_tree *trees;
    uint32_t *numbers; /* orders and parents */
    double algbw;      /* of the search's collective, as the search found it; 0: not known */
};
void arrangement_free(struct arrangement *arrangement);

/* Trees, times ranks, beyond which nothing is arranged: no plan has so many channels. */
#define ARRANGEMENT_NUMBERS_MAX (UINT64_C(8) << 20)

/*
 * What @p search found of this kind, over its own ranks. WEFT_UNSUPPORTED: nothing. WEFT_RESOURCE_LIMIT: too many
 * trees. WEFT_OUT_OF_MEMORY.
 */
weft_status arrangement_make(const struct search_result *search, enum arrangement_kind kind,
                             struct arrangement *arrangement);

/*
 * The same over @p rank_count ranks of which rank i is at place place_of[i]; every place has at least one. A tree that
 * starts at a place becomes one for each of its ranks if @p per_root, for the collectives where every rank has trees of
 * its own. Errors as above.
 */
weft_status arrangement_spread(const struct arrangement *places, uint32_t place_count, const uint32_t *place_of,
                               uint32_t rank_count, bool per_root, struct arrangement *ranks);

/*
 * The @p most heaviest rings, or trees (@p per_root: of each root), in their order. Their numbers stay those of
 * @p arrangement, which has to outlive *fewer. False when out of memory.
 */
bool arrangement_fewer(const struct arrangement *arrangement, bool per_root, uint32_t most, struct arrangement *fewer);
/* How many rings, or trees, or most trees of one root, there are. */
uint32_t arrangement_depth(const struct arrangement *arrangement, bool per_root);
#endif
