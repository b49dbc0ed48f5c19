/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rings. Every rank sends to one neighbour and receives from the other.
 *
 * All-reduce: 2(n-1) messages one after another, every rank sends 2(n-1)/n of the message, which no algorithm without
 * help from the network can better (Patarasuk and Yuan, J. Parallel Distrib. Comput. 69, 2009).
 * Reduce-scatter, all-gather: the two halves of it, n-1 messages and (n-1)/n of the message each.
 * Broadcast, reduce: a chain of n-1 messages, every rank but the last sends the message once; slices keep all links
 * busy. Barrier: n-1 signals one after another, after which each rank has heard, through its neighbour, of all.
 */
#include "collectives/plan/generators.h"

/* The chunk @p back places behind; chunks are numbered by the position that ends up owning them. */
static uint32_t ring_chunk(const struct ring_place *ring, uint32_t back)
{
    return (ring->position + ring->count - back % ring->count) % ring->count;
}

static void copy_own(struct program_builder *builder, uint32_t rank, uint32_t chunk, uint16_t flags)
{
    struct plan_step *step = builder_step(builder);
    step->chunk = chunk;
    step->flags = flags;
    builder_source(builder, SPACE_INPUT, rank);
    builder_destination(builder, SPACE_OUTPUT, rank);
}

/*
 * Reduce-scatter, then all-gather. In round k of the first a rank passes on the chunk k+1 behind its position, so the
 * one that it completes is the one at its position; the second moves the complete ones on. Every step but the first and
 * the last receives and sends at once: a slice goes through a rank in one pass over memory, and a slot depth of 2 or
 * more keeps the circle of such steps from waiting for itself.
 */
static void ring_channel_all_reduce(struct program_builder *builder, const struct ring_place *ring, uint32_t rank)
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
    for (uint32_t i = 0; i < plan_instance_count(plan); i++) {
        struct plan_instance instance = plan_instance_at(plan, i);
        builder_track(builder, instance.channel, instance.window_begin, instance.window_end, plan->rank_count);
        if (plan->rank_count == 1) {
            copy_own(builder, rank, 0, STEP_FINAL);
        } else {
            struct ring_place ring = plan_ring_place(plan, i, rank);
            ring_channel_all_reduce(builder, &ring, rank);
        }
    }
    return WEFT_OK;
}

/* Blocks are named after ranks, so on a ring of any order they follow each other at any distance. */
struct block_run {
    const struct weft_plan *plan;
    const struct ring_place *ring;
    uint32_t instance;
};

static uint32_t run_block(const struct block_run *run, uint32_t back)
{
    return plan_ring_behind(run->plan, run->instance, run->ring, back);
}

/* How many of the blocks from @p back on follow each other at one distance, *stride, not beyond @p end. */
static uint32_t run_length(const struct block_run *run, uint32_t back, uint32_t end, int32_t *stride)
{
    *stride = 0;
    if (end - back < 2) return 1;
    int64_t count = run->ring->count;
    int64_t first = ((int64_t)run_block(run, back + 1) - run_block(run, back) + count) % count;
    *stride = (int32_t)(first > count / 2 ? first - count : first);
    if (!run->plan->layout) return end - back;
    uint32_t length = 2;
    while (back + length < end &&
           ((int64_t)run_block(run, back + length) - run_block(run, back + length - 1) + count) % count == first)
        length++;
    return length;
}

static void run_operands(struct program_builder *builder, const struct ring_place *ring, uint32_t rank, bool combine)
{
    builder_source(builder, SPACE_SLOT, ring->previous);
    if (combine)
        builder_source(builder, SPACE_INPUT, rank);
    else
        builder_destination(builder, SPACE_OUTPUT, rank);
    builder_destination(builder, SPACE_SLOT, ring->next);
}

/* Pass the blocks from @p begin to @p end places behind on: combined with this rank's, or kept here too. */
static void pass_blocks(struct program_builder *builder, const struct block_run *run, uint32_t rank, uint32_t begin,
                        uint32_t end, bool combine)
{
    while (begin < end) {
        struct plan_step *step = builder_step(builder);
        step->chunk = run_block(run, begin);
        step->repeat = run_length(run, begin, end, &step->stride);
        begin += step->repeat;
        run_operands(builder, run->ring, rank, combine);
    }
}

weft_status ring_all_gather(const struct weft_plan *plan, uint32_t rank, struct program_builder *builder)
{
    for (uint32_t i = 0; i < plan_instance_count(plan); i++) {
        struct plan_instance instance = plan_instance_at(plan, i);
        struct ring_place ring = plan_ring_place(plan, i, rank);
        const struct block_run run = {plan, &ring, i};
        builder_block_track(builder, plan, instance.channel, instance.window_begin, instance.window_end);
        copy_own(builder, rank, rank, 0);
        if (plan->rank_count == 1) continue;
        builder_destination(builder, SPACE_SLOT, ring.next);
        pass_blocks(builder, &run, rank, 1, ring.count - 1, false);
        builder_step(builder)->chunk = run_block(&run, ring.count - 1);
        builder_source(builder, SPACE_SLOT, ring.previous);
        builder_destination(builder, SPACE_OUTPUT, rank);
    }
    return WEFT_OK;
}

weft_status ring_reduce_scatter(const struct weft_plan *plan, uint32_t rank, struct program_builder *builder)
{
    for (uint32_t i = 0; i < plan_instance_count(plan); i++) {
        struct plan_instance instance = plan_instance_at(plan, i);
        struct ring_place ring = plan_ring_place(plan, i, rank);
        const struct block_run run = {plan, &ring, i};
        builder_block_track(builder, plan, instance.channel, instance.window_begin, instance.window_end);
        if (plan->rank_count > 1) {
            builder_step(builder)->chunk = run_block(&run, 1);
            builder_source(builder, SPACE_INPUT, rank);
            builder_destination(builder, SPACE_SLOT, ring.next);
            pass_blocks(builder, &run, rank, 2, ring.count, true);
        }
        struct plan_step *complete = builder_step(builder);
        complete->chunk = rank;
        complete->flags = STEP_FINAL;
        if (plan->rank_count > 1) builder_source(builder, SPACE_SLOT, ring.previous);
        builder_source(builder, SPACE_INPUT, rank);
        builder_destination(builder, SPACE_OUTPUT, rank);
    }
    return WEFT_OK;
}

weft_status ring_broadcast(const struct weft_plan *plan, uint32_t rank, struct program_builder *builder)
{
    for (uint32_t i = 0; i < plan_instance_count(plan); i++) {
        struct plan_instance instance = plan_instance_at(plan, i);
        struct ring_place ring = plan_ring_place(plan, i, rank);
        builder_track(builder, instance.channel, instance.window_begin, instance.window_end, 1);
        builder_step(builder);
        if (rank == plan->root)
            builder_source(builder, SPACE_INPUT, rank);
        else
            builder_source(builder, SPACE_SLOT, ring.previous);
        builder_destination(builder, SPACE_OUTPUT, rank);
        if (ring.next != plan->root) builder_destination(builder, SPACE_SLOT, ring.next);
    }
    return WEFT_OK;
}

/* The chain begins behind the root and ends there. */
weft_status ring_reduce(const struct weft_plan *plan, uint32_t rank, struct program_builder *builder)
{
    for (uint32_t i = 0; i < plan_instance_count(plan); i++) {
        struct plan_instance instance = plan_instance_at(plan, i);
        struct ring_place ring = plan_ring_place(plan, i, rank);
        bool root = rank == plan->root;
        builder_track(builder, instance.channel, instance.window_begin, instance.window_end, 1);
        builder_step(builder)->flags = root ? STEP_FINAL : 0;
        if (ring.previous != plan->root) builder_source(builder, SPACE_SLOT, ring.previous);
        builder_source(builder, SPACE_INPUT, rank);
        if (root)
            builder_destination(builder, SPACE_OUTPUT, rank);
        else
            builder_destination(builder, SPACE_SLOT, ring.next);
    }
    return WEFT_OK;
}

weft_status ring_barrier(const struct weft_plan *plan, uint32_t rank, struct program_builder *builder)
{
    struct ring_place ring = plan_ring_place(plan, 0, rank);
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
