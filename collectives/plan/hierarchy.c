/* SPDX-License-Identifier: Apache-2.0 */
/*
 * By groups of ranks (of a cache, a host) through one rank of each, for messages whose time is that of their first
 * byte: what is far away is crossed once.
 *
 * All-reduce: a group's ranks send to its reducer, reducers send what they have made of it to the combiner of every
 * group, combiners send the result to their group: three messages one after another, and one of them between groups. A
 * tree has two between groups for each of its levels. A plan has no memory to keep a partial result in while others
 * come, so a group's reducer and combiner are two ranks, and the one sends its partial result to the other like to all.
 * Combiners combine alike, in the order of groups, so all come to the same bits.
 * Barrier: the same, without data to keep, so leaders are both. Broadcast: to a leader of each group, and from there.
 * Reduce: the other way round.
 *
 * Cost: among T groups T(T-1) messages, so few groups. Each rank has one track: of small messages there is one slice.
 */
#include "collectives/plan/generators.h"

/* Both ways of a rank's one stream to another are in the order of its steps. */
static void track_begin(struct program_builder *builder)
{
    builder_track(builder, 0, 0, 1, 1);
}

/* Contributions of the ranks below and this one's own, as they stand in their group. */
static void combine_below(struct program_builder *builder, const struct hierarchy_node *node, uint32_t rank)
{
    for (uint32_t i = 0; i < node->before; i++) builder_source(builder, SPACE_SLOT, node->children[i]);
    builder_source(builder, SPACE_INPUT, rank);
    for (uint32_t i = node->before; i < node->child_count; i++) builder_source(builder, SPACE_SLOT, node->children[i]);
}

static void send_below(struct program_builder *builder, const struct hierarchy_node *node)
{
    for (uint32_t i = 0; i < node->child_count; i++) builder_destination(builder, SPACE_SLOT, node->children[i]);
}

/* To one rank of each other group, those next to this rank's first, so that not all begin with the same. */
static void send_across(struct program_builder *builder, const struct hierarchy *hierarchy, uint32_t group,
                        uint32_t turn)
{
    uint32_t count = hierarchy_group_count(hierarchy);
    for (uint32_t distance = 1; distance < count; distance++)
        builder_destination(builder, SPACE_SLOT, hierarchy_leader(hierarchy, (group + distance) % count, turn));
}

weft_status hierarchy_all_reduce(const struct weft_plan *plan, uint32_t rank, struct program_builder *builder)
{
    if (plan->instance_count > 1) return hierarchy_shares_all_reduce(plan, rank, builder);
    const struct hierarchy *hierarchy = plan_hierarchy(plan);
    uint32_t count = hierarchy_group_count(hierarchy), group = hierarchy_group(hierarchy, rank);
    uint32_t reducer = hierarchy_leader(hierarchy, group, 0);
    uint32_t combiner = count == 1 ? reducer : hierarchy_leader(hierarchy, group, 1);
    struct hierarchy_node up, down;
    hierarchy_node(hierarchy, rank, reducer, &up);
    hierarchy_node(hierarchy, rank, combiner, &down);

    track_begin(builder);
    if (rank != reducer || count > 1) {
        builder_step(builder);
        combine_below(builder, &up, rank);
        if (rank != reducer) {
            builder_destination(builder, SPACE_SLOT, up.parent);
        } else {
            if (combiner != rank) builder_destination(builder, SPACE_SLOT, combiner);
            send_across(builder, hierarchy, group, 1);
        }
    }
    struct plan_step *result = builder_step(builder);
    if (rank != combiner) {
        builder_source(builder, SPACE_SLOT, down.parent);
    } else {
        result->flags = STEP_FINAL;
        if (count == 1) combine_below(builder, &up, rank);
        for (uint32_t from = 0; count > 1 && from < count; from++) {
            uint32_t partial = hierarchy_leader(hierarchy, from, 0);
            builder_source(builder, partial == rank ? SPACE_INPUT : SPACE_SLOT, partial);
        }
    }
    builder_destination(builder, SPACE_OUTPUT, rank);
    send_below(builder, &down);
    return WEFT_OK;
}

weft_status hierarchy_barrier(const struct weft_plan *plan, uint32_t rank, struct program_builder *builder)
{
    const struct hierarchy *hierarchy = plan_hierarchy(plan);
    uint32_t count = hierarchy_group_count(hierarchy), group = hierarchy_group(hierarchy, rank);
    uint32_t leader = hierarchy_leader(hierarchy, group, 0);
    struct hierarchy_node node;
    hierarchy_node(hierarchy, rank, leader, &node);

    track_begin(builder);
    builder_step(builder);
    for (uint32_t i = 0; i < node.child_count; i++) builder_source(builder, SPACE_SLOT, node.children[i]);
    if (rank == leader)
        send_across(builder, hierarchy, group, 0);
    else
        builder_destination(builder, SPACE_SLOT, node.parent);
    builder_step(builder);
    if (rank != leader) builder_source(builder, SPACE_SLOT, node.parent);
    for (uint32_t distance = 1; rank == leader && distance < count; distance++)
        builder_source(builder, SPACE_SLOT, hierarchy_leader(hierarchy, (group + distance) % count, 0));
    send_below(builder, &node);
    return WEFT_OK;
}

/* Where a rooted collective's data pass through the rank's group. */
static uint32_t rooted_leader(const struct weft_plan *plan, uint32_t group)
{
    const struct hierarchy *hierarchy = plan_hierarchy(plan);
    return group == hierarchy_group(hierarchy, plan->root) ? plan->root : hierarchy_leader(hierarchy, group, 0);
}

weft_status hierarchy_broadcast(const struct weft_plan *plan, uint32_t rank, struct program_builder *builder)
{
    const struct hierarchy *hierarchy = plan_hierarchy(plan);
    uint32_t group = hierarchy_group(hierarchy, rank), leader = rooted_leader(plan, group);
    struct hierarchy_node node;
    hierarchy_node(hierarchy, rank, leader, &node);

    track_begin(builder);
    builder_step(builder);
    if (rank == plan->root)
        builder_source(builder, SPACE_INPUT, rank);
    else
        builder_source(builder, SPACE_SLOT, rank == leader ? plan->root : node.parent);
    builder_destination(builder, SPACE_OUTPUT, rank);
    if (rank == plan->root) send_across(builder, hierarchy, group, 0);
    send_below(builder, &node);
    return WEFT_OK;
}

weft_status hierarchy_reduce(const struct weft_plan *plan, uint32_t rank, struct program_builder *builder)
{
    const struct hierarchy *hierarchy = plan_hierarchy(plan);
    uint32_t count = hierarchy_group_count(hierarchy), group = hierarchy_group(hierarchy, rank);
    uint32_t leader = rooted_leader(plan, group);
    struct hierarchy_node node;
    hierarchy_node(hierarchy, rank, leader, &node);

    track_begin(builder);
    builder_step(builder)->flags = rank == plan->root ? STEP_FINAL : 0;
    if (rank != plan->root) {
        combine_below(builder, &node, rank);
        builder_destination(builder, SPACE_SLOT, rank == leader ? plan->root : node.parent);
        return WEFT_OK;
    }
    for (uint32_t from = 0; from < count; from++) {
        if (from == group)
            combine_below(builder, &node, rank);
        else
            builder_source(builder, SPACE_SLOT, rooted_leader(plan, from));
    }
    builder_destination(builder, SPACE_OUTPUT, rank);
    return WEFT_OK;
}
