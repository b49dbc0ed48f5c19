/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which trees of a forest differ for whoever runs them. Packing tells parallel links and switches apart, so that it may
 * list one tree many times, over other links each time; a plan names ranks only.
 */
#include <stdlib.h>
#include <string.h>

#include "topology/search/result.h"

/* A tree as its ranks see it: the root, then each rank's parent on the way down and on the way up. */
struct tree_parents {
    uint32_t tree, count;
    const uint32_t *numbers;
};

static int compare_parents(const void *left, const void *right)
{
    const struct tree_parents *a = left, *b = right;
    int order = memcmp(a->numbers, b->numbers, a->count * sizeof *a->numbers);
    return order ? order : a->tree < b->tree ? -1 : a->tree > b->tree;
}

static void write_parents(const struct search_tree *tree, uint32_t rank_count, uint32_t *numbers)
{
    uint32_t *down = numbers + 1, *up = down + rank_count;
    numbers[0] = tree->root;
    memset(down, 0xff, 2 * (size_t)rank_count * sizeof *down);
    for (uint32_t i = 0; i < tree->edge_count; i++) {
        if (tree->edges) down[tree->edges[i].child] = tree->edges[i].parent;
        if (tree->reduce_edges) up[tree->reduce_edges[i].child] = tree->reduce_edges[i].parent;
    }
}

void result_find_same_trees(struct search_context *context, struct search_forest *forest)
{
    uint32_t count = forest->tree_count, length = 1 + 2 * context->result->rank_count;
    uint32_t *same_as = result_alloc(context, count, sizeof *same_as);
    uint32_t *numbers = malloc(((size_t)count * length + 1) * sizeof *numbers);
    struct tree_parents *trees = malloc((count + 1u) * sizeof *trees);
    if (!numbers || !trees) context->failed = true;
    for (uint32_t i = 0; i < count && !context->failed; i++) {
        write_parents(&forest->trees[i], context->result->rank_count, numbers + (size_t)i * length);
        trees[i] = (struct tree_parents){.tree = i, .count = length, .numbers = numbers + (size_t)i * length};
    }
    if (!context->failed && count) qsort(trees, count, sizeof *trees, compare_parents);
    forest->different_count = 0;
    for (uint32_t i = 0; i < count && !context->failed; i++) { /* of equal ones the first listed comes first */
        bool same = i > 0 && !memcmp(trees[i].numbers, trees[i - 1].numbers, length * sizeof *numbers);
        same_as[trees[i].tree] = same ? same_as[trees[i - 1].tree] : trees[i].tree;
        forest->different_count += !same;
    }
    forest->same_as = same_as;
    free(trees);
    free(numbers);
}

struct rational search_same_bandwidth(const struct search_forest *forest, uint32_t tree)
{
    struct rational sum = {0, 1};
    double value = 0;
    for (uint32_t i = tree; i < forest->tree_count; i++) {
        if (forest->same_as[i] != tree) continue;
        sum = rational_add(sum, forest->trees[i].bandwidth);
        value += rational_value(forest->trees[i].bandwidth);
    }
    return rational_valid(sum) ? sum : rational_make((uint64_t)value, 1);
}
