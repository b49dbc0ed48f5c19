/* SPDX-License-Identifier: Apache-2.0 */
#include "collectives/plan/generators.h"

#define MANY PLAN_MAX_RANKS
#define OPERANDS PLAN_MAX_OPERANDS
#define GROUPED 16384u /* 128 groups of 128: what a step has operands for */

#define ROW(collective, algorithm, ...) [collective][algorithm] = {collective, algorithm, __VA_ARGS__}
/* Found for every call, so without a search. */
static const struct plan_generator generators[WEFT_COLLECTIVE_COUNT][WEFT_ALGORITHM_COUNT] = {
    /* collective         algorithm               channels, shares a unit  most ranks  layout          function */
    ROW(WEFT_ALL_REDUCE, WEFT_ALGORITHM_RING, 1, 1, MANY, LAYOUT_USED, ring_all_reduce),
    ROW(WEFT_ALL_REDUCE, WEFT_ALGORITHM_TREE, 2, 2, MANY, LAYOUT_USED, tree_all_reduce),
    ROW(WEFT_ALL_REDUCE, WEFT_ALGORITHM_DIRECT, 2, 1, OPERANDS, LAYOUT_REFUSED, direct_all_reduce),
    ROW(WEFT_ALL_REDUCE, WEFT_ALGORITHM_HIERARCHICAL, 2, 1, GROUPED, LAYOUT_USED, hierarchy_all_reduce),
    ROW(WEFT_BROADCAST, WEFT_ALGORITHM_RING, 1, 1, MANY, LAYOUT_USED, ring_broadcast),
    ROW(WEFT_BROADCAST, WEFT_ALGORITHM_TREE, 2, 2, MANY, LAYOUT_USED, tree_broadcast),
    ROW(WEFT_BROADCAST, WEFT_ALGORITHM_DIRECT, 1, 1, OPERANDS, LAYOUT_REFUSED, direct_broadcast),
    ROW(WEFT_BROADCAST, WEFT_ALGORITHM_HIERARCHICAL, 2, 1, GROUPED, LAYOUT_USED, hierarchy_broadcast),
    ROW(WEFT_BARRIER, WEFT_ALGORITHM_RING, 1, 1, MANY, LAYOUT_USED, ring_barrier),
    ROW(WEFT_BARRIER, WEFT_ALGORITHM_TREE, 1, 1, MANY, LAYOUT_USED, tree_barrier),
    ROW(WEFT_BARRIER, WEFT_ALGORITHM_DIRECT, 1, 1, OPERANDS, LAYOUT_REFUSED, direct_barrier),
    ROW(WEFT_BARRIER, WEFT_ALGORITHM_HALVING, 1, 1, MANY, LAYOUT_REFUSED, halving_barrier),
    ROW(WEFT_BARRIER, WEFT_ALGORITHM_HIERARCHICAL, 2, 1, GROUPED, LAYOUT_USED, hierarchy_barrier),
    ROW(WEFT_ALL_GATHER, WEFT_ALGORITHM_RING, 1, 1, MANY, LAYOUT_USED, ring_all_gather),
    ROW(WEFT_ALL_GATHER, WEFT_ALGORITHM_TREE, 1, 1, MANY, LAYOUT_NEEDED, tree_all_gather),
    ROW(WEFT_ALL_GATHER, WEFT_ALGORITHM_DIRECT, 1, 1, OPERANDS, LAYOUT_REFUSED, direct_all_gather),
    ROW(WEFT_ALL_GATHER, WEFT_ALGORITHM_HALVING, 1, 1, MANY, LAYOUT_REFUSED, halving_all_gather),
    ROW(WEFT_ALL_GATHER, WEFT_ALGORITHM_HIERARCHICAL, 2, 1, GROUPED, LAYOUT_USED, hierarchy_all_gather),
    ROW(WEFT_REDUCE_SCATTER, WEFT_ALGORITHM_RING, 1, 1, MANY, LAYOUT_USED, ring_reduce_scatter),
    ROW(WEFT_REDUCE_SCATTER, WEFT_ALGORITHM_TREE, 1, 1, MANY, LAYOUT_NEEDED, tree_reduce_scatter),
    ROW(WEFT_REDUCE_SCATTER, WEFT_ALGORITHM_DIRECT, 1, 1, OPERANDS, LAYOUT_REFUSED, direct_reduce_scatter),
    ROW(WEFT_REDUCE_SCATTER, WEFT_ALGORITHM_HIERARCHICAL, 2, 1, GROUPED, LAYOUT_USED, hierarchy_reduce_scatter),
    ROW(WEFT_REDUCE, WEFT_ALGORITHM_RING, 1, 1, MANY, LAYOUT_USED, ring_reduce),
    ROW(WEFT_REDUCE, WEFT_ALGORITHM_TREE, 2, 2, MANY, LAYOUT_USED, tree_reduce),
    ROW(WEFT_REDUCE, WEFT_ALGORITHM_DIRECT, 1, 1, OPERANDS, LAYOUT_REFUSED, direct_reduce),
    ROW(WEFT_REDUCE, WEFT_ALGORITHM_HIERARCHICAL, 2, 1, GROUPED, LAYOUT_USED, hierarchy_reduce),
    ROW(WEFT_GATHER, WEFT_ALGORITHM_TREE, 1, 1, MANY, LAYOUT_REFUSED, binomial_gather),
    ROW(WEFT_GATHER, WEFT_ALGORITHM_DIRECT, 1, 1, MANY, LAYOUT_REFUSED, direct_gather),
    ROW(WEFT_SCATTER, WEFT_ALGORITHM_TREE, 1, 1, MANY, LAYOUT_REFUSED, binomial_scatter),
    ROW(WEFT_SCATTER, WEFT_ALGORITHM_DIRECT, 1, 1, MANY, LAYOUT_REFUSED, direct_scatter),
    ROW(WEFT_ALL_TO_ALL, WEFT_ALGORITHM_DIRECT, 1, 1, PLAN_MAX_PAIR_RANKS, LAYOUT_REFUSED, direct_all_to_all),
    ROW(WEFT_ALL_TO_ALLV, WEFT_ALGORITHM_DIRECT, 1, 1, PLAN_MAX_PAIR_RANKS, LAYOUT_REFUSED, direct_all_to_all),
    ROW(WEFT_SEND_RECV, WEFT_ALGORITHM_DIRECT, 1, 1, MANY, LAYOUT_REFUSED, direct_send_recv),
};

/* A direct plan has all contributions at hand where it combines them, so it is the same one, with a tree. */
static const struct plan_generator canonical_generators[WEFT_COLLECTIVE_COUNT][WEFT_ALGORITHM_COUNT] = {
    ROW(WEFT_ALL_REDUCE, WEFT_ALGORITHM_TREE, 2, 2, MANY, LAYOUT_REFUSED, canonical_tree_all_reduce),
    ROW(WEFT_ALL_REDUCE, WEFT_ALGORITHM_DIRECT, 2, 1, OPERANDS, LAYOUT_REFUSED, direct_all_reduce),
    ROW(WEFT_ALL_REDUCE, WEFT_ALGORITHM_HALVING, 2, 1, MANY, LAYOUT_REFUSED, canonical_halving_all_reduce),
    ROW(WEFT_REDUCE_SCATTER, WEFT_ALGORITHM_DIRECT, 1, 1, OPERANDS, LAYOUT_REFUSED, direct_reduce_scatter),
    ROW(WEFT_REDUCE_SCATTER, WEFT_ALGORITHM_HALVING, 1, 1, MANY, LAYOUT_REFUSED, canonical_halving_reduce_scatter),
    ROW(WEFT_REDUCE, WEFT_ALGORITHM_TREE, 2, 2, MANY, LAYOUT_REFUSED, canonical_tree_reduce),
    ROW(WEFT_REDUCE, WEFT_ALGORITHM_DIRECT, 1, 1, OPERANDS, LAYOUT_REFUSED, direct_reduce),
};

const struct plan_generator *plan_generator_find_canonical(weft_collective collective, weft_algorithm algorithm)
{
    if (!shape_of(collective)->combines) return plan_generator_find(collective, algorithm);
    const struct plan_generator *generator = &canonical_generators[collective][algorithm];
    return generator->generate ? generator : NULL;
}

const struct plan_generator *plan_generator_find(weft_collective collective, weft_algorithm algorithm)
{
    const struct plan_generator *generator = &generators[collective][algorithm];
    return generator->generate ? generator : NULL;
}

bool plan_generator_serves(const struct plan_generator *generator, uint32_t rank_count, bool layout)
{
    if (rank_count > generator->rank_limit) return false;
    return layout ? generator->layout != LAYOUT_REFUSED : generator->layout != LAYOUT_NEEDED;
}
