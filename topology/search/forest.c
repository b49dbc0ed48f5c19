/* SPDX-License-Identifier: Apache-2.0 */
/* Which trees for which collective. */
#include "topology/search/all_reduce.h"
#include "topology/search/lift.h"
#include "topology/search/priced_trees.h"
#include "topology/search/trees.h"

/* Up to here trees of every rank are packed on the whole graph at once; that takes seconds at IRREGULAR_RANKS. */
#define PACKING_RANKS 16u
/* Between the two only if neither one host's trees lift to nearly the bound nor prices lead there. */
#define IRREGULAR_RANKS 40u
#define NEARLY 0.99
/* Trees by growing prices, where hosts differ: up to here they are found in seconds. */
#define PRICED_RANKS 320u
/* Column generation has a tree pair for every rank to price. */
#define COLUMN_RANKS 24u

/* The rate at which every rank (or the root) can broadcast, in capacities of the graph. */
static struct rational rate_of(const struct search_context *context, const struct search_bound *bound, bool every_rank)
{
    struct rational rate = rational_divide(bound->algbw, context->graph->unit);
    return every_rank ? rational_divide(rate, rational_make(context->graph->rank_count, 1)) : rate;
}

/* At the full rate, or where switches that receive more than they send (or less) forbid that, at a lower one. */
static bool pack_nearly(struct search_context *context, bool towards_root, const uint32_t *demand,
                        struct rational *rate, struct tree_family *family)
{
    static const struct rational parts[] = {{1, 1}, {31, 32}, {15, 16}, {7, 8}, {3, 4}, {1, 2}};
    const struct search_flow_graph *graph = towards_root ? context->reversed : context->graph;
    struct rational full = *rate;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        *rate = rational_multiply(full, parts[i]);
        if (trees_pack(context, graph, towards_root, demand, *rate, family)) return true;
        if (context->failed || search_expired(context->budget)) return false;
    }
    return false;
}

static weft_status one_way(struct search_context *context, bool towards_root)
{
    struct search_result *result = context->result;
    bool rooted = context->request->collective == SEARCH_BROADCAST || context->request->collective == SEARCH_REDUCE;
    uint32_t *demand = NULL;
    if (rooted) {
        demand = result_alloc(context, context->graph->rank_count, sizeof *demand);
        if (!demand) return WEFT_OUT_OF_MEMORY;
        demand[context->request->root] = 1;
    }
    struct tree_family family;
    struct rational rate = rate_of(context, &result->bound, !rooted);
    if (pack_nearly(context, towards_root, demand, &rate, &family))
        trees_one_way(context, &family, towards_root, 1, &result->forest);
    return context->failed ? WEFT_OUT_OF_MEMORY : WEFT_OK;
}

/* Reduce-scatter and all-gather, one after the other or at once, at these rates of each root. */
static struct rational both_rates(const struct search_context *context, struct rational up, struct rational down)
{
    struct rational one = {1, 1};
    struct rational rate = rational_divide(one, rational_add(rational_divide(one, up), rational_divide(one, down)));
    rate = rational_multiply(rate, rational_make(context->graph->rank_count, 1));
    return rational_multiply(rate, context->graph->unit);
}

static weft_status all_reduce(struct search_context *context)
{
    struct search_result *result = context->result;
    struct cut_bound up, down;
    weft_status status = bound_cut(context->reversed, NULL, NULL, 0, context->budget, &result->arena, &up);
    if (!status) status = bound_cut(context->graph, NULL, NULL, 0, context->budget, &result->arena, &down);
    if (status) return status;
    struct tree_family up_trees, down_trees;
    if (pack_nearly(context, true, NULL, &up.rate, &up_trees) &&
        pack_nearly(context, false, NULL, &down.rate, &down_trees))
        trees_two_way(context, &up_trees, &down_trees, both_rates(context, up.rate, down.rate), 1, &result->two_phase);
    if (context->failed) return WEFT_OUT_OF_MEMORY;
    result->forest = result->two_phase;
    bool reached = rational_valid(result->forest.gap) && result->forest.gap.numerator == result->forest.gap.denominator;
    if (reached || context->graph->rank_count > COLUMN_RANKS) return WEFT_OK;
    struct search_forest trees = {0};
    if (all_reduce_trees(context, &trees) && trees.tree_count &&
        (result->forest.tree_count == 0 || rational_compare(trees.algbw, result->forest.algbw) > 0))
        result->forest = trees;
    return context->failed ? WEFT_OUT_OF_MEMORY : WEFT_OK;
}

static weft_status whole_graph(struct search_context *context)
{
    switch (context->request->collective) {
    case SEARCH_ALL_REDUCE:
        return all_reduce(context);
    case SEARCH_REDUCE_SCATTER:
    case SEARCH_REDUCE:
        return one_way(context, true);
    default:
        return one_way(context, false);
    }
}

static bool is_near(const struct search_forest *forest)
{
    return forest->tree_count && rational_valid(forest->gap) && rational_value(forest->gap) >= NEARLY;
}

static weft_status priced(struct search_context *context)
{
    enum search_collective collective = context->request->collective;
    bool rooted = collective == SEARCH_BROADCAST || collective == SEARCH_REDUCE;
    if (rooted || context->graph->rank_count > PRICED_RANKS) return WEFT_OK;
    return priced_trees(context, &context->result->forest);
}

/* The trees that there are, or those that @p find finds if they are better. */
static weft_status keep_better(struct search_context *context, weft_status (*find)(struct search_context *))
{
    struct search_forest *forest = &context->result->forest;
    struct search_forest lifted = *forest, lifted_phases = context->result->two_phase;
    *forest = (struct search_forest){0};
    weft_status status = find(context);
    if (!forest->tree_count || (lifted.tree_count && rational_compare(lifted.algbw, forest->algbw) >= 0)) {
        *forest = lifted;
        context->result->two_phase = lifted_phases;
    }
    return status;
}

weft_status result_find_forest(struct search_context *context)
{
    uint32_t ranks = context->graph->rank_count;
    struct search_forest *forest = &context->result->forest;
    if (ranks < 2) return WEFT_OK;
    if (ranks <= PACKING_RANKS) return whole_graph(context);
    weft_status status = lift_forest(context);
    if (!status && !is_near(forest)) status = keep_better(context, priced);
    if (!status && !is_near(forest) && ranks <= IRREGULAR_RANKS) status = keep_better(context, whole_graph);
    return status;
}
