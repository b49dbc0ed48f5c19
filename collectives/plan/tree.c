/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Trees: those of a layout, or the double binary trees of tree_shape.h, half of the message each. The way up and the
 * way down are two tracks, so that slices follow each other through both at once.
 *
 * All-reduce: with double binary trees about 2 log2(n) messages one after another; every rank sends at most twice the
 * message. Over a packing of trees rooted at every rank it is a reduce-scatter followed by an all-gather.
 * All-gather, reduce-scatter: one way only, over trees of a layout, each for a part of its root's block (Zhao et al.,
 * "ForestColl: throughput-optimal collective communications on heterogeneous network fabrics", 2024).
 * Broadcast, reduce: the root stands outside and feeds, or is fed by, two trees over the other ranks; or is a tree's
 * own. Barrier: the first tree alone, up and down, without payload.
 */
#include "collectives/plan/generators.h"

static void children_send(struct program_builder *builder, const struct tree_node *node)
{
    for (uint32_t i = 0; i < node->child_count; i++) builder_destination(builder, SPACE_SLOT, node->children[i]);
}

/* Contributions from below and this rank's own, in the order in which they are combined. */
static void children_combine(struct program_builder *builder, const struct tree_node *node, uint32_t rank)
{
    for (uint32_t i = 0; i < node->before; i++) builder_source(builder, SPACE_SLOT, node->children[i]);
    builder_source(builder, SPACE_INPUT, rank);
    for (uint32_t i = node->before; i < node->child_count; i++) builder_source(builder, SPACE_SLOT, node->children[i]);
}

/*
 * A root turns the way up into the way down in one step, so it has one track where the others have two; unless the two
 * ways are on different channels.
 */
static void root_all_reduce(struct program_builder *builder, const struct plan_instance *instance,
                            const struct tree_node *up, const struct tree_node *down, uint32_t rank)
{
    builder_track(builder, instance->reduce_channel, instance->window_begin, instance->window_end, 1);
    builder_step(builder)->flags = STEP_FINAL;
    children_combine(builder, up, rank);
    builder_destination(builder, SPACE_OUTPUT, rank);
    if (instance->channel != instance->reduce_channel && down->child_count > 0) {
        uint32_t up_track = builder->program.track_count - 1;
        builder_track(builder, instance->channel, instance->window_begin, instance->window_end, 1);
        struct plan_step *turn = builder_step(builder);
        turn->after_track = up_track;
        turn->after_step = 0;
        builder_source(builder, SPACE_OUTPUT, rank);
    }
    children_send(builder, down);
}

weft_status tree_all_reduce(const struct weft_plan *plan, uint32_t rank, struct program_builder *builder)
{
    for (uint32_t i = 0; i < plan_instance_count(plan); i++) {
        struct plan_instance instance = plan_instance_at(plan, i);
        struct tree_node up, down;
        plan_tree_up(plan, i, rank, &up);
        plan_tree_down(plan, i, rank, &down);
        if (up.parent == TREE_NONE) {
            root_all_reduce(builder, &instance, &up, &down, rank);
            continue;
        }
        builder_track(builder, instance.reduce_channel, instance.window_begin, instance.window_end, 1);
        builder_step(builder);
        children_combine(builder, &up, rank);
        builder_destination(builder, SPACE_SLOT, up.parent);
        builder_track(builder, instance.channel, instance.window_begin, instance.window_end, 1);
        builder_step(builder);
        builder_source(builder, SPACE_SLOT, down.parent);
        builder_destination(builder, SPACE_OUTPUT, rank);
        children_send(builder, &down);
    }
    return WEFT_OK;
}

/* The root's data, or block, over one tree. */
static void send_down(struct program_builder *builder, const struct plan_instance *instance,
                      const struct tree_node *node, uint32_t rank)
{
    builder_track(builder, instance->channel, instance->window_begin, instance->window_end, 1);
    builder_step(builder);
    if (node->parent == TREE_NONE)
        builder_source(builder, SPACE_INPUT, rank);
    else
        builder_source(builder, SPACE_SLOT, node->parent);
    builder_destination(builder, SPACE_OUTPUT, rank);
    children_send(builder, node);
}

static void combine_up(struct program_builder *builder, const struct plan_instance *instance,
                       const struct tree_node *node, uint32_t rank)
{
    bool root = node->parent == TREE_NONE;
    builder_track(builder, instance->reduce_channel, instance->window_begin, instance->window_end, 1);
    builder_step(builder)->flags = root ? STEP_FINAL : 0;
    children_combine(builder, node, rank);
    if (root)
        builder_destination(builder, SPACE_OUTPUT, rank);
    else
        builder_destination(builder, SPACE_SLOT, node->parent);
}

weft_status tree_all_gather(const struct weft_plan *plan, uint32_t rank, struct program_builder *builder)
{
    for (uint32_t i = 0; i < plan_instance_count(plan); i++) {
        struct plan_instance instance = plan_instance_at(plan, i);
        struct tree_node node;
        plan_tree_down(plan, i, rank, &node);
        send_down(builder, &instance, &node, rank);
    }
    return WEFT_OK;
}

weft_status tree_reduce_scatter(const struct weft_plan *plan, uint32_t rank, struct program_builder *builder)
{
    for (uint32_t i = 0; i < plan_instance_count(plan); i++) {
        struct plan_instance instance = plan_instance_at(plan, i);
        struct tree_node node;
        plan_tree_up(plan, i, rank, &node);
        combine_up(builder, &instance, &node, rank);
    }
    return WEFT_OK;
}

/* The root stands outside of the double trees; their places are the ranks after it, going round. */
static uint32_t outside_rank(const struct weft_plan *plan, uint32_t place)
{
    return place == TREE_NONE ? TREE_NONE : (plan->root + 1 + place) % plan->rank_count;
}

/* A rank's place in a tree that begins, or ends, at the plan's root. */
static void rooted_node(const struct weft_plan *plan, uint32_t index, uint32_t rank, struct tree_node *node)
{
    uint32_t others = plan->rank_count - 1;
    *node = (struct tree_node){.parent = TREE_NONE};
    node->children = node->binary;
    if (rank == plan->root) {
        if (others > 0) node->binary[node->child_count++] = outside_rank(plan, tree_root(index % 2, others));
        return;
    }
    uint32_t own = (rank + plan->rank_count - plan->root - 1) % plan->rank_count;
    struct tree_place place = tree_shape(index % 2, own, others);
    node->parent = place.parent == TREE_NONE ? plan->root : outside_rank(plan, place.parent);
    if (place.left != TREE_NONE) node->binary[node->child_count++] = outside_rank(plan, place.left);
    node->before = node->child_count;
    if (place.right != TREE_NONE) node->binary[node->child_count++] = outside_rank(plan, place.right);
}

weft_status tree_broadcast(const struct weft_plan *plan, uint32_t rank, struct program_builder *builder)
{
    for (uint32_t i = 0; i < plan_instance_count(plan); i++) {
        struct plan_instance instance = plan_instance_at(plan, i);
        struct tree_node node;
        if (plan->layout)
            plan_tree_down(plan, i, rank, &node);
        else
            rooted_node(plan, i, rank, &node);
        send_down(builder, &instance, &node, rank);
    }
    return WEFT_OK;
}

weft_status tree_reduce(const struct weft_plan *plan, uint32_t rank, struct program_builder *builder)
{
    for (uint32_t i = 0; i < plan_instance_count(plan); i++) {
        struct plan_instance instance = plan_instance_at(plan, i);
        struct tree_node node;
        if (plan->layout)
            plan_tree_up(plan, i, rank, &node);
        else
            rooted_node(plan, i, rank, &node);
        combine_up(builder, &instance, &node, rank);
    }
    return WEFT_OK;
}

/* Up and down by one tree: the way up of a layout's tree is not asked for, signals being no load. */
weft_status tree_barrier(const struct weft_plan *plan, uint32_t rank, struct program_builder *builder)
{
    struct tree_node node;
    plan_tree_down(plan, 0, rank, &node);
    builder_track(builder, 0, 0, 1, 1);
    builder_step(builder);
    for (uint32_t i = 0; i < node.child_count; i++) builder_source(builder, SPACE_SLOT, node.children[i]);
    if (node.parent != TREE_NONE) {
        builder_destination(builder, SPACE_SLOT, node.parent);
        builder_step(builder);
        builder_source(builder, SPACE_SLOT, node.parent);
    }
    children_send(builder, &node);
    return WEFT_OK;
}
