/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "topology/simulate/route_internal.h"

/* More than any way around a GPU costs: one that goes through it is taken only if there is no other. */
#define THROUGH_GPU_PS UINT64_C(1000000000000)

void queue_push(struct queue *queue, uint64_t cost, uint32_t node)
{
    if (queue->count == queue->capacity) {
        size_t grown = queue->capacity ? (size_t)queue->capacity * 2 : 256;
        struct queue_entry *moved = realloc(queue->entries, grown * sizeof *moved);
        if (!moved) {
            queue->failed = true;
            return;
        }
        queue->entries = moved;
        queue->capacity = (uint32_t)grown;
    }
    uint32_t place = queue->count++;
    for (; place > 0 && queue->entries[(place - 1) / 2].cost > cost; place = (place - 1) / 2)
        queue->entries[place] = queue->entries[(place - 1) / 2];
    queue->entries[place] = (struct queue_entry){cost, node};
}

struct queue_entry queue_pop(struct queue *queue)
{
    struct queue_entry first = queue->entries[0], moved = queue->entries[--queue->count];
    uint32_t place = 0;
    for (uint32_t child; (child = 2 * place + 1) < queue->count; place = child) {
        if (child + 1 < queue->count && queue->entries[child + 1].cost < queue->entries[child].cost) child++;
        if (queue->entries[child].cost >= moved.cost) break;
        queue->entries[place] = queue->entries[child];
    }
    queue->entries[place] = moved;
    return first;
}

void numbers_push(struct numbers *numbers, uint32_t value)
{
    if (numbers->count == numbers->capacity) {
        size_t grown = numbers->capacity ? (size_t)numbers->capacity * 2 : 256;
        uint32_t *moved = grown < UINT32_MAX ? realloc(numbers->values, grown * sizeof *moved) : NULL;
        if (!moved) {
            numbers->failed = true;
            return;
        }
        numbers->values = moved;
        numbers->capacity = (uint32_t)grown;
    }
    numbers->values[numbers->count++] = value;
}

static void relax(struct router *router, uint32_t node, uint64_t cost, uint32_t via)
{
    if (router->seen[node] != router->search)
        numbers_push(&router->reached, node);
    else if (router->inside_cost[node] <= cost)
        return;
    router->seen[node] = router->search;
    router->inside_cost[node] = cost;
    router->inside_via[node] = via;
    queue_push(&router->queue, cost, node);
}

/* Is @p node one of those that stand for the end @p end? */
static bool end_holds(const struct router *router, uint32_t end, uint32_t node)
{
    const struct topology_node *nodes = router->topology->nodes;
    while (node != end) {
        if (nodes[node].kind != NODE_PACKAGE && nodes[node].kind != NODE_NUMA) return false;
        node = nodes[node].parent;
        if (node == TOPOLOGY_NONE) return false;
    }
    return true;
}

/* A host as an end is any of its processors and memories: which of them works for it is not known from here. */
static void relax_end(struct router *router, uint32_t node)
{
    relax(router, node, 0, TOPOLOGY_NONE);
    const struct topology_node *nodes = router->topology->nodes;
    if (nodes[node].kind != NODE_HOST && nodes[node].kind != NODE_PACKAGE) return;
    for (uint32_t child = nodes[node].first_child; child != TOPOLOGY_NONE; child = nodes[child].next_sibling)
        if (nodes[child].kind == NODE_PACKAGE || nodes[child].kind == NODE_NUMA) relax_end(router, child);
}

/* Costs from @p end (backward: to it) to everything in its domain. */
static void inside_search(struct router *router, uint32_t end, bool backward)
{
    router->search++;
    router->queue.count = router->reached.count = 0;
    relax_end(router, end);
    while (router->queue.count > 0) {
        struct queue_entry nearest = queue_pop(&router->queue);
        uint32_t node = nearest.node, count, route_link;
        if (nearest.cost > router->inside_cost[node]) continue;
        bool through_gpu = router->topology->nodes[node].kind == NODE_GPU && node != end;
        const uint32_t *links = topology_links_of(router->topology, node, &count);
        for (uint32_t i = 0; i < count; i++) {
            uint32_t other = router_across(router, links[i], node, backward, &route_link);
            if (router->domain[other] == TOPOLOGY_NONE || router->costs[route_link] == COST_CLOSED) continue;
            uint64_t cost = nearest.cost + router->costs[route_link] + (through_gpu ? THROUGH_GPU_PS : 0);
            relax(router, other, cost, route_link);
        }
    }
}

/* The links between where the search began and @p node, in the order of travel; appended. */
static void inside_links(struct router *router, uint32_t node, bool backward, struct numbers *links)
{
    uint32_t first = links->count;
    while (router->inside_via[node] != TOPOLOGY_NONE) {
        uint32_t via = router->inside_via[node];
        numbers_push(links, via);
        const struct topology_link *link = &router->topology->links[via / 2];
        node = (via % 2 != 0) != backward ? link->to : link->from;
    }
    if (backward || links->failed) return; /* a walk from a port inwards meets the links in the order of travel */
    for (uint32_t i = first, j = links->count; i + 1 < j; i++) {
        uint32_t swapped = links->values[--j];
        links->values[j] = links->values[i];
        links->values[i] = swapped;
    }
}

static void port_add(struct router *router, uint32_t node, uint32_t route_link, uint32_t fabric, bool backward)
{
    if (router->port_count == router->port_capacity) {
        size_t grown = router->port_capacity ? (size_t)router->port_capacity * 2 : 256;
        struct port *moved = realloc(router->ports, grown * sizeof *moved);
        if (!moved) {
            router->failed = true;
            return;
        }
        router->ports = moved;
        router->port_capacity = (uint32_t)grown;
    }
    struct port *port = &router->ports[router->port_count++];
    port->cost = router->inside_cost[node] + router->costs[route_link];
    if (router->topology->nodes[node].kind == NODE_GPU && router->inside_via[node] != TOPOLOGY_NONE)
        port->cost += THROUGH_GPU_PS;
    port->fabric = fabric;
    port->first_link = router->port_links.count;
    if (backward) numbers_push(&router->port_links, route_link);
    inside_links(router, node, backward, &router->port_links);
    if (!backward) numbers_push(&router->port_links, route_link);
    port->link_count = router->port_links.count - port->first_link;
}

static int number_compare(const void *left, const void *right)
{
    uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
    return (a > b) - (a < b);
}

/* The links between what the search has reached and the fabric, in the order of nodes. Returns how many. */
static uint32_t ports_collect(struct router *router, bool backward)
{
    uint32_t before = router->port_count;
    qsort(router->reached.values, router->reached.count, sizeof *router->reached.values, number_compare);
    for (uint32_t n = 0; n < router->reached.count; n++) {
        uint32_t count, route_link, node = router->reached.values[n];
        const uint32_t *links = topology_links_of(router->topology, node, &count);
        for (uint32_t i = 0; i < count; i++) {
            uint32_t other = router_across(router, links[i], node, backward, &route_link);
            uint32_t fabric = router->fabric_index[other];
            if (fabric != TOPOLOGY_NONE && router->costs[route_link] != COST_CLOSED)
                port_add(router, node, route_link, fabric, backward);
        }
        route_link = ROUTE_UNSEEN(router->topology, node, backward);
        if (router->costs[route_link] != COST_CLOSED)
            port_add(router, node, route_link, router->fabric_count, backward);
    }
    return router->port_count - before;
}

const struct end *router_end(struct router *router, uint32_t node)
{
    if (router->end_of[node] != TOPOLOGY_NONE) return &router->ends[router->end_of[node]];
    if (router->end_count == router->end_capacity) {
        size_t grown = router->end_capacity ? (size_t)router->end_capacity * 2 : 64;
        struct end *moved = realloc(router->ends, grown * sizeof *moved);
        if (!moved) return NULL;
        router->ends = moved;
        router->end_capacity = (uint32_t)grown;
    }
    struct end *end = &router->ends[router->end_count];
    end->first_port = router->port_count;
    inside_search(router, node, false);
    end->out_count = ports_collect(router, false);
    inside_search(router, node, true);
    end->in_count = ports_collect(router, true);
    if (router->failed || router->queue.failed || router->reached.failed || router->port_links.failed) return NULL;
    router->end_of[node] = router->end_count++;
    return end;
}

uint64_t router_inside(struct router *router, uint32_t from, uint32_t to, struct numbers *links)
{
    if (router->domain[from] != router->domain[to] || router->domain[from] == TOPOLOGY_NONE) return COST_CLOSED;
    inside_search(router, from, false);
    /* A host as the far end is reached where any of its processors or memories is. */
    uint32_t nearest = TOPOLOGY_NONE;
    for (uint32_t i = 0; i < router->reached.count; i++) {
        uint32_t node = router->reached.values[i];
        if (!end_holds(router, to, node)) continue;
        if (nearest == TOPOLOGY_NONE || router->inside_cost[node] < router->inside_cost[nearest]) nearest = node;
    }
    if (nearest == TOPOLOGY_NONE) return COST_CLOSED;
    uint64_t cost = router->inside_cost[nearest];
    if (links) inside_links(router, nearest, false, links);
    return cost;
}
