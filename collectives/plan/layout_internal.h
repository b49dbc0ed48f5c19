/* SPDX-License-Identifier: Apache-2.0 */
#ifndef COLLECTIVES_PLAN_LAYOUT_INTERNAL_H
#define COLLECTIVES_PLAN_LAYOUT_INTERNAL_H

#include "collectives/plan/layout.h"

struct layout_ring {
    uint32_t *order, *position; /* ranks by position, and the inverse */
};

/* A spanning tree in one direction: children[first_child[r]] up to children[first_child[r + 1]] are r's, ascending. */
struct layout_way {
    uint32_t *parents, *first_child, *children;
};

struct layout_tree {
    uint32_t root;
    struct layout_way down, up;
    bool same; /* up is down, turned round */
};

struct plan_layout {
    struct arena arena;
    uint32_t rank_count, count, channel_count, share_count;
    struct plan_instance *instances;
    struct layout_ring *rings;   /* `count` of them, or ... */
    struct layout_tree *trees;   /* ... of these */
    struct hierarchy *hierarchy; /* or this one */
    uint32_t *weights;
};

/* layout_trees.c: trees of the spec as its collective uses them. */
weft_status layout_take_trees(struct plan_layout *layout, const weft_plan_spec *spec);
/* layout_channels.c: instances that share an ordered pair of ranks get different channels. */
weft_status layout_colour(struct plan_layout *layout, weft_collective collective);
#endif
