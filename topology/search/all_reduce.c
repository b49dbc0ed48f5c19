/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All-reduce over trees that first reduce towards a root and then broadcast from it, each share of the message with a
 * root and two trees of its own choice, all at once. Column generation: at given prices of links the best pair is, for
 * each possible root, the cheapest tree inwards and the cheapest outwards, over cheapest ways between ranks. This is
 * the best that any plan of trees can do, and more than reduce-scatter and all-gather where ranks differ.
 */
#include "topology/search/all_reduce.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "topology/search/arborescence.h"
#include "topology/search/fraction.h"
#include "topology/search/paths.h"
#include "topology/search/realize.h"

/* A pair of trees: arcs of all edges, up then down, parents as Chu and Liu name them. */
struct tree_pair {
    uint32_t root;
    uint32_t *parents; /* 2 * rank_count: up, down */
    uint32_t *arcs;    /* of all edges in turn: up's by child, then down's by child */
    uint32_t *first;   /* 2 * rank_count + 1 offsets into arcs */
};

struct pair_search {
    struct search_context *context;
    struct rank_paths paths;
    double *cost; /* rank_count^2 of one direction */
    uint32_t *parents, *best, *arcs;
    struct tree_pair *pairs;
    uint32_t pair_count, pair_capacity;
};

static double tree_cost(const struct rank_paths *paths, const uint32_t *parents, bool up)
{
    double sum = 0;
    for (uint32_t child = 0; child < paths->graph->rank_count; child++) {
        if (parents[child] == UINT32_MAX) continue;
        sum += up ? rank_paths_cost(paths, child, parents[child]) : rank_paths_cost(paths, parents[child], child);
    }
    return sum;
}

static void cost_matrix(struct pair_search *s, bool up)
{
    uint32_t ranks = s->context->graph->rank_count;
    for (uint32_t from = 0; from < ranks; from++)
        for (uint32_t to = 0; to < ranks; to++)
            s->cost[(size_t)from * ranks + to] =
                up ? rank_paths_cost(&s->paths, to, from) : rank_paths_cost(&s->paths, from, to);
}

/* Fills s->best with the cheapest pair's parents; its root, or UINT32_MAX when there is none. */
static uint32_t cheapest_pair(struct pair_search *s)
{
    uint32_t ranks = s->context->graph->rank_count, best_root = UINT32_MAX;
    double *up_cost = calloc(ranks, sizeof *up_cost), least = INFINITY;
    uint32_t *up = calloc((size_t)ranks * ranks, sizeof *up);
    cost_matrix(s, true);
    for (uint32_t root = 0; root < ranks && up && up_cost; root++) {
        bool found = cheapest_arborescence(ranks, s->cost, root, &up[(size_t)root * ranks]);
        up_cost[root] = found ? tree_cost(&s->paths, &up[(size_t)root * ranks], true) : INFINITY;
    }
    cost_matrix(s, false);
    for (uint32_t root = 0; root < ranks && up && up_cost; root++) {
        if (isinf(up_cost[root]) || !cheapest_arborescence(ranks, s->cost, root, s->parents)) continue;
        double cost = up_cost[root] + tree_cost(&s->paths, s->parents, false);
        if (best_root != UINT32_MAX && cost >= least - 1e-12) continue;
        least = cost;
        best_root = root;
        memcpy(s->best, &up[(size_t)root * ranks], ranks * sizeof *s->best);
        memcpy(s->best + ranks, s->parents, ranks * sizeof *s->best);
    }
    free(up_cost);
    free(up);
    return best_root;
}

static struct tree_pair *keep_pair(struct pair_search *s, uint32_t root)
{
    uint32_t ranks = s->context->graph->rank_count, total = 0;
    if (s->pair_count == s->pair_capacity) {
        uint32_t capacity = s->pair_capacity ? 2 * s->pair_capacity : 64;
        struct tree_pair *pairs = realloc(s->pairs, capacity * sizeof *pairs);
        if (!pairs) return NULL;
        s->pairs = pairs;
        s->pair_capacity = capacity;
    }
    struct tree_pair pair = {.root = root};
    pair.parents = malloc(2 * ranks * sizeof *pair.parents);
    pair.first = malloc((2 * ranks + 1) * sizeof *pair.first);
    pair.arcs = malloc((size_t)2 * ranks * s->context->graph->node_count * sizeof *pair.arcs);
    if (!pair.parents || !pair.first || !pair.arcs) {
        free(pair.parents);
        free(pair.first);
        free(pair.arcs);
        return NULL;
    }
    memcpy(pair.parents, s->best, 2 * ranks * sizeof *pair.parents);
    for (uint32_t i = 0; i < 2 * ranks; i++) {
        uint32_t child = i % ranks, parent = pair.parents[i];
        pair.first[i] = total;
        if (parent == UINT32_MAX) continue;
        total += i < ranks ? rank_paths_arcs(&s->paths, child, parent, pair.arcs + total)
                           : rank_paths_arcs(&s->paths, parent, child, pair.arcs + total);
    }
    pair.first[2 * ranks] = total;
    uint32_t *fitted = realloc(pair.arcs, (total + 1u) * sizeof *fitted);
    if (fitted) pair.arcs = fitted;
    s->pairs[s->pair_count] = pair;
    return &s->pairs[s->pair_count++];
}

static bool next_pair(void *context, const double *prices, struct fraction_column *column)
{
    struct pair_search *s = context;
    rank_paths_find(&s->paths, prices);
    uint32_t root = cheapest_pair(s);
    const struct tree_pair *pair = root == UINT32_MAX ? NULL : keep_pair(s, root);
    if (!pair) return false;
    uint32_t *uses = calloc(s->context->graph->arc_count + 1u, sizeof *uses);
    if (!uses) return false;
    for (uint32_t i = 0; i < pair->first[2 * s->context->graph->rank_count]; i++) uses[pair->arcs[i]]++;
    column->count = 0;
    for (uint32_t arc = 0; arc < s->context->graph->arc_count; arc++) {
        if (uses[arc] == 0) continue;
        column->rows[column->count] = arc;
        column->uses[column->count++] = uses[arc];
    }
    free(uses);
    return true;
}

/* Edges of one tree, parents before children, with the links that were chosen for them. */
static const struct search_edge *edges_of(struct pair_search *s, const struct tree_pair *pair, bool up,
                                          const uint32_t *hops)
{
    uint32_t ranks = s->context->graph->rank_count, count = 0, base = up ? 0 : ranks;
    struct search_edge *edges = result_alloc(s->context, ranks - 1, sizeof *edges);
    bool *placed = calloc(ranks, sizeof *placed);
    if (!placed) s->context->failed = true;
    if (placed) placed[pair->root] = true;
    while (!s->context->failed && count < ranks - 1)
        for (uint32_t child = 0; child < ranks; child++) {
            uint32_t parent = pair->parents[base + child], first = pair->first[base + child];
            if (placed[child] || !placed[parent]) continue;
            placed[child] = true;
            edges[count++] = (struct search_edge){
                .parent = parent,
                .child = child,
                .route = result_add_route(s->context, hops + first, pair->first[base + child + 1] - first)};
        }
    free(placed);
    return edges;
}

static void realize(struct pair_search *s, const struct fraction_solution *solution, struct search_forest *forest)
{
    const struct search_flow_graph *graph = s->context->graph;
    struct realizer realizer;
    uint32_t room = solution->count + graph->hop_count, count = 0; /* each split empties a link */
    struct search_tree *trees = result_alloc(s->context, room, sizeof *trees);
    uint32_t *hops = malloc(((size_t)2 * graph->rank_count * graph->node_count + 1) * sizeof *hops);
    if (!realizer_init(&realizer, s->context, solution->denominator) || !hops) s->context->failed = true;
    forest->algbw = (struct rational){0, 1};
    for (uint32_t i = 0; i < solution->count && !s->context->failed; i++) {
        const struct tree_pair *pair = &s->pairs[i];
        uint64_t left = solution->weights[i], taken;
        for (; left > 0 && count < room; left -= taken) {
            taken = realizer_take(&realizer, pair->arcs, pair->first[2 * graph->rank_count], left, hops);
            if (taken == 0) break;
            struct search_tree *tree = &trees[count++];
            *tree = (struct search_tree){.root = pair->root, .edge_count = graph->rank_count - 1};
            tree->bandwidth = rational_multiply(rational_make(taken, solution->denominator), graph->unit);
            tree->reduce_edges = edges_of(s, pair, true, hops);
            tree->edges = edges_of(s, pair, false, hops);
            forest->algbw = rational_add(forest->algbw, tree->bandwidth);
        }
    }
    realizer_free(&realizer);
    free(hops);
    forest->trees = trees;
    forest->tree_count = count;
    forest->method = "reduce-and-broadcast trees by column generation";
    forest->gap = result_ratio(forest->algbw, s->context->result->bound.algbw);
}

bool all_reduce_trees(struct search_context *context, struct search_forest *forest)
{
    const struct search_flow_graph *graph = context->graph;
    struct pair_search s = {.context = context};
    size_t ranks = graph->rank_count;
    struct fraction_solution solution = {0};
    int64_t *capacity = malloc((graph->arc_count + 1u) * sizeof *capacity);
    s.cost = calloc(ranks * ranks, sizeof *s.cost);
    s.parents = calloc(ranks, sizeof *s.parents);
    s.best = calloc(2 * ranks, sizeof *s.best);
    bool ok = rank_paths_init(&s.paths, graph) && capacity && s.cost && s.parents && s.best;
    for (uint32_t i = 0; i < graph->arc_count && ok; i++) capacity[i] = graph->arcs[i].capacity;
    struct fraction_problem problem = {.row_count = graph->arc_count,
                                       .capacity = capacity,
                                       .cheapest = next_pair,
                                       .context = &s,
                                       .budget = context->budget};
    ok = ok && fraction_solve(&problem, &solution);
    if (ok) realize(&s, &solution, forest);
    fraction_solution_free(&solution);
    for (uint32_t i = 0; i < s.pair_count; i++) {
        free(s.pairs[i].parents);
        free(s.pairs[i].first);
        free(s.pairs[i].arcs);
    }
    free(s.pairs);
    free(capacity);
    free(s.cost);
    free(s.parents);
    free(s.best);
    rank_paths_free(&s.paths);
    return ok && !context->failed;
}
