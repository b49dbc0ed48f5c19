/* SPDX-License-Identifier: Apache-2.0 */
#include "collectives/plan/shape.h"

static const struct shape shapes[WEFT_COLLECTIVE_COUNT] = {
    /*                      blocks           input          output        combines rooted */
    [WEFT_ALL_REDUCE] = {BLOCKS_ONE, HOLDER_ALL, HOLDER_ALL, true, false},
    [WEFT_BROADCAST] = {BLOCKS_ONE, HOLDER_ROOT, HOLDER_ALL, false, true},
    [WEFT_BARRIER] = {BLOCKS_NONE, HOLDER_NOBODY, HOLDER_NOBODY, false, false},
    [WEFT_ALL_GATHER] = {BLOCKS_PER_RANK, HOLDER_OWNER, HOLDER_ALL, false, false},
    [WEFT_REDUCE_SCATTER] = {BLOCKS_PER_RANK, HOLDER_ALL, HOLDER_OWNER, true, false},
    [WEFT_REDUCE] = {BLOCKS_ONE, HOLDER_ALL, HOLDER_ROOT, true, true},
    [WEFT_GATHER] = {BLOCKS_PER_RANK, HOLDER_OWNER, HOLDER_ROOT, false, true},
    [WEFT_SCATTER] = {BLOCKS_PER_RANK, HOLDER_ROOT, HOLDER_OWNER, false, true},
    [WEFT_ALL_TO_ALL] = {BLOCKS_PER_PAIR, HOLDER_OWNER, HOLDER_OWNER, false, false},
    [WEFT_ALL_TO_ALLV] = {BLOCKS_PER_PAIR, HOLDER_OWNER, HOLDER_OWNER, false, false},
    [WEFT_SEND_RECV] = {BLOCKS_ONE, HOLDER_ROOT, HOLDER_PEER, false, true},
};

const struct shape *shape_of(weft_collective collective)
{
    return &shapes[collective];
}

static bool holds(const struct weft_plan *plan, enum shape_holder holder, uint32_t owner, uint32_t rank)
{
    switch (holder) {
    case HOLDER_ALL:
        return true;
    case HOLDER_ROOT:
        return rank == plan->root;
    case HOLDER_PEER:
        return rank == plan->peer;
    case HOLDER_OWNER:
        return rank == owner;
    default:
        return false;
    }
}

bool plan_has_input(const struct weft_plan *plan, uint32_t rank, uint32_t block)
{
    const struct shape *shape = shape_of(plan->collective);
    bool pairs = shape->blocks == BLOCKS_PER_PAIR;
    return holds(plan, shape->input, pairs ? block / plan->rank_count : block, rank);
}

bool plan_has_output(const struct weft_plan *plan, uint32_t rank, uint32_t block)
{
    const struct shape *shape = shape_of(plan->collective);
    bool pairs = shape->blocks == BLOCKS_PER_PAIR;
    return holds(plan, shape->output, pairs ? block % plan->rank_count : block, rank);
}

uint32_t plan_input_place(const struct weft_plan *plan, uint32_t block)
{
    const struct shape *shape = shape_of(plan->collective);
    if (shape->blocks == BLOCKS_PER_PAIR) return block % plan->rank_count;
    return shape->input == HOLDER_OWNER ? 0 : block;
}

uint32_t plan_output_place(const struct weft_plan *plan, uint32_t block)
{
    const struct shape *shape = shape_of(plan->collective);
    if (shape->blocks == BLOCKS_PER_PAIR) return block / plan->rank_count;
    return shape->output == HOLDER_OWNER ? 0 : block;
}
