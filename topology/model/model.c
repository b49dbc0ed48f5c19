/* SPDX-License-Identifier: Apache-2.0 */
/* Building a topology, and the answers that need no more than the graph itself. */
#include "topology/model/model.h"

#include <assert.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/text.h"
#include "topology/model/model_internal.h"

weft_topology *topology_new(void)
{
    weft_topology *topology = calloc(1, sizeof *topology);
    if (topology) topology->first_root = topology->last_root = TOPOLOGY_NONE;
    return topology;
}

void weft_topology_destroy(weft_topology *topology)
{
    if (!topology) return;
    free(topology->incident_start);
    free(topology->incident);
    free(topology->notes);
    free(topology->channels);
    free(topology->distances);
    free(topology->links);
    free(topology->nodes);
    arena_free(&topology->arena);
    free(topology);
}

static const char *string_copy(weft_topology *topology, const char *string)
{
    if (!string) return NULL;
    char *copy = arena_strdup(&topology->arena, string);
    if (!copy) topology->failed = true;
    return copy;
}

static const uint32_t *cpus_copy(weft_topology *topology, const uint32_t *cpus, uint32_t cpu_count)
{
    if (cpu_count == 0) return NULL;
    uint32_t *copy = arena_alloc(&topology->arena, cpu_count, sizeof *copy);
    if (copy)
        memcpy(copy, cpus, cpu_count * sizeof *copy);
    else
        topology->failed = true;
    return copy;
}

/* Append @p index to its parent's children, or to the roots. */
static void node_chain(weft_topology *topology, uint32_t index)
{
    uint32_t parent = topology->nodes[index].parent;
    uint32_t *first = parent == TOPOLOGY_NONE ? &topology->first_root : &topology->nodes[parent].first_child;
    uint32_t *last = parent == TOPOLOGY_NONE ? &topology->last_root : &topology->nodes[parent].last_child;
    if (*first == TOPOLOGY_NONE)
        *first = index;
    else
        topology->nodes[*last].next_sibling = index;
    *last = index;
}

uint32_t topology_add_node(weft_topology *topology, const struct topology_node *node)
{
    uint32_t index = topology->node_count;
    assert(topology->failed || node->parent == TOPOLOGY_NONE || node->parent < index);
    if (topology->failed || !array_reserve((void **)&topology->nodes, index, &topology->node_capacity, sizeof *node)) {
        topology->failed = true;
        return TOPOLOGY_NONE;
    }
    struct topology_node *copy = &topology->nodes[index];
    *copy = *node;
    copy->first_child = copy->last_child = copy->next_sibling = TOPOLOGY_NONE;
    copy->name = string_copy(topology, node->name);
    copy->model = string_copy(topology, node->model);
    copy->architecture = string_copy(topology, node->architecture);
    copy->verbs_device = string_copy(topology, node->verbs_device);
    copy->rdma = NULL; /* topology_set_rdma() */
    copy->cpus = cpus_copy(topology, node->cpus, node->cpu_count);
    if (topology->failed) return TOPOLOGY_NONE;
    topology->node_count++;
    node_chain(topology, index);
    return index;
}

uint32_t topology_add_link(weft_topology *topology, const struct topology_link *link)
{
    uint32_t index = topology->link_count;
    if (topology->failed || !array_reserve((void **)&topology->links, index, &topology->link_capacity, sizeof *link)) {
        topology->failed = true;
        return TOPOLOGY_NONE;
    }
    topology->links[index] = *link;
    topology->links[index].name = string_copy(topology, link->name);
    if (topology->failed) return TOPOLOGY_NONE;
    topology->link_count++;
    return index;
}

/* A copy that the topology owns; NULL, remembered, when out of memory. */
static void *array_copy(weft_topology *topology, const void *elements, size_t count, size_t size)
{
    void *copy = arena_alloc(&topology->arena, count, size);
    if (!copy)
        topology->failed = true;
    else if (count > 0)
        memcpy(copy, elements, count * size);
    return copy;
}

void topology_add_distances(weft_topology *topology, const struct topology_distances *distances)
{
    if (topology->failed) return;
    struct topology_distances copy = *distances;
    size_t count = distances->node_count;
    copy.name = string_copy(topology, distances->name);
    copy.nodes = array_copy(topology, distances->nodes, count, sizeof *copy.nodes);
    copy.values = array_copy(topology, distances->values, count * count, sizeof *copy.values);
    if (!array_reserve((void **)&topology->distances, topology->distances_count, &topology->distances_capacity,
                       sizeof copy))
        topology->failed = true;
    if (!topology->failed) topology->distances[topology->distances_count++] = copy;
}

void topology_add_channel(weft_topology *topology, const struct topology_channel *channel)
{
    if (topology->failed) return;
    struct topology_channel copy = *channel;
    copy.name = string_copy(topology, channel->name);
    copy.nodes = array_copy(topology, channel->nodes, channel->node_count, sizeof *copy.nodes);
    if (!array_reserve((void **)&topology->channels, topology->channel_count, &topology->channel_capacity, sizeof copy))
        topology->failed = true;
    if (!topology->failed) topology->channels[topology->channel_count++] = copy;
}

void topology_note(weft_topology *topology, const char *format, ...)
{
    char sentence[256];
    if (topology->failed || topology->note_count++ >= TOPOLOGY_NOTES_KEPT) return;
    if (!array_reserve((void **)&topology->notes, topology->note_count - 1, &topology->note_capacity,
                       sizeof *topology->notes)) {
        topology->failed = true;
        return;
    }
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(sentence, sizeof sentence, format, arguments);
    va_end(arguments);
    topology->notes[topology->note_count - 1] = string_copy(topology, sentence);
}

/* Counting sort of the links' ends by node. */
static bool index_build(weft_topology *topology)
{
    uint32_t *start = calloc((size_t)topology->node_count + 2, sizeof *start);
    uint32_t *incident = calloc((size_t)topology->link_count * 2 + 1, sizeof *incident);
    if (!start || !incident) {
        free(incident);
        free(start);
        return false;
    }
    /* Counts go two places up, so that filling turns start[n + 1] from the begin of node n into its end. */
    for (uint32_t i = 0; i < topology->link_count; i++) {
        start[topology->links[i].from + 2]++;
        start[topology->links[i].to + 2]++;
    }
    for (uint32_t i = 2; i < topology->node_count + 2; i++) start[i] += start[i - 1];
    for (uint32_t i = 0; i < topology->link_count; i++) {
        incident[start[topology->links[i].from + 1]++] = i;
        incident[start[topology->links[i].to + 1]++] = i;
    }
    free(topology->incident);
    free(topology->incident_start);
    topology->incident = incident;
    topology->incident_start = start;
    return true;
}

weft_status topology_seal(weft_topology *topology, struct diagnostic *diagnostic)
{
    weft_status status = topology_check(topology, diagnostic);
    if (status) return status;
    if (!index_build(topology)) return diagnose(diagnostic, WEFT_OUT_OF_MEMORY, "no memory for the topology's index");
    return WEFT_OK;
}

const uint32_t *topology_links_of(const weft_topology *topology, uint32_t node, uint32_t *count)
{
    *count = topology->incident_start[node + 1] - topology->incident_start[node];
    return topology->incident + topology->incident_start[node];
}

uint32_t topology_host_of(const weft_topology *topology, uint32_t node)
{
    while (node != TOPOLOGY_NONE && topology->nodes[node].kind != NODE_HOST) node = topology->nodes[node].parent;
    return node;
}

weft_topology_counts topology_counts(const weft_topology *topology)
{
    weft_topology_counts counts = {.size = sizeof counts, .links = topology->link_count, .format = topology->format};
    for (uint32_t i = 0; i < topology->node_count; i++) {
        switch (topology->nodes[i].kind) {
        case NODE_HOST:
            counts.hosts++;
            break;
        case NODE_GPU:
            counts.gpus++;
            break;
        case NODE_NIC:
            counts.nics++;
            break;
        case NODE_NVSWITCH:
        case NODE_SWITCH:
            counts.switches++;
            break;
        default:
            break;
        }
    }
    return counts;
}

weft_status weft_topology_count(const weft_topology *topology, weft_topology_counts *counts)
{
    /* Later versions append fields; a caller built against them gets what this version knows. */
    if (!topology || !counts || counts->size < sizeof *counts) return WEFT_INVALID_ARGUMENT;
    size_t size = counts->size;
    *counts = topology_counts(topology);
    counts->size = size;
    return WEFT_OK;
}

weft_status weft_topology_print(const weft_topology *topology, weft_format format, char **text)
{
    if (!topology || !text || (format != WEFT_TEXT && format != WEFT_JSON)) return WEFT_INVALID_ARGUMENT;
    struct text written = {0};
    if (format == WEFT_JSON)
        topology_write_json(topology, &written);
    else
        topology_draw(topology, &written);
    char *result = text_take(&written);
    if (!result) return WEFT_OUT_OF_MEMORY;
    *text = result;
    return WEFT_OK;
}

#define KIND_NAME(kind, name) name,
const char *topology_node_kind_name(enum node_kind kind)
{
    static const char *const names[] = {TOPOLOGY_NODE_KINDS(KIND_NAME)};
    return kind < NODE_KIND_COUNT ? names[kind] : "unknown";
}

const char *topology_link_kind_name(enum link_kind kind)
{
    static const char *const names[] = {TOPOLOGY_LINK_KINDS(KIND_NAME)};
    return kind < LINK_KIND_COUNT ? names[kind] : "unknown";
}

const char *topology_figure_source_name(enum figure_source source)
{
    static const char *const names[] = {TOPOLOGY_FIGURE_SOURCES(KIND_NAME)};
    return source < FIGURE_SOURCE_COUNT ? names[source] : "unknown";
}

const char *rdma_link_layer_name(enum rdma_link_layer link_layer)
{
    static const char *const names[] = {RDMA_LINK_LAYERS(KIND_NAME)};
    return link_layer < RDMA_LINK_LAYER_COUNT ? names[link_layer] : "unknown";
}

const char *rdma_gid_type_name(enum rdma_gid_type type)
{
    static const char *const names[] = {RDMA_GID_TYPES(KIND_NAME)};
    return type < RDMA_GID_TYPE_COUNT ? names[type] : "unknown";
}

const char *topology_channel_kind_name(enum channel_kind kind)
{
    static const char *const names[] = {TOPOLOGY_CHANNEL_KINDS(KIND_NAME)};
    return kind < CHANNEL_KIND_COUNT ? names[kind] : "unknown";
}
#undef KIND_NAME

bool topology_pci_is_frame_buffer(uint16_t vendor_id)
{
    static const uint16_t vendors[] = {
        0x1013, /* Cirrus */
        0x102b, /* Matrox */
        0x1234, /* QEMU */
        0x1414, /* Hyper-V */
        0x15ad, /* VMware */
        0x1a03, /* ASPEED */
        0x1af4, /* virtio */
        0x1b36, /* QXL */
    };
    for (size_t i = 0; i < sizeof vendors / sizeof *vendors; i++)
        if (vendors[i] == vendor_id) return true;
    return false;
}

double topology_pci_bandwidth(uint32_t generation, uint32_t lane_count)
{
    /*
     * The PCI Express base specification's lane rates, 2.5 GT/s doubling with every generation (5 to 8 GT/s came with
     * a leaner line code instead), less what line code, packet headers and flow control take: three quarters of the
     * data rate is what large transfers with 256-byte payloads reach. In 1/80 GB/s, so that the table is exact.
     */
    static const double lane_rate[] = {0, 15, 30, 60, 120, 240, 480};
    if (generation < 1 || generation > 6) return 0;
    return lane_rate[generation] / 80 * 1e9 * lane_count;
}

double topology_pci_bandwidth_of_rate(double rate_gbps)
{
    static const uint32_t widths[] = {1, 2, 4, 8, 12, 16, 32};
    static const double lane_rate[] = {0, 0.25, 0.5, 8. / 8 * 128 / 130, 16. / 8 * 128 / 130, 32. / 8 * 128 / 130, 8};
    double best = 0, best_distance = INFINITY;
    for (uint32_t generation = 1; generation <= 6; generation++) {
        for (size_t i = 0; i < sizeof widths / sizeof *widths; i++) {
            double distance = fabs(lane_rate[generation] * widths[i] - rate_gbps);
            if (distance >= best_distance) continue;
            best_distance = distance;
            best = topology_pci_bandwidth(generation, widths[i]);
        }
    }
    return best;
}

struct figure topology_nvlink_bandwidth(uint32_t compute_capability)
{
    /*
     * NVIDIA's data sheets state the sum over all links and both directions; one way over one link is that / links / 2.
     */
    static const struct {
        uint32_t compute_capability;
        double gbps;
    } rows[] = {
        {60, 20},      /* P100: 160 GB/s over 4 links ("Tesla P100", 2016) */
        {70, 25},      /* V100: 300 GB/s over 6 links ("Tesla V100", 2018) */
        {72, 25},      /* the same generation */
        {75, 25},      /* Quadro RTX 8000: 100 GB/s over 2 links ("Quadro RTX 8000", 2018) */
        {80, 25},      /* A100: 600 GB/s over 12 links ("NVIDIA A100", 2021) */
        {86, 14.0625}, /* A40: 112.5 GB/s over 4 links ("NVIDIA A40", 2020) */
        {90, 25},      /* H100 SXM: 900 GB/s over 18 links ("NVIDIA H100", 2022) */
        {100, 50},     /* B200: 1.8 TB/s over 18 links ("NVIDIA DGX B200", 2024) */
        {103, 50},     /* B300: the same ("NVIDIA DGX B300", 2025) */
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (rows[i].compute_capability == compute_capability)
            return (struct figure){rows[i].gbps * 1e9, FIGURE_DATASHEET};
    return (struct figure){0};
}

void pci_address_format(const struct pci_identity *pci, char address[24])
{
    snprintf(address, 24, "%04x:%02x:%02x.%x", pci->domain, pci->bus, pci->device, pci->function & 7u);
}
