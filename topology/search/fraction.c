/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Revised simplex with a dense inverse: at most a few hundred rows (arcs). Capacities are scaled to 1 and disturbed a
 * little, each row differently: on symmetric machines everything ties, and ties stall the method. The last basis is
 * then solved with the true capacities, and the result is rounded to fractions whose loads are checked in whole
 * numbers.
 */
#include "topology/search/fraction.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define TOLERANCE 1e-9
#define MOST_ROUNDS 5000
#define DISTURBANCE 1e-7
/* Denominators tried for a solution that is exactly a fraction; then a power of two, rounded down. */
#define SMALL_DENOMINATORS 2520u
#define LARGE_DENOMINATOR (UINT64_C(1) << 30)

struct simplex {
    const struct fraction_problem *problem;
    uint32_t rows;
    double *inverse; /* rows^2 */
    double *level;   /* by row: the basic variable's value */
    uint32_t *basic; /* by row: its number; rows and more: thing number - rows */
    double *prices, *direction, *scaled_prices;
    struct fraction_column *columns; /* by thing */
    uint32_t column_count, column_capacity;
    struct fraction_column scratch;
    unsigned __int128 *load; /* by row */
};

static void free_simplex(struct simplex *s)
{
    for (uint32_t i = 0; i < s->column_count; i++) {
        free(s->columns[i].rows);
        free(s->columns[i].uses);
    }
    free(s->columns);
    free(s->scratch.rows);
    free(s->scratch.uses);
    free(s->inverse);
    free(s->level);
    free(s->basic);
    free(s->prices);
    free(s->direction);
    free(s->scaled_prices);
    free(s->load);
}

/* In [0, 1), the same on every machine. */
static double jitter(uint32_t row)
{
    uint32_t hash = (row + 1) * 2654435761u;
    return (double)((hash ^ hash >> 15) & 0xffff) / 65536.0;
}

static bool start(struct simplex *s)
{
    size_t rows = s->rows;
    s->inverse = calloc(rows * rows + 1, sizeof *s->inverse);
    s->level = calloc(rows + 1, sizeof *s->level);
    s->basic = calloc(rows + 1, sizeof *s->basic);
    s->prices = calloc(rows + 1, sizeof *s->prices);
    s->direction = calloc(rows + 1, sizeof *s->direction);
    s->scaled_prices = calloc(rows + 1, sizeof *s->scaled_prices);
    s->load = calloc(rows + 1, sizeof *s->load);
    s->scratch.rows = calloc(rows + 1, sizeof *s->scratch.rows);
    s->scratch.uses = calloc(rows + 1, sizeof *s->scratch.uses);
    if (!s->inverse || !s->level || !s->basic || !s->prices || !s->direction || !s->scaled_prices || !s->load ||
        !s->scratch.rows || !s->scratch.uses)
        return false;
    for (uint32_t row = 0; row < s->rows; row++) {
        s->inverse[row * rows + row] = 1;
        s->level[row] = 1 + DISTURBANCE * jitter(row);
        s->basic[row] = row;
    }
    return true;
}

/* Keep a copy of the scratch column. */
static bool keep_column(struct simplex *s)
{
    if (s->column_count == s->column_capacity) {
        uint32_t capacity = s->column_capacity ? 2 * s->column_capacity : 64;
        struct fraction_column *columns = realloc(s->columns, capacity * sizeof *columns);
        if (!columns) return false;
        s->columns = columns;
        s->column_capacity = capacity;
    }
    uint32_t count = s->scratch.count;
    struct fraction_column column = {.count = count};
    column.rows = malloc((count + 1u) * sizeof *column.rows);
    column.uses = malloc((count + 1u) * sizeof *column.uses);
    if (!column.rows || !column.uses) {
        free(column.rows);
        free(column.uses);
        return false;
    }
    memcpy(column.rows, s->scratch.rows, count * sizeof *column.rows);
    memcpy(column.uses, s->scratch.uses, count * sizeof *column.uses);
    s->columns[s->column_count++] = column;
    return true;
}

static void find_prices(struct simplex *s)
{
    memset(s->prices, 0, s->rows * sizeof *s->prices);
    for (uint32_t i = 0; i < s->rows; i++) {
        if (s->basic[i] < s->rows) continue;
        const double *row = &s->inverse[(size_t)i * s->rows];
        for (uint32_t k = 0; k < s->rows; k++) s->prices[k] += row[k];
    }
}

static double scaled_use(const struct simplex *s, const struct fraction_column *column, uint32_t i)
{
    return column->uses[i] / (double)s->problem->capacity[column->rows[i]];
}

/* The inverse times the entering column: slack @p entering below rows, else a thing. */
static void find_direction(struct simplex *s, uint32_t entering)
{
    for (uint32_t i = 0; i < s->rows; i++) {
        const double *row = &s->inverse[(size_t)i * s->rows];
        double sum = 0;
        if (entering < s->rows) {
            sum = row[entering];
        } else {
            const struct fraction_column *column = &s->columns[entering - s->rows];
            for (uint32_t k = 0; k < column->count; k++) sum += row[column->rows[k]] * scaled_use(s, column, k);
        }
        s->direction[i] = sum;
    }
}

static bool pivot(struct simplex *s, uint32_t entering)
{
    find_direction(s, entering);
    uint32_t leaving = UINT32_MAX;
    double least = 0;
    for (uint32_t i = 0; i < s->rows; i++) {
        if (s->direction[i] < TOLERANCE) continue;
        double ratio = s->level[i] / s->direction[i];
        if (leaving != UINT32_MAX && ratio >= least) continue;
        leaving = i;
        least = ratio;
    }
    if (leaving == UINT32_MAX) return false;
    double *pivot_row = &s->inverse[(size_t)leaving * s->rows], element = s->direction[leaving];
    for (uint32_t k = 0; k < s->rows; k++) pivot_row[k] /= element;
    s->level[leaving] /= element;
    for (uint32_t i = 0; i < s->rows; i++) {
        if (i == leaving || s->direction[i] == 0) continue;
        double *row = &s->inverse[(size_t)i * s->rows], factor = s->direction[i];
        for (uint32_t k = 0; k < s->rows; k++) row[k] -= factor * pivot_row[k];
        s->level[i] -= factor * s->level[leaving];
        if (s->level[i] < 0) s->level[i] = 0;
    }
    s->basic[leaving] = entering;
    return true;
}

/* The next variable to enter, or UINT32_MAX at the optimum; *failed: out of memory or nothing there. */
static uint32_t choose_entering(struct simplex *s, bool *failed)
{
    uint32_t lowest = UINT32_MAX;
    find_prices(s);
    for (uint32_t row = 0; row < s->rows; row++)
        if (s->prices[row] < -TOLERANCE && (lowest == UINT32_MAX || s->prices[row] < s->prices[lowest])) lowest = row;
    if (lowest != UINT32_MAX) return lowest;
    for (uint32_t row = 0; row < s->rows; row++)
        s->scaled_prices[row] = (s->prices[row] > 0 ? s->prices[row] : 0) / (double)s->problem->capacity[row];
    if (!s->problem->cheapest(s->problem->context, s->scaled_prices, &s->scratch) || !keep_column(s)) {
        *failed = true;
        return UINT32_MAX;
    }
    const struct fraction_column *column = &s->columns[s->column_count - 1];
    double cost = 0;
    for (uint32_t i = 0; i < column->count; i++) cost += column->uses[i] * s->scaled_prices[column->rows[i]];
    return cost < 1 - 1e-7 ? s->rows + s->column_count - 1 : UINT32_MAX;
}

static bool run(struct simplex *s, bool *optimal)
{
    for (uint32_t round = 0; round < MOST_ROUNDS; round++) {
        bool failed = false;
        uint32_t entering = choose_entering(s, &failed);
        if (failed) return false;
        if (entering == UINT32_MAX) {
            *optimal = true;
            return true;
        }
        if (!pivot(s, entering) || search_expired(s->problem->budget)) return true;
    }
    return true;
}

/* Do whole weights keep to capacity * denominator everywhere? */
static bool fits(const struct simplex *s, const uint64_t *weights, uint64_t denominator)
{
    memset(s->load, 0, s->rows * sizeof *s->load);
    for (uint32_t i = 0; i < s->rows; i++) {
        if (s->basic[i] < s->rows) continue;
        uint32_t thing = s->basic[i] - s->rows;
        const struct fraction_column *column = &s->columns[thing];
        for (uint32_t k = 0; k < column->count; k++)
            s->load[column->rows[k]] += (unsigned __int128)weights[thing] * column->uses[k];
    }
    for (uint32_t row = 0; row < s->rows; row++)
        if (s->load[row] > (unsigned __int128)(uint64_t)s->problem->capacity[row] * denominator) return false;
    return true;
}

/* The basis at the true capacities, as weights of the things. */
static void true_levels(const struct simplex *s, double *weights)
{
    for (uint32_t i = 0; i < s->rows; i++) {
        if (s->basic[i] < s->rows) continue;
        double sum = 0;
        for (uint32_t k = 0; k < s->rows; k++) sum += s->inverse[(size_t)i * s->rows + k];
        weights[s->basic[i] - s->rows] = sum > 0 ? sum : 0;
    }
}

static bool round_weights(const struct simplex *s, struct fraction_solution *solution)
{
    solution->count = s->column_count;
    solution->weights = calloc(s->column_count + 1u, sizeof *solution->weights);
    double *weights = calloc(s->column_count + 1u, sizeof *weights);
    bool done = false;
    if (solution->weights && weights) true_levels(s, weights);
    for (uint32_t i = 0; i < s->column_count && weights; i++) solution->value += weights[i];
    for (uint64_t denominator = 1; denominator <= SMALL_DENOMINATORS && weights && solution->weights && !done;
         denominator++) {
        done = true;
        for (uint32_t i = 0; i < s->column_count && done; i++) {
            double scaled = weights[i] * (double)denominator;
            solution->weights[i] = (uint64_t)llround(scaled);
            done = fabs(scaled - round(scaled)) < 1e-5 * (1 + scaled * 1e-6);
        }
        done = done && fits(s, solution->weights, denominator);
        if (done) solution->denominator = denominator;
    }
    double shrink = 1;
    while (weights && solution->weights && !done && shrink > 0.5) {
        for (uint32_t i = 0; i < s->column_count; i++)
            solution->weights[i] = (uint64_t)floor(weights[i] * shrink * (double)LARGE_DENOMINATOR);
        solution->denominator = LARGE_DENOMINATOR;
        done = fits(s, solution->weights, LARGE_DENOMINATOR);
        shrink -= 1e-6;
        if (shrink < 1 - 1e-5) shrink -= 1e-3;
    }
    free(weights);
    return done;
}

bool fraction_solve(const struct fraction_problem *problem, struct fraction_solution *solution)
{
    struct simplex s = {.problem = problem, .rows = problem->row_count};
    *solution = (struct fraction_solution){0};
    bool ok = start(&s) && run(&s, &solution->optimal) && round_weights(&s, solution);
    free_simplex(&s);
    return ok;
}

void fraction_solution_free(struct fraction_solution *solution)
{
    free(solution->weights);
    solution->weights = NULL;
    solution->count = 0;
}
