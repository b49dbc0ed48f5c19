/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The topology that nobody has written down: each host's lowest rank discovers its host; what plans depend on of it is
 * told to all, once for each kind of host; and everybody puts the same cluster together from that.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/log.h"
#include "collectives/comm/topology.h"
#include "fabric/control/control.h"
#include "topology/format/format.h"

enum { HOST_NAME_BYTES = 64, HOST_RECORD_BYTES = 8 + HOST_NAME_BYTES };

/* ---- One host ---- */

static bool is_kept(enum node_kind kind)
{
    return kind != NODE_CORE && kind != NODE_CACHE;
}

/* Add @p shape's nodes from its host on, with the links among them, the host being called @p name. Its new index. */
static uint32_t host_add(weft_topology *to, const weft_topology *shape, const char *name, uint32_t *placed)
{
    uint32_t host = TOPOLOGY_NONE;
    for (uint32_t i = 0; i < shape->node_count; i++) {
        struct topology_node node = shape->nodes[i];
        uint32_t parent = node.parent;
        placed[i] = TOPOLOGY_NONE;
        if (!is_kept(node.kind)) continue;
        while (parent != TOPOLOGY_NONE && !is_kept(shape->nodes[parent].kind)) parent = shape->nodes[parent].parent;
        node.parent = parent == TOPOLOGY_NONE ? TOPOLOGY_NONE : placed[parent];
        if (node.kind == NODE_HOST) node.name = name;
        if (node.kind == NODE_NUMA) node.bytes = 0; /* firmware keeps a little of it, never the same */
        node.guid = 0;
        node.pci = (struct pci_identity){0};
        node.verbs_device = NULL;
        node.rdma = NULL;
        placed[i] = topology_add_node(to, &node);
        if (node.kind == NODE_HOST) host = placed[i];
    }
    for (uint32_t i = 0; i < shape->link_count; i++) {
        struct topology_link link = shape->links[i];
        link.from = placed[link.from];
        link.to = placed[link.to];
        if (link.from != TOPOLOGY_NONE && link.to != TOPOLOGY_NONE) topology_add_link(to, &link);
    }
    return host;
}

static weft_topology *topology_sealed(weft_topology *topology, struct diagnostic *diagnostic)
{
    if (topology && topology_seal(topology, diagnostic) == WEFT_OK) return topology;
    weft_topology_destroy(topology);
    return NULL;
}

weft_topology *topology_essence(const weft_topology *discovered)
{
    uint32_t *placed = calloc((size_t)discovered->node_count + 1, sizeof *placed);
    weft_topology *essence = placed ? topology_new() : NULL;
    if (essence) host_add(essence, discovered, "host", placed);
    free(placed);
    return topology_sealed(essence, NULL);
}

/* Where nothing can be found out about a host, it is a host all the same. */
static weft_topology *bare_host(void)
{
    const struct topology_node node = {
        .kind = NODE_HOST, .parent = TOPOLOGY_NONE, .name = "host", .os_index = TOPOLOGY_NONE};
    weft_topology *topology = topology_new();
    if (topology) topology_add_node(topology, &node);
    return topology_sealed(topology, NULL);
}

static weft_topology *own_host(void)
{
    weft_topology *discovered, *essence = NULL;
    if (weft_topology_discover(&discovered) == WEFT_OK) {
        essence = topology_essence(discovered);
        weft_topology_destroy(discovered);
    }
    if (!essence) log_warning("nothing is known of this host's topology");
    return essence ? essence : bare_host();
}

/* ---- All of them ---- */

/* The fastest NICs, or the host itself, lead to the network: slower ones are for administration. */
static void network_join(weft_topology *to, uint32_t host, uint32_t end, uint32_t network)
{
    double fastest = -1;
    for (uint32_t i = host; i < end; i++)
        if (to->nodes[i].kind == NODE_NIC && to->nodes[i].port_bandwidth.value > fastest)
            fastest = to->nodes[i].port_bandwidth.value;
    for (uint32_t i = host; i < end; i++) {
        const struct topology_node *node = &to->nodes[i];
        bool leads = fastest < 0 ? i == host : node->kind == NODE_NIC && node->port_bandwidth.value == fastest;
        struct topology_link link = {.kind = LINK_NETWORK, .from = i, .to = network};
        if (fastest > 0) link.bandwidth = link.reverse_bandwidth = node->port_bandwidth;
        if (leads) topology_add_link(to, &link);
    }
}

static bool name_is_taken(const char *const *names, uint32_t index)
{
    for (uint32_t i = 0; i < index; i++)
        if (strcmp(names[i], names[index]) == 0) return true;
    return false;
}

weft_topology *topology_join_hosts(const weft_topology *const *shapes, const char *const *names, uint32_t host_count,
                                   struct diagnostic *diagnostic)
{
    weft_topology *joined = topology_new();
    uint32_t most = 0;
    for (uint32_t i = 0; i < host_count; i++)
        if (shapes[i]->node_count > most) most = shapes[i]->node_count;
    uint32_t *placed = calloc((size_t)most + 1, sizeof *placed), *hosts = calloc((size_t)host_count + 1, sizeof *hosts);
    bool made = joined && placed && hosts;
    for (uint32_t i = 0; made && i < host_count; i++) {
        char unique[HOST_NAME_BYTES + 16];
        snprintf(unique, sizeof unique, name_is_taken(names, i) ? "%s (%u)" : "%s", names[i], i);
        hosts[i] = host_add(joined, shapes[i], unique, placed);
        made = hosts[i] != TOPOLOGY_NONE;
    }
    if (made && host_count > 1) {
        const struct topology_node node = {
            .kind = NODE_SWITCH, .parent = TOPOLOGY_NONE, .name = "network", .os_index = TOPOLOGY_NONE};
        uint32_t end = joined->node_count, network = topology_add_node(joined, &node);
        hosts[host_count] = end;
        for (uint32_t i = 0; i < host_count && network != TOPOLOGY_NONE; i++)
            network_join(joined, hosts[i], hosts[i + 1], network);
    }
    free(placed);
    free(hosts);
    if (!made) {
        weft_topology_destroy(joined);
        diagnose(diagnostic, WEFT_OUT_OF_MEMORY, "no memory for the topology of %u hosts", host_count);
        return NULL;
    }
    return topology_sealed(joined, diagnostic);
}

/* ---- Telling each other ---- */

struct meeting {
    struct control *control;
    uint32_t rank, rank_count, host_count;
    uint64_t deadline_ns;
    uint32_t *first;   /* by rank: the lowest on its host */
    uint32_t *leaders; /* by host: its lowest rank */
    uint32_t *host_of; /* by rank: the host that it is the lowest rank of; only of those */
    uint32_t *model;   /* by host: the first host that is like it */
    char (*names)[HOST_NAME_BYTES];
    weft_topology **shapes; /* by host; only of models */
};

static void meeting_close(struct meeting *meeting)
{
    for (uint32_t i = 0; meeting->shapes && i < meeting->host_count; i++) weft_topology_destroy(meeting->shapes[i]);
    free(meeting->first);
    free(meeting->leaders);
    free(meeting->host_of);
    free(meeting->model);
    free(meeting->names);
    free(meeting->shapes);
}

static bool meeting_open(struct meeting *meeting)
{
    uint32_t ranks = meeting->rank_count;
    meeting->first = calloc(ranks, sizeof *meeting->first);
    meeting->leaders = calloc(ranks, sizeof *meeting->leaders);
    meeting->host_of = calloc(ranks, sizeof *meeting->host_of);
    meeting->model = calloc(ranks, sizeof *meeting->model);
    meeting->names = calloc(ranks, sizeof *meeting->names);
    meeting->shapes = calloc(ranks, sizeof *meeting->shapes);
    if (!meeting->first || !meeting->leaders || !meeting->host_of || !meeting->model || !meeting->names ||
        !meeting->shapes || !control_hosts(meeting->control, meeting->first))
        return false;
    for (uint32_t rank = 0; rank < ranks; rank++) {
        if (meeting->first[rank] != rank) continue;
        meeting->host_of[rank] = meeting->host_count;
        meeting->leaders[meeting->host_count++] = rank;
    }
    return true;
}

static bool leads_host(const void *context, uint32_t rank)
{
    const struct meeting *meeting = context;
    return meeting->first[rank] == rank;
}

static bool leads_model(const void *context, uint32_t rank)
{
    const struct meeting *meeting = context;
    return leads_host(context, rank) && meeting->model[meeting->host_of[rank]] == meeting->host_of[rank];
}

/* What the host is called, and a hash of what it is: most hosts of a cluster are alike. */
static weft_status names_gather(struct meeting *meeting, const weft_topology *own, struct diagnostic *diagnostic)
{
    uint8_t record[HOST_RECORD_BYTES] = {0};
    uint64_t hashes_of_none = 0;
    uint64_t *hashes = calloc((size_t)meeting->host_count + 1, sizeof *hashes);
    bytes_put_u64(record, own ? topology_hash(own) : hashes_of_none);
    if (gethostname((char *)record + 8, HOST_NAME_BYTES - 1) != 0) record[8] = '?';
    weft_status status =
        control_gather(meeting->control, record, sizeof record, leads_host, meeting, meeting->deadline_ns, diagnostic);
    if (status == WEFT_OK && !hashes) status = WEFT_OUT_OF_MEMORY;
    for (uint32_t host = 0; status == WEFT_OK && host < meeting->host_count; host++) {
        size_t size;
        const uint8_t *bytes = control_share(meeting->control, meeting->leaders[host], &size);
        if (size != HOST_RECORD_BYTES) {
            status = diagnose(diagnostic, WEFT_PROTOCOL_ERROR, "rank %u says of its host what no correct rank says",
                              meeting->leaders[host]);
            break;
        }
        hashes[host] = bytes_get_u64(bytes);
        memcpy(meeting->names[host], bytes + 8, HOST_NAME_BYTES - 1);
        if (!meeting->names[host][0]) meeting->names[host][0] = '?';
        while (hashes[meeting->model[host]] != hashes[host]) meeting->model[host]++;
    }
    free(hashes);
    return status;
}

static weft_status shapes_gather(struct meeting *meeting, const weft_topology *own, struct diagnostic *diagnostic)
{
    char *text = NULL;
    if (own && leads_model(meeting, meeting->rank) && weft_topology_write(own, &text) != WEFT_OK) text = NULL;
    weft_status status = control_gather(meeting->control, text, text ? strlen(text) : 0, leads_model, meeting,
                                        meeting->deadline_ns, diagnostic);
    free(text);
    for (uint32_t host = 0; status == WEFT_OK && host < meeting->host_count; host++) {
        if (meeting->model[host] != host) continue;
        char name[64];
        size_t size;
        const uint8_t *bytes = control_share(meeting->control, meeting->leaders[host], &size);
        snprintf(name, sizeof name, "what rank %u has discovered", meeting->leaders[host]);
        if (size)
            status = topology_read(name, bytes, size, &meeting->shapes[host], diagnostic);
        else if (!(meeting->shapes[host] = bare_host()))
            status = WEFT_OUT_OF_MEMORY;
    }
    return status;
}

/* Local rank i is on the host's i-th GPU if there are as many; else ranks are on the host. */
static void ranks_place(const struct meeting *meeting, const weft_topology *graph, struct comm_topology *topology)
{
    uint32_t host_node = 0;
    for (uint32_t host = 0; host < meeting->host_count; host++) {
        while (graph->nodes[host_node].kind != NODE_HOST) host_node++;
        uint32_t end = host_node + 1, gpus = 0, local = 0, gpu = host_node;
        for (; end < graph->node_count && topology_host_of(graph, end) == host_node; end++)
            gpus += graph->nodes[end].kind == NODE_GPU;
        for (uint32_t rank = 0; rank < meeting->rank_count; rank++)
            local += meeting->first[rank] == meeting->leaders[host];
        for (uint32_t rank = meeting->leaders[host]; rank < meeting->rank_count; rank++) {
            if (meeting->first[rank] != meeting->leaders[host]) continue;
            topology->nodes[rank] = host_node;
            if (gpus < local) continue;
            do gpu++;
            while (graph->nodes[gpu].kind != NODE_GPU);
            topology->nodes[rank] = gpu;
        }
        host_node = end;
    }
}

static weft_status hosts_join(struct meeting *meeting, struct comm_topology *topology, weft_topology **graph,
                              struct diagnostic *diagnostic)
{
    weft_topology *joined = NULL;
    const weft_topology **shapes = calloc((size_t)meeting->host_count + 1, sizeof *shapes);
    const char **names = calloc((size_t)meeting->host_count + 1, sizeof *names);
    uint32_t models = 0;
    for (uint32_t host = 0; shapes && names && host < meeting->host_count; host++) {
        shapes[host] = meeting->shapes[meeting->model[host]];
        names[host] = meeting->names[host];
        models += meeting->model[host] == host;
    }
    topology->nodes = calloc(meeting->rank_count, sizeof *topology->nodes);
    if (shapes && names && topology->nodes)
        joined = topology_join_hosts(shapes, names, meeting->host_count, diagnostic);
    free(shapes);
    free(names);
    if (!joined) return diagnose(diagnostic, WEFT_OUT_OF_MEMORY, "no memory for what hosts have discovered");
    ranks_place(meeting, joined, topology);
    topology->origin = ORIGIN_DISCOVERED;
    topology->hash = topology_hash(joined);
    *graph = joined;
    snprintf(topology->source, sizeof topology->source, "discovered on %u host%s of %u kind%s", meeting->host_count,
             meeting->host_count == 1 ? "" : "s", models, models == 1 ? "" : "s");
    return WEFT_OK;
}

weft_status topology_discover_hosts(struct control *control, uint32_t rank, uint32_t rank_count, uint64_t deadline_ns,
                                    struct comm_topology *topology, weft_topology **graph,
                                    struct diagnostic *diagnostic)
{
    struct meeting meeting = {.control = control, .rank = rank, .rank_count = rank_count, .deadline_ns = deadline_ns};
    weft_topology *own = NULL;
    weft_status status = diagnose(diagnostic, WEFT_OUT_OF_MEMORY, "no memory to discover topologies");
    if (meeting_open(&meeting)) {
        if (leads_host(&meeting, rank)) own = own_host();
        status = names_gather(&meeting, own, diagnostic);
        if (status == WEFT_OK) status = shapes_gather(&meeting, own, diagnostic);
        if (status == WEFT_OK) status = hosts_join(&meeting, topology, graph, diagnostic);
    }
    weft_topology_destroy(own);
    meeting_close(&meeting);
    return status;
}
