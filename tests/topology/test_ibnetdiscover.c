/* SPDX-License-Identifier: Apache-2.0 */
/* ibnetdiscover's output: cables at both ends, adapters into hosts, and what a fabric holds beside them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "reader_support.h"

/* Two adapters at a switch: the middle of most cases. %s: the adapters' descriptions, twice each. */
#define SWITCH_RECORD(first, second)                                                                                   \
    "sysimgguid=0xa0\nswitchguid=0xa0(a0)\n"                                                                           \
    "Switch\t3 \"S-00000000000000a0\"\t\t# \"leaf\" enhanced port 0 lid 1 lmc 0\n"                                     \
    "[1]\t\"H-0000000000000010\"[1](11) \t\t# \"" first "\" lid 2 4xHDR\n"                                             \
    "[2]\t\"H-0000000000000020\"[1](21) \t\t# \"" second "\" lid 3 4xHDR\n\n"
#define ADAPTER_RECORD(guid, system, port, description)                                                                \
    "sysimgguid=0x" system "\ncaguid=0x" guid "\n"                                                                     \
    "Ca\t1 \"H-00000000000000" guid "\"\t\t# \"" description "\"\n"                                                    \
    "[1](" guid ") \t\"S-00000000000000a0\"[" port "]\t\t# lid 2 lmc 0 \"leaf\" lid 1 4xHDR\n\n"
#define TWO(first, first_system, second, second_system)                                                                \
    SWITCH_RECORD(first, second)                                                                                       \
    ADAPTER_RECORD("10", first_system, "1", first) ADAPTER_RECORD("20", second_system, "2", second)

static void fabrics_are_read_whole(void **state)
{
    (void)state;
    /* Hosts' cables, hosts' buses, switches' cables, aggregation nodes' cables. */
    static const struct {
        const char *file;
        struct expected_counts counts;
    } cases[] = {
        {"fat_tree", {.hosts = 16, .nics = 16, .switches = 6, .links = 16 + 16 + 4 * 2 + 6}},
        {"dragonfly", {.hosts = 24, .nics = 24, .switches = 12, .links = 24 + 24 + 4 * 3 + 6}},
        {"rails", {.hosts = 4, .nics = 16, .switches = 6, .links = 16 + 16 + 4 * 2}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char path[256];
        snprintf(path, sizeof path, FABRICS_DIRECTORY "/%s.ibnetdiscover", cases[i].file);
        weft_topology *topology = must_read_file("ibnetdiscover", path);
        expect_counts(topology, cases[i].counts);
        weft_topology_destroy(topology);
        /* Some cable lacks its other end, but for the one cut that ends before the first. */
        assert_true(cut_everywhere(path) <= 1);
    }
}

static void a_rail_optimised_cluster_keeps_its_rails(void **state)
{
    (void)state;
    weft_topology *topology = must_read_file("ibnetdiscover", FABRICS_DIRECTORY "/rails.ibnetdiscover");
    for (uint32_t i = 0; i < topology->node_count; i++) {
        const struct topology_node *nic = &topology->nodes[i];
        char rail[16];
        if (nic->kind != NODE_NIC) continue;
        assert_string_equal(nic->verbs_device, nic->name);
        assert_int_equal(topology->nodes[nic->parent].kind, NODE_HOST);
        snprintf(rail, sizeof rail, "rail%s", nic->name + strlen("mlx5_"));
        const struct topology_link *cable = link_between(topology, i, node_named(topology, NODE_SWITCH, rail));
        assert_string_equal(cable->name, "4xNDR");
        assert_true(cable->bandwidth.value == 50e9 && cable->reverse_bandwidth.value == 50e9);
        assert_int_equal(cable->bandwidth.source, FIGURE_DATASHEET);
    }
    weft_topology_destroy(topology);
}

static void switches_are_named_by_what_is_their_own(void **state)
{
    (void)state;
    weft_topology *topology = must_read_file("ibnetdiscover", FABRICS_DIRECTORY "/fat_tree.ibnetdiscover");
    uint32_t spine = node_named(topology, NODE_SWITCH, "MF0;spine-1:MQM8700/U1");
    uint32_t leaf = node_named(topology, NODE_SWITCH, "S-0000000010000200");
    assert_string_equal(topology->nodes[leaf].model, "Quantum Mellanox Technologies");
    assert_int_equal(topology->nodes[leaf].guid, 0x10000200);
    const struct topology_link *uplink = link_between(topology, leaf, spine);
    assert_int_equal(uplink->from == leaf ? uplink->from_port : uplink->to_port, 5);
    assert_int_equal(uplink->from == leaf ? uplink->to_port : uplink->from_port, 1);
    weft_topology_destroy(topology);
}

static void aggregation_nodes_are_no_hosts(void **state)
{
    (void)state;
    weft_topology *topology = must_read_file("ibnetdiscover", FABRICS_DIRECTORY "/fat_tree.ibnetdiscover");
    uint32_t count = 0;
    for (uint32_t i = 0; i < topology->node_count; i++) count += topology->nodes[i].kind == NODE_AGGREGATION;
    assert_int_equal(count, 6);
    weft_topology_destroy(topology);
    /* Under another description it is known by the switch whose case it is in. */
    topology = must_read("ibnetdiscover", TWO("one HCA-1", "10", "SHArP inside", "a0"));
    expect_counts(topology, (struct expected_counts){.hosts = 1, .nics = 1, .switches = 1, .links = 3});
    node_named(topology, NODE_AGGREGATION, "H-0000000000000020");
    weft_topology_destroy(topology);
}

static void adapters_are_put_into_hosts(void **state)
{
    (void)state;
    static const struct {
        const char *text, *why;
        uint32_t hosts;
        const char *host, *nic; /* of the first adapter */
    } cases[] = {
        {TWO("one HCA-1", "10", "one HCA-2", "20"), "one name, two devices", 1, "one", "HCA-1"},
        {TWO("one HCA-1", "10", "two HCA-1", "20"), "two names", 2, "one", "HCA-1"},
        {TWO("one", "10", "two", "20"), "names without devices", 2, "one", "H-0000000000000010"},
        {TWO("localhost HCA-1", "10", "localhost HCA-2", "20"), "nobody set the name", 2, "H-0000000000000010",
         "H-0000000000000010"},
        {TWO("one HCA-1", "10", "one HCA-1", "20"), "the same description twice", 2, "one H-0000000000000010",
         "H-0000000000000010"},
        {TWO("one HCA-1", "10", "one HCA-1", "10"), "the same twice, on one card", 1, "one H-0000000000000010",
         "H-0000000000000010"},
        {TWO("MT4119 ConnectX5 Mellanox Technologies", "10", "MT4119 ConnectX5 Mellanox Technologies", "20"),
         "the firmware's own words", 2, "H-0000000000000010", "H-0000000000000010"},
        {TWO("MT4119 ConnectX5 Mellanox Technologies", "10", "MT4119 ConnectX5 Mellanox Technologies", "10"),
         "the firmware's own words, on one card", 1, "H-0000000000000010", "H-0000000000000010"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        print_message("%s\n", cases[i].why);
        weft_topology *topology = must_read("ibnetdiscover", cases[i].text);
        expect_counts(topology,
                      (struct expected_counts){.hosts = cases[i].hosts, .nics = 2, .switches = 1, .links = 4});
        uint32_t host = node_named(topology, NODE_HOST, cases[i].host);
        assert_string_equal(topology->nodes[topology->nodes[host].first_child].name, cases[i].nic);
        weft_topology_destroy(topology);
    }
}

static void a_card_with_two_ports_is_one_nic(void **state)
{
    (void)state;
    /* Its ports are in two subnets, whose outputs stand one after the other and number their nodes alike. */
    weft_topology *topology =
        must_read("ibnetdiscover", "caguid=0x10\nCa\t2 \"H-0000000000000010\"\t# \"one mlx5_0\"\n"
                                   "[1](11) \t\"S-00000000000000a0\"[1]\t# lid 2 lmc 0 \"a\" lid 1 4xEDR\n\n"
                                   "Switch\t1 \"S-00000000000000a0\"\t# \"a\" base port 0 lid 1 lmc 0\n"
                                   "[1]\t\"H-0000000000000010\"[1](11) \t# \"one mlx5_0\" lid 2 4xEDR\n"
                                   "# Topology file: generated on another day\n"
                                   "caguid=0x10\nCa\t2 \"H-0000000000000010\"\t# \"one mlx5_0\"\n"
                                   "[2](12) \t\"S-00000000000000b0\"[1]\t# lid 2 lmc 0 \"b\" lid 1 4xHDR\n\n"
                                   "Switch\t1 \"S-00000000000000b0\"\t# \"b\" base port 0 lid 1 lmc 0\n"
                                   "[1]\t\"H-0000000000000010\"[2](12) \t# \"one mlx5_0\" lid 2 4xHDR\n");
    expect_counts(topology, (struct expected_counts){.hosts = 1, .nics = 1, .switches = 2, .links = 3});
    uint32_t nic = node_named(topology, NODE_NIC, "mlx5_0");
    assert_true(topology->nodes[nic].port_bandwidth.value == 25e9);
    const struct topology_link *second = link_between(topology, nic, node_named(topology, NODE_SWITCH, "b"));
    assert_int_equal(second->from == nic ? second->from_port : second->to_port, 2);
    weft_topology_destroy(topology);
}

static void grouped_output_lists_switches_twice(void **state)
{
    (void)state;
    weft_topology *topology =
        must_read("ibnetdiscover", "Chassis 1 (guid 0x8f1)\n\n# Spine Nodes\n"
                                   "switchguid=0xa0(a0)\t# ISR2012 Spine 1\n"
                                   "Switch\t2 \"S-00000000000000a0\"\t# \"spine\" base port 0 lid 1 lmc 0\n"
                                   "[1]\t\"S-00000000000000b0\"[2][ext 4]\t# \"line\" lid 2 4xSDR\n\n"
                                   "# Chassis Switches\n"
                                   "switchguid=0xa0(a0)\t# ISR2012 Spine 1\n"
                                   "Switch\t2 \"S-00000000000000a0\"\t# \"spine\" base port 0 lid 1 lmc 0\n"
                                   "[1]\t\"S-00000000000000b0\"[2][ext 4]\t# \"line\" lid 2 4xSDR\n\n"
                                   "Non-Chassis Nodes\n\n"
                                   "Switch\t2 \"S-00000000000000b0\"\t# \"line\" base port 0 lid 2 lmc 0\n"
                                   "[2][ext 4]\t\"S-00000000000000a0\"[1]\t# \"spine\" lid 1 4xSDR s=1 w=2 v=4\n");
    expect_counts(topology, (struct expected_counts){.switches = 2, .links = 1});
    weft_topology_destroy(topology);
}

static void rates_follow_from_width_and_speed(void **state)
{
    (void)state;
    /* InfiniBand Architecture Specification: lanes times signalling rate times line code. */
    static const struct {
        const char *rate;
        double bits_per_second;
    } cases[] = {{"1xSDR", 2e9},          {"4xSDR", 8e9},     {"4xDDR", 16e9},  {"4xQDR", 32e9},
                 {"4xFDR10", 40e9},       {"4xFDR", 54.54e9}, {"4xEDR", 100e9}, {"4xHDR", 200e9},
                 {"2xHDR", 100e9},        {"4xNDR", 400e9},   {"8xNDR", 800e9}, {"12xQDR", 96e9},
                 {"4xXDR", 800e9},        {"4x???", 0},       {"?????", 0},     {"", 0},
                 {"4xEDR s=4 w=2", 100e9}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[1024];
        snprintf(text, sizeof text,
                 "Switch 1 \"S-00000000000000a0\" # \"a\" base port 0 lid 1 lmc 0\n"
                 "[1] \"S-00000000000000b0\"[1] # \"b\" lid 2 %s\n\n"
                 "Switch 1 \"S-00000000000000b0\" # \"b\" base port 0 lid 2 lmc 0\n"
                 "[1] \"S-00000000000000a0\"[1] # \"a\" lid 1 %s\n",
                 cases[i].rate, cases[i].rate);
        weft_topology *topology = must_read("ibnetdiscover", text);
        const struct figure bandwidth = topology->links[0].bandwidth;
        assert_true(bandwidth.value >= cases[i].bits_per_second / 8 &&
                    bandwidth.value <= cases[i].bits_per_second / 8 * 1.001);
        assert_int_equal(bandwidth.source, cases[i].bits_per_second > 0 ? FIGURE_DATASHEET : FIGURE_UNKNOWN);
        weft_topology_destroy(topology);
    }
}

static void oddities_become_notes(void **state)
{
    (void)state;
    weft_topology *topology =
        must_read("ibnetdiscover", "src/query_smp.c:195; umad (DR path) bad status 110\n"
                                   "ibwarn: [17] timed out\n"
                                   "Switch 3 \"S-00000000000000a0\" # \"a \"fine\" box\" base port 0 lid 1 lmc 0\n"
                                   "[1] \"S-00000000000000a0\"[2] # \"a \"fine\" box\" lid 1 4xEDR\n"
                                   "[2] \"S-00000000000000a0\"[1] # \"a \"fine\" box\" lid 1 4xEDR\n"
                                   "[3] \"R-00000000000000b0\"[1](b1)  # \"router\" lid 2 4xEDR\n\n"
                                   "rtguid=0xb0\nRt 1 \"R-00000000000000b0\" # \"router\"\n"
                                   "[1](b1)  \"S-00000000000000a0\"[3] # lid 2 lmc 0 \"a \"fine\" box\" lid 1 1xEDR\n");
    expect_counts(topology, (struct expected_counts){.switches = 2, .links = 1});
    node_named(topology, NODE_SWITCH, "a \"fine\" box");
    assert_true(topology->links[0].bandwidth.value == 25e9 / 8); /* the slower of the two ends */
    assert_true(has_note(topology, "line 1 is a message"));
    assert_true(has_note(topology, "line 4: left out a cable"));
    assert_true(has_note(topology, "two rates"));
    weft_topology_destroy(topology);
}

static void damage_is_found(void **state)
{
    (void)state;
    static const char leaf[] = "Switch 2 \"S-00000000000000a0\" # \"a\" base port 0 lid 1 lmc 0\n";
    static const struct {
        const char *behind, *words; /* what comes behind the leaf's header, as line 2 */
    } cases[] = {
        {"[1] \"H-0000000000000010\"[1](11)  # \"one\" lid 2 4xEDR\n", "test:2: found a cable to \"H-00"},
        {"[1] \"S-00000000000000a0\"[2] # \"a\" lid 1 4xEDR\n", "whose record does not list it"},
        {"[1] \"S-00000000000000a0\"[2] # \"a\" lid 1 4xEDR\n[2] \"S-00000000000000a0\"[2] # \"a\" lid 1 4xEDR\n",
         "expected both ends to agree"},
        {"[1] \"S-00000000000000a0\"[1] # \"a\" lid 1 4xEDR\n[1] \"S-00000000000000a0\"[2] # \"a\" lid 1 4xEDR\n",
         "test:3: found port [1]"},
        {"[3] \"S-00000000000000a0\"[1] # \"a\" lid 1 4xEDR\n", "found port [3]"},
        {"[0] \"S-00000000000000a0\"[1] # \"a\" lid 1 4xEDR\n", "expected 1 to 2"},
        {"[x] \"S-00000000000000a0\"[1]\n", "test:2:1: found '[x]"},
        {"[1] S-00000000000000a0[1]\n", "test:2:5: found 'S-00"},
        {"[1] \"S-00000000000000a0\"[\n", "expected the port at the other end"},
        {"[1] \"S-00000000000000a0\"[1] # \"a\" lid 1 4xFOO\n", "found '4xFOO'"},
        {"[1] \"S-00000000000000a0\"[1] # \"a\" lid 1 5xEDR\n", "found '5xEDR'"},
        {"[1]\n", "the line ends here"},
        {"Switch 3 \"S-00000000000000a0\" # \"a\" base port 0 lid 1 lmc 0\n", "again, and not as in line 1"},
        {"caguid=11\n", "expected a hexadecimal number"},
        {"caguid=0x11\nCa 1 \"H-0000000000000010\" # \"one\"\n", "behind another GUID"},
        {"Ca 1 \"H-10\" # \"one\"\n", "expected H- and 16 hexadecimal digits"},
        {"Ca 1 \"S-0000000000000010\" # \"one\"\n", "expected H- and 16 hexadecimal digits"},
        {"\n[1] \"S-00000000000000a0\"[1]\n", "expected the record of the node that it belongs to first"},
        {"Switch 256 \"S-00000000000000b0\" # \"b\" base port 0 lid 1 lmc 0\n", "expected how many ports it has"},
        {"Ca\n", "the line ends here; expected how many ports"},
        {"something else\n", "found 'something else'"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[1024];
        snprintf(text, sizeof text, "%s%s", leaf, cases[i].behind);
        must_refuse(text, cases[i].words);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fabrics_are_read_whole),
        cmocka_unit_test(a_rail_optimised_cluster_keeps_its_rails),
        cmocka_unit_test(switches_are_named_by_what_is_their_own),
        cmocka_unit_test(aggregation_nodes_are_no_hosts),
        cmocka_unit_test(adapters_are_put_into_hosts),
        cmocka_unit_test(a_card_with_two_ports_is_one_nic),
        cmocka_unit_test(grouped_output_lists_switches_twice),
        cmocka_unit_test(rates_follow_from_width_and_speed),
        cmocka_unit_test(oddities_become_notes),
        cmocka_unit_test(damage_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
