/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Channels for rings and trees. A stream, one ordered pair of ranks on one channel, belongs to one track; so what
 * shares a pair needs different channels, and what shares none may have the same. Greedy colouring in the order given:
 * fewest channels are hard to find, and a packing of links leaves little to colour.
 */
#include <stdlib.h>

#include "collectives/plan/layout_internal.h"

/* Something that sends from one rank to another, and the way of which it is a part. */
struct edge {
    uint32_t from, to, way, pair;
};

/*
 * The two orders in which ways are coloured: each instance's way down and then its way up, or all ways down first.
 * Neither is always better: where every tree's way up meets every other's way down, as around a switch, the first needs
 * a channel for each tree and the second one for each that shares its lanes.
 */
enum order { BY_INSTANCE, BY_DIRECTION };

static uint32_t way_number(const struct plan_layout *layout, enum order order, uint32_t instance, bool up)
{
    return order == BY_INSTANCE ? 2 * instance + up : up * layout->count + instance;
}

static uint32_t instance_of(const struct plan_layout *layout, enum order order, uint32_t way, bool *up)
{
    *up = order == BY_INSTANCE ? way % 2 : way >= layout->count;
    return order == BY_INSTANCE ? way / 2 : way % layout->count;
}

struct edges {
    struct edge *all;
    size_t count;
};

static int edge_compare_pair(const void *left, const void *right)
{
    const struct edge *a = left, *b = right;
    if (a->from != b->from) return a->from < b->from ? -1 : 1;
    return (a->to > b->to) - (a->to < b->to);
}

static int edge_compare_way(const void *left, const void *right)
{
    const struct edge *a = left, *b = right;
    return (a->way > b->way) - (a->way < b->way);
}

static void edge_add(struct edges *edges, uint32_t from, uint32_t to, uint32_t way)
{
    edges->all[edges->count++] = (struct edge){.from = from, .to = to, .way = way};
}

/* Which of its ways does the collective send over? */
static bool goes_down(weft_collective collective)
{
    return collective != WEFT_REDUCE && collective != WEFT_REDUCE_SCATTER;
}

static bool goes_up(weft_collective collective)
{
    return collective == WEFT_ALL_REDUCE || collective == WEFT_BARRIER || !goes_down(collective);
}

static void edges_collect(const struct plan_layout *layout, weft_collective collective, enum order order,
                          struct edges *edges)
{
    edges->count = 0;
    for (uint32_t i = 0; i < layout->count; i++)
        for (uint32_t rank = 0; rank < layout->rank_count; rank++) {
            if (layout->rings) {
                const struct layout_ring *ring = &layout->rings[i];
                edge_add(edges, rank, ring->order[(ring->position[rank] + 1) % layout->rank_count],
                         way_number(layout, order, i, false));
                continue;
            }
            const struct layout_tree *tree = &layout->trees[i];
            if (rank == tree->root) continue;
            if (goes_down(collective))
                edge_add(edges, tree->down.parents[rank], rank, way_number(layout, order, i, false));
            if (goes_up(collective))
                edge_add(edges, rank, tree->up.parents[rank], way_number(layout, order, i, !tree->same));
        }
}

/* Number the different pairs; returns how many there are. */
static uint32_t pairs_number(struct edges *edges)
{
    uint32_t pair = 0;
    qsort(edges->all, edges->count, sizeof *edges->all, edge_compare_pair);
    for (size_t i = 0; i < edges->count; i++) {
        if (i > 0 && edge_compare_pair(&edges->all[i - 1], &edges->all[i]) != 0) pair++;
        edges->all[i].pair = pair;
    }
    qsort(edges->all, edges->count, sizeof *edges->all, edge_compare_way);
    return pair + 1;
}

/* Channels taken, one bit each. */
struct taken {
    uint64_t words[PLAN_MAX_CHANNELS / 64];
};

static uint32_t channel_free(const struct taken *taken)
{
    for (uint32_t w = 0; w < PLAN_MAX_CHANNELS / 64; w++)
        if (~taken->words[w]) return w * 64 + (uint32_t)__builtin_ctzll(~taken->words[w]);
    return PLAN_MAX_CHANNELS;
}

/* Fills in channels and how many there are; WEFT_RESOURCE_LIMIT where they do not suffice. */
static weft_status ways_colour(struct plan_layout *layout, enum order order, const struct edges *edges,
                               struct taken *pairs)
{
    layout->channel_count = 1;
    for (size_t begin = 0, end; begin < edges->count; begin = end) {
        uint32_t way = edges->all[begin].way;
        struct taken taken = {0};
        for (end = begin; end < edges->count && edges->all[end].way == way; end++)
            for (uint32_t w = 0; w < PLAN_MAX_CHANNELS / 64; w++)
                taken.words[w] |= pairs[edges->all[end].pair].words[w];
        uint32_t channel = channel_free(&taken);
        if (channel == PLAN_MAX_CHANNELS) return WEFT_RESOURCE_LIMIT;
        for (size_t i = begin; i < end; i++)
            pairs[edges->all[i].pair].words[channel / 64] |= UINT64_C(1) << (channel % 64);
        bool up;
        uint32_t index = instance_of(layout, order, way, &up);
        struct plan_instance *instance = &layout->instances[index];
        bool same = layout->rings || layout->trees[index].same;
        if (!up) instance->channel = channel;
        if (up || same) instance->reduce_channel = channel;
        if (channel >= layout->channel_count) layout->channel_count = channel + 1;
    }
    return WEFT_OK;
}

static weft_status order_colour(struct plan_layout *layout, weft_collective collective, enum order order,
                                struct edges *edges)
{
    edges_collect(layout, collective, order, edges);
    uint32_t pair_count = pairs_number(edges);
    struct taken *pairs = arena_alloc(&layout->arena, pair_count, sizeof *pairs);
    return pairs ? ways_colour(layout, order, edges, pairs) : WEFT_OUT_OF_MEMORY;
}

weft_status layout_colour(struct plan_layout *layout, weft_collective collective)
{
    layout->channel_count = 1;
    if (layout->rank_count == 1) { /* nothing is sent, but tracks are still told apart by their channels */
        return WEFT_OK;
    }
    size_t room = (size_t)layout->count * layout->rank_count * 2;
    struct edges edges = {.all = arena_alloc(&layout->arena, room, sizeof *edges.all)};
    if (!edges.all) return WEFT_OUT_OF_MEMORY;
    weft_status status = order_colour(layout, collective, BY_INSTANCE, &edges);
    return status == WEFT_RESOURCE_LIMIT ? order_colour(layout, collective, BY_DIRECTION, &edges) : status;
}
