/* SPDX-License-Identifier: Apache-2.0 */
/* From a topology to arcs: which nodes may pass data on, and which links a kind of traffic may use. */
#include "topology/search/derive.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Sketch nodes: 2n is a topology node n; where data must not turn around, 2n is n on the way out, 2n + 1 on the way in.
 */
#define WAY_OUT(node) (2 * (node))
#define WAY_IN(node) (2 * (node) + 1)

static const char *node_name(const weft_topology *topology, uint32_t node)
{
    return topology->nodes[node].name;
}

static weft_status add_endpoint(struct derivation *d, uint32_t node, struct diagnostic *diagnostic)
{
    const weft_topology *topology = d->topology;
    if (node >= topology->node_count)
        return diagnose(diagnostic, WEFT_INVALID_ARGUMENT, "endpoint %u: the topology has only %u nodes", node,
                        topology->node_count);
    enum node_kind kind = topology->nodes[node].kind;
    if (kind != NODE_GPU && kind != NODE_HOST)
        return diagnose(diagnostic, WEFT_INVALID_ARGUMENT, "endpoint %s is a %s; a rank sits on a gpu or a host",
                        node_name(topology, node), topology_node_kind_name(kind));
    if (d->role[node] == ROLE_RANK)
        return diagnose(diagnostic, WEFT_INVALID_ARGUMENT, "endpoint %s %s is named twice",
                        topology_node_kind_name(kind), node_name(topology, node));
    if (d->rank_count && kind != topology->nodes[d->rank_nodes[0]].kind)
        return diagnose(diagnostic, WEFT_INVALID_ARGUMENT, "endpoints are gpus or hosts, not both: %s %s",
                        topology_node_kind_name(kind), node_name(topology, node));
    d->role[node] = ROLE_RANK;
    d->rank_nodes[d->rank_count++] = node;
    return WEFT_OK;
}

static weft_status choose_endpoints(struct derivation *d, const struct search_request *request,
                                    struct diagnostic *diagnostic)
{
    const weft_topology *topology = d->topology;
    for (uint32_t i = 0; i < request->endpoint_count && request->endpoints; i++) {
        weft_status status = add_endpoint(d, request->endpoints[i], diagnostic);
        if (status) return status;
    }
    for (int kind = 0; kind < 2 && !request->endpoints && !d->rank_count; kind++)
        for (uint32_t node = 0; node < topology->node_count; node++)
            if (topology->nodes[node].kind == (kind ? NODE_HOST : NODE_GPU)) add_endpoint(d, node, NULL);
    if (d->rank_count == 0)
        return diagnose(diagnostic, WEFT_INVALID_ARGUMENT, "no ranks: the topology has neither gpus nor hosts");
    if (request->root >= d->rank_count)
        return diagnose(diagnostic, WEFT_INVALID_ARGUMENT, "root %u is no rank: there are %u", request->root,
                        d->rank_count);
    d->ranks_are_hosts = topology->nodes[d->rank_nodes[0]].kind == NODE_HOST;
    return WEFT_OK;
}

/*
 * Roles. GPUs without a rank have no process to pass data on, and neither has a host without any rank. Where the ranks
 * are hosts, a host's memory is where its data is: all but its NICs and bridges are one with it.
 */
static void assign_roles(struct derivation *d)
{
    const weft_topology *topology = d->topology;
    for (uint32_t i = 0; i < d->rank_count; i++) {
        uint32_t host = d->host_of[d->rank_nodes[i]];
        if (d->host_ranks[host]++ == 0) d->rank_hosts++;
    }
    for (uint32_t node = 0; node < topology->node_count; node++) {
        uint32_t host = d->host_of[node];
        d->alias[node] = node;
        if (d->role[node] == ROLE_RANK) continue;
        switch (topology->nodes[node].kind) {
        case NODE_NIC:
            d->role[node] = ROLE_NIC;
            break;
        case NODE_GPU:
            d->role[node] = d->ranks_are_hosts ? ROLE_TRANSIT : ROLE_ABSENT;
            break;
        default:
            d->role[node] = ROLE_TRANSIT;
        }
        if (host != TOPOLOGY_NONE && d->host_ranks[host] == 0)
            d->role[node] = ROLE_ABSENT;
        else if (host != TOPOLOGY_NONE && d->ranks_are_hosts && d->role[node] == ROLE_TRANSIT &&
                 topology->nodes[node].kind != NODE_PCI_BRIDGE)
            d->alias[node] = host;
    }
}

/* Do NICs have to be joined by a network of which the topology shows nothing? */
static void find_unseen_network(struct derivation *d)
{
    const weft_topology *topology = d->topology;
    bool nics = false, network = false;
    for (uint32_t i = 0; i < topology->link_count; i++) {
        const struct topology_link *link = &topology->links[i];
        if (link->kind != LINK_NETWORK) continue;
        d->has_network[link->from] = d->has_network[link->to] = true;
        network |= d->role[link->from] != ROLE_ABSENT && d->role[link->to] != ROLE_ABSENT;
    }
    for (uint32_t node = 0; node < topology->node_count; node++) nics |= d->role[node] == ROLE_NIC;
    d->unseen_network = nics && !network && d->rank_hosts > 1;
    for (uint32_t node = 0; node < topology->node_count && d->unseen_network; node++)
        d->has_network[node] |= d->role[node] == ROLE_NIC;
}

static uint32_t component(uint32_t *parent, uint32_t node)
{
    while (parent[node] != node) node = parent[node] = parent[parent[node]];
    return node;
}

/* A host is layered if NVLink or xGMI joins all its ranks: PCI then is for what goes to and comes from the network. */
static weft_status find_layered_hosts(struct derivation *d)
{
    const weft_topology *topology = d->topology;
    if (d->ranks_are_hosts) return WEFT_OK;
    uint32_t *parent = malloc(topology->node_count * sizeof *parent);
    uint32_t *first = malloc(topology->node_count * sizeof *first);
    if (!parent || !first) {
        free(parent);
        free(first);
        return WEFT_OUT_OF_MEMORY;
    }
    for (uint32_t node = 0; node < topology->node_count; node++) parent[node] = node, first[node] = TOPOLOGY_NONE;
    for (uint32_t i = 0; i < topology->link_count; i++) {
        const struct topology_link *link = &topology->links[i];
        if (derive_joins_gpus(topology, link) && d->role[link->from] != ROLE_ABSENT && d->role[link->to] != ROLE_ABSENT)
            parent[component(parent, link->from)] = component(parent, link->to);
    }
    for (uint32_t node = 0; node < topology->node_count; node++)
        d->layered[node] = topology->nodes[node].kind == NODE_HOST && d->host_ranks[node] > 0;
    for (uint32_t i = 0; i < d->rank_count; i++) {
        uint32_t host = d->host_of[d->rank_nodes[i]], root = component(parent, d->rank_nodes[i]);
        if (first[host] == TOPOLOGY_NONE) first[host] = root;
        if (first[host] != root) d->layered[host] = false;
    }
    free(parent);
    free(first);
    return WEFT_OK;
}

static bool in_layered_host(const struct derivation *d, uint32_t node)
{
    return d->host_of[node] != TOPOLOGY_NONE && d->layered[d->host_of[node]];
}

/* The sketch node at which an arc leaves (or enters) a topology node. */
static uint32_t sketch_node(const struct derivation *d, uint32_t node, bool towards_network)
{
    enum node_kind kind = d->topology->nodes[node].kind;
    bool split = d->role[node] == ROLE_NIC;
    split |= d->role[node] == ROLE_TRANSIT && kind != NODE_NVSWITCH && kind != NODE_SWITCH && in_layered_host(d, node);
    return split && !towards_network ? WAY_IN(node) : WAY_OUT(node);
}

static int64_t whole(struct figure figure)
{
    if (figure.source == FIGURE_UNKNOWN || !(figure.value > 0)) return 0;
    if (figure.value > 1e15) return INT64_C(1000000000000000);
    int64_t value = (int64_t)llround(figure.value);
    return value > 0 ? value : 1;
}

static int64_t arc_capacity(const struct derivation *d, uint32_t from, uint32_t to, const struct topology_link *link,
                            struct figure figure)
{
    int64_t capacity = whole(figure);
    uint32_t ends[2] = {from, to};
    for (int i = 0; i < 2 && link->kind == LINK_NETWORK; i++) {
        int64_t port = d->role[ends[i]] == ROLE_NIC ? whole(d->topology->nodes[ends[i]].port_bandwidth) : 0;
        if (port && (!capacity || port < capacity)) capacity = port;
    }
    return capacity;
}

static void add_direction(struct derivation *d, uint32_t index, bool reversed)
{
    const struct topology_link *link = &d->topology->links[index];
    uint32_t from = d->alias[reversed ? link->to : link->from], to = d->alias[reversed ? link->from : link->to];
    struct figure figure = reversed ? link->reverse_bandwidth : link->bandwidth;
    if (from == to || d->role[from] == ROLE_ABSENT || d->role[to] == ROLE_ABSENT) return;
    if (figure.source != FIGURE_UNKNOWN && !(figure.value > 0)) return;
    struct flow_sketch_arc arc = {.hop = SEARCH_HOP(index, reversed),
                                  .capacity = arc_capacity(d, from, to, link, figure),
                                  .kind = link->kind,
                                  .count = link->count ? link->count : 1};
    if (derive_joins_gpus(d->topology, link) || link->kind == LINK_NETWORK) {
        arc.from = sketch_node(d, from, true); /* leaving a NIC is on the way out, entering one on the way in */
        arc.to = sketch_node(d, to, false);
        flow_sketch_add(&d->sketch, arc);
    } else if (!in_layered_host(d, from)) {
        arc.from = sketch_node(d, from, false);
        arc.to = sketch_node(d, to, true);
        flow_sketch_add(&d->sketch, arc);
    } else if (d->use[arc.hop]) {
        bool out = d->use[arc.hop] & USE_OUT;
        arc.from = sketch_node(d, from, out);
        arc.to = sketch_node(d, to, out);
        flow_sketch_add(&d->sketch, arc);
    } else {
        d->restricted |= link->kind == LINK_PCI;
    }
}

static void add_unseen_network(struct derivation *d)
{
    uint32_t network = 2 * d->topology->node_count;
    for (uint32_t node = 0; node < d->topology->node_count && d->unseen_network; node++) {
        if (d->role[node] != ROLE_NIC) continue;
        struct flow_sketch_arc arc = {.hop = SEARCH_HOP_UNSEEN,
                                      .capacity = whole(d->topology->nodes[node].port_bandwidth),
                                      .kind = LINK_NETWORK,
                                      .count = 1};
        arc.from = WAY_OUT(node), arc.to = network;
        flow_sketch_add(&d->sketch, arc);
        arc.from = network, arc.to = WAY_IN(node);
        flow_sketch_add(&d->sketch, arc);
    }
}

static weft_status check_reach(const struct derivation *d, const struct search_flow_graph *graph,
                               struct diagnostic *diagnostic)
{
    bool *reached = malloc(graph->node_count + 1u);
    if (!reached) return diagnose(diagnostic, WEFT_OUT_OF_MEMORY, "out of memory");
    weft_status status = WEFT_OK;
    for (int backwards = 0; backwards < 2 && !status; backwards++) {
        memset(reached, 0, graph->node_count);
        reached[0] = true;
        for (bool changed = true; changed;) {
            changed = false;
            for (uint32_t i = 0; i < graph->arc_count; i++) {
                uint32_t from = backwards ? graph->arcs[i].to : graph->arcs[i].from;
                uint32_t to = backwards ? graph->arcs[i].from : graph->arcs[i].to;
                if (reached[from] && !reached[to]) reached[to] = changed = true;
            }
        }
        for (uint32_t rank = 0; rank < graph->rank_count && !status; rank++) {
            if (reached[rank]) continue;
            uint32_t ends[2] = {backwards ? rank : 0, backwards ? 0 : rank};
            status = diagnose(diagnostic, WEFT_UNSUPPORTED, "no way leads from %s %s (rank %u) to %s (rank %u)",
                              topology_node_kind_name(d->topology->nodes[d->rank_nodes[0]].kind),
                              node_name(d->topology, d->rank_nodes[ends[0]]), ends[0],
                              node_name(d->topology, d->rank_nodes[ends[1]]), ends[1]);
        }
    }
    free(reached);
    return status;
}

static bool allocate(struct derivation *d)
{
    const weft_topology *topology = d->topology;
    uint32_t count = topology->node_count + 1;
    d->role = arena_alloc(&d->arena, count, sizeof *d->role);
    d->alias = arena_alloc(&d->arena, count, sizeof *d->alias);
    d->host_of = arena_alloc(&d->arena, count, sizeof *d->host_of);
    d->host_ranks = arena_alloc(&d->arena, count, sizeof *d->host_ranks);
    d->layered = arena_alloc(&d->arena, count, sizeof *d->layered);
    d->has_network = arena_alloc(&d->arena, count, sizeof *d->has_network);
    d->rank_nodes = arena_alloc(&d->arena, count, sizeof *d->rank_nodes);
    d->use = arena_alloc(&d->arena, 2 * (size_t)topology->link_count + 1, sizeof *d->use);
    d->sketch.topology_node = arena_alloc(&d->arena, 2 * (size_t)count, sizeof(uint32_t));
    if (!d->role || !d->alias || !d->host_of || !d->host_ranks || !d->layered || !d->has_network || !d->rank_nodes ||
        !d->use || !d->sketch.topology_node)
        return false;
    for (uint32_t node = 0; node < topology->node_count; node++) { /* parents come before their children */
        uint32_t parent = topology->nodes[node].parent;
        d->host_of[node] = topology->nodes[node].kind == NODE_HOST ? node
                           : parent == TOPOLOGY_NONE               ? TOPOLOGY_NONE
                                                                   : d->host_of[parent];
        d->sketch.topology_node[WAY_OUT(node)] = d->sketch.topology_node[WAY_IN(node)] = node;
    }
    d->sketch.topology_node[2 * topology->node_count] = TOPOLOGY_NONE;
    d->sketch.node_count = 2 * topology->node_count + 1;
    return true;
}

static weft_status derive(struct derivation *d, const struct search_request *request, struct arena *arena,
                          struct search_flow_graph *graph, struct diagnostic *diagnostic)
{
    if (!allocate(d)) return diagnose(diagnostic, WEFT_OUT_OF_MEMORY, "out of memory");
    weft_status status = choose_endpoints(d, request, diagnostic);
    if (status) return status;
    assign_roles(d);
    find_unseen_network(d);
    if (find_layered_hosts(d) || derive_layers(d)) return diagnose(diagnostic, WEFT_OUT_OF_MEMORY, "out of memory");
    for (uint32_t i = 0; i < d->topology->link_count; i++) {
        add_direction(d, i, false);
        add_direction(d, i, true);
    }
    add_unseen_network(d);
    uint32_t *rank_nodes = arena_alloc(&d->arena, d->rank_count, sizeof *rank_nodes);
    if (!rank_nodes) return diagnose(diagnostic, WEFT_OUT_OF_MEMORY, "out of memory");
    for (uint32_t i = 0; i < d->rank_count; i++) rank_nodes[i] = WAY_OUT(d->rank_nodes[i]);
    d->sketch.rank_nodes = rank_nodes;
    d->sketch.rank_count = d->rank_count;
    status = flow_graph_finish(&d->sketch, arena, graph, diagnostic);
    if (status) return status;
    graph->host = arena_alloc(arena, graph->node_count, sizeof *graph->host);
    if (!graph->host) return diagnose(diagnostic, WEFT_OUT_OF_MEMORY, "out of memory");
    for (uint32_t node = 0; node < graph->node_count; node++)
        graph->host[node] =
            graph->topology_node[node] == TOPOLOGY_NONE ? TOPOLOGY_NONE : d->host_of[graph->topology_node[node]];
    graph->link_count = d->topology->link_count;
    graph->topology_node_count = d->topology->node_count;
    if (d->unseen_network)
        flow_graph_note(graph, arena,
                        "the network between the hosts is not shown: every NIC is taken to reach every "
                        "other at its port's bandwidth");
    if (d->restricted)
        flow_graph_note(graph, arena,
                        "where NVLink or xGMI joins the GPUs of a host, PCI carries only what goes to and comes "
                        "from the network, by each GPU's nearest NICs");
    return check_reach(d, graph, diagnostic);
}

weft_status flow_graph_derive(const weft_topology *topology, const struct search_request *request, struct arena *arena,
                              struct search_flow_graph **graph, struct diagnostic *diagnostic)
{
    struct derivation derivation = {.topology = topology};
    struct search_flow_graph *made = arena_alloc(arena, 1, sizeof *made);
    weft_status status = made ? derive(&derivation, request, arena, made, diagnostic)
                              : diagnose(diagnostic, WEFT_OUT_OF_MEMORY, "out of memory");
    free(derivation.sketch.arcs);
    arena_free(&derivation.arena);
    if (!status) *graph = made;
    return status;
}
