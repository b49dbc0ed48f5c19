/* SPDX-License-Identifier: Apache-2.0 */
/* Slurm's topology.conf and topology.yaml: what Slurm starts with is read, what it refuses to start with is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "reader_support.h"

#define CONF "slurm_topology_conf"
#define YAML "slurm_topology_yaml"

static void clusters_are_read_whole(void **state)
{
    (void)state;
    /* A link below each host, and one above each switch but the root. */
    static const struct {
        const char *file;
        struct expected_counts counts;
    } cases[] = {
        {"fat_tree", {.hosts = 16, .switches = 5, .links = 16 + 4}},
        {"dragonfly", {.hosts = 24, .switches = 12 + 4 + 1, .links = 24 + 12 + 4}},
        {"rails", {.hosts = 4, .switches = 1, .links = 4}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char path[256];
        snprintf(path, sizeof path, FABRICS_DIRECTORY "/%s.topology.conf", cases[i].file);
        weft_topology *topology = must_read_file(CONF, path);
        expect_counts(topology, cases[i].counts);
        weft_topology_destroy(topology);
        cut_everywhere(path);
    }
}

static void lines_are_read_as_slurm_reads_them(void **state)
{
    (void)state;
    weft_topology *topology = must_read(CONF, "# SwitchName=no\n"
                                              "switchname=root SWITCHES=s[0-1] linkspeed=100 # a comment\n"
                                              "SwitchName=s0 Nodes=\"n[01-02],x\"\n"
                                              "  SwitchName = s1 \\\n"
                                              "  Nodes = n03 \\\n"
                                              "  LinkSpeed = 50\n"
                                              "\n");
    expect_counts(topology, (struct expected_counts){.hosts = 4, .switches = 3, .links = 6});
    uint32_t leaf = node_named(topology, NODE_SWITCH, "s1");
    const struct topology_link *up = link_between(topology, leaf, node_named(topology, NODE_SWITCH, "root"));
    assert_string_equal(up->name, "LinkSpeed=100");
    assert_int_equal(up->bandwidth.source, FIGURE_UNKNOWN); /* its unit is "arbitrary" */
    assert_string_equal(link_between(topology, leaf, node_named(topology, NODE_HOST, "n03"))->name, "LinkSpeed=50");
    weft_topology_destroy(topology);
}

static void what_slurm_warns_of_becomes_a_note(void **state)
{
    (void)state;
    /* A node under two leaves, a switch under two others, an empty leaf, two roots; names twice in a list are one. */
    weft_topology *topology = must_read(CONF, "SwitchName=a Switches=s0,s1,s1\n"
                                              "SwitchName=b Switches=s1\n"
                                              "SwitchName=s0 Nodes=n1,n1,n2\n"
                                              "SwitchName=s1 Nodes=n2\n"
                                              "SwitchName=s2\n");
    expect_counts(topology, (struct expected_counts){.hosts = 2, .switches = 5, .links = 3 + 3});
    assert_true(has_note(topology, "line 4: node n2 is in two groups, s0 and s1"));
    assert_true(has_note(topology, "line 5: switch s2 has neither nodes nor switches"));
    weft_topology_destroy(topology);
}

static void what_slurm_refuses_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text, *words;
    } cases[] = {
        {"SwitchName=a Switches=a\n", "test:1: found switch 'a' below itself"},
        {"SwitchName=r Switches=a\nSwitchName=a Switches=b\nSwitchName=b Switches=c\nSwitchName=c Switches=a,d\n"
         "SwitchName=d Nodes=n\n",
         "below itself, through"},
        {"SwitchName=a Switches=b[1-2]\nSwitchName=b1 Nodes=n\n", "test:1: found the child 'b2' of switch 'a'"},
        {"SwitchName=a Nodes=n\nSwitchName=a Nodes=m\n", "test:2: found 'a' again, which line 1 describes"},
        {"SwitchName=a Nodes=n Switches=b\nSwitchName=b Nodes=m\n", "not both"},
        {"SwitchName=a[1-2] Nodes=n\n", "expected one name"},
        {"SwitchName=a Nodes=n[2-1]\n", "is no list of hosts"},
        {"SwitchName=a Nodes=n[1-\n", "is no list of hosts"},
        {"SwitchName=a Nodes=n[0-999999999]\n", "no more than 131072 names"},
        {"SwitchName=a Nodes=ALL\n", "expected names of nodes"},
        {"SwitchName=a Nodes=\n", "expected a value behind it"},
        {"SwitchName=a Nodes=\"n\n", "expected a closing quotation mark"},
        {"SwitchName=a Nodes=n Color=red\n", "found 'Color'"},
        {"SwitchName=a Nodes=n Nodes=m\n", "every key once"},
        {"SwitchName=a words\n", "expected KEY=VALUE"},
        {"SwitchName=a SwitchName=b\n", "one switch, block or ring in a line"},
        {"SwitchName=a Nodes=n\nNodes=m\n", "expected a line that begins with SwitchName"},
        {"SwitchName=a Nodes=n\nInclude more.conf\n", "one file that holds the whole topology"},
        {"SwitchName=a Nodes=n\nBlockName=b Nodes=m\n", "not several of them"},
        {"SwitchName=a Nodes=n\nBlockSizes=4\n", "BlockSizes beside BlockName only"},
        {"BlockName=b\n", "expected a block with nodes"},
        {"BlockName=b Nodes=n LinkSpeed=1\n", "which has Nodes and nothing else"},
        {"BlockName=b Nodes=n\nBlockSizes=4,12\n", "found the block size 12"},
        {"BlockName=b Nodes=n\nBlockSizes=4,4\n", "ascending"},
        {"BlockName=b Nodes=n\nBlockSizes=0\n", "found the block size 0"},
        {"BlockName=b Nodes=n\nBlockSizes=4,x\n", "found 'x'"},
        {"RingName=r\n", "expected a ring with Nodes"},
        {"RingName=r Nodes=n,m,n\n", "every node once"},
        {"BlockSizes=4\n", "describes nothing"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) must_refuse(cases[i].text, cases[i].words);
}

static void blocks_are_joined_by_levels(void **state)
{
    (void)state;
    /* Six blocks of two nodes, joined by two and by four; the last switch is for jobs that span them all. */
    weft_topology *topology = must_read(CONF, "BlockName=b1 Nodes=n[01-02]\nBlockName=b2 Nodes=n[03-04]\n"
                                              "BlockName=b3 Nodes=n[05-06]\nBlockName=b4 Nodes=n[07-08]\n"
                                              "BlockName=b5 Nodes=n[09-10]\nBlockName=b6 Nodes=n[11-12]\n"
                                              "BlockSizes=2,4,8\n");
    /* b1..b2, b3..b4, b5..b6; b1..b4; b1..b6 */
    expect_counts(topology, (struct expected_counts){.hosts = 12, .switches = 6 + 3 + 1 + 1, .links = 12 + 6 + 2 + 2});
    link_between(topology, node_named(topology, NODE_SWITCH, "b5..b6"), node_named(topology, NODE_SWITCH, "b1..b6"));
    weft_topology_destroy(topology);
    /* Without sizes: by two, four and eight. */
    topology = must_read(CONF, "BlockName=b1 Nodes=n1\nBlockName=b2 Nodes=n2\nBlockName=b3 Nodes=n3\n");
    expect_counts(topology, (struct expected_counts){.hosts = 3, .switches = 3 + 1 + 1, .links = 3 + 2 + 2});
    weft_topology_destroy(topology);
    topology = must_read(CONF, "BlockName=b1 Nodes=n[1-4]\nBlockSizes=4,8\n");
    expect_counts(topology, (struct expected_counts){.hosts = 4, .switches = 1, .links = 4});
    weft_topology_destroy(topology);
}

static void rings_are_closed(void **state)
{
    (void)state;
    weft_topology *topology = must_read(CONF, "RingName=r0 Nodes=n[1-5]\nRingName=r1 Nodes=m[1-2]\n");
    expect_counts(topology, (struct expected_counts){.hosts = 7, .links = 5 + 1});
    link_between(topology, node_named(topology, NODE_HOST, "n5"), node_named(topology, NODE_HOST, "n1"));
    weft_topology_destroy(topology);
}

static void yaml_gives_the_default_topology(void **state)
{
    (void)state;
    static const char tree[] = "- topology: one\n  cluster_default: %s\n"
                               "  tree:\n    switches:\n"
                               "      - switch: root\n        children: s[1-2]\n"
                               "      - switch: s1\n        nodes: n[1-2]\n"
                               "      - switch: s2\n        nodes: n[3-4]\n"
                               "- topology: two\n  cluster_default: %s\n"
                               "  block:\n    block_sizes:\n      - 2\n      - 4\n    blocks:\n"
                               "      - block: b1\n        nodes: n[1-2]\n"
                               "      - block: b2\n        nodes: n[3-4]\n        color: red\n"
                               "- topology: three\n  flat: true\n";
    static const struct {
        const char *one, *two, *name;
    } cases[] = {{"false", "false", "root"}, {"true", "true", "root"}, {"false", "True", "b1..b2"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[1024];
        snprintf(text, sizeof text, tree, cases[i].one, cases[i].two);
        weft_topology *topology = must_read(YAML, text);
        expect_counts(topology, (struct expected_counts){.hosts = 4, .switches = 3, .links = 6});
        node_named(topology, NODE_SWITCH, cases[i].name);
        assert_true(has_note(topology, "topology 'three': left out"));
        assert_int_equal(has_note(topology, "left out 'color'"), i == 2);
        weft_topology_destroy(topology);
    }
}

static void yaml_gives_rings_and_tori(void **state)
{
    (void)state;
    weft_topology *topology = must_read(YAML, "- topology: r\n  ring:\n    rings:\n"
                                              "      - {ring: r0, nodes: \"n[1-3]\"}\n");
    expect_counts(topology, (struct expected_counts){.hosts = 3, .links = 3});
    weft_topology_destroy(topology);
    /* 4 x 3 x 2: rings of four and of three, and pairs; each of the 24 nodes has a link along x, along y, and a half.
     */
    topology = must_read(YAML, "- topology: t\n  torus3d:\n    toruses:\n      - name: p\n"
                               "        dims: {x: 4, y: 3, z: 2}\n        nodes: n[01-24]\n");
    expect_counts(topology, (struct expected_counts){.hosts = 24, .links = 24 + 24 + 12});
    link_between(topology, node_named(topology, NODE_HOST, "n01"), node_named(topology, NODE_HOST, "n04"));
    link_between(topology, node_named(topology, NODE_HOST, "n01"), node_named(topology, NODE_HOST, "n09"));
    link_between(topology, node_named(topology, NODE_HOST, "n01"), node_named(topology, NODE_HOST, "n13"));
    weft_topology_destroy(topology);
    /* Two boxes that fill a 2 x 2 x 2 torus: a cube. */
    topology =
        must_read(YAML, "- topology: t\n  torus3d:\n    toruses:\n      - name: p\n"
                        "        dims: {x: 2, y: 2, z: 2}\n        regions:\n"
                        "          - {anchor: {x: 0, y: 0, z: 0}, dims: {x: 2, y: 2, z: 1}, nodes: \"n[1-4]\"}\n"
                        "          - {anchor: {x: 0, y: 0, z: 1}, dims: {x: 2, y: 2, z: 1}, nodes: \"m[1-4]\"}\n");
    expect_counts(topology, (struct expected_counts){.hosts = 8, .links = 12});
    weft_topology_destroy(topology);
}

static void yaml_damage_is_found(void **state)
{
    (void)state;
    static const struct {
        const char *text, *words;
    } cases[] = {
        {"- topology: t\n", "expected one of tree, block, ring, torus3d, flat"},
        {"- topology: t\n  flat: true\n", "found flat topologies only"},
        {"- topology: t\n  flat: true\n  tree: {switches: []}\n", "both 'tree' and 'flat'"},
        {"- topology: t\n  tree: yes\n", "expected the topology, which is a map"},
        {"- topology: t\n  tree: {switch: a}\n", "expected a list 'switches'"},
        {"- topology: t\n  tree: {switches: [{nodes: n}]}\n", "found an entry without 'switch'"},
        {"- topology: t\n  tree: {switches: [{switch: a, nodes: [n, m]}]}\n", "expected nodes, which is a scalar"},
        {"- topology: t\n  tree: {switches: [{switch: a, children: b}]}\n", "found the child 'b' of switch 'a'"},
        {"- topology: t\n  tree:\n    switches:\n    - {switch: a, children: b}\n    - {switch: b, children: a}\n",
         "below itself"},
        {"- topology: t\n  block: {blocks: [{block: a, nodes: n}], block_sizes: 4}\n", "which is a list"},
        {"- topology: t\n  block: {blocks: [{block: a, nodes: n}], block_sizes: [4, x]}\n", "found 'x'"},
        {"- topology: t\n  block: {blocks: [{block: a}]}\n", "expected a block with nodes"},
        {"- topology: t\n  ring: {rings: [{ring: a}]}\n", "found a ring without 'nodes'"},
        {"- topology: t\n  torus3d: {toruses: [{dims: {x: 2, y: 2}, nodes: n}]}\n", "expected x, y and z"},
        {"- topology: t\n  torus3d: {toruses: [{dims: {x: 1, y: 1, z: 1}, nodes: \"n[1-2]\"}]}\n",
         "found 2 nodes for 1 cells"},
        {"- topology: t\n  torus3d: {toruses: [{dims: {x: 9999, y: 9999, z: 9}, nodes: n}]}\n", "more than 262144"},
        {"- topology: t\n  torus3d: {toruses: [{dims: {x: 2, y: 1, z: 1}, nodes: \"n,n\"}]}\n", "every cell once"},
        {"- topology: t\n  tree: {switches: [\n", "test:"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) must_refuse(cases[i].text, cases[i].words);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(clusters_are_read_whole),
        cmocka_unit_test(lines_are_read_as_slurm_reads_them),
        cmocka_unit_test(what_slurm_warns_of_becomes_a_note),
        cmocka_unit_test(what_slurm_refuses_is_refused),
        cmocka_unit_test(blocks_are_joined_by_levels),
        cmocka_unit_test(rings_are_closed),
        cmocka_unit_test(yaml_gives_the_default_topology),
        cmocka_unit_test(yaml_gives_rings_and_tori),
        cmocka_unit_test(yaml_damage_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
