/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Packing trees. Each grows from its root by one arc at a time; identical trees grow together and part when an arc has
 * room for some of them only. An arc from x in a tree to y may be used as often as leaves, for every set of ranks that
 * holds y but not x, enough arcs into it for all trees that do not reach it yet: one minimum cut says how often.
 */
#include <stdlib.h>
#include <string.h>

#include "topology/search/forest.h"
#include "topology/search/max_flow.h"

struct packer {
    struct logical_graph *logical;
    const struct search_budget *budget;
    struct packing *packing;
    int64_t *pair; /* rank_count^2: capacity left */
    struct max_flow network;
};

void packing_free(struct packing *packing)
{
    for (uint32_t i = 0; i < packing->tree_count; i++) {
        free(packing->trees[i].arcs);
        free(packing->trees[i].depth);
    }
    free(packing->trees);
    packing->trees = NULL;
    packing->tree_count = packing->tree_capacity = 0;
}

/* An empty tree; its index or TOPOLOGY_NONE. */
static uint32_t add_tree(struct packer *p, uint32_t root, int64_t weight)
{
    struct packing *packing = p->packing;
    uint32_t ranks = p->logical->rank_count;
    if (packing->tree_count == packing->tree_capacity) {
        uint32_t capacity = packing->tree_capacity ? 2 * packing->tree_capacity : 64;
        struct packed_tree *trees = realloc(packing->trees, capacity * sizeof *trees);
        if (!trees) return TOPOLOGY_NONE;
        packing->trees = trees;
        packing->tree_capacity = capacity;
    }
    struct packed_tree tree = {.root = root, .weight = weight, .size = 1};
    tree.arcs = malloc(ranks * sizeof *tree.arcs);
    tree.depth = malloc(ranks * sizeof *tree.depth);
    if (!tree.arcs || !tree.depth) {
        free(tree.arcs);
        free(tree.depth);
        return TOPOLOGY_NONE;
    }
    memset(tree.depth, 0xff, ranks * sizeof *tree.depth);
    tree.depth[root] = 0;
    packing->trees[packing->tree_count] = tree;
    return packing->tree_count++;
}

/* The part of a tree that an arc has no room for goes on on its own. */
static bool part_tree(struct packer *p, uint32_t index, int64_t weight)
{
    uint32_t ranks = p->logical->rank_count;
    uint32_t rest = add_tree(p, p->packing->trees[index].root, p->packing->trees[index].weight - weight);
    if (rest == TOPOLOGY_NONE) return false;
    struct packed_tree *tree = &p->packing->trees[index], *other = &p->packing->trees[rest];
    memcpy(other->arcs, tree->arcs, (tree->size - 1) * sizeof *tree->arcs);
    memcpy(other->depth, tree->depth, ranks * sizeof *tree->depth);
    other->size = tree->size;
    tree->weight = weight;
    return true;
}

/* How many of tree @p index may take an arc from x to y, at most @p room. */
static int64_t usable(struct packer *p, uint32_t index, uint32_t x, uint32_t y, int64_t room)
{
    uint32_t ranks = p->logical->rank_count;
    struct max_flow *network = &p->network;
    max_flow_clear(network, ranks);
    for (uint32_t from = 0; from < ranks; from++)
        for (uint32_t to = 0; to < ranks; to++)
            if (p->pair[(size_t)from * ranks + to]) max_flow_add(network, from, to, p->pair[(size_t)from * ranks + to]);
    int64_t waiting = 0; /* trees that sets around y may not be reached by */
    for (uint32_t i = 0; i < p->packing->tree_count; i++) {
        const struct packed_tree *tree = &p->packing->trees[i];
        if (i == index || tree->depth[y] != TOPOLOGY_NONE) continue; /* it reaches every set with y in it */
        uint32_t node = max_flow_add_node(network);
        max_flow_add(network, x, node, tree->weight);
        for (uint32_t rank = 0; rank < ranks; rank++)
            if (tree->depth[rank] != TOPOLOGY_NONE) max_flow_add(network, node, rank, MAX_FLOW_UNLIMITED);
        waiting += tree->weight;
    }
    int64_t flow = max_flow_run(network, x, y, waiting + room);
    return flow - waiting < 0 ? 0 : flow - waiting;
}

/* Add one rank to tree @p index, from as near to its root as can be. False: memory, or no arc can be used (a mistake).
 */
static bool grow_tree(struct packer *p, uint32_t index)
{
    struct logical_graph *logical = p->logical;
    uint32_t ranks = logical->rank_count;
    for (uint32_t depth = 0; depth < ranks; depth++)
        for (uint32_t i = 0; i < logical->arc_count; i++) {
            struct packed_tree *tree = &p->packing->trees[index];
            struct logical_arc *arc = &logical->arcs[i];
            if (arc->capacity == 0 || arc->from >= ranks || arc->to >= ranks) continue;
            if (tree->depth[arc->from] != depth || tree->depth[arc->to] != TOPOLOGY_NONE) continue;
            int64_t room = arc->capacity < tree->weight ? arc->capacity : tree->weight;
            int64_t amount = usable(p, index, arc->from, arc->to, room);
            if (p->network.failed) return false;
            if (amount == 0) continue;
            if (amount < tree->weight && !part_tree(p, index, amount)) return false;
            tree = &p->packing->trees[index];
            arc->capacity -= amount;
            p->pair[(size_t)arc->from * ranks + arc->to] -= amount;
            tree->depth[arc->to] = depth + 1;
            tree->arcs[tree->size - 1] = i;
            tree->size++;
            return true;
        }
    return false;
}

/* The smallest incomplete tree, so that all of them stay shallow; TOPOLOGY_NONE: all are complete. */
static uint32_t next_tree(const struct packer *p)
{
    uint32_t best = TOPOLOGY_NONE;
    for (uint32_t i = 0; i < p->packing->tree_count; i++) {
        uint32_t size = p->packing->trees[i].size;
        if (size == p->logical->rank_count) continue;
        if (best == TOPOLOGY_NONE || size < p->packing->trees[best].size) best = i;
    }
    return best;
}

bool pack_trees(struct logical_graph *logical, const struct search_budget *budget, struct packing *packing)
{
    uint32_t ranks = logical->rank_count;
    *packing = (struct packing){0};
    struct packer p = {.logical = logical, .budget = budget, .packing = packing};
    p.pair = calloc((size_t)ranks * ranks, sizeof *p.pair);
    bool ok = p.pair != NULL;
    packing->failed = !ok;
    for (uint32_t i = 0; i < logical->arc_count && ok; i++)
        if (logical->arcs[i].from < ranks && logical->arcs[i].to < ranks)
            p.pair[(size_t)logical->arcs[i].from * ranks + logical->arcs[i].to] += logical->arcs[i].capacity;
    for (uint32_t rank = 0; rank < ranks && ok; rank++)
        if (logical->demand[rank] && add_tree(&p, rank, (int64_t)logical->demand[rank]) == TOPOLOGY_NONE) ok = false;
    for (uint32_t index; ok && (index = next_tree(&p)) != TOPOLOGY_NONE;)
        ok = !search_expired(budget) && grow_tree(&p, index);
    packing->failed |= p.network.failed;
    max_flow_free(&p.network);
    free(p.pair);
    if (!ok) packing_free(packing);
    return ok;
}
