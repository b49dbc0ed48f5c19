/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hosts in which NVLink or xGMI joins all ranks: PCI carries only what goes out to the network and what comes in from
 * it.
 *
 * A rank uses the NICs nearest to it (fewest links, crossing processors last) over shortest paths, as NCCL and the
 * drivers do; the other NICs it reaches through its peers. So no direction of a link serves both ways: if u -> v were
 * on a shortest path from rank a out to its nearest NIC m, and on one in from NIC n, nearest to rank b, then d(v,m) >=
 * 1 + d(u,n), since n was no nearer to a, and d(u,n) >= 1 + d(v,m), since m was no nearer to b. Hence each direction
 * belongs to one layer, and a plain flow graph can say that nothing turns around in a bridge.
 */
#include <stdlib.h>
#include <string.h>

#include "topology/search/derive.h"

#define FAR UINT32_MAX
/* More than any path has links that do not touch a processor. */
#define PROCESSOR_LINK 1000u

struct layer_walk {
    struct derivation *d;
    uint32_t *distance; /* by node; FAR outside of the walk */
    uint32_t *queue;    /* nodes reached, in order of discovery */
    bool *queued;
    uint32_t reached;
};

static bool is_processor(const weft_topology *topology, uint32_t node)
{
    enum node_kind kind = topology->nodes[node].kind;
    return kind == NODE_HOST || kind == NODE_PACKAGE || kind == NODE_NUMA;
}

static bool is_port(const struct derivation *d, uint32_t node)
{
    return d->has_network[node] && (d->role[node] == ROLE_NIC || d->topology->nodes[node].kind == NODE_HOST);
}

/* The other end of a link that a layer may use from @p node; TOPOLOGY_NONE if it may not. */
static uint32_t neighbour(const struct derivation *d, uint32_t node, uint32_t link_index, uint32_t *weight)
{
    const weft_topology *topology = d->topology;
    const struct topology_link *link = &topology->links[link_index];
    uint32_t other = link->from == node ? link->to : link->from;
    if (derive_joins_gpus(topology, link) || link->kind == LINK_NETWORK || d->host_of[other] != d->host_of[node])
        return TOPOLOGY_NONE;
    if (d->role[other] == ROLE_ABSENT || topology->nodes[other].kind == NODE_NVSWITCH) return TOPOLOGY_NONE;
    *weight = is_processor(topology, node) || is_processor(topology, other) ? PROCESSOR_LINK : 1;
    return other;
}

/* Shortest distances from a rank to everything of its host that data could pass. */
static void walk_from(struct layer_walk *walk, uint32_t rank)
{
    const struct derivation *d = walk->d;
    uint32_t head = 0, tail = 0;
    walk->reached = 0;
    walk->distance[rank] = 0;
    walk->queue[tail++] = rank;
    /* A node may come back when a shorter way is found; the graphs are near-trees of at most a few hundred nodes. */
    while (head < tail) {
        uint32_t node = walk->queue[head++], count;
        walk->queued[node] = false;
        if (node != rank && d->role[node] != ROLE_TRANSIT) continue; /* a NIC or a rank passes nothing on in here */
        const uint32_t *links = topology_links_of(d->topology, node, &count);
        for (uint32_t i = 0; i < count; i++) {
            uint32_t weight, other = neighbour(d, node, links[i], &weight);
            if (other == TOPOLOGY_NONE || walk->distance[node] + weight >= walk->distance[other]) continue;
            walk->distance[other] = walk->distance[node] + weight;
            if (walk->queued[other]) continue;
            if (tail == d->topology->node_count) { /* wrap: what was handled may be dropped */
                memmove(walk->queue, walk->queue + head, (tail - head) * sizeof *walk->queue);
                tail -= head;
                head = 0;
            }
            walk->queued[other] = true;
            walk->queue[tail++] = other;
        }
    }
}

/* Mark every shortest path from the rank back from @p port; each node once. */
static void mark_back(struct layer_walk *walk, uint32_t port)
{
    struct derivation *d = walk->d;
    uint32_t head = 0, tail = 0;
    walk->queue[tail++] = port;
    walk->queued[port] = true;
    while (head < tail) {
        uint32_t node = walk->queue[head++], count;
        const uint32_t *links = topology_links_of(d->topology, node, &count);
        for (uint32_t i = 0; i < count; i++) {
            uint32_t weight, other = neighbour(d, node, links[i], &weight);
            if (other == TOPOLOGY_NONE || walk->distance[other] == FAR ||
                walk->distance[other] + weight != walk->distance[node])
                continue;
            if (walk->distance[other] && d->role[other] != ROLE_TRANSIT) continue;
            bool reversed = d->topology->links[links[i]].from == node;
            d->use[SEARCH_HOP(links[i], reversed)] |= USE_OUT;
            d->use[SEARCH_HOP(links[i], !reversed)] |= USE_IN;
            if (!walk->queued[other]) {
                walk->queued[other] = true;
                walk->queue[tail++] = other;
            }
        }
    }
    for (uint32_t i = 0; i < tail; i++) walk->queued[walk->queue[i]] = false;
}

static void mark_rank(struct layer_walk *walk, uint32_t rank, const uint32_t *members, uint32_t member_count)
{
    walk_from(walk, rank);
    uint32_t nearest = FAR;
    for (uint32_t i = 0; i < member_count; i++)
        if (is_port(walk->d, members[i]) && walk->distance[members[i]] < nearest) nearest = walk->distance[members[i]];
    for (uint32_t i = 0; i < member_count && nearest != FAR; i++)
        if (is_port(walk->d, members[i]) && walk->distance[members[i]] == nearest) mark_back(walk, members[i]);
    for (uint32_t i = 0; i < member_count; i++) walk->distance[members[i]] = FAR;
}

weft_status derive_layers(struct derivation *d)
{
    uint32_t count = d->topology->node_count;
    struct layer_walk walk = {.d = d};
    walk.distance = arena_alloc(&d->arena, count, sizeof *walk.distance);
    walk.queue = arena_alloc(&d->arena, count, sizeof *walk.queue);
    walk.queued = arena_alloc(&d->arena, count, sizeof *walk.queued);
    /* Nodes of each host: first[host], then next[node]. */
    uint32_t *first = arena_alloc(&d->arena, count, sizeof *first);
    uint32_t *next = arena_alloc(&d->arena, count, sizeof *next);
    uint32_t *members = arena_alloc(&d->arena, count, sizeof *members);
    if (!walk.distance || !walk.queue || !walk.queued || !first || !next || !members) return WEFT_OUT_OF_MEMORY;
    for (uint32_t node = 0; node < count; node++) walk.distance[node] = first[node] = FAR;
    for (uint32_t node = count; node-- > 0;) {
        uint32_t host = d->host_of[node], links;
        if (host == TOPOLOGY_NONE || !d->layered[host]) continue;
        topology_links_of(d->topology, node, &links);
        if (links == 0) continue;
        next[node] = first[host];
        first[host] = node;
    }
    for (uint32_t host = 0; host < count; host++) {
        uint32_t member_count = 0;
        for (uint32_t node = first[host]; node != FAR; node = next[node]) members[member_count++] = node;
        for (uint32_t i = 0; i < member_count; i++)
            if (d->role[members[i]] == ROLE_RANK) mark_rank(&walk, members[i], members, member_count);
    }
    return WEFT_OK;
}
