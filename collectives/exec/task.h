/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who does what of a direct plan on buffers that everybody has lent everybody. All ranks cut alike, by what they have
 * read in each other's offers, so each knows its own part and where those of the others begin.
 */
#ifndef COLLECTIVES_TASK_H
#define COLLECTIVES_TASK_H

#include "collectives/exec/exec_internal.h"

/* A part of a block, and who gets it. */
struct task {
    uint32_t block;
    uint64_t begin, end; /* elements of the block */
    uint32_t only;       /* of the receivers, or PLAN_NONE: all */
    uint32_t except;     /* one of them, or PLAN_NONE: nobody */
};

/* Elements of a block. */
struct share {
    uint64_t begin, end;
};

/* How many tasks this rank has, and each. */
uint32_t task_count(const struct operation *operation);
/*
 * A message of one block is cut into a share for each rank. Where blocks have owners, the rank that gets several pulls
 * them, beginning with its own; only to a root everybody pushes its own block, so that not all is the root's to do.
 * Apart, a rank makes all of its own result.
 */
struct task task_at(const struct operation *operation, uint32_t number);
/* Of a portion of a block that is cut into a share for each rank: @p rank's. In whole cache lines, so that no two ranks
 * write one. */
struct share task_share(const struct operation *operation, uint32_t rank);

static inline const struct shape *shape_here(const struct operation *operation)
{
    return shape_of(operation->binding->plan->collective);
}

static inline bool holder_is(const struct weft_plan *plan, enum shape_holder holder, uint32_t rank)
{
    return holder == HOLDER_ALL || holder == HOLDER_OWNER || (holder == HOLDER_ROOT && rank == plan->root);
}

/* Blocks in a buffer of a rank that has some. */
static inline uint64_t places_of(const struct weft_plan *plan, enum shape_holder holder)
{
    enum shape_blocks blocks = shape_of(plan->collective)->blocks;
    if (blocks == BLOCKS_ONE || (blocks == BLOCKS_PER_RANK && holder == HOLDER_OWNER)) return 1;
    return plan->rank_count;
}
#endif
