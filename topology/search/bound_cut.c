/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cuts against demands. Newton's iteration (Dinkelbach 1967): every cut that a rate violates gives the next, smaller
 * rate, exactly; the demand inside shrinks each time, so there are at most as many rounds as ranks, in practice three.
 */
#include <stdlib.h>
#include <string.h>

#include "topology/search/bound.h"
#include "topology/search/max_flow.h"

struct cut_search {
    const struct search_flow_graph *graph;
    const uint32_t *demand;
    uint64_t total_demand;
    struct max_flow network; /* arc 2i is the graph's arc i; then the source's, one for each rank */
    uint32_t source;
    struct cut_bound *bound;
};

static uint64_t demand_of(const struct cut_search *search, uint32_t rank)
{
    return search->demand ? search->demand[rank] : 1;
}

static void build_network(struct cut_search *search)
{
    const struct search_flow_graph *graph = search->graph;
    search->source = graph->node_count;
    max_flow_clear(&search->network, graph->node_count + 1);
    for (uint32_t i = 0; i < graph->arc_count; i++)
        max_flow_add(&search->network, graph->arcs[i].from, graph->arcs[i].to, graph->arcs[i].capacity);
    for (uint32_t rank = 0; rank < graph->rank_count; rank++) max_flow_add(&search->network, search->source, rank, 0);
}

/* Scale the network so that rate numerator / denominator is whole. */
static void set_rate(struct cut_search *search)
{
    const struct search_flow_graph *graph = search->graph;
    struct rational rate = search->bound->rate;
    for (uint32_t i = 0; i < graph->arc_count; i++)
        max_flow_set(&search->network, 2 * i, graph->arcs[i].capacity * (int64_t)rate.denominator);
    for (uint32_t rank = 0; rank < graph->rank_count; rank++)
        max_flow_set(&search->network, 2 * (graph->arc_count + rank),
                     (int64_t)(rate.numerator * demand_of(search, rank)));
}

/* Take the cut `inside` if it is tighter. */
static bool consider(struct cut_search *search, const bool *inside)
{
    const struct search_flow_graph *graph = search->graph;
    struct cut_bound *bound = search->bound;
    int64_t capacity = 0;
    uint64_t demand = 0;
    for (uint32_t i = 0; i < graph->arc_count; i++)
        if (inside[graph->arcs[i].from] && !inside[graph->arcs[i].to]) capacity += graph->arcs[i].capacity;
    for (uint32_t rank = 0; rank < graph->rank_count; rank++)
        if (inside[rank]) demand += demand_of(search, rank);
    if (demand == 0) return false;
    struct rational rate = rational_make((uint64_t)capacity, demand);
    if (rational_valid(bound->rate) && rational_compare(rate, bound->rate) >= 0) return false;
    bound->rate = rate;
    bound->capacity = capacity;
    bound->demand = demand;
    memcpy(bound->inside, inside, graph->node_count * sizeof *inside);
    return true;
}

/* All but one sink: often the tightest cut already, and cheap. */
static void consider_single_sinks(struct cut_search *search, const uint32_t *sinks, uint32_t sink_count, bool *inside)
{
    const struct search_flow_graph *graph = search->graph;
    int64_t *into = calloc(graph->node_count + 1u, sizeof *into);
    if (!into) {
        search->network.failed = true;
        return;
    }
    for (uint32_t i = 0; i < graph->arc_count; i++) into[graph->arcs[i].to] += graph->arcs[i].capacity;
    struct rational best = {0, 0};
    uint32_t tightest = UINT32_MAX;
    for (uint32_t i = 0; i < sink_count; i++) {
        uint32_t sink = sinks ? sinks[i] : i;
        uint64_t demand = search->total_demand - demand_of(search, sink);
        if (demand == 0) continue;
        struct rational rate = rational_make((uint64_t)into[sink], demand);
        if (tightest != UINT32_MAX && rational_compare(rate, best) >= 0) continue;
        best = rate;
        tightest = sink;
    }
    free(into);
    if (tightest == UINT32_MAX) return;
    memset(inside, 1, graph->node_count * sizeof *inside);
    inside[tightest] = false;
    consider(search, inside);
}

static void iterate(struct cut_search *search, const uint32_t *sinks, uint32_t sink_count,
                    const struct search_budget *budget, bool *inside)
{
    struct max_flow *network = &search->network;
    consider_single_sinks(search, sinks, sink_count, inside);
    if (network->failed || !rational_valid(search->bound->rate)) return;
    set_rate(search);
    uint32_t satisfied = 0; /* sinks in a row that the rate satisfies */
    for (uint32_t i = 0; satisfied < sink_count && !network->failed; i = (i + 1) % sink_count) {
        if (search_expired(budget)) {
            search->bound->exact = false;
            return;
        }
        int64_t wanted = (int64_t)(search->bound->rate.numerator * search->total_demand);
        uint32_t sink = sinks ? sinks[i] : i;
        int64_t flow = max_flow_run(network, search->source, sink, wanted);
        satisfied++;
        if (flow == wanted) continue;
        for (uint32_t node = 0; node < search->graph->node_count; node++)
            inside[node] = max_flow_source_side(network, node);
        if (consider(search, inside)) {
            set_rate(search);
            satisfied = 0;
        }
    }
}

weft_status bound_cut(const struct search_flow_graph *graph, const uint32_t *demand, const uint32_t *sinks,
                      uint32_t sink_count, const struct search_budget *budget, struct arena *arena,
                      struct cut_bound *bound)
{
    struct cut_search search = {.graph = graph, .demand = demand, .bound = bound};
    *bound = (struct cut_bound){.exact = true};
    bound->inside = arena_alloc(arena, graph->node_count, sizeof *bound->inside);
    bool *inside = calloc(graph->node_count + 1u, sizeof *inside);
    if (!bound->inside || !inside) {
        free(inside);
        return WEFT_OUT_OF_MEMORY;
    }
    for (uint32_t rank = 0; rank < graph->rank_count; rank++) search.total_demand += demand_of(&search, rank);
    build_network(&search);
    iterate(&search, sinks, sinks ? sink_count : graph->rank_count, budget, inside);
    bool failed = search.network.failed;
    max_flow_free(&search.network);
    free(inside);
    return failed ? WEFT_OUT_OF_MEMORY : WEFT_OK;
}

/* Smallest maximum flow between rank 0 and any other, either way: every cut separates rank 0 from some rank. */
weft_status bound_pair(const struct search_flow_graph *graph, const struct search_budget *budget, struct arena *arena,
                       struct cut_bound *bound)
{
    struct max_flow network = {0};
    *bound = (struct cut_bound){.exact = true, .capacity = MAX_FLOW_UNLIMITED, .demand = 1};
    bound->inside = arena_alloc(arena, graph->node_count, sizeof *bound->inside);
    if (!bound->inside) return WEFT_OUT_OF_MEMORY;
    max_flow_clear(&network, graph->node_count);
    for (uint32_t i = 0; i < graph->arc_count; i++)
        max_flow_add(&network, graph->arcs[i].from, graph->arcs[i].to, graph->arcs[i].capacity);
    for (uint32_t i = 2; i < 2 * graph->rank_count && !network.failed; i++) {
        if (search_expired(budget)) {
            bound->exact = false;
            break;
        }
        uint32_t source = i % 2 ? i / 2 : 0, sink = i % 2 ? 0 : i / 2;
        int64_t flow = max_flow_run(&network, source, sink, bound->capacity);
        if (flow >= bound->capacity) continue;
        bound->capacity = flow;
        for (uint32_t node = 0; node < graph->node_count; node++)
            bound->inside[node] = max_flow_source_side(&network, node);
    }
    if (bound->capacity < MAX_FLOW_UNLIMITED) bound->rate = rational_make((uint64_t)bound->capacity, 1);
    bool failed = network.failed;
    max_flow_free(&network);
    return failed ? WEFT_OUT_OF_MEMORY : WEFT_OK;
}
