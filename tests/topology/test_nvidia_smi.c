/* SPDX-License-Identifier: Apache-2.0 */
/* nvidia-smi's matrices: who is near whom, NVLinks counted but not priced, and what shells leave around a matrix. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "reader_support.h"

#define FORMAT "nvidia_smi_topo"

static uint32_t parent_of(const weft_topology *topology, enum node_kind kind, const char *name)
{
    return topology->nodes[node_named(topology, kind, name)].parent;
}

static void relations_place_devices(void **state)
{
    (void)state;
    /* GPU0 and a NIC below one bridge, another NIC beyond a second one, GPU1 at the same host bridge, GPU2 at another
       of the package, GPU3 in another package. */
    weft_topology *topology = must_read(FORMAT, "\tGPU0\tGPU1\tGPU2\tGPU3\tNIC0\tNIC1\tCPU Affinity\tNUMA Affinity\n"
                                                "GPU0\t X \tPHB\tNODE\tSYS\tPIX\tPXB\t0-1,8\t0\t\tN/A\n"
                                                "GPU1\tPHB\t X \tNODE\tSYS\tPHB\tPHB\t0-1,8\t0\t\tN/A\n"
                                                "GPU2\tNODE\tNODE\t X \tSYS\tNODE\tNODE\t0-1,8\t0\t\tN/A\n"
                                                "GPU3\tSYS\tSYS\tSYS\t X \tSYS\tSYS\t4-7\t1\t\tN/A\n"
                                                "NIC0\tPIX\tPHB\tNODE\tSYS\t X \tPXB\n"
                                                "NIC1\tPXB\tPHB\tNODE\tSYS\tPXB\t X \n"
                                                "\nLegend:\n\n  X    = Self\n  NV#  = some\n\n"
                                                "NIC Legend:\n\n  NIC0: mlx5_0\n  NIC1: mlx5_bond_0\n");
    /* Memory 2, packages 1, three host bridges, two PCI switches, six devices. */
    expect_counts(topology, (struct expected_counts){.hosts = 1, .gpus = 4, .nics = 2, .links = 2 + 1 + 3 + 2 + 6});
    uint32_t near = parent_of(topology, NODE_GPU, "GPU0"), wide = parent_of(topology, NODE_NIC, "mlx5_bond_0");
    assert_int_equal(parent_of(topology, NODE_NIC, "mlx5_0"), near);
    assert_int_equal(topology->nodes[near].parent, wide);
    uint32_t host_bridge = topology->nodes[wide].parent;
    assert_int_equal(parent_of(topology, NODE_GPU, "GPU1"), host_bridge);
    uint32_t other_bridge = parent_of(topology, NODE_GPU, "GPU2");
    assert_true(other_bridge != host_bridge);
    uint32_t package = topology->nodes[host_bridge].parent;
    assert_int_equal(topology->nodes[package].kind, NODE_PACKAGE);
    assert_int_equal(topology->nodes[other_bridge].parent, package);
    assert_int_equal(topology->nodes[package].cpu_count, 3);
    assert_int_equal(topology->nodes[package].cpus[2], 8);
    assert_int_equal(parent_of(topology, NODE_NUMA, "0"), package);
    uint32_t far = topology->nodes[parent_of(topology, NODE_GPU, "GPU3")].parent;
    assert_int_equal(link_between(topology, package, far)->kind, LINK_INTERCONNECT);
    assert_string_equal(topology->nodes[node_named(topology, NODE_NIC, "mlx5_0")].verbs_device, "mlx5_0");
    for (uint32_t i = 0; i < topology->link_count; i++)
        assert_int_equal(topology->links[i].bandwidth.source, FIGURE_UNKNOWN);
    weft_topology_destroy(topology);
}

static void nvlinks_join_gpus_or_hidden_switches(void **state)
{
    (void)state;
    weft_topology *topology = must_read(FORMAT, "GPU0 GPU1 GPU2 CPU Affinity NUMA Affinity\n"
                                                "GPU0 X NV2 NV1 0-3 0\n"
                                                "GPU1 NV2 X SYS 0-3 0\n"
                                                "GPU2 NV1 SYS X 4-7 1\n");
    assert_int_equal(count_links(topology, LINK_NVLINK), 2);
    uint32_t gpu0 = node_named(topology, NODE_GPU, "GPU0"), gpu1 = node_named(topology, NODE_GPU, "GPU1");
    assert_int_equal(link_between(topology, gpu0, gpu1)->count, 2);
    /* Where only NVLinks relate two, the NUMA affinity tells the package. */
    uint32_t package = topology->nodes[topology->nodes[gpu0].parent].parent;
    assert_int_equal(topology->nodes[topology->nodes[gpu1].parent].parent, package);
    weft_topology_destroy(topology);

    topology = must_read(FORMAT, "GPU0 GPU1 GPU2 CPU Affinity\n"
                                 "GPU0 X NV12 NV12 0-3\nGPU1 NV12 X NV12 0-3\nGPU2 NV12 NV12 X 0-3\n");
    expect_counts(topology, (struct expected_counts){.hosts = 1, .gpus = 3, .switches = 1, .links = 3 + 6 + 3});
    uint32_t nvswitch = node_named(topology, NODE_NVSWITCH, "nvswitches");
    assert_int_equal(link_between(topology, node_named(topology, NODE_GPU, "GPU2"), nvswitch)->count, 12);
    assert_true(has_note(topology, "24 NVLinks, more than the 18 of any GPU"));
    weft_topology_destroy(topology);
}

static void a_matrix_is_found_among_other_text(void **state)
{
    (void)state;
    weft_topology *topology = must_read(FORMAT, "## A machine\r\n```\r\n$ nvidia-smi topo -m\r\n"
                                                "\t\033[4mGPU0\tGPU1\tmlx5_0\tCPU Affinity\033[0m\r\n"
                                                "GPU0\t X \tSOC\tPIX\t0-0,2-2\r\n"
                                                "GPU1\tSOC\t X \tSOC\tN/A\r\n"
                                                "mlx5_0\tPIX\tSOC\t X \r\n\r\n"
                                                "Legend:\r\n  X   = Self\r\n```\r\n\r\n## More\r\n");
    expect_counts(topology, (struct expected_counts){.hosts = 1, .gpus = 2, .nics = 1, .links = 1 + 2 + 1 + 3});
    assert_string_equal(topology->nodes[node_named(topology, NODE_NIC, "mlx5_0")].verbs_device, "mlx5_0");
    weft_topology_destroy(topology);
    topology = must_read(FORMAT, "\tGPU0\tCPU Affinity\tNUMA Affinity\nGPU0\t X \t0-3\tN/A\n");
    expect_counts(topology, (struct expected_counts){.hosts = 1, .gpus = 1, .links = 2});
    weft_topology_destroy(topology);
}

static void relations_that_do_not_fit_are_told(void **state)
{
    (void)state;
    weft_topology *topology = must_read(FORMAT, "GPU0 GPU1 GPU2 CPU Affinity\n"
                                                "GPU0 X PIX SYS\nGPU1 PIX X PIX\nGPU2 SYS PIX X\n");
    assert_true(has_note(topology, "GPU2 and GPU0 are drawn closer"));
    weft_topology_destroy(topology);
    /* One NUMA node in two packages: its memory is drawn once. */
    topology = must_read(FORMAT, "GPU0 GPU1 CPU Affinity NUMA Affinity\nGPU0 X SYS 0-3 0\nGPU1 SYS X 0-3 0\n");
    assert_true(has_note(topology, "NUMA node 0 is drawn once"));
    weft_topology_destroy(topology);
}

static void damage_is_found(void **state)
{
    (void)state;
    static const struct {
        const char *text, *words;
    } cases[] = {
        {"GPU0 GPU1 CPU Affinity\nGPU0 X PIX\n", "ends before the row of GPU1"},
        {"GPU0 GPU1 CPU Affinity\nGPU0 X PIX\nGPU1 SYS X\n", "test:3: found that GPU1 reaches GPU0 in another way"},
        {"GPU0 GPU1 CPU Affinity\nGPU0 X NV2\nGPU1 NV4 X\n", "expected the same both ways"},
        {"GPU0 GPU1 CPU Affinity\nGPU0 X OK\nGPU1 OK X\n", "test:2: found 'OK'; expected X, PIX"},
        {"GPU0 GPU1 CPU Affinity\nGPU0 X NV\nGPU1 NV X\n", "found 'NV'"},
        {"GPU0 GPU1 CPU Affinity\nGPU0 X X\nGPU1 X X\n", "X where a device meets itself"},
        {"GPU0 NIC0 CPU Affinity\nGPU0 X NV2\nNIC0 NV2 X\n", "NVLinks between GPUs only"},
        {"GPU0 GPU1 CPU Affinity\nGPU0 X PIX\nGPU2 PIX X\n", "test:3: found 'GPU2'; expected the row of GPU1"},
        {"GPU0 GPU1 CPU Affinity\nGPU0 X\n", "expected a relation for each device"},
        {"GPU0 GPU0 CPU Affinity\nGPU0 X PIX\n", "expected every device once"},
        {"GPU0 CPU Affinity\nGPU0 X zero\n", "expected numbers of CPUs"},
        {"GPU0 CPU Affinity\nGPU0 X 3-1\n", "expected numbers of CPUs"},
        {"GPU0 CPU Affinity\nGPU0 X 0-99999\n", "expected numbers of CPUs"},
        {"GPU0 CPU Affinity\nGPU0 X 0\n\nGPU0 CPU Affinity\nGPU0 X 0\n", "expected one matrix"},
        {"GPU0 NIC0 CPU Affinity\nGPU0 X PIX 0\nNIC0 PIX X\nNIC Legend:\nNIC7: mlx5_0\n", "found 'NIC7'"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) must_refuse(cases[i].text, cases[i].words);
}

static void a_cut_matrix_is_no_smaller_machine(void **state)
{
    (void)state;
    cut_everywhere(FABRICS_DIRECTORY "/eight_gpus.nvidia-smi");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(relations_place_devices),
        cmocka_unit_test(nvlinks_join_gpus_or_hidden_switches),
        cmocka_unit_test(a_matrix_is_found_among_other_text),
        cmocka_unit_test(relations_that_do_not_fit_are_told),
        cmocka_unit_test(damage_is_found),
        cmocka_unit_test(a_cut_matrix_is_no_smaller_machine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
