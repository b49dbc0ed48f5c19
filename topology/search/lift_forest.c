/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Trees of a cluster of like hosts. The data of a rank goes from host to host along the order of hosts, always to the
 * rank at the same place (its lane), and in each host over the trees that were packed for one host alone. A host's NICs
 * so receive each byte from outside once, which is the cut between a host and the rest; inside, a host works as if all
 * data were its own ranks'. The loads of all links are added up, and the rate is what the fullest one allows.
 * A tree of another host is one of these rotated, so only those of the first host are written down.
 */
#include <stdlib.h>
#include <string.h>

#include "topology/search/cluster.h"
#include "topology/search/lift.h"
#include "topology/search/trees.h"

struct lifting {
    struct cluster *cluster;
    struct search_context *context;
    const struct search_flow_graph *graph; /* the context's, or reversed: all trees lead away from their roots */
    bool towards_root;
    struct logical_graph logical; /* of one host */
    struct packing packing;
    uint64_t trees_per_rank; /* total weight of each local root */
    uint64_t *load;          /* by hop of the graph, for one tree of each root and weight trees_per_rank */
    uint32_t *lane_route;    /* by place * host_ranks + index: to the next place; the last leads to the first */
    uint32_t *local_route;   /* by place * logical arcs + arc */
    struct rational rate;    /* of each root, over trees_per_rank */
};

static bool pack_host(struct lifting *l)
{
    struct search_flow_graph *local = &l->cluster->local;
    if (l->towards_root) local = flow_graph_reversed(local, &l->cluster->arena);
    uint64_t *demand = arena_alloc(&l->cluster->arena, l->cluster->host_ranks, sizeof *demand);
    struct cut_bound cut;
    if (!local || !demand || bound_cut(local, NULL, NULL, 0, l->context->budget, &l->cluster->arena, &cut)) {
        l->context->failed = true;
        return false;
    }
    uint64_t scale = 1;
    l->trees_per_rank = 1; /* a single rank in a host needs no trees */
    if (rational_valid(cut.rate)) l->trees_per_rank = cut.rate.numerator, scale = cut.rate.denominator;
    if (l->trees_per_rank == 0) return false; /* ranks of one host that only the network joins */
    for (uint32_t i = 0; i < l->cluster->host_ranks; i++) demand[i] = l->trees_per_rank;
    bool ok = split_switches(local, scale, demand, l->context->budget, &l->logical) &&
              pack_trees(&l->logical, l->context->budget, &l->packing);
    l->context->failed |= l->logical.failed | l->packing.failed;
    return ok;
}

/* Which arc of the first host a hop belongs to, and which of the arc's links it is. */
static uint32_t local_arc_of_hop(const struct lifting *l, uint32_t hop, uint32_t *link)
{
    const struct search_flow_graph *local = &l->cluster->local;
    for (uint32_t i = 0; i < local->arc_count; i++)
        if (hop >= local->arcs[i].first_hop && hop < local->arcs[i].first_hop + local->arcs[i].hop_count) {
            *link = hop - local->arcs[i].first_hop;
            return i;
        }
    return UINT32_MAX; /* not for hops of the first host */
}

static uint32_t add_route(struct lifting *l, struct hop_list *hops)
{
    for (uint32_t i = 0; i < hops->count; i++) hops->hops[i] = l->context->graph->hops[hops->hops[i]].hop;
    for (uint32_t i = 0; l->towards_root && i < hops->count / 2; i++) {
        uint32_t hop = hops->hops[i];
        hops->hops[i] = hops->hops[hops->count - 1 - i];
        hops->hops[hops->count - 1 - i] = hop;
    }
    return result_add_route(l->context, hops->hops, hops->count);
}

/* Every host's copies of the first host's logical arcs: routes, and loads of `uses` each. */
static bool copy_local_arcs(struct lifting *l, const uint64_t *uses)
{
    struct hop_list first = {0}, hops = {0};
    const struct search_flow_graph *graph = l->context->graph, *local = &l->cluster->local;
    bool ok = true;
    for (uint32_t arc = 0; arc < l->logical.arc_count && ok; arc++) {
        if (uses[arc] == 0) continue;
        first.count = 0;
        ok = logical_arc_expand(&l->logical, arc, &first);
        for (uint32_t place = 0; place < l->cluster->places && ok; place++) {
            hops.count = 0;
            for (uint32_t i = 0; i < first.count && ok; i++) {
                uint32_t link = 0, at = local_arc_of_hop(l, first.hops[i], &link);
                uint32_t copy = flow_graph_arc(graph, cluster_node(l->cluster, place, local->arcs[at].from),
                                               cluster_node(l->cluster, place, local->arcs[at].to));
                uint32_t hop = graph->arcs[copy].first_hop + link;
                ok = hop_list_add(&hops, hop);
                l->load[hop] += uses[arc] * l->cluster->places;
            }
            if (ok) l->local_route[(size_t)place * l->logical.arc_count + arc] = add_route(l, &hops);
        }
    }
    free(first.hops);
    free(hops.hops);
    l->context->failed |= !ok;
    return !l->context->failed;
}

/* From each rank to the one of its lane in the next host. */
static bool find_lane_routes(struct lifting *l)
{
    struct cluster *c = l->cluster;
    struct hop_list way = {0};
    bool ok = true;
    for (uint32_t place = 0; place < c->places && ok; place++)
        for (uint32_t i = 0; i < c->host_ranks && ok; i++) {
            uint32_t from = cluster_node(c, place, i), to = cluster_node(c, (place + 1) % c->places, i);
            way.count = 0;
            ok = !search_expired(l->context->budget) && (cluster_way(c, l->graph, l->load, from, to, false, &way) ||
                                                         cluster_way(c, l->graph, l->load, from, to, true, &way));
            for (uint32_t k = 0; k < way.count && ok; k++) {
                const struct flow_arc *arc = &l->graph->arcs[way.hops[k]];
                uint32_t hop = arc->first_hop;
                for (uint32_t link = 1; link < arc->hop_count; link++)
                    if (l->load[arc->first_hop + link] < l->load[hop]) hop = arc->first_hop + link;
                l->load[hop] += (uint64_t)(c->places - 1) * l->trees_per_rank;
                way.hops[k] = hop;
            }
            if (ok) l->lane_route[(size_t)place * c->host_ranks + i] = add_route(l, &way);
        }
    free(way.hops);
    return ok && !l->context->failed;
}

static void find_rate(struct lifting *l)
{
    l->rate = (struct rational){UINT64_MAX, 1};
    for (uint32_t hop = 0; hop < l->context->graph->hop_count; hop++)
        if (l->load[hop])
            l->rate =
                rational_min(l->rate, rational_make((uint64_t)l->context->graph->hops[hop].capacity, l->load[hop]));
}

/* The tree of a rank of the first host: down the lane, and in each host the local tree. */
static const struct search_edge *lifted_edges(struct lifting *l, const struct packed_tree *tree)
{
    const struct cluster *c = l->cluster;
    uint32_t total = c->places * c->host_ranks - 1, count = 0;
    struct search_edge *edges = result_alloc(l->context, total, sizeof *edges);
    for (uint32_t place = 0; place < c->places && edges; place++) {
        if (place > 0)
            edges[count++] =
                (struct search_edge){.parent = cluster_node(c, place - 1, tree->root),
                                     .child = cluster_node(c, place, tree->root),
                                     .route = l->lane_route[(size_t)(place - 1) * c->host_ranks + tree->root]};
        for (uint32_t i = 0; i + 1 < c->host_ranks; i++) {
            const struct logical_arc *arc = &l->logical.arcs[tree->arcs[i]];
            edges[count++] =
                (struct search_edge){.parent = cluster_node(c, place, arc->from),
                                     .child = cluster_node(c, place, arc->to),
                                     .route = l->local_route[(size_t)place * l->logical.arc_count + tree->arcs[i]]};
        }
    }
    return edges;
}

static void write_family(struct lifting *l, struct tree_family *family)
{
    family->trees = result_alloc(l->context, l->packing.tree_count, sizeof *family->trees);
    family->tree_count = l->packing.tree_count;
    family->scale = l->rate.denominator;
    for (uint32_t i = 0; i < l->packing.tree_count && family->trees; i++) {
        const struct packed_tree *tree = &l->packing.trees[i];
        family->trees[i] = (struct family_tree){.root = cluster_node(l->cluster, 0, tree->root),
                                                .weight = (uint64_t)tree->weight * l->rate.numerator,
                                                .edges = lifted_edges(l, tree)};
    }
}

/* @p load: by hop, what the family puts on it at its full rate, in capacities; the rate of each root. */
static bool lift_family(struct cluster *cluster, bool towards_root, struct tree_family *family, double *load,
                        struct rational *rate)
{
    struct search_context *context = cluster->context;
    struct lifting l = {.cluster = cluster, .context = context, .towards_root = towards_root};
    l.graph = towards_root ? context->reversed : context->graph;
    bool ok = pack_host(&l);
    uint64_t *uses = calloc(l.logical.arc_count + 1u, sizeof *uses);
    l.load = calloc(context->graph->hop_count + 1u, sizeof *l.load);
    l.lane_route = calloc((size_t)cluster->places * cluster->host_ranks + 1, sizeof *l.lane_route);
    l.local_route = calloc((size_t)cluster->places * l.logical.arc_count + 1, sizeof *l.local_route);
    if (!uses || !l.load || !l.lane_route || !l.local_route) context->failed = true;
    for (uint32_t i = 0; ok && uses && i < l.packing.tree_count; i++)
        for (uint32_t k = 0; k + 1 < cluster->host_ranks; k++)
            uses[l.packing.trees[i].arcs[k]] += (uint64_t)l.packing.trees[i].weight;
    ok = ok && !context->failed && copy_local_arcs(&l, uses) && find_lane_routes(&l);
    if (ok) {
        find_rate(&l);
        write_family(&l, family);
        *rate = rational_multiply(l.rate, rational_make(l.trees_per_rank, 1));
        for (uint32_t hop = 0; hop < context->graph->hop_count; hop++)
            load[hop] = (double)l.load[hop] * rational_value(l.rate);
    }
    logical_graph_free(&l.logical);
    packing_free(&l.packing);
    free(uses);
    free(l.load);
    free(l.lane_route);
    free(l.local_route);
    return ok && !context->failed;
}

static void all_reduce(struct search_context *context, struct cluster *cluster, const double *up_load,
                       const double *down_load, const struct tree_family *up, struct rational up_rate,
                       const struct tree_family *down, struct rational down_rate)
{
    struct search_result *result = context->result;
    struct rational one = {1, 1}, ranks = rational_make(context->graph->rank_count, 1);
    struct rational rate =
        rational_divide(one, rational_add(rational_divide(one, up_rate), rational_divide(one, down_rate)));
    rate = rational_multiply(rational_multiply(rate, ranks), context->graph->unit);
    trees_two_way(context, up, down, rate, cluster->places, &result->two_phase);
    result->forest = result->two_phase;
    double both = 1 / rational_value(up_rate) + 1 / rational_value(down_rate);
    for (uint32_t hop = 0; hop < context->graph->hop_count && context->lifted_load; hop++)
        context->lifted_load[hop] =
            up_load[hop] / rational_value(up_rate) / both + down_load[hop] / rational_value(down_rate) / both;
}

static void every_rank(struct search_context *context, struct cluster *cluster)
{
    enum search_collective collective = context->request->collective;
    bool up = collective != SEARCH_ALL_GATHER, down = collective != SEARCH_REDUCE_SCATTER;
    struct tree_family up_trees, down_trees;
    struct rational up_rate, down_rate;
    uint32_t hops = context->graph->hop_count + 1;
    double *up_load = result_alloc(context, hops, sizeof *up_load);
    double *down_load = result_alloc(context, hops, sizeof *down_load);
    if (context->failed) return;
    if (up && !lift_family(cluster, true, &up_trees, up_load, &up_rate)) return;
    if (down && !lift_family(cluster, false, &down_trees, down_load, &down_rate)) return;
    if (up && down) {
        context->lifted_load = result_alloc(context, hops, sizeof *context->lifted_load);
        all_reduce(context, cluster, up_load, down_load, &up_trees, up_rate, &down_trees, down_rate);
        return;
    }
    context->lifted_load = up ? up_load : down_load;
    trees_one_way(context, up ? &up_trees : &down_trees, up, cluster->places, &context->result->forest);
}

/* A ring, opened at the root, is a tree; reduced over it runs the other way. */
static void trees_of_rings(struct search_context *context, bool towards_root)
{
    struct search_result *result = context->result;
    uint32_t ranks = context->graph->rank_count, root = context->request->root;
    struct search_tree *trees = result_alloc(context, result->rings.ring_count, sizeof *trees);
    for (uint32_t i = 0; i < result->rings.ring_count && !context->failed; i++) {
        const struct search_ring *ring = &result->rings.rings[i];
        struct search_edge *edges = result_alloc(context, ranks - 1, sizeof *edges);
        uint32_t at = 0;
        while (ring->order[at] != root) at++;
        for (uint32_t k = 0; k + 1 < ranks && edges; k++) {
            uint32_t here = towards_root ? (at + ranks - k) % ranks : (at + k) % ranks;
            uint32_t there = towards_root ? (here + ranks - 1) % ranks : (here + 1) % ranks;
            edges[k] = (struct search_edge){.parent = ring->order[here],
                                            .child = ring->order[there],
                                            .route = ring->routes[towards_root ? there : here]};
        }
        trees[i] = (struct search_tree){.root = root, .bandwidth = ring->bandwidth, .edge_count = ranks - 1};
        if (towards_root)
            trees[i].reduce_edges = edges;
        else
            trees[i].edges = edges;
    }
    result->forest = (struct search_forest){.tree_count = result->rings.ring_count, .trees = trees};
    result->forest.algbw = result->rings.bandwidth;
    result->forest.gap = result_ratio(result->forest.algbw, result->bound.algbw);
    result->forest.method = "chains along the rings";
}

weft_status lift_forest(struct search_context *context)
{
    enum search_collective collective = context->request->collective;
    if (collective == SEARCH_BROADCAST || collective == SEARCH_REDUCE) {
        weft_status status = lift_rings(context);
        if (!status && context->result->rings.ring_count) trees_of_rings(context, collective == SEARCH_REDUCE);
        return context->failed ? WEFT_OUT_OF_MEMORY : status;
    }
    struct cluster cluster;
    if (cluster_init(&cluster, context) && cluster.alike) every_rank(context, &cluster);
    if (context->result->forest.tree_count)
        context->result->forest.method = "one host's packing, host to host by lanes";
    cluster_free(&cluster);
    return context->failed ? WEFT_OUT_OF_MEMORY : WEFT_OK;
}
