/* SPDX-License-Identifier: Apache-2.0 */
#include "topology/model/proximity.h"

#include <stddef.h>

static uint32_t depth_of(const weft_topology *topology, uint32_t node)
{
    uint32_t depth = 0;
    for (; node != TOPOLOGY_NONE; node = topology->nodes[node].parent) depth++;
    return depth;
}

/* The nearest node that contains both, themselves included. */
static uint32_t common_ancestor(const weft_topology *topology, uint32_t one, uint32_t other)
{
    uint32_t one_depth = depth_of(topology, one), other_depth = depth_of(topology, other);
    for (; one_depth > other_depth; one_depth--) one = topology->nodes[one].parent;
    for (; other_depth > one_depth; other_depth--) other = topology->nodes[other].parent;
    while (one != other) {
        one = topology->nodes[one].parent;
        other = topology->nodes[other].parent;
    }
    return one;
}

static uint32_t ancestor_of_kind(const weft_topology *topology, uint32_t node, enum node_kind kind)
{
    while (node != TOPOLOGY_NONE && topology->nodes[node].kind != kind) node = topology->nodes[node].parent;
    return node;
}

/* The one NUMA node that a link joins with @p node; *several says that there are more. */
static uint32_t numa_linked_to(const weft_topology *topology, uint32_t node, bool *several)
{
    uint32_t count, found = TOPOLOGY_NONE;
    const uint32_t *links = topology_links_of(topology, node, &count);
    for (uint32_t i = 0; i < count; i++) {
        const struct topology_link *link = &topology->links[links[i]];
        if (link->kind != LINK_MEMORY && link->kind != LINK_ATTACHED) continue;
        uint32_t end = link->from == node ? link->to : link->from;
        if (topology->nodes[end].kind != NODE_NUMA || end == found) continue;
        *several = found != TOPOLOGY_NONE;
        found = end;
        if (*several) break;
    }
    return found;
}

static uint32_t numa_numbered(const weft_topology *topology, uint32_t host, uint32_t os_index)
{
    for (uint32_t i = 0; i < topology->node_count; i++)
        if (topology->nodes[i].kind == NODE_NUMA && topology->nodes[i].os_index == os_index &&
            topology_host_of(topology, i) == host)
            return i;
    return TOPOLOGY_NONE;
}

uint32_t topology_numa_of(const weft_topology *topology, uint32_t node)
{
    const struct topology_node *nodes = topology->nodes;
    if (nodes[node].rdma && nodes[node].rdma->numa_node != TOPOLOGY_NONE) {
        uint32_t numa = numa_numbered(topology, topology_host_of(topology, node), nodes[node].rdma->numa_node);
        if (numa != TOPOLOGY_NONE) return numa;
    }
    for (; node != TOPOLOGY_NONE; node = nodes[node].parent) {
        if (nodes[node].kind == NODE_NUMA) return node;
        bool several = false;
        uint32_t numa = numa_linked_to(topology, node, &several);
        if (several) return TOPOLOGY_NONE; /* and what contains this node can only have more */
        if (numa != TOPOLOGY_NONE) return numa;
    }
    return TOPOLOGY_NONE;
}

/* The package of a node, also where only its memory says which. */
static uint32_t package_of(const weft_topology *topology, uint32_t node, uint32_t numa)
{
    uint32_t package = ancestor_of_kind(topology, node, NODE_PACKAGE);
    if (package == TOPOLOGY_NONE && numa != TOPOLOGY_NONE) package = ancestor_of_kind(topology, numa, NODE_PACKAGE);
    return package;
}

enum topology_proximity topology_proximity_between(const weft_topology *topology, uint32_t one, uint32_t other)
{
    const struct topology_node *nodes = topology->nodes;
    if (one == other) return PROXIMITY_SAME_DEVICE;
    uint32_t host = topology_host_of(topology, one);
    if (host == TOPOLOGY_NONE || host != topology_host_of(topology, other)) return PROXIMITY_OTHER_HOST;
    uint32_t common = common_ancestor(topology, one, other);
    if (nodes[common].kind == NODE_PCI_BRIDGE) {
        uint32_t above = nodes[common].parent;
        bool is_root = above == TOPOLOGY_NONE || nodes[above].kind != NODE_PCI_BRIDGE;
        return is_root ? PROXIMITY_SAME_ROOT : PROXIMITY_SAME_BRIDGE;
    }
    uint32_t one_numa = topology_numa_of(topology, one), other_numa = topology_numa_of(topology, other);
    if (one_numa != TOPOLOGY_NONE && one_numa == other_numa) return PROXIMITY_SAME_NUMA;
    uint32_t one_package = package_of(topology, one, one_numa), other_package = package_of(topology, other, other_numa);
    if (one_package == TOPOLOGY_NONE || other_package == TOPOLOGY_NONE) return PROXIMITY_SAME_HOST;
    return one_package == other_package ? PROXIMITY_SAME_PACKAGE : PROXIMITY_ACROSS_PACKAGES;
}

uint32_t topology_core_of(const weft_topology *topology, uint32_t cpu)
{
    for (uint32_t i = 0; i < topology->node_count; i++)
        for (uint32_t j = 0; topology->nodes[i].kind == NODE_CORE && j < topology->nodes[i].cpu_count; j++)
            if (topology->nodes[i].cpus[j] == cpu) return i;
    return TOPOLOGY_NONE;
}

#define NAME(kind, name, words) name,
#define WORDS(kind, name, words) words,
const char *topology_proximity_name(enum topology_proximity proximity)
{
    static const char *const names[] = {TOPOLOGY_PROXIMITIES(NAME)};
    return proximity < PROXIMITY_COUNT ? names[proximity] : "unknown";
}

const char *topology_proximity_words(enum topology_proximity proximity)
{
    static const char *const words[] = {TOPOLOGY_PROXIMITIES(WORDS)};
    return proximity < PROXIMITY_COUNT ? words[proximity] : "unknown";
}
