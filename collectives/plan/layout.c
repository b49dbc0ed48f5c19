/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "collectives/plan/layout_internal.h"

const struct hierarchy *plan_hierarchy(const struct weft_plan *plan)
{
    return plan->layout->hierarchy;
}

uint32_t plan_instance_count(const struct weft_plan *plan)
{
    return plan->layout ? plan->layout->count : plan->instance_count;
}

struct plan_instance plan_instance_at(const struct weft_plan *plan, uint32_t index)
{
    if (plan->layout) return plan->layout->instances[index];
    return (struct plan_instance){index, index, index, index + 1};
}

/* Without a layout odd rings run the other way round, so that two of them use both directions of every link. */
struct ring_place plan_ring_place(const struct weft_plan *plan, uint32_t index, uint32_t rank)
{
    uint32_t count = plan->rank_count;
    if (plan->layout) {
        const struct layout_ring *ring = &plan->layout->rings[index];
        uint32_t position = ring->position[rank];
        return (struct ring_place){count, position, ring->order[(position + 1) % count],
                                   ring->order[(position + count - 1) % count]};
    }
    uint32_t up = (rank + 1) % count, down = (rank + count - 1) % count;
    if (index % 2 == 0) return (struct ring_place){count, rank, up, down};
    return (struct ring_place){count, count - 1 - rank, down, up};
}

uint32_t plan_ring_behind(const struct weft_plan *plan, uint32_t index, const struct ring_place *place, uint32_t back)
{
    uint32_t position = (uint32_t)(((uint64_t)place->position + place->count - back % place->count) % place->count);
    if (plan->layout) return plan->layout->rings[index].order[position];
    return index % 2 == 0 ? position : place->count - 1 - position;
}

static void node_of_way(const struct layout_way *way, uint32_t rank, struct tree_node *node)
{
    uint32_t first = way->first_child[rank];
    *node = (struct tree_node){
        .parent = way->parents[rank],
        .child_count = way->first_child[rank + 1] - first,
        .children = &way->children[first],
    };
    while (node->before < node->child_count && node->children[node->before] < rank) node->before++;
}

/* Left child, own, right child: in the first tree that is the order of the ranks. */
static void node_of_shape(const struct tree_place *place, struct tree_node *node)
{
    *node = (struct tree_node){.parent = place->parent, .before = place->left != TREE_NONE};
    node->children = node->binary;
    if (place->left != TREE_NONE) node->binary[node->child_count++] = place->left;
    if (place->right != TREE_NONE) node->binary[node->child_count++] = place->right;
}

void plan_tree_down(const struct weft_plan *plan, uint32_t index, uint32_t rank, struct tree_node *node)
{
    if (plan->layout) {
        node_of_way(&plan->layout->trees[index].down, rank, node);
        return;
    }
    struct tree_place place = tree_shape(index % 2, rank, plan->rank_count);
    node_of_shape(&place, node);
}

void plan_tree_up(const struct weft_plan *plan, uint32_t index, uint32_t rank, struct tree_node *node)
{
    if (plan->layout)
        node_of_way(&plan->layout->trees[index].up, rank, node);
    else
        plan_tree_down(plan, index, rank, node);
}

static weft_status ring_take(struct plan_layout *layout, const weft_plan_ring *given, struct layout_ring *ring)
{
    uint32_t count = layout->rank_count;
    if (!given->order || given->weight == 0) return WEFT_INVALID_ARGUMENT;
    ring->order = arena_alloc(&layout->arena, count, sizeof *ring->order);
    ring->position = arena_alloc(&layout->arena, count, sizeof *ring->position);
    if (!ring->order || !ring->position) return WEFT_OUT_OF_MEMORY;
    for (uint32_t i = 0; i < count; i++) ring->position[i] = PLAN_NONE;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t rank = given->order[i];
        if (rank >= count || ring->position[rank] != PLAN_NONE) return WEFT_INVALID_ARGUMENT;
        ring->order[i] = rank;
        ring->position[rank] = i;
    }
    return WEFT_OK;
}

static weft_status layout_take_rings(struct plan_layout *layout, const weft_plan_spec *spec)
{
    const weft_plan_layout *given = spec->layout;
    if (given->ring_count == 0 || !given->rings) return WEFT_INVALID_ARGUMENT;
    layout->count = spec->collective == WEFT_BARRIER ? 1 : given->ring_count;
    layout->rings = arena_alloc(&layout->arena, layout->count, sizeof *layout->rings);
    layout->weights = arena_alloc(&layout->arena, layout->count, sizeof *layout->weights);
    if (!layout->rings || !layout->weights) return WEFT_OUT_OF_MEMORY;
    for (uint32_t i = 0; i < layout->count; i++) {
        weft_status status = ring_take(layout, &given->rings[i], &layout->rings[i]);
        if (status != WEFT_OK) return status;
        layout->weights[i] = given->rings[i].weight;
    }
    return WEFT_OK;
}

static uint64_t greatest_divisor(uint64_t a, uint64_t b)
{
    while (b) {
        uint64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

static void weights_reduce(struct plan_layout *layout)
{
    uint64_t divisor = 0;
    for (uint32_t i = 0; i < layout->count; i++) divisor = greatest_divisor(divisor, layout->weights[i]);
    for (uint32_t i = 0; i < layout->count; i++) layout->weights[i] /= (uint32_t)divisor;
}

/* One after another over one block, or over the same part of every block. */
static weft_status share_by_weight(struct plan_layout *layout, uint64_t block_count)
{
    uint64_t total = 0;
    for (uint32_t i = 0; i < layout->count; i++) {
        if (total + layout->weights[i] > UINT32_MAX) return WEFT_INVALID_ARGUMENT;
        layout->instances[i].window_begin = (uint32_t)total;
        total += layout->weights[i];
        layout->instances[i].window_end = (uint32_t)total;
    }
    if (total * block_count > UINT32_MAX) return WEFT_INVALID_ARGUMENT;
    layout->share_count = (uint32_t)(total * block_count);
    return WEFT_OK;
}

/* Each rank's block over the trees rooted there. Blocks have equal shares, so as many as all sums of weights divide. */
static weft_status share_by_root(struct plan_layout *layout)
{
    uint64_t *sums = arena_alloc(&layout->arena, layout->rank_count, sizeof *sums);
    uint64_t *used = arena_alloc(&layout->arena, layout->rank_count, sizeof *used);
    if (!sums || !used) return WEFT_OUT_OF_MEMORY;
    for (uint32_t i = 0; i < layout->count; i++) sums[layout->trees[i].root] += layout->weights[i];
    uint64_t block = 1;
    for (uint32_t rank = 0; rank < layout->rank_count; rank++) {
        if (sums[rank] == 0 || sums[rank] > UINT32_MAX) return WEFT_INVALID_ARGUMENT;
        block *= sums[rank] / greatest_divisor(block, sums[rank]);
        if (block * layout->rank_count > UINT32_MAX) return WEFT_INVALID_ARGUMENT;
    }
    for (uint32_t i = 0; i < layout->count; i++) {
        uint32_t root = layout->trees[i].root;
        uint64_t begin = root * block + used[root] * (block / sums[root]);
        used[root] += layout->weights[i];
        layout->instances[i].window_begin = (uint32_t)begin;
        layout->instances[i].window_end = (uint32_t)(root * block + used[root] * (block / sums[root]));
    }
    layout->share_count = (uint32_t)(block * layout->rank_count);
    return WEFT_OK;
}

/* Streams of one step are on one channel; an all-reduce by shares has two ways for a pair of ranks. */
static weft_status layout_take_groups(struct plan_layout *layout, const weft_plan_spec *spec)
{
    const weft_plan_layout *given = spec->layout;
    if (given && (!given->groups || given->level_count == 0)) return WEFT_INVALID_ARGUMENT;
    layout->channel_count = spec->collective == WEFT_ALL_REDUCE && spec->channel_count > 1 ? 2 : 1;
    layout->share_count = shape_of(spec->collective)->blocks == BLOCKS_PER_RANK ? spec->rank_count : 1;
    return hierarchy_create(&layout->arena, spec->rank_count, given ? given->groups : NULL,
                            given ? given->level_count : 0, &layout->hierarchy);
}

static weft_status layout_fill(struct plan_layout *layout, const weft_plan_spec *spec)
{
    if (spec->algorithm == WEFT_ALGORITHM_HIERARCHICAL) return layout_take_groups(layout, spec);
    bool trees = spec->algorithm == WEFT_ALGORITHM_TREE;
    weft_status status = trees ? layout_take_trees(layout, spec) : layout_take_rings(layout, spec);
    if (status != WEFT_OK) return status;
    layout->instances = arena_alloc(&layout->arena, layout->count, sizeof *layout->instances);
    if (!layout->instances) return WEFT_OUT_OF_MEMORY;
    weights_reduce(layout);
    bool blocks = shape_of(spec->collective)->blocks == BLOCKS_PER_RANK;
    if (trees && blocks)
        status = share_by_root(layout);
    else
        status = share_by_weight(layout, blocks ? layout->rank_count : 1);
    return status == WEFT_OK ? layout_colour(layout, spec->collective) : status;
}

weft_status layout_create(const weft_plan_spec *spec, struct plan_layout **layout)
{
    if (spec->layout && spec->layout->size != sizeof *spec->layout) return WEFT_INVALID_ARGUMENT;
    struct plan_layout *made = calloc(1, sizeof *made);
    if (!made) return WEFT_OUT_OF_MEMORY;
    made->rank_count = spec->rank_count;
    weft_status status = layout_fill(made, spec);
    if (status != WEFT_OK) {
        layout_destroy(made);
        return status;
    }
    *layout = made;
    return WEFT_OK;
}

void layout_destroy(struct plan_layout *layout)
{
    if (!layout) return;
    arena_free(&layout->arena);
    free(layout);
}

uint32_t layout_channel_count(const struct plan_layout *layout)
{
    return layout->channel_count;
}

uint32_t layout_share_count(const struct plan_layout *layout)
{
    return layout->share_count;
}
