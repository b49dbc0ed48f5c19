/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which adapters of a fabric are in one host. No file says so. What there is:
 *  - the node description, which Linux sets to "HOST DEVICE" ("r-ufm101 HCA-1", "node7 mlx5_0"). It names the host
 *    unless nobody set the host's name ("localhost HCA-1" everywhere) or nobody set the description (the firmware's
 *    "MT25408 ConnectX Mellanox Technologies" everywhere): so adapters with the same description are not one host's;
 *  - the system image GUID, which the functions of one card share.
 * An aggregation node is an adapter inside a switch, where SHARP sums: on the fabric, but no host's.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "topology/format/fabric.h"

/* A host in the making. */
struct host {
    struct span name;     /* size 0: named after its first adapter */
    bool doubtful;        /* two adapters with the same description: its name is not one host's */
    uint32_t in_topology; /* TOPOLOGY_NONE until it is needed */
};

struct grouping {
    struct fabric *fabric;
    struct host *hosts;
    uint32_t host_count;
    struct name_table by_name, by_system, by_description, switch_systems;
};

/* Split "HOST DEVICE". A description of one word is a host's name alone; any other says nothing. */
static bool description_split(struct span description, struct span *host, struct span *device)
{
    struct span rest = description, more;
    if (!span_word(&rest, host)) return false;
    if (!span_word(&rest, device)) *device = (struct span){0};
    if (span_word(&rest, &more)) return false;
    /* Devices are numbered: HCA-1, mlx5_0, ibp12s0; "Voltaire IB" is a maker's words. */
    if (device->size && (device->at[device->size - 1] < '0' || device->at[device->size - 1] > '9')) return false;
    return !span_equal(*host, "localhost") && !span_equal(*host, "localhost.localdomain") &&
           !span_equal(*host, "(none)");
}

static struct span system_of(const struct fabric_node *node)
{
    const uint64_t *guid = node->system_guid ? &node->system_guid : &node->guid;
    return *guid ? (struct span){(const char *)guid, sizeof *guid} : node->id;
}

/* 0xcf09 is the PCI device of an aggregation node; others are known by standing in a switch's case. */
static bool is_aggregation(const struct grouping *grouping, const struct fabric_node *node)
{
    static const char words[] = "Aggregation Node";
    if (node->description.size && memmem(node->description.at, node->description.size, words, sizeof words - 1))
        return true;
    if (node->device_id == 0xcf09) return true;
    return node->system_guid && name_table_find(&grouping->switch_systems, system_of(node)) != TOPOLOGY_NONE;
}

/* Index into hosts of what @p key stands for in @p table; TOPOLOGY_NONE when out of memory. */
static uint32_t host_at(struct grouping *grouping, struct name_table *table, struct span key, struct span name)
{
    uint32_t *host = name_table_at(table, key);
    if (!host) return TOPOLOGY_NONE;
    if (*host == TOPOLOGY_NONE) {
        *host = grouping->host_count++;
        grouping->hosts[*host] = (struct host){.name = name, .in_topology = TOPOLOGY_NONE};
    }
    return *host;
}

/* First pass: every host's name, and whether it can be believed. */
static bool names_collect(struct grouping *grouping)
{
    const struct fabric *fabric = grouping->fabric;
    for (uint32_t i = 0; i < fabric->node_count; i++) {
        const struct fabric_node *node = &fabric->nodes[i];
        struct span name, device;
        if (node->kind == FABRIC_SWITCH && node->system_guid) {
            uint32_t *system = name_table_at(&grouping->switch_systems, system_of(node));
            if (!system) return false;
            *system = i;
        }
        if (node->kind != FABRIC_ADAPTER || !description_split(node->description, &name, &device)) continue;
        uint32_t host = host_at(grouping, &grouping->by_name, name, name);
        uint32_t *first = host == TOPOLOGY_NONE ? NULL : name_table_at(&grouping->by_description, node->description);
        if (!first) return false;
        if (*first != TOPOLOGY_NONE) grouping->hosts[host].doubtful = true;
        *first = i;
    }
    return true;
}

static const char *host_name(const struct grouping *grouping, struct span name, const struct fabric_node *node)
{
    weft_topology *topology = grouping->fabric->topology;
    if (name.size == 0) return span_copy(topology, node->id);
    char *copy = arena_alloc(&topology->arena, name.size + node->id.size + 2, 1);
    if (!copy) return NULL;
    memcpy(copy, name.at, name.size);
    copy[name.size] = ' ';
    memcpy(copy + name.size + 1, node->id.at, node->id.size);
    return copy;
}

/* The host of adapter @p node, added to the topology with its first adapter; TOPOLOGY_NONE when out of memory. */
static uint32_t host_of(struct grouping *grouping, const struct fabric_node *node)
{
    weft_topology *topology = grouping->fabric->topology;
    struct span name, device;
    bool split = description_split(node->description, &name, &device);
    uint32_t named = split ? name_table_find(&grouping->by_name, name) : TOPOLOGY_NONE;
    bool trusted = named != TOPOLOGY_NONE && !grouping->hosts[named].doubtful;
    if (!split) name = (struct span){0};
    uint32_t index = trusted ? named : host_at(grouping, &grouping->by_system, system_of(node), name);
    if (index == TOPOLOGY_NONE) return TOPOLOGY_NONE;
    struct host *host = &grouping->hosts[index];
    if (host->in_topology != TOPOLOGY_NONE) return host->in_topology;
    const char *text = trusted ? span_copy(topology, name) : host_name(grouping, host->name, node);
    if (!text) return TOPOLOGY_NONE;
    host->in_topology = topology_add_node(
        topology,
        &(struct topology_node){.kind = NODE_HOST, .parent = TOPOLOGY_NONE, .name = text, .os_index = TOPOLOGY_NONE});
    return host->in_topology;
}

/* The fastest of its ports: what a NIC can do, where one port runs slower than another. */
static struct figure fastest_port(const struct fabric *fabric, uint32_t node)
{
    struct figure fastest = {0};
    for (uint32_t i = fabric->nodes[node].first_port; i < fabric->port_count && fabric->ports[i].node == node; i++) {
        struct figure port = fabric_rate_bandwidth(fabric->ports[i].rate);
        if (port.value > fastest.value) fastest = port;
    }
    return fastest;
}

static bool adapter_add(struct grouping *grouping, uint32_t index)
{
    struct fabric *fabric = grouping->fabric;
    struct fabric_node *node = &fabric->nodes[index];
    bool aggregation = is_aggregation(grouping, node);
    uint32_t parent = aggregation ? TOPOLOGY_NONE : host_of(grouping, node);
    if (!aggregation && parent == TOPOLOGY_NONE) return false;
    struct span host, device = {0};
    bool split = !aggregation && description_split(node->description, &host, &device) && device.size > 0;
    /* In a host that is known by its name no two descriptions are equal, in another nothing but the id is sure to. */
    bool own_name = split && span_equal(host, fabric->topology->nodes[parent].name);
    const char *name = span_copy(fabric->topology, own_name ? device : node->id);
    const char *description = node->description.size ? span_copy(fabric->topology, node->description) : NULL;
    bool verbs = split && memchr(device.at, '_', device.size) != NULL;
    if (!name) return false;
    node->in_topology = topology_add_node(
        fabric->topology, &(struct topology_node){
                              .kind = aggregation ? NODE_AGGREGATION : NODE_NIC,
                              .parent = parent,
                              .name = name,
                              .model = own_name ? NULL : description,
                              .os_index = TOPOLOGY_NONE,
                              .guid = node->guid,
                              .verbs_device = verbs ? span_copy(fabric->topology, device) : NULL,
                              .port_bandwidth = aggregation ? (struct figure){0} : fastest_port(fabric, index),
                          });
    if (!aggregation)
        topology_add_link(fabric->topology,
                          &(struct topology_link){.kind = LINK_ATTACHED, .from = node->in_topology, .to = parent});
    return true;
}

weft_status fabric_add_hosts(struct fabric *fabric)
{
    struct grouping grouping = {.fabric = fabric};
    /* A host for each name, and one for each adapter whose name is not to be believed: no more than twice as many. */
    grouping.hosts = calloc((size_t)fabric->node_count * 2 + 1, sizeof *grouping.hosts);
    bool done = grouping.hosts && names_collect(&grouping);
    for (uint32_t i = 0; i < fabric->node_count && done; i++)
        if (fabric->nodes[i].kind == FABRIC_ADAPTER) done = adapter_add(&grouping, i);
    name_table_free(&grouping.switch_systems);
    name_table_free(&grouping.by_description);
    name_table_free(&grouping.by_system);
    name_table_free(&grouping.by_name);
    free(grouping.hosts);
    if (done) return WEFT_OK;
    return diagnose(fabric->diagnostic, WEFT_OUT_OF_MEMORY, "no memory to read %s", fabric->source->name);
}
