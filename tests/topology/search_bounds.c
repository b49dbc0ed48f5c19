/* SPDX-License-Identifier: Apache-2.0 */
/* Bounds against brute force over every cut and every partition, and against what is known of well-known machines. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/random.h"
#include "tests/topology/search_checker.h"
#include "tests/topology/search_machines.h"

#define MOST_NODES 9u

/* GPUs 0 to gpu_count - 1, then switches. */
struct small_graph {
    uint32_t gpu_count, node_count;
    uint64_t capacity[MOST_NODES][MOST_NODES];
};

static weft_topology *build(const struct small_graph *graph)
{
    weft_topology *topology = topology_new();
    uint32_t nodes[MOST_NODES], host = machine_add(topology, NODE_HOST, TOPOLOGY_NONE, "box");
    for (uint32_t i = 0; i < graph->node_count; i++)
        nodes[i] = machine_add(topology, i < graph->gpu_count ? NODE_GPU : NODE_NVSWITCH, host, "n%u", i);
    for (uint32_t i = 0; i < graph->node_count; i++)
        for (uint32_t k = i + 1; k < graph->node_count; k++)
            if (graph->capacity[i][k] || graph->capacity[k][i])
                machine_link_uneven(topology, LINK_NVLINK, nodes[i], nodes[k], (double)graph->capacity[i][k],
                                    (double)graph->capacity[k][i]);
    return machine_seal(topology);
}

static struct small_graph random_graph(struct random *random)
{
    struct small_graph graph = {.gpu_count = 2 + (uint32_t)random_below(random, 4)};
    graph.node_count = graph.gpu_count + (uint32_t)random_below(random, MOST_NODES - 5);
    bool even = random_below(random, 3) == 0;
    for (uint32_t i = 0; i < graph.node_count; i++)
        for (uint32_t k = i + 1; k < graph.node_count; k++) {
            bool needed = k == i + 1; /* a path joins all: few graphs fall apart */
            if (!needed && random_below(random, 2)) continue;
            graph.capacity[i][k] = 1 + random_below(random, 9);
            graph.capacity[k][i] = even ? graph.capacity[i][k] : random_below(random, 10);
        }
    return graph;
}

static uint64_t out_of(const struct small_graph *graph, uint32_t set)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < graph->node_count; i++)
        for (uint32_t k = 0; k < graph->node_count; k++)
            if ((set >> i & 1) && !(set >> k & 1)) sum += graph->capacity[i][k];
    return sum;
}

static uint64_t into(const struct small_graph *graph, uint32_t set)
{
    return out_of(graph, ((1u << graph->node_count) - 1) & ~set);
}

/* M/T by trying every cut. */
static struct rational cut_by_force(const struct small_graph *graph, enum search_collective collective, uint32_t root)
{
    uint32_t gpus = (1u << graph->gpu_count) - 1;
    struct rational best = {UINT64_MAX, 1};
    for (uint32_t set = 1; set < 1u << graph->node_count; set++) {
        uint32_t inside = set & gpus, count = (uint32_t)__builtin_popcount(inside);
        if (inside == 0 || inside == gpus) continue;
        struct rational rate = {UINT64_MAX, 1};
        if (collective == SEARCH_ALL_GATHER) rate = rational_make(out_of(graph, set) * graph->gpu_count, count);
        if (collective == SEARCH_REDUCE_SCATTER) rate = rational_make(into(graph, set) * graph->gpu_count, count);
        if (collective == SEARCH_BROADCAST && (set >> root & 1)) rate = rational_make(out_of(graph, set), 1);
        if (collective == SEARCH_REDUCE && !(set >> root & 1)) rate = rational_make(out_of(graph, set), 1);
        if (collective == SEARCH_ALL_REDUCE) rate = rational_make(out_of(graph, set), 1);
        best = rational_min(best, rate);
    }
    return best;
}

/* The least that leads into these GPUs, whatever switches go with them. */
static uint64_t into_gpus(const struct small_graph *graph, uint32_t part)
{
    uint64_t least = UINT64_MAX;
    for (uint32_t switches = 0; switches < 1u << (graph->node_count - graph->gpu_count); switches++) {
        uint64_t sum = into(graph, part | switches << graph->gpu_count);
        if (sum < least) least = sum;
    }
    return least;
}

/* Every way of putting GPUs gpu.. into the parts so far or a new one. */
static void partitions(const struct small_graph *graph, uint32_t gpu, uint32_t *parts, uint32_t count,
                       struct rational *best)
{
    if (gpu == graph->gpu_count) {
        uint64_t sum = 0;
        for (uint32_t i = 0; i < count; i++) sum += into_gpus(graph, parts[i]);
        if (count > 1) *best = rational_min(*best, rational_make(sum, 2 * (count - 1)));
        return;
    }
    for (uint32_t i = 0; i <= count; i++) {
        uint32_t before = i < count ? parts[i] : 0;
        parts[i] = before | 1u << gpu;
        partitions(graph, gpu + 1, parts, i < count ? count : count + 1, best);
        parts[i] = before;
    }
}

static struct rational by_force(const struct small_graph *graph, enum search_collective collective, uint32_t root)
{
    struct rational best = cut_by_force(graph, collective, root);
    uint32_t parts[MOST_NODES] = {0};
    if (collective == SEARCH_ALL_REDUCE) partitions(graph, 0, parts, 0, &best);
    return best;
}

static struct search_result *search(const weft_topology *topology, enum search_collective collective, uint32_t parts,
                                    uint32_t root)
{
    struct search_request request = {.collective = collective, .parts = parts, .root = root};
    struct search_result *result = NULL;
    struct diagnostic diagnostic = {0};
    if (topology_search(topology, &request, &result, &diagnostic)) fail_msg("refused: %s", diagnostic.text);
    return result;
}

/* The cut or partition that is returned has the bandwidth that it claims. */
static void check_witness(const struct small_graph *graph, const struct search_bound *bound,
                          const weft_topology *topology)
{
    uint64_t sum = 0;
    uint32_t first_node = topology->node_count - graph->node_count; /* the host comes before */
    for (uint32_t i = 0; i < graph->node_count; i++)
        for (uint32_t k = 0; k < graph->node_count; k++) {
            uint32_t from = bound->part_of_node[first_node + i], to = bound->part_of_node[first_node + k];
            bool counts = bound->part_count == 2 && bound->share.numerator <= bound->share.denominator
                              ? from == 0 && to == 1
                              : from != to && to != TOPOLOGY_NONE;
            if (counts) sum += graph->capacity[i][k];
        }
    check_rational(bound->bandwidth, sum, 1);
    assert_int_equal(rational_compare(rational_divide(bound->bandwidth, bound->share), bound->algbw), 0);
}

static void bounds_are_those_of_brute_force_on_random_graphs(void **state)
{
    (void)state;
    struct random random;
    uint32_t checked = 0;
    for (uint64_t seed = 1; seed <= 3000; seed++) {
        random_seed(&random, seed);
        struct small_graph graph = random_graph(&random);
        weft_topology *topology = build(&graph);
        for (uint32_t c = 0; c < SEARCH_COLLECTIVE_COUNT; c++) {
            uint32_t root = (uint32_t)random_below(&random, graph.gpu_count);
            struct search_request request = {.collective = c, .parts = SEARCH_BOUNDS, .root = root};
            struct search_result *result = NULL;
            weft_status status = topology_search(topology, &request, &result, NULL);
            bool joined = cut_by_force(&graph, SEARCH_ALL_REDUCE, 0).numerator > 0;
            assert_int_equal(status, joined ? WEFT_OK : WEFT_UNSUPPORTED);
            if (status) continue;
            struct rational expected = by_force(&graph, c, root);
            if (rational_compare(result->bound.algbw, expected))
                fail_msg("seed %llu, %s from %u: %g; brute force says %g", (unsigned long long)seed,
                         search_collective_name(c), root, rational_value(result->bound.algbw),
                         rational_value(expected));
            assert_true(result->bound.exact);
            if (c != SEARCH_ALL_REDUCE) check_witness(&graph, &result->bound, topology);
            topology_search_free(result);
            checked++;
        }
        weft_topology_destroy(topology);
    }
    print_message("%u bounds on graphs of seeds 1 to 3000\n", checked);
    assert_true(checked > 10000);
}

static void expect_bound(weft_topology *topology, enum search_collective collective, uint64_t numerator,
                         uint64_t denominator)
{
    struct search_result *result = search(topology, collective, SEARCH_BOUNDS, 0);
    check_rational(result->bound.algbw, numerator, denominator);
    assert_true(result->bound.exact);
    topology_search_free(result);
    weft_topology_destroy(topology);
}

static void known_machines_have_their_known_bounds(void **state)
{
    (void)state;
    expect_bound(machine_dgx1v(0), SEARCH_ALL_GATHER, 48, 7);
    expect_bound(machine_complete(8, 0), SEARCH_ALL_GATHER, 8, 1);
    expect_bound(machine_xgmi8(0), SEARCH_ALL_GATHER, 24, 7);
    struct boxes a100 = {.box_count = 1, .gpus_per_box = 8, .nvlink_bandwidth = 300e9};
    expect_bound(machine_boxes(&a100), SEARCH_ALL_GATHER, UINT64_C(2400000000000), 7); /* 342.857 GB/s */
    struct boxes h100 = {.box_count = 2, .gpus_per_box = 8, .nvlink_bandwidth = 450e9, .nic_bandwidth = 50e9};
    expect_bound(machine_boxes(&h100), SEARCH_ALL_GATHER, UINT64_C(1600000000000), 3); /* 533.333 GB/s */
    h100.one_switch = true;
    expect_bound(machine_boxes(&h100), SEARCH_ALL_GATHER, UINT64_C(1600000000000), 3);
    expect_bound(machine_dgx1v(25e9), SEARCH_ALL_REDUCE, UINT64_C(600000000000), 7);
}

/* Either a host's NICs bind, or what leads into one GPU. */
static void any_number_of_boxes_follows_the_cut_formula(void **state)
{
    (void)state;
    for (uint32_t n = 2; n <= 80; n += n < 20 ? 1 : 12) {
        struct boxes a100 = {.box_count = n, .gpus_per_box = 8, .nvlink_bandwidth = 300e9, .nic_bandwidth = 25e9};
        a100.one_switch = n % 2;
        struct rational host = rational_make((uint64_t)n * UINT64_C(200000000000), n - 1);
        struct rational gpu = rational_make(8 * (uint64_t)n * UINT64_C(325000000000), 8 * (uint64_t)n - 1);
        struct rational least = rational_min(host, gpu);
        expect_bound(machine_boxes(&a100), SEARCH_ALL_GATHER, least.numerator, least.denominator);
    }
}

static void large_clusters_have_the_bound_of_the_whole_graph(void **state)
{
    (void)state;
    /* 96 ranks are searched whole, 104 on the quotient; the formula holds on both sides. */
    for (uint32_t leaves = 12; leaves <= 13; leaves++) {
        weft_topology *topology = machine_fat_tree(leaves, 8, 4, 10e9, true);
        uint32_t ranks = leaves * 8; /* four uplinks of each leaf carry what its eight hosts lack */
        struct search_result *result = search(topology, SEARCH_ALL_GATHER, SEARCH_BOUNDS, 0);
        struct rational leaf = rational_make(UINT64_C(40000000000) * ranks, ranks - 8);
        struct rational host = rational_make(UINT64_C(10000000000) * ranks, ranks - 1);
        assert_int_equal(rational_compare(result->bound.algbw, rational_min(leaf, host)), 0);
        assert_true(result->bound.exact);
        topology_search_free(result);
        weft_topology_destroy(topology);
    }
}

/* On these four GPUs reduce-scatter and all-gather reach two thirds of what trees do. */
static void two_phases_are_not_always_best(void **state)
{
    (void)state;
    weft_topology *topology = machine_dgx1v(0);
    uint32_t endpoints[4];
    machine_gpus(topology, (const uint32_t[]){1, 4, 5, 7}, 4, endpoints);
    struct search_request request = {
        .collective = SEARCH_ALL_REDUCE, .parts = SEARCH_BOUNDS, .endpoints = endpoints, .endpoint_count = 4};
    struct search_result *result = NULL;
    assert_int_equal(topology_search(topology, &request, &result, NULL), WEFT_OK);
    check_rational(result->bound.algbw, 2, 1);
    check_rational(result->two_phase_bound.algbw, 4, 3);
    topology_search_free(result);
    weft_topology_destroy(topology);
}

static bool at_once(void *context)
{
    (void)context;
    return true;
}

static void a_bound_cut_short_says_so(void **state)
{
    (void)state;
    weft_topology *topology = machine_dgx1v(0);
    struct search_request request = {.collective = SEARCH_ALL_GATHER, .budget = {.expired = at_once}};
    struct search_result *result = NULL;
    assert_int_equal(topology_search(topology, &request, &result, NULL), WEFT_OK);
    assert_true(result->expired);
    assert_false(result->bound.exact);
    assert_true(rational_compare(result->bound.algbw, rational_make(48, 7)) >= 0); /* proven all the same */
    topology_search_free(result);
    weft_topology_destroy(topology);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bounds_are_those_of_brute_force_on_random_graphs),
        cmocka_unit_test(known_machines_have_their_known_bounds),
        cmocka_unit_test(any_number_of_boxes_follows_the_cut_formula),
        cmocka_unit_test(large_clusters_have_the_bound_of_the_whole_graph),
        cmocka_unit_test(two_phases_are_not_always_best),
        cmocka_unit_test(a_bound_cut_short_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
