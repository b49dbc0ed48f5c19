/* SPDX-License-Identifier: Apache-2.0 */
#include "topology/search/rings.h"

#include <stdlib.h>

#include "topology/search/lift.h"
#include "topology/search/realize.h"

/* Up to here rings are searched on the whole graph. */
#define WHOLE_GRAPH_RANKS 40u

void ring_set_free(struct ring_set *set)
{
    for (uint32_t i = 0; i < set->count; i++) {
        free(set->rings[i].order);
        free(set->rings[i].arcs);
        free(set->rings[i].first);
    }
    free(set->rings);
    set->rings = NULL;
    set->count = set->capacity = 0;
}

struct ring *ring_set_add(struct ring_set *set, uint32_t arc_count)
{
    if (set->count == set->capacity) {
        uint32_t capacity = set->capacity ? 2 * set->capacity : 16;
        struct ring *rings = realloc(set->rings, capacity * sizeof *rings);
        if (!rings) return NULL;
        set->rings = rings;
        set->capacity = capacity;
    }
    struct ring *ring = &set->rings[set->count];
    *ring = (struct ring){0};
    ring->order = malloc((set->rank_count + 1u) * sizeof *ring->order);
    ring->arcs = malloc((arc_count + 1u) * sizeof *ring->arcs);
    ring->first = malloc((set->rank_count + 1u) * sizeof *ring->first);
    if (ring->order && ring->arcs && ring->first) return ring;
    free(ring->order);
    free(ring->arcs);
    free(ring->first);
    return NULL;
}

/* What a ring of bandwidth 1 gives the collective: a byte of the message crosses every hop but one, once or twice. */
static struct rational factor(enum search_collective collective, uint32_t ranks)
{
    switch (collective) {
    case SEARCH_ALL_REDUCE:
        return rational_make(ranks, 2 * (uint64_t)(ranks - 1));
    case SEARCH_ALL_GATHER:
    case SEARCH_REDUCE_SCATTER:
        return rational_make(ranks, ranks - 1);
    default:
        return (struct rational){1, 1};
    }
}

static bool realize_ring(struct search_context *context, struct realizer *realizer, const struct ring_set *set,
                         const struct ring *ring, struct search_rings *rings, struct search_ring *room,
                         uint32_t room_count, uint32_t *hops)
{
    uint32_t ranks = set->rank_count;
    uint32_t *order = result_alloc(context, ranks, sizeof *order);
    for (uint32_t i = 0; i < ranks && order; i++) order[i] = ring->order[i];
    for (uint64_t left = ring->weight, taken; left > 0 && rings->ring_count < room_count; left -= taken) {
        taken = realizer_take(realizer, ring->arcs, ring->first[ranks], left, hops);
        uint32_t *routes = result_alloc(context, ranks, sizeof *routes);
        if (taken == 0 || context->failed) return false;
        for (uint32_t i = 0; i < ranks; i++)
            routes[i] = result_add_route(context, hops + ring->first[i], ring->first[i + 1] - ring->first[i]);
        struct search_ring *made = &room[rings->ring_count++];
        made->order = order;
        made->routes = routes;
        made->bandwidth = rational_multiply(rational_make(taken, set->denominator), context->graph->unit);
        rings->bandwidth = rational_add(rings->bandwidth, made->bandwidth);
    }
    return true;
}

void rings_realize(struct search_context *context, const struct ring_set *set, struct search_rings *rings)
{
    uint32_t longest = 0, room_count = set->count + context->graph->hop_count; /* each part empties a link */
    for (uint32_t i = 0; i < set->count; i++)
        if (set->rings[i].first[set->rank_count] > longest) longest = set->rings[i].first[set->rank_count];
    struct realizer realizer;
    uint32_t *hops = malloc((longest + 1u) * sizeof *hops);
    struct search_ring *room = result_alloc(context, room_count, sizeof *room);
    *rings = (struct search_rings){.rings = room, .bandwidth = {0, 1}, .optimal = set->optimal};
    if (!realizer_init(&realizer, context, set->denominator) || !hops) context->failed = true;
    for (uint32_t i = 0; i < set->count && !context->failed; i++)
        if (set->rings[i].weight &&
            !realize_ring(context, &realizer, set, &set->rings[i], rings, room, room_count, hops))
            break;
    realizer_free(&realizer);
    free(hops);
    rings->algbw = rational_multiply(rings->bandwidth, factor(context->request->collective, set->rank_count));
    rings->gap = result_ratio(rings->algbw, context->result->bound.algbw);
}

weft_status result_find_rings(struct search_context *context)
{
    uint32_t ranks = context->graph->rank_count;
    struct search_result *result = context->result;
    double most = 0;
    if (ranks < 2) return WEFT_OK;
    if (ranks <= RING_FRACTION_RANKS) {
        struct ring_set set = {.rank_count = ranks};
        if (rings_fractional(context, &set)) rings_realize(context, &set, &result->fractional_rings);
        if (set.optimal) most = set.value;
        ring_set_free(&set);
    }
    if (!context->failed) lift_rings(context); /* nothing where there is one host */
    if (!context->failed && ranks <= WHOLE_GRAPH_RANKS) {
        struct ring_set set = {.rank_count = ranks};
        double lifted = rational_value(result->rings.bandwidth) / rational_value(context->graph->unit);
        if (rings_disjoint(context, most, (uint64_t)lifted, &set)) rings_realize(context, &set, &result->rings);
        ring_set_free(&set);
    }
    return context->failed ? WEFT_OUT_OF_MEMORY : WEFT_OK;
}
