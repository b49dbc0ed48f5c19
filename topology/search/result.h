/* SPDX-License-Identifier: Apache-2.0 */
/* A result in the making, shared by the files that fill its parts. */
#ifndef TOPOLOGY_SEARCH_RESULT_H
#define TOPOLOGY_SEARCH_RESULT_H

#include "topology/search/bound.h"
#include "topology/search/flow_graph.h"

struct search_context {
    const weft_topology *topology;
    const struct search_request *request;
    const struct search_budget *budget;
    struct search_result *result;
    struct search_flow_graph *graph;
    struct search_flow_graph *reversed;
    struct search_route *routes;
    uint32_t route_count, route_capacity;
    double *lifted_load; /* by hop of the graph: what a rotated forest puts on it; NULL: there is none */
    bool failed;         /* out of memory */
};

/* Memory of the result; remembers failure. */
void *result_alloc(struct search_context *context, size_t count, size_t size);
/* A route over @p hops (SEARCH_HOP values, copied); its index. */
uint32_t result_add_route(struct search_context *context, const uint32_t *hops, uint32_t hop_count);
/* a / b; no number unless both are, or if b is 0. */
struct rational result_ratio(struct rational a, struct rational b);

/* bounds.c: context->result->bound and two_phase_bound. */
weft_status result_find_bounds(struct search_context *context);

/* trees.c, all_reduce.c: context->result->forest and two_phase. */
weft_status result_find_forest(struct search_context *context);

/* same_trees.c: which trees of a forest that is otherwise complete are the same to a plan. */
void result_find_same_trees(struct search_context *context, struct search_forest *forest);

/* rings.c: context->result->rings and fractional_rings. */
weft_status result_find_rings(struct search_context *context);

/* hosts.c: context->result->hosts. */
weft_status result_find_hosts(struct search_context *context);
#endif
