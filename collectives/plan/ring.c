/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rings. Every rank sends to one neighbour and receives from the other; odd channels run the other way round, so that
 * two channels use both directions of every link.
 *
 * All-reduce: 2(n-1) messages one after another, every rank sends 2(n-1)/n of the message, which no algorithm without
 * help from the network can better (Patarasuk and Yuan, J. Parallel Distrib. Comput. 69, 2009).
 * Broadcast: a chain of n-1 messages, every rank but the last sends the message once; slices keep all links busy.
 * Barrier: n-1 signals one after another, after which each rank has heard, through its neighbour, of all.
 */
#include "collectives/plan/generators.h"

/* A rank's place on the ring of one channel. */
struct ring {
    uint32_t count, position; /* position counts along the direction of travel */
    uint32_t next, previous;  /* ranks */
};

static struct ring ring_at(uint32_t rank, uint32_t rank_count, uint32_t channel)
{
    uint32_t up = (rank + 1) % rank_count, down = (rank + rank_count - 1) % rank_count;
    if (channel % 2 == 0) return (struct ring){rank_count, rank, up, down};
    return (struct ring){rank_count, rank_count - 1 - rank, down, up};
}

/* The chunk @p back places behind @p position; chunks are numbered by the position that ends up owning them. */
static uint32_t ring_chunk(const struct ring *ring, uint32_t back)
{
    return (ring->position + ring->count - back % ring->count) % ring->count;
}

static void copy_own(struct program_builder *builder, uint32_t rank)
{
    builder_step(builder)->flags = STEP_FINAL;
    builder_source(builder, SPACE_INPUT, rank);
    builder_destination(builder, SPACE_OUTPUT, rank);
}

/*
 * Reduce-scatter, then all-gather. In round k of the first a rank passes on the chunk k+1 behind its position, so the one
 * that it completes is the one at its position; the second moves the complete ones on. Every step but the first and the
 * last receives and sends at once: a slice goes through a rank in one pass over memory, and a slot depth of 2 or more
 * keeps the circle of such steps from waiting for itself.
 */
static void ring_channel_all_reduce(struct program_builder *builder, const struct ring *ring, uint32_t rank)
{
    builder_step(builder)->chunk = ring_chunk(ring, 1);
    builder_source(builder, SPACE_INPUT, rank);
    builder_destination(builder, SPACE_SLOT, ring->next);

    if (ring->count > 2) {
        struct plan_step *pass = builder_step(builder);
        pass->chunk = ring_chunk(ring, 2);
        pass->stride = -1;
        pass->repeat = ring->count - 2;
        builder_source(builder, SPACE_SLOT, ring->previous);
        builder_source(builder, SPACE_INPUT, rank);
        builder_destination(builder, SPACE_SLOT, ring->next);
    }

    struct plan_step *complete = builder_step(builder);
    complete->chunk = ring_chunk(ring, 0);
    complete->flags = STEP_FINAL;
    builder_source(builder, SPACE_SLOT, ring->previous);
    builder_source(builder, SPACE_INPUT, rank);
    builder_destination(builder, SPACE_OUTPUT, rank);
    builder_destination(builder, SPACE_SLOT, ring->next);

    if (ring->count > 2) {
        struct plan_step *gather = builder_step(builder);
        gather->chunk = ring_chunk(ring, 1);
        gather->stride = -1;
        gather->repeat = ring->count - 2;
        builder_source(builder, SPACE_SLOT, ring->previous);
        builder_destination(builder, SPACE_OUTPUT, rank);
        builder_destination(builder, SPACE_SLOT, ring->next);
    }

    builder_step(builder)->chunk = ring_chunk(ring, ring->count - 1);
    builder_source(builder, SPACE_SLOT, ring->previous);
    builder_destination(builder, SPACE_OUTPUT, rank);
}

weft_status ring_all_reduce(const struct weft_plan *plan, uint32_t rank, struct program_builder *builder)
{
    for (uint32_t channel = 0; channel < plan->channel_count; channel++) {
        builder_track(builder, channel, channel, channel + 1, plan->rank_count);
        if (plan->rank_count == 1) {
            copy_own(builder, rank);
        } else {
            struct ring ring = ring_at(rank, plan->rank_count, channel);
            ring_channel_all_reduce(builder, &ring, rank);
        }
    }
    return WEFT_OK;
}

weft_status ring_broadcast(const struct weft_plan *plan, uint32_t rank, struct program_builder *builder)
{
    uint32_t count = plan->rank_count;
    for (uint32_t channel = 0; channel < plan->channel_count; channel++) {
        struct ring ring = ring_at(rank, count, channel);
        bool last = ring.next == plan->root;
        builder_track(builder, channel, channel, channel + 1, 1);
        builder_step(builder);
        if (rank == plan->root)
            builder_source(builder, SPACE_INPUT, rank);
        else
            builder_source(builder, SPACE_SLOT, ring.previous);
        builder_destination(builder, SPACE_OUTPUT, rank);
        if (!last) builder_destination(builder, SPACE_SLOT, ring.next);
    }
    return WEFT_OK;
}

weft_status ring_barrier(const struct weft_plan *plan, uint32_t rank, struct program_builder *builder)
{
    struct ring ring = ring_at(rank, plan->rank_count, 0);
    builder_track(builder, 0, 0, 1, 1);
    builder_step(builder);
    if (plan->rank_count == 1) return WEFT_OK;
    builder_destination(builder, SPACE_SLOT, ring.next);
    if (plan->rank_count > 2) {
        builder_step(builder)->repeat = plan->rank_count - 2;
        builder_source(builder, SPACE_SLOT, ring.previous);
        builder_destination(builder, SPACE_SLOT, ring.next);
    }
    builder_step(builder);
    builder_source(builder, SPACE_SLOT, ring.previous);
    return WEFT_OK;
}
