/* SPDX-License-Identifier: Apache-2.0 */
/* Plans for a topology: those that every number of ranks has, and those made of rings and trees that the search found.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "collectives/predict/advice.h"

/* A plan's shares are integers; more of them than this together, and fractions are rounded. */
#define WEIGHT_MAX 100000u
/* Trees of more ranks and roots than this are not turned into plans: they have more channels than a plan may. */
enum { TREES_MAX = 4096 };

static struct candidate *candidate_add(struct advice *advice, const char *name, weft_algorithm algorithm)
{
    struct candidate *candidate = &advice->candidates[advice->candidate_count++];
    *candidate = (struct candidate){.name = name, .algorithm = algorithm};
    return candidate;
}

/* Make the candidate's plan; a refusal is kept, only running out of memory is an error. */
static weft_status candidate_make(const struct advice *advice, struct candidate *candidate,
                                  const weft_plan_layout *layout)
{
    const weft_plan_spec spec = {.size = sizeof spec,
                                 .collective = advice->request.collective,
                                 .algorithm = candidate->algorithm,
                                 .rank_count = advice->rank_count,
                                 .root = advice->request.root,
                                 .channel_count = layout ? 0 : advice->request.channel_count,
                                 .slot_depth = advice->request.slot_depth,
                                 .layout = layout};
    weft_status status = weft_plan_create(&spec, &candidate->plan);
    if (status == WEFT_OK || status == WEFT_OUT_OF_MEMORY) return status;
    if (status == WEFT_RESOURCE_LIMIT)
        snprintf(candidate->refusal, sizeof candidate->refusal,
                 "no plan: so many of them share pairs of ranks that %u channels do not do", PLAN_MAX_CHANNELS);
    else if (status == WEFT_UNSUPPORTED)
        snprintf(candidate->refusal, sizeof candidate->refusal, "no plan for %u ranks", advice->rank_count);
    else
        snprintf(candidate->refusal, sizeof candidate->refusal, "no plan: %s", weft_status_text(status));
    return WEFT_OK;
}

static bool wants(const struct advice *advice, weft_algorithm algorithm)
{
    return advice->request.algorithm == WEFT_ALGORITHM_AUTO || advice->request.algorithm == algorithm;
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

static weft_status rings_candidate(struct advice *advice, const char *name, const struct search_rings *rings)
{
    if (rings->ring_count == 0) return WEFT_OK;
    struct candidate *candidate = candidate_add(advice, name, WEFT_ALGORITHM_RING);
    candidate->ideal_algbw = rational_valid(rings->algbw) ? rational_value(rings->algbw) : 0;
    struct rational *bandwidths = calloc(rings->ring_count, sizeof *bandwidths);
    uint32_t *weights = calloc(rings->ring_count, sizeof *weights);
    weft_plan_ring *layout_rings = calloc(rings->ring_count, sizeof *layout_rings);
    weft_status status = WEFT_OUT_OF_MEMORY;
    if (bandwidths && weights && layout_rings) {
        for (uint32_t i = 0; i < rings->ring_count; i++) bandwidths[i] = rings->rings[i].bandwidth;
        weights_find(bandwidths, rings->ring_count, weights);
        for (uint32_t i = 0; i < rings->ring_count; i++)
            layout_rings[i] = (weft_plan_ring){.order = rings->rings[i].order, .weight = weights[i]};
        const weft_plan_layout layout = {.size = sizeof layout, .rings = layout_rings, .ring_count = rings->ring_count};
        status = candidate_make(advice, candidate, &layout);
    }
    free(bandwidths);
    free(weights);
    free(layout_rings);
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

static weft_status forest_candidate(struct advice *advice, const char *name, const struct search_forest *forest)
{
    const struct search_result *search = advice->search;
    uint32_t turns = forest->rotated ? search->hosts.host_count : 1, n = advice->rank_count;
    uint64_t count = (uint64_t)forest->tree_count * turns;
    if (count == 0) return WEFT_OK;
    struct candidate *candidate = candidate_add(advice, name, WEFT_ALGORITHM_TREE);
    candidate->ideal_algbw = rational_valid(forest->algbw) ? rational_value(forest->algbw) : 0;
    if (count > TREES_MAX) {
        snprintf(candidate->refusal, sizeof candidate->refusal,
                 "no plan: %llu trees need more channels than a plan has", (unsigned long long)count);
        return WEFT_OK;
    }
    struct rational *bandwidths = calloc(count, sizeof *bandwidths);
    uint32_t *weights = calloc(count, sizeof *weights), *parents = calloc(2 * count * n + 1, sizeof *parents);
    weft_plan_tree *trees = calloc(count, sizeof *trees);
    weft_status status = WEFT_OUT_OF_MEMORY;
    if (bandwidths && weights && parents && trees) {
        for (uint32_t i = 0; i < count; i++) bandwidths[i] = forest->trees[i % forest->tree_count].bandwidth;
        weights_find(bandwidths, (uint32_t)count, weights);
        for (uint32_t i = 0; i < count; i++) {
            const struct search_tree *tree = &forest->trees[i % forest->tree_count];
            uint32_t places = i / forest->tree_count, *down = parents + 2 * (size_t)i * n, *up = down + n;
            if (tree->edges) parents_fill(search, tree->edges, tree->edge_count, places, down);
            if (tree->reduce_edges) parents_fill(search, tree->reduce_edges, tree->edge_count, places, up);
            trees[i] = (weft_plan_tree){.root = places ? search_rotate(search, tree->root, places) : tree->root,
                                        .parents = tree->edges ? down : up,
                                        .reduce_parents = tree->reduce_edges ? up : NULL,
                                        .weight = weights[i]};
        }
        const weft_plan_layout layout = {.size = sizeof layout, .trees = trees, .tree_count = (uint32_t)count};
        status = candidate_make(advice, candidate, &layout);
    }
    free(bandwidths);
    free(weights);
    free(parents);
    free(trees);
    return status;
}

/* The ranks host by host, hosts in the order in which they are near each other in the fabric. */
static weft_status host_ring_candidate(struct advice *advice)
{
    const struct search_hosts *hosts = &advice->search->hosts;
    if (hosts->host_count < 2 || !hosts->ranks) return WEFT_OK;
    struct candidate *candidate =
        candidate_add(advice, "one ring, host by host in the fabric's order", WEFT_ALGORITHM_RING);
    const weft_plan_ring ring = {.order = hosts->ranks, .weight = 1};
    const weft_plan_layout layout = {.size = sizeof layout, .rings = &ring, .ring_count = 1};
    return candidate_make(advice, candidate, &layout);
}

/* Double binary trees over hosts; inside a host a chain, a different rank at its head for each tree. */
static weft_status host_tree_candidate(struct advice *advice)
{
    const struct search_hosts *hosts = &advice->search->hosts;
    if (hosts->host_count < 2 || !hosts->ranks || !hosts->binary_parents[0]) return WEFT_OK;
    uint32_t n = advice->rank_count, *parents[2];
    struct candidate *candidate =
        candidate_add(advice, "double binary tree over hosts, chains inside", WEFT_ALGORITHM_TREE);
    weft_plan_tree trees[2];
    if (!(parents[0] = calloc(2 * (size_t)n, sizeof *parents[0]))) return WEFT_OUT_OF_MEMORY;
    parents[1] = parents[0] + n;
    for (uint32_t t = 0; t < 2; t++) {
        for (uint32_t place = 0; place < hosts->host_count; place++) {
            uint32_t first = hosts->first_rank[place], count = hosts->first_rank[place + 1] - first;
            uint32_t above = hosts->binary_parents[t][place], head = hosts->ranks[first + t % count];
            for (uint32_t i = 1; i < count; i++)
                parents[t][hosts->ranks[first + (t + i) % count]] = hosts->ranks[first + (t + i - 1) % count];
            if (above == TOPOLOGY_NONE) {
                trees[t] = (weft_plan_tree){.root = head, .parents = parents[t], .weight = 1};
                continue;
            }
            uint32_t above_first = hosts->first_rank[above], above_count = hosts->first_rank[above + 1] - above_first;
            parents[t][head] = hosts->ranks[above_first + t % above_count];
        }
    }
    const weft_plan_layout layout = {.size = sizeof layout, .trees = trees, .tree_count = 2};
    weft_status status = candidate_make(advice, candidate, &layout);
    free(parents[0]);
    return status;
}

static weft_status found_candidates(struct advice *advice)
{
    const struct search_result *search = advice->search;
    weft_status status = WEFT_OK;
    if (wants(advice, WEFT_ALGORITHM_RING)) {
        status = host_ring_candidate(advice);
        if (status == WEFT_OK) status = rings_candidate(advice, "edge-disjoint rings", &search->rings);
        if (status == WEFT_OK) status = rings_candidate(advice, "fractional rings", &search->fractional_rings);
    }
    if (wants(advice, WEFT_ALGORITHM_TREE)) {
        if (status == WEFT_OK) status = host_tree_candidate(advice);
        if (status == WEFT_OK) status = forest_candidate(advice, "packed trees", &search->forest);
        if (status == WEFT_OK)
            status = forest_candidate(advice, "packed trees, reduce-scatter then all-gather", &search->two_phase);
    }
    return status;
}

/* Two names for one plan are one candidate, under the name that came first. */
static void same_plans_drop(struct advice *advice)
{
    uint64_t hashes[CANDIDATES_MAX];
    uint32_t kept = 0;
    for (uint32_t i = 0; i < advice->candidate_count; i++) {
        struct candidate *candidate = &advice->candidates[i];
        bool same = false;
        hashes[kept] = candidate->plan ? weft_plan_hash(candidate->plan) : 0;
        for (uint32_t k = 0; k < kept; k++) same = same || (candidate->plan && hashes[k] == hashes[kept]);
        if (same)
            weft_plan_destroy(candidate->plan);
        else
            advice->candidates[kept++] = *candidate;
    }
    advice->candidate_count = kept;
}

weft_status advice_candidates(struct advice *advice, struct diagnostic *diagnostic)
{
    weft_status status = WEFT_OK;
    for (int i = WEFT_ALGORITHM_AUTO + 1; i < WEFT_ALGORITHM_COUNT && status == WEFT_OK; i++) {
        weft_algorithm algorithm = (weft_algorithm)i;
        if (!wants(advice, algorithm) || !plan_generator_find(advice->request.collective, algorithm)) continue;
        static const char *const names[] = {
            [WEFT_ALGORITHM_RING] = "ring in rank order",
            [WEFT_ALGORITHM_TREE] = "double binary tree in rank order",
        };
        bool named = (size_t)i < sizeof names / sizeof *names && names[i];
        struct candidate *candidate =
            candidate_add(advice, named ? names[i] : weft_algorithm_name(algorithm), algorithm);
        status = candidate_make(advice, candidate, NULL);
    }
    if (status == WEFT_OK && advice->search) status = found_candidates(advice);
    if (status != WEFT_OK) return diagnose(diagnostic, status, "no memory for plans");
    same_plans_drop(advice);
    if (advice->candidate_count == 0)
        return diagnose(diagnostic, WEFT_UNSUPPORTED, "%s has no %s algorithm",
                        weft_collective_name(advice->request.collective),
                        weft_algorithm_name(advice->request.algorithm));
    return WEFT_OK;
}
