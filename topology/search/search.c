/* SPDX-License-Identifier: Apache-2.0 */
#include "topology/search/search.h"

#include <stdlib.h>
#include <string.h>

#include "topology/search/result.h"

void *result_alloc(struct search_context *context, size_t count, size_t size)
{
    void *memory = arena_alloc(&context->result->arena, count, size);
    if (!memory) context->failed = true;
    return memory;
}

struct rational result_ratio(struct rational a, struct rational b)
{
    if (!rational_valid(a) || !rational_valid(b) || b.numerator == 0) return (struct rational){0, 0};
    return rational_divide(a, b);
}

uint32_t result_add_route(struct search_context *context, const uint32_t *hops, uint32_t hop_count)
{
    if (context->route_count == context->route_capacity) {
        uint32_t capacity = context->route_capacity ? 2 * context->route_capacity : 256;
        struct search_route *routes = realloc(context->routes, capacity * sizeof *routes);
        if (!routes) {
            context->failed = true;
            return 0;
        }
        context->routes = routes;
        context->route_capacity = capacity;
    }
    uint32_t *copy = result_alloc(context, hop_count, sizeof *copy);
    if (!copy) return 0;
    if (hop_count) memcpy(copy, hops, hop_count * sizeof *copy);
    context->routes[context->route_count] = (struct search_route){.hops = copy, .hop_count = hop_count};
    return context->route_count++;
}

const char *search_collective_name(enum search_collective collective)
{
    static const char *const names[SEARCH_COLLECTIVE_COUNT] = {"all_reduce", "all_gather", "reduce_scatter",
                                                               "broadcast", "reduce"};
    return collective < SEARCH_COLLECTIVE_COUNT ? names[collective] : "unknown";
}

/* What flows over each hop when everything in the plan runs at full rate. */
static void add_load(double *load, const struct search_route *route, double bandwidth)
{
    for (uint32_t i = 0; i < route->hop_count; i++)
        if (route->hops[i] != SEARCH_HOP_UNSEEN) load[route->hops[i]] += bandwidth;
}

static void measure_forest(struct search_context *context, const struct search_forest *forest, double *load)
{
    for (uint32_t i = 0; i < context->graph->hop_count && forest->rotated && context->lifted_load; i++)
        if (context->graph->hops[i].hop != SEARCH_HOP_UNSEEN)
            load[context->graph->hops[i].hop] = context->lifted_load[i] * rational_value(context->graph->unit);
    for (uint32_t i = 0; i < forest->tree_count && !forest->rotated; i++) {
        const struct search_tree *tree = &forest->trees[i];
        double bandwidth = rational_value(tree->bandwidth);
        for (uint32_t edge = 0; edge < tree->edge_count; edge++) {
            if (tree->edges) add_load(load, &context->routes[tree->edges[edge].route], bandwidth);
            if (tree->reduce_edges) add_load(load, &context->routes[tree->reduce_edges[edge].route], bandwidth);
        }
    }
}

static void measure_rings(struct search_context *context, const struct search_rings *rings, double *load)
{
    for (uint32_t i = 0; i < rings->ring_count; i++)
        for (uint32_t k = 0; k < context->graph->rank_count && rings->rings[i].routes; k++)
            add_load(load, &context->routes[rings->rings[i].routes[k]], rational_value(rings->rings[i].bandwidth));
}

static void measure_loads(struct search_context *context)
{
    struct search_result *result = context->result;
    size_t count = 2 * (size_t)context->topology->link_count;
    double *capacity = result_alloc(context, count, sizeof *capacity);
    double *forest = result_alloc(context, count, sizeof *forest), *rings = result_alloc(context, count, sizeof *rings);
    if (context->failed) return;
    for (uint32_t i = 0; i < context->graph->hop_count; i++) {
        const struct flow_hop *hop = &context->graph->hops[i];
        if (hop->hop != SEARCH_HOP_UNSEEN)
            capacity[hop->hop] = (double)hop->capacity * rational_value(context->graph->unit);
    }
    measure_forest(context, &result->forest, forest);
    const struct search_rings *best = &result->rings;
    if (rational_valid(result->fractional_rings.bandwidth) &&
        (!rational_valid(best->bandwidth) || rational_compare(result->fractional_rings.bandwidth, best->bandwidth) > 0))
        best = &result->fractional_rings;
    measure_rings(context, best, rings);
    result->hop_capacity = capacity;
    result->forest_load = forest;
    result->ring_load = rings;
}

static weft_status fill(struct search_context *context, struct diagnostic *diagnostic)
{
    struct search_result *result = context->result;
    uint32_t parts = context->request->parts ? context->request->parts : SEARCH_EVERYTHING;
    weft_status status =
        flow_graph_derive(context->topology, context->request, &result->arena, &context->graph, diagnostic);
    if (status) return status;
    struct search_flow_graph *graph = context->graph;
    result->graph = graph;
    context->reversed = flow_graph_reversed(graph, &result->arena);
    if (!context->reversed) return diagnose(diagnostic, WEFT_OUT_OF_MEMORY, "out of memory");
    result->rank_count = graph->rank_count;
    result->rank_nodes = graph->topology_node; /* ranks come first */
    result->unit_is_link = graph->unit_is_link;
    result->assumed_links = graph->assumed_links;
    status = result_find_hosts(context);
    if (!status) status = result_find_bounds(context); /* plans start from them */
    /* Rings first: they are found fast, and a budget that trees use up leaves nothing. */
    if (!status && (parts & SEARCH_RINGS)) status = result_find_rings(context);
    if (!status && (parts & SEARCH_TREES)) status = result_find_forest(context);
    if (!status) {
        measure_loads(context);
        result_find_same_trees(context, &result->forest);
        result_find_same_trees(context, &result->two_phase);
    }
    if (rational_valid(result->forest.gap) && result->forest.gap.numerator == result->forest.gap.denominator)
        result->bound.exact = true; /* a plan reaches it */
    if (context->failed) status = WEFT_OUT_OF_MEMORY;
    if (status) return diagnose(diagnostic, status, "out of memory while searching for %u ranks", graph->rank_count);
    result->notes = graph->notes;
    result->note_count = graph->note_count;
    result->expired = search_expired(context->budget);
    struct search_route *routes = result_alloc(context, context->route_count, sizeof *routes);
    if (!routes) return diagnose(diagnostic, WEFT_OUT_OF_MEMORY, "out of memory");
    if (context->route_count) memcpy(routes, context->routes, context->route_count * sizeof *routes);
    result->routes = routes;
    result->route_count = context->route_count;
    return WEFT_OK;
}

weft_status topology_search(const weft_topology *topology, const struct search_request *request,
                            struct search_result **result, struct diagnostic *diagnostic)
{
    if (!topology->incident) return diagnose(diagnostic, WEFT_INVALID_STATE, "the topology is not sealed");
    if (request->collective >= SEARCH_COLLECTIVE_COUNT)
        return diagnose(diagnostic, WEFT_INVALID_ARGUMENT, "collective %d is none", (int)request->collective);
    struct search_result *made = calloc(1, sizeof *made);
    if (!made) return diagnose(diagnostic, WEFT_OUT_OF_MEMORY, "out of memory");
    made->collective = request->collective;
    made->root = request->root;
    struct search_context context = {
        .topology = topology, .request = request, .budget = &request->budget, .result = made};
    weft_status status = fill(&context, diagnostic);
    free(context.routes);
    if (status)
        topology_search_free(made);
    else
        *result = made;
    return status;
}

void topology_search_free(struct search_result *result)
{
    if (!result) return;
    arena_free(&result->arena);
    free(result);
}
