/* SPDX-License-Identifier: Apache-2.0 */
#include "collectives/arrange/book.h"

#include <stdlib.h>
#include <string.h>

#include "collectives/plan/shape.h"
#include "topology/simulate/route.h"

/* A candidate has to be so much faster than one before it: figures of a topology are no better than that. */
#define BETTER 1.01

struct making {
    const struct book_request *request;
    struct book *book;
    struct search_result *search;
    uint32_t *places;   /* nodes */
    uint32_t *place_of; /* by rank */
    struct grouping grouping;
    double *assumed;
    uint64_t work_left;
};

static bool work_is_done(void *context)
{
    struct making *making = context;
    if (making->work_left == 0) return true;
    making->work_left--;
    return false;
}

/* Places in the order in which ranks name them first. */
static weft_status places_find(struct making *making)
{
    const struct book_request *request = making->request;
    uint32_t nodes = request->topology->node_count, *place_at = calloc((size_t)nodes + 1, sizeof *place_at);
    making->places = calloc((size_t)request->rank_count + 1, sizeof *making->places);
    making->place_of = calloc((size_t)request->rank_count + 1, sizeof *making->place_of);
    weft_status status = place_at && making->places && making->place_of ? WEFT_OK : WEFT_OUT_OF_MEMORY;
    for (uint32_t rank = 0; status == WEFT_OK && rank < request->rank_count; rank++) {
        uint32_t node = request->nodes[rank];
        if (node >= nodes) {
            status = WEFT_INVALID_ARGUMENT;
            break;
        }
        if (place_at[node] == 0) {
            making->places[making->book->place_count++] = node;
            place_at[node] = making->book->place_count;
        }
        making->place_of[rank] = place_at[node] - 1;
    }
    free(place_at);
    return status;
}

static double value_of(struct rational rational)
{
    return rational_valid(rational) ? rational_value(rational) : 0;
}

static weft_status search(struct making *making, struct diagnostic *diagnostic)
{
    const struct search_request request = {.collective = SEARCH_ALL_REDUCE,
                                           .endpoints = making->places,
                                           .endpoint_count = making->book->place_count,
                                           .budget = {work_is_done, making}};
    weft_status status = topology_search(making->request->topology, &request, &making->search, diagnostic);
    if (status != WEFT_OK) return status;
    const struct search_result *found = making->search;
    struct book *book = making->book;
    double whole = value_of(found->rings.algbw), parts = value_of(found->fractional_rings.algbw);
    book->host_count = found->hosts.host_count;
    book->bound_algbw = value_of(found->bound.algbw);
    book->bound_exact = found->bound.exact;
    book->ring_algbw = whole > parts ? whole : parts;
    book->tree_algbw = value_of(found->forest.algbw);
    book->in_links = found->unit_is_link;
    book->expired = making->work_left == 0;
    book->switch_hops = found->hosts.switch_hops;
    book->switch_hops_as_listed = found->hosts.switch_hops_as_listed;
    uint32_t shown = 2 * making->request->topology->link_count;
    making->assumed = calloc((size_t)route_link_count(making->request->topology) + 1, sizeof *making->assumed);
    if (!making->assumed) return WEFT_OUT_OF_MEMORY;
    for (uint32_t i = 0; i < shown && !found->unit_is_link; i++) making->assumed[i] = found->hop_capacity[i];
    return WEFT_OK;
}

static weft_algorithm algorithm_of(enum arrangement_kind kind)
{
    return kind < ARRANGE_HOST_TREES ? WEFT_ALGORITHM_RING : WEFT_ALGORITHM_TREE;
}

/* Collectives where every rank has trees of its own have no use for others. */
static bool kind_serves(enum arrangement_kind kind, weft_collective collective)
{
    const struct plan_generator *generator = plan_generator_find(collective, algorithm_of(kind));
    if (!generator || !plan_generator_serves(generator, 1, true)) return false;
    return generator->layout != LAYOUT_NEEDED || kind == ARRANGE_TWO_PHASE_TREES;
}

/* NULL: none over this layout, or over ranks in order. */
static weft_status plan_make(const struct making *making, weft_collective collective, weft_algorithm algorithm,
                             const weft_plan_layout *layout, weft_plan **plan)
{
    const weft_plan_spec spec = {.size = sizeof spec,
                                 .collective = collective,
                                 .algorithm = algorithm,
                                 .rank_count = making->request->rank_count,
                                 .channel_count = algorithm == WEFT_ALGORITHM_HIERARCHICAL ? 2 : 0, /* by shares */
                                 .peer = collective == WEFT_SEND_RECV && making->request->rank_count > 1,
                                 .layout = layout};
    *plan = NULL;
    weft_status status = weft_plan_create(&spec, plan);
    return status == WEFT_OUT_OF_MEMORY ? status : WEFT_OK;
}

/*
 * Channels that the @p depth heaviest need for an all-reduce, which sends over both ways of every tree; UINT32_MAX:
 * more than any plan has.
 */
static weft_status channels_needed(const struct making *making, enum arrangement_kind kind,
                                   const struct arrangement *arrangement, uint32_t depth, uint32_t *needed)
{
    struct arrangement fewer;
    weft_plan *plan = NULL;
    if (!arrangement_fewer(arrangement, kind == ARRANGE_TWO_PHASE_TREES, depth, &fewer)) return WEFT_OUT_OF_MEMORY;
    weft_status status = plan_make(making, WEFT_ALL_REDUCE, algorithm_of(kind), &fewer.layout, &plan);
    *needed = plan ? plan->channel_count : UINT32_MAX;
    weft_plan_destroy(plan);
    arrangement_free(&fewer);
    return status;
}

/*
 * Fewer, until they fit; WEFT_RESOURCE_LIMIT: not even one does. Finding channels for all of some thousand trees of
 * some hundred ranks would take seconds, so what one needs says how many are worth trying.
 */
static weft_status make_fit(const struct making *making, enum arrangement_kind kind, struct arrangement *arrangement)
{
    bool per_root = kind == ARRANGE_TWO_PHASE_TREES;
    uint32_t limit = making->request->channel_limit, depth = 1, needed;
    uint32_t found = arrangement_depth(arrangement, per_root);
    making->book->found[kind] = found;
    weft_status status = channels_needed(making, kind, arrangement, 1, &needed);
    if (status != WEFT_OK) return status;
    if (needed > limit) return WEFT_RESOURCE_LIMIT;
    if (found > 1) depth = 4 * limit / needed < found ? 4 * limit / needed : found; /* most pairs are in few of them */
    while (depth > 1) {
        status = channels_needed(making, kind, arrangement, depth, &needed);
        if (status != WEFT_OK) return status;
        if (needed <= limit) break;
        uint32_t proportional = needed == UINT32_MAX ? depth / 2 : (uint32_t)((uint64_t)depth * limit / needed);
        depth = proportional == 0 ? 1 : proportional < depth ? proportional : depth - 1;
    }
    making->book->kept[kind] = depth;
    struct arrangement fewer;
    if (!arrangement_fewer(arrangement, per_root, depth, &fewer)) return WEFT_OUT_OF_MEMORY;
    free(fewer.numbers);                  /* room for none */
    fewer.numbers = arrangement->numbers; /* taken over, with what the dropped ones had */
    arrangement->numbers = NULL;
    arrangement_free(arrangement);
    *arrangement = fewer;
    return WEFT_OK;
}

static weft_status arrange(struct making *making, enum arrangement_kind kind)
{
    struct arrangement places = {0}, *ranks = &making->book->arrangements[kind];
    bool wide = kind == ARRANGE_TWO_PHASE_TREES && making->request->rank_count > BOOK_ROOTS_MAX;
    weft_status status = wide ? WEFT_RESOURCE_LIMIT : arrangement_make(making->search, kind, &places);
    if (status == WEFT_OK) {
        status = arrangement_spread(&places, making->book->place_count, making->place_of, making->request->rank_count,
                                    kind == ARRANGE_TWO_PHASE_TREES, ranks);
        arrangement_free(&places);
    }
    if (status == WEFT_OK) status = make_fit(making, kind, ranks);
    if (status != WEFT_OK) arrangement_free(ranks);
    return status == WEFT_OUT_OF_MEMORY ? status : WEFT_OK;
}

/* Messages on the longest way from a root to a leaf. */
static uint32_t tree_height(const uint32_t *parents, uint32_t root, uint32_t rank_count, uint32_t *height)
{
    uint32_t most = 0;
    for (uint32_t rank = 0; rank < rank_count; rank++) height[rank] = UINT32_MAX;
    height[root] = 0;
    for (uint32_t rank = 0; rank < rank_count; rank++) {
        uint32_t steps = 0, at = rank;
        while (height[at] == UINT32_MAX && steps < rank_count) at = parents[at], steps++;
        uint32_t total = height[at] + steps;
        for (at = rank; height[at] == UINT32_MAX; at = parents[at]) height[at] = total--;
        if (height[rank] > most) most = height[rank];
    }
    return most;
}

static bool messages_find(const struct arrangement *arrangement, weft_collective collective, uint32_t rank_count,
                          uint32_t *messages)
{
    bool both = collective == WEFT_ALL_REDUCE || collective == WEFT_BARRIER;
    uint32_t *height = calloc((size_t)rank_count + 1, sizeof *height);
    *messages = 0;
    for (uint32_t t = 0; height && t < arrangement->layout.tree_count; t++) {
        const weft_plan_tree *tree = &arrangement->trees[t];
        const uint32_t *up = tree->reduce_parents ? tree->reduce_parents : tree->parents;
        uint32_t down_height = tree_height(tree->parents, tree->root, rank_count, height);
        uint32_t total = both ? down_height + tree_height(up, tree->root, rank_count, height) : down_height;
        if (total > *messages) *messages = total;
    }
    free(height);
    return height;
}

static weft_status plan_rate(const struct making *making, weft_collective collective, weft_algorithm algorithm,
                             const weft_plan_layout *layout, uint32_t *channels, double *algbw)
{
    const struct rating rating = {.topology = making->request->topology,
                                  .assumed = making->search->unit_is_link ? NULL : making->assumed,
                                  .nodes = making->request->nodes,
                                  .rank_count = making->request->rank_count};
    uint32_t n = making->request->rank_count;
    bool made = true, shaped = algorithm == WEFT_ALGORITHM_RING || shape_of(collective)->blocks == BLOCKS_ONE;
    const struct plan_generator *generator = plan_generator_find(collective, algorithm);
    *algbw = 0;
    *channels = 0;
    if (!layout && !plan_generator_serves(generator, n, false)) return WEFT_OK;
    if (!layout && (algorithm == WEFT_ALGORITHM_RING || (algorithm == WEFT_ALGORITHM_TREE && shaped))) {
        *channels = 1; /* it exists */
        if (n <= BOOK_RATED_RANKS_MAX) made = rate_in_order(&rating, collective, algorithm, algbw);
        return made ? WEFT_OK : WEFT_OUT_OF_MEMORY;
    }
    if (!layout && n > BOOK_COUNTED_RANKS_MAX) return WEFT_OK;
    weft_plan *plan;
    const weft_plan_layout *used = layout;
    if (algorithm == WEFT_ALGORITHM_HIERARCHICAL && making->grouping.numbers) used = &making->grouping.layout;
    weft_status status = plan_make(making, collective, algorithm, used, &plan);
    if (status != WEFT_OK || !plan) return status;
    *channels = plan->channel_count;
    if (!layout)
        made = rate_plan(&rating, plan, algbw);
    else if (n <= BOOK_RATED_RANKS_MAX)
        made = rate_layout(&rating, collective, layout, algbw);
    weft_plan_destroy(plan);
    return made ? WEFT_OK : WEFT_OUT_OF_MEMORY;
}

/* The fastest arrangement of an algorithm for a collective; ranks in order where none is faster. */
static weft_status entry_fill(const struct making *making, weft_collective collective, weft_algorithm algorithm)
{
    struct book *book = making->book;
    struct book_entry *entry = &book->entries[collective][algorithm];
    uint32_t channels, n = book->rank_count;
    entry->arrangement = ARRANGEMENT_KIND_COUNT;
    weft_status status = plan_rate(making, collective, algorithm, NULL, &channels, &entry->algbw_in_order);
    entry->algbw = entry->algbw_in_order;
    bool in_order = channels > 0;
    for (int kind = 0; kind < ARRANGEMENT_KIND_COUNT && status == WEFT_OK; kind++) {
        const struct arrangement *arrangement = &book->arrangements[kind];
        double algbw;
        if (algorithm_of((enum arrangement_kind)kind) != algorithm || !arrangement->numbers ||
            !kind_serves((enum arrangement_kind)kind, collective))
            continue;
        status = plan_rate(making, collective, algorithm, &arrangement->layout, &channels, &algbw);
        if (status != WEFT_OK || channels == 0 || channels > making->request->channel_limit) continue;
        bool unrated = n > BOOK_RATED_RANKS_MAX && entry->arrangement == ARRANGEMENT_KIND_COUNT;
        if (!unrated && algbw <= BETTER * entry->algbw && (in_order || entry->channels)) continue;
        entry->arrangement = (uint32_t)kind;
        entry->channels = channels;
        entry->algbw = algbw;
        if (channels > book->channel_count) book->channel_count = channels;
        if (!messages_find(arrangement, collective, n, &entry->messages)) status = WEFT_OUT_OF_MEMORY;
    }
    return status;
}

/* What no entry names would only travel. */
static void unused_drop(struct book *book)
{
    bool used[ARRANGEMENT_KIND_COUNT + 1] = {false};
    for (int c = 0; c < WEFT_COLLECTIVE_COUNT; c++)
        for (int a = 0; a < WEFT_ALGORITHM_COUNT; a++) used[book->entries[c][a].arrangement] = true;
    for (int kind = 0; kind < ARRANGEMENT_KIND_COUNT; kind++)
        if (!used[kind]) arrangement_free(&book->arrangements[kind]);
}

static weft_status fill(struct making *making, struct diagnostic *diagnostic)
{
    struct book *book = making->book;
    for (int c = 0; c < WEFT_COLLECTIVE_COUNT; c++)
        for (int a = 0; a < WEFT_ALGORITHM_COUNT; a++) book->entries[c][a].arrangement = ARRANGEMENT_KIND_COUNT;
    weft_status status = places_find(making);
    if (status != WEFT_OK || book->place_count < 2) return status; /* ranks that are all alike */
    status = grouping_of_places(making->request->topology, making->request->nodes, book->rank_count, &making->grouping);
    if (status == WEFT_UNSUPPORTED) status = WEFT_OK;
    if (status == WEFT_OK) status = search(making, diagnostic);
    for (int kind = 0; kind < ARRANGEMENT_KIND_COUNT && status == WEFT_OK; kind++)
        status = arrange(making, (enum arrangement_kind)kind);
    /* A barrier moves nothing, and a message between two ranks has no plan but one. */
    for (int c = 0; c < WEFT_COLLECTIVE_COUNT; c++)
        for (int a = WEFT_ALGORITHM_AUTO + 1; a < WEFT_ALGORITHM_COUNT && status == WEFT_OK; a++)
            if (c != WEFT_SEND_RECV && c != WEFT_BARRIER && plan_generator_find((weft_collective)c, (weft_algorithm)a))
                status = entry_fill(making, (weft_collective)c, (weft_algorithm)a);
    unused_drop(book);
    return status;
}

weft_status book_make(const struct book_request *request, struct book **book, struct diagnostic *diagnostic)
{
    if (request->rank_count == 0 || request->channel_limit == 0) return WEFT_INVALID_ARGUMENT;
    struct making making = {.request = request, .work_left = request->work_limit ? request->work_limit : BOOK_WORK};
    struct diagnostic why = {0};
    making.book = calloc(1, sizeof *making.book);
    if (!making.book) return diagnose(diagnostic, WEFT_OUT_OF_MEMORY, "no memory for plans over a topology");
    making.book->rank_count = request->rank_count;
    weft_status status = fill(&making, &why);
    topology_search_free(making.search);
    free(making.places);
    free(making.place_of);
    grouping_free(&making.grouping);
    free(making.assumed);
    if (status == WEFT_OK) {
        *book = making.book;
        return WEFT_OK;
    }
    book_free(making.book);
    return diagnose(diagnostic, status, "%s", why.text[0] ? why.text : "no memory for plans over a topology");
}

void book_free(struct book *book)
{
    if (!book) return;
    for (int kind = 0; kind < ARRANGEMENT_KIND_COUNT; kind++) arrangement_free(&book->arrangements[kind]);
    free(book);
}

const weft_plan_layout *book_layout(const struct book *book, weft_collective collective, weft_algorithm algorithm)
{
    uint32_t kind = book->entries[collective][algorithm].arrangement;
    return kind < ARRANGEMENT_KIND_COUNT ? &book->arrangements[kind].layout : NULL;
}
