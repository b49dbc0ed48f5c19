/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fractional packing: how much of each of very many things (rings, trees) fits into capacities, for the largest sum.
 * The simplex method with columns made on demand: the caller finds the cheapest thing at given prices of the rows.
 * Source: Dantzig and Wolfe (1960); Gilmore and Gomory (1961).
 */
#ifndef TOPOLOGY_SEARCH_FRACTION_H
#define TOPOLOGY_SEARCH_FRACTION_H

#include <stdbool.h>
#include <stdint.h>

#include "topology/search/bound.h"

/* What one thing uses of each row, as a list of (row, times) without repeats. */
struct fraction_column {
    uint32_t *rows;
    uint32_t *uses;
    uint32_t count;
};

struct fraction_problem {
    uint32_t row_count;
    const int64_t *capacity; /* by row, above 0 */
    /*
     * The cheapest thing at @p prices (by row, 0 or more): fills @p column, whose arrays have row_count entries, and
     * keeps the thing itself under the next number, counted from 0. False: out of memory, or there is nothing at all.
     */
    bool (*cheapest)(void *context, const double *prices, struct fraction_column *column);
    void *context;
    const struct search_budget *budget;
};

/*
 * weight[i] / denominator of thing i; the rest of what was tried has weight 0. Loads never exceed capacities, exactly.
 */
struct fraction_solution {
    uint32_t count;
    uint64_t *weights;
    uint64_t denominator;
    double value; /* the sum before rounding down */
    bool optimal; /* to within 1e-6: nothing cheaper was left when it ended */
};

/* False: out of memory, or there is nothing at all. fraction_solution_free() in either case. */
bool fraction_solve(const struct fraction_problem *problem, struct fraction_solution *solution);
void fraction_solution_free(struct fraction_solution *solution);
#endif
