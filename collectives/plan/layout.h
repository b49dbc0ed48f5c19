/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rings or trees that a plan is made of: those of a weft_plan_layout, checked, copied and given shares and
 * channels; or the ones that every number of ranks has. Generators ask here and cannot tell the difference.
 */
#ifndef COLLECTIVES_PLAN_LAYOUT_H
#define COLLECTIVES_PLAN_LAYOUT_H

#include "collectives/plan/hierarchy_shape.h"
#include "collectives/plan/shape.h"
#include "collectives/plan/tree_shape.h"

/* A ring or tree that carries a part of the message. */
struct plan_instance {
    uint32_t channel;
    uint32_t reduce_channel; /* a tree's way up; the same unless its links are other ones than those of the way down */
    uint32_t window_begin, window_end; /* of the message; where there are blocks, in the first one it has a part in */
};

uint32_t plan_instance_count(const struct weft_plan *plan);
struct plan_instance plan_instance_at(const struct weft_plan *plan, uint32_t index);

/* A rank's place on a ring. Position counts along the direction of travel. */
struct ring_place {
    uint32_t count, position;
    uint32_t next, previous; /* ranks */
};
struct ring_place plan_ring_place(const struct weft_plan *plan, uint32_t index, uint32_t rank);
/* The rank that is so many places behind on the ring. */
uint32_t plan_ring_behind(const struct weft_plan *plan, uint32_t index, const struct ring_place *place, uint32_t back);

/* A rank's place in a tree, in one direction of travel. */
struct tree_node {
    uint32_t parent; /* TREE_NONE at the root */
    uint32_t child_count;
    uint32_t before; /* children whose data comes before this rank's own when it is combined */
    const uint32_t *children;
    uint32_t binary[2]; /* where `children` points to when nothing else holds them */
};
/* Fills in *node, which must not be moved. A tree that every number of ranks has is the same both ways. */
void plan_tree_down(const struct weft_plan *plan, uint32_t index, uint32_t rank, struct tree_node *node);
void plan_tree_up(const struct weft_plan *plan, uint32_t index, uint32_t rank, struct tree_node *node);

/* Of a hierarchical plan. */
const struct hierarchy *plan_hierarchy(const struct weft_plan *plan);

/* What a spec's layout comes to for its collective; without one, of a hierarchical plan, what ranks in
 * order come to. Errors as weft_plan_create(). Owner: layout_destroy(). */
weft_status layout_create(const weft_plan_spec *spec, struct plan_layout **layout);
void layout_destroy(struct plan_layout *layout);
/* Channels needed, and shares that the message is cut into. */
uint32_t layout_channel_count(const struct plan_layout *layout);
uint32_t layout_share_count(const struct plan_layout *layout);
#endif
