/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The attack (Cunningham, J. ACM 32, 1985) on a directed graph with switches. For a set A of ranks let f(A) be the
 * maximum flow from all other ranks into A; f is submodular. For a rate, the partition that minimises the sum of
 * f(part) - rate comes out of the greedy algorithm (Dilworth truncation; Frank and Tardos 1988): ranks one by one get
 * the largest weight y such that y(A) <= f(A) - rate for every set A of ranks so far, found by one minimum cut each;
 * tight sets that meet become one part. Newton's iteration on the rate as in bound_cut.c: the parts become fewer each
 * time.
 */
#include <stdlib.h>
#include <string.h>

#include "topology/search/bound.h"
#include "topology/search/max_flow.h"

struct attack {
    const struct search_flow_graph *graph;
    struct max_flow network; /* arc 2i: the graph's arc i; then source -> rank, rank -> sink for each rank */
    uint32_t source, sink;
    int64_t *weight; /* y, scaled */
    uint32_t *block; /* by rank: smallest rank of its part so far */
    bool *side;
};

static uint32_t source_arc(const struct attack *attack, uint32_t rank)
{
    return 2 * (attack->graph->arc_count + 2 * rank);
}

static uint32_t sink_arc(const struct attack *attack, uint32_t rank)
{
    return source_arc(attack, rank) + 2;
}

static void build_network(struct attack *attack)
{
    const struct search_flow_graph *graph = attack->graph;
    attack->source = graph->node_count;
    attack->sink = graph->node_count + 1;
    max_flow_clear(&attack->network, graph->node_count + 2);
    for (uint32_t i = 0; i < graph->arc_count; i++)
        max_flow_add(&attack->network, graph->arcs[i].from, graph->arcs[i].to, graph->arcs[i].capacity);
    for (uint32_t rank = 0; rank < graph->rank_count; rank++) {
        max_flow_add(&attack->network, attack->source, rank, 0);
        max_flow_add(&attack->network, rank, attack->sink, 0);
    }
}

/* The largest weight that @p rank may get after all before it; joins what its tight set meets. False: expired. */
static bool place(struct attack *attack, uint32_t rank, int64_t scaled_rate)
{
    const struct search_flow_graph *graph = attack->graph;
    int64_t positive = 0;
    for (uint32_t other = 0; other < graph->rank_count; other++) {
        int64_t weight = other < rank ? attack->weight[other] : 0;
        max_flow_set(&attack->network, source_arc(attack, other),
                     other > rank ? MAX_FLOW_UNLIMITED
                     : weight < 0 ? -weight
                                  : 0);
        max_flow_set(&attack->network, sink_arc(attack, other),
                     other == rank ? MAX_FLOW_UNLIMITED
                     : weight > 0  ? weight
                                   : 0);
        positive += weight > 0 ? weight : 0;
    }
    int64_t flow = max_flow_run(&attack->network, attack->source, attack->sink, MAX_FLOW_UNLIMITED);
    if (attack->network.failed) return false;
    attack->weight[rank] = flow - positive - scaled_rate;
    uint32_t first = rank;
    for (uint32_t other = 0; other < rank; other++)
        if (!max_flow_source_side(&attack->network, other) && attack->block[other] < first)
            first = attack->block[other];
    attack->block[rank] = first;
    for (uint32_t other = 0; other < rank; other++) {
        if (max_flow_source_side(&attack->network, other)) continue;
        uint32_t joined = attack->block[other];
        for (uint32_t i = 0; i < rank; i++)
            if (attack->block[i] == joined) attack->block[i] = first;
    }
    return true;
}

/* f(part) of every part, added up, and which nodes help each; numbers the parts. */
static int64_t measure(struct attack *attack, struct partition_bound *bound)
{
    const struct search_flow_graph *graph = attack->graph;
    int64_t sum = 0;
    memset(bound->part, 0xff, graph->node_count * sizeof *bound->part);
    bound->part_count = 0;
    for (uint32_t first = 0; first < graph->rank_count; first++) {
        if (attack->block[first] != first) continue;
        for (uint32_t rank = 0; rank < graph->rank_count; rank++) {
            bool in = attack->block[rank] == first;
            max_flow_set(&attack->network, source_arc(attack, rank), in ? 0 : MAX_FLOW_UNLIMITED);
            max_flow_set(&attack->network, sink_arc(attack, rank), in ? MAX_FLOW_UNLIMITED : 0);
        }
        sum += max_flow_run(&attack->network, attack->source, attack->sink, MAX_FLOW_UNLIMITED);
        max_flow_sink_side(&attack->network, attack->sink, attack->side); /* the smallest such set */
        for (uint32_t node = 0; node < graph->node_count; node++)
            if (attack->side[node]) bound->part[node] = bound->part_count;
        bound->part_count++;
    }
    return sum;
}

static void set_scale(struct attack *attack, uint64_t scale)
{
    for (uint32_t i = 0; i < attack->graph->arc_count; i++)
        max_flow_set(&attack->network, 2 * i, attack->graph->arcs[i].capacity * (int64_t)scale);
}

/* From each rank on its own towards coarser partitions while they are tighter. */
static void iterate(struct attack *attack, const struct search_budget *budget, struct partition_bound *bound,
                    struct partition_bound *next)
{
    uint32_t ranks = attack->graph->rank_count;
    for (uint32_t rank = 0; rank < ranks; rank++) attack->block[rank] = rank;
    while (!attack->network.failed) {
        set_scale(attack, 1);
        next->capacity = measure(attack, next);
        if (next->part_count < 2) return;
        next->rate = rational_make((uint64_t)next->capacity, next->part_count - 1);
        if (rational_valid(bound->rate) && rational_compare(next->rate, bound->rate) >= 0) return;
        struct partition_bound spare = *bound;
        *bound = *next;
        bound->exact = true;
        next->part = spare.part;
        set_scale(attack, bound->rate.denominator);
        for (uint32_t rank = 0; rank < ranks; rank++) {
            if (search_expired(budget)) {
                bound->exact = false;
                return;
            }
            if (!place(attack, rank, (int64_t)bound->rate.numerator)) return;
        }
    }
}

weft_status bound_partition(const struct search_flow_graph *graph, const struct search_budget *budget,
                            struct arena *arena, struct partition_bound *bound)
{
    struct attack attack = {.graph = graph};
    struct partition_bound next = {0};
    *bound = (struct partition_bound){.exact = true};
    bound->part = arena_alloc(arena, graph->node_count, sizeof *bound->part);
    next.part = arena_alloc(arena, graph->node_count, sizeof *next.part);
    attack.weight = calloc(graph->rank_count + 1u, sizeof *attack.weight);
    attack.block = calloc(graph->rank_count + 1u, sizeof *attack.block);
    attack.side = calloc(graph->node_count + 2u, sizeof *attack.side);
    attack.network.failed = !bound->part || !next.part || !attack.weight || !attack.block || !attack.side;
    if (!attack.network.failed) build_network(&attack);
    if (!attack.network.failed) iterate(&attack, budget, bound, &next);
    bool failed = attack.network.failed;
    max_flow_free(&attack.network);
    free(attack.weight);
    free(attack.block);
    free(attack.side);
    return failed ? WEFT_OUT_OF_MEMORY : WEFT_OK;
}
