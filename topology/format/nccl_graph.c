/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NCCL's graph XML (NCCL_GRAPH_FILE, NCCL_GRAPH_DUMP_FILE): the rings and trees that NCCL chose over devices which a
 * topology file describes. It becomes one host with the GPUs and NICs that it names, joined to it in an unknown way,
 * and NCCL's channels over them.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "topology/format/name_table.h"
#include "topology/format/xml.h"

struct graphs {
    const struct format_source *source;
    struct diagnostic *diagnostic;
    weft_topology *topology;
    struct arena arena;
    struct name_table devices; /* "gpu 3" */
    uint32_t host;
};

static weft_status no_memory(struct graphs *graphs)
{
    return diagnose(graphs->diagnostic, WEFT_OUT_OF_MEMORY, "no memory to read %s", graphs->source->name);
}

static weft_status device_find(struct graphs *graphs, const struct xml_element *element, uint32_t *index)
{
    uint64_t device = UINT64_MAX;
    bool is_gpu = xml_is(element, "gpu");
    if (!is_gpu && !xml_is(element, "net"))
        return format_error(graphs->source, element->place, graphs->diagnostic,
                            "found the element %.40s in a channel; expected gpu or net", element->name);
    weft_status status = xml_unsigned(graphs->source, element, "dev", TOPOLOGY_NONE - 2, &device, graphs->diagnostic);
    if (status) return status;
    if (device == UINT64_MAX)
        return format_error(graphs->source, element->place, graphs->diagnostic, "%s without dev; expected a number",
                            element->name);
    char *key = arena_alloc(&graphs->arena, 24, 1);
    if (!key) return no_memory(graphs);
    snprintf(key, 24, "%s %" PRIu64, element->name, device);
    uint32_t *known = name_table_at(&graphs->devices, (struct span){key, strlen(key)});
    if (!known) return no_memory(graphs);
    if (*known == TOPOLOGY_NONE) {
        const struct topology_node node = {.kind = is_gpu ? NODE_GPU : NODE_NIC,
                                           .parent = graphs->host,
                                           .name = strchr(key, ' ') + 1,
                                           .os_index = (uint32_t)device};
        *known = topology_add_node(graphs->topology, &node);
        const struct topology_link link = {.kind = LINK_ATTACHED, .from = *known, .to = graphs->host};
        topology_add_link(graphs->topology, &link);
        if (graphs->topology->failed) return no_memory(graphs);
    }
    *index = *known;
    return WEFT_OK;
}

/* NCCL_TOPO_PATTERN_*: 1 to 3 are trees (balanced, split, plain), 4 a ring, 5 NVLS, 6 CollNet. */
static enum channel_kind pattern_kind(uint64_t pattern)
{
    return pattern == 4 ? CHANNEL_RING : pattern >= 1 && pattern <= 3 ? CHANNEL_TREE : CHANNEL_OTHER;
}

static weft_status channel_read(struct graphs *graphs, const struct xml_element *element,
                                struct topology_channel *channel)
{
    uint32_t count = 0;
    for (const struct xml_element *device = element->first; device; device = device->next) count++;
    uint32_t *nodes = calloc((size_t)count + 1, sizeof *nodes);
    if (!nodes) return no_memory(graphs);
    weft_status status = WEFT_OK;
    uint32_t filled = 0;
    for (const struct xml_element *device = element->first; device && !status; device = device->next)
        status = device_find(graphs, device, &nodes[filled++]);
    if (!status && count == 0)
        status = format_error(graphs->source, element->place, graphs->diagnostic,
                              "an empty channel; expected gpu and net elements");
    if (!status) {
        channel->nodes = nodes;
        channel->node_count = count;
        topology_add_channel(graphs->topology, channel);
    }
    free(nodes);
    return status;
}

/* Gigabytes per second, as NCCL models them: neither measured nor from a data sheet. */
static weft_status speed_read(struct graphs *graphs, const struct xml_element *graph, const char *name,
                              struct figure *figure)
{
    const char *text = xml_attribute(graph, name);
    double gbps;
    if (!text) return WEFT_OK;
    if (!span_number((struct span){text, strlen(text)}, &gbps) || gbps < 0 || gbps > 1e9)
        return format_error(graphs->source, graph->place, graphs->diagnostic,
                            "%s is '%.40s'; expected gigabytes per second", name, text);
    if (gbps > 0) *figure = (struct figure){gbps * 1e9, FIGURE_FILE};
    return WEFT_OK;
}

static weft_status graph_read(struct graphs *graphs, const struct xml_element *graph)
{
    char name[64];
    struct topology_channel channel = {.name = name};
    uint64_t id = 0, pattern = 0, channel_count = 0, found = 0;
    if (!xml_is(graph, "graph"))
        return format_error(graphs->source, graph->place, graphs->diagnostic, "found the element %.40s; expected graph",
                            graph->name);
    weft_status status = xml_unsigned(graphs->source, graph, "id", UINT32_MAX, &id, graphs->diagnostic);
    if (!status) status = xml_unsigned(graphs->source, graph, "pattern", 100, &pattern, graphs->diagnostic);
    if (!status)
        status = xml_unsigned(graphs->source, graph, "nchannels", UINT32_MAX, &channel_count, graphs->diagnostic);
    if (!status) status = speed_read(graphs, graph, "speedintra", &channel.bandwidth);
    if (!status) status = speed_read(graphs, graph, "speedinter", &channel.network_bandwidth);
    channel.kind = pattern_kind(pattern);
    for (const struct xml_element *element = graph->first; element && !status; element = element->next) {
        if (!xml_is(element, "channel"))
            return format_error(graphs->source, element->place, graphs->diagnostic,
                                "found the element %.40s in a graph; expected channel", element->name);
        snprintf(name, sizeof name, "graph %" PRIu64 " channel %" PRIu64, id, found++);
        status = channel_read(graphs, element, &channel);
    }
    if (!status && found != channel_count)
        status = format_error(graphs->source, graph->place, graphs->diagnostic,
                              "graph %" PRIu64 " has %" PRIu64 " channels; expected %" PRIu64 ", its nchannels", id,
                              found, channel_count);
    return status;
}

static weft_status nccl_graph_read(const struct format_source *source, weft_topology *topology,
                                   struct diagnostic *diagnostic)
{
    struct graphs graphs = {.source = source, .diagnostic = diagnostic, .topology = topology};
    const struct topology_node host = {
        .kind = NODE_HOST, .parent = TOPOLOGY_NONE, .name = "host", .os_index = TOPOLOGY_NONE};
    const struct xml_element *root;
    uint64_t version = 0;
    weft_status status = xml_parse(source, &graphs.arena, &root, diagnostic);
    if (!status) status = xml_unsigned(source, root, "version", UINT32_MAX, &version, diagnostic);
    if (!status && version != 1)
        status = format_error(source, root->place, diagnostic, "graphs version %" PRIu64 "; expected 1", version);
    graphs.host = topology_add_node(topology, &host);
    for (const struct xml_element *graph = status ? NULL : root->first; graph && !status; graph = graph->next)
        status = graph_read(&graphs, graph);
    if (!status)
        topology_note(topology, "the file names devices that another file describes; how they are joined is unknown");
    name_table_free(&graphs.devices);
    arena_free(&graphs.arena);
    return status;
}

static unsigned nccl_graph_recognise(const struct format_source *source)
{
    return xml_root_is(source, "graphs") ? 90 : 0;
}

const struct format_reader format_nccl_graph = {
    .name = "nccl_graph",
    .title = "NCCL graph XML",
    .recognise = nccl_graph_recognise,
    .read = nccl_graph_read,
};
