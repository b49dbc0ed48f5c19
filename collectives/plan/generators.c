/* SPDX-License-Identifier: Apache-2.0 */
#include "collectives/plan/generators.h"

static const struct plan_generator generators[] = {
    {WEFT_ALL_REDUCE, WEFT_ALGORITHM_RING, 1, ring_all_reduce},
    {WEFT_ALL_REDUCE, WEFT_ALGORITHM_TREE, 2, tree_all_reduce},
    {WEFT_BROADCAST, WEFT_ALGORITHM_RING, 1, ring_broadcast},
    {WEFT_BROADCAST, WEFT_ALGORITHM_TREE, 2, tree_broadcast},
    {WEFT_BARRIER, WEFT_ALGORITHM_RING, 1, ring_barrier},
    {WEFT_BARRIER, WEFT_ALGORITHM_TREE, 1, tree_barrier},
};

const struct plan_generator *plan_generator_find(weft_collective collective, weft_algorithm algorithm)
{
    for (size_t i = 0; i < sizeof generators / sizeof generators[0]; i++)
        if (generators[i].collective == collective && generators[i].algorithm == algorithm) return &generators[i];
    return NULL;
}
