/* SPDX-License-Identifier: Apache-2.0 */
#include "fabric/device/device.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "topology/model/rdma.h"

/* Ports found so far, and why the first of the others was left out. */
struct selection {
    const weft_topology *topology;
    const struct device_query *query;
    struct device_port *ports;
    uint32_t count, capacity;
    uint32_t seen_count;
    char refusal[160];
};

/* Lower is better; GID_UNFIT is no use at all. */
enum gid_rank { GID_WANTED, GID_IPV4, GID_IPV6, GID_LINK_LOCAL, GID_UNFIT };

static enum gid_rank gid_rank_of(const struct device_query *query, const struct rdma_port *port,
                                 const struct rdma_gid *gid)
{
    if (query->has_gid_index) return gid->index == query->gid_index ? GID_WANTED : GID_UNFIT;
    if (port->link_layer != RDMA_LINK_ETHERNET) return gid->index == 0 ? GID_WANTED : GID_UNFIT;
    if (gid->type != RDMA_GID_ROCE_V2) return GID_UNFIT;
    if (rdma_gid_is_ipv4(gid->bytes)) return query->family == DEVICE_ADDRESS_IPV6 ? GID_UNFIT : GID_IPV4;
    if (query->family == DEVICE_ADDRESS_IPV4) return GID_UNFIT;
    return rdma_gid_is_link_local(gid->bytes) ? GID_LINK_LOCAL : GID_IPV6;
}

static const struct rdma_gid *gid_choose(const struct device_query *query, const struct rdma_port *port)
{
    const struct rdma_gid *best = NULL;
    enum gid_rank best_rank = GID_UNFIT;
    for (uint32_t i = 0; i < port->gid_count; i++) {
        enum gid_rank rank = gid_rank_of(query, port, &port->gids[i]);
        if (rank >= best_rank) continue; /* the lower index wins among equals */
        best_rank = rank;
        best = &port->gids[i];
    }
    return best;
}

static const char *family_words(enum device_address_family family)
{
    static const char *const words[] = {"", " with an IPv4 address", " with an IPv6 address"};
    return words[family];
}

/* Say why a port is not used; the first time counts, since one sentence is all a person will read. */
__attribute__((format(printf, 4, 5))) static void refuse(struct selection *selection, const char *device, uint32_t port,
                                                         const char *format, ...)
{
    if (selection->refusal[0]) return;
    int length = snprintf(selection->refusal, sizeof selection->refusal, "%s port %" PRIu32 ": ", device, port);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(selection->refusal + length, sizeof selection->refusal - (size_t)length, format, arguments);
    va_end(arguments);
}

static enum topology_proximity proximity_of(const struct selection *selection, uint32_t nic)
{
    const struct device_query *query = selection->query;
    if (query->has_near) return topology_proximity_between(selection->topology, nic, query->near);
    enum topology_proximity nearest = PROXIMITY_SAME_HOST;
    for (uint32_t i = 0; i < query->cpu_count; i++) {
        uint32_t core = topology_core_of(selection->topology, query->cpus[i]);
        if (core == TOPOLOGY_NONE) continue;
        enum topology_proximity proximity = topology_proximity_between(selection->topology, nic, core);
        if (proximity < nearest) nearest = proximity;
    }
    return nearest;
}

static bool selection_add(struct selection *selection, uint32_t nic, const struct rdma_port *port,
                          const struct rdma_gid *gid)
{
    if (selection->count == selection->capacity) {
        uint32_t capacity = selection->capacity ? selection->capacity * 2 : 8;
        struct device_port *larger = reallocarray(selection->ports, capacity, sizeof *larger);
        if (!larger) return false;
        selection->ports = larger;
        selection->capacity = capacity;
    }
    const struct topology_node *node = &selection->topology->nodes[nic];
    struct device_port *record = &selection->ports[selection->count++];
    *record = (struct device_port){.port = port->number,
                                   .ethernet = port->link_layer == RDMA_LINK_ETHERNET,
                                   .gid_index = gid->index,
                                   .bandwidth = port->bandwidth.value,
                                   .interface_mtu_bytes = port->interface_mtu_bytes,
                                   .numa_node = node->rdma->numa_node,
                                   .nic = nic,
                                   .proximity = proximity_of(selection, nic)};
    memcpy(record->gid, gid->bytes, sizeof record->gid);
    snprintf(record->device, sizeof record->device, "%s", node->verbs_device);
    snprintf(record->interface, sizeof record->interface, "%s", gid->interface ? gid->interface : "");
    return true;
}

static bool port_consider(struct selection *selection, uint32_t nic, const struct rdma_port *port)
{
    const struct device_query *query = selection->query;
    const char *device = selection->topology->nodes[nic].verbs_device;
    selection->seen_count++;
    if (!rdma_filter_allows(query->devices, device, port->number)) {
        refuse(selection, device, port->number, "the list of devices \"%.80s\" leaves it out", query->devices);
        return true;
    }
    if (port->not_used) {
        refuse(selection, device, port->number, "%s", port->not_used);
        return true;
    }
    const struct rdma_gid *gid = gid_choose(query, port);
    if (gid) return selection_add(selection, nic, port, gid);
    if (query->has_gid_index)
        refuse(selection, device, port->number, "it has no GID %" PRIu32, query->gid_index);
    else if (port->link_layer == RDMA_LINK_ETHERNET)
        refuse(selection, device, port->number, "it has no RoCE v2 GID%s", family_words(query->family));
    else
        refuse(selection, device, port->number, "it has no GID 0");
    return true;
}

/* Names with numbers in the order of the numbers: mlx5_2 comes before mlx5_10. */
static int port_compare(const void *left, const void *right)
{
    const struct device_port *a = left, *b = right;
    if (a->proximity != b->proximity) return a->proximity < b->proximity ? -1 : 1;
    if (a->bandwidth != b->bandwidth) return a->bandwidth > b->bandwidth ? -1 : 1;
    int names = strverscmp(a->device, b->device);
    if (names) return names;
    return (a->port > b->port) - (a->port < b->port);
}

weft_status device_ports_find(const weft_topology *topology, const struct device_query *query,
                              struct device_port **ports, uint32_t *count, struct diagnostic *diagnostic)
{
    weft_status status = rdma_filter_check(query->devices, diagnostic);
    if (status) return status;
    struct selection selection = {.topology = topology, .query = query};
    bool complete = true;
    for (uint32_t i = 0; i < topology->node_count && complete; i++) {
        const struct rdma_device *rdma = topology->nodes[i].rdma;
        for (uint32_t j = 0; rdma && j < rdma->port_count && complete; j++)
            complete = port_consider(&selection, i, &rdma->ports[j]);
    }
    if (!complete) {
        free(selection.ports);
        return diagnose(diagnostic, WEFT_OUT_OF_MEMORY, "no memory for the list of RDMA ports");
    }
    if (selection.seen_count == 0) return diagnose(diagnostic, WEFT_UNSUPPORTED, "this host has no RDMA device");
    if (selection.count == 0)
        return diagnose(diagnostic, WEFT_UNSUPPORTED, "none of this host's RDMA ports (%" PRIu32 ") can be used; %s",
                        selection.seen_count, selection.refusal);
    qsort(selection.ports, selection.count, sizeof *selection.ports, port_compare);
    *ports = selection.ports;
    *count = selection.count;
    return WEFT_OK;
}
