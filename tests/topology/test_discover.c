/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/topology/fake_sysfs.h"
#include "topology/discover/discover.h"
#include "topology/discover/discover_internal.h"
#include "topology/model/model.h"

static weft_topology *from_hwloc(hwloc_topology_t hwloc)
{
    assert_true(topology_hwloc_configure(hwloc));
    assert_int_equal(hwloc_topology_load(hwloc), 0);
    struct diagnostic diagnostic = {0};
    weft_topology *topology = NULL;
    if (topology_from_hwloc(hwloc, NULL, NULL, &topology, &diagnostic)) fail_msg("refused: %s", diagnostic.text);
    hwloc_topology_destroy(hwloc);
    return topology;
}

static weft_topology *from_synthetic(const char *description)
{
    hwloc_topology_t hwloc;
    assert_int_equal(hwloc_topology_init(&hwloc), 0);
    assert_int_equal(hwloc_topology_set_synthetic(hwloc, description), 0);
    return from_hwloc(hwloc);
}

static weft_topology *from_machine(const char *file)
{
    hwloc_topology_t hwloc;
    char path[1024];
    snprintf(path, sizeof path, "%s/%s", MACHINES_DIRECTORY, file);
    assert_int_equal(hwloc_topology_init(&hwloc), 0);
    assert_int_equal(hwloc_topology_set_xml(hwloc, path), 0);
    return from_hwloc(hwloc);
}

static uint32_t count_kind(const weft_topology *topology, enum node_kind kind)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < topology->node_count; i++) count += topology->nodes[i].kind == kind;
    return count;
}

static uint32_t find(const weft_topology *topology, enum node_kind kind, const char *name)
{
    for (uint32_t i = 0; i < topology->node_count; i++)
        if (topology->nodes[i].kind == kind && !strcmp(topology->nodes[i].name, name)) return i;
    fail_msg("there is no %s %s", topology_node_kind_name(kind), name);
    return TOPOLOGY_NONE;
}

/* The link between two nodes, whichever way round it was added. */
static const struct topology_link *find_link(const weft_topology *topology, uint32_t one, uint32_t other)
{
    for (uint32_t i = 0; i < topology->link_count; i++) {
        const struct topology_link *link = &topology->links[i];
        if ((link->from == one && link->to == other) || (link->from == other && link->to == one)) return link;
    }
    fail_msg("no link joins %s and %s", topology->nodes[one].name, topology->nodes[other].name);
    return NULL;
}

static void packages_memory_caches_and_cores_are_found(void **state)
{
    (void)state;
    weft_topology *topology = from_synthetic("package:2 [numa] l3:2 core:4 pu:2");
    assert_int_equal(count_kind(topology, NODE_HOST), 1);
    assert_int_equal(count_kind(topology, NODE_PACKAGE), 2);
    assert_int_equal(count_kind(topology, NODE_NUMA), 2);
    assert_int_equal(count_kind(topology, NODE_CACHE), 4);
    assert_int_equal(count_kind(topology, NODE_CORE), 16);
    uint32_t core = find(topology, NODE_CORE, "15");
    assert_int_equal(topology->nodes[core].cpu_count, 2);
    assert_int_equal(topology->nodes[topology->nodes[core].parent].kind, NODE_CACHE);
    assert_int_equal(find_link(topology, find(topology, NODE_PACKAGE, "0"), find(topology, NODE_PACKAGE, "1"))->kind,
                     LINK_INTERCONNECT);
    assert_int_equal(find_link(topology, find(topology, NODE_PACKAGE, "1"), find(topology, NODE_NUMA, "1"))->kind,
                     LINK_MEMORY);
    weft_topology_destroy(topology);
}

static void odd_machines_are_accepted(void **state)
{
    (void)state;
    static const char *const machines[] = {
        "pu:1",                                      /* neither package nor core */
        "numa:4 pu:2",                               /* NUMA nodes without packages */
        "package:1 core:1 pu:1",                     /* one of everything */
        "[numa] package:2 core:2 pu:1",              /* memory above the packages */
        "package:2 group:2 [numa] l2:1 core:2 pu:1", /* clusters inside a package */
        "package:8 [numa] core:16 pu:2",
        "package:1 [numa(memory=1GB)] [numa(memory=2GB)] core:2 pu:1", /* two memories for the same cores */
    };
    for (size_t i = 0; i < sizeof machines / sizeof *machines; i++) {
        weft_topology *topology = from_synthetic(machines[i]);
        assert_true(count_kind(topology, NODE_CORE) > 0);
        assert_true(count_kind(topology, NODE_NUMA) > 0);
        char *text = NULL;
        assert_int_equal(weft_topology_print(topology, WEFT_TEXT, &text), WEFT_OK);
        free(text);
        weft_topology_destroy(topology);
    }
}

static void gpus_nics_and_switches_are_told_from_other_functions(void **state)
{
    (void)state;
    weft_topology *topology = from_machine("two_packages.xml");
    weft_topology_counts counts = {.size = sizeof counts};
    weft_topology_count(topology, &counts);
    assert_int_equal(counts.gpus, 2); /* not the management processor's */
    assert_int_equal(counts.nics, 2);
    assert_int_equal(counts.switches, 1);
    assert_int_equal(count_kind(topology, NODE_PCI_BRIDGE), 3); /* not the one above a disk */
    uint32_t nic = find(topology, NODE_NIC, "ib0");
    assert_string_equal(topology->nodes[nic].verbs_device, "mlx5_0");
    uint32_t gpu = find(topology, NODE_GPU, "0000:02:00.0");
    assert_string_equal(topology->nodes[gpu].model, "H100 SXM");
    assert_int_equal(topology->nodes[gpu].pci.vendor_id, 0x10de);
    find(topology, NODE_NVSWITCH, "0000:80:02.0");
    weft_topology_destroy(topology);
}

static void pci_links_follow_the_bus_and_have_figures_with_a_source(void **state)
{
    (void)state;
    weft_topology *topology = from_machine("two_packages.xml");
    uint32_t bridge = find(topology, NODE_PCI_BRIDGE, "0000:00:01.0");
    const struct topology_link *link = find_link(topology, bridge, find(topology, NODE_GPU, "0000:02:00.0"));
    assert_int_equal(link->kind, LINK_PCI);
    assert_int_equal(link->bandwidth.source, FIGURE_DATASHEET);
    assert_true(link->bandwidth.value == 48e9); /* generation 5, 16 lanes */
    assert_true(link->reverse_bandwidth.value == 48e9);
    assert_int_equal(link->latency.source, FIGURE_UNKNOWN);
    uint32_t host_bridge = find(topology, NODE_PCI_BRIDGE, "0000:[80-8f]");
    link = find_link(topology, host_bridge, find(topology, NODE_GPU, "0000:80:01.0"));
    assert_true(link->bandwidth.value == 12e9); /* generation 3, 16 lanes */
    assert_string_equal(topology->nodes[topology->nodes[host_bridge].parent].name, "1");
    assert_int_equal(find_link(topology, host_bridge, find(topology, NODE_NUMA, "1"))->kind, LINK_MEMORY);
    weft_topology_destroy(topology);
}

static void a_device_on_no_visible_bus_hangs_on_its_host(void **state)
{
    (void)state;
    weft_topology *topology = from_machine("two_packages.xml");
    uint32_t nic = find(topology, NODE_NIC, "eth9");
    assert_int_equal(topology->nodes[nic].parent, 0);
    const struct topology_link *link = find_link(topology, nic, 0);
    assert_int_equal(link->kind, LINK_ATTACHED);
    assert_int_equal(link->bandwidth.source, FIGURE_UNKNOWN);
    weft_topology_destroy(topology);
}

static void hardware_threads_are_cpus_of_their_core(void **state)
{
    (void)state;
    weft_topology *topology = from_machine("two_packages.xml");
    const struct topology_node *core = &topology->nodes[find(topology, NODE_CORE, "3")];
    assert_int_equal(core->cpu_count, 2);
    assert_int_equal(core->cpus[0], 3);
    assert_int_equal(core->cpus[1], 7);
    char *text = NULL;
    assert_int_equal(weft_topology_print(topology, WEFT_TEXT, &text), WEFT_OK);
    assert_non_null(strstr(text, "2 cores  cpus 2-3,6-7\n"));
    free(text);
    weft_topology_destroy(topology);
}

static void what_the_cpuset_excludes_is_not_there(void **state)
{
    (void)state;
    hwloc_topology_t hwloc;
    assert_int_equal(hwloc_topology_init(&hwloc), 0);
    assert_int_equal(hwloc_topology_set_synthetic(hwloc, "package:2 [numa] core:4 pu:1"), 0);
    assert_int_equal(hwloc_topology_load(hwloc), 0);
    hwloc_bitmap_t allowed = hwloc_bitmap_alloc();
    hwloc_bitmap_set_range(allowed, 1, 2);
    assert_int_equal(hwloc_topology_restrict(hwloc, allowed, HWLOC_RESTRICT_FLAG_REMOVE_CPULESS), 0);
    weft_topology *topology = NULL;
    assert_int_equal(topology_from_hwloc(hwloc, NULL, NULL, &topology, NULL), WEFT_OK);
    assert_int_equal(count_kind(topology, NODE_CORE), 2);
    assert_int_equal(count_kind(topology, NODE_PACKAGE), 1);
    weft_topology_destroy(topology);
    hwloc_bitmap_free(allowed);
    hwloc_topology_destroy(hwloc);
}

static void this_machine_is_one_host_with_cores_and_memory(void **state)
{
    (void)state;
    weft_topology *topology = NULL;
    assert_int_equal(weft_topology_discover(&topology), WEFT_OK);
    assert_int_equal(topology_check(topology, NULL), WEFT_OK);
    assert_int_equal(count_kind(topology, NODE_HOST), 1);
    assert_true(count_kind(topology, NODE_CORE) >= 1);
    assert_true(count_kind(topology, NODE_NUMA) >= 1);
    weft_topology_destroy(topology);
    assert_int_equal(weft_topology_discover(NULL), WEFT_INVALID_ARGUMENT);
}

static void pci_speed_is_what_both_ends_can_do_at_the_current_width(void **state)
{
    const struct fake_sysfs *sysfs = *state;
    char link[512];
    sysfs_write(sysfs, "devices/0000:00:01.0/max_link_speed", "8.0 GT/s PCIe\n");
    sysfs_write(sysfs, "devices/0000:00:01.0/0000:02:00.0/max_link_speed", "32.0 GT/s PCIe\n");
    sysfs_write(sysfs, "devices/0000:00:01.0/0000:02:00.0/current_link_width", "8\n");
    sysfs_write(sysfs, "bus/pci/devices/unused", "");
    snprintf(link, sizeof link, "%s/bus/pci/devices/0000:02:00.0", sysfs->root);
    assert_int_equal(symlink("../../../devices/0000:00:01.0/0000:02:00.0", link), 0);
    struct pci_identity pci = {.present = true, .bus = 2};
    uint32_t generation = 0, lane_count = 0;
    assert_true(sysfs_pci_link(sysfs->root, &pci, &generation, &lane_count));
    assert_int_equal(generation, 3);
    assert_int_equal(lane_count, 8);
    sysfs_write(sysfs, "devices/0000:00:01.0/0000:02:00.0/current_link_width", "0\n");
    assert_false(sysfs_pci_link(sysfs->root, &pci, &generation, &lane_count));
    sysfs_write(sysfs, "devices/0000:00:01.0/0000:02:00.0/max_link_speed", "Unknown\n");
    assert_false(sysfs_pci_link(sysfs->root, &pci, &generation, &lane_count));
    pci.bus = 3;
    assert_false(sysfs_pci_link(sysfs->root, &pci, &generation, &lane_count));
}

static void port_speed_is_reported_or_unknown(void **state)
{
    const struct fake_sysfs *sysfs = *state;
    sysfs_write(sysfs, "class/net/eth0/speed", "25000\n");
    sysfs_write(sysfs, "class/net/eth1/speed", "-1\n");
    sysfs_write(sysfs, "class/infiniband/mlx5_0/ports/1/rate", "400 Gb/sec (4X NDR)\n");
    sysfs_write(sysfs, "class/infiniband/mlx5_1/ports/1/rate", "nonsense\n");
    struct figure figure = sysfs_interface_bandwidth(sysfs->root, "eth0");
    assert_int_equal(figure.source, FIGURE_REPORTED);
    assert_true(figure.value == 3.125e9);
    assert_int_equal(sysfs_interface_bandwidth(sysfs->root, "eth1").source, FIGURE_UNKNOWN);
    assert_int_equal(sysfs_interface_bandwidth(sysfs->root, "eth2").source, FIGURE_UNKNOWN);
    assert_true(sysfs_verbs_bandwidth(sysfs->root, "mlx5_0", 1).value == 50e9);
    assert_int_equal(sysfs_verbs_bandwidth(sysfs->root, "mlx5_1", 1).source, FIGURE_UNKNOWN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(packages_memory_caches_and_cores_are_found),
        cmocka_unit_test(odd_machines_are_accepted),
        cmocka_unit_test(gpus_nics_and_switches_are_told_from_other_functions),
        cmocka_unit_test(pci_links_follow_the_bus_and_have_figures_with_a_source),
        cmocka_unit_test(a_device_on_no_visible_bus_hangs_on_its_host),
        cmocka_unit_test(hardware_threads_are_cpus_of_their_core),
        cmocka_unit_test(what_the_cpuset_excludes_is_not_there),
        cmocka_unit_test(this_machine_is_one_host_with_cores_and_memory),
        cmocka_unit_test_setup_teardown(pci_speed_is_what_both_ends_can_do_at_the_current_width, sysfs_setup,
                                        sysfs_teardown),
        cmocka_unit_test_setup_teardown(port_speed_is_reported_or_unknown, sysfs_setup, sysfs_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
