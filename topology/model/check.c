/* SPDX-License-Identifier: Apache-2.0 */
/* The invariants of a topology, in one place for every reader and every test. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "topology/model/model.h"

#define BIT(kind) (1u << (kind))
#define TOP_LEVEL BIT(NODE_KIND_COUNT)
#define INSIDE_HOST (BIT(NODE_HOST) | BIT(NODE_PACKAGE))
#define DEVICE_PLACES (INSIDE_HOST | BIT(NODE_PCI_BRIDGE))
#define ON_PCI (BIT(NODE_GPU) | BIT(NODE_NIC) | BIT(NODE_NVSWITCH) | BIT(NODE_PCI_DEVICE))
#define ON_NETWORK (BIT(NODE_NIC) | BIT(NODE_SWITCH) | BIT(NODE_HOST) | BIT(NODE_AGGREGATION))

/* For each kind of node, the kinds that may directly contain it. */
static const uint32_t containers[NODE_KIND_COUNT] = {
    [NODE_HOST] = TOP_LEVEL,
    [NODE_PACKAGE] = BIT(NODE_HOST),
    [NODE_NUMA] = INSIDE_HOST,
    [NODE_CACHE] = INSIDE_HOST | BIT(NODE_CACHE) | BIT(NODE_NUMA), /* one on the side of the memory */
    [NODE_CORE] = INSIDE_HOST | BIT(NODE_CACHE),
    [NODE_PCI_BRIDGE] = DEVICE_PLACES,
    [NODE_GPU] = DEVICE_PLACES,
    [NODE_NIC] = DEVICE_PLACES,
    [NODE_NVSWITCH] = DEVICE_PLACES | TOP_LEVEL,
    [NODE_PCI_DEVICE] = DEVICE_PLACES,
    [NODE_AGGREGATION] = TOP_LEVEL,
    [NODE_SWITCH] = TOP_LEVEL,
};

/* For each kind of link, what it may join: one of the first with one of the second. */
static const struct {
    uint32_t one, other;
    bool within_host;
} joins[LINK_KIND_COUNT] = {
    [LINK_MEMORY] = {BIT(NODE_NUMA), BIT(NODE_HOST) | BIT(NODE_PACKAGE) | BIT(NODE_NUMA) | BIT(NODE_PCI_BRIDGE), true},
    [LINK_INTERCONNECT] = {BIT(NODE_PACKAGE), BIT(NODE_PACKAGE), true},
    [LINK_PCI] = {BIT(NODE_PCI_BRIDGE) | ON_PCI, DEVICE_PLACES, true},
    [LINK_ATTACHED] = {ON_PCI, INSIDE_HOST | BIT(NODE_NUMA), true},
    [LINK_NVLINK] = {BIT(NODE_GPU) | BIT(NODE_NVSWITCH), BIT(NODE_GPU) | BIT(NODE_NVSWITCH) | BIT(NODE_PACKAGE), false},
    [LINK_XGMI] = {BIT(NODE_GPU), BIT(NODE_GPU) | BIT(NODE_PACKAGE), true},
    [LINK_NETWORK] = {ON_NETWORK, ON_NETWORK, false},
};

bool topology_may_contain(enum node_kind parent, enum node_kind kind)
{
    return kind < NODE_KIND_COUNT && parent <= NODE_KIND_COUNT && (containers[kind] & BIT(parent));
}

static weft_status node_check(const weft_topology *topology, uint32_t index, struct diagnostic *diagnostic)
{
    const struct topology_node *node = &topology->nodes[index];
    if (node->kind >= NODE_KIND_COUNT)
        return diagnose(diagnostic, WEFT_BAD_FORMAT, "node %" PRIu32 " has no known kind (%d)", index, (int)node->kind);
    const char *kind = topology_node_kind_name(node->kind);
    if (!node->name || !node->name[0])
        return diagnose(diagnostic, WEFT_BAD_FORMAT, "node %" PRIu32 " (%s) has no name", index, kind);
    if (node->parent != TOPOLOGY_NONE && node->parent >= index)
        return diagnose(diagnostic, WEFT_BAD_FORMAT, "%s %s comes before the node that contains it", kind, node->name);
    enum node_kind parent = node->parent == TOPOLOGY_NONE ? NODE_KIND_COUNT : topology->nodes[node->parent].kind;
    if (!topology_may_contain(parent, node->kind))
        return diagnose(diagnostic, WEFT_BAD_FORMAT, "%s %s cannot stand %s%s", kind, node->name,
                        parent == NODE_KIND_COUNT ? "outside of a host" : "inside a ",
                        parent == NODE_KIND_COUNT ? "" : topology_node_kind_name(parent));
    return WEFT_OK;
}

/* Walks over a topology recurse, so that what a file may nest has a bound. PCI itself ends at 256 buses. */
enum { NESTING_MAX = 256 };

static bool nests_too_deep(const weft_topology *topology, uint32_t index)
{
    uint32_t depth = 0;
    for (; index != TOPOLOGY_NONE && depth <= NESTING_MAX; depth++) index = topology->nodes[index].parent;
    return depth > NESTING_MAX;
}

static bool figure_is_sound(struct figure figure)
{
    if (figure.source >= FIGURE_SOURCE_COUNT || !isfinite(figure.value) || figure.value < 0) return false;
    return figure.source != FIGURE_UNKNOWN || figure.value == 0;
}

static bool joins_kinds(enum link_kind kind, enum node_kind from, enum node_kind to)
{
    uint32_t one = joins[kind].one, other = joins[kind].other;
    return ((one & BIT(from)) && (other & BIT(to))) || ((one & BIT(to)) && (other & BIT(from)));
}

weft_status topology_check_link(const weft_topology *topology, uint32_t index, struct diagnostic *diagnostic)
{
    const struct topology_link *link = &topology->links[index];
    if (link->kind >= LINK_KIND_COUNT)
        return diagnose(diagnostic, WEFT_BAD_FORMAT, "link %" PRIu32 " has no known kind (%d)", index, (int)link->kind);
    if (link->from >= topology->node_count || link->to >= topology->node_count)
        return diagnose(diagnostic, WEFT_BAD_FORMAT, "link %" PRIu32 " ends at a node that does not exist", index);
    const struct topology_node *from = &topology->nodes[link->from], *to = &topology->nodes[link->to];
    const char *kind = topology_link_kind_name(link->kind);
    if (link->from == link->to)
        return diagnose(diagnostic, WEFT_BAD_FORMAT, "a %s link joins %s %s to itself", kind,
                        topology_node_kind_name(from->kind), from->name);
    if (!joins_kinds(link->kind, from->kind, to->kind))
        return diagnose(diagnostic, WEFT_BAD_FORMAT, "a %s link cannot join %s %s and %s %s", kind,
                        topology_node_kind_name(from->kind), from->name, topology_node_kind_name(to->kind), to->name);
    if (joins[link->kind].within_host && topology_host_of(topology, link->from) != topology_host_of(topology, link->to))
        return diagnose(diagnostic, WEFT_BAD_FORMAT, "a %s link joins %s and %s, which are in different hosts", kind,
                        from->name, to->name);
    if (!figure_is_sound(link->bandwidth) || !figure_is_sound(link->reverse_bandwidth) ||
        !figure_is_sound(link->latency))
        return diagnose(diagnostic, WEFT_BAD_FORMAT,
                        "the %s link from %s to %s has a figure that is negative, not finite or without a source", kind,
                        from->name, to->name);
    if (link->bandwidth.source && link->reverse_bandwidth.source && link->bandwidth.value == 0 &&
        link->reverse_bandwidth.value == 0)
        return diagnose(diagnostic, WEFT_BAD_FORMAT, "the %s link from %s to %s lets nothing through", kind, from->name,
                        to->name);
    return WEFT_OK;
}

/* qsort_r gives no other way to reach the nodes. */
static int sibling_compare(const void *left, const void *right, void *context)
{
    const weft_topology *topology = context;
    const struct topology_node *a = &topology->nodes[*(const uint32_t *)left];
    const struct topology_node *b = &topology->nodes[*(const uint32_t *)right];
    if (a->parent != b->parent) return a->parent < b->parent ? -1 : 1;
    if (a->kind != b->kind) return a->kind < b->kind ? -1 : 1;
    return strcmp(a->name, b->name);
}

static weft_status names_check(const weft_topology *topology, struct diagnostic *diagnostic)
{
    uint32_t count = topology->node_count;
    uint32_t *order = calloc((size_t)count + 1, sizeof *order);
    if (!order) return diagnose(diagnostic, WEFT_OUT_OF_MEMORY, "no memory to check a topology");
    for (uint32_t i = 0; i < count; i++) order[i] = i;
    qsort_r(order, count, sizeof *order, sibling_compare, (void *)topology);
    weft_status status = WEFT_OK;
    for (uint32_t i = 1; i < count && !status; i++) {
        if (sibling_compare(&order[i - 1], &order[i], (void *)topology) != 0) continue;
        const struct topology_node *node = &topology->nodes[order[i]];
        status = diagnose(diagnostic, WEFT_BAD_FORMAT, "there are two nodes %s %s in one place",
                          topology_node_kind_name(node->kind), node->name);
    }
    free(order);
    return status;
}

static weft_status devices_check(const weft_topology *topology, struct diagnostic *diagnostic)
{
    bool *linked = calloc((size_t)topology->node_count + 1, sizeof *linked);
    if (!linked) return diagnose(diagnostic, WEFT_OUT_OF_MEMORY, "no memory to check a topology");
    for (uint32_t i = 0; i < topology->link_count; i++)
        linked[topology->links[i].from] = linked[topology->links[i].to] = true;
    weft_status status = WEFT_OK;
    for (uint32_t i = 0; i < topology->node_count && !status; i++) {
        const struct topology_node *node = &topology->nodes[i];
        if (linked[i] || node->parent == TOPOLOGY_NONE || !(ON_PCI & BIT(node->kind))) continue;
        status = diagnose(diagnostic, WEFT_BAD_FORMAT, "no link leads to %s %s", topology_node_kind_name(node->kind),
                          node->name);
    }
    free(linked);
    return status;
}

static weft_status rdma_check(const struct topology_node *node, struct diagnostic *diagnostic)
{
    if (!node->rdma) return WEFT_OK;
    if (node->kind != NODE_NIC || !node->verbs_device || !node->verbs_device[0])
        return diagnose(diagnostic, WEFT_BAD_FORMAT, "%s %s has an RDMA device that no NIC can have",
                        topology_node_kind_name(node->kind), node->name);
    for (uint32_t i = 0; i < node->rdma->port_count; i++) {
        const struct rdma_port *port = &node->rdma->ports[i];
        if (port->number == 0 || (i > 0 && port->number <= node->rdma->ports[i - 1].number))
            return diagnose(diagnostic, WEFT_BAD_FORMAT, "the ports of %s are not numbered from 1 upwards",
                            node->verbs_device);
        if (!figure_is_sound(port->bandwidth))
            return diagnose(diagnostic, WEFT_BAD_FORMAT, "port %" PRIu32 " of %s has an unsound bandwidth",
                            port->number, node->verbs_device);
    }
    return WEFT_OK;
}

weft_status topology_check_node(const weft_topology *topology, uint32_t index, struct diagnostic *diagnostic)
{
    const struct topology_node *node = &topology->nodes[index];
    weft_status status = node_check(topology, index, diagnostic);
    if (!status && nests_too_deep(topology, index))
        status = diagnose(diagnostic, WEFT_BAD_FORMAT, "%s is nested more than %d deep", node->name, NESTING_MAX);
    if (!status && (!figure_is_sound(node->port_bandwidth) || !figure_is_sound(node->port_latency)))
        status = diagnose(diagnostic, WEFT_BAD_FORMAT, "%s has an unsound port bandwidth or latency", node->name);
    return status ? status : rdma_check(node, diagnostic);
}

static bool nodes_exist(const weft_topology *topology, const uint32_t *nodes, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (nodes[i] >= topology->node_count) return false;
    return true;
}

static weft_status matrices_and_channels_check(const weft_topology *topology, struct diagnostic *diagnostic)
{
    for (uint32_t i = 0; i < topology->distances_count; i++) {
        const struct topology_distances *distances = &topology->distances[i];
        size_t cells = (size_t)distances->node_count * distances->node_count;
        bool sound = distances->name && nodes_exist(topology, distances->nodes, distances->node_count);
        for (size_t j = 0; j < cells && sound; j++) sound = isfinite(distances->values[j]) && distances->values[j] >= 0;
        if (!sound)
            return diagnose(diagnostic, WEFT_BAD_FORMAT,
                            "the distances %s have a value that is negative or not finite, or a node that is not there",
                            distances->name ? distances->name : "without a name");
    }
    for (uint32_t i = 0; i < topology->channel_count; i++) {
        const struct topology_channel *channel = &topology->channels[i];
        if (!channel->name || channel->kind >= CHANNEL_KIND_COUNT || channel->node_count == 0 ||
            !nodes_exist(topology, channel->nodes, channel->node_count) || !figure_is_sound(channel->bandwidth) ||
            !figure_is_sound(channel->network_bandwidth))
            return diagnose(diagnostic, WEFT_BAD_FORMAT, "channel %s is empty or has an unsound figure, kind or node",
                            channel->name ? channel->name : "without a name");
    }
    return WEFT_OK;
}

weft_status topology_check(const weft_topology *topology, struct diagnostic *diagnostic)
{
    if (topology->failed)
        return diagnose(diagnostic, WEFT_OUT_OF_MEMORY, "ran out of memory while the topology was built");
    weft_status status = WEFT_OK;
    for (uint32_t i = 0; i < topology->node_count && !status; i++)
        status = topology_check_node(topology, i, diagnostic);
    for (uint32_t i = 0; i < topology->link_count && !status; i++)
        status = topology_check_link(topology, i, diagnostic);
    if (!status) status = names_check(topology, diagnostic);
    if (!status) status = devices_check(topology, diagnostic);
    if (!status) status = matrices_and_channels_check(topology, diagnostic);
    return status;
}
