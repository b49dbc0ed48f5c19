/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Splitting switches away. Taking capacity from u -> w -> t and giving it to u -> t lowers just those cuts that have u
 * and t on one side and w on the other; how far they may sink, two families of minimum cuts say. Where as much leads
 * into a switch as out of it, all of it can be split away, in any order. The order matters for latency, though: shares
 * in proportion come first, so that ranks behind one switch see each other directly, in one step.
 */
#include <stdlib.h>
#include <string.h>

#include "topology/search/forest.h"
#include "topology/search/max_flow.h"

struct splitting {
    struct logical_graph *logical;
    const struct search_budget *budget;
    int64_t *pair; /* node_count^2: capacity from one to the other */
    uint32_t *pair_arc;
    struct max_flow network;
    uint32_t source, sink, first_end; /* first_end: arcs source -> node and node -> sink, two for each node */
    uint32_t last_tight;              /* the rank that bound last time binds again, most often */
    bool expired;
};

static int64_t *pair_of(const struct splitting *s, uint32_t from, uint32_t to)
{
    return &s->pair[(size_t)from * s->logical->node_count + to];
}

static uint32_t add_logical(struct splitting *s, struct logical_arc arc)
{
    struct logical_graph *logical = s->logical;
    if (logical->arc_count == logical->arc_capacity) {
        uint32_t capacity = logical->arc_capacity ? 2 * logical->arc_capacity : 128;
        struct logical_arc *arcs = realloc(logical->arcs, capacity * sizeof *arcs);
        if (!arcs) {
            logical->failed = true;
            return TOPOLOGY_NONE;
        }
        logical->arcs = arcs;
        logical->arc_capacity = capacity;
    }
    logical->arcs[logical->arc_count] = arc;
    *pair_of(s, arc.from, arc.to) += arc.capacity;
    return logical->arc_count++;
}

/* The flow network of all pairs that have capacity now, or may get some while @p node is split away. */
static void build_network(struct splitting *s, uint32_t node)
{
    uint32_t count = s->logical->node_count;
    s->source = count;
    s->sink = count + 1;
    max_flow_clear(&s->network, count + 2);
    for (uint32_t from = 0; from < count; from++)
        for (uint32_t to = 0; to < count; to++) {
            int64_t capacity = *pair_of(s, from, to);
            bool needed = capacity || (from != to && *pair_of(s, from, node) && *pair_of(s, node, to));
            if (needed) s->pair_arc[(size_t)from * count + to] = max_flow_add(&s->network, from, to, capacity);
        }
    s->first_end = s->network.arc_count;
    for (uint32_t i = 0; i < count; i++) {
        max_flow_add(&s->network, s->source, i, i < s->logical->rank_count ? (int64_t)s->logical->demand[i] : 0);
        max_flow_add(&s->network, i, s->sink, 0);
    }
}

static void force_source(struct splitting *s, uint32_t node, bool on)
{
    bool rank = node < s->logical->rank_count;
    int64_t usual = rank ? (int64_t)s->logical->demand[node] : 0;
    max_flow_set(&s->network, s->first_end + 4 * node, on ? MAX_FLOW_UNLIMITED : usual);
}

static void force_sink(struct splitting *s, uint32_t node, bool on)
{
    max_flow_set(&s->network, s->first_end + 4 * node + 2, on ? MAX_FLOW_UNLIMITED : 0);
}

static void set_pair(struct splitting *s, uint32_t from, uint32_t to)
{
    max_flow_set(&s->network, s->pair_arc[(size_t)from * s->logical->node_count + to], *pair_of(s, from, to));
}

/* min(@p room, slack of the tightest cut that the present forces allow and that misses some rank). */
static int64_t slack(struct splitting *s, int64_t room, uint32_t not_one, uint32_t not_other)
{
    int64_t total = (int64_t)s->logical->total_demand;
    uint32_t ranks = s->logical->rank_count;
    for (uint32_t i = 0; i < ranks && room > 0; i++) {
        uint32_t rank = (s->last_tight + i) % ranks;
        if (rank == not_one || rank == not_other) continue;
        force_sink(s, rank, true);
        int64_t flow = max_flow_run(&s->network, s->source, s->sink, total + room);
        force_sink(s, rank, false);
        if (flow - total >= room) continue;
        room = flow - total;
        if (room <= 0) s->last_tight = rank;
    }
    return room < 0 ? 0 : room;
}

/* How much may go from u -> w -> t to u -> t, at most @p room. */
static int64_t splittable(struct splitting *s, uint32_t u, uint32_t w, uint32_t t, int64_t room)
{
    force_source(s, u, true);
    force_source(s, t, true);
    force_sink(s, w, true);
    room = slack(s, room, u, t);
    force_source(s, u, false);
    force_source(s, t, false);
    force_sink(s, w, false);
    force_source(s, w, true);
    force_sink(s, u, true);
    force_sink(s, t, true);
    /* Ranks u and t are on the far side already: then no other rank has to be. */
    uint32_t ranks = s->logical->rank_count;
    if (room > 0 && (u < ranks || t < ranks)) {
        int64_t total = (int64_t)s->logical->total_demand;
        int64_t flow = max_flow_run(&s->network, s->source, s->sink, total + room);
        if (flow - total < room) room = flow - total < 0 ? 0 : flow - total;
    } else {
        room = slack(s, room, TOPOLOGY_NONE, TOPOLOGY_NONE);
    }
    force_source(s, w, false);
    force_sink(s, u, false);
    force_sink(s, t, false);
    return room;
}

/* Compose u -> w -> t of whatever logical arcs make it up, @p amount in all. */
static void compose(struct splitting *s, uint32_t u, uint32_t w, uint32_t t, int64_t amount)
{
    struct logical_graph *logical = s->logical;
    *pair_of(s, u, w) -= amount;
    *pair_of(s, w, t) -= amount;
    uint32_t in = 0, out = 0, count = logical->arc_count;
    while (amount > 0 && !logical->failed) {
        while (in < count && !(logical->arcs[in].from == u && logical->arcs[in].to == w && logical->arcs[in].capacity))
            in++;
        while (out < count &&
               !(logical->arcs[out].from == w && logical->arcs[out].to == t && logical->arcs[out].capacity))
            out++;
        int64_t part = amount;
        if (logical->arcs[in].capacity < part) part = logical->arcs[in].capacity;
        if (logical->arcs[out].capacity < part) part = logical->arcs[out].capacity;
        logical->arcs[in].capacity -= part;
        logical->arcs[out].capacity -= part;
        amount -= part;
        add_logical(s, (struct logical_arc){.from = u, .to = t, .capacity = part, .first = in, .second = out});
    }
}

static void split_pair(struct splitting *s, uint32_t u, uint32_t w, uint32_t t, int64_t limit)
{
    int64_t room = *pair_of(s, u, w) < *pair_of(s, w, t) ? *pair_of(s, u, w) : *pair_of(s, w, t);
    if (limit < room) room = limit;
    if (room <= 0 || u == t) return;
    int64_t amount = splittable(s, u, w, t, room);
    if (amount <= 0) return;
    compose(s, u, w, t, amount);
    set_pair(s, u, w);
    set_pair(s, w, t);
    set_pair(s, u, t);
}

/* Can every rank still receive every tree? */
static bool connected(struct splitting *s)
{
    int64_t total = (int64_t)s->logical->total_demand;
    bool enough = true;
    for (uint32_t rank = 0; rank < s->logical->rank_count && enough; rank++) {
        force_sink(s, rank, true);
        enough = max_flow_run(&s->network, s->source, s->sink, total) == total;
        force_sink(s, rank, false);
    }
    return enough;
}

/* Exactly as in the graph with w: all that goes through w comes from one node or goes to one. */
static bool bypass(struct splitting *s, uint32_t w)
{
    uint32_t count = s->logical->node_count, ins = 0, outs = 0, in = 0, out = 0;
    int64_t in_sum = 0, out_sum = 0;
    for (uint32_t node = 0; node < count; node++) {
        int64_t from = *pair_of(s, node, w), to = *pair_of(s, w, node);
        if (from) ins++, in = node, in_sum += from;
        if (to) outs++, out = node, out_sum += to;
    }
    bool one_in = ins == 1 && (outs == 1 || in_sum >= out_sum), one_out = outs == 1 && (ins == 1 || out_sum >= in_sum);
    if (!one_in && !one_out) return false;
    for (uint32_t node = 0; node < count; node++) {
        uint32_t u = one_in ? in : node, t = one_in ? node : out;
        int64_t amount = *pair_of(s, u, w) < *pair_of(s, w, t) ? *pair_of(s, u, w) : *pair_of(s, w, t);
        if (u != t && amount > 0) compose(s, u, w, t, amount);
    }
    return true;
}

static int64_t proportion(const struct splitting *s, uint32_t u, uint32_t w, uint32_t t, int64_t in_sum)
{
    int64_t others = in_sum - *pair_of(s, t, w);
    if (u == t || others <= 0) return 0;
    return (int64_t)((__int128)*pair_of(s, u, w) * *pair_of(s, w, t) / others);
}

static bool split_node(struct splitting *s, uint32_t w)
{
    uint32_t count = s->logical->node_count;
    if (bypass(s, w)) return true;
    build_network(s, w);
    int64_t in_sum = 0;
    for (uint32_t u = 0; u < count; u++) in_sum += *pair_of(s, u, w);
    int64_t *share = malloc((size_t)count * count * sizeof *share);
    if (!share) {
        s->logical->failed = true;
        return false;
    }
    for (uint32_t u = 0; u < count; u++)
        for (uint32_t t = 0; t < count; t++) share[(size_t)u * count + t] = proportion(s, u, w, t, in_sum);
    for (int round = 0; round < 2; round++) /* shares in proportion, then whatever goes */
        for (uint32_t t = 0; t < count; t++)
            for (uint32_t u = 0; u<count && * pair_of(s, w, t)> 0; u++) {
                if (*pair_of(s, u, w) == 0) continue;
                if (search_expired(s->budget)) s->expired = true;
                if (s->expired || s->network.failed || s->logical->failed) goto done;
                split_pair(s, u, w, t, round ? INT64_MAX : share[(size_t)u * count + t]);
            }
done:
    free(share);
    return !s->expired && !s->network.failed && !s->logical->failed;
}

/* What could not be split away is dropped: only if nobody needs it. */
static void drop_node(struct splitting *s, uint32_t w)
{
    for (uint32_t node = 0; node < s->logical->node_count; node++) *pair_of(s, node, w) = *pair_of(s, w, node) = 0;
    for (uint32_t i = 0; i < s->logical->arc_count; i++)
        if (s->logical->arcs[i].from == w || s->logical->arcs[i].to == w) s->logical->arcs[i].capacity = 0;
}

static bool split_all(struct splitting *s)
{
    struct logical_graph *logical = s->logical;
    for (uint32_t left = logical->node_count - logical->rank_count; left > 0; left--) {
        uint32_t best = TOPOLOGY_NONE, best_degree = UINT32_MAX; /* few neighbours first: NICs and bridges are free */
        for (uint32_t w = logical->rank_count; w < logical->node_count; w++) {
            uint32_t degree = 0;
            for (uint32_t node = 0; node < logical->node_count; node++)
                degree += (*pair_of(s, node, w) > 0) + (*pair_of(s, w, node) > 0);
            if (degree > 0 && degree < best_degree) best = w, best_degree = degree;
        }
        if (best == TOPOLOGY_NONE) break;
        if (!split_node(s, best)) return false;
        drop_node(s, best);
    }
    build_network(s, 0);
    return connected(s) && !s->network.failed && !logical->failed;
}

bool split_switches(const struct search_flow_graph *graph, uint64_t scale, const uint64_t *demand,
                    const struct search_budget *budget, struct logical_graph *logical)
{
    *logical =
        (struct logical_graph){.node_count = graph->node_count, .rank_count = graph->rank_count, .demand = demand};
    for (uint32_t rank = 0; rank < graph->rank_count; rank++) logical->total_demand += demand[rank];
    struct splitting s = {.logical = logical, .budget = budget};
    size_t pairs = (size_t)graph->node_count * graph->node_count + 1;
    s.pair = calloc(pairs, sizeof *s.pair);
    s.pair_arc = calloc(pairs, sizeof *s.pair_arc);
    bool ok = s.pair && s.pair_arc;
    logical->failed = !ok;
    for (uint32_t i = 0; i < graph->arc_count && ok; i++)
        for (uint32_t k = 0; k < graph->arcs[i].hop_count; k++)
            add_logical(&s, (struct logical_arc){.from = graph->arcs[i].from,
                                                 .to = graph->arcs[i].to,
                                                 .capacity = graph->hops[graph->arcs[i].first_hop + k].capacity *
                                                             (int64_t)scale,
                                                 .first = graph->arcs[i].first_hop + k,
                                                 .second = TOPOLOGY_NONE});
    ok = ok && !logical->failed && split_all(&s);
    logical->failed |= s.network.failed;
    max_flow_free(&s.network);
    free(s.pair);
    free(s.pair_arc);
    if (!ok) logical_graph_free(logical);
    return ok;
}

void logical_graph_free(struct logical_graph *logical)
{
    free(logical->arcs);
    logical->arcs = NULL;
    logical->arc_count = logical->arc_capacity = 0;
}

bool hop_list_add(struct hop_list *hops, uint32_t hop)
{
    if (hops->count == hops->capacity) {
        uint32_t capacity = hops->capacity ? 2 * hops->capacity : 32;
        uint32_t *grown = realloc(hops->hops, capacity * sizeof *grown);
        if (!grown) return false;
        hops->hops = grown;
        hops->capacity = capacity;
    }
    hops->hops[hops->count++] = hop;
    return true;
}

bool logical_arc_expand(const struct logical_graph *logical, uint32_t arc, struct hop_list *hops)
{
    const struct logical_arc *logical_arc = &logical->arcs[arc];
    if (logical_arc->second == TOPOLOGY_NONE) return hop_list_add(hops, logical_arc->first);
    /* As deep as there are switches on the way. */
    return logical_arc_expand(logical, logical_arc->first, hops) &&
           logical_arc_expand(logical, logical_arc->second, hops);
}
