/* SPDX-License-Identifier: Apache-2.0 */
/* The busiest link of a plan, each pair of ranks sending over one shortest way. */
#include <stdlib.h>
#include <string.h>

#include "collectives/arrange/book.h"
#include "collectives/plan/tree_shape.h"
#include "topology/simulate/route.h"

struct pairs {
    const struct rating *rating;
    struct route_request *requests;
    double *shares;
    uint32_t count, capacity;
    bool failed;
};

static void pair_add(struct pairs *pairs, uint32_t from_rank, uint32_t to_rank, double share)
{
    uint32_t from = pairs->rating->nodes[from_rank], to = pairs->rating->nodes[to_rank];
    if (from == to || share <= 0 || pairs->failed) return; /* through memory, which is no link of the topology */
    if (pairs->count == pairs->capacity) {
        uint32_t capacity = pairs->capacity ? 2 * pairs->capacity : 256;
        struct route_request *requests = realloc(pairs->requests, capacity * sizeof *requests);
        if (requests) pairs->requests = requests;
        double *shares = realloc(pairs->shares, capacity * sizeof *shares);
        if (shares) pairs->shares = shares;
        pairs->failed = !requests || !shares;
        if (pairs->failed) return;
        pairs->capacity = capacity;
    }
    pairs->requests[pairs->count] = (struct route_request){.from = from, .to = to, .salt = from_rank};
    pairs->shares[pairs->count++] = share;
}

static void load_add(void *context, const weft_plan_load *load)
{
    pair_add(context, load->from, load->to, load->share);
}

/* ---- Rings and trees: what they carry follows from what they are ---- */

static double ring_share(weft_collective collective, uint32_t rank_count)
{
    double around = (rank_count - 1.0) / rank_count;
    switch (collective) {
    case WEFT_ALL_REDUCE:
        return 2 * around;
    case WEFT_ALL_GATHER:
    case WEFT_REDUCE_SCATTER:
        return around;
    case WEFT_BROADCAST:
    case WEFT_REDUCE:
        return 1;
    default:
        return 0;
    }
}

static void rings_add(struct pairs *pairs, weft_collective collective, const weft_plan_layout *layout)
{
    uint32_t n = pairs->rating->rank_count;
    double share = ring_share(collective, n), total = 0;
    for (uint32_t i = 0; i < layout->ring_count; i++) total += layout->rings[i].weight;
    for (uint32_t i = 0; i < layout->ring_count; i++)
        for (uint32_t k = 0; k < n; k++)
            pair_add(pairs, layout->rings[i].order[k], layout->rings[i].order[(k + 1) % n],
                     share * layout->rings[i].weight / total);
}

/*
 * One way of a tree. Where it is turned towards another root, what lies between the two goes the other way.
 * @p on_path: room for all ranks.
 */
static void way_add(struct pairs *pairs, const weft_plan_tree *tree, bool up, uint32_t root, double share,
                    bool *on_path)
{
    const uint32_t *parents = up && tree->reduce_parents ? tree->reduce_parents : tree->parents;
    uint32_t n = pairs->rating->rank_count;
    memset(on_path, 0, n * sizeof *on_path);
    for (uint32_t at = root, steps = 0; at != tree->root && steps < n; at = parents[at], steps++) on_path[at] = true;
    for (uint32_t rank = 0; rank < n; rank++) {
        if (rank == tree->root) continue;
        bool towards_parent = up != on_path[rank];
        pair_add(pairs, towards_parent ? rank : parents[rank], towards_parent ? parents[rank] : rank, share);
    }
}

static bool trees_add(struct pairs *pairs, weft_collective collective, const weft_plan_layout *layout)
{
    uint32_t n = pairs->rating->rank_count;
    bool one_root = collective == WEFT_BROADCAST || collective == WEFT_REDUCE, rooted_here = false;
    bool down = collective != WEFT_REDUCE && collective != WEFT_REDUCE_SCATTER;
    bool up = collective == WEFT_ALL_REDUCE || !down;
    bool each_root = collective == WEFT_ALL_GATHER || collective == WEFT_REDUCE_SCATTER;
    double *totals = calloc(n, sizeof *totals), total = 0;
    bool *on_path = calloc(n, sizeof *on_path);
    for (uint32_t i = 0; totals && i < layout->tree_count; i++) {
        totals[layout->trees[i].root] += layout->trees[i].weight;
        total += layout->trees[i].weight;
        rooted_here = rooted_here || (one_root && layout->trees[i].root == 0);
    }
    for (uint32_t i = 0; totals && on_path && i < layout->tree_count; i++) {
        const weft_plan_tree *tree = &layout->trees[i];
        if (rooted_here && tree->root != 0) continue;
        double share = tree->weight / total;
        if (rooted_here) share = tree->weight / totals[0];
        if (each_root) share = tree->weight / totals[tree->root] / n;
        uint32_t root = one_root ? 0 : tree->root;
        if (down) way_add(pairs, tree, false, root, share, on_path);
        if (up) way_add(pairs, tree, true, root, share, on_path);
    }
    bool made = totals && on_path;
    free(totals);
    free(on_path);
    return made;
}

/* ---- The busiest link ---- */

static double busiest(const struct route_links *links, const struct routes *routes, const double *shares, double *loads)
{
    double slowest = 0; /* seconds for each byte of the message */
    for (uint32_t route = 0; route < routes->count; route++)
        for (uint32_t hop = 0; hop < routes->spans[route].count; hop++) {
            uint32_t link = routes->links[routes->spans[route].first + hop];
            loads[link] += shares[route];
            double capacity = (double)links->capacities[link];
            if (capacity > 0 && loads[link] / capacity > slowest) slowest = loads[link] / capacity;
        }
    return slowest > 0 ? 1 / slowest : 0;
}

static bool pairs_rate(struct pairs *pairs, double *algbw)
{
    struct route_links links;
    struct routes routes = {0};
    const struct rating *rating = pairs->rating;
    if (pairs->failed) return false;
    if (pairs->count == 0 || pairs->count > BOOK_RATED_PAIRS_MAX) return true;
    if (!route_links_open(rating->topology, &cost_figures_built_in, rating->assumed, &links)) return false;
    weft_status status =
        routes_find(rating->topology, &cost_figures_built_in, &links, pairs->requests, pairs->count, &routes, NULL);
    double *loads = calloc((size_t)links.count + 1, sizeof *loads);
    bool made = loads && status != WEFT_OUT_OF_MEMORY;
    if (made && status == WEFT_OK) *algbw = busiest(&links, &routes, pairs->shares, loads);
    free(loads);
    routes_free(&routes);
    route_links_close(&links);
    return made;
}

static void pairs_free(struct pairs *pairs)
{
    free(pairs->requests);
    free(pairs->shares);
}

bool rate_plan(const struct rating *rating, const weft_plan *plan, double *algbw)
{
    struct pairs pairs = {.rating = rating};
    *algbw = 0;
    weft_status status = weft_plan_loads(plan, load_add, &pairs);
    bool made = status != WEFT_OUT_OF_MEMORY && (status != WEFT_OK || pairs_rate(&pairs, algbw));
    pairs_free(&pairs);
    return made;
}

bool rate_layout(const struct rating *rating, weft_collective collective, const weft_plan_layout *layout, double *algbw)
{
    struct pairs pairs = {.rating = rating};
    *algbw = 0;
    bool made = true;
    if (layout->ring_count)
        rings_add(&pairs, collective, layout);
    else
        made = trees_add(&pairs, collective, layout);
    made = made && pairs_rate(&pairs, algbw);
    pairs_free(&pairs);
    return made;
}

bool rate_in_order(const struct rating *rating, weft_collective collective, weft_algorithm algorithm, double *algbw)
{
    uint32_t n = rating->rank_count, *numbers = calloc(2 * (size_t)n, sizeof *numbers);
    const weft_plan_ring ring = {.order = numbers, .weight = 1};
    weft_plan_tree trees[2] = {{.parents = numbers, .weight = 1}, {.parents = numbers + n, .weight = 1}};
    bool rings = algorithm == WEFT_ALGORITHM_RING;
    const weft_plan_layout layout = {.size = sizeof layout,
                                     .rings = &ring,
                                     .ring_count = rings ? 1 : 0,
                                     .trees = trees,
                                     .tree_count = rings ? 0 : 2};
    for (uint32_t i = 0; numbers && i < 2 * n; i++) {
        struct tree_place place = tree_shape((int)(i / n), i % n, n);
        numbers[i] = rings ? i % n : place.parent;
        if (!rings && place.parent == TREE_NONE) trees[i / n].root = i % n, numbers[i] = i % n;
    }
    bool made = numbers && rate_layout(rating, collective, &layout, algbw);
    free(numbers);
    return made;
}
