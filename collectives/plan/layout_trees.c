/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "collectives/plan/layout_internal.h"

/* The edges between @p root and the tree's old root, the other way round. */
static void turn_round(uint32_t *parents, uint32_t root)
{
    uint32_t at = root, below = TREE_NONE;
    while (at != TREE_NONE) {
        uint32_t above = parents[at];
        parents[at] = below;
        below = at;
        at = above;
    }
}

/* Sort ranks by their parents: children of each rank stand together, ascending. */
static void children_collect(const struct plan_layout *layout, struct layout_way *way)
{
    for (uint32_t rank = 0; rank < layout->rank_count; rank++)
        if (way->parents[rank] != TREE_NONE) way->first_child[way->parents[rank] + 1]++;
    for (uint32_t rank = 0; rank < layout->rank_count; rank++) way->first_child[rank + 1] += way->first_child[rank];
    for (uint32_t rank = layout->rank_count; rank-- > 0;)
        if (way->parents[rank] != TREE_NONE) way->children[--way->first_child[way->parents[rank] + 1]] = rank;
    /* Each first_child[p + 1] has come down to where p's children begin: one place too far to the right. */
    memmove(way->first_child, way->first_child + 1, layout->rank_count * sizeof *way->first_child);
    way->first_child[layout->rank_count] = layout->rank_count - 1;
}

/* Is every rank below the root? Children are one for each rank but the root, so a circle would leave some out. */
static bool way_spans(struct plan_layout *layout, const struct layout_way *way, uint32_t root, bool *out_of_memory)
{
    uint32_t *reached = arena_alloc(&layout->arena, layout->rank_count, sizeof *reached), count = 1;
    *out_of_memory = !reached;
    if (!reached) return false;
    reached[0] = root;
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t c = way->first_child[reached[i]]; c < way->first_child[reached[i] + 1]; c++)
            reached[count++] = way->children[c];
    return count == layout->rank_count;
}

/* A tree in one direction, checked, and turned round to @p root where it has another. */
static weft_status way_take(struct plan_layout *layout, const uint32_t *parents, uint32_t old_root, uint32_t root,
                            struct layout_way *way)
{
    uint32_t count = layout->rank_count;
    way->parents = arena_alloc(&layout->arena, count, sizeof *way->parents);
    way->first_child = arena_alloc(&layout->arena, (size_t)count + 1, sizeof *way->first_child);
    way->children = arena_alloc(&layout->arena, count, sizeof *way->children);
    if (!way->parents || !way->first_child || !way->children) return WEFT_OUT_OF_MEMORY;
    for (uint32_t rank = 0; rank < count; rank++) {
        if (rank != old_root && (parents[rank] >= count || parents[rank] == rank)) return WEFT_INVALID_ARGUMENT;
        way->parents[rank] = rank == old_root ? TREE_NONE : parents[rank];
    }
    children_collect(layout, way);
    bool out_of_memory;
    if (!way_spans(layout, way, old_root, &out_of_memory))
        return out_of_memory ? WEFT_OUT_OF_MEMORY : WEFT_INVALID_ARGUMENT;
    if (root == old_root) return WEFT_OK;
    turn_round(way->parents, root);
    memset(way->first_child, 0, ((size_t)count + 1) * sizeof *way->first_child);
    children_collect(layout, way);
    return WEFT_OK;
}

static weft_status tree_take(struct plan_layout *layout, const weft_plan_tree *given, uint32_t root,
                             struct layout_tree *tree)
{
    if (!given->parents || given->weight == 0) return WEFT_INVALID_ARGUMENT;
    tree->root = root;
    weft_status status = way_take(layout, given->parents, given->root, root, &tree->down);
    if (status != WEFT_OK) return status;
    tree->same = !given->reduce_parents;
    if (!tree->same) return way_take(layout, given->reduce_parents, given->root, root, &tree->up);
    tree->up = tree->down;
    return WEFT_OK;
}

weft_status layout_take_trees(struct plan_layout *layout, const weft_plan_spec *spec)
{
    const weft_plan_layout *given = spec->layout;
    const struct shape *shape = shape_of(spec->collective);
    if (given->tree_count == 0 || !given->trees) return WEFT_INVALID_ARGUMENT;
    uint32_t at_root = 0;
    for (uint32_t i = 0; i < given->tree_count; i++) {
        if (given->trees[i].root >= spec->rank_count) return WEFT_INVALID_ARGUMENT;
        at_root += given->trees[i].root == spec->root;
    }
    bool turn = shape->rooted && at_root == 0, all = !shape->rooted || turn;
    layout->trees = arena_alloc(&layout->arena, given->tree_count, sizeof *layout->trees);
    layout->weights = arena_alloc(&layout->arena, given->tree_count, sizeof *layout->weights);
    if (!layout->trees || !layout->weights) return WEFT_OUT_OF_MEMORY;
    for (uint32_t i = 0; i < given->tree_count; i++) {
        const weft_plan_tree *tree = &given->trees[i];
        if (!all && tree->root != spec->root) continue;
        if (spec->collective == WEFT_BARRIER && layout->count == 1) break;
        weft_status status = tree_take(layout, tree, turn ? spec->root : tree->root, &layout->trees[layout->count]);
        if (status != WEFT_OK) return status;
        layout->weights[layout->count++] = tree->weight;
    }
    return WEFT_OK;
}
