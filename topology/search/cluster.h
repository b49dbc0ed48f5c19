/* SPDX-License-Identifier: Apache-2.0 */
/* Hosts in their order, and ways between their ranks, for plans that are lifted from one host to all. */
#ifndef TOPOLOGY_SEARCH_CLUSTER_H
#define TOPOLOGY_SEARCH_CLUSTER_H

#include "topology/search/forest.h"
#include "topology/search/result.h"
#include "topology/search/shapes.h"

/*
 * A switch may lead to thousands of hosts, of which a way wants one: by node its arcs to other switches, and by host
 * what leads into it.
 */
struct cluster_index {
    const struct search_flow_graph *graph;
    uint32_t *first_to_switch, *to_switch; /* by node: arcs from a node outside of hosts to another */
    uint32_t *first_into, *into;           /* by host: arcs from outside of hosts */
};

struct cluster {
    struct search_context *context;
    struct arena arena;
    struct host_shapes shapes;
    uint32_t *host_at;              /* by place in the result's order: host of `shapes` */
    uint32_t places;                /* hosts */
    bool alike;                     /* all hosts have one shape */
    uint32_t host_ranks;            /* of each host if they are alike; else of the one with fewest */
    struct search_flow_graph local; /* the host at place 0; its hops are the whole graph's */
    struct cluster_index index[2];  /* of the graph, and of the reversed one */
    /* of one search for a way */
    uint32_t *seen, *round, stamp, *via, *queue;
    uint32_t *inside; /* rounds from a node of the target's host to the target */
    double *pressure; /* by node: the fullest arc on the way, for its capacity */
};

/* False: there is only one host (nothing is wrong then), or memory ran out (context->failed). */
bool cluster_init(struct cluster *cluster, struct search_context *context);
void cluster_free(struct cluster *cluster);

/* The flow node at @p place that corresponds to @p local of the host at place 0. */
uint32_t cluster_node(const struct cluster *cluster, uint32_t place, uint32_t local);

/*
 * A shortest way in @p graph (the context's or the reversed one) from one rank to another over no third host, the least
 * loaded of the shortest: appends its arcs. It passes other ranks only with @p relay. False: there is none, or no
 * memory.
 */
bool cluster_way(struct cluster *cluster, const struct search_flow_graph *graph, const uint64_t *load, uint32_t from,
                 uint32_t to, bool relay, struct hop_list *arcs);
#endif
