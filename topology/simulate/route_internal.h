/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A way is cut at the fabric: switches that stand outside of hosts. What is left after taking those away falls into
 * domains, mostly one for each host; a way lies in one domain, or leaves through a port, crosses the fabric, and enters
 * through a port. So the search for one never looks into any other host.
 */
#ifndef TOPOLOGY_ROUTE_INTERNAL_H
#define TOPOLOGY_ROUTE_INTERNAL_H

#include "topology/simulate/route.h"

#define COST_CLOSED UINT64_MAX

/* A way from an end to a switch of the fabric, or from that switch to the end: links in the order of travel. */
struct port {
    uint64_t cost;
    uint32_t fabric; /* which switch, numbered among the fabric's; fabric_count: the network that is not shown */
    uint32_t first_link, link_count;
};

struct end {
    uint32_t first_port, out_count, in_count; /* ports out, then ports in */
};

/* The finalizer of splitmix64 (Steele, Lea, Flood 2014): every bit of the result depends on every bit given. */
static inline uint64_t route_mix(uint64_t value)
{
    value = (value ^ value >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    value = (value ^ value >> 27) * UINT64_C(0x94d049bb133111eb);
    return value ^ value >> 31;
}

/* A priority queue of nodes, nearest first. */
struct queue {
    struct queue_entry {
        uint64_t cost;
        uint32_t node;
    } * entries;
    uint32_t count, capacity;
    bool failed;
};
void queue_push(struct queue *queue, uint64_t cost, uint32_t node);
struct queue_entry queue_pop(struct queue *queue);

/* Numbers that grow at the end. Running out of memory is remembered. */
struct numbers {
    uint32_t *values;
    uint32_t count, capacity;
    bool failed;
};
void numbers_push(struct numbers *numbers, uint32_t value);

struct router {
    const weft_topology *topology;
    uint64_t *costs;        /* picoseconds, by ROUTE_LINK; COST_CLOSED lets nothing through */
    uint32_t *fabric_index; /* by node; TOPOLOGY_NONE: inside a domain */
    uint32_t *fabric_nodes;
    uint32_t fabric_count;
    uint32_t *domain; /* by node; TOPOLOGY_NONE: of the fabric */

    /* The search inside a domain: valid where `seen` is the number of the search. */
    uint64_t *inside_cost;
    uint32_t *inside_via; /* ROUTE_LINK that led here, in the direction of travel; TOPOLOGY_NONE: where it began */
    uint32_t *seen;
    struct numbers reached;
    uint32_t search;
    struct queue queue;
    bool failed; /* out of memory */

    struct end *ends;
    uint32_t *end_of; /* by node; TOPOLOGY_NONE: not looked at yet */
    uint32_t end_count, end_capacity;
    struct port *ports;
    uint32_t port_count, port_capacity;
    struct numbers port_links;
};

/* The far end of a link, seen from @p node, and the ROUTE_LINK that leads there or (backward) comes from there. */
static inline uint32_t router_across(const struct router *router, uint32_t link, uint32_t node, bool backward,
                                     uint32_t *route_link)
{
    const struct topology_link *across = &router->topology->links[link];
    bool reverse = across->to == node;
    *route_link = ROUTE_LINK(link, reverse != backward);
    return reverse ? across->from : across->to;
}

/* The ports of @p node, found once. NULL when out of memory. */
const struct end *router_end(struct router *router, uint32_t node);
/* The cheapest way that never leaves the domain; COST_CLOSED if there is none. Its links go to @p links, unless NULL.
 */
uint64_t router_inside(struct router *router, uint32_t from, uint32_t to, struct numbers *links);
#endif
