/* SPDX-License-Identifier: Apache-2.0 */
/* Weft's own YAML: what is written reads back equal, patterns mean what they say, a mistake is named with its place. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/random.h"
#include "base/text.h"
#include "topology/format/format.h"

static weft_topology *parsed(const char *yaml)
{
    char error[256] = "";
    weft_topology *topology = NULL;
    if (weft_topology_parse("test.yaml", yaml, strlen(yaml), &topology, error)) fail_msg("refused: %s", error);
    return topology;
}

static weft_topology *machine(const char *name)
{
    char path[1024], error[256] = "";
    weft_topology *topology = NULL;
    snprintf(path, sizeof path, "%s/%s", MACHINES_DIRECTORY, name);
    if (weft_topology_read(path, &topology, error)) fail_msg("refused: %s", error);
    return topology;
}

static uint32_t find(const weft_topology *topology, enum node_kind kind, const char *name)
{
    for (uint32_t i = 0; i < topology->node_count; i++)
        if (topology->nodes[i].kind == kind && !strcmp(topology->nodes[i].name, name)) return i;
    fail_msg("there is no %s %s", topology_node_kind_name(kind), name);
    return TOPOLOGY_NONE;
}

/* Bandwidth between two nodes over links of a kind, there. */
static double bandwidth(const weft_topology *topology, uint32_t from, uint32_t to)
{
    double sum = 0;
    for (uint32_t i = 0; i < topology->link_count; i++) {
        const struct topology_link *link = &topology->links[i];
        if (link->from == from && link->to == to) sum += link->bandwidth.value;
        if (link->from == to && link->to == from) sum += link->reverse_bandwidth.value;
    }
    return sum;
}

/* Everything that leaves a node over links of a kind. */
static double bandwidth_out(const weft_topology *topology, uint32_t node, enum link_kind kind)
{
    double sum = 0;
    for (uint32_t i = 0; i < topology->link_count; i++) {
        const struct topology_link *link = &topology->links[i];
        if (link->kind != kind) continue;
        if (link->from == node) sum += link->bandwidth.value;
        if (link->to == node) sum += link->reverse_bandwidth.value;
    }
    return sum;
}

static void written_and_read_back(const weft_topology *topology, size_t *size)
{
    char *yaml = NULL, error[256] = "";
    weft_topology *back = NULL;
    assert_int_equal(weft_topology_write(topology, &yaml), WEFT_OK);
    if (weft_topology_parse("written", yaml, strlen(yaml), &back, error)) fail_msg("refused: %s in\n%s", error, yaml);
    if (!topology_equal(topology, back)) fail_msg("differs:\n%s", yaml);
    assert_true(weft_topology_hash(topology) == weft_topology_hash(back));
    if (size) *size = strlen(yaml);
    weft_topology_destroy(back);
    free(yaml);
}

static void counts_are(const weft_topology *topology, uint32_t hosts, uint32_t gpus, uint32_t nics, uint32_t switches)
{
    weft_topology_counts counts = {.size = sizeof counts};
    assert_int_equal(weft_topology_count(topology, &counts), WEFT_OK);
    assert_int_equal(counts.hosts, hosts);
    assert_int_equal(counts.gpus, gpus);
    assert_int_equal(counts.nics, nics);
    assert_int_equal(counts.switches, switches);
}

static void machines_have_what_their_data_sheets_say(void **state)
{
    (void)state;
    static const struct {
        const char *file;
        uint32_t hosts, gpus, nics, switches;
        enum link_kind kind;
        double gpu_gbps; /* out of each GPU */
    } machines[] = {
        {"dgx1v.yaml", 1, 8, 4, 0, LINK_NVLINK, 150},      {"dgx_a100.yaml", 1, 8, 8, 6, LINK_NVLINK, 300},
        {"dgx_h100.yaml", 1, 8, 8, 4, LINK_NVLINK, 450},   {"dgx_h100_rails.yaml", 32, 256, 256, 140, LINK_NVLINK, 450},
        {"mi250x_pair.yaml", 2, 16, 8, 1, LINK_XGMI, 0},   {"fat_tree.yaml", 64, 0, 64, 12, LINK_NETWORK, 0},
        {"dragonfly.yaml", 72, 0, 0, 36, LINK_NETWORK, 0},
    };
    for (size_t i = 0; i < sizeof machines / sizeof *machines; i++) {
        weft_topology *topology = machine(machines[i].file);
        counts_are(topology, machines[i].hosts, machines[i].gpus, machines[i].nics, machines[i].switches);
        for (uint32_t node = 0; node < topology->node_count && machines[i].gpu_gbps > 0; node++)
            if (topology->nodes[node].kind == NODE_GPU)
                assert_float_equal(bandwidth_out(topology, node, machines[i].kind), machines[i].gpu_gbps * 1e9, 1);
        written_and_read_back(topology, NULL);
        weft_topology_destroy(topology);
    }
}

/* Facts that only a right pairing of patterns gives. */
static void patterns_join_what_they_say(void **state)
{
    (void)state;
    weft_topology *topology = machine("dgx1v.yaml");
    assert_float_equal(bandwidth(topology, find(topology, NODE_GPU, "0"), find(topology, NODE_GPU, "4")), 50e9, 1);
    assert_float_equal(bandwidth(topology, find(topology, NODE_GPU, "4"), find(topology, NODE_GPU, "5")), 25e9, 1);
    assert_float_equal(bandwidth(topology, find(topology, NODE_GPU, "1"), find(topology, NODE_GPU, "4")), 0, 1);
    assert_int_equal(topology->nodes[find(topology, NODE_GPU, "5")].parent, find(topology, NODE_PCI_BRIDGE, "plx2"));
    weft_topology_destroy(topology);

    topology = machine("dgx_h100_rails.yaml");
    uint32_t leaf = find(topology, NODE_SWITCH, "leaf3"), ends = 0;
    for (uint32_t i = 0; i < topology->link_count; i++) {
        const struct topology_link *link = &topology->links[i];
        if (link->kind != LINK_NETWORK || topology->nodes[link->from].kind != NODE_NIC || link->to != leaf) continue;
        assert_string_equal(topology->nodes[link->from].name, "mlx5_3");
        ends++;
    }
    assert_int_equal(ends, 32);
    weft_topology_destroy(topology);

    topology = machine("dragonfly.yaml"); /* a - 1 + h + p links at each router */
    for (uint32_t i = 0; i < topology->node_count; i++) {
        uint32_t count;
        topology_links_of(topology, i, &count);
        assert_int_equal(count, topology->nodes[i].kind == NODE_SWITCH ? 3 + 2 + 2 : 1);
    }
    weft_topology_destroy(topology);
}

static void many_equal_hosts_are_short_and_written_once(void **state)
{
    (void)state;
    weft_topology *topology = parsed("weft_topology: 1\n"
                                     "shapes:\n"
                                     "  box:\n"
                                     "    nodes:\n"
                                     "      - {package: '[0-1]'}\n"
                                     "      - {gpu: '[0-7]', in: 'package [0-1]'}\n"
                                     "      - {nic: '[0-7]', in: 'package [0-1]'}\n"
                                     "    links:\n"
                                     "      - {attached: ['gpu [0-7]', 'package [0-1]']}\n"
                                     "      - {attached: ['nic [0-7]', 'package [0-1]']}\n"
                                     "nodes:\n"
                                     "  - {host: 'n[000-511]', shape: box}\n"
                                     "  - {switch: '[0-7]'}\n"
                                     "links:\n"
                                     "  - {network: [['n[000-511]', 'nic [0-7]'], 'switch [0-7]'], join: cyclic}\n");
    counts_are(topology, 512, 4096, 4096, 8);
    char *yaml = NULL;
    assert_int_equal(weft_topology_write(topology, &yaml), WEFT_OK);
    assert_non_null(strstr(yaml, "{host: \"n[000-511]\", shape: shape0}"));
    free(yaml);
    written_and_read_back(topology, NULL);
    weft_topology_destroy(topology);
}

static const char *random_name(struct random *random, char name[40])
{
    static const char *const words[] = {"0",
                                        "1",
                                        "gpu0",
                                        "a b",
                                        " x ",
                                        "we[ird]",
                                        "comma,",
                                        "q\"uote",
                                        "back\\slash",
                                        "ä",
                                        "n07",
                                        "n[0-3]",
                                        "0000:01:00.0",
                                        "#",
                                        "- -",
                                        "~",
                                        "colon: x",
                                        "host",
                                        "\xf0\x9f\x98\x80",
                                        "{}",
                                        "'",
                                        "\xc2\xa0",
                                        "?"};
    snprintf(name, 40, "%s%s", words[random_below(random, sizeof words / sizeof *words)],
             random_below(random, 2) ? "" : words[random_below(random, sizeof words / sizeof *words)]);
    return name;
}

static struct figure random_figure(struct random *random)
{
    static const double values[] = {25e9, 1, 0.1, 1.5e-6, 1e9 / 3, 12.5e9, 1e300 / 3};
    struct figure figure = {0};
    if (random_below(random, 3) == 0) return figure;
    figure.value = values[random_below(random, 7)] * (random_below(random, 2) ? 1 : random_unit(random));
    figure.source = (enum figure_source)(1 + random_below(random, FIGURE_SOURCE_COUNT - 1));
    return figure;
}

static void random_rdma_set(struct random *random, weft_topology *topology, uint32_t node)
{
    char state[40];
    const struct rdma_gid gids[2] = {{.index = 0, .type = RDMA_GID_ROCE_V2, .bytes = {0xfe, 0x80, [15] = 7}},
                                     {.index = 3, .bytes = {1}, .interface = random_name(random, state)}};
    const struct rdma_port ports[2] = {
        {.number = 1, .state = "ACTIVE", .bandwidth = random_figure(random), .gids = gids, .gid_count = 2},
        {.number = 7, .link_layer = RDMA_LINK_ETHERNET, .interface_mtu_bytes = 1500, .not_used = "the port is DOWN"}};
    const struct rdma_device device = {.firmware = random_below(random, 2) ? "1.2" : NULL,
                                       .node_guid = random_below(random, 3),
                                       .numa_node = random_below(random, 2) ? TOPOLOGY_NONE : 1,
                                       .ports = ports,
                                       .port_count = (uint32_t)random_below(random, 3)};
    topology_set_rdma(topology, node, "mlx5_0", &device);
}

/* A node somewhere in what there is so far, or at the top; false where none may stand. */
static void random_node_add(struct random *random, weft_topology *topology, uint32_t host)
{
    char name[40], model[40];
    static const uint32_t cpus[] = {0, 1, 2, 7, 9, 8};
    struct topology_node node = {.kind = (enum node_kind)random_below(random, NODE_KIND_COUNT),
                                 .parent = TOPOLOGY_NONE,
                                 .name = random_name(random, name),
                                 .os_index =
                                     random_below(random, 2) ? TOPOLOGY_NONE : (uint32_t)random_below(random, 9)};
    if (node.kind == NODE_HOST) return;
    if (random_below(random, 4) == 0) node.model = random_name(random, model);
    if (random_below(random, 4) == 0) node.architecture = "sm_90";
    if (random_below(random, 4) == 0) node.bytes = random_next(random);
    if (random_below(random, 4) == 0) node.guid = random_next(random);
    if (random_below(random, 4) == 0) node.cpus = cpus, node.cpu_count = (uint32_t)random_below(random, 7);
    if (node.kind == NODE_CACHE) node.cache_level = (uint32_t)random_below(random, 4);
    if (random_below(random, 4) == 0) node.has_rank = true, node.rank = (uint32_t)random_below(random, 100);
    if (random_below(random, 4) == 0)
        node.pci =
            (struct pci_identity){true, 0x10000, 0x17, 0x1f, 7, 0x10de, (uint16_t)random_below(random, 2), 0x030200};
    if (node.kind == NODE_NIC) node.port_bandwidth = random_figure(random), node.port_latency = random_figure(random);
    for (uint32_t i = host; i < topology->node_count && node.parent == TOPOLOGY_NONE; i++)
        if (topology_may_contain(topology->nodes[i].kind, node.kind) && random_below(random, 2)) node.parent = i;
    if (!topology_may_contain(node.parent == TOPOLOGY_NONE ? NODE_KIND_COUNT : topology->nodes[node.parent].kind,
                              node.kind))
        return;
    for (uint32_t i = 0; i < topology->node_count; i++) /* names differ among siblings of a kind */
        if (topology->nodes[i].parent == node.parent && topology->nodes[i].kind == node.kind &&
            !strcmp(topology->nodes[i].name, node.name))
            return;
    uint32_t index = topology_add_node(topology, &node);
    if (node.kind == NODE_NIC && random_below(random, 3) == 0) random_rdma_set(random, topology, index);
}

static void random_link_add(struct random *random, weft_topology *topology, uint32_t from, uint32_t to)
{
    char name[40];
    for (int kind = 0; kind < LINK_KIND_COUNT; kind++) {
        struct topology_link link = {.kind = (enum link_kind)kind,
                                     .from = from,
                                     .to = to,
                                     .bandwidth = random_figure(random),
                                     .latency = random_figure(random),
                                     .name = random_below(random, 2) ? NULL : random_name(random, name),
                                     .count = (uint32_t)random_below(random, 4),
                                     .from_port = (uint32_t)random_below(random, 3),
                                     .to_port = (uint32_t)random_below(random, 3)};
        link.reverse_bandwidth = random_below(random, 2) ? link.bandwidth : random_figure(random);
        uint32_t index = topology_add_link(topology, &link);
        if (topology_check_link(topology, index, NULL) == WEFT_OK) return;
        topology->link_count--;
    }
}

/* Whole hosts repeated, so that shapes come up; then whatever else. */
static weft_topology *random_topology(struct random *random)
{
    weft_topology *topology = topology_new();
    uint32_t shapes = (uint32_t)random_below(random, 3), hosts = (uint32_t)random_below(random, 5);
    uint64_t seeds[3];
    for (uint32_t i = 0; i < 3; i++) seeds[i] = random_next(random);
    for (uint32_t i = 0; i < hosts; i++) {
        char name[40];
        struct random own;
        snprintf(name, sizeof name, random_below(random, 5) ? "n%02u" : "odd [%u]", i);
        random_seed(&own, shapes ? seeds[i % shapes] : random_next(random));
        const struct topology_node node = {
            .kind = NODE_HOST, .parent = TOPOLOGY_NONE, .name = name, .os_index = TOPOLOGY_NONE};
        uint32_t host = topology_add_node(topology, &node), parts = (uint32_t)random_below(&own, 12);
        for (uint32_t j = 0; j < parts; j++) random_node_add(&own, topology, host);
    }
    uint32_t host = 0;
    for (uint32_t i = 0; i < topology->node_count; i++) { /* every device has a link, as sealing asks */
        if (topology->nodes[i].kind == NODE_HOST) host = i;
        if (topology->nodes[i].parent == TOPOLOGY_NONE || topology_host_of(topology, i) != host) continue;
        random_seed(random, seeds[0] + i - host);
        random_link_add(random, topology, i, topology->nodes[i].parent);
    }
    for (uint32_t i = 0; i < 6; i++) random_node_add(random, topology, 0);
    for (uint32_t i = 0; i < topology->node_count; i++)
        random_link_add(random, topology, i, (uint32_t)random_below(random, topology->node_count));
    for (uint32_t i = 0; i < topology->node_count; i++)
        if (topology->nodes[i].parent != TOPOLOGY_NONE) random_link_add(random, topology, i, topology->nodes[i].parent);
    if (topology->node_count > 2 && random_below(random, 2)) {
        const uint32_t nodes[2] = {(uint32_t)random_below(random, topology->node_count), topology->node_count - 1};
        const double values[4] = {10, 21, 1. / 3, 0};
        const struct topology_distances distances = {"NUMALatency", nodes, 2, values};
        const struct topology_channel channel = {CHANNEL_RING,         "ring 0", nodes, 2, random_figure(random),
                                                 random_figure(random)};
        topology_add_distances(topology, &distances);
        topology_add_channel(topology, &channel);
    }
    return topology;
}

static void any_topology_reads_back_equal(void **state)
{
    (void)state;
    uint32_t sealed = 0, shaped = 0;
    for (uint64_t seed = 1; seed <= 1500; seed++) {
        struct random random;
        random_seed(&random, seed);
        weft_topology *topology = random_topology(&random);
        char *yaml = NULL, error[256] = "";
        weft_topology *back = NULL;
        if (topology_seal(topology, NULL) == WEFT_OK && topology->node_count > 0) {
            sealed++;
            assert_int_equal(weft_topology_write(topology, &yaml), WEFT_OK);
            shaped += strstr(yaml, "shapes:") != NULL;
            if (weft_topology_parse("written", yaml, strlen(yaml), &back, error))
                fail_msg("seed %llu: refused: %s in\n%s", (unsigned long long)seed, error, yaml);
            if (!topology_equal(topology, back)) fail_msg("seed %llu: differs:\n%s", (unsigned long long)seed, yaml);
            weft_topology_destroy(back);
            free(yaml);
        }
        weft_topology_destroy(topology);
    }
    assert_true(sealed > 500 && shaped > 50); /* or the test has lost its subject */
}

static void mistakes_are_named_with_their_place(void **state)
{
    (void)state;
    static const struct {
        const char *yaml, *message;
    } mistakes[] = {
        {"weft_topology: 2\n", "test.yaml:1:16: found the format's version 2; expected 1"},
        {"weft_topology: 1\n", "test.yaml: describes nothing"},
        {"weft_topology: 1\nnode: []\n",
         "test.yaml:2:1: found the key 'node'; expected one of weft_topology, shapes, nodes"},
        {"weft_topology: 1\nnodes: [{gpu: 0}]\n", "test.yaml:2:9: gpu 0 cannot stand outside of a host"},
        {"weft_topology: 1\nnodes:\n- {host: a}\n- {toaster: 0}\n", "test.yaml:4:3: a node begins with 'toaster'"},
        {"weft_topology: 1\nnodes:\n- {host: a}\n- {gpu: 0, colour: red}\n", "test.yaml:4:12: found the key 'colour'"},
        {"weft_topology: 1\nnodes:\n- {host: a}\n- {gpu: 0}\n", "test.yaml: no link leads to gpu 0"},
        {"weft_topology: 1\nnodes:\n- {host: a}\n- {host: a}\n", "test.yaml: there are two nodes host a"},
        {"weft_topology: 1\nnodes:\n- {switch: '[0-3]'}\nlinks:\n- {network: [switch 0, switch 4]}\n",
         "test.yaml:5:24: there is no 'switch 4'"},
        {"weft_topology: 1\nnodes:\n- {switch: '[0-3]'}\nlinks:\n- {network: [switch 0, switch 0]}\n",
         "test.yaml:5:3: a network link joins switch 0 to itself"},
        {"weft_topology: 1\nnodes:\n- {switch: '[0-3]'}\nlinks:\n- {network: ['switch [0-2]', 'switch [2-3]']}\n",
         "test.yaml:5:3: 3 nodes cannot be shared out evenly over 2"},
        {"weft_topology: 1\nnodes:\n- {switch: '[0-3]'}\nlinks:\n- {network: [switch 0, switch 1], bandwidth: fast}\n",
         "found 'fast'; expected a bandwidth such as '25 GB/s'"},
        {"weft_topology: 1\nnodes:\n- {switch: '[3-0]'}\n", "test.yaml:3:12: "},
        {"weft_topology: 1\nnodes:\n- {host: a, shape: box}\n", "test.yaml:3:20: there is no shape 'box'"},
        {"weft_topology: 1\nnodes: [\n", "test.yaml:3:1: not YAML: "},
        {"weft_topology: 1\nnodes: &all []\n", "test.yaml:2:8: found the anchor 'all'"},
        {"weft_topology: 1\nnodes: []\nnodes: []\n", "test.yaml:3:1: the key 'nodes' occurs twice, first on line 2"},
        {"weft_topology: 1\nnodes:\n- {host: 'n[0-99999999]'}\n", "test.yaml:3:3: asks for more nodes and links"},
        {"weft_topology: 1\nnodes:\n- {host: a}\n- {core: 0, cpus: 0-70000}\n", "test.yaml:4:19: cpus are '0-70000'"},
        {"weft_topology: 1\nnodes:\n- {host: a}\n- {nic: 0, pci: here}\n", "test.yaml:4:17: pci is 'here'"},
    };
    for (size_t i = 0; i < sizeof mistakes / sizeof *mistakes; i++) {
        char error[256] = "";
        weft_topology *untouched = (weft_topology *)&mistakes, *topology = untouched;
        weft_status status =
            weft_topology_parse("test.yaml", mistakes[i].yaml, strlen(mistakes[i].yaml), &topology, error);
        assert_int_equal(status, WEFT_BAD_FORMAT);
        assert_ptr_equal(topology, untouched);
        if (!strstr(error, mistakes[i].message)) fail_msg("found \"%s\"; expected \"%s\"", error, mistakes[i].message);
    }
}

/* Devices may call themselves anything; ibnetdiscover copies it. */
static void what_is_no_text_is_shown_as_question_marks(void **state)
{
    (void)state;
    static const char fabric[] =
        "Ca 1 \"H-0000000000000001\" # \"a\xff\x9a\x8e\xc4\x91\x01\xe0\x80\x80z\"\n[1] \"S-0000000000000002\"[1]\n"
        "\nSwitch 1 \"S-0000000000000002\" # \"leaf\"\n[1] \"H-0000000000000001\"[1]\n";
    char error[256] = "";
    weft_topology *topology = NULL;
    if (weft_topology_parse("fabric", fabric, strlen(fabric), &topology, error)) fail_msg("refused: %s", error);
    bool found = false;
    for (uint32_t i = 0; i < topology->node_count; i++)
        found |= strstr(topology->nodes[i].name, "a???\xc4\x91????z") != NULL;
    assert_true(found);
    written_and_read_back(topology, NULL);
    weft_topology_destroy(topology);
}

static void figures_have_units_and_sources(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        double value;
        enum figure_source source;
    } figures[] = {
        {"25 GB/s", 25e9, FIGURE_FILE},
        {"200 Gb/s datasheet", 25e9, FIGURE_DATASHEET},
        {"1e9", 1e9, FIGURE_FILE},
        {"0.5 MB/s measured", 5e5, FIGURE_MEASURED},
        {"12 B/s reported", 12, FIGURE_REPORTED},
        {"unknown", 0, FIGURE_UNKNOWN},
    };
    for (size_t i = 0; i < sizeof figures / sizeof *figures; i++) {
        char yaml[256];
        snprintf(
            yaml, sizeof yaml,
            "weft_topology: 1\nnodes: [{switch: '[0-1]'}]\nlinks: [{network: [switch 0, switch 1], bandwidth: %s}]\n",
            figures[i].text);
        weft_topology *topology = parsed(yaml);
        assert_true(topology->links[0].bandwidth.value == figures[i].value);
        assert_int_equal(topology->links[0].bandwidth.source, figures[i].source);
        assert_true(topology->links[0].reverse_bandwidth.value == figures[i].value);
        weft_topology_destroy(topology);
    }
}

static void a_hash_tells_topologies_apart(void **state)
{
    (void)state;
    weft_topology *one = machine("dgx_a100.yaml"), *again = machine("dgx_a100.yaml"), *other = machine("dgx_h100.yaml");
    assert_true(weft_topology_hash(one) == weft_topology_hash(again));
    assert_true(weft_topology_hash(one) != weft_topology_hash(other));
    again->links[7].latency = (struct figure){1e-6, FIGURE_MEASURED};
    assert_true(weft_topology_hash(one) != weft_topology_hash(again));
    assert_false(topology_equal(one, again));
    topology_note(other, "a note");
    weft_topology *same = machine("dgx_h100.yaml");
    assert_true(topology_equal(other, same)); /* notes are for people */
    assert_true(weft_topology_hash(NULL) == 0);
    weft_topology_destroy(same);
    weft_topology_destroy(other);
    weft_topology_destroy(again);
    weft_topology_destroy(one);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(machines_have_what_their_data_sheets_say),
        cmocka_unit_test(patterns_join_what_they_say),
        cmocka_unit_test(many_equal_hosts_are_short_and_written_once),
        cmocka_unit_test(any_topology_reads_back_equal),
        cmocka_unit_test(mistakes_are_named_with_their_place),
        cmocka_unit_test(what_is_no_text_is_shown_as_question_marks),
        cmocka_unit_test(figures_have_units_and_sources),
        cmocka_unit_test(a_hash_tells_topologies_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
