/* SPDX-License-Identifier: Apache-2.0 */
/* Trees and rings: what is known of well-known machines, and that plans of random ones hold and reach their bounds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/random.h"
#include "tests/topology/search_checker.h"
#include "tests/topology/search_machines.h"

static struct search_result *search(const weft_topology *topology, enum search_collective collective)
{
    struct search_request request = {.collective = collective};
    struct search_result *result = NULL;
    struct diagnostic diagnostic = {0};
    if (topology_search(topology, &request, &result, &diagnostic)) fail_msg("refused: %s", diagnostic.text);
    check_result(topology, result);
    return result;
}

/* Trees reach the bound of each collective but all-reduce, for which the least that they reach is given. */
static void expect_trees(weft_topology *topology, double all_reduce_gap)
{
    for (uint32_t c = 0; c < SEARCH_COLLECTIVE_COUNT; c++) {
        struct search_result *result = search(topology, c);
        if (c == SEARCH_ALL_REDUCE)
            assert_true(rational_value(result->forest.gap) >= all_reduce_gap);
        else
            check_rational(result->forest.gap, 1, 1);
        topology_search_free(result);
    }
    weft_topology_destroy(topology);
}

static void trees_reach_the_bound_of_known_machines(void **state)
{
    (void)state;
    expect_trees(machine_dgx1v(25e9), 1);
    expect_trees(machine_complete(8, 0), 1);
    expect_trees(machine_complete(5, 1e9), 1);
    expect_trees(machine_xgmi8(50e9), 1);
    struct boxes box = {.box_count = 1, .gpus_per_box = 8, .nvlink_bandwidth = 300e9};
    expect_trees(machine_boxes(&box), 1);
    box = (struct boxes){.box_count = 2, .gpus_per_box = 8, .nvlink_bandwidth = 450e9, .nic_bandwidth = 50e9};
    expect_trees(machine_boxes(&box), 1);
    box = (struct boxes){.box_count = 3, .gpus_per_box = 4, .nvlink_bandwidth = 300e9, .nic_bandwidth = 25e9};
    box.one_switch = true;
    expect_trees(machine_boxes(&box), 1);
}

/* A tree over one switch of several is the same tree over another: ranks see eight of them, one from each. */
static void trees_over_parallel_switches_are_one(void **state)
{
    (void)state;
    weft_topology *topology = topology_new();
    uint32_t host = machine_add(topology, NODE_HOST, TOPOLOGY_NONE, "box"), switches[4];
    for (uint32_t i = 0; i < 4; i++) switches[i] = machine_add(topology, NODE_NVSWITCH, host, "switch%u", i);
    for (uint32_t i = 0; i < 8; i++) {
        uint32_t gpu = machine_add(topology, NODE_GPU, host, "gpu%u", i);
        for (uint32_t k = 0; k < 4; k++) machine_link(topology, LINK_NVLINK, gpu, switches[k], k % 3 ? 100e9 : 125e9);
    }
    struct search_result *result = search(machine_seal(topology), SEARCH_ALL_GATHER);
    check_rational(result->forest.gap, 1, 1);
    assert_int_equal(result->forest.different_count, 8);
    topology_search_free(result);
    weft_topology_destroy(topology);
}

/* Three GPUs in a triangle of 4, 2 and 2 links of which nobody knows the bandwidth. */
static void bundled_links_without_a_figure_count_as_many(void **state)
{
    (void)state;
    weft_topology *topology = topology_new();
    uint32_t host = machine_add(topology, NODE_HOST, TOPOLOGY_NONE, "box"), gpus[3];
    for (uint32_t i = 0; i < 3; i++) gpus[i] = machine_add(topology, NODE_GPU, host, "gpu%u", i);
    for (uint32_t i = 0; i < 3; i++)
        topology_add_link(topology,
                          &(struct topology_link){
                              .kind = LINK_NVLINK, .from = gpus[i], .to = gpus[(i + 1) % 3], .count = i == 0 ? 4 : 2});
    struct search_result *result = search(machine_seal(topology), SEARCH_ALL_GATHER);
    assert_true(result->unit_is_link);
    check_rational(result->bound.algbw, 6, 1); /* GPU 2 has four in, and has to get two thirds of all */
    topology_search_free(result);
    weft_topology_destroy(topology);
}

static void expect_rings(weft_topology *topology, uint32_t count, struct rational bandwidth, struct rational fractional)
{
    struct search_result *result = search(topology, SEARCH_ALL_GATHER);
    assert_int_equal(result->rings.ring_count, count);
    check_rational(result->rings.bandwidth, bandwidth.numerator, bandwidth.denominator);
    assert_true(result->rings.optimal);
    if (fractional.denominator) {
        check_rational(result->fractional_rings.bandwidth, fractional.numerator, fractional.denominator);
        assert_true(result->fractional_rings.optimal);
    }
    topology_search_free(result);
    weft_topology_destroy(topology);
}

static void rings_are_as_many_as_known_machines_have(void **state)
{
    (void)state;
    expect_rings(machine_dgx1v(0), 6, (struct rational){6, 1}, (struct rational){6, 1});
    expect_rings(machine_complete(8, 0), 7, (struct rational){7, 1}, (struct rational){0, 0});
    expect_rings(machine_complete(7, 0), 6, (struct rational){6, 1}, (struct rational){0, 0});
    /* Three links each: two whole rings, 8/3 in fractions, and so 64/21 of all-gather. */
    expect_rings(machine_xgmi8(0), 2, (struct rational){2, 1}, (struct rational){8, 3});
    struct search_result *result = NULL;
    weft_topology *topology = machine_xgmi8(0);
    result = search(topology, SEARCH_ALL_GATHER);
    check_rational(result->fractional_rings.algbw, 64, 21);
    check_rational(result->forest.algbw, 24, 7);
    assert_true(result->unit_is_link);
    topology_search_free(result);
    weft_topology_destroy(topology);
}

static void rings_pass_hosts_by_every_nic(void **state)
{
    (void)state;
    for (uint32_t count = 2; count <= 4; count++)
        for (int rails = 0; rails < 2; rails++) {
            struct boxes boxes = {.box_count = count, .gpus_per_box = 4, .nvlink_bandwidth = 300e9};
            boxes.nic_bandwidth = 25e9;
            boxes.one_switch = !rails;
            weft_topology *topology = machine_boxes(&boxes);
            struct search_result *result = search(topology, SEARCH_ALL_REDUCE);
            check_rational(result->rings.bandwidth, UINT64_C(100000000000), 1);
            topology_search_free(result);
            weft_topology_destroy(topology);
        }
}

static void trees_that_reduce_and_broadcast_beat_two_phases_where_ranks_differ(void **state)
{
    (void)state;
    weft_topology *topology = machine_dgx1v(0);
    uint32_t endpoints[4];
    machine_gpus(topology, (const uint32_t[]){1, 4, 5, 7}, 4, endpoints);
    struct search_request request = {.collective = SEARCH_ALL_REDUCE, .endpoints = endpoints, .endpoint_count = 4};
    struct search_result *result = NULL;
    assert_int_equal(topology_search(topology, &request, &result, NULL), WEFT_OK);
    check_result(topology, result);
    check_rational(result->forest.algbw, 2, 1);
    check_rational(result->two_phase.algbw, 4, 3);
    check_rational(result->two_phase.gap, 2, 3);
    assert_int_equal(result->rings.ring_count, 0); /* GPU 1 has but one neighbour */
    topology_search_free(result);
    weft_topology_destroy(topology);
}

/* GPUs and switches with links of equal bandwidth each way, so that switches pass on all they get. */
static weft_topology *random_machine(struct random *random)
{
    weft_topology *topology = topology_new();
    uint32_t nodes[12], host = machine_add(topology, NODE_HOST, TOPOLOGY_NONE, "box");
    uint32_t gpus = 2 + (uint32_t)random_below(random, 6), count = gpus + (uint32_t)random_below(random, 5);
    for (uint32_t i = 0; i < count; i++)
        nodes[i] = machine_add(topology, i < gpus ? NODE_GPU : NODE_NVSWITCH, host, "n%u", i);
    for (uint32_t i = 1; i < count; i++) {
        uint32_t links = 1 + (uint32_t)random_below(random, 3);
        for (uint32_t k = 0; k < links; k++) /* parallel ones too */
            machine_link(topology, LINK_NVLINK, nodes[i], nodes[random_below(random, i)],
                         (double)(1 + random_below(random, 6)));
    }
    return machine_seal(topology);
}

static void plans_of_random_machines_hold_and_reach_their_bounds(void **state)
{
    (void)state;
    struct random random;
    uint32_t all_reduce = 0, reached = 0;
    for (uint64_t seed = 1; seed <= 250; seed++) {
        random_seed(&random, seed);
        weft_topology *topology = random_machine(&random);
        for (uint32_t c = 0; c < SEARCH_COLLECTIVE_COUNT; c++) {
            struct search_result *result = search(topology, c);
            assert_true(result->bound.exact);
            bool full = result->forest.gap.numerator == result->forest.gap.denominator;
            if (c == SEARCH_ALL_REDUCE) {
                all_reduce++;
                reached += rational_value(result->forest.gap) > 0.99999;
                assert_true(rational_compare(result->forest.algbw, result->two_phase_bound.algbw) >= 0);
            } else if (!full) {
                fail_msg("seed %llu: %s reaches %g of its bound", (unsigned long long)seed, search_collective_name(c),
                         rational_value(result->forest.gap));
            }
            topology_search_free(result);
        }
        weft_topology_destroy(topology);
    }
    print_message("seeds 1 to 250: all-reduce trees reach the bound on %u of %u\n", reached, all_reduce);
}

/* Bandwidths without a common divisor, different each way. */
static void measured_figures_are_planned_too(void **state)
{
    (void)state;
    struct random random;
    random_seed(&random, 3);
    weft_topology *topology = topology_new();
    uint32_t gpus[8], host = machine_add(topology, NODE_HOST, TOPOLOGY_NONE, "box");
    uint32_t nvswitch = machine_add(topology, NODE_NVSWITCH, host, "nvswitch");
    for (uint32_t i = 0; i < 8; i++) {
        gpus[i] = machine_add(topology, NODE_GPU, host, "gpu%u", i);
        double out = 2e11 + (double)random_below(&random, 50000000000);
        machine_link_uneven(topology, LINK_NVLINK, gpus[i], nvswitch, out,
                            2e11 + (double)random_below(&random, 50000000000));
    }
    machine_seal(topology);
    for (uint32_t c = 0; c < SEARCH_COLLECTIVE_COUNT; c++) {
        struct search_result *result = search(topology, c);
        assert_true(rational_value(result->forest.gap) >= 0.9); /* the switch receives more than it sends, or less */
        assert_true(rational_valid(result->rings.bandwidth) && rational_valid(result->fractional_rings.bandwidth));
        topology_search_free(result);
    }
    weft_topology_destroy(topology);
}

static void equal_requests_get_equal_results(void **state)
{
    (void)state;
    weft_topology *topology = machine_complete(8, 0);
    struct search_result *one = search(topology, SEARCH_ALL_REDUCE), *other = search(topology, SEARCH_ALL_REDUCE);
    assert_int_equal(one->rings.ring_count, other->rings.ring_count);
    for (uint32_t i = 0; i < one->rings.ring_count; i++)
        assert_memory_equal(one->rings.rings[i].order, other->rings.rings[i].order, 8 * sizeof(uint32_t));
    assert_int_equal(one->forest.tree_count, other->forest.tree_count);
    assert_int_equal(one->route_count, other->route_count);
    topology_search_free(one);
    topology_search_free(other);
    weft_topology_destroy(topology);
}

static void pci_among_gpus_that_nvlink_joins_is_for_the_network(void **state)
{
    (void)state;
    struct boxes boxes = {.box_count = 2, .gpus_per_box = 4, .nvlink_bandwidth = 100e9, .nic_bandwidth = 10e9};
    weft_topology *topology = machine_boxes(&boxes);
    struct search_result *result = search(topology, SEARCH_ALL_GATHER);
    for (uint32_t i = 0; i < topology->link_count; i++) {
        bool to_package = topology->nodes[topology->links[i].to].kind == NODE_PACKAGE;
        assert_true(to_package ? result->hop_capacity[2 * i] == 0 : result->hop_capacity[2 * i] > 0);
    }
    assert_true(result->note_count > 0);
    topology_search_free(result);
    weft_topology_destroy(topology);
}

static void what_cannot_be_searched_is_refused_by_name(void **state)
{
    (void)state;
    weft_topology *topology = machine_dgx1v(0);
    uint32_t twice[2], host[1] = {0};
    machine_gpus(topology, (const uint32_t[]){1, 1}, 2, twice);
    struct search_request request = {.endpoints = twice, .endpoint_count = 2};
    struct search_result *result = NULL;
    struct diagnostic diagnostic = {0};
    assert_int_equal(topology_search(topology, &request, &result, &diagnostic), WEFT_INVALID_ARGUMENT);
    assert_string_equal(diagnostic.text, "endpoint gpu gpu1 is named twice");
    machine_gpus(topology, (const uint32_t[]){0, 7}, 2, twice); /* joined by others only, which take no part */
    assert_int_equal(topology_search(topology, &request, &result, &diagnostic), WEFT_UNSUPPORTED);
    assert_string_equal(diagnostic.text, "no way leads from gpu gpu0 (rank 0) to gpu7 (rank 1)");
    request = (struct search_request){.root = 8};
    assert_int_equal(topology_search(topology, &request, &result, &diagnostic), WEFT_INVALID_ARGUMENT);
    assert_string_equal(diagnostic.text, "root 8 is no rank: there are 8");
    assert_null(result);
    request = (struct search_request){.endpoints = host, .endpoint_count = 1}; /* one rank: nothing to do */
    assert_int_equal(topology_search(topology, &request, &result, &diagnostic), WEFT_OK);
    assert_int_equal(result->rank_count, 1);
    assert_false(rational_valid(result->bound.algbw));
    topology_search_free(result);
    weft_topology_destroy(topology);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trees_reach_the_bound_of_known_machines),
        cmocka_unit_test(trees_over_parallel_switches_are_one),
        cmocka_unit_test(bundled_links_without_a_figure_count_as_many),
        cmocka_unit_test(rings_are_as_many_as_known_machines_have),
        cmocka_unit_test(rings_pass_hosts_by_every_nic),
        cmocka_unit_test(trees_that_reduce_and_broadcast_beat_two_phases_where_ranks_differ),
        cmocka_unit_test(plans_of_random_machines_hold_and_reach_their_bounds),
        cmocka_unit_test(measured_figures_are_planned_too),
        cmocka_unit_test(equal_requests_get_equal_results),
        cmocka_unit_test(pci_among_gpus_that_nvlink_joins_is_for_the_network),
        cmocka_unit_test(what_cannot_be_searched_is_refused_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
