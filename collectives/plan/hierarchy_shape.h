/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ranks in groups within groups: ranks that share a cache, a NUMA node, a host. What hierarchical plans need to know of
 * them, as arithmetic on what one pass over all ranks has sorted.
 *
 * Level 0 is the finest; the last one is the outermost, whose groups together are all ranks. Ranks are put in an order
 * in which the groups of every level stand together, groups by their lowest rank; `place` is where a rank stands.
 */
#ifndef COLLECTIVES_PLAN_HIERARCHY_SHAPE_H
#define COLLECTIVES_PLAN_HIERARCHY_SHAPE_H

#include "base/arena.h"
#include "collectives/plan/plan.h"

struct hierarchy_level {
    uint32_t group_count;
    uint32_t *group_of; /* by rank */
    uint32_t *first;    /* by group, and one more: the places where it begins */
};

struct hierarchy {
    uint32_t rank_count, level_count;
    struct hierarchy_level *levels;
    uint32_t *order, *place; /* ranks by place, and the inverse */
};

/*
 * @p groups: @p level_count times a number for each rank, as weft_plan_layout has them; NULL: consecutive ranks, as
 * many groups as there are ranks in each, or about. Outer levels of one group only are left out. Memory is the arena's.
 * WEFT_INVALID_ARGUMENT: a group that lies in two of the next level. WEFT_RESOURCE_LIMIT: groups and the ranks of one
 * are more together than a step has operands for. WEFT_OUT_OF_MEMORY.
 */
weft_status hierarchy_create(struct arena *arena, uint32_t rank_count, const uint32_t *groups, uint32_t level_count,
                             struct hierarchy **hierarchy);

/* Of the outermost level. */
uint32_t hierarchy_group_count(const struct hierarchy *hierarchy);
uint32_t hierarchy_group(const struct hierarchy *hierarchy, uint32_t rank);
uint32_t hierarchy_size(const struct hierarchy *hierarchy, uint32_t group);
/* The rank's place in its group, and back. */
uint32_t hierarchy_index(const struct hierarchy *hierarchy, uint32_t rank);
uint32_t hierarchy_member(const struct hierarchy *hierarchy, uint32_t group, uint32_t index);
/* Who in @p group has to do with what @p rank has in its own: the rank itself there, else one at its place, going
 * round. */
uint32_t hierarchy_counterpart(const struct hierarchy *hierarchy, uint32_t group, uint32_t rank);
/* Another one for @p turn 0 than for 1, wherever there are two. */
uint32_t hierarchy_leader(const struct hierarchy *hierarchy, uint32_t group, uint32_t turn);

/* A rank's place in the tree of its outermost group that ends at @p root: leaders of groups below leaders of groups. */
struct hierarchy_node {
    uint32_t parent; /* PLAN_NONE at the root */
    uint32_t before; /* children that stand before the rank itself, in its finest group */
    uint32_t child_count;
    uint32_t children[PLAN_MAX_OPERANDS];
};
void hierarchy_node(const struct hierarchy *hierarchy, uint32_t rank, uint32_t root, struct hierarchy_node *node);
#endif
