/* SPDX-License-Identifier: Apache-2.0 */
/* hwloc's XML: the same as hwloc's own reader gives, and what that one does not keep or refuses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/topology/reader_support.h"
#include "topology/discover/discover.h"

static weft_topology *through_hwloc(const uint8_t *xml, size_t size)
{
    hwloc_topology_t hwloc;
    struct diagnostic diagnostic = {0};
    weft_topology *topology = NULL;
    assert_int_equal(hwloc_topology_init(&hwloc), 0);
    assert_int_equal(hwloc_topology_set_xmlbuffer(hwloc, (const char *)xml, (int)size), 0);
    assert_true(topology_hwloc_configure(hwloc));
    assert_int_equal(hwloc_topology_load(hwloc), 0);
    if (topology_from_hwloc(hwloc, NULL, NULL, &topology, &diagnostic)) fail_msg("refused: %s", diagnostic.text);
    hwloc_topology_destroy(hwloc);
    return topology;
}

static void a_file_reads_as_it_does_through_hwloc(void **state)
{
    (void)state;
    const char *path = MACHINES_DIRECTORY "/two_packages.xml";
    size_t size;
    uint8_t *xml = file_bytes(path, &size);
    weft_topology *expected = through_hwloc(xml, size + 1), *found = must_read_file("hwloc_xml", path);
    char *one = NULL, *other = NULL;
    assert_int_equal(weft_topology_write(expected, &one), WEFT_OK);
    assert_int_equal(weft_topology_write(found, &other), WEFT_OK);
    assert_string_equal(other, one);
    assert_true(topology_equal(expected, found));
    free(other);
    free(one);
    weft_topology_destroy(found);
    weft_topology_destroy(expected);
    free(xml);
}

/* Machines that hwloc makes up, and this one, written by hwloc in its own version 2. */
static void exported_machines_read_as_they_are(void **state)
{
    (void)state;
    static const char *const machines[] = {"pu:1",
                                           "numa:4 pu:2",
                                           "package:2 l3:2 l2:4 core:1 pu:2",
                                           "[numa] package:2 core:2 pu:1",
                                           "package:2 group:2 [numa] l2:1 core:2 pu:1",
                                           "package:1 [numa(memory=1GB)] [numa(memory=2GB)] core:2 pu:1"};
    for (size_t i = 0; i <= sizeof machines / sizeof *machines; i++) {
        hwloc_topology_t hwloc;
        char *xml = NULL;
        int size = 0;
        assert_int_equal(hwloc_topology_init(&hwloc), 0);
        assert_true(topology_hwloc_configure(hwloc));
        if (i < sizeof machines / sizeof *machines)
            assert_int_equal(hwloc_topology_set_synthetic(hwloc, machines[i]), 0);
        assert_int_equal(hwloc_topology_load(hwloc), 0);
        assert_int_equal(hwloc_topology_export_xmlbuffer(hwloc, &xml, &size, 0), 0);
        weft_topology *expected = through_hwloc((const uint8_t *)xml, (size_t)size),
                      *found = must_read("hwloc_xml", xml);
        for (uint32_t j = 0; j < found->node_count; j++)
            found->nodes[j].model = NULL; /* of the host; discovery has none */
        for (uint32_t j = 0; j < expected->node_count; j++) expected->nodes[j].model = NULL;
        found->distances_count = 0;
        if (!topology_equal(expected, found)) fail_msg("machine %zu differs", i);
        weft_topology_destroy(found);
        weft_topology_destroy(expected);
        hwloc_free_xmlbuffer(hwloc, xml);
        hwloc_topology_destroy(hwloc);
    }
}

#define VERSION_3(inside)                                                                                              \
    "<?xml version=\"1.0\"?>\n<!DOCTYPE topology SYSTEM \"hwloc2.dtd\">\n<topology version=\"3.0\">\n"                 \
    "<object type=\"Machine\" os_index=\"0\" cpuset=\"0x3\" nodeset=\"0x3\">\n"                                        \
    "<info name=\"HostName\" value=\"box\"/><info name=\"DMIProductName\" value=\"A box\"/>\n" inside "</topology>\n"

static void version_3_with_memory_side_caches_gpus_and_matrices(void **state)
{
    (void)state;
    weft_topology *topology = must_read(
        "hwloc_xml",
        VERSION_3(
            "<object type=\"Package\" os_index=\"0\" gp_index=\"3\" nodeset=\"0x3\">\n"
            "<object type=\"MemCache\" cache_size=\"1024\" depth=\"1\" nodeset=\"0x1\">"
            "<object type=\"NUMANode\" os_index=\"0\" local_memory=\"4096\"/></object>\n"
            "<object type=\"NUMANode\" os_index=\"1\" subtype=\"GPUMemory\" local_memory=\"8192\"/>\n"
            "<object type=\"L3Cache\" cache_size=\"77\" depth=\"3\">\n"
            "<object type=\"L2Cache\" depth=\"2\"><object type=\"L1iCache\" depth=\"1\">"
            "<object type=\"Core\" os_index=\"0\" cpuset=\"0x1\"><object type=\"PU\" os_index=\"0\" "
            "cpuset=\"0x1\"/></object>"
            "</object></object>\n"
            "<object type=\"Core\" os_index=\"4\" cpuset=\"0x1,,0x2\"/></object>\n"
            "<object type=\"Bridge\" bridge_type=\"0-1\" bridge_pci=\"0000:[00-05]\">\n"
            "<object type=\"PCIDev\" pci_busid=\"0000:01:00.0\" pci_type=\"0302 [10de:2330] [0000:0000] a1 00\" "
            "pci_link_speed=\"63.015385\"><object type=\"OSDev\" gp_index=\"50\" name=\"cuda0\" subtype=\"CUDA\" "
            "osdev_type=\"12\"><info name=\"GPUModel\" value=\"H100\"/>"
            "<info name=\"CUDAGlobalMemorySize\" value=\"1024KiB\"/></object></object>\n"
            "<object type=\"PCIDev\" pci_busid=\"0000:02:00.0\" pci_type=\"0302 [10de:2330] [0000:0000] a1 00\">"
            "<object type=\"OSDev\" gp_index=\"51\" name=\"cuda1\" subtype=\"CUDA\" osdev_type=\"12\"/></object>\n"
            "<object type=\"PCIDev\" pci_busid=\"0000:03:00.0\" pci_type=\"0207 [15b3:1021] [0000:0000] a1 00\">"
            "<object type=\"OSDev\" name=\"ib0\" osdev_type=\"16\"/><object type=\"OSDev\" name=\"mlx5_0\" "
            "osdev_type=\"48\"/>"
            "</object>\n"
            "<object type=\"PCIDev\" pci_busid=\"0000:04:00.0\" pci_type=\"0300 [1a03:2000] [0000:0000] 00 00\"/>\n"
            "</object></object></object>\n"
            "<distances2 type=\"NUMANode\" nbobjs=\"2\" name=\"NUMALatency\" indexing=\"os\"><indexes length=\"4\">0 1 "
            "</indexes>"
            "<u64values length=\"6\">10 40 </u64values><u64values length=\"6\">30 10 </u64values></distances2>\n"
            "<distances2hetero nbobjs=\"3\" name=\"NVLinkBandwidth\"><indexes length=\"26\">OSDev:50 OSDev:51 "
            "Package:3 "
            "</indexes><u64values length=\"50\">0 25000 40000 50000 0 0 40000 0 0 </u64values></distances2hetero>\n"));
    expect_counts(topology, (struct expected_counts){1, 2, 1, 0, 2 + 1 + 3 + 2});
    uint32_t package = node_named(topology, NODE_PACKAGE, "0"), gpu = node_named(topology, NODE_GPU, "0000:01:00.0");
    uint32_t other = node_named(topology, NODE_GPU, "0000:02:00.0"), numa = node_named(topology, NODE_NUMA, "0");
    assert_string_equal(topology->nodes[0].name, "box");
    assert_int_equal(topology->nodes[node_named(topology, NODE_CACHE, "memory-side 1")].parent, numa);
    assert_string_equal(topology->nodes[node_named(topology, NODE_NUMA, "1")].model, "GPUMemory");
    assert_int_equal(topology->nodes[node_named(topology, NODE_CACHE, "L3#0")].bytes,
                     77); /* L2 has one core: left out */
    uint32_t core = node_named(topology, NODE_CORE, "1");
    assert_int_equal(topology->nodes[core].cpu_count, 2);
    assert_int_equal(topology->nodes[core].cpus[1], 64);
    assert_string_equal(topology->nodes[gpu].model, "H100");
    assert_true(topology->nodes[gpu].bytes == 1 << 20);
    uint32_t nic = node_named(topology, NODE_NIC, "ib0");
    assert_string_equal(topology->nodes[nic].verbs_device, "mlx5_0");
    assert_float_equal(link_between(topology, gpu, topology->nodes[gpu].parent)->bandwidth.value, 48e9, 1);
    const struct topology_link *link = link_between(topology, gpu, other);
    assert_true(link->kind == LINK_NVLINK && link->bandwidth.value == 25e9 && link->reverse_bandwidth.value == 50e9);
    assert_true(link_between(topology, gpu, package)->bandwidth.value == 40e9);
    assert_int_equal(topology->distances_count, 1);
    assert_true(topology->distances[0].values[1] == 40 && topology->distances[0].values[2] == 30);
    weft_topology_destroy(topology);
}

static void this_machine_is_written_and_read_back(void **state)
{
    (void)state;
    weft_topology *topology = NULL, *back = NULL;
    char *yaml = NULL, error[256] = "";
    if (weft_topology_discover(&topology)) fail_msg("this machine cannot be read");
    assert_int_equal(weft_topology_write(topology, &yaml), WEFT_OK);
    if (weft_topology_parse("written", yaml, strlen(yaml), &back, error)) fail_msg("refused: %s in\n%s", error, yaml);
    assert_true(topology_equal(topology, back));
    weft_topology_destroy(back);
    free(yaml);
    weft_topology_destroy(topology);
}

static void a_cut_file_is_never_half_read(void **state)
{
    (void)state;
    cut_everywhere(MACHINES_DIRECTORY "/two_packages.xml");
}

static void mistakes_are_named_with_their_place(void **state)
{
    (void)state;
    must_refuse("<topology>\n<object type=\"Machine\"/></topology>", ":1:1: hwloc XML version 1; expected 2 or 3");
    must_refuse("<topology version=\"2.0\">\n<object type=\"Package\"/></topology>",
                ":2:1: found a Package; expected a Machine");
    must_refuse("<topology version=\"2.0\">\n<info/></topology>", ":1:1: without an object; expected a Machine");
    must_refuse(VERSION_3("<object/></object>"), ":6:1: an object without a type");
    must_refuse(VERSION_3("<object type=\"Core\" cpuset=\"0xzz\"/></object>"),
                ":6:1: cpuset is '0xzz'; expected words");
    must_refuse(VERSION_3("<object type=\"PCIDev\" pci_busid=\"1\"/></object>"), ":6:1: pci_busid is '1'");
    must_refuse(VERSION_3("<object type=\"PCIDev\" pci_busid=\"0000:01:00.0\" pci_type=\"?\"/></object>"),
                ":6:1: pci_type is '?'");
    must_refuse(
        VERSION_3("</object><distances2 type=\"NUMANode\" nbobjs=\"2\" name=\"x\"><indexes>0 1</indexes></distances2>"),
        "the distances x end early");
    must_refuse(VERSION_3("<object type=\"Core\">"), "not XML: mismatched tag, inside of element object");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_reads_as_it_does_through_hwloc),
        cmocka_unit_test(exported_machines_read_as_they_are),
        cmocka_unit_test(version_3_with_memory_side_caches_gpus_and_matrices),
        cmocka_unit_test(this_machine_is_written_and_read_back),
        cmocka_unit_test(a_cut_file_is_never_half_read),
        cmocka_unit_test(mistakes_are_named_with_their_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
