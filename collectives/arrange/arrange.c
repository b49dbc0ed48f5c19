/* SPDX-License-Identifier: Apache-2.0 */
#include "collectives/arrange/arrange.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A plan's shares are integers; more of them than this together, and fractions are rounded. */
#define WEIGHT_MAX 100000u

const char *arrangement_name(enum arrangement_kind kind)
{
#define ARRANGEMENT_NAME(kind, name) name,
    static const char *const names[] = {ARRANGEMENTS(ARRANGEMENT_NAME)};
#undef ARRANGEMENT_NAME
    return (unsigned)kind < ARRANGEMENT_KIND_COUNT ? names[kind] : "unknown";
}

void arrangement_free(struct arrangement *arrangement)
{
    free(arrangement->rings);
    free(arrangement->trees);
    free(arrangement->numbers);
    *arrangement = (struct arrangement){0};
}

/* Room for so many rings or trees and numbers; false, and nothing held, when out of memory. */
static bool arrangement_open(struct arrangement *arrangement, uint32_t rings, uint32_t trees, uint64_t numbers)
{
    *arrangement = (struct arrangement){.layout = {.size = sizeof arrangement->layout}};
    arrangement->rings = calloc((size_t)rings + 1, sizeof *arrangement->rings);
    arrangement->trees = calloc((size_t)trees + 1, sizeof *arrangement->trees);
    arrangement->numbers = calloc(numbers + 1, sizeof *arrangement->numbers);
    arrangement->layout.rings = arrangement->rings;
    arrangement->layout.ring_count = rings;
    arrangement->layout.trees = arrangement->trees;
    arrangement->layout.tree_count = trees;
    if (arrangement->rings && arrangement->trees && arrangement->numbers) return true;
    arrangement_free(arrangement);
    return false;
}

/* Integers in the proportion of the bandwidths: exact where they stay small, else rounded, never 0. */
static void weights_find(const struct rational *bandwidths, uint32_t count, uint32_t *weights)
{
    double total = 0;
    uint64_t common = 1;
    for (uint32_t i = 0; i < count; i++) total += rational_value(bandwidths[i]);
    for (uint32_t i = 0; i < count && common; i++) {
        uint64_t divisor = (uint64_t)rational_gcd(common, bandwidths[i].denominator);
        uint64_t factor = bandwidths[i].denominator / divisor;
        common = factor && common <= UINT64_MAX / factor ? common * factor : 0;
    }
    unsigned __int128 divisor = 0, sum = 0;
    for (uint32_t i = 0; i < count && common; i++) {
        unsigned __int128 whole = (unsigned __int128)bandwidths[i].numerator * (common / bandwidths[i].denominator);
        divisor = rational_gcd(divisor, whole);
        sum += whole;
    }
    bool exact = common && divisor && sum / divisor <= WEIGHT_MAX;
    for (uint32_t i = 0; i < count; i++) {
        double rounded = rint(rational_value(bandwidths[i]) / total * WEIGHT_MAX);
        weights[i] = rounded >= 1 ? (uint32_t)rounded : 1;
        if (exact)
            weights[i] =
                (uint32_t)((unsigned __int128)bandwidths[i].numerator * (common / bandwidths[i].denominator) / divisor);
    }
}

static weft_status rings_make(const struct search_rings *rings, uint32_t rank_count, struct arrangement *made)
{
    uint32_t count = rings->ring_count;
    if (count == 0) return WEFT_UNSUPPORTED;
    struct rational *bandwidths = calloc(count, sizeof *bandwidths);
    uint32_t *weights = calloc(count, sizeof *weights);
    weft_status status = WEFT_OUT_OF_MEMORY;
    if (bandwidths && weights && arrangement_open(made, count, 0, (uint64_t)count * rank_count)) {
        for (uint32_t i = 0; i < count; i++) bandwidths[i] = rings->rings[i].bandwidth;
        weights_find(bandwidths, count, weights);
        for (uint32_t i = 0; i < count; i++) {
            uint32_t *order = made->numbers + (size_t)i * rank_count;
            memcpy(order, rings->rings[i].order, rank_count * sizeof *order);
            made->rings[i] = (weft_plan_ring){.order = order, .weight = weights[i]};
        }
        made->algbw = rational_valid(rings->algbw) ? rational_value(rings->algbw) : 0;
        status = WEFT_OK;
    }
    free(bandwidths);
    free(weights);
    return status;
}

/* Parents by rank of a listed tree whose ranks are rotated by @p places hosts. */
static void parents_fill(const struct search_result *search, const struct search_edge *edges, uint32_t edge_count,
                         uint32_t places, uint32_t *parents)
{
    for (uint32_t i = 0; i < edge_count; i++) {
        uint32_t child = edges[i].child, parent = edges[i].parent;
        if (places) child = search_rotate(search, child, places), parent = search_rotate(search, parent, places);
        parents[child] = parent;
    }
}

/* The first of all trees that differ in nothing but the links they take, turned to every host that it stands for. */
static void forest_fill(const struct search_result *search, const struct search_forest *forest, uint32_t turns,
                        const uint32_t *weights, struct arrangement *made)
{
    uint32_t n = search->rank_count, at = 0;
    for (uint32_t places = 0; places < turns; places++)
        for (uint32_t i = 0; i < forest->tree_count; i++) {
            const struct search_tree *tree = &forest->trees[i];
            uint32_t *down = made->numbers + 2 * (size_t)at * n, *up = down + n;
            if (forest->same_as[i] != i) continue;
            if (tree->edges) parents_fill(search, tree->edges, tree->edge_count, places, down);
            if (tree->reduce_edges) parents_fill(search, tree->reduce_edges, tree->edge_count, places, up);
            made->trees[at] = (weft_plan_tree){.root = places ? search_rotate(search, tree->root, places) : tree->root,
                                               .parents = tree->edges ? down : up,
                                               .reduce_parents = tree->reduce_edges ? up : NULL,
                                               .weight = weights[at % forest->different_count]};
            at++;
        }
}

static weft_status forest_make(const struct search_result *search, const struct search_forest *forest,
                               struct arrangement *made)
{
    uint32_t turns = forest->rotated ? search->hosts.host_count : 1, n = search->rank_count;
    uint32_t different = forest->different_count, filled = 0;
    uint64_t count = (uint64_t)different * turns;
    if (count == 0) return WEFT_UNSUPPORTED;
    if (count * n > ARRANGEMENT_NUMBERS_MAX / 2) return WEFT_RESOURCE_LIMIT;
    struct rational *bandwidths = calloc(different, sizeof *bandwidths);
    uint32_t *weights = calloc(different, sizeof *weights);
    weft_status status = WEFT_OUT_OF_MEMORY;
    if (bandwidths && weights && arrangement_open(made, 0, (uint32_t)count, 2 * count * n)) {
        for (uint32_t i = 0; i < forest->tree_count; i++)
            if (forest->same_as[i] == i) bandwidths[filled++] = search_same_bandwidth(forest, i);
        weights_find(bandwidths, different, weights);
        forest_fill(search, forest, turns, weights, made);
        made->algbw = rational_valid(forest->algbw) ? rational_value(forest->algbw) : 0;
        status = WEFT_OK;
    }
    free(bandwidths);
    free(weights);
    return status;
}

/* The ranks host by host, hosts in the order in which they are near each other in the fabric. */
static weft_status host_ring_make(const struct search_result *search, struct arrangement *made)
{
    const struct search_hosts *hosts = &search->hosts;
    if (hosts->host_count < 2 || !hosts->ranks) return WEFT_UNSUPPORTED;
    if (!arrangement_open(made, 1, 0, search->rank_count)) return WEFT_OUT_OF_MEMORY;
    memcpy(made->numbers, hosts->ranks, search->rank_count * sizeof *made->numbers);
    made->rings[0] = (weft_plan_ring){.order = made->numbers, .weight = 1};
    return WEFT_OK;
}

/* Double binary trees over hosts; inside a host a chain, a different rank at its head for each tree. */
static weft_status host_trees_make(const struct search_result *search, struct arrangement *made)
{
    const struct search_hosts *hosts = &search->hosts;
    uint32_t n = search->rank_count;
    if (hosts->host_count < 2 || !hosts->ranks || !hosts->binary_parents[0]) return WEFT_UNSUPPORTED;
    if (!arrangement_open(made, 0, 2, 2 * (uint64_t)n)) return WEFT_OUT_OF_MEMORY;
    for (uint32_t t = 0; t < 2; t++) {
        uint32_t *parents = made->numbers + (size_t)t * n;
        made->trees[t] = (weft_plan_tree){.parents = parents, .weight = 1};
        for (uint32_t place = 0; place < hosts->host_count; place++) {
            uint32_t first = hosts->first_rank[place], count = hosts->first_rank[place + 1] - first;
            uint32_t above = hosts->binary_parents[t][place], head = hosts->ranks[first + t % count];
            for (uint32_t i = 1; i < count; i++)
                parents[hosts->ranks[first + (t + i) % count]] = hosts->ranks[first + (t + i - 1) % count];
            if (above == TOPOLOGY_NONE) {
                made->trees[t].root = head;
                continue;
            }
            uint32_t above_first = hosts->first_rank[above], above_count = hosts->first_rank[above + 1] - above_first;
            parents[head] = hosts->ranks[above_first + t % above_count];
        }
    }
    return WEFT_OK;
}

weft_status arrangement_make(const struct search_result *search, enum arrangement_kind kind,
                             struct arrangement *arrangement)
{
    struct arrangement made = {0};
    weft_status status = WEFT_UNSUPPORTED;
    switch (kind) {
    case ARRANGE_HOST_RING:
        status = host_ring_make(search, &made);
        break;
    case ARRANGE_RINGS:
        status = rings_make(&search->rings, search->rank_count, &made);
        break;
    case ARRANGE_FRACTIONAL_RINGS:
        status = rings_make(&search->fractional_rings, search->rank_count, &made);
        break;
    case ARRANGE_HOST_TREES:
        status = host_trees_make(search, &made);
        break;
    case ARRANGE_TREES:
        status = forest_make(search, &search->forest, &made);
        break;
    case ARRANGE_TWO_PHASE_TREES:
        status = forest_make(search, &search->two_phase, &made);
        break;
    case ARRANGEMENT_KIND_COUNT:
        break;
    }
    if (status == WEFT_OK) *arrangement = made;
    return status;
}

/* ---- Places with several ranks ---- */

/* Ranks by place. */
struct crew {
    uint32_t *first; /* place_count + 1 offsets */
    uint32_t *ranks; /* ascending at each place */
    uint32_t place_count;
};

static bool crew_find(uint32_t place_count, const uint32_t *place_of, uint32_t rank_count, struct crew *crew)
{
    uint32_t *next = calloc((size_t)place_count + 1, sizeof *next);
    *crew = (struct crew){.first = calloc((size_t)place_count + 1, sizeof *crew->first),
                          .ranks = calloc((size_t)rank_count + 1, sizeof *crew->ranks),
                          .place_count = place_count};
    bool found = next && crew->first && crew->ranks;
    for (uint32_t rank = 0; found && rank < rank_count; rank++) crew->first[place_of[rank] + 1]++;
    for (uint32_t place = 0; found && place < place_count; place++) {
        crew->first[place + 1] += crew->first[place];
        next[place] = crew->first[place];
    }
    for (uint32_t rank = 0; found && rank < rank_count; rank++) crew->ranks[next[place_of[rank]]++] = rank;
    free(next);
    return found;
}

static void crew_free(struct crew *crew)
{
    free(crew->first);
    free(crew->ranks);
}

static uint32_t crew_count(const struct crew *crew, uint32_t place)
{
    return crew->first[place + 1] - crew->first[place];
}

/* The i-th rank of a place, counted from its @p turn-th around: each ring and tree enters at another one. */
static uint32_t crew_rank(const struct crew *crew, uint32_t place, uint32_t turn, uint32_t i)
{
    return crew->ranks[crew->first[place] + (turn + i) % crew_count(crew, place)];
}

static void parents_spread(const struct crew *crew, const uint32_t *parents, uint32_t root, uint32_t turn,
                           uint32_t *spread)
{
    for (uint32_t place = 0; place < crew->place_count; place++) {
        if (place != root) spread[crew_rank(crew, place, turn, 0)] = crew_rank(crew, parents[place], turn, 0);
        for (uint32_t i = 1; i < crew_count(crew, place); i++)
            spread[crew_rank(crew, place, turn, i)] = crew_rank(crew, place, turn, i - 1);
    }
}

static void rings_spread(const struct crew *crew, const struct arrangement *places, uint32_t rank_count,
                         struct arrangement *made)
{
    for (uint32_t ring = 0; ring < places->layout.ring_count; ring++) {
        uint32_t *order = made->numbers + (size_t)ring * rank_count, at = 0;
        for (uint32_t k = 0; k < crew->place_count; k++) {
            uint32_t place = places->rings[ring].order[k];
            for (uint32_t i = 0; i < crew_count(crew, place); i++) order[at++] = crew_rank(crew, place, ring, i);
        }
        made->rings[ring] = (weft_plan_ring){.order = order, .weight = places->rings[ring].weight};
    }
}

static void trees_spread(const struct crew *crew, const struct arrangement *places, uint32_t rank_count, bool per_root,
                         struct arrangement *made)
{
    uint32_t at = 0;
    for (uint32_t t = 0; t < places->layout.tree_count; t++) {
        const weft_plan_tree *tree = &places->trees[t];
        uint32_t copies = per_root ? crew_count(crew, tree->root) : 1;
        for (uint32_t copy = 0; copy < copies; copy++, at++) {
            uint32_t turn = per_root ? copy : t, *down = made->numbers + 2 * (size_t)at * rank_count;
            uint32_t *up = down + rank_count;
            parents_spread(crew, tree->parents, tree->root, turn, down);
            if (tree->reduce_parents) parents_spread(crew, tree->reduce_parents, tree->root, turn, up);
            made->trees[at] = (weft_plan_tree){.root = crew_rank(crew, tree->root, turn, 0),
                                               .parents = down,
                                               .reduce_parents = tree->reduce_parents ? up : NULL,
                                               .weight = tree->weight};
        }
    }
}

weft_status arrangement_spread(const struct arrangement *places, uint32_t place_count, const uint32_t *place_of,
                               uint32_t rank_count, bool per_root, struct arrangement *ranks)
{
    struct crew crew;
    struct arrangement made = {0};
    weft_status status = WEFT_OUT_OF_MEMORY;
    uint64_t trees = per_root ? 0 : places->layout.tree_count;
    if (!crew_find(place_count, place_of, rank_count, &crew)) goto out;
    for (uint32_t t = 0; per_root && t < places->layout.tree_count; t++)
        trees += crew_count(&crew, places->trees[t].root);
    uint64_t numbers = (places->layout.ring_count + 2 * trees) * rank_count;
    status = WEFT_RESOURCE_LIMIT;
    if (numbers > ARRANGEMENT_NUMBERS_MAX) goto out;
    status = WEFT_OUT_OF_MEMORY;
    if (!arrangement_open(&made, places->layout.ring_count, (uint32_t)trees, numbers)) goto out;
    rings_spread(&crew, places, rank_count, &made);
    trees_spread(&crew, places, rank_count, per_root, &made);
    made.algbw = places->algbw;
    *ranks = made;
    status = WEFT_OK;
out:
    crew_free(&crew);
    return status;
}

/* ---- Fewer ---- */

/* Which of the @p count weights is the place-th heaviest? Equal ones in their order. Few, so by counting. */
static bool among_heaviest(const uint32_t *weights, const uint32_t *roots, uint32_t count, uint32_t at, uint32_t most)
{
    uint32_t heavier = 0;
    for (uint32_t i = 0; i < count; i++)
        if (roots[i] == roots[at]) heavier += weights[i] > weights[at] || (weights[i] == weights[at] && i < at);
    return heavier < most;
}

static uint32_t arrangement_list(const struct arrangement *arrangement, bool per_root, uint32_t **weights,
                                 uint32_t **roots)
{
    bool rings = arrangement->layout.ring_count > 0;
    uint32_t count = rings ? arrangement->layout.ring_count : arrangement->layout.tree_count;
    *weights = calloc((size_t)count + 1, sizeof **weights);
    *roots = calloc((size_t)count + 1, sizeof **roots);
    for (uint32_t i = 0; *weights && *roots && i < count; i++) {
        (*weights)[i] = rings ? arrangement->rings[i].weight : arrangement->trees[i].weight;
        (*roots)[i] = rings || !per_root ? 0 : arrangement->trees[i].root;
    }
    return *weights && *roots ? count : 0;
}

bool arrangement_fewer(const struct arrangement *arrangement, bool per_root, uint32_t most, struct arrangement *fewer)
{
    uint32_t *weights, *roots, kept = 0, count = arrangement_list(arrangement, per_root, &weights, &roots);
    bool rings = arrangement->layout.ring_count > 0, made = count > 0 && arrangement_open(fewer, count, count, 0);
    double all = 0, left = 0;
    for (uint32_t i = 0; made && i < count; i++) {
        all += weights[i];
        if (!among_heaviest(weights, roots, count, i, most)) continue;
        left += weights[i];
        if (rings)
            fewer->rings[kept++] = arrangement->rings[i];
        else
            fewer->trees[kept++] = arrangement->trees[i];
    }
    if (made) {
        fewer->layout.ring_count = rings ? kept : 0;
        fewer->layout.tree_count = rings ? 0 : kept;
        fewer->algbw = all > 0 ? arrangement->algbw * left / all : 0;
    }
    free(weights);
    free(roots);
    return made;
}

uint32_t arrangement_depth(const struct arrangement *arrangement, bool per_root)
{
    uint32_t *weights, *roots, most = 0, count = arrangement_list(arrangement, per_root, &weights, &roots);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t same = 0;
        for (uint32_t k = 0; k < count; k++) same += roots[k] == roots[i];
        if (same > most) most = same;
    }
    free(weights);
    free(roots);
    return most;
}
