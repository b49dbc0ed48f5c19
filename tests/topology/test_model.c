/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "topology/model/model.h"

static uint32_t add(weft_topology *topology, enum node_kind kind, uint32_t parent, const char *name)
{
    struct topology_node node = {.kind = kind, .parent = parent, .name = name, .os_index = TOPOLOGY_NONE};
    return topology_add_node(topology, &node);
}

static uint32_t join(weft_topology *topology, enum link_kind kind, uint32_t from, uint32_t to, double bandwidth)
{
    struct figure figure = {bandwidth, bandwidth > 0 ? FIGURE_DATASHEET : FIGURE_UNKNOWN};
    struct topology_link link = {
        .kind = kind, .from = from, .to = to, .bandwidth = figure, .reverse_bandwidth = figure};
    return topology_add_link(topology, &link);
}

/* Where the parts of cluster_new() stand. */
enum { HOST_A, PACKAGE_A, BRIDGE_A, GPU_A, NIC_A, HOST_B, NIC_B, LEAF };

/* Two hosts with a NIC each on one switch; the first with a GPU behind the same bridge as its NIC. */
static weft_topology *cluster_new(void)
{
    weft_topology *topology = topology_new();
    assert_non_null(topology);
    assert_int_equal(add(topology, NODE_HOST, TOPOLOGY_NONE, "a"), HOST_A);
    assert_int_equal(add(topology, NODE_PACKAGE, HOST_A, "0"), PACKAGE_A);
    assert_int_equal(add(topology, NODE_PCI_BRIDGE, PACKAGE_A, "0000:[00-0f]"), BRIDGE_A);
    assert_int_equal(add(topology, NODE_GPU, BRIDGE_A, "0000:02:00.0"), GPU_A);
    assert_int_equal(add(topology, NODE_NIC, BRIDGE_A, "mlx5_0"), NIC_A);
    assert_int_equal(add(topology, NODE_HOST, TOPOLOGY_NONE, "b"), HOST_B);
    assert_int_equal(add(topology, NODE_NIC, HOST_B, "mlx5_0"), NIC_B);
    assert_int_equal(add(topology, NODE_SWITCH, TOPOLOGY_NONE, "leaf"), LEAF);
    join(topology, LINK_PCI, PACKAGE_A, BRIDGE_A, 0);
    join(topology, LINK_PCI, BRIDGE_A, GPU_A, 48e9);
    join(topology, LINK_PCI, BRIDGE_A, NIC_A, 24e9);
    join(topology, LINK_ATTACHED, HOST_B, NIC_B, 0);
    join(topology, LINK_NETWORK, NIC_A, LEAF, 12.5e9);
    join(topology, LINK_NETWORK, LEAF, NIC_B, 12.5e9);
    return topology;
}

static void a_sound_topology_is_sealed_and_indexed_by_node(void **state)
{
    (void)state;
    weft_topology *topology = cluster_new();
    struct diagnostic diagnostic = {0};
    assert_int_equal(topology_seal(topology, &diagnostic), WEFT_OK);
    uint32_t count;
    const uint32_t *links = topology_links_of(topology, BRIDGE_A, &count);
    assert_int_equal(count, 3);
    for (uint32_t i = 0; i < count; i++) assert_int_equal(links[i], i);
    links = topology_links_of(topology, LEAF, &count);
    assert_int_equal(count, 2);
    assert_int_equal(links[0], 4);
    assert_int_equal(links[1], 5);
    assert_int_equal(topology_host_of(topology, GPU_A), HOST_A);
    assert_int_equal(topology_host_of(topology, HOST_B), HOST_B);
    assert_int_equal(topology_host_of(topology, LEAF), TOPOLOGY_NONE);
    weft_topology_destroy(topology);
}

static void children_and_roots_are_chained_in_the_order_they_were_added(void **state)
{
    (void)state;
    weft_topology *topology = cluster_new();
    assert_int_equal(topology->first_root, HOST_A);
    assert_int_equal(topology->nodes[HOST_A].next_sibling, HOST_B);
    assert_int_equal(topology->nodes[HOST_B].next_sibling, LEAF);
    assert_int_equal(topology->nodes[LEAF].next_sibling, TOPOLOGY_NONE);
    assert_int_equal(topology->nodes[BRIDGE_A].first_child, GPU_A);
    assert_int_equal(topology->nodes[GPU_A].next_sibling, NIC_A);
    weft_topology_destroy(topology);
}

static void counts_are_those_of_the_graph(void **state)
{
    (void)state;
    weft_topology *topology = cluster_new();
    weft_topology_counts counts = {.size = sizeof counts};
    assert_int_equal(weft_topology_count(topology, &counts), WEFT_OK);
    assert_int_equal(counts.hosts, 2);
    assert_int_equal(counts.gpus, 1);
    assert_int_equal(counts.nics, 2);
    assert_int_equal(counts.switches, 1);
    assert_int_equal(counts.links, 6);
    counts.size = 1;
    assert_int_equal(weft_topology_count(topology, &counts), WEFT_INVALID_ARGUMENT);
    weft_topology_destroy(topology);
}

/* Every way to break an invariant, by changing one thing of a sound topology, and a word its sentence must have. */
static void break_self_link(weft_topology *t)
{
    t->links[1].to = BRIDGE_A;
}
static void break_link_end(weft_topology *t)
{
    t->links[1].to = 99;
}
static void break_link_kind(weft_topology *t)
{
    t->links[1].kind = LINK_KIND_COUNT;
}
static void break_link_join(weft_topology *t)
{
    t->links[1].kind = LINK_INTERCONNECT;
}
static void break_link_host(weft_topology *t)
{
    t->links[3].to = NIC_A;
}
static void break_negative(weft_topology *t)
{
    t->links[1].bandwidth.value = -1;
}
static void break_infinite(weft_topology *t)
{
    t->links[1].latency = (struct figure){INFINITY, FIGURE_FILE};
}
static void break_source(weft_topology *t)
{
    t->links[1].bandwidth.source = FIGURE_UNKNOWN;
}
static void break_dead_link(weft_topology *t)
{
    t->links[1].bandwidth.value = t->links[1].reverse_bandwidth.value = 0;
}
static void break_port(weft_topology *t)
{
    t->nodes[NIC_A].port_bandwidth.value = 1;
}
static void break_node_kind(weft_topology *t)
{
    t->nodes[GPU_A].kind = NODE_KIND_COUNT;
}
static void break_name(weft_topology *t)
{
    t->nodes[GPU_A].name = "";
}
static void break_same_name(weft_topology *t)
{
    t->nodes[HOST_B].name = "a";
}
static void break_parent_order(weft_topology *t)
{
    t->nodes[BRIDGE_A].parent = NIC_A;
}
static void break_container(weft_topology *t)
{
    t->nodes[NIC_A].parent = GPU_A;
}
static void break_top(weft_topology *t)
{
    t->nodes[NIC_A].parent = TOPOLOGY_NONE;
}
static void break_device(weft_topology *t)
{
    t->links[3] = t->links[5];
    t->links[3].to = t->links[5].to = NIC_A;
}

static void break_distances(weft_topology *t)
{
    const uint32_t nodes[] = {HOST_A};
    const double values[] = {-1};
    topology_add_distances(t, &(struct topology_distances){"NUMALatency", nodes, 1, values});
}
static void break_channel(weft_topology *t)
{
    const uint32_t nodes[] = {LEAF + 1};
    topology_add_channel(t, &(struct topology_channel){.name = "ring", .nodes = nodes, .node_count = 1});
}

static void every_broken_invariant_is_refused_with_a_sentence(void **state)
{
    (void)state;
    static const struct {
        void (*apply)(weft_topology *);
        const char *word;
    } breaks[] = {
        {break_self_link, "to itself"},
        {break_link_end, "does not exist"},
        {break_link_kind, "no known kind"},
        {break_link_join, "cannot join"},
        {break_link_host, "different hosts"},
        {break_negative, "negative"},
        {break_infinite, "not finite"},
        {break_source, "without a source"},
        {break_dead_link, "nothing through"},
        {break_port, "unsound port bandwidth"},
        {break_node_kind, "no known kind"},
        {break_name, "no name"},
        {break_same_name, "two nodes host a"},
        {break_parent_order, "comes before"},
        {break_container, "cannot stand inside a gpu"},
        {break_top, "outside of a host"},
        {break_device, "no link leads to nic mlx5_0"},
        {break_distances, "the distances NUMALatency have a value"},
        {break_channel, "channel ring is empty or has"},
    };
    for (size_t i = 0; i < sizeof breaks / sizeof *breaks; i++) {
        weft_topology *topology = cluster_new();
        breaks[i].apply(topology);
        struct diagnostic diagnostic = {0};
        assert_int_equal(topology_seal(topology, &diagnostic), WEFT_BAD_FORMAT);
        if (!strstr(diagnostic.text, breaks[i].word))
            fail_msg("break %zu: \"%s\" does not say \"%s\"", i, diagnostic.text, breaks[i].word);
        weft_topology_destroy(topology);
    }
}

static void nesting_without_end_is_refused(void **state)
{
    (void)state;
    weft_topology *topology = topology_new();
    uint32_t parent = add(topology, NODE_HOST, TOPOLOGY_NONE, "a");
    for (int i = 0; i < 300; i++) parent = add(topology, NODE_PCI_BRIDGE, parent, "bridge");
    struct diagnostic diagnostic = {0};
    assert_int_equal(topology_seal(topology, &diagnostic), WEFT_BAD_FORMAT);
    assert_non_null(strstr(diagnostic.text, "nested"));
    weft_topology_destroy(topology);
}

static void one_way_links_are_allowed(void **state)
{
    (void)state;
    weft_topology *topology = cluster_new();
    topology->links[4].reverse_bandwidth.value = 0;
    assert_int_equal(topology_check(topology, NULL), WEFT_OK);
    weft_topology_destroy(topology);
}

static void the_text_draws_the_tree_and_then_the_links_across(void **state)
{
    (void)state;
    weft_topology *topology = cluster_new();
    topology->links[4].latency = (struct figure){1.5e-6, FIGURE_MEASURED};
    assert_int_equal(topology_seal(topology, NULL), WEFT_OK);
    char *text = NULL;
    assert_int_equal(weft_topology_print(topology, WEFT_TEXT, &text), WEFT_OK);
    static const char expected[] =
        "2 hosts, 1 GPU, 2 NICs, 1 switch, 6 links\n"
        "host a\n"
        "└─ package 0\n"
        "   └─ PCI bridge 0000:[00-0f]  (bandwidth unknown)\n"
        "      ├─ GPU 0000:02:00.0  (48 GB/s (datasheet) each way)\n"
        "      └─ NIC mlx5_0  (24 GB/s (datasheet) each way)\n"
        "host b\n"
        "└─ NIC mlx5_0  (bandwidth unknown)\n"
        "switch leaf\n"
        "links across the tree\n"
        "   a NIC mlx5_0 <-> switch leaf  network, 12.5 GB/s (datasheet) each way, 1.5 us (measured)\n"
        "   switch leaf <-> b NIC mlx5_0  network, 12.5 GB/s (datasheet) each way\n";
    assert_string_equal(text, expected);
    free(text);
    weft_topology_destroy(topology);
}

static void json_has_the_counts_and_the_graph(void **state)
{
    (void)state;
    weft_topology *topology = cluster_new();
    assert_int_equal(topology_seal(topology, NULL), WEFT_OK);
    char *text = NULL;
    assert_int_equal(weft_topology_print(topology, WEFT_JSON, &text), WEFT_OK);
    static const char head[] = "{\"hosts\":2,\"gpus\":1,\"nics\":2,\"switches\":1,\"links\":6,\"graph\":{\"nodes\":[";
    assert_memory_equal(text, head, strlen(head));
    assert_non_null(strstr(text, "{\"id\":0,\"kind\":\"host\",\"name\":\"a\"}"));
    assert_non_null(strstr(text, "{\"id\":3,\"kind\":\"gpu\",\"name\":\"0000:02:00.0\",\"parent\":2}"));
    assert_non_null(strstr(text, "\"edges\":[{\"from\":1,\"to\":2,\"kind\":\"pci\",\"bandwidth\":null,"
                                 "\"bandwidth_source\":\"unknown\""));
    assert_non_null(strstr(text, "\"bandwidth\":48000000000,\"bandwidth_source\":\"datasheet\""));
    free(text);
    weft_topology_destroy(topology);
}

static void a_large_cluster_is_built_and_checked(void **state)
{
    (void)state;
    enum { HOSTS = 2000, GPUS = 8 };
    weft_topology *topology = topology_new();
    uint32_t leaf = add(topology, NODE_SWITCH, TOPOLOGY_NONE, "leaf");
    for (int i = 0; i < HOSTS; i++) {
        char name[32];
        snprintf(name, sizeof name, "host%d", i);
        uint32_t host = add(topology, NODE_HOST, TOPOLOGY_NONE, name);
        join(topology, LINK_NETWORK, host, leaf, 50e9);
        for (int j = 0; j < GPUS; j++) {
            snprintf(name, sizeof name, "gpu%d", j);
            join(topology, LINK_ATTACHED, host, add(topology, NODE_GPU, host, name), 0);
        }
    }
    assert_int_equal(topology_seal(topology, NULL), WEFT_OK);
    weft_topology_counts counts = {.size = sizeof counts};
    weft_topology_count(topology, &counts);
    assert_int_equal(counts.gpus, HOSTS * GPUS);
    uint32_t count;
    topology_links_of(topology, leaf, &count);
    assert_int_equal(count, HOSTS);
    weft_topology_destroy(topology);
}

/* One change after the other, each to something that two ranks might see differently. */
static void everything_is_in_the_hash(void **state)
{
    (void)state;
    weft_topology *topology = cluster_new();
    const uint32_t nodes[] = {HOST_A, HOST_B};
    const double values[] = {10, 20, 20, 10};
    const struct rdma_device device = {.firmware = "1.0"};
    struct topology_node *gpu = &topology->nodes[GPU_A], *nic = &topology->nodes[NIC_A];
    struct topology_link *link = &topology->links[4];
    uint64_t hashes[24];
    size_t count = 0;
    hashes[count++] = topology_hash(topology);
    gpu->name = "other", hashes[count++] = topology_hash(topology);
    gpu->model = "", hashes[count++] = topology_hash(topology);
    gpu->architecture = "sm_90", hashes[count++] = topology_hash(topology);
    gpu->os_index = 0, hashes[count++] = topology_hash(topology);
    gpu->bytes = 1, hashes[count++] = topology_hash(topology);
    gpu->has_rank = true, hashes[count++] = topology_hash(topology);
    gpu->rank = 1, hashes[count++] = topology_hash(topology);
    gpu->pci.present = true, hashes[count++] = topology_hash(topology);
    gpu->pci.class_code = 0x030200, hashes[count++] = topology_hash(topology);
    nic->guid = 1, hashes[count++] = topology_hash(topology);
    nic->port_latency = (struct figure){1e-6, FIGURE_FILE}, hashes[count++] = topology_hash(topology);
    topology_set_rdma(topology, NIC_A, "mlx5_0", &device), hashes[count++] = topology_hash(topology);
    link->bandwidth.value += 1, hashes[count++] = topology_hash(topology);
    link->bandwidth.source = FIGURE_MEASURED, hashes[count++] = topology_hash(topology);
    link->count = 2, hashes[count++] = topology_hash(topology);
    link->from_port = 7, hashes[count++] = topology_hash(topology);
    topology_add_distances(topology, &(struct topology_distances){"d", nodes, 2, values});
    hashes[count++] = topology_hash(topology);
    topology_add_channel(topology, &(struct topology_channel){.name = "c", .nodes = nodes, .node_count = 2});
    hashes[count++] = topology_hash(topology);
    for (size_t i = 0; i < count; i++)
        for (size_t j = i + 1; j < count; j++)
            if (hashes[i] == hashes[j]) fail_msg("states %zu and %zu have one hash", i, j);
    topology_note(topology, "for people");
    link->count = 2; /* as before */
    assert_true(topology_hash(topology) == hashes[count - 1]);
    weft_topology_destroy(topology);
}

/* Plans depend on which ports there are, how fast they are and whether they may be used. */
static void every_attribute_of_an_rdma_device_is_in_the_hash(void **state)
{
    (void)state;
    weft_topology *topology = cluster_new();
    struct rdma_gid gid = {.index = 1, .interface = "eth0"};
    struct rdma_port port = {.number = 1, .gids = &gid, .gid_count = 1, .state = "ACTIVE", .physical_state = "LinkUp"};
    struct rdma_device device = {.firmware = "1.0", .numa_node = 0, .ports = &port, .port_count = 1};
    uint64_t hashes[16];
    size_t count = 0;
#define HASH_WITH(change)                                                                                              \
    (change, topology_set_rdma(topology, NIC_A, "mlx5_0", &device), hashes[count++] = topology_hash(topology))
    HASH_WITH((void)0);
    HASH_WITH(device.firmware = "1.1");
    HASH_WITH(device.node_guid = 7);
    HASH_WITH(device.numa_node = 1);
    HASH_WITH(port.number = 2);
    HASH_WITH(port.link_layer = (enum rdma_link_layer)1);
    HASH_WITH(port.state = "DOWN");
    HASH_WITH(port.physical_state = "Polling");
    HASH_WITH(port.bandwidth = ((struct figure){1e9, FIGURE_REPORTED}));
    HASH_WITH(port.interface_mtu_bytes = 9000);
    HASH_WITH(port.not_used = "the port is DOWN");
    HASH_WITH(gid.index = 3);
    HASH_WITH(gid.type = (enum rdma_gid_type)1);
    HASH_WITH(gid.bytes[15] = 1);
    HASH_WITH(gid.interface = "eth1");
    HASH_WITH(device.port_count = 0);
#undef HASH_WITH
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < i; k++)
            if (hashes[i] == hashes[k]) fail_msg("changes %zu and %zu have one hash", k, i);
    weft_topology_destroy(topology);
}

static void matrices_channels_and_notes_are_printed(void **state)
{
    (void)state;
    weft_topology *topology = cluster_new();
    const uint32_t nodes[] = {GPU_A, NIC_A};
    const double values[] = {10, 21, 22, 10};
    topology_add_distances(topology, &(struct topology_distances){"NUMALatency", nodes, 2, values});
    topology_add_channel(topology, &(struct topology_channel){.kind = CHANNEL_RING,
                                                              .name = "graph 0",
                                                              .nodes = nodes,
                                                              .node_count = 2,
                                                              .bandwidth = {12e9, FIGURE_FILE}});
    for (int i = 0; i < 102; i++) topology_note(topology, "note %d", i);
    assert_int_equal(topology_seal(topology, NULL), WEFT_OK);
    char *text = NULL, *json = NULL;
    assert_int_equal(weft_topology_print(topology, WEFT_TEXT, &text), WEFT_OK);
    assert_int_equal(weft_topology_print(topology, WEFT_JSON, &json), WEFT_OK);
    assert_non_null(strstr(text, "distances NUMALatency\n   a GPU 0000:02:00.0 10 21\n   a NIC mlx5_0 22 10\n"));
    assert_non_null(strstr(text, "   ring  graph 0  0000:02:00.0 mlx5_0  12 GB/s (file)\n"));
    assert_non_null(strstr(text, "note: note 99\nnote: and 2 more\n"));
    assert_non_null(strstr(json, "\"values\":[10,21,22,10]"));
    assert_non_null(strstr(json, "\"kind\":\"ring\",\"name\":\"graph 0\",\"nodes\":[3,4]"));
    free(json);
    free(text);
    weft_topology_destroy(topology);
}

static void pci_bandwidth_doubles_with_generation_and_width(void **state)
{
    (void)state;
    assert_true(topology_pci_bandwidth(3, 16) == 12e9);
    assert_true(topology_pci_bandwidth(4, 16) == 24e9);
    assert_true(topology_pci_bandwidth(5, 16) == 48e9);
    assert_true(topology_pci_bandwidth(1, 1) == 187.5e6);
    assert_true(topology_pci_bandwidth(0, 16) == 0);
    assert_true(topology_pci_bandwidth(7, 16) == 0);
    assert_true(topology_pci_bandwidth_of_rate(15.753846) == 12e9); /* hwloc's figure for 3.0 x16, and for 4.0 x8 */
    assert_true(topology_pci_bandwidth_of_rate(4) == 3e9);
}

static void bad_arguments_are_refused(void **state)
{
    (void)state;
    char *text = NULL;
    weft_topology *topology = cluster_new();
    assert_int_equal(weft_topology_print(NULL, WEFT_TEXT, &text), WEFT_INVALID_ARGUMENT);
    assert_int_equal(weft_topology_print(topology, WEFT_TEXT, NULL), WEFT_INVALID_ARGUMENT);
    assert_int_equal(weft_topology_print(topology, (weft_format)7, &text), WEFT_INVALID_ARGUMENT);
    assert_int_equal(weft_topology_count(topology, NULL), WEFT_INVALID_ARGUMENT);
    assert_null(text);
    weft_topology_destroy(topology);
    weft_topology_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_sound_topology_is_sealed_and_indexed_by_node),
        cmocka_unit_test(children_and_roots_are_chained_in_the_order_they_were_added),
        cmocka_unit_test(counts_are_those_of_the_graph),
        cmocka_unit_test(every_broken_invariant_is_refused_with_a_sentence),
        cmocka_unit_test(nesting_without_end_is_refused),
        cmocka_unit_test(one_way_links_are_allowed),
        cmocka_unit_test(the_text_draws_the_tree_and_then_the_links_across),
        cmocka_unit_test(json_has_the_counts_and_the_graph),
        cmocka_unit_test(a_large_cluster_is_built_and_checked),
        cmocka_unit_test(everything_is_in_the_hash),
        cmocka_unit_test(every_attribute_of_an_rdma_device_is_in_the_hash),
        cmocka_unit_test(matrices_channels_and_notes_are_printed),
        cmocka_unit_test(pci_bandwidth_doubles_with_generation_and_width),
        cmocka_unit_test(bad_arguments_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
