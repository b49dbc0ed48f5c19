/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Binomial trees over the ranks from the root on, going round: place v's parent is v without its lowest bit set, and
 * below v are the places up to the next one without those bits. Blocks of those below a place follow each other, so
 * what goes over an edge is one run of blocks. log2(n) messages one after another; the root's neighbour passes on half
 * of all blocks.
 */
#include "collectives/plan/generators.h"

/* How many places there are below @p place, itself included. */
static uint32_t subtree_size(uint32_t place, uint32_t count)
{
    uint32_t lowest = place & (~place + 1);
    return place == 0 || lowest > count - place ? count - place : lowest;
}

static uint32_t place_rank(const struct weft_plan *plan, uint32_t place)
{
    return (uint32_t)(((uint64_t)plan->root + place) % plan->rank_count);
}

static uint32_t rank_place(const struct weft_plan *plan, uint32_t rank)
{
    return (rank + plan->rank_count - plan->root) % plan->rank_count;
}

/* The blocks of @p place and those below it, one after another. */
static void run_step(struct program_builder *builder, const struct weft_plan *plan, uint32_t place)
{
    struct plan_step *step = builder_step(builder);
    step->chunk = place_rank(plan, place);
    step->repeat = subtree_size(place, plan->rank_count);
    step->stride = step->repeat > 1 ? 1 : 0;
}

static void own_step(struct program_builder *builder, uint32_t rank)
{
    builder_step(builder)->chunk = rank;
}

/* Children at distances 1, 2, 4, ... : their runs follow this place's own block in this order. */
static uint32_t next_child(uint32_t place, uint32_t child, uint32_t count)
{
    uint32_t distance = child == place ? 1 : 2 * (child - place);
    bool below = place == 0 || distance < (place & (~place + 1));
    return below && distance < count - place ? place + distance : place;
}

/* A root deals with each child in a track of its own; others pass on what their parent needs in the order it needs it.
 */
weft_status binomial_gather(const struct weft_plan *plan, uint32_t rank, struct program_builder *builder)
{
    uint32_t place = rank_place(plan, rank), count = plan->rank_count;
    uint32_t parent = place_rank(plan, place & (place - 1));
    for (uint32_t i = 0; i < plan_instance_count(plan); i++) {
        struct plan_instance instance = plan_instance_at(plan, i);
        builder_block_track(builder, plan, instance.channel, instance.window_begin, instance.window_end);
        own_step(builder, rank);
        builder_source(builder, SPACE_INPUT, rank);
        builder_destination(builder, place == 0 ? SPACE_OUTPUT : SPACE_SLOT, place == 0 ? rank : parent);
        for (uint32_t child = next_child(place, place, count); child != place;
             child = next_child(place, child, count)) {
            if (place == 0)
                builder_block_track(builder, plan, instance.channel, instance.window_begin, instance.window_end);
            run_step(builder, plan, child);
            builder_source(builder, SPACE_SLOT, place_rank(plan, child));
            builder_destination(builder, place == 0 ? SPACE_OUTPUT : SPACE_SLOT, place == 0 ? rank : parent);
        }
    }
    return WEFT_OK;
}

weft_status binomial_scatter(const struct weft_plan *plan, uint32_t rank, struct program_builder *builder)
{
    uint32_t place = rank_place(plan, rank), count = plan->rank_count;
    uint32_t parent = place_rank(plan, place & (place - 1));
    for (uint32_t i = 0; i < plan_instance_count(plan); i++) {
        struct plan_instance instance = plan_instance_at(plan, i);
        builder_block_track(builder, plan, instance.channel, instance.window_begin, instance.window_end);
        own_step(builder, rank);
        builder_source(builder, place == 0 ? SPACE_INPUT : SPACE_SLOT, place == 0 ? rank : parent);
        builder_destination(builder, SPACE_OUTPUT, rank);
        for (uint32_t child = next_child(place, place, count); child != place;
             child = next_child(place, child, count)) {
            if (place == 0)
                builder_block_track(builder, plan, instance.channel, instance.window_begin, instance.window_end);
            run_step(builder, plan, child);
            builder_source(builder, place == 0 ? SPACE_INPUT : SPACE_SLOT, place == 0 ? rank : parent);
            builder_destination(builder, SPACE_SLOT, place_rank(plan, child));
        }
    }
    return WEFT_OK;
}
