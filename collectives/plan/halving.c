/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Distances that double: ceil(log2 n) messages one after another, for any number of ranks.
 *
 * All-gather: in round k a rank gets from the one 2^k ahead all that this one has so far, the blocks of 2^k ranks, or
 * the rest; every rank sends (n-1)/n of the message (Bruck et al., IEEE Trans. Parallel Distrib. Syst. 8, 1997). What
 * is sent is in the output already, and receiving is a track of its own: sending never keeps a rank from receiving.
 * Barrier: in round k a rank signals to the one 2^k ahead (Hensgen, Finkel, Manber, Int. J. Parallel Program. 17,
 * 1988).
 */
#include "collectives/plan/generators.h"

static uint32_t rank_ahead(const struct weft_plan *plan, uint32_t rank, uint32_t distance)
{
    return (uint32_t)(((uint64_t)rank + distance) % plan->rank_count);
}

static void run_of(struct plan_step *step, uint32_t chunk, uint32_t repeat)
{
    step->chunk = chunk;
    step->repeat = repeat;
    step->stride = repeat > 1 ? 1 : 0;
}

/* What round @p distance moves. */
static uint32_t round_blocks(uint32_t distance, uint32_t count)
{
    return distance < count - distance ? distance : count - distance;
}

void halving_spread(const struct weft_plan *plan, uint32_t rank, struct program_builder *builder, uint32_t after_track,
                    uint32_t after_step)
{
    uint32_t count = plan->rank_count, send_track = builder->program.track_count - 1, round = 0;
    for (uint32_t distance = 1; distance < count || round == 0; distance *= 2, round++) {
        struct plan_step *step = builder_step(builder);
        bool from_input = round == 0 && after_track == PLAN_NONE;
        run_of(step, rank, round == 0 ? 1 : round_blocks(distance, count));
        step->after_track = round == 0 ? after_track : send_track + 1;
        step->after_step = round == 0 ? after_step : round - 1;
        builder_source(builder, from_input ? SPACE_INPUT : SPACE_OUTPUT, rank);
        if (from_input) builder_destination(builder, SPACE_OUTPUT, rank);
        if (count > 1) builder_destination(builder, SPACE_SLOT, rank_ahead(plan, rank, count - distance));
    }
}

void halving_collect(const struct weft_plan *plan, uint32_t rank, struct program_builder *builder)
{
    uint32_t count = plan->rank_count;
    for (uint32_t distance = 1; distance < count; distance *= 2) {
        run_of(builder_step(builder), rank_ahead(plan, rank, distance), round_blocks(distance, count));
        builder_source(builder, SPACE_SLOT, rank_ahead(plan, rank, distance));
        builder_destination(builder, SPACE_OUTPUT, rank);
    }
}

weft_status halving_all_gather(const struct weft_plan *plan, uint32_t rank, struct program_builder *builder)
{
    for (uint32_t i = 0; i < plan_instance_count(plan); i++) {
        struct plan_instance instance = plan_instance_at(plan, i);
        builder_block_track(builder, plan, instance.channel, instance.window_begin, instance.window_end);
        halving_spread(plan, rank, builder, PLAN_NONE, PLAN_NONE);
        if (plan->rank_count == 1) continue;
        builder_block_track(builder, plan, instance.channel, instance.window_begin, instance.window_end);
        halving_collect(plan, rank, builder);
    }
    return WEFT_OK;
}

weft_status halving_barrier(const struct weft_plan *plan, uint32_t rank, struct program_builder *builder)
{
    uint32_t count = plan->rank_count;
    builder_track(builder, 0, 0, 1, 1);
    builder_step(builder);
    for (uint32_t distance = 1; distance < count; distance *= 2) {
        builder_destination(builder, SPACE_SLOT, rank_ahead(plan, rank, distance));
        builder_step(builder);
        builder_source(builder, SPACE_SLOT, rank_ahead(plan, rank, count - distance));
    }
    return WEFT_OK;
}
