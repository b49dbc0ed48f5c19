/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fractional rings: column generation, where the cheapest ring at given prices is a shortest tour of the ranks, found
 * exactly by dynamic programming over subsets (Held and Karp 1962). 2^13 subsets at most.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "topology/search/fraction.h"
#include "topology/search/paths.h"
#include "topology/search/rings.h"

struct tour_search {
    struct search_context *context;
    struct rank_paths paths;
    double
        *best; /* subset of ranks 1.. (as bits) * ranks + last: cheapest way from rank 0 through it, ending in last */
    uint8_t *from; /* the rank before last on it */
    uint32_t *tour, *uses;
    struct ring_set *set;
};

/* Fills s->tour; false when no tour exists. */
static bool cheapest_tour(struct tour_search *s)
{
    uint32_t ranks = s->context->graph->rank_count, others = ranks - 1, full = (1u << others) - 1;
    for (size_t i = 0; i < ((size_t)full + 1) * ranks; i++) s->best[i] = INFINITY;
    for (uint32_t rank = 1; rank < ranks; rank++)
        s->best[(size_t)(1u << (rank - 1)) * ranks + rank] = rank_paths_cost(&s->paths, 0, rank);
    for (uint32_t subset = 1; subset < full; subset++)
        for (uint32_t last = 1; last < ranks; last++) {
            double cost = s->best[(size_t)subset * ranks + last];
            if (isinf(cost)) continue;
            for (uint32_t next = 1; next < ranks; next++) {
                if (subset & 1u << (next - 1)) continue;
                size_t to = (size_t)(subset | 1u << (next - 1)) * ranks + next;
                double longer = cost + rank_paths_cost(&s->paths, last, next);
                if (longer >= s->best[to]) continue;
                s->best[to] = longer;
                s->from[to] = (uint8_t)last;
            }
        }
    uint32_t end = 0;
    double least = INFINITY;
    for (uint32_t last = 1; last < ranks; last++) {
        double cost = s->best[(size_t)full * ranks + last] + rank_paths_cost(&s->paths, last, 0);
        if (cost < least) least = cost, end = last;
    }
    if (isinf(least)) return false;
    for (uint32_t place = others, subset = full; place > 0; place--) {
        s->tour[place] = end;
        uint32_t before = s->from[(size_t)subset * ranks + end];
        subset &= ~(1u << (end - 1));
        end = before;
    }
    s->tour[0] = 0;
    return true;
}

static bool next_ring(void *context, const double *prices, struct fraction_column *column)
{
    struct tour_search *s = context;
    const struct search_flow_graph *graph = s->context->graph;
    uint32_t ranks = graph->rank_count, total = 0;
    rank_paths_find(&s->paths, prices);
    if (!cheapest_tour(s)) return false;
    struct ring *ring = ring_set_add(s->set, ranks * graph->node_count);
    if (!ring) return false;
    for (uint32_t i = 0; i < ranks; i++) {
        ring->order[i] = s->tour[i];
        ring->first[i] = total;
        total += rank_paths_arcs(&s->paths, s->tour[i], s->tour[(i + 1) % ranks], ring->arcs + total);
    }
    ring->first[ranks] = total;
    s->set->count++;
    memset(s->uses, 0, graph->arc_count * sizeof *s->uses);
    for (uint32_t i = 0; i < total; i++) s->uses[ring->arcs[i]]++;
    column->count = 0;
    for (uint32_t arc = 0; arc < graph->arc_count; arc++) {
        if (s->uses[arc] == 0) continue;
        column->rows[column->count] = arc;
        column->uses[column->count++] = s->uses[arc];
    }
    return true;
}

bool rings_fractional(struct search_context *context, struct ring_set *set)
{
    const struct search_flow_graph *graph = context->graph;
    struct tour_search s = {.context = context, .set = set};
    size_t cells = ((size_t)1 << (graph->rank_count - 1)) * graph->rank_count;
    struct fraction_solution solution = {0};
    int64_t *capacity = malloc((graph->arc_count + 1u) * sizeof *capacity);
    s.best = malloc(cells * sizeof *s.best);
    s.from = calloc(cells, sizeof *s.from);
    s.tour = calloc(graph->rank_count, sizeof *s.tour);
    s.uses = calloc(graph->arc_count + 1u, sizeof *s.uses);
    bool ok = rank_paths_init(&s.paths, graph) && capacity && s.best && s.from && s.tour && s.uses;
    for (uint32_t i = 0; i < graph->arc_count && ok; i++) capacity[i] = graph->arcs[i].capacity;
    struct fraction_problem problem = {.row_count = graph->arc_count,
                                       .capacity = capacity,
                                       .cheapest = next_ring,
                                       .context = &s,
                                       .budget = context->budget};
    ok = ok && fraction_solve(&problem, &solution);
    for (uint32_t i = 0; i < set->count && ok; i++) set->rings[i].weight = solution.weights[i];
    set->denominator = solution.denominator;
    set->value = solution.value;
    set->optimal = ok && solution.optimal;
    fraction_solution_free(&solution);
    free(capacity);
    free(s.best);
    free(s.from);
    free(s.tour);
    free(s.uses);
    rank_paths_free(&s.paths);
    return ok;
}
