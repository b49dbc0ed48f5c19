/* SPDX-License-Identifier: Apache-2.0 */
#include "topology/search/priced_trees.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "topology/search/arborescence.h"
#include "topology/search/paths.h"
#include "topology/search/realize.h"

/* Prices are the exponential of a link's load as a share of what the bound allows, times this. */
#define STEEPNESS 10.0
/* Rounds of taking each tree out and finding it again; the best round is kept. */
enum { ROUNDS = 4 };
#define ENOUGH 0.999
/* Roots that are tried for a share of an all-reduce. */
enum { ROOTS_TRIED = 3 };

/* What one share of the message travels over: towards its root, away from it, or both. */
struct share {
    uint32_t root;
    uint32_t *arcs;    /* of all edges in turn */
    uint32_t *first;   /* 2 * rank_count + 1 offsets into arcs: up by child, then down by child */
    uint32_t *parents; /* 2 * rank_count: up, down; UINT32_MAX at the root, and where there is no such way */
};

struct pricing {
    struct search_context *context;
    bool up, down, free_roots;
    double rate; /* of each share at the bound, in capacities */
    struct rank_paths paths;
    double *price, *cost;
    uint64_t *uses; /* by arc */
    uint32_t *parents;
    struct share *shares; /* one for each rank */
};

static void share_free(struct share *share)
{
    free(share->arcs);
    free(share->first);
    free(share->parents);
    *share = (struct share){0};
}

static void pricing_find(struct pricing *p)
{
    const struct search_flow_graph *graph = p->context->graph;
    for (uint32_t i = 0; i < graph->arc_count; i++) {
        double capacity = (double)graph->arcs[i].capacity;
        p->price[i] = exp(fmin(STEEPNESS * (double)p->uses[i] * p->rate / capacity, 300)) / capacity;
    }
    rank_paths_find(&p->paths, p->price);
}

/* The cheapest tree of one direction into parents[]; its cost, or INFINITY. */
static double tree_find(struct pricing *p, uint32_t root, bool up, uint32_t *parents)
{
    uint32_t ranks = p->context->graph->rank_count;
    double sum = 0;
    for (uint32_t from = 0; from < ranks; from++)
        for (uint32_t to = 0; to < ranks; to++)
            p->cost[(size_t)from * ranks + to] =
                up ? rank_paths_cost(&p->paths, to, from) : rank_paths_cost(&p->paths, from, to);
    if (!cheapest_arborescence(ranks, p->cost, root, parents)) return INFINITY;
    for (uint32_t child = 0; child < ranks; child++)
        if (parents[child] != UINT32_MAX) sum += p->cost[(size_t)parents[child] * ranks + child];
    return sum;
}

static double both_find(struct pricing *p, uint32_t root, uint32_t *parents)
{
    uint32_t ranks = p->context->graph->rank_count;
    memset(parents, 0xff, 2 * (size_t)ranks * sizeof *parents);
    double cost = p->up ? tree_find(p, root, true, parents) : 0;
    return cost + (p->down ? tree_find(p, root, false, parents + ranks) : 0);
}

/* Write down the ways of all edges. */
static bool share_take(struct pricing *p, uint32_t root, const uint32_t *parents, struct share *share)
{
    uint32_t ranks = p->context->graph->rank_count, total = 0;
    *share = (struct share){.root = root};
    share->parents = malloc(2 * (size_t)ranks * sizeof *share->parents);
    share->first = malloc((2 * (size_t)ranks + 1) * sizeof *share->first);
    share->arcs = malloc(2 * (size_t)ranks * p->context->graph->node_count * sizeof *share->arcs);
    if (!share->parents || !share->first || !share->arcs) {
        share_free(share);
        return false;
    }
    memcpy(share->parents, parents, 2 * (size_t)ranks * sizeof *parents);
    for (uint32_t i = 0; i < 2 * ranks; i++) {
        uint32_t child = i % ranks, parent = parents[i];
        share->first[i] = total;
        if (parent == UINT32_MAX) continue;
        total += i < ranks ? rank_paths_arcs(&p->paths, child, parent, share->arcs + total)
                           : rank_paths_arcs(&p->paths, parent, child, share->arcs + total);
    }
    share->first[2 * ranks] = total;
    uint32_t *fitted = realloc(share->arcs, (total + 1u) * sizeof *fitted);
    if (fitted) share->arcs = fitted;
    return true;
}

static void share_count(struct pricing *p, const struct share *share, bool add)
{
    uint32_t count = share->arcs ? share->first[2 * p->context->graph->rank_count] : 0;
    for (uint32_t i = 0; i < count; i++) p->uses[share->arcs[i]] += add ? 1 : UINT64_MAX; /* or less by one */
}

/* Find share @p index, or find it again; false: memory, or no tree at all. */
static bool share_find(struct pricing *p, uint32_t index)
{
    uint32_t ranks = p->context->graph->rank_count, best_root = index;
    uint32_t *tried = p->parents, *best = p->parents + 2 * (size_t)ranks;
    double least = both_find(p, index, best);
    for (uint32_t k = 1; k <= ROOTS_TRIED && p->free_roots; k++) {
        uint32_t root = (index + k * (ranks / (ROOTS_TRIED + 1) + 1)) % ranks;
        double cost = both_find(p, root, tried);
        if (cost >= least) continue;
        least = cost;
        best_root = root;
        memcpy(best, tried, 2 * (size_t)ranks * sizeof *best);
    }
    struct share found;
    if (isinf(least) || !share_take(p, best_root, best, &found)) return false;
    share_free(&p->shares[index]);
    p->shares[index] = found;
    return true;
}

/* What the fullest arc lets through of each share. */
static struct rational share_rate(const struct pricing *p)
{
    const struct search_flow_graph *graph = p->context->graph;
    struct rational rate = {UINT64_MAX, 1};
    for (uint32_t i = 0; i < graph->arc_count; i++)
        if (p->uses[i]) rate = rational_min(rate, rational_make((uint64_t)graph->arcs[i].capacity, p->uses[i]));
    return rate;
}

static bool round_run(struct pricing *p)
{
    uint32_t ranks = p->context->graph->rank_count, stride = 1;
    for (uint32_t step = ranks / 3 + 1; step < ranks; step++) /* neighbours in turn would meet at the same links */
        if (rational_gcd(step, ranks) == 1) {
            stride = step;
            break;
        }
    for (uint32_t i = 0; i < ranks; i++) {
        uint32_t index = (uint32_t)((uint64_t)i * stride % ranks);
        if (search_expired(p->context->budget)) return false;
        share_count(p, &p->shares[index], false);
        pricing_find(p); /* after each tree: two at the same prices would crowd the same links */
        if (!share_find(p, index)) return false;
        share_count(p, &p->shares[index], true);
    }
    return true;
}

/* Edges of one way, parents before children, over the links that were chosen. */
static const struct search_edge *edges_write(struct search_context *context, const struct share *share, bool up,
                                             const uint32_t *hops)
{
    uint32_t ranks = context->graph->rank_count, base = up ? 0 : ranks, count = 0;
    struct search_edge *edges = result_alloc(context, ranks, sizeof *edges);
    uint32_t *queue = malloc((ranks + 1u) * sizeof *queue);
    if (!queue) context->failed = true;
    if (queue) queue[0] = share->root;
    for (uint32_t head = 0; !context->failed && head <= count && head < ranks; head++)
        for (uint32_t child = 0; child < ranks; child++) {
            uint32_t first = share->first[base + child], length = share->first[base + child + 1] - first;
            if (share->parents[base + child] != queue[head]) continue;
            edges[count++] = (struct search_edge){
                .parent = queue[head], .child = child, .route = result_add_route(context, hops + first, length)};
            queue[count] = child;
        }
    free(queue);
    return edges;
}

/* Shares to trees over links: where links run in parallel, a share may come apart. False: it does not fit. */
static bool forest_write(struct pricing *p, struct rational rate, struct search_forest *forest)
{
    struct search_context *context = p->context;
    const struct search_flow_graph *graph = context->graph;
    struct realizer realizer;
    uint32_t ranks = graph->rank_count, room = ranks + graph->hop_count, count = 0;
    struct search_tree *trees = result_alloc(context, room, sizeof *trees);
    uint32_t *hops = malloc((2 * (size_t)ranks * graph->node_count + 1) * sizeof *hops);
    bool fits = realizer_init(&realizer, context, rate.denominator) && hops && trees;
    context->failed |= !fits;
    for (uint32_t i = 0; i < ranks && fits; i++) {
        const struct share *share = &p->shares[i];
        for (uint64_t left = rate.numerator, taken; left > 0 && fits; left -= taken) {
            taken = count < room ? realizer_take(&realizer, share->arcs, share->first[2 * ranks], left, hops) : 0;
            fits = taken > 0;
            if (!fits) break;
            trees[count++] = (struct search_tree){
                .root = share->root,
                .bandwidth = rational_multiply(rational_make(taken, rate.denominator), graph->unit),
                .edges = p->down ? edges_write(context, share, false, hops) : NULL,
                .reduce_edges = p->up ? edges_write(context, share, true, hops) : NULL,
                .edge_count = ranks - 1};
        }
    }
    realizer_free(&realizer);
    free(hops);
    if (!fits || context->failed) return false;
    *forest = (struct search_forest){.tree_count = count, .trees = trees, .method = "trees by growing prices of links"};
    forest->algbw = rational_multiply(rational_multiply(rate, rational_make(ranks, 1)), graph->unit);
    forest->gap = result_ratio(forest->algbw, context->result->bound.algbw);
    return true;
}

/* Rounds until the time is over; the best one's trees are written when they are found. */
static void rounds_run(struct pricing *p, struct search_forest *forest)
{
    struct rational best = {0, 1};
    for (uint32_t round = 0; round < ROUNDS && round_run(p); round++) {
        struct rational rate = share_rate(p);
        if (rational_compare(rate, best) <= 0) continue;
        struct search_forest found;
        if (!forest_write(p, rate, &found)) return;
        *forest = found;
        best = rate;
        if (rational_value(forest->gap) > ENOUGH) return;
    }
}

weft_status priced_trees(struct search_context *context, struct search_forest *forest)
{
    const struct search_flow_graph *graph = context->graph;
    enum search_collective collective = context->request->collective;
    size_t ranks = graph->rank_count;
    if (!rational_valid(context->result->bound.algbw)) return WEFT_OK;
    struct pricing p = {.context = context,
                        .up = collective != SEARCH_ALL_GATHER,
                        .down = collective != SEARCH_REDUCE_SCATTER,
                        .free_roots = collective == SEARCH_ALL_REDUCE};
    p.rate = rational_value(rational_divide(context->result->bound.algbw, graph->unit)) / (double)ranks;
    p.price = calloc(graph->arc_count + 1u, sizeof *p.price);
    p.cost = calloc(ranks * ranks, sizeof *p.cost);
    p.uses = calloc(graph->arc_count + 1u, sizeof *p.uses);
    p.parents = calloc(4 * ranks, sizeof *p.parents);
    p.shares = calloc(ranks, sizeof *p.shares);
    bool ready = rank_paths_init(&p.paths, graph);
    if (ready && p.price && p.cost && p.uses && p.parents && p.shares)
        rounds_run(&p, forest);
    else
        context->failed = true;
    for (uint32_t i = 0; i < ranks && p.shares; i++) share_free(&p.shares[i]);
    if (ready) rank_paths_free(&p.paths);
    free(p.price);
    free(p.cost);
    free(p.uses);
    free(p.parents);
    free(p.shares);
    return context->failed ? WEFT_OUT_OF_MEMORY : WEFT_OK;
}
