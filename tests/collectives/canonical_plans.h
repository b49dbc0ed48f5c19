/* SPDX-License-Identifier: Apache-2.0 */
/* Which collectives have canonical plans of which algorithms. */
#ifndef TESTS_CANONICAL_PLANS_H
#define TESTS_CANONICAL_PLANS_H

#include <weft/types.h>

static const struct canonical_plan {
    weft_collective collective;
    weft_algorithm algorithm;
} canonical_plans[] = {
    {WEFT_ALL_REDUCE, WEFT_ALGORITHM_DIRECT},
    {WEFT_ALL_REDUCE, WEFT_ALGORITHM_TREE},
    {WEFT_ALL_REDUCE, WEFT_ALGORITHM_HALVING},
    {WEFT_REDUCE_SCATTER, WEFT_ALGORITHM_DIRECT},
    {WEFT_REDUCE_SCATTER, WEFT_ALGORITHM_HALVING},
    {WEFT_REDUCE, WEFT_ALGORITHM_DIRECT},
    {WEFT_REDUCE, WEFT_ALGORITHM_TREE},
};
enum { CANONICAL_PLAN_COUNT = sizeof canonical_plans / sizeof canonical_plans[0] };
#endif
