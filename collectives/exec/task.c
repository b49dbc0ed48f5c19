/* SPDX-License-Identifier: Apache-2.0 */
#include "collectives/exec/task.h"

/* Does everybody copy a part of the root's input, by the kernel, into the outputs of all but the root? */
static bool root_serves_itself(const struct operation *operation)
{
    const struct shape *shape = shape_here(operation);
    return operation->copied && !operation->apart && shape->blocks == BLOCKS_ONE && !shape->combines;
}

/* Does it have an output of its own to copy all of its input to? */
static bool root_keeps(const struct operation *operation)
{
    const struct engine *engine = operation->binding->engine;
    const uint32_t root = operation->binding->plan->root;
    if (!root_serves_itself(operation)) return false;
    if (engine->config.rank == root) return operation->call.send != operation->call.recv;
    const struct lent *lent = &engine->exchange.lent[root];
    return lent->input_loan.address != lent->output_loan.address;
}

uint32_t task_count(const struct operation *operation)
{
    const struct shape *shape = shape_here(operation);
    const struct weft_plan *plan = operation->binding->plan;
    if (shape->blocks == BLOCKS_ONE)
        return plan->root == operation->binding->engine->config.rank && root_keeps(operation) ? 2 : 1;
    if (shape->input != HOLDER_OWNER) return 1;
    if (shape->output != HOLDER_ROOT) return plan->rank_count;
    if (!operation->apart) return 1;
    return operation->binding->engine->config.rank == plan->root ? plan->rank_count : 0;
}

/*
 * How much of a block is the root's to do, for so much of everybody else's, that all are done at the same time. What
 * the kernel copies counts alone, and a plain copy as a quarter of it. Of what is combined for it, the root reads
 * everybody else's input, and each of the others too, but has to write the result besides. Of what it has for all, it
 * and the others make equally many copies, but the root may have its own to make as well.
 */
static void shares_of(const struct operation *operation, uint64_t *roots, uint64_t *others)
{
    const struct shape *shape = shape_here(operation);
    const uint64_t ranks = operation->binding->plan->rank_count;
    *roots = *others = 1;
    if (operation->copied && shape->output == HOLDER_ROOT) {
        *roots = ranks;
        *others = ranks - 1;
    } else if (root_keeps(operation)) {
        *roots = 3 * (ranks - 1);
        *others = 4 * (ranks - 1) + 1;
    }
}

struct share task_share(const struct operation *operation, uint32_t rank)
{
    const uint32_t ranks = operation->binding->plan->rank_count, root = operation->binding->plan->root;
    const struct portion *portion = &operation->portion;
    const uint64_t line = 64 / operation->element_bytes, count = portion->count;
    const uint64_t lines = (count + line - 1) / line;
    uint64_t roots, others;
    shares_of(operation, &roots, &others);
    const uint64_t all = roots + (ranks - 1) * others,
                   before = rank > root ? roots + (rank - 1) * others : rank * others;
    const uint64_t begin = lines * before / all * line;
    const uint64_t end = lines * (before + (rank == root ? roots : others)) / all * line;
    return (struct share){portion->begin + (begin < count ? begin : count),
                          portion->begin + (end < count ? end : count)};
}

/* The part of a block that is this rank's to do. */
static struct task share_task(const struct operation *operation)
{
    const uint32_t rank = operation->binding->engine->config.rank;
    const struct share share = task_share(operation, rank);
    return (struct task){
        .begin = share.begin,
        .end = share.end,
        .only = operation->pulls ? rank : PLAN_NONE,
        .except = root_serves_itself(operation) ? operation->binding->plan->root : PLAN_NONE,
    };
}

/*
 * Of what a pair has for each other, if either has it in place: one half is for one of them to swap, one for the other.
 * Both are cut alike, whoever does it.
 */
static struct task swap_task(const struct operation *operation, uint32_t owner)
{
    const uint32_t ranks = operation->binding->plan->rank_count, rank = operation->binding->engine->config.rank;
    const struct portion *portion = &operation->portion;
    const uint64_t line = 64 / operation->element_bytes, half = portion->begin + portion->count / 2 / line * line;
    return (struct task){
        .block = owner * ranks + rank,
        .begin = owner < rank ? half : portion->begin,
        .end = owner > rank ? half : portion->begin + portion->count, /* its own block as a whole */
        .only = PLAN_NONE,
        .except = PLAN_NONE,
    };
}

struct task task_at(const struct operation *operation, uint32_t number)
{
    const struct shape *shape = shape_here(operation);
    const uint32_t ranks = operation->binding->plan->rank_count, rank = operation->binding->engine->config.rank;
    const struct portion *portion = &operation->portion;
    struct task task = {
        .begin = portion->begin, .end = portion->begin + portion->count, .only = PLAN_NONE, .except = PLAN_NONE};
    if (shape->blocks == BLOCKS_ONE) {
        if (!operation->apart && number == 0) return share_task(operation);
        task.only = rank;
        if (!holder_is(operation->binding->plan, shape->output, rank)) task.end = task.begin;
        return task;
    }
    uint32_t owner = (rank + number) % ranks;
    if (operation->swaps) return swap_task(operation, owner);
    task.block = shape->blocks == BLOCKS_PER_PAIR ? owner * ranks + rank : owner;
    if (shape->output == HOLDER_ALL) task.only = rank;
    return task;
}
