/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rings of a cluster of like hosts: one for each lane. In every host a ring enters at the lane's rank, passes all
 * others along one of the rings that were found for a host alone, and leaves at the last. Every other host is passed
 * the other way round, so that a ring enters each host on the rail on which it left the one before. With an odd number
 * of hosts one hop has to change rails, through the fabric or, where rails are apart, through a rank. Unlike hosts are
 * passed in rank order, by as many rings as help.
 */
#include <stdlib.h>
#include <string.h>

#include "topology/search/cluster.h"
#include "topology/search/lift.h"
#include "topology/search/rings.h"

struct threading {
    struct cluster *cluster;
    struct search_context *context;
    struct ring_set local; /* of one host */
    uint32_t ring_count;   /* of them, from the first, that lanes may follow; 0: ranks in order */
    uint64_t *load;        /* by hop: how many rings */
    uint32_t *leaving;     /* by local rank: lanes that leave a host by it */
    struct hop_list arcs;
};

static uint32_t place_in(const uint32_t *order, uint32_t rank)
{
    uint32_t at = 0;
    while (order[at] != rank) at++;
    return at;
}

/*
 * The local ring that a lane follows, begun at the lane's rank: order[0] enters, the last leaves; of all local rings
 * one whose last rank the fewest other lanes leave by.
 */
static void local_order(struct threading *t, uint32_t lane, uint32_t *order)
{
    const struct search_hosts *hosts = &t->context->result->hosts;
    uint32_t count = t->cluster->host_ranks, rings = t->ring_count, best = 0, least = UINT32_MAX;
    uint32_t entry = hosts->lane_count ? hosts->index_of_rank[hosts->lanes[lane].rank] : 0;
    for (uint32_t i = 0; i < rings; i++) {
        const uint32_t *ring = t->local.rings[(lane + i) % rings].order;
        uint32_t last = ring[(place_in(ring, entry) + count - 1) % count];
        if (t->leaving[last] >= least) continue;
        least = t->leaving[last];
        best = (lane + i) % rings;
    }
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t *ring = rings ? t->local.rings[best].order : NULL;
        order[i] = ring ? ring[(place_in(ring, entry) + i) % count] : (entry + i) % count;
    }
    t->leaving[order[count - 1]]++;
}

static bool add_hop(struct threading *t, uint32_t from, uint32_t to)
{
    const struct search_flow_graph *graph = t->context->graph;
    uint32_t first = t->arcs.count;
    if (!cluster_way(t->cluster, graph, t->load, from, to, false, &t->arcs) &&
        !cluster_way(t->cluster, graph, t->load, from, to, true, &t->arcs))
        return false;
    for (uint32_t i = first; i < t->arcs.count; i++) t->load[graph->arcs[t->arcs.hops[i]].first_hop]++;
    return true;
}

/* All ranks in the order in which a lane's ring passes them. */
static void ring_order(struct threading *t, uint32_t lane, uint32_t *local, uint32_t *order)
{
    const struct cluster *c = t->cluster;
    uint32_t total = 0;
    if (c->alike) local_order(t, lane, local);
    for (uint32_t place = 0; place < c->places; place++) {
        uint32_t count = c->shapes.rank_count[c->host_at[place]];
        for (uint32_t i = 0; i < count; i++) {
            uint32_t at = place % 2 ? count - 1 - i : i;
            order[total++] = cluster_node(c, place, c->alike ? local[at] : (at + lane) % count);
        }
    }
}

/* One ring through all hosts. */
static bool thread_lane(struct threading *t, uint32_t lane, struct ring_set *set)
{
    uint32_t ranks = t->context->graph->rank_count;
    uint32_t *local = malloc((t->cluster->host_ranks + 1u) * sizeof *local), *order = malloc(ranks * sizeof *order);
    uint32_t *first = malloc((ranks + 1u) * sizeof *first);
    bool ok = local && order && first;
    t->context->failed |= !ok;
    if (ok) ring_order(t, lane, local, order);
    t->arcs.count = 0;
    for (uint32_t i = 0; i < ranks && ok; i++) {
        first[i] = t->arcs.count;
        ok = !(i % 64 == 0 && search_expired(t->context->budget)) && add_hop(t, order[i], order[(i + 1) % ranks]);
    }
    struct ring *ring = ok ? ring_set_add(set, t->arcs.count) : NULL;
    t->context->failed |= ok && !ring;
    if (ring) {
        first[ranks] = t->arcs.count;
        memcpy(ring->order, order, ranks * sizeof *order);
        memcpy(ring->first, first, (ranks + 1u) * sizeof *first);
        memcpy(ring->arcs, t->arcs.hops, t->arcs.count * sizeof *ring->arcs);
        set->count++;
    }
    free(local);
    free(order);
    free(first);
    return ring != NULL;
}

/* All rings at the rate that the fullest arc allows. */
static struct rational weigh(const struct threading *t, struct ring_set *set)
{
    const struct search_flow_graph *graph = t->context->graph;
    struct rational rate = {UINT64_MAX, 1};
    for (uint32_t i = 0; i < graph->arc_count; i++) {
        uint64_t load = t->load[graph->arcs[i].first_hop];
        if (load) rate = rational_min(rate, rational_make((uint64_t)graph->arcs[i].capacity, load));
    }
    set->denominator = rate.denominator;
    for (uint32_t i = 0; i < set->count; i++) set->rings[i].weight = rate.numerator;
    return rate;
}

/* Rings for all lanes over the first @p ring_count local rings, if they have more in total than @p best. */
static void thread_all(struct threading *t, uint32_t ring_count, uint32_t lanes, struct rational *best,
                       struct ring_set *kept)
{
    struct ring_set set = {.rank_count = t->context->graph->rank_count};
    t->ring_count = ring_count;
    memset(t->load, 0, t->context->graph->hop_count * sizeof *t->load);
    memset(t->leaving, 0, t->cluster->host_ranks * sizeof *t->leaving);
    for (uint32_t lane = 0; lane < lanes && !t->context->failed; lane++)
        if (!thread_lane(t, lane, &set)) break;
    struct rational rate = set.count == lanes ? weigh(t, &set) : (struct rational){0, 1};
    rate = rational_multiply(rate, rational_make(lanes, 1));
    if (rational_valid(rate) && rational_compare(rate, *best) > 0) {
        struct ring_set slower = *kept;
        *kept = set;
        set = slower;
        *best = rate;
    }
    ring_set_free(&set);
}

weft_status lift_rings(struct search_context *context)
{
    struct search_result *result = context->result;
    struct cluster cluster;
    if (result->rings.ring_count) return WEFT_OK; /* broadcast has asked already */
    if (cluster_init(&cluster, context)) {
        struct threading t = {.cluster = &cluster, .context = context, .local = {.rank_count = cluster.host_ranks}};
        struct ring_set set = {.rank_count = context->graph->rank_count};
        struct search_context host = {.graph = &cluster.local, .budget = context->budget};
        struct rational best = {0, 1};
        uint32_t lanes = result->hosts.lane_count;
        if (cluster.alike && cluster.host_ranks > 1) rings_disjoint(&host, 0, 0, &t.local);
        t.leaving = calloc(cluster.host_ranks + 1u, sizeof *t.leaving);
        t.load = calloc(context->graph->hop_count + 1u, sizeof *t.load);
        context->failed |= !t.load || !t.leaving || host.failed;
        if (!cluster.alike) lanes = cluster.host_ranks;
        if (lanes == 0 || lanes > 64) lanes = 1;
        /* Behind switches any order will do, and a single one has all lanes leave by different ranks; where links are
         * direct, different rings keep out of one another's way. */
        if (!context->failed) thread_all(&t, t.local.count > 0, lanes, &best, &set);
        if (!context->failed && t.local.count > 1) thread_all(&t, t.local.count, lanes, &best, &set);
        if (!context->failed && lanes > 1 && !cluster.alike) thread_all(&t, 0, 1, &best, &set);
        if (!context->failed && set.count) rings_realize(context, &set, &result->rings);
        ring_set_free(&set);
        ring_set_free(&t.local);
        free(t.load);
        free(t.leaving);
        free(t.arcs.hops);
    }
    cluster_free(&cluster);
    return context->failed ? WEFT_OUT_OF_MEMORY : WEFT_OK;
}
