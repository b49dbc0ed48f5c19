/* SPDX-License-Identifier: Apache-2.0 */
/* RDMA devices: found in a folder that looks like /sys, filtered, placed, printed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "tests/topology/fake_sysfs.h"
#include "topology/discover/discover_internal.h"
#include "topology/model/model.h"
#include "topology/model/proximity.h"
#include "topology/model/rdma.h"

#define GID_LINK_LOCAL "fe80:0000:0000:0000:5054:00ff:fe88:0000\n"
#define GID_IPV4 "0000:0000:0000:0000:0000:ffff:0a58:0001\n"
#define GID_UNUSED "0000:0000:0000:0000:0000:0000:0000:0000\n"

/* What one port of a device says about itself. */
struct port_files {
    const char *device, *interface, *state, *physical_state, *link_layer, *rate;
    unsigned port;
};

static void port_write(const struct fake_sysfs *sysfs, const struct port_files *files)
{
    char folder[128];
    snprintf(folder, sizeof folder, "class/infiniband/%s/ports/%u", files->device, files->port);
    sysfs_write_at(sysfs, files->state, "%s/state", folder);
    sysfs_write_at(sysfs, files->physical_state, "%s/phys_state", folder);
    sysfs_write_at(sysfs, files->link_layer, "%s/link_layer", folder);
    sysfs_write_at(sysfs, files->rate, "%s/rate", folder);
    sysfs_write_at(sysfs, "9000\n", "class/net/%s/mtu", files->interface);
}

static void gid_write(const struct fake_sysfs *sysfs, const struct port_files *files, unsigned index, const char *gid,
                      const char *type)
{
    char folder[128];
    snprintf(folder, sizeof folder, "class/infiniband/%s/ports/%u", files->device, files->port);
    sysfs_write_at(sysfs, gid, "%s/gids/%u", folder, index);
    if (!type) return; /* as the kernel does: reading the attributes of an unused entry fails */
    sysfs_write_at(sysfs, type, "%s/gid_attrs/types/%u", folder, index);
    sysfs_write_at(sysfs, files->interface, "%s/gid_attrs/ndevs/%u", folder, index);
}

/* Programs can open the device, and librdmacm's. */
static void programs_allow(const struct fake_sysfs *sysfs, const char *device, unsigned number)
{
    char line[64];
    snprintf(line, sizeof line, "%s\n", device);
    sysfs_write_at(sysfs, line, "class/infiniband_verbs/uverbs%u/ibdev", number);
    sysfs_write_at(sysfs, "", "dev/infiniband/uverbs%u", number);
    sysfs_write(sysfs, "dev/infiniband/rdma_cm", "");
}

static const struct port_files roce = {
    .device = "rxe0",
    .interface = "eth0",
    .state = "4: ACTIVE\n",
    .physical_state = "5: LinkUp\n",
    .link_layer = "Ethernet\n",
    .rate = "2.5 Gb/sec (1X SDR)\n",
    .port = 1,
};

static void roce_write(const struct fake_sysfs *sysfs)
{
    port_write(sysfs, &roce);
    gid_write(sysfs, &roce, 0, GID_LINK_LOCAL, "IB/RoCE v1\n");
    gid_write(sysfs, &roce, 1, GID_LINK_LOCAL, "RoCE v2\n");
    gid_write(sysfs, &roce, 2, GID_UNUSED, NULL);
    gid_write(sysfs, &roce, 10, GID_IPV4, "RoCE v2\n");
    sysfs_write(sysfs, "class/infiniband/rxe0/parent", "eth0\n");
    sysfs_write(sysfs, "class/infiniband/rxe0/fw_ver", "0.0.0\n");
    sysfs_write(sysfs, "class/infiniband/rxe0/node_guid", "5054:00ff:fe88:0001\n");
    programs_allow(sysfs, "rxe0", 0);
}

/* A host with one NIC, eth0, that is told about the RDMA devices of @p sysfs. */
static weft_topology *discover(const struct fake_sysfs *sysfs, const char *filter)
{
    char devices[96];
    snprintf(devices, sizeof devices, "%s/dev", sysfs->root);
    struct rdma_source source = {.sysfs = sysfs->root, .devices = devices, .filter = filter};
    weft_topology *topology = topology_new();
    struct topology_node host = {.kind = NODE_HOST, .parent = TOPOLOGY_NONE, .name = "here", .os_index = TOPOLOGY_NONE};
    struct topology_node nic = {.kind = NODE_NIC, .name = "eth0", .os_index = TOPOLOGY_NONE};
    assert_int_equal(topology_add_node(topology, &host), 0);
    assert_int_equal(topology_add_node(topology, &nic), 1);
    struct topology_link link = {.kind = LINK_ATTACHED, .to = 1};
    topology_add_link(topology, &link);
    rdma_devices_add(topology, 0, &source);
    struct diagnostic diagnostic = {0};
    if (topology_seal(topology, &diagnostic)) fail_msg("refused: %s", diagnostic.text);
    return topology;
}

/* The reason that the first port of @p device is not used, freed with the topology. */
static const char *reason_of(const weft_topology *topology, const char *device)
{
    for (uint32_t i = 0; i < topology->node_count; i++)
        if (topology->nodes[i].verbs_device && !strcmp(topology->nodes[i].verbs_device, device))
            return topology->nodes[i].rdma->ports[0].not_used;
    fail_msg("there is no %s", device);
    return NULL;
}

static void a_soft_device_belongs_to_the_nic_of_its_interface(void **state)
{
    roce_write(*state);
    weft_topology *topology = discover(*state, "");
    assert_int_equal(topology->node_count, 2);
    const struct topology_node *nic = &topology->nodes[1];
    assert_string_equal(nic->verbs_device, "rxe0");
    assert_string_equal(nic->rdma->firmware, "0.0.0");
    assert_true(nic->rdma->node_guid == 0x505400fffe880001);
    assert_int_equal(nic->rdma->numa_node, TOPOLOGY_NONE);
    assert_int_equal(nic->rdma->port_count, 1);
    assert_true(nic->port_bandwidth.value == 0.3125e9);
    const struct rdma_port *port = &nic->rdma->ports[0];
    assert_int_equal(port->number, 1);
    assert_int_equal(port->link_layer, RDMA_LINK_ETHERNET);
    assert_string_equal(port->state, "ACTIVE");
    assert_string_equal(port->physical_state, "LinkUp");
    assert_true(port->bandwidth.value == 0.3125e9);
    assert_int_equal(port->interface_mtu_bytes, 9000);
    assert_null(port->not_used);
    weft_topology_destroy(topology);
}

static void unused_entries_of_the_address_table_are_left_out(void **state)
{
    roce_write(*state);
    weft_topology *topology = discover(*state, "");
    const struct rdma_port *port = &topology->nodes[1].rdma->ports[0];
    char text[RDMA_GID_TEXT_BYTES];
    assert_int_equal(port->gid_count, 3);
    assert_int_equal(port->gids[0].type, RDMA_GID_ROCE_V1);
    assert_int_equal(port->gids[1].type, RDMA_GID_ROCE_V2);
    assert_int_equal(port->gids[1].index, 1);
    assert_true(rdma_gid_is_link_local(port->gids[1].bytes));
    assert_int_equal(port->gids[2].index, 10); /* in the order of numbers, not of digits */
    assert_string_equal(port->gids[2].interface, "eth0");
    rdma_gid_format(port->gids[2].bytes, text);
    assert_string_equal(text, "10.88.0.1");
    weft_topology_destroy(topology);
}

static void a_device_without_a_nic_gets_one(void **state)
{
    const struct fake_sysfs *sysfs = *state;
    struct port_files files = roce;
    files.device = "mlx5_7";
    files.interface = "ib7";
    files.link_layer = "InfiniBand\n";
    port_write(sysfs, &files);
    files.port = 2;
    files.state = "1: DOWN\n";
    files.physical_state = "3: Disabled\n";
    port_write(sysfs, &files);
    files.port = 1;
    gid_write(sysfs, &files, 0, GID_LINK_LOCAL, NULL);
    sysfs_write(sysfs, "class/infiniband/mlx5_7/device/net/ib7/dev_port", "0\n");
    sysfs_write(sysfs, "class/infiniband/mlx5_7/device/numa_node", "1\n");
    programs_allow(sysfs, "mlx5_7", 3);
    weft_topology *topology = discover(sysfs, NULL);
    assert_int_equal(topology->node_count, 3);
    const struct topology_node *nic = &topology->nodes[2];
    assert_string_equal(nic->name, "mlx5_7");
    assert_int_equal(nic->rdma->numa_node, 1);
    assert_int_equal(nic->rdma->port_count, 2);
    assert_null(nic->rdma->ports[0].not_used);
    assert_string_equal(nic->rdma->ports[0].gids[0].interface, "ib7");
    assert_int_equal(nic->rdma->ports[0].gids[0].type, RDMA_GID_INFINIBAND);
    assert_string_equal(nic->rdma->ports[1].not_used, "the port is DOWN (Disabled)");
    weft_topology_destroy(topology);
}

static void every_port_that_is_not_used_says_why(void **state)
{
    const struct fake_sysfs *sysfs = *state;
    roce_write(sysfs);
    weft_topology *topology = discover(sysfs, "^rxe");
    assert_string_equal(reason_of(topology, "rxe0"), "WEFT_VERBS_DEVICES leaves it out: \"^rxe\"");
    weft_topology_destroy(topology);

    topology = discover(sysfs, "rxe0:");
    assert_string_equal(reason_of(topology, "rxe0"), "WEFT_VERBS_DEVICES cannot be read: \"rxe0:\"");
    weft_topology_destroy(topology);

    sysfs_write(sysfs, "class/infiniband/rxe0/ports/1/state", "2: INIT\n");
    topology = discover(sysfs, "");
    assert_string_equal(reason_of(topology, "rxe0"), "the port is INIT (LinkUp)");
    weft_topology_destroy(topology);

    sysfs_write(sysfs, "class/infiniband/rxe0/ports/1/state", "4: ACTIVE\n");
    sysfs_write(sysfs, "class/infiniband/rxe0/ports/1/gid_attrs/types/1", "IB/RoCE v1\n");
    sysfs_write(sysfs, "class/infiniband/rxe0/ports/1/gid_attrs/types/10", "IB/RoCE v1\n");
    topology = discover(sysfs, "");
    assert_non_null(strstr(reason_of(topology, "rxe0"), "it has no RoCE v2 GID"));
    weft_topology_destroy(topology);
}

static void a_device_that_no_program_may_open_says_what_is_missing(void **state)
{
    const struct fake_sysfs *sysfs = *state;
    char path[128];
    roce_write(sysfs);
    snprintf(path, sizeof path, "%s/dev/infiniband/rdma_cm", sysfs->root);
    assert_int_equal(remove(path), 0);
    weft_topology *topology = discover(sysfs, "");
    assert_non_null(strstr(reason_of(topology, "rxe0"), "is the module rdma_ucm loaded?"));
    weft_topology_destroy(topology);

    snprintf(path, sizeof path, "%s/dev/infiniband/uverbs0", sysfs->root);
    assert_int_equal(remove(path), 0);
    topology = discover(sysfs, "");
    assert_non_null(strstr(reason_of(topology, "rxe0"), "may not open "));
    assert_non_null(strstr(reason_of(topology, "rxe0"), "/dev/infiniband/uverbs0"));
    weft_topology_destroy(topology);

    snprintf(path, sizeof path, "%s/class/infiniband_verbs/uverbs0/ibdev", sysfs->root);
    assert_int_equal(remove(path), 0);
    topology = discover(sysfs, "");
    assert_non_null(strstr(reason_of(topology, "rxe0"), "is the module ib_uverbs loaded?"));
    weft_topology_destroy(topology);
}

static void nonsense_in_sys_is_unknown_and_not_used(void **state)
{
    const struct fake_sysfs *sysfs = *state;
    sysfs_write(sysfs, "class/infiniband/odd/ports/1/state", "");
    sysfs_write(sysfs, "class/infiniband/odd/ports/1/gids/0", "not an address\n");
    sysfs_write(sysfs, "class/infiniband/odd/ports/1/gids/1", "1:2:3:4:5:6:7:8:9\n");
    sysfs_write(sysfs, "class/infiniband/odd/ports/0/state", "4: ACTIVE\n");
    sysfs_write(sysfs, "class/infiniband/odd/ports/fish/state", "4: ACTIVE\n");
    sysfs_write(sysfs, "class/infiniband/odd/node_guid", "x\n");
    sysfs_write(sysfs, "class/infiniband/portless/fw_ver", "\n");
    programs_allow(sysfs, "odd", 1);
    programs_allow(sysfs, "portless", 2);
    weft_topology *topology = discover(sysfs, "");
    assert_string_equal(topology->nodes[2].verbs_device, "odd");
    assert_int_equal(topology->nodes[2].rdma->port_count, 1);
    assert_true(topology->nodes[2].rdma->node_guid == 0);
    const struct rdma_port *port = &topology->nodes[2].rdma->ports[0];
    assert_int_equal(port->gid_count, 0);
    assert_null(port->state);
    assert_string_equal(port->not_used, "the port is in an unknown state");
    assert_int_equal(topology->nodes[3].rdma->port_count, 0);
    assert_null(topology->nodes[3].rdma->firmware);
    weft_topology_destroy(topology);
}

static void both_printed_forms_show_ports_addresses_and_reasons(void **state)
{
    const struct fake_sysfs *sysfs = *state;
    roce_write(sysfs);
    weft_topology *topology = discover(sysfs, "^rxe0:1");
    char *text = NULL;
    assert_int_equal(weft_topology_print(topology, WEFT_TEXT, &text), WEFT_OK);
    assert_non_null(strstr(text, "rxe0  firmware 0.0.0  guid 505400fffe880001\n"));
    assert_non_null(strstr(text, "port 1  ethernet  ACTIVE (LinkUp)  0.3125 GB/s (reported)  interface mtu 9000  not "
                                 "used: WEFT_VERBS_DEVICES leaves it out: \"^rxe0:1\"\n"));
    assert_non_null(strstr(text, "gid 10  10.88.0.1  RoCE v2  eth0\n"));
    assert_null(strstr(text, "gid 0 ")); /* version 1 */
    free(text);
    assert_int_equal(weft_topology_print(topology, WEFT_JSON, &text), WEFT_OK);
    assert_non_null(strstr(text, "\"link_layer\":\"ethernet\""));
    assert_non_null(
        strstr(text, "{\"index\":10,\"type\":\"roce_v2\",\"address\":\"10.88.0.1\",\"interface\":\"eth0\"}"));
    assert_non_null(strstr(text, "\"not_used\":\"WEFT_VERBS_DEVICES leaves it out: \\\"^rxe0:1\\\"\""));
    free(text);
    weft_topology_destroy(topology);
}

static void filters_take_beginnings_whole_names_ports_and_all_but(void **state)
{
    (void)state;
    assert_true(rdma_filter_allows(NULL, "mlx5_0", 1));
    assert_true(rdma_filter_allows("", "mlx5_0", 1));
    assert_true(rdma_filter_allows("mlx5_1", "mlx5_1", 1));
    assert_true(rdma_filter_allows("mlx5_1", "mlx5_10", 1)); /* a beginning */
    assert_false(rdma_filter_allows("=mlx5_1", "mlx5_10", 1));
    assert_true(rdma_filter_allows("=mlx5_1", "mlx5_1", 1));
    assert_true(rdma_filter_allows("mlx5_0:2,mlx5_3", "mlx5_0", 2));
    assert_false(rdma_filter_allows("mlx5_0:2,mlx5_3", "mlx5_0", 1));
    assert_true(rdma_filter_allows("mlx5_0:2,mlx5_3", "mlx5_3", 1));
    assert_false(rdma_filter_allows("^mlx5", "mlx5_3", 1));
    assert_true(rdma_filter_allows("^mlx5", "rxe0", 1));
    assert_true(rdma_filter_allows("^mlx5_0:2", "mlx5_0", 1));
    static const char *const refused[] = {"^",  "=",     ",",   "a,^b", "a,,b", "a:",     "a:0",  "a:x", "a:256",
                                          ":1", "a:1:1", "^^a", "a=b",  "a:-1", "a:1x,b", "a: 1", "a:+1"};
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        struct diagnostic diagnostic = {0};
        if (rdma_filter_check(refused[i], &diagnostic) != WEFT_INVALID_ARGUMENT) fail_msg("%s is taken", refused[i]);
        assert_non_null(strstr(diagnostic.text, refused[i]));
        assert_false(rdma_filter_allows(refused[i], "a", 1));
    }
}

/* Two packages with a NUMA node each; bridges below the first, a NIC behind each of its ports, and GPUs beside them. */
enum {
    HOST,
    PACKAGE_0,
    PACKAGE_1,
    NUMA_0,
    NUMA_1,
    CORE_0,
    CORE_1,
    ROOT,
    SWITCH,
    GPU_NEAR,
    NIC,
    GPU_ROOT,
    GPU_FAR,
    OTHER
};

static weft_topology *two_packages(void)
{
    static const struct {
        enum node_kind kind;
        uint32_t parent;
        const char *name;
    } nodes[] = {
        [HOST] = {NODE_HOST, TOPOLOGY_NONE, "a"}, [PACKAGE_0] = {NODE_PACKAGE, HOST, "0"},
        [PACKAGE_1] = {NODE_PACKAGE, HOST, "1"},  [NUMA_0] = {NODE_NUMA, PACKAGE_0, "0"},
        [NUMA_1] = {NODE_NUMA, PACKAGE_1, "1"},   [CORE_0] = {NODE_CORE, PACKAGE_0, "0"},
        [CORE_1] = {NODE_CORE, PACKAGE_1, "1"},   [ROOT] = {NODE_PCI_BRIDGE, PACKAGE_0, "root"},
        [SWITCH] = {NODE_PCI_BRIDGE, ROOT, "sw"}, [GPU_NEAR] = {NODE_GPU, SWITCH, "near"},
        [NIC] = {NODE_NIC, SWITCH, "nic"},        [GPU_ROOT] = {NODE_GPU, ROOT, "root"},
        [GPU_FAR] = {NODE_GPU, PACKAGE_1, "far"}, [OTHER] = {NODE_HOST, TOPOLOGY_NONE, "b"},
    };
    static const struct {
        enum link_kind kind;
        uint32_t from, to;
    } links[] = {
        {LINK_MEMORY, PACKAGE_0, NUMA_0}, {LINK_MEMORY, PACKAGE_1, NUMA_1}, {LINK_PCI, SWITCH, GPU_NEAR},
        {LINK_PCI, SWITCH, NIC},          {LINK_PCI, ROOT, GPU_ROOT},       {LINK_ATTACHED, PACKAGE_1, GPU_FAR},
    };
    weft_topology *topology = topology_new();
    for (uint32_t i = 0; i < sizeof nodes / sizeof *nodes; i++) {
        uint32_t cpu = nodes[i].name[0] - '0';
        struct topology_node node = {.kind = nodes[i].kind,
                                     .parent = nodes[i].parent,
                                     .name = nodes[i].name,
                                     .os_index = nodes[i].kind == NODE_NUMA ? cpu : TOPOLOGY_NONE,
                                     .cpus = &cpu,
                                     .cpu_count = nodes[i].kind == NODE_CORE};
        assert_int_equal(topology_add_node(topology, &node), i);
    }
    for (size_t i = 0; i < sizeof links / sizeof *links; i++) {
        struct topology_link link = {.kind = links[i].kind, .from = links[i].from, .to = links[i].to};
        topology_add_link(topology, &link);
    }
    return topology;
}

static void proximity_is_what_lies_between(void **state)
{
    (void)state;
    weft_topology *topology = two_packages();
    struct diagnostic diagnostic = {0};
    if (topology_seal(topology, &diagnostic)) fail_msg("refused: %s", diagnostic.text);
    static const struct {
        uint32_t node;
        enum topology_proximity proximity;
    } expected[] = {
        {NIC, PROXIMITY_SAME_DEVICE},        {GPU_NEAR, PROXIMITY_SAME_BRIDGE}, {GPU_ROOT, PROXIMITY_SAME_ROOT},
        {CORE_0, PROXIMITY_SAME_NUMA},       {NUMA_0, PROXIMITY_SAME_NUMA},     {GPU_FAR, PROXIMITY_ACROSS_PACKAGES},
        {CORE_1, PROXIMITY_ACROSS_PACKAGES}, {OTHER, PROXIMITY_OTHER_HOST},
    };
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        assert_int_equal(topology_proximity_between(topology, NIC, expected[i].node), expected[i].proximity);
        assert_int_equal(topology_proximity_between(topology, expected[i].node, NIC), expected[i].proximity);
    }
    assert_int_equal(topology_core_of(topology, 1), CORE_1);
    assert_int_equal(topology_core_of(topology, 2), TOPOLOGY_NONE);
    assert_int_equal(topology_numa_of(topology, NIC), NUMA_0);
    assert_int_equal(topology_numa_of(topology, HOST), TOPOLOGY_NONE);
    weft_topology_destroy(topology);
}

static void the_numa_node_a_device_reports_counts(void **state)
{
    (void)state;
    weft_topology *topology = two_packages();
    struct rdma_port port = {.number = 1};
    struct rdma_device rdma = {.numa_node = 1, .ports = &port, .port_count = 1};
    struct topology_node node = {.kind = NODE_NIC, .parent = HOST, .name = "bare", .os_index = TOPOLOGY_NONE};
    uint32_t bare = topology_add_node(topology, &node);
    struct topology_link link = {.kind = LINK_ATTACHED, .from = HOST, .to = bare};
    topology_add_link(topology, &link);
    topology_set_rdma(topology, bare, "bare", &rdma);
    assert_int_equal(topology_seal(topology, NULL), WEFT_OK);
    assert_int_equal(topology_proximity_between(topology, bare, GPU_FAR), PROXIMITY_SAME_NUMA);
    assert_int_equal(topology_proximity_between(topology, bare, GPU_NEAR), PROXIMITY_ACROSS_PACKAGES);
    weft_topology_destroy(topology);
}

static void unsound_rdma_devices_are_refused(void **state)
{
    (void)state;
    struct rdma_port ports[2] = {{.number = 1}, {.number = 1}};
    struct rdma_device rdma = {.ports = ports, .port_count = 2, .numa_node = TOPOLOGY_NONE};
    struct diagnostic diagnostic = {0};
    weft_topology *topology = two_packages();
    topology_set_rdma(topology, NIC, "mlx5_0", &rdma);
    assert_int_equal(topology_check(topology, &diagnostic), WEFT_BAD_FORMAT);
    assert_non_null(strstr(diagnostic.text, "numbered"));
    ports[1].number = 2;
    ports[1].bandwidth = (struct figure){-1, FIGURE_REPORTED};
    topology_set_rdma(topology, NIC, "mlx5_0", &rdma);
    assert_int_equal(topology_check(topology, &diagnostic), WEFT_BAD_FORMAT);
    ports[1].bandwidth = (struct figure){0};
    topology_set_rdma(topology, NIC, "mlx5_0", &rdma);
    assert_int_equal(topology_check(topology, NULL), WEFT_OK);
    topology_set_rdma(topology, GPU_NEAR, "mlx5_0", &rdma);
    assert_int_equal(topology_check(topology, &diagnostic), WEFT_BAD_FORMAT);
    weft_topology_destroy(topology);
}

#define with_sysfs(test) cmocka_unit_test_setup_teardown(test, sysfs_setup, sysfs_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_sysfs(a_soft_device_belongs_to_the_nic_of_its_interface),
        with_sysfs(unused_entries_of_the_address_table_are_left_out),
        with_sysfs(a_device_without_a_nic_gets_one),
        with_sysfs(every_port_that_is_not_used_says_why),
        with_sysfs(a_device_that_no_program_may_open_says_what_is_missing),
        with_sysfs(nonsense_in_sys_is_unknown_and_not_used),
        with_sysfs(both_printed_forms_show_ports_addresses_and_reasons),
        cmocka_unit_test(filters_take_beginnings_whole_names_ports_and_all_but),
        cmocka_unit_test(proximity_is_what_lies_between),
        cmocka_unit_test(the_numa_node_a_device_reports_counts),
        cmocka_unit_test(unsound_rdma_devices_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
