/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two tours are tried besides the topology's own. One follows a breadth-first tree of the switches, from the switch
 * farthest from all hosts, depth first: every link of the tree is crossed twice, and no tour of a tree does with less.
 * The other goes on to the nearest switch with hosts left, which does well on dragonflies and tori.
 */
#include "topology/search/order.h"

#include <stdlib.h>
#include <string.h>

struct touring {
    const struct search_flow_graph *graph;
    const struct host_shapes *shapes;
    uint32_t *home;     /* by host: the first switch that it is linked to, or TOPOLOGY_NONE */
    uint32_t *next;     /* by host: the next of the same home, in the topology's order */
    uint32_t *first;    /* by node: a switch's first host */
    uint32_t *distance; /* by node, of one search; and its queue and tree */
    uint32_t *queue, *parent;
    uint32_t *tour;
};

static bool is_switch(const struct touring *t, uint32_t node)
{
    return node >= t->graph->rank_count && t->shapes->host_index[node] == TOPOLOGY_NONE;
}

static void find_homes(struct touring *t)
{
    const struct search_flow_graph *graph = t->graph;
    memset(t->home, 0xff, (t->shapes->host_count + 1u) * sizeof *t->home);
    memset(t->first, 0xff, graph->node_count * sizeof *t->first);
    for (uint32_t i = 0; i < graph->arc_count; i++) {
        uint32_t host = t->shapes->host_index[graph->arcs[i].from], to = graph->arcs[i].to;
        if (host != TOPOLOGY_NONE && is_switch(t, to) && to < t->home[host]) t->home[host] = to;
    }
    for (uint32_t host = t->shapes->host_count; host-- > 0;) {
        if (t->home[host] == TOPOLOGY_NONE) continue;
        t->next[host] = t->first[t->home[host]];
        t->first[t->home[host]] = host;
    }
}

/* Distances over switches from those already queued, and the tree. */
static void spread(struct touring *t, uint32_t tail)
{
    for (uint32_t head = 0; head < tail; head++) {
        uint32_t node = t->queue[head];
        for (uint32_t i = t->graph->first_arc[node]; i < t->graph->first_arc[node + 1]; i++) {
            uint32_t to = t->graph->arcs[i].to;
            if (!is_switch(t, to) || t->distance[to] != TOPOLOGY_NONE) continue;
            t->distance[to] = t->distance[node] + 1;
            t->parent[to] = node;
            t->queue[tail++] = to;
        }
    }
}

static void spread_from(struct touring *t, uint32_t node)
{
    memset(t->distance, 0xff, t->graph->node_count * sizeof *t->distance);
    t->distance[node] = 0;
    t->parent[node] = TOPOLOGY_NONE;
    t->queue[0] = node;
    spread(t, 1);
}

static uint32_t farthest_switch(struct touring *t)
{
    uint32_t tail = 0, best = TOPOLOGY_NONE;
    memset(t->distance, 0xff, t->graph->node_count * sizeof *t->distance);
    for (uint32_t node = 0; node < t->graph->node_count; node++)
        if (t->first[node] != TOPOLOGY_NONE) t->distance[node] = 0, t->queue[tail++] = node;
    spread(t, tail);
    for (uint32_t node = 0; node < t->graph->node_count; node++)
        if (is_switch(t, node) && t->distance[node] != TOPOLOGY_NONE &&
            (best == TOPOLOGY_NONE || t->distance[node] > t->distance[best]))
            best = node;
    return best;
}

static uint32_t append_hosts(struct touring *t, uint32_t node, uint32_t count)
{
    for (uint32_t host = t->first[node]; host != TOPOLOGY_NONE; host = t->next[host]) t->tour[count++] = host;
    return count;
}

/* Hosts that no switch in reach leads to, at the end. */
static void append_rest(struct touring *t, uint32_t count, bool *placed)
{
    memset(placed, 0, t->shapes->host_count * sizeof *placed);
    for (uint32_t i = 0; i < count; i++) placed[t->tour[i]] = true;
    for (uint32_t host = 0; host < t->shapes->host_count; host++)
        if (!placed[host]) t->tour[count++] = host;
}

/* Depth first along the tree of the last search; children in the order of that search. */
static uint32_t follow_tree(struct touring *t, uint32_t root, uint32_t *child, uint32_t *sibling, uint32_t reached)
{
    uint32_t count = 0, node = root;
    memset(child, 0xff, t->graph->node_count * sizeof *child);
    for (uint32_t i = reached; i-- > 1;) {
        uint32_t at = t->queue[i];
        sibling[at] = child[t->parent[at]];
        child[t->parent[at]] = at;
    }
    count = append_hosts(t, root, count);
    while (node != TOPOLOGY_NONE) {
        uint32_t down = child[node];
        if (down == TOPOLOGY_NONE) {
            node = t->parent[node];
            continue;
        }
        child[node] = sibling[down];
        node = down;
        count = append_hosts(t, node, count);
    }
    return count;
}

static uint32_t follow_nearest(struct touring *t, bool *done, const struct search_budget *budget)
{
    uint32_t count = 0, node = TOPOLOGY_NONE;
    memset(done, 0, t->graph->node_count * sizeof *done);
    for (uint32_t i = 0; i < t->graph->node_count && node == TOPOLOGY_NONE; i++)
        if (t->first[i] != TOPOLOGY_NONE) node = i;
    while (node != TOPOLOGY_NONE && !search_expired(budget)) {
        uint32_t best = TOPOLOGY_NONE;
        done[node] = true;
        count = append_hosts(t, node, count);
        spread_from(t, node);
        for (uint32_t i = 0; i < t->graph->node_count; i++)
            if (t->first[i] != TOPOLOGY_NONE && !done[i] && t->distance[i] != TOPOLOGY_NONE &&
                (best == TOPOLOGY_NONE || t->distance[i] < t->distance[best]))
                best = i;
        node = best;
    }
    return count;
}

/* Links between switches that a tour uses; hosts out of one another's reach count as far apart as can be. */
static uint32_t tour_hops(struct touring *t, const uint32_t *tour)
{
    uint32_t hops = 0, count = t->shapes->host_count, searched = TOPOLOGY_NONE;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t from = t->home[tour[i]], to = t->home[tour[(i + 1) % count]];
        if (from == to || from == TOPOLOGY_NONE || to == TOPOLOGY_NONE) continue;
        if (searched != from) spread_from(t, searched = from);
        hops += t->distance[to] == TOPOLOGY_NONE ? t->graph->node_count : t->distance[to];
    }
    return hops;
}

static void keep_better(struct touring *t, uint32_t *order, uint32_t *hops)
{
    uint32_t found = tour_hops(t, t->tour);
    if (found >= *hops) return;
    *hops = found;
    memcpy(order, t->tour, t->shapes->host_count * sizeof *order);
}

weft_status host_order_find(const struct search_flow_graph *graph, const struct host_shapes *shapes,
                            const struct search_budget *budget, uint32_t *order, uint32_t *hops,
                            uint32_t *hops_as_listed)
{
    struct arena scratch = {0};
    struct touring t = {.graph = graph, .shapes = shapes};
    uint32_t count = graph->node_count + shapes->host_count + 1;
    uint32_t *arrays[9];
    for (int i = 0; i < 9; i++) arrays[i] = arena_alloc(&scratch, count, sizeof(uint32_t));
    bool *flags = arena_alloc(&scratch, count, sizeof *flags), ok = flags != NULL;
    for (int i = 0; i < 9; i++) ok = ok && arrays[i];
    if (ok) {
        t.home = arrays[0], t.next = arrays[1], t.first = arrays[2], t.distance = arrays[3], t.queue = arrays[4];
        t.parent = arrays[5], t.tour = arrays[6];
        find_homes(&t);
        for (uint32_t host = 0; host < shapes->host_count; host++) order[host] = host;
        *hops = *hops_as_listed = tour_hops(&t, order);
        uint32_t root = *hops ? farthest_switch(&t) : TOPOLOGY_NONE;
        if (root != TOPOLOGY_NONE) {
            uint32_t reached = 0;
            spread_from(&t, root);
            for (uint32_t node = 0; node < graph->node_count; node++) reached += t.distance[node] != TOPOLOGY_NONE;
            append_rest(&t, follow_tree(&t, root, arrays[7], arrays[8], reached), flags);
            keep_better(&t, order, hops);
            append_rest(&t, follow_nearest(&t, flags, budget), flags);
            keep_better(&t, order, hops);
        }
    }
    arena_free(&scratch);
    return ok ? WEFT_OK : WEFT_OUT_OF_MEMORY;
}
