/* SPDX-License-Identifier: Apache-2.0 */
/* Clusters: the order of hosts, lanes, trees across hosts, and plans that are lifted from one host to all. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/topology/search_checker.h"
#include "tests/topology/search_machines.h"

static struct search_result *search(const weft_topology *topology, enum search_collective collective)
{
    struct search_request request = {.collective = collective};
    struct search_result *result = NULL;
    struct diagnostic diagnostic = {0};
    if (topology_search(topology, &request, &result, &diagnostic)) fail_msg("refused: %s", diagnostic.text);
    return result;
}

static void hosts_of_a_leaf_stand_together(void **state)
{
    (void)state;
    weft_topology *topology = machine_fat_tree(8, 6, 4, 10e9, true);
    struct search_result *result = search(topology, SEARCH_ALL_REDUCE);
    const struct search_hosts *hosts = &result->hosts;
    assert_int_equal(hosts->host_count, 48);
    assert_int_equal(hosts->class_count, 1);
    assert_int_equal(hosts->switch_hops_as_listed, 96); /* up and down again at every step */
    assert_int_equal(hosts->switch_hops, 16);           /* and once for each leaf */
    bool seen[48] = {false};
    for (uint32_t place = 0; place < 48; place++) {
        uint32_t rank = hosts->ranks[hosts->first_rank[place]];
        assert_int_equal(result->rank_nodes[rank], hosts->order[place]);
        assert_int_equal(hosts->place_of_rank[rank], place);
        assert_false(seen[rank]);
        seen[rank] = true;
        assert_int_equal(rank % 8, hosts->ranks[hosts->first_rank[place - place % 6]] % 8);
    }
    topology_search_free(result);
    weft_topology_destroy(topology);
}

/* A box as machine_boxes() has them, on one switch. */
static void box_add(weft_topology *topology, const char *name, uint32_t gpus, double nvlink, double nic, uint32_t core)
{
    uint32_t host = machine_add(topology, NODE_HOST, TOPOLOGY_NONE, "%s", name);
    uint32_t package = machine_add(topology, NODE_PACKAGE, host, "0");
    uint32_t nvswitch = machine_add(topology, NODE_NVSWITCH, host, "nvswitch");
    for (uint32_t i = 0; i < gpus; i++) {
        uint32_t bridge = machine_add(topology, NODE_PCI_BRIDGE, package, "bridge%u", i);
        uint32_t gpu = machine_add(topology, NODE_GPU, bridge, "gpu%u", i);
        uint32_t port = machine_add(topology, NODE_NIC, bridge, "nic%u", i);
        machine_link(topology, LINK_PCI, bridge, package, 48e9);
        machine_link(topology, LINK_PCI, gpu, bridge, 64e9);
        machine_link(topology, LINK_PCI, port, bridge, 64e9);
        machine_link(topology, LINK_NVLINK, gpu, nvswitch, nvlink);
        machine_link(topology, LINK_NETWORK, port, core, nic);
    }
}

/* Boxes of eight and of four GPUs whose NICs differ too: nothing can be lifted, and 56 ranks are too many to pack. */
static void trees_of_unlike_hosts_come_near_the_bound(void **state)
{
    (void)state;
    static const enum search_collective collectives[] = {SEARCH_ALL_GATHER, SEARCH_REDUCE_SCATTER, SEARCH_ALL_REDUCE};
    weft_topology *topology = topology_new();
    uint32_t core = machine_add(topology, NODE_SWITCH, TOPOLOGY_NONE, "core");
    char name[8];
    for (uint32_t i = 0; i < 9; i++) {
        snprintf(name, sizeof name, "%c%u", i < 5 ? 'l' : 's', i);
        if (i < 5)
            box_add(topology, name, 8, 450e9, 50e9, core);
        else
            box_add(topology, name, 4, 300e9, 25e9, core);
    }
    machine_seal(topology);
    for (size_t c = 0; c < sizeof collectives / sizeof *collectives; c++) {
        struct search_result *result = search(topology, collectives[c]);
        check_result(topology, result);
        assert_int_equal(result->rank_count, 56);
        assert_true(result->forest.tree_count >= 56);
        assert_true(rational_value(result->forest.gap) >= 0.99);
        topology_search_free(result);
    }
    weft_topology_destroy(topology);
}

static void every_nic_is_a_lane_of_the_nearest_gpu(void **state)
{
    (void)state;
    struct boxes boxes = {.box_count = 3, .gpus_per_box = 8, .nvlink_bandwidth = 450e9, .nic_bandwidth = 50e9};
    weft_topology *topology = machine_boxes(&boxes);
    struct search_result *result = search(topology, SEARCH_ALL_GATHER);
    const struct search_hosts *hosts = &result->hosts;
    assert_int_equal(hosts->lane_count, 8);
    for (uint32_t place = 0; place < 3; place++)
        for (uint32_t lane = 0; lane < 8; lane++) {
            const struct search_lane *at = &hosts->lanes[place * 8 + lane];
            const struct topology_node *nic = &topology->nodes[at->nic];
            const struct topology_node *gpu = &topology->nodes[result->rank_nodes[at->rank]];
            assert_int_equal(nic->kind, NODE_NIC);
            assert_int_equal(nic->parent, gpu->parent); /* on one bridge */
            assert_string_equal(nic->name + 3, topology->nodes[hosts->lanes[lane].nic].name + 3);
        }
    topology_search_free(result);
    weft_topology_destroy(topology);
}

static uint32_t depth_of(const uint32_t *parents, uint32_t place, uint32_t count)
{
    uint32_t depth = 0;
    for (; parents[place] != TOPOLOGY_NONE; place = parents[place]) assert_true(++depth < count);
    return depth;
}

static void two_binary_trees_share_the_work(void **state)
{
    (void)state;
    for (uint32_t count = 2; count <= 40; count++) {
        weft_topology *topology = machine_fat_tree(1, count, 1, 1e9, false);
        struct search_request request = {.parts = SEARCH_BOUNDS};
        struct search_result *result = NULL;
        assert_int_equal(topology_search(topology, &request, &result, NULL), WEFT_OK);
        uint32_t children[2][40] = {{0}}, both = 0, limit = 0;
        while ((1u << limit) < count) limit++;
        for (int tree = 0; tree < 2; tree++) {
            const uint32_t *parents = result->hosts.binary_parents[tree];
            uint32_t roots = 0;
            for (uint32_t place = 0; place < count; place++) {
                assert_true(depth_of(parents, place, count) <= limit);
                roots += parents[place] == TOPOLOGY_NONE;
                if (parents[place] != TOPOLOGY_NONE) children[tree][parents[place]]++;
            }
            assert_int_equal(roots, 1);
        }
        for (uint32_t place = 0; place < count; place++) {
            assert_true(children[0][place] <= 2 && children[1][place] <= 2);
            both += children[0][place] && children[1][place];
        }
        assert_int_equal(both, count % 2);
        topology_search_free(result);
        weft_topology_destroy(topology);
    }
}

/* Rotate every listed tree over all hosts and add up what the links carry. */
static void check_rotation(const weft_topology *topology, const struct search_result *result)
{
    double *load = calloc(2 * (size_t)topology->link_count, sizeof *load);
    assert_non_null(load);
    assert_true(result->forest.rotated);
    struct rational total = {0, 1};
    for (uint32_t i = 0; i < result->forest.tree_count; i++) {
        const struct search_tree *tree = &result->forest.trees[i];
        assert_int_equal(result->hosts.place_of_rank[tree->root], 0);
        total = rational_add(total, tree->bandwidth);
        for (uint32_t places = 0; places < result->hosts.host_count; places++) {
            bool *placed = calloc(result->rank_count, sizeof *placed);
            assert_non_null(placed);
            placed[search_rotate(result, tree->root, places)] = true;
            for (uint32_t k = 0; k < tree->edge_count; k++) {
                uint32_t from = search_rotate(result, tree->edges[k].parent, places), *hops, count;
                uint32_t to = search_rotate(result, tree->edges[k].child, places);
                assert_true(placed[from] && !placed[to]);
                placed[to] = true;
                assert_int_equal(search_route_between(result, from, to, &hops, &count), WEFT_OK);
                for (uint32_t hop = 0; hop < count; hop++) load[hops[hop]] += rational_value(tree->bandwidth);
                free(hops);
            }
            free(placed);
        }
    }
    total = rational_multiply(total, rational_make(result->hosts.host_count, 1));
    assert_int_equal(rational_compare(total, result->forest.algbw), 0);
    for (uint32_t hop = 0; hop < 2 * topology->link_count; hop++) {
        assert_true(load[hop] <= result->hop_capacity[hop] * (1 + 1e-9));
        assert_true(fabs(load[hop] - result->forest_load[hop]) <= 1e-6 * result->hop_capacity[hop]);
    }
    free(load);
}

static void rotated_trees_load_no_link_beyond_its_bandwidth(void **state)
{
    (void)state;
    for (uint32_t count = 5; count <= 7; count++) {
        struct boxes boxes = {.box_count = count, .gpus_per_box = 8, .nvlink_bandwidth = 450e9, .nic_bandwidth = 50e9};
        weft_topology *topology = machine_boxes(&boxes);
        struct search_result *result = search(topology, SEARCH_ALL_GATHER);
        check_rotation(topology, result);
        check_rational(result->forest.gap, 1, 1);
        topology_search_free(result);
        weft_topology_destroy(topology);
    }
}

static void five_hundred_hosts_are_planned_to_the_bound(void **state)
{
    (void)state;
    for (int rails = 0; rails < 2; rails++) {
        struct boxes boxes = {.box_count = 500, .gpus_per_box = 8, .nvlink_bandwidth = 450e9, .nic_bandwidth = 50e9};
        boxes.one_switch = !rails;
        weft_topology *topology = machine_boxes(&boxes);
        for (uint32_t c = 0; c < SEARCH_COLLECTIVE_COUNT; c++) {
            struct search_result *result = search(topology, c);
            assert_int_equal(result->rank_count, 4000);
            check_rational(result->forest.gap, 1, 1);
            assert_true(result->bound.exact);
            assert_int_equal(result->rings.ring_count, 8);
            check_rational(result->rings.bandwidth, UINT64_C(400000000000), 1);
            topology_search_free(result);
        }
        weft_topology_destroy(topology);
    }
}

static void unlike_hosts_have_plans_too(void **state)
{
    (void)state;
    weft_topology *topology = topology_new();
    uint32_t fabric = machine_add(topology, NODE_SWITCH, TOPOLOGY_NONE, "fabric");
    for (uint32_t i = 0; i < 20; i++) {
        uint32_t host = machine_add(topology, NODE_HOST, TOPOLOGY_NONE, "host%u", i);
        machine_link(topology, LINK_NETWORK, host, fabric, i % 2 ? 25e9 : 10e9);
    }
    machine_seal(topology);
    struct search_result *result = search(topology, SEARCH_ALL_GATHER);
    check_result(topology, result);
    assert_int_equal(result->hosts.class_count, 2);
    check_rational(result->forest.gap, 1, 1);
    topology_search_free(result);
    weft_topology_destroy(topology);
}

static void unlike_boxes_have_rings_and_broadcast_over_them(void **state)
{
    (void)state;
    weft_topology *topology = topology_new();
    uint32_t fabric = machine_add(topology, NODE_SWITCH, TOPOLOGY_NONE, "fabric");
    for (uint32_t i = 0; i < 9; i++) {
        uint32_t host = machine_add(topology, NODE_HOST, TOPOLOGY_NONE, "box%u", i), gpus = i % 2 ? 4 : 8;
        uint32_t nvswitch = machine_add(topology, NODE_NVSWITCH, host, "nvswitch");
        for (uint32_t k = 0; k < gpus; k++) {
            uint32_t bridge = machine_add(topology, NODE_PCI_BRIDGE, host, "bridge%u", k);
            uint32_t gpu = machine_add(topology, NODE_GPU, bridge, "gpu%u", k);
            uint32_t nic = machine_add(topology, NODE_NIC, bridge, "nic%u", k);
            machine_link(topology, LINK_NVLINK, gpu, nvswitch, 300e9);
            machine_link(topology, LINK_PCI, gpu, bridge, 50e9);
            machine_link(topology, LINK_PCI, nic, bridge, 50e9);
            machine_link(topology, LINK_NETWORK, nic, fabric, 25e9);
        }
    }
    machine_seal(topology);
    struct search_result *result = search(topology, SEARCH_BROADCAST);
    assert_int_equal(result->rank_count, 56);
    check_result(topology, result);
    check_rational(result->rings.bandwidth, UINT64_C(100000000000), 1);
    check_rational(result->forest.gap, 1, 1);
    topology_search_free(result);
    weft_topology_destroy(topology);
}

/* NCCL's files show NICs and nothing beyond them. */
static void a_network_that_is_not_shown_is_assumed_and_said(void **state)
{
    (void)state;
    weft_topology *topology = topology_new();
    for (uint32_t i = 0; i < 2; i++) {
        uint32_t host = machine_add(topology, NODE_HOST, TOPOLOGY_NONE, "host%u", i);
        uint32_t nic = topology_add_node(
            topology, &(struct topology_node){.kind = NODE_NIC,
                                              .parent = host,
                                              .name = "nic",
                                              .port_bandwidth = {.value = 25e9, .source = FIGURE_REPORTED}});
        uint32_t gpu = machine_add(topology, NODE_GPU, host, "gpu");
        machine_link(topology, LINK_ATTACHED, nic, host, 100e9);
        machine_link(topology, LINK_ATTACHED, gpu, host, 100e9);
    }
    machine_seal(topology);
    struct search_result *result = search(topology, SEARCH_BROADCAST);
    check_rational(result->bound.algbw, UINT64_C(25000000000), 1);
    check_rational(result->forest.gap, 1, 1);
    assert_true(result->note_count > 0 && strstr(result->notes[0], "not shown"));
    topology_search_free(result);
    weft_topology_destroy(topology);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hosts_of_a_leaf_stand_together),
        cmocka_unit_test(every_nic_is_a_lane_of_the_nearest_gpu),
        cmocka_unit_test(trees_of_unlike_hosts_come_near_the_bound),
        cmocka_unit_test(two_binary_trees_share_the_work),
        cmocka_unit_test(rotated_trees_load_no_link_beyond_its_bandwidth),
        cmocka_unit_test(five_hundred_hosts_are_planned_to_the_bound),
        cmocka_unit_test(unlike_hosts_have_plans_too),
        cmocka_unit_test(unlike_boxes_have_rings_and_broadcast_over_them),
        cmocka_unit_test(a_network_that_is_not_shown_is_assumed_and_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
