/* SPDX-License-Identifier: Apache-2.0 */
#include "collectives/plan/generators.h"

#define MANY PLAN_MAX_RANKS
#define OPERANDS PLAN_MAX_OPERANDS

static const struct plan_generator generators[] = {
    /* collective         algorithm               channels, shares a unit  most ranks  layout          function */
    {WEFT_ALL_REDUCE, WEFT_ALGORITHM_RING, 1, 1, MANY, LAYOUT_USED, ring_all_reduce},
    {WEFT_ALL_REDUCE, WEFT_ALGORITHM_TREE, 2, 2, MANY, LAYOUT_USED, tree_all_reduce},
    {WEFT_ALL_REDUCE, WEFT_ALGORITHM_DIRECT, 2, 1, OPERANDS, LAYOUT_REFUSED, direct_all_reduce},
    {WEFT_BROADCAST, WEFT_ALGORITHM_RING, 1, 1, MANY, LAYOUT_USED, ring_broadcast},
    {WEFT_BROADCAST, WEFT_ALGORITHM_TREE, 2, 2, MANY, LAYOUT_USED, tree_broadcast},
    {WEFT_BROADCAST, WEFT_ALGORITHM_DIRECT, 1, 1, OPERANDS, LAYOUT_REFUSED, direct_broadcast},
    {WEFT_BARRIER, WEFT_ALGORITHM_RING, 1, 1, MANY, LAYOUT_USED, ring_barrier},
    {WEFT_BARRIER, WEFT_ALGORITHM_TREE, 1, 1, MANY, LAYOUT_USED, tree_barrier},
    {WEFT_BARRIER, WEFT_ALGORITHM_HALVING, 1, 1, MANY, LAYOUT_REFUSED, halving_barrier},
    {WEFT_ALL_GATHER, WEFT_ALGORITHM_RING, 1, 1, MANY, LAYOUT_USED, ring_all_gather},
    {WEFT_ALL_GATHER, WEFT_ALGORITHM_TREE, 1, 1, MANY, LAYOUT_NEEDED, tree_all_gather},
    {WEFT_ALL_GATHER, WEFT_ALGORITHM_DIRECT, 1, 1, OPERANDS, LAYOUT_REFUSED, direct_all_gather},
    {WEFT_ALL_GATHER, WEFT_ALGORITHM_HALVING, 1, 1, MANY, LAYOUT_REFUSED, halving_all_gather},
    {WEFT_REDUCE_SCATTER, WEFT_ALGORITHM_RING, 1, 1, MANY, LAYOUT_USED, ring_reduce_scatter},
    {WEFT_REDUCE_SCATTER, WEFT_ALGORITHM_TREE, 1, 1, MANY, LAYOUT_NEEDED, tree_reduce_scatter},
    {WEFT_REDUCE_SCATTER, WEFT_ALGORITHM_DIRECT, 1, 1, OPERANDS, LAYOUT_REFUSED, direct_reduce_scatter},
    {WEFT_REDUCE, WEFT_ALGORITHM_RING, 1, 1, MANY, LAYOUT_USED, ring_reduce},
    {WEFT_REDUCE, WEFT_ALGORITHM_TREE, 2, 2, MANY, LAYOUT_USED, tree_reduce},
    {WEFT_REDUCE, WEFT_ALGORITHM_DIRECT, 1, 1, OPERANDS, LAYOUT_REFUSED, direct_reduce},
    {WEFT_GATHER, WEFT_ALGORITHM_TREE, 1, 1, MANY, LAYOUT_REFUSED, binomial_gather},
    {WEFT_GATHER, WEFT_ALGORITHM_DIRECT, 1, 1, MANY, LAYOUT_REFUSED, direct_gather},
    {WEFT_SCATTER, WEFT_ALGORITHM_TREE, 1, 1, MANY, LAYOUT_REFUSED, binomial_scatter},
    {WEFT_SCATTER, WEFT_ALGORITHM_DIRECT, 1, 1, MANY, LAYOUT_REFUSED, direct_scatter},
    {WEFT_ALL_TO_ALL, WEFT_ALGORITHM_DIRECT, 1, 1, PLAN_MAX_PAIR_RANKS, LAYOUT_REFUSED, direct_all_to_all},
    {WEFT_ALL_TO_ALLV, WEFT_ALGORITHM_DIRECT, 1, 1, PLAN_MAX_PAIR_RANKS, LAYOUT_REFUSED, direct_all_to_all},
    {WEFT_SEND_RECV, WEFT_ALGORITHM_DIRECT, 1, 1, MANY, LAYOUT_REFUSED, direct_send_recv},
};

const struct plan_generator *plan_generator_find(weft_collective collective, weft_algorithm algorithm)
{
    for (size_t i = 0; i < sizeof generators / sizeof generators[0]; i++)
        if (generators[i].collective == collective && generators[i].algorithm == algorithm) return &generators[i];
    return NULL;
}

bool plan_generator_serves(const struct plan_generator *generator, uint32_t rank_count, bool layout)
{
    if (rank_count > generator->rank_limit) return false;
    return layout ? generator->layout != LAYOUT_REFUSED : generator->layout != LAYOUT_NEEDED;
}
