/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two binary trees over the same places, such that no place has children in both: each carries half of the message, and
 * every place then sends and receives about as much as in a ring, at logarithmic depth.
 *
 * The first tree is numbered in order, its leaves at the even places; the second is its mirror image where the number
 * of places is even, and the first shifted by one where it is odd. Depth is floor(log2 n).
 * Source: Sanders, Speck, Traeff, "Two-tree algorithms for full bandwidth broadcast, reduction and scan", Parallel
 * Computing 35 (2009).
 */
#ifndef COLLECTIVES_PLAN_TREE_SHAPE_H
#define COLLECTIVES_PLAN_TREE_SHAPE_H

#include <stdint.h>

#define TREE_NONE UINT32_MAX

struct tree_place {
    uint32_t parent;      /* TREE_NONE at the root */
    uint32_t left, right; /* children, or TREE_NONE; in the first tree left < place < right */
};

/* @p place below @p count, @p tree 0 or 1. */
struct tree_place tree_shape(uint32_t tree, uint32_t place, uint32_t count);
/* The place without a parent. */
uint32_t tree_root(uint32_t tree, uint32_t count);
#endif
