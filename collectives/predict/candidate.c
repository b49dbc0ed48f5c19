/* SPDX-License-Identifier: Apache-2.0 */
/* Plans for a topology: those that every number of ranks has, and those made of rings and trees that the search found.
 */
#include <stdio.h>

#include "collectives/arrange/arrange.h"
#include "collectives/arrange/grouping.h"
#include "collectives/predict/advice.h"

/* Edges of all trees together: more take longer to simulate than anybody waits for. */
#define TREE_EDGES_MAX 250000u

static struct candidate *candidate_add(struct advice *advice, const char *name, weft_algorithm algorithm)
{
    struct candidate *candidate = &advice->candidates[advice->candidate_count++];
    *candidate = (struct candidate){.name = name, .algorithm = algorithm};
    return candidate;
}

/* Make the candidate's plan; a refusal is kept, only running out of memory is an error. */
static weft_status candidate_make(const struct advice *advice, struct candidate *candidate,
                                  const weft_plan_layout *layout, uint32_t channel_count)
{
    const weft_plan_spec spec = {.size = sizeof spec,
                                 .collective = advice->request.collective,
                                 .algorithm = candidate->algorithm,
                                 .rank_count = advice->rank_count,
                                 .root = advice->request.root,
                                 .channel_count = channel_count,
                                 .slot_depth = advice->request.slot_depth,
                                 .layout = layout};
    candidate->refusal[0] = '\0';
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

/* Does every rank have trees of its own, so that fewer of them means fewer of each root? */
static bool is_per_root(const struct advice *advice, enum arrangement_kind kind)
{
    const struct plan_generator *generator = plan_generator_find(advice->request.collective, WEFT_ALGORITHM_TREE);
    return kind == ARRANGE_TWO_PHASE_TREES || (generator && generator->layout == LAYOUT_NEEDED);
}

/* Ever fewer of the heaviest, until their plan has channels enough. */
static weft_status candidate_thin(const struct advice *advice, struct candidate *candidate, enum arrangement_kind kind,
                                  const struct arrangement *found)
{
    bool per_root = is_per_root(advice, kind);
    uint32_t depth = arrangement_depth(found, per_root);
    candidate->found = depth;
    for (uint32_t kept = depth / 2; kept > 0 && !candidate->plan; kept /= 2) {
        struct arrangement fewer;
        if (!arrangement_fewer(found, per_root, kept, &fewer)) return WEFT_OUT_OF_MEMORY;
        candidate->kept = kept;
        weft_status status = candidate_make(advice, candidate, &fewer.layout, 0);
        arrangement_free(&fewer);
        if (status != WEFT_OK) return status;
    }
    return WEFT_OK;
}

static weft_status found_candidate(struct advice *advice, enum arrangement_kind kind)
{
    weft_algorithm algorithm = kind < ARRANGE_HOST_TREES ? WEFT_ALGORITHM_RING : WEFT_ALGORITHM_TREE;
    if (!wants(advice, algorithm)) return WEFT_OK;
    if (kind == ARRANGE_HOST_TREES && is_per_root(advice, kind)) return WEFT_OK; /* two roots do not serve all ranks */
    struct arrangement found;
    weft_status status = arrangement_make(advice->search, kind, &found);
    if (status == WEFT_UNSUPPORTED) return WEFT_OK; /* there is none */
    if (status == WEFT_OUT_OF_MEMORY) return status;
    struct candidate *candidate = candidate_add(advice, arrangement_name(kind), algorithm);
    if (status == WEFT_RESOURCE_LIMIT) {
        snprintf(candidate->refusal, sizeof candidate->refusal,
                 "no plan: there are more of them than a plan could hold");
        return WEFT_OK;
    }
    candidate->ideal_algbw = found.algbw;
    if ((uint64_t)found.layout.tree_count * advice->rank_count > TREE_EDGES_MAX) {
        snprintf(candidate->refusal, sizeof candidate->refusal,
                 "not priced: %u trees over %u ranks take too long to simulate", found.layout.tree_count,
                 advice->rank_count);
    } else {
        status = candidate_make(advice, candidate, &found.layout, 0);
        if (status == WEFT_OK && !candidate->plan) status = candidate_thin(advice, candidate, kind, &found);
    }
    arrangement_free(&found);
    return status;
}

static weft_status found_candidates(struct advice *advice)
{
    weft_status status = WEFT_OK;
    for (int kind = 0; kind < ARRANGEMENT_KIND_COUNT && status == WEFT_OK; kind++)
        status = found_candidate(advice, (enum arrangement_kind)kind);
    return status;
}

/* By hosts and parts of them, or where a topology has none, by ranks in order: an all-reduce in either of two ways. */
static weft_status hierarchical_candidates(struct advice *advice)
{
    struct grouping grouping = {0};
    bool two = advice->request.collective == WEFT_ALL_REDUCE;
    weft_status status = grouping_of_places(advice->topology, advice->endpoints, advice->rank_count, &grouping);
    if (status == WEFT_UNSUPPORTED) status = WEFT_OK;
    for (uint32_t channels = 1; channels <= 1u + two && status == WEFT_OK; channels++) {
        const char *name = grouping.numbers ? "hierarchical by hosts" : "hierarchical in rank order";
        if (two && channels == 1) name = "hierarchical through one rank of each group";
        if (two && channels == 2) name = "hierarchical by a share of every rank";
        struct candidate *candidate = candidate_add(advice, name, WEFT_ALGORITHM_HIERARCHICAL);
        status = candidate_make(advice, candidate, grouping.numbers ? &grouping.layout : NULL, channels);
    }
    grouping_free(&grouping);
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
        const struct plan_generator *generator = plan_generator_find(advice->request.collective, algorithm);
        if (!wants(advice, algorithm) || !generator || generator->layout == LAYOUT_NEEDED) continue;
        if (algorithm == WEFT_ALGORITHM_HIERARCHICAL) {
            status = hierarchical_candidates(advice);
            continue;
        }
        static const char *const names[] = {
            [WEFT_ALGORITHM_RING] = "ring in rank order",
            [WEFT_ALGORITHM_TREE] = "double binary tree in rank order",
        };
        bool named = (size_t)i < sizeof names / sizeof *names && names[i];
        struct candidate *candidate =
            candidate_add(advice, named ? names[i] : weft_algorithm_name(algorithm), algorithm);
        if (advice->rank_count > generator->rank_limit)
            snprintf(candidate->refusal, sizeof candidate->refusal, "no plan: it is for at most %u ranks",
                     generator->rank_limit);
        else
            status = candidate_make(advice, candidate, NULL, advice->request.channel_count);
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
