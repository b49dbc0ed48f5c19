/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Exchanging two twins maps the graph onto itself. Flows may be averaged over such exchanges, so the maximum flow
 * between nodes that none of them moves is that of the quotient, where twins are one host with their capacities added
 * up. Of each class of twins one host stays apart, and its ranks are the sinks: a cut that misses a rank of another
 * twin is as tight as its image that misses this one's.
 */
#include "topology/search/quotient.h"

#include <stdlib.h>
#include <string.h>

#include "topology/search/max_flow.h"
#include "topology/search/shapes.h"

struct quotient {
    struct search_flow_graph graph;
    struct host_shapes shapes;
    uint32_t *image;  /* by node of the whole graph */
    uint32_t *demand; /* by rank of the quotient: of all that it stands for */
    uint32_t *sinks, *sink_host;
    uint32_t sink_count;
};

/* The host that stands for @p host: itself if it is the first of its twins, else the second. */
static uint32_t stand_in(const struct host_shapes *shapes, const uint32_t *second, uint32_t host)
{
    uint32_t first = shapes->twin[host];
    return host == first ? host : second[first];
}

static bool map_nodes(const struct search_flow_graph *graph, const uint32_t *demand, struct arena *arena,
                      struct quotient *q)
{
    const struct host_shapes *shapes = &q->shapes;
    uint32_t *second = arena_alloc(arena, shapes->host_count + 1u, sizeof *second), count = 0;
    uint32_t *keeper = arena_alloc(arena, graph->node_count + 1u, sizeof *keeper);
    q->image = arena_alloc(arena, graph->node_count + 1u, sizeof *q->image);
    q->demand = arena_alloc(arena, graph->rank_count + 1u, sizeof *q->demand);
    q->sinks = arena_alloc(arena, graph->rank_count + 1u, sizeof *q->sinks);
    q->sink_host = arena_alloc(arena, graph->rank_count + 1u, sizeof *q->sink_host);
    if (!second || !keeper || !q->image || !q->demand || !q->sinks || !q->sink_host) return false;
    memset(second, 0xff, shapes->host_count * sizeof *second);
    for (uint32_t host = 0; host < shapes->host_count; host++)
        if (shapes->twin[host] != host && second[shapes->twin[host]] == TOPOLOGY_NONE)
            second[shapes->twin[host]] = host;
    for (uint32_t node = 0; node < graph->node_count; node++) {
        uint32_t host = shapes->host_index[node];
        uint32_t place = host == TOPOLOGY_NONE ? 0 : shapes->first_node[stand_in(shapes, second, host)];
        keeper[node] = host == TOPOLOGY_NONE ? node : shapes->nodes[place + shapes->local[node]];
    }
    for (uint32_t node = 0; node < graph->node_count; node++) { /* ranks first, as in any flow graph */
        if (keeper[node] == node) {
            uint32_t host = shapes->host_index[node];
            q->image[node] = count++;
            if (node < graph->rank_count) {
                q->graph.rank_count = count;
                if (shapes->twin[host] == host) {
                    q->sink_host[q->sink_count] = host;
                    q->sinks[q->sink_count++] = q->image[node];
                }
            }
        }
    }
    for (uint32_t node = 0; node < graph->node_count; node++) {
        q->image[node] = q->image[keeper[node]];
        if (node < graph->rank_count) q->demand[q->image[node]] += demand ? demand[node] : 1;
    }
    q->graph.node_count = count;
    return true;
}

static int compare_arcs(const void *left, const void *right)
{
    const struct flow_arc *a = left, *b = right;
    if (a->from != b->from) return a->from < b->from ? -1 : 1;
    return a->to < b->to ? -1 : a->to > b->to;
}

static bool map_arcs(const struct search_flow_graph *graph, struct arena *arena, struct quotient *q)
{
    struct flow_arc *arcs = arena_alloc(arena, graph->arc_count + 1u, sizeof *arcs);
    if (!arcs) return false;
    uint32_t count = 0, merged = 0;
    for (uint32_t i = 0; i < graph->arc_count; i++) {
        uint32_t from = q->image[graph->arcs[i].from], to = q->image[graph->arcs[i].to];
        if (from != to) arcs[count++] = (struct flow_arc){.from = from, .to = to, .capacity = graph->arcs[i].capacity};
    }
    if (count) qsort(arcs, count, sizeof *arcs, compare_arcs);
    for (uint32_t i = 0; i < count; i++) {
        if (merged && arcs[merged - 1].from == arcs[i].from && arcs[merged - 1].to == arcs[i].to)
            arcs[merged - 1].capacity += arcs[i].capacity;
        else
            arcs[merged++] = arcs[i];
    }
    q->graph.arcs = arcs;
    q->graph.arc_count = merged;
    return true;
}

static weft_status make_quotient(const struct search_flow_graph *graph, const uint32_t *demand, struct arena *arena,
                                 struct quotient *q)
{
    *q = (struct quotient){0};
    weft_status status = host_shapes_find(graph, demand, arena, &q->shapes);
    if (status) return status;
    return map_nodes(graph, demand, arena, q) && map_arcs(graph, arena, q) ? WEFT_OK : WEFT_OUT_OF_MEMORY;
}

weft_status quotient_cut(const struct search_flow_graph *graph, const uint32_t *demand,
                         const struct search_budget *budget, struct arena *arena, struct cut_bound *bound)
{
    struct arena scratch = {0};
    struct quotient q;
    struct cut_bound cut;
    bool *inside = arena_alloc(arena, graph->node_count, sizeof *inside);
    weft_status status = inside ? make_quotient(graph, demand, &scratch, &q) : WEFT_OUT_OF_MEMORY;
    if (!status) status = bound_cut(&q.graph, q.demand, q.sinks, q.sink_count, budget, &scratch, &cut);
    if (!status) {
        *bound = cut;
        bound->inside = inside;
        for (uint32_t node = 0; node < graph->node_count; node++) inside[node] = cut.inside[q.image[node]];
    }
    arena_free(&scratch);
    return status;
}

/* The maximum flow into @p sinks from all other ranks. */
static int64_t flow_into(struct max_flow *network, const struct quotient *q, const uint32_t *sinks, uint32_t count)
{
    const struct search_flow_graph *graph = &q->graph;
    uint32_t first = 2 * graph->arc_count;
    for (uint32_t rank = 0; rank < graph->rank_count; rank++) {
        max_flow_set(network, first + 4 * rank, MAX_FLOW_UNLIMITED);
        max_flow_set(network, first + 4 * rank + 2, 0);
    }
    for (uint32_t i = 0; i < count; i++) {
        max_flow_set(network, first + 4 * sinks[i], 0);
        max_flow_set(network, first + 4 * sinks[i] + 2, MAX_FLOW_UNLIMITED);
    }
    return max_flow_run(network, graph->node_count, graph->node_count + 1, MAX_FLOW_UNLIMITED);
}

/* Take a partition of the ranks into @p parts if it is tighter; part_of() numbers them by rank. */
static void consider(struct partition_bound *bound, const struct search_flow_graph *graph, int64_t sum, uint32_t parts,
                     const uint32_t *part_of_rank)
{
    if (parts < 2) return;
    struct rational rate = rational_make((uint64_t)sum, parts - 1);
    if (rational_valid(bound->rate) && rational_compare(rate, bound->rate) >= 0) return;
    bound->rate = rate;
    bound->capacity = sum;
    bound->part_count = parts;
    for (uint32_t node = 0; node < graph->node_count; node++)
        bound->part[node] = node < graph->rank_count ? (part_of_rank ? part_of_rank[node] : node) : TOPOLOGY_NONE;
}

/* @p host's ranks against all others: what leads in, and what leads out again. */
static void consider_host(const struct search_flow_graph *graph, const struct quotient *q, uint32_t host,
                          const uint32_t *ranks, uint32_t count, struct max_flow *network,
                          struct partition_bound *bound)
{
    uint32_t *others = calloc(q->graph.rank_count + 1u, sizeof *others), other_count = 0;
    uint32_t *parts = calloc(graph->rank_count + 1u, sizeof *parts);
    if (others && parts) {
        for (uint32_t rank = 0, at = 0; rank < q->graph.rank_count; rank++) {
            if (at < count && ranks[at] == rank)
                at++; /* both ascend */
            else
                others[other_count++] = rank;
        }
        for (uint32_t rank = 0; rank < graph->rank_count; rank++) parts[rank] = q->shapes.host_index[rank] != host;
        int64_t sum = flow_into(network, q, ranks, count) + flow_into(network, q, others, other_count);
        if (!network->failed && other_count) consider(bound, graph, sum, 2, parts);
    } else {
        network->failed = true;
    }
    free(others);
    free(parts);
}

/* Ranks one by one, hosts one by one, each host against the rest; a class's first host speaks for all of its twins. */
static void consider_ranks_and_hosts(const struct search_flow_graph *graph, const struct quotient *q,
                                     const struct search_budget *budget, struct max_flow *network,
                                     struct partition_bound *bound)
{
    int64_t rank_sum = 0, host_sum = 0;
    uint32_t *twins = calloc(q->shapes.host_count + 1u, sizeof *twins);
    if (!twins) {
        network->failed = true;
        return;
    }
    for (uint32_t host = 0; host < q->shapes.host_count; host++) twins[q->shapes.twin[host]]++;
    for (uint32_t i = 0; i < q->sink_count && !search_expired(budget); i++) {
        uint32_t host = q->sink_host[i], last = i + 1;
        rank_sum += flow_into(network, q, &q->sinks[i], 1) * twins[host];
        if (i > 0 && q->sink_host[i - 1] == host) continue;
        while (last < q->sink_count && q->sink_host[last] == host) last++;
        host_sum += flow_into(network, q, &q->sinks[i], last - i) * twins[host];
        consider_host(graph, q, host, &q->sinks[i], last - i, network, bound);
    }
    free(twins);
    if (network->failed || search_expired(budget)) return;
    consider(bound, graph, rank_sum, graph->rank_count, NULL);
    consider(bound, graph, host_sum, q->shapes.host_count, q->shapes.host_index);
}

weft_status quotient_partition(const struct search_flow_graph *graph, const struct search_budget *budget,
                               struct arena *arena, struct partition_bound *bound)
{
    struct arena scratch = {0};
    struct quotient q;
    struct max_flow network = {0};
    *bound = (struct partition_bound){0};
    bound->part = arena_alloc(arena, graph->node_count, sizeof *bound->part);
    weft_status status = bound->part ? make_quotient(graph, NULL, &scratch, &q) : WEFT_OUT_OF_MEMORY;
    if (!status) {
        max_flow_clear(&network, q.graph.node_count + 2);
        for (uint32_t i = 0; i < q.graph.arc_count; i++)
            max_flow_add(&network, q.graph.arcs[i].from, q.graph.arcs[i].to, q.graph.arcs[i].capacity);
        for (uint32_t rank = 0; rank < q.graph.rank_count; rank++) {
            max_flow_add(&network, q.graph.node_count, rank, 0);
            max_flow_add(&network, rank, q.graph.node_count + 1, 0);
        }
        consider_ranks_and_hosts(graph, &q, budget, &network, bound);
        if (network.failed) status = WEFT_OUT_OF_MEMORY;
    }
    max_flow_free(&network);
    arena_free(&scratch);
    return status;
}
