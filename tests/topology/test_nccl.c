/* SPDX-License-Identifier: Apache-2.0 */
/* NCCL's and RCCL's files: topologies with what real ones leave out or state oddly, and graphs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "tests/topology/reader_support.h"

#define GPU(address, dev, links)                                                                                       \
    "<pci busid='" address "' class='0x030200' link_speed='32.0 GT/s PCIe' link_width='16'>"                           \
    "<gpu dev='" dev "' sm='90' rank='" dev "' gdr='1'>" links "</gpu></pci>\n"
#define SYSTEM(inside)                                                                                                 \
    "<system version='1'>\n<cpu numaid='0' arch='x86_64' vendor='GenuineIntel'>\n" inside "</cpu>\n</system>\n"

static double gbps(struct figure figure)
{
    return figure.value / 1e9;
}

static void gpus_nics_and_their_links_are_read(void **state)
{
    (void)state;
    weft_topology *topology = must_read(
        "nccl_topology",
        "<!-- a comment -->\n<system version='2'>\n"
        "<cpu numaid='0' affinity='0000ffff,00000003' arch='x86_64' vendor='AuthenticAMD' familyid='175' modelid='1'>\n"
        "<pci busid='0000:01:00.0' class='0x060400' link_speed='16 GT/s' link_width='8'>\n"
        "<pci busid='0000:02:00.0' class='0x030200' vendor='0x10de' device='0x20b0' link_speed='16.0 GT/s PCIe' "
        "link_width='16'>\n"
        "<gpu dev='3' sm='80' rank='5' gdr='1'/></pci>\n"
        "<pci busid='0000:03:00.0' class='0x020700' link_speed='16.0 GT/s PCIe' link_width='16'>\n"
        "<nic><net name='mlx5_0' dev='0' speed='200000' port='1' latency='1.5' guid='0x1234' maxconn='1' "
        "gdr='1'/></nic></pci>\n"
        "</pci></cpu>\n<cpu numaid='1'/>\n</system>");
    expect_counts(topology, (struct expected_counts){1, 1, 1, 0, 3 + 2 + 1});
    uint32_t gpu = node_named(topology, NODE_GPU, "0000:02:00.0"),
             bridge = node_named(topology, NODE_PCI_BRIDGE, "0000:01:00.0");
    uint32_t package = node_named(topology, NODE_PACKAGE, "0"), nic = node_named(topology, NODE_NIC, "mlx5_0");
    assert_int_equal(topology->nodes[gpu].parent, bridge);
    assert_int_equal(topology->nodes[gpu].os_index, 3);
    assert_true(topology->nodes[gpu].has_rank && topology->nodes[gpu].rank == 5);
    assert_string_equal(topology->nodes[gpu].architecture, "sm_80");
    assert_int_equal(topology->nodes[gpu].pci.device_id, 0x20b0);
    assert_int_equal(topology->nodes[package].cpu_count, 18);
    assert_int_equal(topology->nodes[package].cpus[2], 32);
    assert_string_equal(topology->nodes[package].model, "AuthenticAMD family 175 model 1");
    assert_float_equal(gbps(topology->nodes[nic].port_bandwidth), 25, 1e-9);
    assert_float_equal(topology->nodes[nic].port_latency.value, 1.5e-6, 1e-15);
    assert_true(topology->nodes[nic].guid == 0x1234);
    assert_string_equal(topology->nodes[nic].verbs_device, "mlx5_0");
    assert_string_equal(link_between(topology, bridge, package)->name, "PCIe 4.0 x8");
    assert_float_equal(gbps(link_between(topology, gpu, bridge)->bandwidth), 24, 1e-9);
    assert_int_equal(count_links(topology, LINK_INTERCONNECT), 1);
    weft_topology_destroy(topology);
}

static void what_is_left_out_is_unknown(void **state)
{
    (void)state;
    weft_topology *topology = must_read(
        "nccl_topology", "<system version=\"1\">\n<cpu numaid=\"-1\">\n<pci busid=\"0000:00:16.0\"/>\n"
                         "<pci busid=\"0000:00:17.0\" class=\"0x030200\" link_speed=\"\" link_width=\"0\"/>\n"
                         "<pci busid=\"0000:00:18.0\" class=\"0x030200\" link_speed=\"8 GT/s\" link_width=\"0\"/>\n"
                         "<pci busid=\"0000:00:19.0\" class=\"0x020000\" link_speed=\"Unknown\" link_width=\"255\"/>\n"
                         "<nic><net name=\"eth0\" dev=\"0\" speed=\"-1\" port=\"0\" guid=\"0x0\"/></nic>\n"
                         "</cpu>\n</system>");
    expect_counts(topology, (struct expected_counts){1, 2, 2, 0, 5});
    uint32_t package = node_named(topology, NODE_PACKAGE, "unknown"); /* no NUMA node either */
    assert_int_equal(topology->nodes[package].first_child, node_named(topology, NODE_PCI_DEVICE, "0000:00:16.0"));
    uint32_t gpu = node_named(topology, NODE_GPU, "0000:00:17.0");
    assert_int_equal(link_between(topology, gpu, package)->bandwidth.source, FIGURE_UNKNOWN);
    gpu = node_named(topology, NODE_GPU, "0000:00:18.0");
    assert_string_equal(link_between(topology, gpu, package)->name, "PCIe 3.0 x16"); /* width 0 means 16 */
    uint32_t nic = node_named(topology, NODE_NIC, "eth0");
    assert_int_equal(topology->nodes[nic].port_bandwidth.source, FIGURE_UNKNOWN);
    assert_int_equal(link_between(topology, nic, package)->kind, LINK_ATTACHED);
    assert_true(has_note(topology, "'Unknown' x255"));
    assert_true(has_note(topology, "says nothing about links between GPUs"));
    weft_topology_destroy(topology);
}

static void nvswitches_that_are_hidden_come_from_their_links(void **state)
{
    (void)state;
    weft_topology *topology =
        must_read("nccl_topology", SYSTEM(GPU("0000:01:00.0", "0",
                                              "<nvlink target='0000:1a:00.0' count='10' tclass='0x068000'/>"
                                              "<nvlink target='0000:1b:00.0' count='8' tclass='0x068000'/>")
                                              GPU("0000:02:00.0", "1",
                                                  "<nvlink target='0000:1b:00.0' count='8' tclass='0x068000'/>"
                                                  "<nvlink target='0000:1A:00.0' count='10' tclass='0x068000'/>")));
    expect_counts(topology, (struct expected_counts){1, 2, 0, 2, 1 + 2 + 4});
    uint32_t gpu = node_named(topology, NODE_GPU, "0000:02:00.0"),
             nvswitch = node_named(topology, NODE_NVSWITCH, "0000:1a:00.0");
    const struct topology_link *link = link_between(topology, gpu, nvswitch);
    assert_int_equal(link->count, 10);
    assert_float_equal(gbps(link->bandwidth), 250, 1e-9);
    assert_float_equal(gbps(link->reverse_bandwidth), 250, 1e-9);
    assert_int_equal(link->bandwidth.source, FIGURE_DATASHEET);
    weft_topology_destroy(topology);
}

static void a_link_that_both_gpus_list_is_one(void **state)
{
    (void)state;
    weft_topology *topology =
        must_read("nccl_topology", SYSTEM(GPU("0000:01:00.0", "0",
                                              "<nvlink target='0000:02:00.0' count='1' tclass='0x030200'/>"
                                              "<nvlink target='0000:02:00.0' count='1' tclass='0x030200'/>"
                                              "<nvlink target='0000:01:00.0' count='12' tclass='0x030200'/>"
                                              "<nvlink target='0000:09:00.0' count='2' tclass='0x030200'/>"
                                              "<c2c count='1' bw='450000'/>")
                                              GPU("0000:02:00.0", "1",
                                                  "<nvlink target='0000:01:00.0' count='2' tclass='0x030200'/>"
                                                  "<nvlink target='' count='1' tclass='0x068001'/>")));
    assert_int_equal(count_links(topology, LINK_NVLINK), 3);
    uint32_t one = node_named(topology, NODE_GPU, "0000:01:00.0"),
             other = node_named(topology, NODE_GPU, "0000:02:00.0");
    uint32_t package = node_named(topology, NODE_PACKAGE, "0");
    assert_int_equal(link_between(topology, one, other)->count, 2);
    assert_float_equal(gbps(link_between(topology, one, other)->reverse_bandwidth), 50, 1e-9);
    bool found = false;
    for (uint32_t i = 0; i < topology->link_count; i++)
        if (topology->links[i].from == one && topology->links[i].to == package &&
            topology->links[i].kind == LINK_NVLINK)
            found = topology->links[i].bandwidth.value == 450e9;
    assert_true(found);
    assert_true(has_note(topology, "of 0000:01:00.0 to itself"));
    assert_true(has_note(topology, "links to 0000:09:00.0"));
    weft_topology_destroy(topology);
}

static void rccl_says_architectures_in_its_own_way(void **state)
{
    (void)state;
    weft_topology *topology = must_read(
        "nccl_topology",
        SYSTEM("<pci busid='0000:c1:00.0' class='0x038000'><gpu dev='0' sm='104' gcn='910' arch='38911' rank='0'>"
               "<xgmi target='0000:c5:00.0' count='4' tclass='0x038000'/></gpu></pci>\n"
               "<pci busid='0000:c5:00.0' class='0x120000'><gpu dev='1' sm='304' gcn='gfx942' arch='38911' rank='1'>"
               "<xgmi target='0000:c1:00.0' count='4' tclass='0x038000'/></gpu></pci>\n"));
    uint32_t one = node_named(topology, NODE_GPU, "0000:c1:00.0"),
             other = node_named(topology, NODE_GPU, "0000:c5:00.0");
    assert_string_equal(topology->nodes[one].architecture, "gfx90a");
    assert_string_equal(topology->nodes[other].architecture, "gfx942");
    const struct topology_link *link = link_between(topology, one, other);
    assert_int_equal(link->kind, LINK_XGMI);
    assert_float_equal(gbps(link->bandwidth), 200, 1e-9);
    assert_float_equal(gbps(link->reverse_bandwidth), 256, 1e-9);
    weft_topology_destroy(topology);
}

static void bridges_and_nics_may_share_an_address(void **state)
{
    (void)state;
    weft_topology *topology = must_read(
        "nccl_topology",
        SYSTEM(
            "<pci busid='0000:c5:00.0' class='0x060400'><pci busid='0000:cf:00.0' class='0x030200'/></pci>\n"
            "<pci busid='0000:c5:00.0' class='0x060400'><pci busid='0000:d0:00.0' class='0x030200'/></pci>\n"
            "<pci busid='0000:0c:00.0' class='0x020000'><nic><net name='mlx5_0' dev='0' speed='180000' port='1'/>"
            "<net name='mlx5_1' dev='1' speed='180000' port='2'/><net name='fused' dev='2' net='0'/></nic></pci>\n"));
    expect_counts(topology, (struct expected_counts){1, 2, 2, 0, 1 + 4 + 2});
    assert_int_equal(topology->nodes[node_named(topology, NODE_GPU, "0000:d0:00.0")].parent,
                     node_named(topology, NODE_PCI_BRIDGE, "0000:c5:00.0#2"));
    assert_true(has_note(topology, "fused is part of another net"));
    weft_topology_destroy(topology);
}

static void hosts_are_told_apart_by_their_hash(void **state)
{
    (void)state;
    weft_topology *topology =
        must_read("nccl_topology", "<system version='1'>\n"
                                   "<cpu numaid='0' host_hash='0xaa'/><cpu numaid='1' host_hash='0xaa'/>\n"
                                   "<cpu numaid='0' host_hash='0xbb'/></system>");
    expect_counts(topology, (struct expected_counts){2, 0, 0, 0, 3 + 1});
    weft_topology_destroy(topology);
}

static void graphs_are_channels_over_the_devices_they_name(void **state)
{
    (void)state;
    weft_topology *topology = must_read(
        "nccl_graph",
        "<graphs version='1'>\n"
        "<graph id='0' pattern='4' nchannels='2' speedintra='12' speedinter='6'>\n"
        "<channel><net dev='0'/><gpu dev='0'/><gpu dev='1'/><gpu dev='2'/><net dev='0'/></channel>\n"
        "<channel><gpu dev='2'/><gpu dev='1'/><gpu dev='0'/></channel>\n</graph>\n"
        "<graph id='1' pattern='3' nchannels='1' speedintra='10'><channel><gpu dev='1'/></channel></graph></graphs>");
    expect_counts(topology, (struct expected_counts){1, 3, 1, 0, 4});
    assert_int_equal(topology->channel_count, 3);
    assert_int_equal(topology->channels[0].kind, CHANNEL_RING);
    assert_int_equal(topology->channels[0].node_count, 5);
    assert_float_equal(gbps(topology->channels[0].network_bandwidth), 6, 1e-9);
    assert_int_equal(topology->channels[1].nodes[0], node_named(topology, NODE_GPU, "2"));
    assert_int_equal(topology->channels[2].kind, CHANNEL_TREE);
    weft_topology_destroy(topology);
}

static double bandwidth_out(const weft_topology *topology, uint32_t node, enum link_kind kind)
{
    double sum = 0;
    uint32_t count;
    const uint32_t *links = topology_links_of(topology, node, &count);
    for (uint32_t i = 0; i < count; i++)
        if (topology->links[links[i]].kind == kind) sum += gbps(topology->links[links[i]].bandwidth);
    return sum;
}

/* The same machines as in weft's YAML, as the libraries describe them. */
static void whole_machines_have_what_their_data_sheets_say(void **state)
{
    (void)state;
    const char *dgx = MACHINES_DIRECTORY "/dgx_h100_nccl.xml", *mi250x = MACHINES_DIRECTORY "/mi250x_rccl.xml";
    weft_topology *topology = must_read_file("nccl_topology", dgx);
    expect_counts(topology, (struct expected_counts){1, 8, 8, 4, 2 + 8 + 8 + 8 + 32 + 1});
    for (uint32_t i = 0; i < topology->node_count; i++)
        if (topology->nodes[i].kind == NODE_GPU) assert_float_equal(bandwidth_out(topology, i, LINK_NVLINK), 450, 1e-9);
    weft_topology_destroy(topology);
    topology = must_read_file("nccl_topology", mi250x);
    expect_counts(topology, (struct expected_counts){1, 8, 4, 0, 1 + 8 + 4 + 12});
    uint32_t one = node_named(topology, NODE_GPU, "0000:c1:00.0"),
             other = node_named(topology, NODE_GPU, "0000:c5:00.0");
    assert_float_equal(gbps(link_between(topology, one, other)->bandwidth), 200, 1e-9);
    assert_float_equal(bandwidth_out(topology, one, LINK_XGMI), 350, 1e-9);
    weft_topology_destroy(topology);
    cut_everywhere(dgx);
    cut_everywhere(mi250x);
}

static void mistakes_are_named_with_their_place(void **state)
{
    (void)state;
    must_refuse("<system version='3'/>", ":1:1: system version 3; expected 1 or 2");
    must_refuse("<system version='1'>\n<cpu numaid='zero'/>\n</system>",
                ":2:1: numaid of cpu is 'zero'; expected a number");
    must_refuse(SYSTEM("<pci class='0x030200'/>\n"), ":3:1: a pci element without a busid");
    must_refuse(SYSTEM("<pci busid='1234'/>\n"), ":3:1: busid is '1234'; expected an address");
    must_refuse(SYSTEM("<pci busid='0000:01:00.0' link_width='wide'/>\n"), ":3:1: link_width of pci is 'wide'");
    must_refuse(SYSTEM("<pci busid='0000:01:00.0'>\n"), "not XML: mismatched tag");
    must_refuse("<system version='1'>\n<cpu affinity='xyz'/>\n</system>", ":2:1: affinity is 'xyz'; expected words");
    must_refuse(SYSTEM(GPU("0000:01:00.0", "0", "<nvlink target='0000:02:00.0' count='2' tclass='0x030200'/>")
                           GPU("0000:02:00.0", "1", "<nvlink target='0000:01:00.0' count='1' tclass='0x030200'/>")),
                "1 links to a device that lists 2 back; expected as many");
    must_refuse("<?xml version='1.0'?>\n<!DOCTYPE a [<!ENTITY b 'bb'>]>\n<system version='1'>&b;</system>",
                "declares the entity 'b'");
    must_refuse("<system version='1'", "not XML: ");
    must_refuse("<graphs version='1'><graph nchannels='2'><channel><gpu dev='0'/></channel></graph></graphs>",
                "graph 0 has 1 channels; expected 2");
    must_refuse("<graphs version='1'><graph nchannels='1'><channel/></graph></graphs>", "an empty channel");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gpus_nics_and_their_links_are_read),
        cmocka_unit_test(what_is_left_out_is_unknown),
        cmocka_unit_test(nvswitches_that_are_hidden_come_from_their_links),
        cmocka_unit_test(a_link_that_both_gpus_list_is_one),
        cmocka_unit_test(rccl_says_architectures_in_its_own_way),
        cmocka_unit_test(bridges_and_nics_may_share_an_address),
        cmocka_unit_test(hosts_are_told_apart_by_their_hash),
        cmocka_unit_test(graphs_are_channels_over_the_devices_they_name),
        cmocka_unit_test(whole_machines_have_what_their_data_sheets_say),
        cmocka_unit_test(mistakes_are_named_with_their_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
