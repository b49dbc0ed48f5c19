/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From shares of arcs to shares of links: where links run in parallel, a ring or tree that uses the arc takes one of
 * them, and comes apart where one has no room for all of it.
 */
#ifndef TOPOLOGY_SEARCH_REALIZE_H
#define TOPOLOGY_SEARCH_REALIZE_H

#include "topology/search/result.h"

struct realizer {
    struct search_context *context;
    uint64_t *left;   /* by hop of the flow graph: capacity * denominator not yet taken */
    uint32_t *choice; /* by position: the hop chosen */
    uint32_t choice_capacity;
};

bool realizer_init(struct realizer *realizer, struct search_context *context, uint64_t denominator);
void realizer_free(struct realizer *realizer);

/*
 * Choose a link for each of @p count arcs (an arc may occur more than once) and take at most @p weight of all of them.
 * Returns what was taken, and the chosen hops (SEARCH_HOP values) in hops[].
 */
uint64_t realizer_take(struct realizer *realizer, const uint32_t *arcs, uint32_t count, uint64_t weight,
                       uint32_t *hops);
#endif
