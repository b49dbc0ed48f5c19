/* SPDX-License-Identifier: Apache-2.0 */
/* A topology for a program: the counts, then the graph. Keys are part of the tools' contract; unknown figures are null.
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "topology/model/model_internal.h"

static void figure_write(struct text *text, const char *key, const char *source_key, struct figure figure)
{
    json_number(text, key, figure.source == FIGURE_UNKNOWN ? NAN : figure.value);
    json_string(text, source_key, topology_figure_source_name(figure.source));
}

/* As a string: 64 bits are more than JSON's numbers hold in many programs. */
static void guid_write(struct text *text, const char *key, uint64_t guid)
{
    char digits[20];
    snprintf(digits, sizeof digits, "0x%016" PRIx64, guid);
    json_string(text, key, digits);
}

static void pci_write(struct text *text, const struct pci_identity *pci)
{
    char address[24];
    pci_address_format(pci, address);
    json_object_begin(text, "pci");
    json_string(text, "address", address);
    json_unsigned(text, "vendor_id", pci->vendor_id);
    json_unsigned(text, "device_id", pci->device_id);
    if (pci->class_code) json_unsigned(text, "class_code", pci->class_code);
    json_object_end(text);
}

static void node_write(struct text *text, const weft_topology *topology, uint32_t index)
{
    const struct topology_node *node = &topology->nodes[index];
    json_object_begin(text, NULL);
    json_unsigned(text, "id", index);
    json_string(text, "kind", topology_node_kind_name(node->kind));
    json_string(text, "name", node->name);
    if (node->parent != TOPOLOGY_NONE) json_unsigned(text, "parent", node->parent);
    if (node->model) json_string(text, "model", node->model);
    if (node->os_index != TOPOLOGY_NONE) json_unsigned(text, "os_index", node->os_index);
    if (node->bytes) json_unsigned(text, "bytes", node->bytes);
    if (node->cache_level) json_unsigned(text, "cache_level", node->cache_level);
    if (node->cpu_count) {
        json_array_begin(text, "cpus");
        for (uint32_t i = 0; i < node->cpu_count; i++) json_unsigned(text, NULL, node->cpus[i]);
        json_array_end(text);
    }
    if (node->pci.present) pci_write(text, &node->pci);
    if (node->architecture) json_string(text, "architecture", node->architecture);
    if (node->guid) guid_write(text, "guid", node->guid);
    if (node->has_rank) json_unsigned(text, "rank", node->rank);
    if (node->verbs_device) json_string(text, "verbs_device", node->verbs_device);
    if (node->kind == NODE_NIC) figure_write(text, "port_bandwidth", "port_bandwidth_source", node->port_bandwidth);
    if (node->port_latency.source) figure_write(text, "port_latency", "port_latency_source", node->port_latency);
    rdma_write_json(topology, index, text);
    json_object_end(text);
}

static void link_write(struct text *text, const struct topology_link *link)
{
    json_object_begin(text, NULL);
    json_unsigned(text, "from", link->from);
    json_unsigned(text, "to", link->to);
    json_string(text, "kind", topology_link_kind_name(link->kind));
    if (link->name) json_string(text, "name", link->name);
    figure_write(text, "bandwidth", "bandwidth_source", link->bandwidth);
    figure_write(text, "reverse_bandwidth", "reverse_bandwidth_source", link->reverse_bandwidth);
    figure_write(text, "latency", "latency_source", link->latency);
    if (link->count > 1) json_unsigned(text, "count", link->count);
    if (link->from_port) json_unsigned(text, "from_port", link->from_port);
    if (link->to_port) json_unsigned(text, "to_port", link->to_port);
    json_object_end(text);
}

static void distances_write(struct text *text, const struct topology_distances *distances)
{
    json_object_begin(text, NULL);
    json_string(text, "name", distances->name);
    json_array_begin(text, "nodes");
    for (uint32_t i = 0; i < distances->node_count; i++) json_unsigned(text, NULL, distances->nodes[i]);
    json_array_end(text);
    json_array_begin(text, "values");
    for (size_t i = 0; i < (size_t)distances->node_count * distances->node_count; i++)
        json_number(text, NULL, distances->values[i]);
    json_array_end(text);
    json_object_end(text);
}

static void channel_write(struct text *text, const struct topology_channel *channel)
{
    json_object_begin(text, NULL);
    json_string(text, "kind", topology_channel_kind_name(channel->kind));
    json_string(text, "name", channel->name);
    json_array_begin(text, "nodes");
    for (uint32_t i = 0; i < channel->node_count; i++) json_unsigned(text, NULL, channel->nodes[i]);
    json_array_end(text);
    figure_write(text, "bandwidth", "bandwidth_source", channel->bandwidth);
    figure_write(text, "network_bandwidth", "network_bandwidth_source", channel->network_bandwidth);
    json_object_end(text);
}

/* What only some topologies have. */
static void extras_write(const weft_topology *topology, struct text *text)
{
    if (topology->distances_count > 0) {
        json_array_begin(text, "distances");
        for (uint32_t i = 0; i < topology->distances_count; i++) distances_write(text, &topology->distances[i]);
        json_array_end(text);
    }
    if (topology->channel_count > 0) {
        json_array_begin(text, "channels");
        for (uint32_t i = 0; i < topology->channel_count; i++) channel_write(text, &topology->channels[i]);
        json_array_end(text);
    }
    if (topology->note_count > 0) {
        json_array_begin(text, "notes");
        for (uint32_t i = 0; i < topology->note_count && i < TOPOLOGY_NOTES_KEPT; i++)
            json_string(text, NULL, topology->notes[i]);
        json_array_end(text);
    }
}

void topology_write_json(const weft_topology *topology, struct text *text)
{
    weft_topology_counts counts = topology_counts(topology);
    json_object_begin(text, NULL);
    if (topology->format) json_string(text, "format", topology->format);
    json_unsigned(text, "hosts", counts.hosts);
    json_unsigned(text, "gpus", counts.gpus);
    json_unsigned(text, "nics", counts.nics);
    json_unsigned(text, "switches", counts.switches);
    json_unsigned(text, "links", counts.links);
    json_object_begin(text, "graph");
    json_array_begin(text, "nodes");
    for (uint32_t i = 0; i < topology->node_count; i++) node_write(text, topology, i);
    json_array_end(text);
    json_array_begin(text, "edges");
    for (uint32_t i = 0; i < topology->link_count; i++) link_write(text, &topology->links[i]);
    json_array_end(text);
    extras_write(topology, text);
    json_object_end(text);
    json_object_end(text);
}
