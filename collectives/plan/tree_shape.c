/* SPDX-License-Identifier: Apache-2.0 */
#include "collectives/plan/tree_shape.h"

/*
 * In the infinite in-order tree, place p is at the level of the number of its trailing one bits (leaves: level 0), has
 * children p -+ 2^(level-1), and its parent is whichever of p -+ 2^level has one more trailing one. Cutting the tree off
 * at `count` leaves some parents and right children outside; the walks below step over those.
 */
static uint32_t level_of(uint32_t place)
{
    return (uint32_t)__builtin_ctz(~place);
}

static uint64_t infinite_parent(uint64_t place)
{
    uint64_t reach = UINT64_C(1) << __builtin_ctzll(~place);
    return place & (reach << 1) ? place - reach : place + reach;
}

static struct tree_place in_order_shape(uint32_t place, uint32_t count)
{
    struct tree_place shape = {TREE_NONE, TREE_NONE, TREE_NONE};
    if (place != tree_root(0, count)) {
        uint64_t parent = infinite_parent(place);
        while (parent >= count) parent = infinite_parent(parent);
        shape.parent = (uint32_t)parent;
    }
    uint32_t level = level_of(place);
    if (level == 0) return shape;
    shape.left = place - (UINT32_C(1) << (level - 1));
    uint64_t right = (uint64_t)place + (UINT32_C(1) << (level - 1));
    for (uint32_t below = level - 1; right >= count && below > 0; below--) right -= UINT32_C(1) << (below - 1);
    if (right < count) shape.right = (uint32_t)right;
    return shape;
}

/* From a place of the second tree to the place of the first that it imitates, and back. */
static uint32_t to_first(uint32_t place, uint32_t count)
{
    return count % 2 == 0 ? count - 1 - place : (place + count - 1) % count;
}

static uint32_t from_first(uint32_t place, uint32_t count)
{
    if (place == TREE_NONE) return TREE_NONE;
    return count % 2 == 0 ? count - 1 - place : (place + 1) % count;
}

struct tree_place tree_shape(uint32_t tree, uint32_t place, uint32_t count)
{
    if (tree == 0) return in_order_shape(place, count);
    struct tree_place first = in_order_shape(to_first(place, count), count);
    return (struct tree_place){from_first(first.parent, count), from_first(first.left, count),
                               from_first(first.right, count)};
}

uint32_t tree_root(uint32_t tree, uint32_t count)
{
    /* The largest 2^k - 1 below count. */
    uint32_t root = (UINT32_C(1) << (31 - __builtin_clz(count))) - 1;
    return tree == 0 ? root : from_first(root, count);
}
