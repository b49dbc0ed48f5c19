/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Up the one tree of canonical results (docs/guide/reproducible.md), whose nodes are the blocks of 2^k ranks from a
 * multiple of 2^k on, the last one cut off by the rank count. Each node is owned by one of its ranks, and the owner of
 * the root is the rank that needs the result: so a rank goes up from its own leaf, joining what the owner of the other
 * half sends it, as long as it owns the next node too, and then sends what it has to that node's owner. Its sources are
 * a branch of the tree from the leaf up, joined one after another.
 *
 * Messages one after another: log2 n, and what travels is a contribution or a partial result. Owning follows the bits
 * of the rank wanted at the root, so over all roots every rank does as much as any other, as in recursive halving.
 */
#include "collectives/plan/generators.h"

/* Ranks in the node of 2^@p level ranks from @p first on. */
static uint32_t node_ranks(const struct weft_plan *plan, uint32_t first, uint32_t level)
{
    uint32_t left = plan->rank_count - first;
    return level < 32 && left > UINT32_C(1) << level ? UINT32_C(1) << level : left;
}

/* The node's rank whose last bits are those of @p root; of a node that is cut off and lacks it, its left half's. */
static uint32_t node_owner(const struct weft_plan *plan, uint32_t first, uint32_t level, uint32_t root)
{
    for (;; level--) {
        uint32_t owner = first + (root & ((UINT32_C(1) << level) - 1));
        if (owner < plan->rank_count) return owner;
    }
}

static uint32_t tree_levels(const struct weft_plan *plan)
{
    uint32_t levels = 0;
    while (UINT32_C(1) << levels < plan->rank_count) levels++;
    return levels;
}

/* What a rank does on the way to @p root. */
struct climb {
    uint32_t others[32]; /* who sends to it, level by level */
    bool leaves[32];     /* whether that is a single rank's contribution */
    uint32_t count;
    uint32_t parent; /* whom it sends to; TREE_NONE at the root */
    bool leaf;       /* it has nothing but its own */
};

static void climb_of(const struct weft_plan *plan, uint32_t rank, uint32_t root, struct climb *climb)
{
    *climb = (struct climb){.parent = TREE_NONE, .leaf = true};
    uint32_t levels = tree_levels(plan);
    for (uint32_t level = 0; level < levels; level++) {
        uint32_t half = UINT32_C(1) << level, first = rank & ~(half - 1);
        uint32_t owner = node_owner(plan, first & ~half, level + 1, root);
        if (owner != rank) {
            climb->parent = owner;
            return;
        }
        uint32_t other = first ^ half;
        if (other >= plan->rank_count) continue; /* cut off */
        climb->leaf = false;
        climb->leaves[climb->count] = node_ranks(plan, other, level) == 1;
        climb->others[climb->count++] = node_owner(plan, other, level, root);
    }
}

/* The newest step goes up; results of the root go where the caller sends them. */
static void climb_step(struct program_builder *builder, struct plan_step *step, const struct climb *climb,
                       uint32_t rank)
{
    if (climb->parent == TREE_NONE) step->flags = STEP_FINAL;
    builder_source(builder, SPACE_INPUT, rank);
    for (uint32_t i = 0; i < climb->count; i++) {
        builder_source(builder, SPACE_SLOT, climb->others[i]);
        builder_form(builder, climb->leaves[i] ? FORM_LEAF : FORM_PARTIAL);
    }
    if (climb->parent == TREE_NONE) {
        builder_destination(builder, SPACE_OUTPUT, rank);
    } else {
        builder_destination(builder, SPACE_SLOT, climb->parent);
        builder_form(builder, climb->leaf ? FORM_LEAF : FORM_PARTIAL);
    }
}

static void send_down(struct program_builder *builder, const struct climb *climb)
{
    for (uint32_t i = climb->count; i-- > 0;) builder_destination(builder, SPACE_SLOT, climb->others[i]);
}

/* Up to the root of each share, and down the same tree. Roots are as far apart as can be. */
weft_status canonical_tree_all_reduce(const struct weft_plan *plan, uint32_t rank, struct program_builder *builder)
{
    uint32_t shares = plan_instance_count(plan);
    for (uint32_t i = 0; i < shares; i++) {
        struct plan_instance instance = plan_instance_at(plan, i);
        struct climb climb;
        climb_of(plan, rank, (uint32_t)((uint64_t)plan->rank_count * i / shares), &climb);
        builder_track(builder, instance.channel, instance.window_begin, instance.window_end, 1);
        climb_step(builder, builder_step(builder), &climb, rank);
        if (climb.parent != TREE_NONE) {
            builder_track(builder, instance.channel, instance.window_begin, instance.window_end, 1);
            builder_step(builder);
            builder_source(builder, SPACE_SLOT, climb.parent);
            builder_destination(builder, SPACE_OUTPUT, rank);
        }
        send_down(builder, &climb);
    }
    return WEFT_OK;
}

weft_status canonical_tree_reduce(const struct weft_plan *plan, uint32_t rank, struct program_builder *builder)
{
    struct climb climb;
    climb_of(plan, rank, plan->root, &climb);
    for (uint32_t i = 0; i < plan_instance_count(plan); i++) {
        struct plan_instance instance = plan_instance_at(plan, i);
        builder_track(builder, instance.channel, instance.window_begin, instance.window_end, 1);
        climb_step(builder, builder_step(builder), &climb, rank);
    }
    return WEFT_OK;
}

/* All ranks go up to the ranks in their order, so none waits for one that is behind it. */
static void climb_to_all(const struct weft_plan *plan, uint32_t rank, struct program_builder *builder)
{
    for (uint32_t root = 0; root < plan->rank_count; root++) {
        struct climb climb;
        climb_of(plan, rank, root, &climb);
        struct plan_step *step = builder_step(builder);
        step->chunk = root;
        climb_step(builder, step, &climb, rank);
    }
}

weft_status canonical_halving_reduce_scatter(const struct weft_plan *plan, uint32_t rank,
                                             struct program_builder *builder)
{
    for (uint32_t i = 0; i < plan_instance_count(plan); i++) {
        struct plan_instance instance = plan_instance_at(plan, i);
        builder_block_track(builder, plan, instance.channel, instance.window_begin, instance.window_end);
        climb_to_all(plan, rank, builder);
    }
    return WEFT_OK;
}

/* A piece of the message to each rank, and then the pieces to all. */
weft_status canonical_halving_all_reduce(const struct weft_plan *plan, uint32_t rank, struct program_builder *builder)
{
    for (uint32_t i = 0; i < plan_instance_count(plan); i++) {
        uint32_t up_track = builder->program.track_count;
        builder_track(builder, 2 * i, i, i + 1, plan->rank_count);
        climb_to_all(plan, rank, builder);
        if (plan->rank_count == 1) continue;
        builder_track(builder, 2 * i + 1, i, i + 1, plan->rank_count);
        halving_spread(plan, rank, builder, up_track, rank);
        builder_track(builder, 2 * i + 1, i, i + 1, plan->rank_count);
        halving_collect(plan, rank, builder);
    }
    return WEFT_OK;
}
