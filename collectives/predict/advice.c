/* SPDX-License-Identifier: Apache-2.0 */
#include "collectives/predict/advice.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "topology/simulate/route.h"

#define BYTES_DEFAULT (UINT64_C(256) << 20)
#define BUDGET_DEFAULT_NS (5 * NS_PER_S)
#define ASK_EVERY_NS (NS_PER_S / 2)
/* Plans of more ranks than this are taken in rank order only: a search would not end in any budget. */
enum { SEARCH_RANKS_MAX = 16384 };

bool advice_collective_bounded(weft_collective collective, enum search_collective *bounded)
{
    switch (collective) {
    case WEFT_ALL_REDUCE:
        *bounded = SEARCH_ALL_REDUCE;
        return true;
    case WEFT_ALL_GATHER:
        *bounded = SEARCH_ALL_GATHER;
        return true;
    case WEFT_REDUCE_SCATTER:
        *bounded = SEARCH_REDUCE_SCATTER;
        return true;
    case WEFT_BROADCAST:
        *bounded = SEARCH_BROADCAST;
        return true;
    case WEFT_REDUCE:
        *bounded = SEARCH_REDUCE;
        return true;
    default:
        return false;
    }
}

static uint32_t ranks_find(const weft_topology *topology, enum node_kind kind, uint32_t *endpoints)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < topology->node_count; i++)
        if (topology->nodes[i].kind == kind) endpoints[count++] = i;
    return count;
}

weft_status advice_open(struct advice *advice, const weft_topology *topology, const weft_topology_request *request,
                        struct diagnostic *diagnostic)
{
    *advice = (struct advice){.topology = topology, .request = *request, .chosen = CANDIDATES_MAX};
    if ((unsigned)request->collective >= WEFT_COLLECTIVE_COUNT || (unsigned)request->algorithm >= WEFT_ALGORITHM_COUNT)
        return diagnose(diagnostic, WEFT_INVALID_ARGUMENT, "no such collective or algorithm");
    if (!advice->request.bytes) advice->request.bytes = BYTES_DEFAULT;
    if (!advice->request.budget_ns) advice->request.budget_ns = BUDGET_DEFAULT_NS;
    advice->begun_ns = advice->asked_ns = clock_now_ns();
    advice->deadline_ns = clock_after_ns(advice->asked_ns, advice->request.budget_ns);
    advice->endpoints = calloc((size_t)topology->node_count + 1, sizeof *advice->endpoints);
    if (!advice->endpoints) return diagnose(diagnostic, WEFT_OUT_OF_MEMORY, "no memory for ranks");
    advice->rank_count = ranks_find(topology, NODE_GPU, advice->endpoints);
    if (advice->rank_count == 0) advice->rank_count = ranks_find(topology, NODE_HOST, advice->endpoints);
    if (advice->rank_count == 0)
        return diagnose(diagnostic, WEFT_UNSUPPORTED, "the topology has neither GPUs nor hosts to put ranks on");
    if (request->root >= advice->rank_count)
        return diagnose(diagnostic, WEFT_INVALID_ARGUMENT, "root %u is no rank: there are %u", request->root,
                        advice->rank_count);
    return WEFT_OK;
}

void advice_close(struct advice *advice)
{
    for (uint32_t i = 0; i < advice->candidate_count; i++) {
        weft_plan_destroy(advice->candidates[i].plan);
        prediction_free(&advice->candidates[i].prediction);
    }
    topology_search_free(advice->search);
    free(advice->assumed);
    free(advice->endpoints);
}

/* False once the caller has had enough. */
static bool advice_ask(struct advice *advice, double share_done)
{
    uint64_t now_ns = clock_now_ns();
    if (!advice->request.progress || now_ns - advice->asked_ns < ASK_EVERY_NS) return !advice->ended;
    advice->asked_ns = now_ns;
    if (!advice->request.progress(advice->request.context, advice->activity, share_done)) advice->ended = true;
    return !advice->ended;
}

static bool search_is_over(void *context)
{
    struct advice *advice = context;
    uint64_t now_ns = clock_now_ns();
    double share = (double)(now_ns - advice->begun_ns) / (double)advice->request.budget_ns;
    return !advice_ask(advice, share < 1 ? share : 1) || now_ns >= advice->deadline_ns;
}

weft_status advice_search(struct advice *advice, struct diagnostic *diagnostic)
{
    enum search_collective bounded;
    if (!advice_collective_bounded(advice->request.collective, &bounded))
        return diagnose(diagnostic, WEFT_UNSUPPORTED, "no bound is known for %s",
                        weft_collective_name(advice->request.collective));
    if (advice->rank_count > SEARCH_RANKS_MAX)
        return diagnose(diagnostic, WEFT_UNSUPPORTED, "%u ranks are too many to search; at most %d", advice->rank_count,
                        SEARCH_RANKS_MAX);
    uint32_t parts = SEARCH_BOUNDS;
    if (advice->request.algorithm != WEFT_ALGORITHM_TREE) parts |= SEARCH_RINGS;
    if (advice->request.algorithm != WEFT_ALGORITHM_RING) parts |= SEARCH_TREES;
    const struct search_request request = {.collective = bounded,
                                           .parts = parts,
                                           .endpoints = advice->endpoints,
                                           .endpoint_count = advice->rank_count,
                                           .root = advice->request.root,
                                           .budget = {search_is_over, advice}};
    advice->activity = "searching rings and trees";
    weft_status status = topology_search(advice->topology, &request, &advice->search, diagnostic);
    if (advice->ended) return diagnose(diagnostic, WEFT_REVOKED, "the search was ended");
    if (status != WEFT_OK) return status;
    /* Of links that the topology shows, and none for NICs into a network that it does not. */
    uint32_t shown = 2 * advice->topology->link_count;
    advice->assumed = calloc((size_t)route_link_count(advice->topology) + 1, sizeof *advice->assumed);
    if (!advice->assumed) return diagnose(diagnostic, WEFT_OUT_OF_MEMORY, "no memory for a search's figures");
    for (uint32_t i = 0; i < shown; i++) advice->assumed[i] = advice->search->hop_capacity[i];
    return WEFT_OK;
}

const struct search_rings *advice_rings(const struct advice *advice)
{
    const struct search_rings *whole = &advice->search->rings, *fractional = &advice->search->fractional_rings;
    if (!fractional->ring_count || !rational_valid(fractional->bandwidth)) return whole->ring_count ? whole : NULL;
    if (!whole->ring_count || !rational_valid(whole->bandwidth)) return fractional;
    return rational_compare(fractional->bandwidth, whole->bandwidth) > 0 ? fractional : whole;
}

static bool prediction_goes_on(void *context, double share_done)
{
    return advice_ask(context, share_done);
}

weft_status advice_predict(struct advice *advice, struct diagnostic *diagnostic)
{
    struct diagnostic refused = {0};
    for (uint32_t i = 0; i < advice->candidate_count; i++) {
        struct candidate *candidate = &advice->candidates[i];
        if (!candidate->plan) continue;
        bool assumes = advice->search && !advice->search->unit_is_link;
        const struct predict_request request = {.topology = advice->topology,
                                                /* what the bound was found with */
                                                .assumed = assumes ? advice->assumed : NULL,
                                                .plan = candidate->plan,
                                                .endpoints = advice->endpoints,
                                                .bytes = advice->request.bytes,
                                                .slice_count = advice->request.slice_count,
                                                .work_budget = advice->work_budget,
                                                .go_on = prediction_goes_on,
                                                .context = advice};
        advice->activity = candidate->name;
        weft_status status = predict_plan(&request, &candidate->prediction, &refused);
        if (status == WEFT_DEADLINE_EXCEEDED || advice->ended)
            return diagnose(diagnostic, WEFT_REVOKED, "the simulation was ended");
        if (status == WEFT_OUT_OF_MEMORY) return diagnose(diagnostic, status, "%s", refused.text);
        candidate->predicted = status == WEFT_OK;
        if (status != WEFT_OK) snprintf(candidate->refusal, sizeof candidate->refusal, "%s", refused.text);
        if (!candidate->predicted) continue;
        if (advice->chosen == CANDIDATES_MAX ||
            candidate->prediction.seconds < advice->candidates[advice->chosen].prediction.seconds)
            advice->chosen = i;
    }
    if (advice->chosen != CANDIDATES_MAX) return WEFT_OK;
    for (uint32_t i = 0; i < advice->candidate_count && !refused.text[0]; i++)
        snprintf(refused.text, sizeof refused.text, "%s", advice->candidates[i].refusal);
    return diagnose(diagnostic, WEFT_UNSUPPORTED, "%s", refused.text);
}

void advice_node_name(const weft_topology *topology, uint32_t node, char name[128])
{
    const struct topology_node *at = &topology->nodes[node];
    uint32_t host = topology_host_of(topology, node);
    if (host == TOPOLOGY_NONE || host == node)
        snprintf(name, 128, "%s %.100s", topology_node_kind_name(at->kind), at->name);
    else
        snprintf(name, 128, "%s %.50s/%.50s", topology_node_kind_name(at->kind), topology->nodes[host].name, at->name);
}

void advice_link_name(const weft_topology *topology, uint32_t route_link, char name[300])
{
    char from[128], to[128] = "the network that is not shown";
    if (route_link / 2 >= topology->link_count) {
        advice_node_name(topology, route_link / 2 - topology->link_count, from);
        snprintf(name, 300, route_link % 2 ? "%2$s -> %1$s" : "%1$s -> %2$s", from, to);
        return;
    }
    const struct topology_link *link = &topology->links[route_link / 2];
    advice_node_name(topology, route_link % 2 ? link->to : link->from, from);
    advice_node_name(topology, route_link % 2 ? link->from : link->to, to);
    snprintf(name, 300, "%s -> %s (%s)", from, to, topology_link_kind_name(link->kind));
}
