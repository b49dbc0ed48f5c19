/* SPDX-License-Identifier: Apache-2.0 */
/* ibsim's net files: any id, the simulator's defaults, and no silence about what could hide a part of the fabric. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "reader_support.h"

static void switches_and_adapters_are_read(void **state)
{
    (void)state;
    weft_topology *topology = must_read("ibsim", "# a comment\n"
                                                 "Switch\t8 \"sw1\"\n"
                                                 "[1]\t\"one\"[1]\n"
                                                 "# within a record\n"
                                                 "[2]\t\"one\"[2]\n"
                                                 "[3]\t\"sw2\"[3]\n"
                                                 "\n"
                                                 "Switch 8 \"sw2\"\n"
                                                 "[3]\t\"sw1\"[3]\n"
                                                 "[4]\t\"two\"\n" /* no port means port 1 */
                                                 "\n"
                                                 "Hca\t2 \"one\"\n"
                                                 "[1]\t\"sw1\"[1]\n"
                                                 "[2]\t\"sw1\"[2]\n"
                                                 "Hca 1 \"two\"\n"
                                                 "[1] \"sw2\"[4]\n");
    expect_counts(topology, (struct expected_counts){.hosts = 2, .nics = 2, .switches = 2, .links = 2 + 4});
    uint32_t host = node_named(topology, NODE_HOST, "one");
    uint32_t nic = topology->nodes[host].first_child;
    assert_int_equal(link_between(topology, nic, node_named(topology, NODE_SWITCH, "sw1"))->bandwidth.value,
                     1000000000);
    weft_topology_destroy(topology);
}

static void rates_come_from_options_defaults_and_words(void **state)
{
    (void)state;
    static const struct {
        const char *before, *option;
        double bits_per_second;
    } cases[] = {
        {"", "", 8e9},    /* 4xSDR, which the simulator plays */
        {"", "w=1", 2e9}, /* codes, not lanes: 1, 2, 4, 8 mean 1x, 4x, 8x, 12x */
        {"", "w=2 s=4", 32e9},
        {"", "w=15", 24e9}, /* all of them: the widest */
        {"width=8\n", "", 24e9},
        {"width = 8\nspeed = 2\n", "", 48e9},
        {"speed=2\n", "s=1", 8e9},
        {"", "# \"x\" lid 3 4xHDR", 200e9}, /* as ibnetdiscover prints it */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[512];
        snprintf(text, sizeof text, "%sHca 1 \"a\"\n[1] \"b\"[1] %s\n\nHca 1 \"b\"\n[1] \"a\"[1] %s\n", cases[i].before,
                 cases[i].option, cases[i].option);
        weft_topology *topology = must_read("ibsim", text);
        for (uint32_t link = 0; link < topology->link_count; link++)
            if (topology->links[link].kind == LINK_NETWORK)
                assert_true(topology->links[link].bandwidth.value * 8 == cases[i].bits_per_second);
        weft_topology_destroy(topology);
    }
}

static void what_the_simulator_ignores_is_ignored(void **state)
{
    (void)state;
    weft_topology *topology = must_read("ibsim", "vendid=0x2c9\n"
                                                 "hcaguids=0x10\n"
                                                 "do Verbose 2\n"
                                                 "Hca 1 \"a\" # \"desk HCA-1\"\n"
                                                 "some words\n");
    expect_counts(topology, (struct expected_counts){.hosts = 1, .nics = 1, .links = 1});
    node_named(topology, NODE_HOST, "desk");
    weft_topology_destroy(topology);
}

static void what_could_hide_a_part_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *line, *words;
    } cases[] = {
        {"include \"other\"", "expected one file that holds the whole fabric"},
        {"module \"m\"", "expected a fabric of one module"},
        {"do Unlink \"a\"", "none changed by a command"},
        {"do link \"a\"[1] \"b\"[1]", "none changed by a command"},
        {"@[1] \"alias\"", "expected ports without aliases"},
        {"[1] \"b\"[1]", "test:2: found a cable to \"b\", which has no record"},
        {"[1] \"b\"[1] w=99", "found 'w=99'"},
        {"width=0", "expected a width code from 1 to 15"},
        {"speed=9", "expected a speed code from 1 to 7"},
        {"Switch x \"b\"", "expected how many ports it has"},
        {"Switch 300 \"b\"", "expected how many ports it has"},
        {"Hca 1 b", "expected the node's id in quotation marks"},
        {"Switch 1 \"a\"", "again, and not as in line 1"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[256];
        snprintf(text, sizeof text, "Hca 1 \"a\"\n%s\n", cases[i].line);
        must_refuse(text, cases[i].words);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(switches_and_adapters_are_read),
        cmocka_unit_test(rates_come_from_options_defaults_and_words),
        cmocka_unit_test(what_the_simulator_ignores_is_ignored),
        cmocka_unit_test(what_could_hide_a_part_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
