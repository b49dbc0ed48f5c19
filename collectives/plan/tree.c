/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Double binary trees: channel 2k carries its share through the first tree of tree_shape.h, channel 2k+1 through the
 * second. The way up and the way down are two tracks, so that slices follow each other through both at once.
 *
 * All-reduce: about 2 log2(n) messages one after another; every rank sends at most twice the message.
 * Broadcast: the root stands outside and feeds two trees over the other ranks, half of the message each.
 * Barrier: the first tree alone, up and down, without payload.
 */
#include "collectives/plan/generators.h"
#include "collectives/plan/tree_shape.h"

static void source_if(struct program_builder *builder, uint32_t rank)
{
    if (rank != TREE_NONE) builder_source(builder, SPACE_SLOT, rank);
}

static void destination_if(struct program_builder *builder, uint32_t rank)
{
    if (rank != TREE_NONE) builder_destination(builder, SPACE_SLOT, rank);
}

/*
 * Sources in the order left child, own, right child: in the first tree that is the order of the ranks. A root turns the
 * way up into the way down in one step, so it has one track where the others have two.
 */
static void tree_channel_all_reduce(struct program_builder *builder, const struct tree_place *place, uint32_t rank,
                                    uint32_t channel)
{
    bool root = place->parent == TREE_NONE;
    builder_track(builder, channel, channel, channel + 1, 1);
    builder_step(builder)->flags = root ? STEP_FINAL : 0;
    source_if(builder, place->left);
    builder_source(builder, SPACE_INPUT, rank);
    source_if(builder, place->right);
    if (!root) {
        builder_destination(builder, SPACE_SLOT, place->parent);
        builder_track(builder, channel, channel, channel + 1, 1);
        builder_step(builder);
        builder_source(builder, SPACE_SLOT, place->parent);
    }
    builder_destination(builder, SPACE_OUTPUT, rank);
    destination_if(builder, place->left);
    destination_if(builder, place->right);
}

weft_status tree_all_reduce(const struct weft_plan *plan, uint32_t rank, struct program_builder *builder)
{
    for (uint32_t channel = 0; channel < plan->channel_count; channel++) {
        struct tree_place place = tree_shape(channel % 2, rank, plan->rank_count);
        tree_channel_all_reduce(builder, &place, rank, channel);
    }
    return WEFT_OK;
}

/* Places of the broadcast trees are the ranks after the root, going round. */
static uint32_t broadcast_rank(const struct weft_plan *plan, uint32_t place)
{
    return place == TREE_NONE ? TREE_NONE : (plan->root + 1 + place) % plan->rank_count;
}

static void tree_channel_broadcast(const struct weft_plan *plan, uint32_t rank, uint32_t channel,
                                   struct program_builder *builder)
{
    uint32_t others = plan->rank_count - 1;
    builder_track(builder, channel, channel, channel + 1, 1);
    builder_step(builder);
    if (rank == plan->root) {
        builder_source(builder, SPACE_INPUT, rank);
        builder_destination(builder, SPACE_OUTPUT, rank);
        if (others > 0)
            builder_destination(builder, SPACE_SLOT, broadcast_rank(plan, tree_root(channel % 2, others)));
        return;
    }
    uint32_t own = (rank + plan->rank_count - plan->root - 1) % plan->rank_count;
    struct tree_place place = tree_shape(channel % 2, own, others);
    builder_source(builder, SPACE_SLOT,
                   place.parent == TREE_NONE ? plan->root : broadcast_rank(plan, place.parent));
    builder_destination(builder, SPACE_OUTPUT, rank);
    destination_if(builder, broadcast_rank(plan, place.left));
    destination_if(builder, broadcast_rank(plan, place.right));
}

weft_status tree_broadcast(const struct weft_plan *plan, uint32_t rank, struct program_builder *builder)
{
    for (uint32_t channel = 0; channel < plan->channel_count; channel++)
        tree_channel_broadcast(plan, rank, channel, builder);
    return WEFT_OK;
}

weft_status tree_barrier(const struct weft_plan *plan, uint32_t rank, struct program_builder *builder)
{
    struct tree_place place = tree_shape(0, rank, plan->rank_count);
    builder_track(builder, 0, 0, 1, 1);
    builder_step(builder);
    source_if(builder, place.left);
    source_if(builder, place.right);
    if (place.parent != TREE_NONE) {
        builder_destination(builder, SPACE_SLOT, place.parent);
        builder_step(builder);
        builder_source(builder, SPACE_SLOT, place.parent);
    }
    destination_if(builder, place.left);
    destination_if(builder, place.right);
    return WEFT_OK;
}
