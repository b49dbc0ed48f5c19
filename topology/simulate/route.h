/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ways through a topology: shortest paths, counting for each link its latency plus the time of 64 KiB over it.
 *
 * Traffic passes through switches, bridges, packages and memory; through a GPU only where there is no other way, and
 * never in at one host from the fabric and out to it again. Of several shortest ways one is chosen by arithmetic alone,
 * the same on every run: the port at either end round robin by the request's salt, each further hop by a hash of the
 * ends, the salt and the switch (equal-cost multipath as switches do it, RFC 2992).
 *
 * Pure. Thread: any; the topology is only read.
 */
#ifndef TOPOLOGY_ROUTE_H
#define TOPOLOGY_ROUTE_H

#include "topology/cost/cost.h"
#include "topology/model/model.h"

/* A link in one direction: 2 * its index, plus 1 for to -> from. */
#define ROUTE_LINK(link, reverse) (2 * (link) + ((reverse) ? 1u : 0u))

/*
 * A NIC's port into a network of which the topology shows nothing: where there are several hosts and no NETWORK link at
 * all, every NIC reaches every other, as through one switch that is never the bottleneck.
 */
#define ROUTE_UNSEEN(topology, nic, inwards) ROUTE_LINK((topology)->link_count + (nic), inwards)
/* Numbers of route links are below this; what one lets through, in bytes per second; its kind. */
uint32_t route_link_count(const weft_topology *topology);
uint64_t route_link_capacity(const weft_topology *topology, const struct cost_model_figures *figures, uint32_t link);
double route_link_latency(const weft_topology *topology, const struct cost_model_figures *figures, uint32_t link);

/*
 * What links let through. NVLinks (and xGMI links) that hardware uses as one are led by one of them: between the same
 * two GPUs, or over NVSwitches that join the same GPUs. A route names leads only.
 */
struct route_links {
    uint32_t count;
    uint64_t *own;        /* bytes per second of each */
    uint64_t *capacities; /* of a lead: of all that it leads together */
    uint32_t *leads;      /* by route link; mostly itself */
};
/*
 * @p assumed: bytes per second by route link, used where a link has no figure of its own and this has one; NULL: the
 * cost model's. Owner: the caller, route_links_close(). False when out of memory.
 */
bool route_links_open(const weft_topology *topology, const struct cost_model_figures *figures, const double *assumed,
                      struct route_links *links);
void route_links_close(struct route_links *links);

struct route_request {
    uint32_t from, to; /* GPU or host nodes, or any other nodes */
    uint32_t salt;     /* spreads: the number of a channel, of a rank in its host, ... */
};

/* Route i is the span.count ROUTE_LINKs from links[span.first], span being spans[i]. Owner: the caller, routes_free().
 */
struct routes {
    uint32_t *links;
    struct route_span {
        uint32_t first, count;
    } * spans;
    uint32_t count, hop_max;
};

/*
 * Errors: WEFT_UNSUPPORTED, with a sentence that names two ends that nothing joins; WEFT_OUT_OF_MEMORY. *routes is
 * untouched then.
 */
weft_status routes_find(const weft_topology *topology, const struct cost_model_figures *figures,
                        const struct route_links *links, const struct route_request *requests, uint32_t count,
                        struct routes *routes, struct diagnostic *diagnostic);
void routes_free(struct routes *routes);
#endif
