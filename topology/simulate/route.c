/* SPDX-License-Identifier: Apache-2.0 */
#include "topology/simulate/route.h"

#include <stdlib.h>
#include <string.h>

#include "topology/simulate/route_internal.h"

#define REFERENCE_BYTES 65536.0
#define PS_PER_S 1e12
/* Costs over the fabric to one switch are kept for this many switches, most recently used; the rest is found again. */
enum { TABLES_MAX = 128 };

/* A link between two switches of the fabric, as seen from one of them. */
struct fabric_hop {
    uint32_t to;
    uint32_t out; /* ROUTE_LINK there */
    uint64_t out_cost, in_cost;
};

/* What it costs to reach one switch from every other. */
struct table {
    uint32_t target;
    uint64_t used;
    uint64_t *costs;
};

struct finder {
    struct router router;
    const struct route_links *capacities;
    struct fabric_hop *hops; /* of switch f: from first_hop[f] up to first_hop[f + 1] */
    uint32_t *first_hop;
    struct table tables[TABLES_MAX];
    uint64_t uses;
    struct numbers links;
};

uint32_t route_link_count(const weft_topology *topology)
{
    return 2 * (topology->link_count + topology->node_count);
}

uint64_t route_link_capacity(const weft_topology *topology, const struct cost_model_figures *figures, uint32_t link)
{
    if (link / 2 >= topology->link_count)
        return (uint64_t)cost_port_bandwidth(figures, &topology->nodes[link / 2 - topology->link_count]);
    return (uint64_t)cost_link_bandwidth(figures, &topology->links[link / 2], link % 2);
}

double route_link_latency(const weft_topology *topology, const struct cost_model_figures *figures, uint32_t link)
{
    if (link / 2 >= topology->link_count) return figures->links[LINK_NETWORK].latency_s;
    return cost_link_latency(figures, &topology->links[link / 2]);
}

static uint64_t link_cost_ps(const struct finder *finder, const struct cost_model_figures *figures, uint32_t link)
{
    const struct route_links *links = finder->capacities;
    if (links->capacities[link] == 0 || links->leads[link] != link) return COST_CLOSED;
    double ps = (route_link_latency(finder->router.topology, figures, link) +
                 REFERENCE_BYTES / (double)links->capacities[link]) *
                PS_PER_S;
    return ps < 1 ? 1 : ps > 1e15 ? UINT64_C(1000000000000000) : (uint64_t)ps;
}

/* Are there several hosts with NICs, and nothing of the network that has to join them? */
static bool is_network_unseen(const weft_topology *topology)
{
    uint32_t hosts = 0;
    for (uint32_t i = 0; i < topology->link_count; i++)
        if (topology->links[i].kind == LINK_NETWORK) return false;
    for (uint32_t i = 0; i < topology->node_count; i++) hosts += topology->nodes[i].kind == NODE_HOST;
    return hosts > 1;
}

static bool is_fabric(const struct topology_node *node)
{
    return node->parent == TOPOLOGY_NONE && (node->kind == NODE_SWITCH || node->kind == NODE_NVSWITCH);
}

/* The representative of a node's domain; the path to it is halved on the way. */
static uint32_t domain_of(uint32_t *domain, uint32_t node)
{
    while (domain[node] != node) node = domain[node] = domain[domain[node]];
    return node;
}

static void domains_find(struct router *router)
{
    const weft_topology *topology = router->topology;
    for (uint32_t i = 0; i < topology->node_count; i++) {
        bool fabric = is_fabric(&topology->nodes[i]);
        router->fabric_index[i] = fabric ? router->fabric_count : TOPOLOGY_NONE;
        router->domain[i] = fabric ? TOPOLOGY_NONE : i;
        router->end_of[i] = TOPOLOGY_NONE;
        if (fabric) router->fabric_nodes[router->fabric_count++] = i;
    }
    for (uint32_t i = 0; i < topology->node_count; i++) { /* a host and what stands in it */
        uint32_t parent = topology->nodes[i].parent;
        if (router->domain[i] == TOPOLOGY_NONE || parent == TOPOLOGY_NONE) continue;
        router->domain[domain_of(router->domain, i)] = domain_of(router->domain, parent);
    }
    for (uint32_t i = 0; i < topology->link_count; i++) {
        uint32_t from = topology->links[i].from, to = topology->links[i].to;
        if (router->domain[from] == TOPOLOGY_NONE || router->domain[to] == TOPOLOGY_NONE) continue;
        router->domain[domain_of(router->domain, from)] = domain_of(router->domain, to);
    }
    for (uint32_t i = 0; i < topology->node_count; i++)
        if (router->domain[i] != TOPOLOGY_NONE) router->domain[i] = domain_of(router->domain, i);
}

static bool fabric_index(struct finder *finder)
{
    struct router *router = &finder->router;
    uint32_t total = 0;
    for (uint32_t pass = 0; pass < 2; pass++) { /* count, then fill */
        total = 0;
        for (uint32_t f = 0; f < router->fabric_count; f++) {
            uint32_t count, node = router->fabric_nodes[f];
            const uint32_t *links = topology_links_of(router->topology, node, &count);
            finder->first_hop[f] = total;
            for (uint32_t i = 0; i < count; i++) {
                uint32_t out, in, other = router_across(router, links[i], node, false, &out);
                if (router->fabric_index[other] == TOPOLOGY_NONE) continue;
                router_across(router, links[i], node, true, &in);
                if (pass)
                    finder->hops[total] =
                        (struct fabric_hop){router->fabric_index[other], out, router->costs[out], router->costs[in]};
                total++;
            }
        }
        finder->first_hop[router->fabric_count] = finder->first_hop[router->fabric_count + 1] = total;
        if (pass == 0 && !(finder->hops = calloc((size_t)total + 1, sizeof *finder->hops))) return false;
    }
    return true;
}

static bool finder_open(struct finder *finder, const weft_topology *topology, const struct cost_model_figures *figures)
{
    struct router *router = &finder->router;
    size_t nodes = (size_t)topology->node_count + 1;
    router->topology = topology;
    router->costs = calloc((size_t)route_link_count(topology) + 1, sizeof *router->costs);
    router->fabric_index = calloc(nodes, sizeof *router->fabric_index);
    router->fabric_nodes = calloc(nodes, sizeof *router->fabric_nodes);
    router->domain = calloc(nodes, sizeof *router->domain);
    router->inside_cost = calloc(nodes, sizeof *router->inside_cost);
    router->inside_via = calloc(nodes, sizeof *router->inside_via);
    router->seen = calloc(nodes, sizeof *router->seen);
    router->end_of = calloc(nodes, sizeof *router->end_of);
    finder->first_hop = calloc(nodes + 1, sizeof *finder->first_hop);
    if (!router->costs || !router->fabric_index || !router->fabric_nodes || !router->domain || !router->inside_cost ||
        !router->inside_via || !router->seen || !router->end_of || !finder->first_hop)
        return false;
    bool network_unseen = is_network_unseen(topology);
    for (uint32_t i = 0; i < route_link_count(topology); i++) {
        bool open = i / 2 < topology->link_count ||
                    (network_unseen && topology->nodes[i / 2 - topology->link_count].kind == NODE_NIC);
        router->costs[i] = open ? link_cost_ps(finder, figures, i) : COST_CLOSED;
    }
    domains_find(router);
    return fabric_index(finder);
}

static void finder_close(struct finder *finder)
{
    struct router *router = &finder->router;
    free(router->costs);
    free(router->fabric_index);
    free(router->fabric_nodes);
    free(router->domain);
    free(router->inside_cost);
    free(router->inside_via);
    free(router->seen);
    free(router->reached.values);
    free(router->queue.entries);
    free(router->ends);
    free(router->end_of);
    free(router->ports);
    free(router->port_links.values);
    free(finder->hops);
    free(finder->first_hop);
    for (uint32_t i = 0; i < TABLES_MAX; i++) free(finder->tables[i].costs);
    free(finder->links.values);
}

static void table_fill(struct finder *finder, struct table *table)
{
    struct queue *queue = &finder->router.queue;
    for (uint32_t i = 0; i <= finder->router.fabric_count; i++) table->costs[i] = COST_CLOSED;
    table->costs[table->target] = 0;
    queue->count = 0;
    queue_push(queue, 0, table->target);
    while (queue->count > 0) {
        struct queue_entry nearest = queue_pop(queue);
        if (nearest.cost > table->costs[nearest.node]) continue;
        for (uint32_t h = finder->first_hop[nearest.node]; h < finder->first_hop[nearest.node + 1]; h++) {
            const struct fabric_hop *hop = &finder->hops[h];
            if (hop->in_cost == COST_CLOSED || nearest.cost + hop->in_cost >= table->costs[hop->to]) continue;
            table->costs[hop->to] = nearest.cost + hop->in_cost;
            queue_push(queue, table->costs[hop->to], hop->to);
        }
    }
}

/* Costs to @p target by switch; NULL when out of memory. */
static const uint64_t *table_to(struct finder *finder, uint32_t target)
{
    struct table *oldest = &finder->tables[0];
    for (uint32_t i = 0; i < TABLES_MAX; i++) {
        struct table *table = &finder->tables[i];
        if (table->costs && table->target == target) {
            table->used = ++finder->uses;
            return table->costs;
        }
        if (table->used < oldest->used) oldest = table;
    }
    if (!oldest->costs && !(oldest->costs = calloc((size_t)finder->router.fabric_count + 1, sizeof *oldest->costs)))
        return NULL;
    oldest->target = target;
    oldest->used = ++finder->uses;
    table_fill(finder, oldest);
    return finder->router.queue.failed ? NULL : oldest->costs;
}

/* From switch to switch, one of the cheapest ways. */
static void fabric_walk(struct finder *finder, const struct route_request *request, uint32_t from,
                        const uint64_t *costs)
{
    uint64_t flow = route_mix((uint64_t)request->from << 32 | request->to) + request->salt;
    while (costs[from] > 0) {
        uint32_t first = finder->first_hop[from], end = finder->first_hop[from + 1], candidates = 0;
        for (uint32_t h = first; h < end; h++)
            candidates += finder->hops[h].out_cost != COST_CLOSED && costs[finder->hops[h].to] != COST_CLOSED &&
                          finder->hops[h].out_cost + costs[finder->hops[h].to] == costs[from];
        uint32_t chosen = (uint32_t)(route_mix(flow + from) % candidates);
        for (uint32_t h = first; h < end; h++) {
            const struct fabric_hop *hop = &finder->hops[h];
            if (hop->out_cost == COST_CLOSED || costs[hop->to] == COST_CLOSED ||
                hop->out_cost + costs[hop->to] != costs[from] || chosen-- > 0)
                continue;
            numbers_push(&finder->links, hop->out);
            from = hop->to;
            break;
        }
    }
}

struct crossing {
    uint64_t cost;
    const struct port *out, *in;
};

/*
 * The cheapest pair of ports. Of equal ones the salt counts off the way out, then the way in among what goes with it:
 * so a salt for each channel uses one network card after the other, the same one at both ends where both have as many.
 */
static bool crossing_find(struct finder *finder, const struct route_request *request, struct crossing *best)
{
    struct router *router = &finder->router;
    *best = (struct crossing){COST_CLOSED, NULL, NULL};
    if (!router_end(router, request->from) || !router_end(router, request->to)) return false;
    if (!router->ports) return true; /* nothing has a way out */
    const struct end *from = router_end(router, request->from), *to = router_end(router, request->to);
    const struct port *outs = &router->ports[from->first_port], *ins = &router->ports[to->first_port + to->out_count];
    uint32_t out_equal = 0;
    for (uint32_t pass = 0; pass < 2; pass++) {
        uint32_t ordinal = 0, wanted = out_equal ? request->salt % out_equal : 0;
        for (uint32_t o = 0; o < from->out_count && !best->out; o++) {
            uint64_t least = COST_CLOSED;
            uint32_t in_equal = 0;
            for (uint32_t i = 0; i < to->in_count; i++) {
                const uint64_t *costs = table_to(finder, ins[i].fabric);
                if (!costs) return false;
                if (costs[outs[o].fabric] == COST_CLOSED) continue;
                uint64_t cost = outs[o].cost + costs[outs[o].fabric] + ins[i].cost;
                in_equal = cost < least ? 1 : in_equal + (cost == least);
                if (cost < least) least = cost;
            }
            if (pass == 0) {
                out_equal = least < best->cost ? 1 : out_equal + (least == best->cost && least != COST_CLOSED);
                if (least < best->cost) best->cost = least;
            } else if (least == best->cost && least != COST_CLOSED && ordinal++ == wanted) {
                uint32_t skip = request->salt % in_equal;
                best->out = &outs[o];
                for (uint32_t i = 0; i < to->in_count && !best->in; i++) {
                    uint64_t across = table_to(finder, ins[i].fabric)[outs[o].fabric];
                    if (across != COST_CLOSED && outs[o].cost + across + ins[i].cost == least && skip-- == 0)
                        best->in = &ins[i];
                }
            }
        }
    }
    return true;
}

static void port_push(struct finder *finder, const struct port *port)
{
    for (uint32_t i = 0; i < port->link_count; i++)
        numbers_push(&finder->links, finder->router.port_links.values[port->first_link + i]);
}

static weft_status route_find(struct finder *finder, const struct route_request *request, struct diagnostic *diagnostic)
{
    if (request->from == request->to) return WEFT_OK;
    struct crossing crossing;
    if (!crossing_find(finder, request, &crossing)) return WEFT_OUT_OF_MEMORY;
    uint64_t inside = router_inside(&finder->router, request->from, request->to, NULL);
    if (inside == COST_CLOSED && !crossing.in) {
        const struct topology_node *nodes = finder->router.topology->nodes;
        return diagnose(diagnostic, WEFT_UNSUPPORTED, "no links lead from %s %s to %s %s",
                        topology_node_kind_name(nodes[request->from].kind), nodes[request->from].name,
                        topology_node_kind_name(nodes[request->to].kind), nodes[request->to].name);
    }
    if (inside <= crossing.cost) {
        router_inside(&finder->router, request->from, request->to, &finder->links);
    } else {
        port_push(finder, crossing.out);
        const uint64_t *costs = table_to(finder, crossing.in->fabric);
        if (!costs) return WEFT_OUT_OF_MEMORY;
        fabric_walk(finder, request, crossing.out->fabric, costs);
        port_push(finder, crossing.in);
    }
    bool failed =
        finder->links.failed || finder->router.failed || finder->router.queue.failed || finder->router.reached.failed;
    return failed ? WEFT_OUT_OF_MEMORY : WEFT_OK;
}

struct ordered {
    uint32_t target, index;
};

static int ordered_compare(const void *left, const void *right)
{
    const struct ordered *a = left, *b = right;
    if (a->target != b->target) return a->target < b->target ? -1 : 1;
    return (a->index > b->index) - (a->index < b->index);
}

weft_status routes_find(const weft_topology *topology, const struct cost_model_figures *figures,
                        const struct route_links *links, const struct route_request *requests, uint32_t count,
                        struct routes *routes, struct diagnostic *diagnostic)
{
    struct finder finder = {.capacities = links};
    struct routes found = {.count = count, .spans = calloc((size_t)count + 1, sizeof *found.spans)};
    /* In the order of where they lead, so that neighbours find the same tables. */
    struct ordered *order = calloc((size_t)count + 1, sizeof *order);
    weft_status status = WEFT_OUT_OF_MEMORY;
    if (!found.spans || !order || !finder_open(&finder, topology, figures)) {
        diagnose(diagnostic, status, "no memory to find routes");
        goto out;
    }
    for (uint32_t i = 0; i < count; i++) order[i] = (struct ordered){requests[i].to, i};
    qsort(order, count, sizeof *order, ordered_compare);
    status = WEFT_OK;
    for (uint32_t i = 0; i < count && status == WEFT_OK; i++) {
        struct route_span *span = &found.spans[order[i].index];
        span->first = finder.links.count;
        status = route_find(&finder, &requests[order[i].index], diagnostic);
        span->count = finder.links.count - span->first;
        if (span->count > found.hop_max) found.hop_max = span->count;
    }
    if (status == WEFT_OK) {
        found.links = finder.links.values;
        finder.links.values = NULL;
        *routes = found;
        found.spans = NULL;
    } else if (status == WEFT_OUT_OF_MEMORY) {
        diagnose(diagnostic, status, "no memory to find routes");
    }
out:
    finder_close(&finder);
    free(found.spans);
    free(order);
    return status;
}

void routes_free(struct routes *routes)
{
    free(routes->links);
    free(routes->spans);
    *routes = (struct routes){0};
}
