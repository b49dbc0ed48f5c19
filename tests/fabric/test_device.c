/* SPDX-License-Identifier: Apache-2.0 */
/* Which RDMA ports are used, in which order and with which address, on machines that are not here. */
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fabric/device/device.h"

/* A host of two packages: NICs mlx5_2 and mlx5_10 and a GPU in the first, mlx5_3 and a GPU in the second. */
enum { HOST, PACKAGE_0, PACKAGE_1, NUMA_0, NUMA_1, CORE_0, CORE_1, BRIDGE, GPU_0, NIC_10, NIC_2, GPU_1, NIC_3, NODES };

#define MAPPED(a, b, c, d)                                                                                             \
    {                                                                                                                  \
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d                                                           \
    }
#define LINK_LOCAL                                                                                                     \
    {                                                                                                                  \
        0xfe, 0x80, [15] = 1                                                                                           \
    }
#define GLOBAL                                                                                                         \
    {                                                                                                                  \
        0xfd, 0x88, [15] = 1                                                                                           \
    }

/* As a kernel fills it: version 1 and 2 of each address, IPv6 first. */
static const struct rdma_gid gids[] = {
    {0, RDMA_GID_ROCE_V1, LINK_LOCAL, "eth0"},
    {1, RDMA_GID_ROCE_V2, LINK_LOCAL, "eth0"},
    {2, RDMA_GID_ROCE_V1, GLOBAL, "eth0"},
    {3, RDMA_GID_ROCE_V2, GLOBAL, "eth0"},
    {4, RDMA_GID_ROCE_V1, MAPPED(10, 0, 0, 1), "eth0"},
    {5, RDMA_GID_ROCE_V2, MAPPED(10, 0, 0, 1), "eth0"},
};
enum { GID_COUNT = sizeof gids / sizeof *gids };

static struct rdma_port roce_port(void)
{
    return (struct rdma_port){.number = 1,
                              .link_layer = RDMA_LINK_ETHERNET,
                              .state = "ACTIVE",
                              .bandwidth = {25e9, FIGURE_REPORTED},
                              .interface_mtu_bytes = 9000,
                              .gids = gids,
                              .gid_count = GID_COUNT};
}

static weft_topology *host_new(void)
{
    static const struct {
        enum node_kind kind;
        uint32_t parent;
        const char *name;
    } nodes[NODES] = {
        [HOST] = {NODE_HOST, TOPOLOGY_NONE, "a"},  [PACKAGE_0] = {NODE_PACKAGE, HOST, "0"},
        [PACKAGE_1] = {NODE_PACKAGE, HOST, "1"},   [NUMA_0] = {NODE_NUMA, PACKAGE_0, "0"},
        [NUMA_1] = {NODE_NUMA, PACKAGE_1, "1"},    [CORE_0] = {NODE_CORE, PACKAGE_0, "0"},
        [CORE_1] = {NODE_CORE, PACKAGE_1, "1"},    [BRIDGE] = {NODE_PCI_BRIDGE, PACKAGE_0, "bridge"},
        [GPU_0] = {NODE_GPU, BRIDGE, "gpu0"},      [NIC_10] = {NODE_NIC, PACKAGE_0, "mlx5_10"},
        [NIC_2] = {NODE_NIC, BRIDGE, "mlx5_2"},    [GPU_1] = {NODE_GPU, PACKAGE_1, "gpu1"},
        [NIC_3] = {NODE_NIC, PACKAGE_1, "mlx5_3"},
    };
    weft_topology *topology = topology_new();
    for (uint32_t i = 0; i < NODES; i++) {
        uint32_t cpu = (uint32_t)nodes[i].name[0] - '0';
        struct topology_node node = {.kind = nodes[i].kind,
                                     .parent = nodes[i].parent,
                                     .name = nodes[i].name,
                                     .os_index = nodes[i].kind == NODE_NUMA ? cpu : TOPOLOGY_NONE,
                                     .cpus = &cpu,
                                     .cpu_count = nodes[i].kind == NODE_CORE};
        assert_int_equal(topology_add_node(topology, &node), i);
        struct topology_link link = {.kind = LINK_ATTACHED, .from = nodes[i].parent, .to = i};
        if (node.kind == NODE_NUMA) link.kind = LINK_MEMORY;
        if (node.parent != TOPOLOGY_NONE && topology->nodes[node.parent].kind == NODE_PCI_BRIDGE) link.kind = LINK_PCI;
        if (node.kind == NODE_NUMA || node.kind == NODE_GPU || node.kind == NODE_NIC)
            topology_add_link(topology, &link);
    }
    return topology;
}

static void rdma_set(weft_topology *topology, uint32_t nic, const struct rdma_port *ports, uint32_t count)
{
    struct rdma_device rdma = {.numa_node = TOPOLOGY_NONE, .ports = ports, .port_count = count};
    topology_set_rdma(topology, nic, topology->nodes[nic].name, &rdma);
}

/* The host with one RoCE port in each NIC, sealed. */
static weft_topology *host_with_roce(void)
{
    weft_topology *topology = host_new();
    struct rdma_port port = roce_port();
    rdma_set(topology, NIC_10, &port, 1);
    rdma_set(topology, NIC_2, &port, 1);
    rdma_set(topology, NIC_3, &port, 1);
    assert_int_equal(topology_seal(topology, NULL), WEFT_OK);
    return topology;
}

/* "mlx5_2:1 mlx5_10:1", or the sentence when there is none. */
static const char *names_found(const weft_topology *topology, const struct device_query *query)
{
    static char names[512];
    struct device_port *ports = NULL;
    uint32_t count = 0;
    struct diagnostic diagnostic = {0};
    weft_status status = device_ports_find(topology, query, &ports, &count, &diagnostic);
    snprintf(names, sizeof names, "%s", status ? diagnostic.text : "");
    for (uint32_t i = 0; i < count; i++)
        snprintf(names + strlen(names), sizeof names - strlen(names), "%s%s:%u", i ? " " : "", ports[i].device,
                 ports[i].port);
    free(ports);
    return names;
}

static void the_nearest_comes_first_to_a_gpu_and_to_cpus(void **state)
{
    (void)state;
    weft_topology *topology = host_with_roce();
    struct device_query query = {.near = GPU_0, .has_near = true};
    assert_string_equal(names_found(topology, &query), "mlx5_2:1 mlx5_10:1 mlx5_3:1");
    query.near = GPU_1;
    assert_string_equal(names_found(topology, &query), "mlx5_3:1 mlx5_2:1 mlx5_10:1");
    uint32_t cpus[] = {1, 77};
    query = (struct device_query){.cpus = cpus, .cpu_count = 2};
    assert_string_equal(names_found(topology, &query), "mlx5_3:1 mlx5_2:1 mlx5_10:1");
    cpus[1] = 0; /* a process on both packages is near to all */
    assert_string_equal(names_found(topology, &query), "mlx5_2:1 mlx5_3:1 mlx5_10:1");
    weft_topology_destroy(topology);
}

static void among_equals_the_faster_then_the_lower_number_comes_first(void **state)
{
    (void)state;
    weft_topology *topology = host_new();
    struct rdma_port slow = roce_port(), fast[2] = {roce_port(), roce_port()};
    slow.bandwidth.value = 3e9;
    fast[1].number = 2;
    rdma_set(topology, NIC_2, &slow, 1);
    rdma_set(topology, NIC_10, fast, 2);
    rdma_set(topology, NIC_3, fast, 1);
    assert_int_equal(topology_seal(topology, NULL), WEFT_OK);
    assert_string_equal(names_found(topology, &(struct device_query){0}), "mlx5_3:1 mlx5_10:1 mlx5_10:2 mlx5_2:1");
    weft_topology_destroy(topology);
}

static struct device_port first_found(const weft_topology *topology, const struct device_query *query)
{
    struct device_port *ports = NULL, first;
    uint32_t count = 0;
    struct diagnostic diagnostic = {0};
    if (device_ports_find(topology, query, &ports, &count, &diagnostic)) fail_msg("refused: %s", diagnostic.text);
    first = ports[0];
    free(ports);
    return first;
}

static void roce_takes_version_2_and_the_family_asked_for(void **state)
{
    (void)state;
    weft_topology *topology = host_with_roce();
    struct device_query query = {0};
    struct device_port port = first_found(topology, &query);
    assert_int_equal(port.gid_index, 5); /* IPv4 */
    assert_true(port.ethernet);
    assert_int_equal(port.interface_mtu_bytes, 9000);
    assert_string_equal(port.interface, "eth0");
    query.family = DEVICE_ADDRESS_IPV6;
    assert_int_equal(first_found(topology, &query).gid_index, 3); /* global before link-local */
    query.has_gid_index = true;
    query.gid_index = 0;
    assert_int_equal(first_found(topology, &query).gid_index, 0); /* whoever asks knows why */
    query.gid_index = 6;
    assert_non_null(strstr(names_found(topology, &query), "mlx5_10 port 1: it has no GID 6"));
    weft_topology_destroy(topology);
}

static void link_local_addresses_are_the_last_resort(void **state)
{
    (void)state;
    weft_topology *topology = host_new();
    struct rdma_port port = roce_port();
    port.gid_count = 2;
    rdma_set(topology, NIC_2, &port, 1);
    assert_int_equal(topology_seal(topology, NULL), WEFT_OK);
    struct device_query query = {0};
    assert_int_equal(first_found(topology, &query).gid_index, 1);
    query.family = DEVICE_ADDRESS_IPV4;
    assert_string_equal(names_found(topology, &query),
                        "none of this host's RDMA ports (1) can be used; mlx5_2 port 1: it has no RoCE "
                        "v2 GID with an IPv4 address");
    weft_topology_destroy(topology);
}

static void infiniband_takes_gid_0(void **state)
{
    (void)state;
    weft_topology *topology = host_new();
    static const struct rdma_gid table[] = {{0, RDMA_GID_INFINIBAND, LINK_LOCAL, "ib0"},
                                            {1, RDMA_GID_INFINIBAND, GLOBAL, "ib0"}};
    struct rdma_port port = {.number = 1, .link_layer = RDMA_LINK_INFINIBAND, .gids = table, .gid_count = 2};
    rdma_set(topology, NIC_2, &port, 1);
    assert_int_equal(topology_seal(topology, NULL), WEFT_OK);
    struct device_port found = first_found(topology, &(struct device_query){.family = DEVICE_ADDRESS_IPV4});
    assert_int_equal(found.gid_index, 0);
    assert_false(found.ethernet);
    weft_topology_destroy(topology);
}

static void whoever_finds_nothing_learns_why(void **state)
{
    (void)state;
    weft_topology *topology = host_new();
    assert_int_equal(topology_seal(topology, NULL), WEFT_OK);
    assert_string_equal(names_found(topology, &(struct device_query){0}), "this host has no RDMA device");
    weft_topology_destroy(topology);

    topology = host_new();
    struct rdma_port port = roce_port();
    port.not_used = "the port is DOWN (Disabled)";
    rdma_set(topology, NIC_2, &port, 1);
    assert_int_equal(topology_seal(topology, NULL), WEFT_OK);
    assert_string_equal(names_found(topology, &(struct device_query){0}),
                        "none of this host's RDMA ports (1) can be used; mlx5_2 port 1: the port is DOWN (Disabled)");
    struct device_query query = {.devices = "^mlx"};
    assert_string_equal(
        names_found(topology, &query),
        "none of this host's RDMA ports (1) can be used; mlx5_2 port 1: the list of devices \"^mlx\" leaves it out");
    query.devices = "mlx5_2:0";
    struct device_port *ports = NULL;
    uint32_t count = 7;
    struct diagnostic diagnostic = {0};
    assert_int_equal(device_ports_find(topology, &query, &ports, &count, &diagnostic), WEFT_INVALID_ARGUMENT);
    assert_null(ports);
    assert_int_equal(count, 7);
    weft_topology_destroy(topology);
}

static void the_address_of_a_port_is_that_of_its_gid(void **state)
{
    (void)state;
    struct device_port port = {.device = "rxe0", .interface = "lo", .port = 1, .ethernet = true};
    struct sockaddr_storage address;
    const uint8_t ipv4[16] = MAPPED(10, 0, 0, 1), local[16] = LINK_LOCAL, global[16] = GLOBAL;
    const struct sockaddr_in *in = (const struct sockaddr_in *)&address;
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&address;
    memcpy(port.gid, ipv4, sizeof ipv4);
    assert_int_equal(device_port_address(&port, &address, NULL), WEFT_OK);
    assert_int_equal(in->sin_family, AF_INET);
    assert_int_equal(in->sin_addr.s_addr, htonl(0x0a000001));
    assert_int_equal(in->sin_port, 0);
    memcpy(port.gid, global, sizeof global);
    assert_int_equal(device_port_address(&port, &address, NULL), WEFT_OK);
    assert_int_equal(in6->sin6_family, AF_INET6);
    assert_memory_equal(&in6->sin6_addr, global, sizeof global);
    assert_int_equal(in6->sin6_scope_id, 0);
    memcpy(port.gid, local, sizeof local);
    assert_int_equal(device_port_address(&port, &address, NULL), WEFT_OK);
    assert_int_not_equal(in6->sin6_scope_id, 0); /* of lo */
    struct diagnostic diagnostic = {0};
    strcpy(port.interface, "none-such");
    assert_int_equal(device_port_address(&port, &address, &diagnostic), WEFT_UNSUPPORTED);
    assert_non_null(strstr(diagnostic.text, "none-such"));
}

static void infiniband_needs_an_interface_with_an_address(void **state)
{
    (void)state;
    struct device_port port = {.device = "mlx5_0", .interface = "lo", .port = 1};
    struct sockaddr_storage address = {0};
    struct diagnostic diagnostic = {0};
    if (device_port_address(&port, &address, NULL) == WEFT_OK) /* a container may leave lo down */
        assert_true(address.ss_family == AF_INET || address.ss_family == AF_INET6);
    port.interface[0] = '\0';
    assert_int_equal(device_port_address(&port, &address, &diagnostic), WEFT_UNSUPPORTED);
    assert_non_null(strstr(diagnostic.text, "librdmacm"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_nearest_comes_first_to_a_gpu_and_to_cpus),
        cmocka_unit_test(among_equals_the_faster_then_the_lower_number_comes_first),
        cmocka_unit_test(roce_takes_version_2_and_the_family_asked_for),
        cmocka_unit_test(link_local_addresses_are_the_last_resort),
        cmocka_unit_test(infiniband_takes_gid_0),
        cmocka_unit_test(whoever_finds_nothing_learns_why),
        cmocka_unit_test(the_address_of_a_port_is_that_of_its_gid),
        cmocka_unit_test(infiniband_needs_an_interface_with_an_address),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
