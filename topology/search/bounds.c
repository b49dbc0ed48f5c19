/* SPDX-License-Identifier: Apache-2.0 */
/* The bound of the collective asked for, in bytes per second, with the cut or partition that binds it. */
#include <string.h>

#include "topology/search/quotient.h"
#include "topology/search/result.h"

/* Up to here every cut and partition is searched on the graph itself; beyond, on its quotient. */
#define WHOLE_GRAPH_RANKS 96u

/* Parts by rank and by topology node, out of parts by node of the flow graph. */
static void describe_parts(struct search_context *context, struct search_bound *bound, const uint32_t *part)
{
    const struct search_flow_graph *graph = context->graph;
    uint32_t *by_rank = result_alloc(context, graph->rank_count, sizeof *by_rank);
    uint32_t *by_node = result_alloc(context, context->topology->node_count, sizeof *by_node);
    if (context->failed) return;
    memset(by_node, 0xff, context->topology->node_count * sizeof *by_node);
    for (uint32_t node = 0; node < graph->node_count; node++)
        if (graph->topology_node[node] != TOPOLOGY_NONE) by_node[graph->topology_node[node]] = part[node];
    memcpy(by_rank, part, graph->rank_count * sizeof *by_rank);
    bound->part_of_rank = by_rank;
    bound->part_of_node = by_node;
}

static void finish(struct search_context *context, struct search_bound *bound, int64_t capacity, struct rational share,
                   const uint32_t *part)
{
    bound->bandwidth = rational_multiply(rational_make((uint64_t)capacity, 1), context->graph->unit);
    bound->share = share;
    bound->algbw = rational_divide(bound->bandwidth, share);
    describe_parts(context, bound, part);
}

/* A cut of a graph, near side first; @p turned: of the reversed graph, so that the near side receives. */
static void describe_cut(struct search_context *context, struct search_bound *bound, const struct cut_bound *cut,
                         bool turned, struct rational share)
{
    const struct search_flow_graph *graph = context->graph;
    uint32_t *part = result_alloc(context, graph->node_count, sizeof *part);
    if (!part || !rational_valid(cut->rate)) return;
    bound->exact = cut->exact;
    bound->part_count = 2;
    for (uint32_t node = 0; node < graph->node_count; node++) part[node] = cut->inside[node] == turned;
    for (uint32_t rank = 0; rank < graph->rank_count; rank++) bound->inside_ranks += part[rank] == 0;
    finish(context, bound, cut->capacity, share, part);
}

static weft_status tightest_cut(struct search_context *context, bool turned, const uint32_t *demand,
                                struct cut_bound *cut)
{
    const struct search_flow_graph *graph = turned ? context->reversed : context->graph;
    if (graph->rank_count <= WHOLE_GRAPH_RANKS)
        return bound_cut(graph, demand, NULL, 0, context->budget, &context->result->arena, cut);
    return quotient_cut(graph, demand, context->budget, &context->result->arena, cut);
}

/* All-gather, and reduce-scatter as all-gather run backwards. */
static weft_status gather_bound(struct search_context *context, bool turned, struct search_bound *bound)
{
    struct cut_bound cut;
    weft_status status = tightest_cut(context, turned, NULL, &cut);
    if (!status) describe_cut(context, bound, &cut, turned, rational_make(cut.demand, context->graph->rank_count));
    return status;
}

static weft_status rooted_bound(struct search_context *context, bool turned, struct search_bound *bound)
{
    struct cut_bound cut;
    uint32_t *demand = result_alloc(context, context->graph->rank_count, sizeof *demand);
    if (!demand) return WEFT_OUT_OF_MEMORY;
    demand[context->request->root] = 1;
    weft_status status = tightest_cut(context, turned, demand, &cut);
    if (!status) describe_cut(context, bound, &cut, turned, (struct rational){1, 1});
    return status;
}

static weft_status all_reduce_bound(struct search_context *context, struct search_bound *bound)
{
    const struct search_flow_graph *graph = context->graph;
    struct arena *arena = &context->result->arena;
    struct partition_bound partition;
    struct cut_bound cut;
    bool whole = graph->rank_count <= WHOLE_GRAPH_RANKS;
    weft_status status = whole ? bound_partition(graph, context->budget, arena, &partition)
                               : quotient_partition(graph, context->budget, arena, &partition);
    if (!status && whole) status = bound_pair(graph, context->budget, arena, &cut);
    if (status || !rational_valid(partition.rate)) return status;
    struct rational halved = rational_divide(partition.rate, (struct rational){2, 1});
    if (whole && rational_compare(cut.rate, halved) < 0) {
        describe_cut(context, bound, &cut, false, (struct rational){1, 1});
        bound->exact = cut.exact && partition.exact;
        return WEFT_OK;
    }
    bound->exact = partition.exact && (!whole || cut.exact);
    bound->part_count = partition.part_count;
    for (uint32_t rank = 0; rank < graph->rank_count; rank++) bound->inside_ranks += partition.part[rank] == 0;
    finish(context, bound, partition.capacity, rational_make(2 * (uint64_t)(partition.part_count - 1), 1),
           partition.part);
    return WEFT_OK;
}

/* One after the other: times add up. */
static weft_status two_phase_bound(struct search_context *context, struct search_bound *bound)
{
    struct search_bound scatter = {0};
    weft_status status = gather_bound(context, true, &scatter);
    if (!status) status = gather_bound(context, false, bound);
    if (status || !rational_valid(bound->algbw)) return status;
    struct rational one = {1, 1};
    bound->algbw =
        rational_divide(one, rational_add(rational_divide(one, scatter.algbw), rational_divide(one, bound->algbw)));
    bound->exact &= scatter.exact;
    bound->share = rational_divide(bound->bandwidth, bound->algbw);
    return status;
}

weft_status result_find_bounds(struct search_context *context)
{
    struct search_result *result = context->result;
    if (context->graph->rank_count < 2) return WEFT_OK;
    switch (context->request->collective) {
    case SEARCH_ALL_REDUCE: {
        weft_status status = all_reduce_bound(context, &result->bound);
        return status ? status : two_phase_bound(context, &result->two_phase_bound);
    }
    case SEARCH_ALL_GATHER:
    case SEARCH_REDUCE_SCATTER:
        return gather_bound(context, context->request->collective == SEARCH_REDUCE_SCATTER, &result->bound);
    default:
        return rooted_bound(context, context->request->collective == SEARCH_REDUCE, &result->bound);
    }
}
