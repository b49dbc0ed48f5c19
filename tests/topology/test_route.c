/* SPDX-License-Identifier: Apache-2.0 */
/* Routes through small machines and fabrics whose shortest ways can be seen. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "topology/simulate/route.h"

static uint32_t add(weft_topology *topology, enum node_kind kind, uint32_t parent, const char *name)
{
    struct topology_node node = {.kind = kind, .parent = parent, .name = name, .os_index = TOPOLOGY_NONE};
    return topology_add_node(topology, &node);
}

static uint32_t join(weft_topology *topology, enum link_kind kind, uint32_t from, uint32_t to, double bandwidth)
{
    struct figure figure = {bandwidth, bandwidth > 0 ? FIGURE_FILE : FIGURE_UNKNOWN};
    struct topology_link link = {
        .kind = kind, .from = from, .to = to, .bandwidth = figure, .reverse_bandwidth = figure};
    return topology_add_link(topology, &link);
}

static void seal(weft_topology *topology)
{
    struct diagnostic diagnostic = {0};
    if (topology_seal(topology, &diagnostic)) fail_msg("%s", diagnostic.text);
}

static struct routes find(const weft_topology *topology, const struct route_request *requests, uint32_t count)
{
    struct routes routes = {0};
    struct route_links links;
    struct diagnostic diagnostic = {0};
    assert_true(route_links_open(topology, &cost_figures_built_in, NULL, &links));
    if (routes_find(topology, &cost_figures_built_in, &links, requests, count, &routes, &diagnostic))
        fail_msg("%s", diagnostic.text);
    route_links_close(&links);
    return routes;
}

static void expect_route(const struct routes *routes, uint32_t index, const uint32_t *links, uint32_t count)
{
    assert_int_equal(routes->spans[index].count, count);
    for (uint32_t i = 0; i < count; i++) assert_int_equal(routes->links[routes->spans[index].first + i], links[i]);
}

/* A host: package, bridge, @p gpu_count GPUs and as many NICs behind the bridge; GPUs joined by NVLink if asked. */
struct box {
    uint32_t host, package, bridge, gpus[4], nics[4];
    uint32_t gpu_links[4], nic_links[4];
};

static struct box box_add(weft_topology *topology, const char *name, uint32_t gpu_count, bool nvlink)
{
    static const char *const numbers[] = {"0", "1", "2", "3"};
    struct box box = {.host = add(topology, NODE_HOST, TOPOLOGY_NONE, name)};
    box.package = add(topology, NODE_PACKAGE, box.host, "0");
    box.bridge = add(topology, NODE_PCI_BRIDGE, box.package, "0");
    join(topology, LINK_PCI, box.package, box.bridge, 24e9);
    for (uint32_t i = 0; i < gpu_count; i++) {
        box.gpus[i] = add(topology, NODE_GPU, box.bridge, numbers[i]);
        box.nics[i] = add(topology, NODE_NIC, box.bridge, numbers[i]);
        box.gpu_links[i] = join(topology, LINK_PCI, box.bridge, box.gpus[i], 24e9);
        box.nic_links[i] = join(topology, LINK_PCI, box.bridge, box.nics[i], 24e9);
        if (nvlink && i > 0) join(topology, LINK_NVLINK, box.gpus[i - 1], box.gpus[i], 100e9);
    }
    return box;
}

static void nvlink_is_preferred_to_pci_and_no_way_leads_through_a_gpu(void **state)
{
    (void)state;
    weft_topology *topology = topology_new();
    struct box box = box_add(topology, "a", 3, true);
    seal(topology);
    const struct route_request requests[] = {{box.gpus[0], box.gpus[1], 0}, {box.gpus[0], box.gpus[2], 0}};
    struct routes routes = find(topology, requests, 2);
    assert_int_equal(routes.spans[0].count, 1);
    assert_int_equal(topology->links[routes.links[routes.spans[0].first] / 2].kind, LINK_NVLINK);
    expect_route(&routes, 1, (uint32_t[]){ROUTE_LINK(box.gpu_links[0], true), ROUTE_LINK(box.gpu_links[2], false)}, 2);
    routes_free(&routes);
    weft_topology_destroy(topology);
}

static void a_way_through_a_gpu_is_taken_where_there_is_no_other(void **state)
{
    (void)state;
    weft_topology *topology = topology_new();
    uint32_t host = add(topology, NODE_HOST, TOPOLOGY_NONE, "a");
    uint32_t gpus[3];
    for (uint32_t i = 0; i < 3; i++) gpus[i] = add(topology, NODE_GPU, host, (const char *[]){"0", "1", "2"}[i]);
    uint32_t first = join(topology, LINK_NVLINK, gpus[0], gpus[1], 25e9);
    uint32_t second = join(topology, LINK_NVLINK, gpus[1], gpus[2], 25e9);
    seal(topology);
    struct routes routes = find(topology, &(struct route_request){gpus[2], gpus[0], 0}, 1);
    expect_route(&routes, 0, (uint32_t[]){ROUTE_LINK(second, true), ROUTE_LINK(first, true)}, 2);
    routes_free(&routes);
    weft_topology_destroy(topology);
}

/* Two boxes of two GPUs and NICs under two leaves, one for each rail, joined by @p spine_count spines. */
struct rails {
    weft_topology *topology;
    struct box boxes[2];
    uint32_t uplinks[2][2]; /* by box and rail */
};

static struct rails rails_new(uint32_t spine_count)
{
    static const char *const names[] = {"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"};
    struct rails rails = {.topology = topology_new()};
    uint32_t leaves[2];
    for (uint32_t b = 0; b < 2; b++) rails.boxes[b] = box_add(rails.topology, b ? "b" : "a", 2, false);
    for (uint32_t l = 0; l < 2; l++) {
        leaves[l] = add(rails.topology, NODE_SWITCH, TOPOLOGY_NONE, l ? "leaf1" : "leaf0");
        for (uint32_t b = 0; b < 2; b++)
            rails.uplinks[b][l] = join(rails.topology, LINK_NETWORK, rails.boxes[b].nics[l], leaves[l], 12.5e9);
    }
    for (uint32_t s = 0; s < spine_count; s++) {
        uint32_t spine = add(rails.topology, NODE_SWITCH, TOPOLOGY_NONE, names[s]);
        for (uint32_t l = 0; l < 2; l++) join(rails.topology, LINK_NETWORK, leaves[l], spine, 100e9);
    }
    seal(rails.topology);
    return rails;
}

static void a_route_between_hosts_stays_on_one_rail_and_the_salt_chooses_which(void **state)
{
    (void)state;
    struct rails rails = rails_new(1);
    for (uint32_t salt = 0; salt < 4; salt++) {
        const struct box *a = &rails.boxes[0], *b = &rails.boxes[1];
        uint32_t rail = salt % 2;
        struct routes routes = find(rails.topology, &(struct route_request){a->gpus[0], b->gpus[1], salt}, 1);
        expect_route(&routes, 0,
                     (uint32_t[]){ROUTE_LINK(a->gpu_links[0], true), ROUTE_LINK(a->nic_links[rail], false),
                                  ROUTE_LINK(rails.uplinks[0][rail], false), ROUTE_LINK(rails.uplinks[1][rail], true),
                                  ROUTE_LINK(b->nic_links[rail], true), ROUTE_LINK(b->gpu_links[1], false)},
                     6);
        routes_free(&routes);
    }
    weft_topology_destroy(rails.topology);
}

static void hosts_are_ends_too(void **state)
{
    (void)state;
    struct rails rails = rails_new(1);
    struct routes routes =
        find(rails.topology, &(struct route_request){rails.boxes[0].host, rails.boxes[1].host, 1}, 1);
    assert_int_equal(routes.spans[0].count, 6); /* package, bridge, NIC, leaf, and in again */
    assert_int_equal(routes.links[routes.spans[0].first + 2], ROUTE_LINK(rails.uplinks[0][1], false));
    routes_free(&routes);
    weft_topology_destroy(rails.topology);
}

/* Hosts on two leaves under eight spines. */
static void equal_ways_over_the_fabric_are_spread_and_always_the_same(void **state)
{
    (void)state;
    enum { HOSTS = 64, SPINES = 8 };
    weft_topology *topology = topology_new();
    uint32_t hosts[HOSTS], leaves[2], use[SPINES] = {0};
    leaves[0] = add(topology, NODE_SWITCH, TOPOLOGY_NONE, "leaf0");
    leaves[1] = add(topology, NODE_SWITCH, TOPOLOGY_NONE, "leaf1");
    uint32_t first_up = TOPOLOGY_NONE;
    for (uint32_t s = 0; s < SPINES; s++) {
        char name[16];
        snprintf(name, sizeof name, "spine%u", s);
        uint32_t spine = add(topology, NODE_SWITCH, TOPOLOGY_NONE, name);
        uint32_t up = join(topology, LINK_NETWORK, leaves[0], spine, 100e9);
        if (s == 0) first_up = up;
        join(topology, LINK_NETWORK, leaves[1], spine, 100e9);
    }
    struct route_request requests[HOSTS / 2];
    for (uint32_t h = 0; h < HOSTS; h++) {
        char name[16];
        snprintf(name, sizeof name, "host%u", h);
        hosts[h] = add(topology, NODE_HOST, TOPOLOGY_NONE, name);
        join(topology, LINK_NETWORK, hosts[h], leaves[h % 2], 12.5e9);
    }
    for (uint32_t i = 0; i < HOSTS / 2; i++) requests[i] = (struct route_request){hosts[2 * i], hosts[2 * i + 1], 0};
    seal(topology);
    struct routes routes = find(topology, requests, HOSTS / 2), again = find(topology, requests, HOSTS / 2);
    for (uint32_t i = 0; i < HOSTS / 2; i++) {
        expect_route(&again, i, &routes.links[routes.spans[i].first], 4);
        uint32_t up = routes.links[routes.spans[i].first + 1] / 2;
        assert_in_range(up - first_up, 0, 2 * SPINES - 1);
        use[(up - first_up) / 2]++;
    }
    for (uint32_t s = 0; s < SPINES; s++) assert_in_range(use[s], 1, HOSTS / 4);
    routes_free(&routes);
    routes_free(&again);
    weft_topology_destroy(topology);
}

static void nics_without_a_link_reach_each_other_over_the_network_that_is_not_shown(void **state)
{
    (void)state;
    weft_topology *topology = topology_new();
    struct box a = box_add(topology, "a", 1, false), b = box_add(topology, "b", 1, false);
    topology->nodes[a.nics[0]].port_bandwidth = (struct figure){25e9, FIGURE_FILE};
    seal(topology);
    struct routes routes = find(topology, &(struct route_request){a.gpus[0], b.gpus[0], 0}, 1);
    expect_route(&routes, 0,
                 (uint32_t[]){ROUTE_LINK(a.gpu_links[0], true), ROUTE_LINK(a.nic_links[0], false),
                              ROUTE_UNSEEN(topology, a.nics[0], false), ROUTE_UNSEEN(topology, b.nics[0], true),
                              ROUTE_LINK(b.nic_links[0], true), ROUTE_LINK(b.gpu_links[0], false)},
                 6);
    uint32_t out = ROUTE_UNSEEN(topology, a.nics[0], false);
    assert_true(route_link_capacity(topology, &cost_figures_built_in, out) == UINT64_C(25000000000));
    routes_free(&routes);
    weft_topology_destroy(topology);
}

static void nics_of_a_single_host_lead_nowhere(void **state)
{
    (void)state;
    weft_topology *topology = topology_new();
    struct box box = box_add(topology, "a", 2, false);
    uint32_t far = add(topology, NODE_PCI_BRIDGE, box.package, "1"), gpu = add(topology, NODE_GPU, far, "2");
    uint32_t nic = add(topology, NODE_NIC, far, "2");
    join(topology, LINK_PCI, far, gpu, 24e9);
    join(topology, LINK_PCI, far, nic, 24e9);
    join(topology, LINK_PCI, box.package, far, 1e9); /* slow enough for a way over the NICs to tempt */
    seal(topology);
    struct routes routes = find(topology, &(struct route_request){box.gpus[0], gpu, 0}, 1);
    for (uint32_t i = 0; i < routes.spans[0].count; i++)
        assert_true(routes.links[routes.spans[0].first + i] < ROUTE_LINK(topology->link_count, false));
    routes_free(&routes);
    weft_topology_destroy(topology);
}

/* A way over switches that are one leads through the same of them on both sides, whatever order links are listed in. */
static void nvswitches_that_are_used_as_one_are_met_by_all_their_gpus(void **state)
{
    (void)state;
    weft_topology *topology = topology_new();
    uint32_t host = add(topology, NODE_HOST, TOPOLOGY_NONE, "a"), package = add(topology, NODE_PACKAGE, host, "0");
    uint32_t gpus[3], switches[3];
    for (uint32_t i = 0; i < 3; i++) {
        const char *name = (const char *[]){"0", "1", "2"}[i];
        gpus[i] = add(topology, NODE_GPU, package, name);
        switches[i] = add(topology, NODE_NVSWITCH, host, name);
        join(topology, LINK_PCI, gpus[i], package, 24e9);
    }
    for (uint32_t g = 0; g < 3; g++)
        for (uint32_t s = 0; s < 3; s++) join(topology, LINK_NVLINK, gpus[g], switches[(g + s) % 3], 100e9);
    seal(topology);
    for (uint32_t g = 0; g < 3; g++) {
        struct routes routes = find(topology, &(struct route_request){gpus[g], gpus[(g + 1) % 3], 0}, 1);
        assert_int_equal(routes.spans[0].count, 2);
        for (uint32_t i = 0; i < 2; i++)
            assert_int_equal(topology->links[routes.links[routes.spans[0].first + i] / 2].kind, LINK_NVLINK);
        routes_free(&routes);
    }
    weft_topology_destroy(topology);
}

/* Three NVSwitches, the last of which joins one GPU less; and two NVLinks side by side between GPUs, written both ways.
 */
static void nvlinks_that_are_used_as_one_have_one_lead_and_their_sum(void **state)
{
    (void)state;
    weft_topology *topology = topology_new();
    uint32_t host = add(topology, NODE_HOST, TOPOLOGY_NONE, "a"), gpus[3], switches[3], links[3][3] = {0};
    for (uint32_t i = 0; i < 3; i++) {
        const char *name = (const char *[]){"0", "1", "2"}[i];
        gpus[i] = add(topology, NODE_GPU, host, name);
        switches[i] = add(topology, NODE_NVSWITCH, host, name);
    }
    for (uint32_t g = 0; g < 3; g++)
        for (uint32_t s = 0; s < 3; s++)
            if (g < 2 || s < 2) links[g][s] = join(topology, LINK_NVLINK, gpus[g], switches[s], 10e9 * (s + 1));
    uint32_t there = join(topology, LINK_NVLINK, gpus[0], gpus[1], 5e9);
    uint32_t back = join(topology, LINK_NVLINK, gpus[1], gpus[0], 7e9);
    seal(topology);
    struct route_links found;
    assert_true(route_links_open(topology, &cost_figures_built_in, NULL, &found));
    for (uint32_t g = 0; g < 3; g++) {
        assert_int_equal(found.leads[ROUTE_LINK(links[g][1], true)], ROUTE_LINK(links[g][0], true));
        assert_true(found.capacities[ROUTE_LINK(links[g][0], false)] == UINT64_C(30000000000));
    }
    assert_int_equal(found.leads[ROUTE_LINK(links[0][2], false)], ROUTE_LINK(links[0][2], false));
    assert_int_equal(found.leads[ROUTE_LINK(back, false)], ROUTE_LINK(there, true));
    assert_true(found.capacities[ROUTE_LINK(there, true)] == UINT64_C(12000000000));
    assert_true(found.own[ROUTE_LINK(back, false)] == UINT64_C(7000000000));
    route_links_close(&found);
    weft_topology_destroy(topology);
}

static void ends_that_nothing_joins_are_named(void **state)
{
    (void)state;
    weft_topology *topology = topology_new();
    uint32_t a = add(topology, NODE_HOST, TOPOLOGY_NONE, "north"), b = add(topology, NODE_HOST, TOPOLOGY_NONE, "south");
    seal(topology);
    struct routes routes = {0};
    struct diagnostic diagnostic = {0};
    struct route_links links;
    assert_true(route_links_open(topology, &cost_figures_built_in, NULL, &links));
    assert_int_equal(routes_find(topology, &cost_figures_built_in, &links, &(struct route_request){a, b, 0}, 1, &routes,
                                 &diagnostic),
                     WEFT_UNSUPPORTED);
    route_links_close(&links);
    assert_non_null(strstr(diagnostic.text, "north"));
    assert_non_null(strstr(diagnostic.text, "south"));
    assert_null(routes.links);
    weft_topology_destroy(topology);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nvlink_is_preferred_to_pci_and_no_way_leads_through_a_gpu),
        cmocka_unit_test(a_way_through_a_gpu_is_taken_where_there_is_no_other),
        cmocka_unit_test(a_route_between_hosts_stays_on_one_rail_and_the_salt_chooses_which),
        cmocka_unit_test(hosts_are_ends_too),
        cmocka_unit_test(equal_ways_over_the_fabric_are_spread_and_always_the_same),
        cmocka_unit_test(nics_without_a_link_reach_each_other_over_the_network_that_is_not_shown),
        cmocka_unit_test(nics_of_a_single_host_lead_nowhere),
        cmocka_unit_test(nvlinks_that_are_used_as_one_have_one_lead_and_their_sum),
        cmocka_unit_test(nvswitches_that_are_used_as_one_are_met_by_all_their_gpus),
        cmocka_unit_test(ends_that_nothing_joins_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
