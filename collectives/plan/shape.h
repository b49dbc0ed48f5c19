/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who holds what of a message before and after a collective. A message is made of blocks, one after another: one for
 * all ranks together, or one for each rank, or one for each ordered pair of ranks (block sender * rank_count +
 * receiver). Generators, verifier and executor read the same table, so none of them knows a collective by name.
 */
#ifndef COLLECTIVES_PLAN_SHAPE_H
#define COLLECTIVES_PLAN_SHAPE_H

#include "collectives/plan/plan.h"

enum shape_blocks { BLOCKS_NONE, BLOCKS_ONE, BLOCKS_PER_RANK, BLOCKS_PER_PAIR };

/* Which ranks a block is with. OWNER: the rank it is named after, or the pair's sender before and receiver after. */
enum shape_holder { HOLDER_NOBODY, HOLDER_ALL, HOLDER_ROOT, HOLDER_PEER, HOLDER_OWNER };

struct shape {
    enum shape_blocks blocks;
    enum shape_holder input, output;
    bool combines; /* results hold every rank's contribution; else somebody's data, unchanged */
    bool rooted;   /* `root` means something */
};

const struct shape *shape_of(weft_collective collective);

static inline uint64_t plan_block_count(const struct weft_plan *plan)
{
    uint64_t ranks = plan->rank_count;
    enum shape_blocks blocks = shape_of(plan->collective)->blocks;
    return blocks == BLOCKS_PER_RANK ? ranks : blocks == BLOCKS_PER_PAIR ? ranks * ranks : 1;
}

/* Is the block in the rank's input buffer before, or in its output buffer after? */
bool plan_has_input(const struct weft_plan *plan, uint32_t rank, uint32_t block);
bool plan_has_output(const struct weft_plan *plan, uint32_t rank, uint32_t block);

/*
 * Where a block lies in the rank's input or output, counted in blocks. A rank that holds one block alone has it at
 * place 0; others have one for each rank, in order.
 */
uint32_t plan_input_place(const struct weft_plan *plan, uint32_t block);
uint32_t plan_output_place(const struct weft_plan *plan, uint32_t block);
#endif
