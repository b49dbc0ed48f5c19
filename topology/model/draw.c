/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A topology for a person: the forest of what contains what, each device with the link that leads up to it, then the
 * links that run across the tree. Cores without anything inside are drawn as one line, or a large machine would fill
 * screens with them.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "topology/model/model_internal.h"

/* Deep enough for PCI switches behind PCI switches; deeper branches are drawn without their leading lines. */
enum { DEPTH_MAX = 32 };

struct drawing {
    const weft_topology *topology;
    struct text *text;
    bool *drawn_links;    /* those that stand beside a node; NULL when out of memory */
    bool more[DEPTH_MAX]; /* does the branch at this depth go on below */
};

static void plural_add(struct text *text, uint32_t count, const char *singular, const char *plural)
{
    text_add(text, "%" PRIu32 " %s", count, count == 1 ? singular : plural);
}

static void bytes_add(struct text *text, uint64_t bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    double value = (double)bytes;
    size_t unit = 0;
    while (value >= 1024 && unit + 1 < sizeof units / sizeof *units) value /= 1024, unit++;
    text_add(text, value < 10 && value != (double)(uint64_t)value ? "%.1f %s" : "%.0f %s", value, units[unit]);
}

static void bandwidth_add(struct text *text, struct figure figure)
{
    if (figure.source == FIGURE_UNKNOWN)
        text_add(text, "bandwidth unknown");
    else
        text_add(text, "%.4g GB/s (%s)", figure.value / 1e9, topology_figure_source_name(figure.source));
}

static void latency_add(struct text *text, struct figure figure)
{
    if (figure.source != FIGURE_UNKNOWN)
        text_add(text, ", %.4g us (%s)", figure.value * 1e6, topology_figure_source_name(figure.source));
}

static void link_figures_add(struct text *text, const struct topology_link *link)
{
    if (link->count > 1) text_add(text, link->name ? "%" PRIu32 " x " : "%" PRIu32 " links, ", link->count);
    if (link->name) text_add(text, "%s, ", link->name);
    bandwidth_add(text, link->bandwidth);
    bool same = link->bandwidth.source == link->reverse_bandwidth.source &&
                link->bandwidth.value == link->reverse_bandwidth.value;
    if (!same) {
        text_add(text, ", back ");
        bandwidth_add(text, link->reverse_bandwidth);
    } else if (link->bandwidth.source != FIGURE_UNKNOWN) {
        text_add(text, " each way");
    }
    latency_add(text, link->latency);
}

/* "0-3,8" from ascending numbers gathered over a run of cores. */
static void number_ranges_add(struct text *text, const uint32_t *numbers, uint32_t count)
{
    for (uint32_t i = 0; i < count;) {
        uint32_t last = i;
        while (last + 1 < count && numbers[last + 1] == numbers[last] + 1) last++;
        text_add(text, i ? ",%" PRIu32 : "%" PRIu32, numbers[i]);
        if (last > i) text_add(text, "-%" PRIu32, numbers[last]);
        i = last + 1;
    }
}

static int number_compare(const void *left, const void *right)
{
    uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
    return (a > b) - (a < b);
}

static bool is_plain_core(const struct topology_node *node)
{
    return node->kind == NODE_CORE && node->first_child == TOPOLOGY_NONE;
}

/* The last of a run of plain cores that begins at @p index. */
static uint32_t core_run_end(const weft_topology *topology, uint32_t index)
{
    uint32_t next = topology->nodes[index].next_sibling;
    while (next != TOPOLOGY_NONE && is_plain_core(&topology->nodes[next])) {
        index = next;
        next = topology->nodes[index].next_sibling;
    }
    return index;
}

static void core_run_add(struct drawing *drawing, uint32_t first, uint32_t last)
{
    const struct topology_node *nodes = drawing->topology->nodes;
    uint32_t core_count = 0, cpu_count = 0;
    for (uint32_t i = first;; i = nodes[i].next_sibling) {
        core_count++;
        cpu_count += nodes[i].cpu_count;
        if (i == last) break;
    }
    plural_add(drawing->text, core_count, "core", "cores");
    uint32_t *cpus = calloc((size_t)cpu_count + 1, sizeof *cpus);
    if (!cpus || cpu_count == 0) {
        free(cpus);
        return;
    }
    uint32_t filled = 0;
    for (uint32_t i = first;; i = nodes[i].next_sibling) {
        memcpy(cpus + filled, nodes[i].cpus, nodes[i].cpu_count * sizeof *cpus);
        filled += nodes[i].cpu_count;
        if (i == last) break;
    }
    qsort(cpus, cpu_count, sizeof *cpus, number_compare);
    text_add(drawing->text, "  %s ", cpu_count == 1 ? "cpu" : "cpus");
    number_ranges_add(drawing->text, cpus, cpu_count);
    free(cpus);
}

static void pci_add(struct text *text, const struct topology_node *node)
{
    if (!node->pci.present) return;
    char address[24];
    pci_address_format(&node->pci, address);
    if (strcmp(address, node->name) != 0) text_add(text, "  %s", address);
    if (node->pci.vendor_id) text_add(text, "  [%04x:%04x]", node->pci.vendor_id, node->pci.device_id);
}

static const char *const words[NODE_KIND_COUNT] = {
    [NODE_HOST] = "host",
    [NODE_PACKAGE] = "package",
    [NODE_NUMA] = "NUMA node",
    [NODE_CACHE] = "cache",
    [NODE_CORE] = "core",
    [NODE_PCI_BRIDGE] = "PCI bridge",
    [NODE_GPU] = "GPU",
    [NODE_NIC] = "NIC",
    [NODE_NVSWITCH] = "NVSwitch",
    [NODE_SWITCH] = "switch",
    [NODE_PCI_DEVICE] = "PCI device",
    [NODE_AGGREGATION] = "aggregation node",
};

static void node_words_add(struct text *text, const struct topology_node *node)
{
    if (node->kind == NODE_CACHE)
        text_add(text, node->cache_level ? "L%" PRIu32 " cache" : "memory-side cache", node->cache_level);
    else
        text_add(text, "%s %s", words[node->kind], node->name);
    if (node->bytes) {
        text_add(text, "  ");
        bytes_add(text, node->bytes);
    }
    pci_add(text, node);
    if (node->model) text_add(text, "  %s", node->model);
    if (node->architecture) text_add(text, "  %s", node->architecture);
    if (node->has_rank) text_add(text, "  rank %" PRIu32, node->rank);
    if (node->guid) text_add(text, "  guid %016" PRIx64, node->guid);
    if (node->verbs_device) text_add(text, "  verbs %s", node->verbs_device);
    if (node->kind == NODE_NIC && node->port_bandwidth.source != FIGURE_UNKNOWN) {
        text_add(text, "  port ");
        bandwidth_add(text, node->port_bandwidth);
    }
}

/* The link between a node and what contains it, TOPOLOGY_NONE if there is none. */
static uint32_t uplink_of(const weft_topology *topology, uint32_t node)
{
    uint32_t count, parent = topology->nodes[node].parent;
    const uint32_t *links = topology_links_of(topology, node, &count);
    for (uint32_t i = 0; i < count; i++) {
        const struct topology_link *link = &topology->links[links[i]];
        if ((link->from == node ? link->to : link->from) == parent) return links[i];
    }
    return TOPOLOGY_NONE;
}

static void branch_add(struct drawing *drawing, uint32_t depth)
{
    if (depth == 0) return;
    for (uint32_t i = 1; i < depth && i < DEPTH_MAX; i++) text_add(drawing->text, drawing->more[i] ? "│  " : "   ");
    text_add(drawing->text, depth < DEPTH_MAX && drawing->more[depth] ? "├─ " : "└─ ");
}

static void uplink_add(struct drawing *drawing, uint32_t index)
{
    uint32_t uplink = uplink_of(drawing->topology, index);
    if (uplink == TOPOLOGY_NONE) return;
    const struct topology_link *link = &drawing->topology->links[uplink];
    if (drawing->drawn_links) drawing->drawn_links[uplink] = true;
    /* That a package's own memory has an unknown bandwidth is the rule, and not worth a word. */
    if (link->kind == LINK_MEMORY && link->bandwidth.source == FIGURE_UNKNOWN) return;
    text_add(drawing->text, "  (");
    link_figures_add(drawing->text, link);
    text_add(drawing->text, ")");
}

/* What the lines that belong to a node, and are not its own, begin with: the branches that go on below it. */
static void margin_make(const struct drawing *drawing, uint32_t depth, char margin[(DEPTH_MAX + 2) * 5])
{
    margin[0] = '\0';
    for (uint32_t i = 1; i <= depth && i < DEPTH_MAX; i++) strcat(margin, drawing->more[i] ? "│  " : "   ");
    strcat(margin, "   ");
}

/* Draw @p index and what it contains; a run of plain cores is one line. Returns the last sibling drawn. */
static uint32_t node_draw(struct drawing *drawing, uint32_t index, uint32_t depth)
{
    const weft_topology *topology = drawing->topology;
    const struct topology_node *node = &topology->nodes[index];
    uint32_t last = is_plain_core(node) ? core_run_end(topology, index) : index;
    if (depth < DEPTH_MAX) drawing->more[depth] = topology->nodes[last].next_sibling != TOPOLOGY_NONE;
    branch_add(drawing, depth);
    if (is_plain_core(node)) {
        core_run_add(drawing, index, last);
    } else {
        node_words_add(drawing->text, node);
        uplink_add(drawing, index);
    }
    text_add(drawing->text, "\n");
    char margin[(DEPTH_MAX + 2) * 5];
    margin_make(drawing, depth, margin);
    rdma_draw(topology, index, margin, drawing->text);
    for (uint32_t child = node->first_child; child != TOPOLOGY_NONE; child = topology->nodes[child].next_sibling)
        child = node_draw(drawing, child, depth + 1);
    return last;
}

static void endpoint_add(struct drawing *drawing, uint32_t index)
{
    const weft_topology *topology = drawing->topology;
    uint32_t host = topology_host_of(topology, index);
    bool several_hosts = topology->nodes[topology->first_root].next_sibling != TOPOLOGY_NONE;
    if (several_hosts && host != TOPOLOGY_NONE && host != index)
        text_add(drawing->text, "%s ", topology->nodes[host].name);
    text_add(drawing->text, "%s %s", words[topology->nodes[index].kind], topology->nodes[index].name);
}

static void cross_links_draw(struct drawing *drawing)
{
    const weft_topology *topology = drawing->topology;
    bool titled = false;
    for (uint32_t i = 0; i < topology->link_count; i++) {
        if (!drawing->drawn_links || drawing->drawn_links[i]) continue;
        const struct topology_link *link = &topology->links[i];
        if (!titled) text_add(drawing->text, "links across the tree\n");
        titled = true;
        text_add(drawing->text, "   ");
        endpoint_add(drawing, link->from);
        if (link->from_port) text_add(drawing->text, " port %" PRIu32, link->from_port);
        text_add(drawing->text, " <-> ");
        endpoint_add(drawing, link->to);
        if (link->to_port) text_add(drawing->text, " port %" PRIu32, link->to_port);
        text_add(drawing->text, "  %s, ", topology_link_kind_name(link->kind));
        link_figures_add(drawing->text, link);
        text_add(drawing->text, "\n");
    }
}

static void distances_draw(struct drawing *drawing)
{
    const weft_topology *topology = drawing->topology;
    for (uint32_t i = 0; i < topology->distances_count; i++) {
        const struct topology_distances *distances = &topology->distances[i];
        text_add(drawing->text, "distances %s\n", distances->name);
        for (uint32_t from = 0; from < distances->node_count; from++) {
            text_add(drawing->text, "   ");
            endpoint_add(drawing, distances->nodes[from]);
            for (uint32_t to = 0; to < distances->node_count; to++)
                text_add(drawing->text, " %.4g", distances->values[(size_t)from * distances->node_count + to]);
            text_add(drawing->text, "\n");
        }
    }
}

static void channels_draw(struct drawing *drawing)
{
    const weft_topology *topology = drawing->topology;
    if (topology->channel_count > 0) text_add(drawing->text, "channels\n");
    for (uint32_t i = 0; i < topology->channel_count; i++) {
        const struct topology_channel *channel = &topology->channels[i];
        text_add(drawing->text, "   %s  %s ", topology_channel_kind_name(channel->kind), channel->name);
        for (uint32_t j = 0; j < channel->node_count; j++)
            text_add(drawing->text, " %s", topology->nodes[channel->nodes[j]].name);
        text_add(drawing->text, "  ");
        bandwidth_add(drawing->text, channel->bandwidth);
        if (channel->network_bandwidth.source != FIGURE_UNKNOWN) {
            text_add(drawing->text, ", between hosts ");
            bandwidth_add(drawing->text, channel->network_bandwidth);
        }
        text_add(drawing->text, "\n");
    }
}

static void notes_draw(const weft_topology *topology, struct text *text)
{
    for (uint32_t i = 0; i < topology->note_count && i < TOPOLOGY_NOTES_KEPT; i++)
        text_add(text, "note: %s\n", topology->notes[i]);
    if (topology->note_count > TOPOLOGY_NOTES_KEPT)
        text_add(text, "note: and %" PRIu32 " more\n", topology->note_count - TOPOLOGY_NOTES_KEPT);
}

void topology_draw(const weft_topology *topology, struct text *text)
{
    if (topology->format) text_add(text, "%s: ", topology->format);
    weft_topology_counts counts = topology_counts(topology);
    plural_add(text, counts.hosts, "host, ", "hosts, ");
    plural_add(text, counts.gpus, "GPU, ", "GPUs, ");
    plural_add(text, counts.nics, "NIC, ", "NICs, ");
    plural_add(text, counts.switches, "switch, ", "switches, ");
    plural_add(text, counts.links, "link\n", "links\n");
    struct drawing drawing = {.topology = topology, .text = text};
    drawing.drawn_links = calloc((size_t)topology->link_count + 1, sizeof *drawing.drawn_links);
    if (!drawing.drawn_links) text->failed = true;
    for (uint32_t root = topology->first_root; root != TOPOLOGY_NONE; root = topology->nodes[root].next_sibling)
        root = node_draw(&drawing, root, 0);
    cross_links_draw(&drawing);
    distances_draw(&drawing);
    channels_draw(&drawing);
    notes_draw(topology, text);
    free(drawing.drawn_links);
}
