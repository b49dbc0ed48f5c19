/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/topology/search_checker.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct loads {
    const weft_topology *topology;
    const struct search_result *result;
    struct rational *load; /* by hop */
};

void check_rational(struct rational value, uint64_t numerator, uint64_t denominator)
{
    if (value.numerator != numerator || value.denominator != denominator)
        fail_msg("%llu/%llu; expected %llu/%llu", (unsigned long long)value.numerator,
                 (unsigned long long)value.denominator, (unsigned long long)numerator, (unsigned long long)denominator);
}

/* Follow a route link by link, adding to the load of each. */
static void travel(struct loads *loads, uint32_t route_index, uint32_t from, uint32_t to, struct rational bandwidth)
{
    assert_true(route_index < loads->result->route_count);
    const struct search_route *route = &loads->result->routes[route_index];
    uint32_t at = loads->result->rank_nodes[from];
    assert_true(route->hop_count > 0);
    for (uint32_t i = 0; i < route->hop_count; i++) {
        assert_true(route->hops[i] / 2 < loads->topology->link_count);
        const struct topology_link *link = &loads->topology->links[route->hops[i] / 2];
        bool reversed = route->hops[i] % 2;
        assert_int_equal(at, reversed ? link->to : link->from);
        at = reversed ? link->from : link->to;
        loads->load[route->hops[i]] = rational_add(loads->load[route->hops[i]], bandwidth);
        assert_true(rational_valid(loads->load[route->hops[i]]));
    }
    assert_int_equal(at, loads->result->rank_nodes[to]);
}

static void clear(struct loads *loads)
{
    for (uint32_t i = 0; i < 2 * loads->topology->link_count; i++) loads->load[i] = (struct rational){0, 1};
}

static void compare_with_capacities(const struct loads *loads, const double *claimed)
{
    for (uint32_t i = 0; i < 2 * loads->topology->link_count; i++) {
        const struct topology_link *link = &loads->topology->links[i / 2];
        struct figure figure = i % 2 ? link->reverse_bandwidth : link->bandwidth;
        uint64_t links = link->count ? link->count : 1;
        uint64_t capacity = figure.source == FIGURE_UNKNOWN ? links : (uint64_t)llround(figure.value);
        if (rational_compare(loads->load[i], rational_make(capacity, 1)) > 0)
            fail_msg("link %u carries %.9g of %.9g", i / 2, rational_value(loads->load[i]), (double)capacity);
        if (claimed) assert_true(fabs(claimed[i] - rational_value(loads->load[i])) <= 1e-9 * (double)capacity);
    }
}

/* Every rank once, parents first, and data travelling the right way. */
static void check_edges(struct loads *loads, const struct search_tree *tree, const struct search_edge *edges,
                        bool towards_root)
{
    uint32_t ranks = loads->result->rank_count;
    bool *placed = calloc(ranks, sizeof *placed);
    assert_non_null(placed);
    placed[tree->root] = true;
    for (uint32_t i = 0; i < tree->edge_count; i++) {
        assert_true(edges[i].parent < ranks && edges[i].child < ranks);
        assert_true(placed[edges[i].parent]);
        assert_false(placed[edges[i].child]);
        placed[edges[i].child] = true;
        uint32_t from = towards_root ? edges[i].child : edges[i].parent;
        travel(loads, edges[i].route, from, towards_root ? edges[i].parent : edges[i].child, tree->bandwidth);
    }
    free(placed);
}

static void check_forest(struct loads *loads, const struct search_forest *forest, const double *claimed)
{
    const struct search_result *result = loads->result;
    bool up = result->collective != SEARCH_ALL_GATHER && result->collective != SEARCH_BROADCAST;
    bool down = result->collective != SEARCH_REDUCE_SCATTER && result->collective != SEARCH_REDUCE;
    bool rooted = result->collective == SEARCH_BROADCAST || result->collective == SEARCH_REDUCE;
    struct rational total = {0, 1}, *by_root = calloc(result->rank_count, sizeof *by_root);
    assert_non_null(by_root);
    for (uint32_t i = 0; i < result->rank_count; i++) by_root[i] = (struct rational){0, 1};
    clear(loads);
    for (uint32_t i = 0; i < forest->tree_count; i++) {
        const struct search_tree *tree = &forest->trees[i];
        assert_int_equal(tree->edge_count, result->rank_count - 1);
        assert_true(tree->bandwidth.numerator > 0);
        assert_int_equal(tree->reduce_edges != NULL, up);
        assert_int_equal(tree->edges != NULL, down);
        if (rooted) assert_int_equal(tree->root, result->root);
        if (up) check_edges(loads, tree, tree->reduce_edges, true);
        if (down) check_edges(loads, tree, tree->edges, false);
        total = rational_add(total, tree->bandwidth);
        by_root[tree->root] = rational_add(by_root[tree->root], tree->bandwidth);
    }
    if (forest->tree_count) assert_int_equal(rational_compare(total, forest->algbw), 0);
    /* What every rank contributes takes equally long. */
    bool shares = result->collective == SEARCH_ALL_GATHER || result->collective == SEARCH_REDUCE_SCATTER;
    for (uint32_t i = 1; i < result->rank_count && shares && forest->tree_count; i++)
        assert_int_equal(rational_compare(by_root[i], by_root[0]), 0);
    free(by_root);
    compare_with_capacities(loads, claimed);
    if (forest->tree_count && rational_valid(result->bound.algbw))
        assert_true(rational_compare(forest->algbw, result->bound.algbw) <= 0);
}

static uint32_t parent_of(const struct search_edge *edges, uint32_t count, uint32_t child)
{
    for (uint32_t i = 0; edges && i < count; i++)
        if (edges[i].child == child) return edges[i].parent;
    return TOPOLOGY_NONE;
}

/* Trees that are called the same have the same edges, in any order; bandwidths of the different ones add up to all. */
static void check_same_trees(const struct search_result *result, const struct search_forest *forest)
{
    uint32_t different = 0;
    double sum = 0;
    for (uint32_t i = 0; i < forest->tree_count; i++) {
        const struct search_tree *tree = &forest->trees[i], *first = &forest->trees[forest->same_as[i]];
        assert_true(forest->same_as[i] <= i);
        assert_int_equal(forest->same_as[forest->same_as[i]], forest->same_as[i]);
        assert_int_equal(tree->root, first->root);
        for (uint32_t rank = 0; rank < result->rank_count && first != tree; rank++) {
            assert_int_equal(parent_of(tree->edges, tree->edge_count, rank),
                             parent_of(first->edges, tree->edge_count, rank));
            assert_int_equal(parent_of(tree->reduce_edges, tree->edge_count, rank),
                             parent_of(first->reduce_edges, tree->edge_count, rank));
        }
        if (first != tree) continue;
        different++;
        sum += rational_value(search_same_bandwidth(forest, i));
    }
    assert_int_equal(different, forest->different_count);
    if (forest->tree_count && !forest->rotated) assert_true(fabs(sum / rational_value(forest->algbw) - 1) < 1e-6);
}

static void check_rings(struct loads *loads, const struct search_rings *rings)
{
    uint32_t ranks = loads->result->rank_count;
    struct rational total = {0, 1};
    clear(loads);
    for (uint32_t i = 0; i < rings->ring_count; i++) {
        const struct search_ring *ring = &rings->rings[i];
        bool *placed = calloc(ranks, sizeof *placed);
        assert_non_null(placed);
        for (uint32_t k = 0; k < ranks; k++) {
            assert_true(ring->order[k] < ranks);
            assert_false(placed[ring->order[k]]);
            placed[ring->order[k]] = true;
            travel(loads, ring->routes[k], ring->order[k], ring->order[(k + 1) % ranks], ring->bandwidth);
        }
        free(placed);
        total = rational_add(total, ring->bandwidth);
    }
    if (rings->ring_count) {
        assert_int_equal(rational_compare(total, rings->bandwidth), 0);
        assert_true(rational_compare(rings->algbw, loads->result->bound.algbw) <= 0);
    }
    compare_with_capacities(loads, NULL);
}

void check_result(const weft_topology *topology, const struct search_result *result)
{
    struct loads loads = {.topology = topology, .result = result};
    loads.load = calloc(2 * (size_t)topology->link_count + 1, sizeof *loads.load);
    assert_non_null(loads.load);
    assert_false(result->forest.rotated); /* rotated routes are not listed: see search_hosts.c */
    check_forest(&loads, &result->forest, result->forest_load);
    check_same_trees(result, &result->forest);
    if (result->collective == SEARCH_ALL_REDUCE) check_forest(&loads, &result->two_phase, NULL);
    check_rings(&loads, &result->rings);
    check_rings(&loads, &result->fractional_rings);
    free(loads.load);
}
