/* SPDX-License-Identifier: Apache-2.0 */
/* Spanning-tree packings for each collective, from bounds to trees with routes. */
#include "topology/search/trees.h"

#include <stdlib.h>
#include <string.h>

#include "topology/search/forest.h"
#include "topology/search/result.h"

struct tree_conversion {
    struct search_context *context;
    const struct search_flow_graph *graph;
    const struct logical_graph *logical;
    bool towards_root;      /* the graph was reversed: data goes from child to parent */
    uint32_t *route_of_arc; /* by logical arc */
    struct hop_list hops;
};

static uint32_t route_of(struct tree_conversion *c, uint32_t arc)
{
    if (c->route_of_arc[arc] != TOPOLOGY_NONE) return c->route_of_arc[arc];
    c->hops.count = 0;
    if (!logical_arc_expand(c->logical, arc, &c->hops)) {
        c->context->failed = true;
        return 0;
    }
    for (uint32_t i = 0; i < c->hops.count; i++) c->hops.hops[i] = c->graph->hops[c->hops.hops[i]].hop;
    for (uint32_t i = 0; c->towards_root && i < c->hops.count / 2; i++) {
        uint32_t hop = c->hops.hops[i];
        c->hops.hops[i] = c->hops.hops[c->hops.count - 1 - i];
        c->hops.hops[c->hops.count - 1 - i] = hop;
    }
    return c->route_of_arc[arc] = result_add_route(c->context, c->hops.hops, c->hops.count);
}

static const struct search_edge *edges_of(struct tree_conversion *c, const struct packed_tree *tree)
{
    uint32_t count = c->logical->rank_count - 1;
    struct search_edge *edges = result_alloc(c->context, count, sizeof *edges);
    for (uint32_t i = 0; i < count && !c->context->failed; i++) {
        const struct logical_arc *arc = &c->logical->arcs[tree->arcs[i]];
        edges[i] = (struct search_edge){.parent = arc->from, .child = arc->to, .route = route_of(c, tree->arcs[i])};
    }
    return edges;
}

static void convert(struct tree_conversion *c, const struct packing *packing, struct tree_family *family)
{
    family->trees = result_alloc(c->context, packing->tree_count, sizeof *family->trees);
    c->route_of_arc = malloc((c->logical->arc_count + 1u) * sizeof *c->route_of_arc);
    if (!c->route_of_arc) c->context->failed = true;
    for (uint32_t i = 0; i < c->logical->arc_count && !c->context->failed; i++) c->route_of_arc[i] = TOPOLOGY_NONE;
    for (uint32_t i = 0; i < packing->tree_count && !c->context->failed; i++)
        family->trees[i] = (struct family_tree){.root = packing->trees[i].root,
                                                .weight = (uint64_t)packing->trees[i].weight,
                                                .edges = edges_of(c, &packing->trees[i])};
    family->tree_count = packing->tree_count;
    free(c->route_of_arc);
    free(c->hops.hops);
}

bool trees_pack(struct search_context *context, const struct search_flow_graph *graph, bool towards_root,
                const uint32_t *demand, struct rational rate, struct tree_family *family)
{
    uint64_t *trees = calloc(graph->rank_count + 1u, sizeof *trees);
    *family = (struct tree_family){.scale = rate.denominator};
    if (!trees) context->failed = true;
    for (uint32_t rank = 0; rank < graph->rank_count && trees; rank++)
        trees[rank] = rate.numerator * (demand ? demand[rank] : 1);
    struct logical_graph logical = {0};
    struct packing packing = {0};
    bool ok = trees && split_switches(graph, rate.denominator, trees, context->budget, &logical);
    ok = ok && pack_trees(&logical, context->budget, &packing);
    context->failed |= logical.failed | packing.failed;
    if (ok) {
        struct tree_conversion conversion = {
            .context = context, .graph = graph, .logical = &logical, .towards_root = towards_root};
        convert(&conversion, &packing, family);
    }
    packing_free(&packing);
    logical_graph_free(&logical);
    free(trees);
    return ok && !context->failed;
}

/* weight trees of bandwidth unit / scale each, times share. */
static struct rational tree_bandwidth(const struct search_context *context, uint64_t weight, uint64_t scale,
                                      struct rational share)
{
    struct rational bandwidth = rational_multiply(rational_make(weight, scale), context->graph->unit);
    return rational_multiply(bandwidth, share);
}

static struct rational total_bandwidth(const struct search_tree *trees, uint32_t count)
{
    struct rational total = {0, 1};
    for (uint32_t i = 0; i < count; i++) total = rational_add(total, trees[i].bandwidth);
    return total;
}

/* Fractions whose sum does not fit into 64 bits lose less than a byte per second each. */
static void finish(struct search_forest *forest, struct search_tree *trees, struct rational bound, uint32_t copies)
{
    forest->rotated = copies > 1;
    forest->algbw = total_bandwidth(trees, forest->tree_count);
    if (!rational_valid(forest->algbw)) {
        for (uint32_t i = 0; i < forest->tree_count; i++)
            trees[i].bandwidth = rational_make(trees[i].bandwidth.numerator / trees[i].bandwidth.denominator, 1);
        forest->algbw = total_bandwidth(trees, forest->tree_count);
    }
    forest->algbw = rational_multiply(forest->algbw, rational_make(copies, 1));
    forest->gap = result_ratio(forest->algbw, bound);
}

void trees_one_way(struct search_context *context, const struct tree_family *family, bool towards_root, uint32_t copies,
                   struct search_forest *forest)
{
    struct search_tree *trees = result_alloc(context, family->tree_count, sizeof *trees);
    for (uint32_t i = 0; i < family->tree_count && trees; i++) {
        const struct family_tree *tree = &family->trees[i];
        trees[i] = (struct search_tree){
            .root = tree->root,
            .bandwidth = tree_bandwidth(context, tree->weight, family->scale, (struct rational){1, 1}),
            .edges = towards_root ? NULL : tree->edges,
            .reduce_edges = towards_root ? tree->edges : NULL,
            .edge_count = context->graph->rank_count - 1};
    }
    *forest = (struct search_forest){.tree_count = family->tree_count, .trees = trees};
    forest->method = "spanning-tree packing";
    if (trees) finish(forest, trees, context->result->bound.algbw, copies);
}

/*
 * Pair the trees up and down of each root. Both families carry a root's whole share: lay each one's weights along the
 * same line and cut wherever either has a boundary.
 */
static uint32_t pair_root(const struct tree_family *up, const struct tree_family *down, uint32_t root,
                          struct search_tree *trees, uint64_t *weights)
{
    uint32_t count = 0, i = 0, j = 0;
    uint64_t up_left = 0, down_left = 0; /* in units of 1 / (up's total * down's total) */
    uint64_t up_total = 0, down_total = 0;
    for (uint32_t k = 0; k < up->tree_count; k++) up_total += up->trees[k].root == root ? up->trees[k].weight : 0;
    for (uint32_t k = 0; k < down->tree_count; k++)
        down_total += down->trees[k].root == root ? down->trees[k].weight : 0;
    uint64_t divisor = (uint64_t)rational_gcd(up_total, down_total);
    while (true) {
        while (up_left == 0 && i < up->tree_count) {
            if (up->trees[i].root == root) up_left = up->trees[i].weight * (down_total / divisor);
            i++;
        }
        while (down_left == 0 && j < down->tree_count) {
            if (down->trees[j].root == root) down_left = down->trees[j].weight * (up_total / divisor);
            j++;
        }
        uint64_t piece = up_left < down_left ? up_left : down_left;
        if (piece == 0) return count;
        trees[count].root = root;
        trees[count].reduce_edges = up->trees[i - 1].edges;
        trees[count].edges = down->trees[j - 1].edges;
        weights[count++] = piece; /* of up_total * down_total / divisor */
        up_left -= piece;
        down_left -= piece;
    }
}

void trees_two_way(struct search_context *context, const struct tree_family *up, const struct tree_family *down,
                   struct rational algbw, uint32_t copies, struct search_forest *forest)
{
    uint32_t room = up->tree_count + down->tree_count, ranks = context->graph->rank_count;
    struct search_tree *trees = result_alloc(context, room, sizeof *trees);
    uint64_t *weights = calloc(room + 1u, sizeof *weights);
    if (!weights) context->failed = true;
    uint32_t count = 0;
    for (uint32_t root = 0; root < ranks && !context->failed; root++) {
        uint32_t first = count;
        uint64_t total = 0;
        count += pair_root(up, down, root, trees + count, weights + count);
        for (uint32_t i = first; i < count; i++) total += weights[i];
        struct rational share = rational_divide(algbw, rational_make(ranks, 1));
        for (uint32_t i = first; i < count; i++) {
            trees[i].bandwidth = rational_multiply(share, rational_make(weights[i], total));
            if (!rational_valid(trees[i].bandwidth)) /* down to whole bytes per second */
                trees[i].bandwidth = rational_make(
                    (uint64_t)(rational_value(share) * (double)weights[i] / (double)total * (1 - 1e-9)), 1);
            trees[i].edge_count = ranks - 1;
        }
    }
    free(weights);
    *forest = (struct search_forest){.tree_count = count, .trees = trees};
    forest->method = "reduce-scatter and all-gather by spanning-tree packings";
    if (!context->failed) finish(forest, trees, context->result->bound.algbw, copies);
}
