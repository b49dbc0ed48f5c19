/* SPDX-License-Identifier: Apache-2.0 */
#include "topology/search/cluster.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool same_shape(const struct cluster *c)
{
    for (uint32_t host = 1; host < c->shapes.host_count; host++)
        if (c->shapes.shape[host] != c->shapes.shape[0]) return false;
    return true;
}

static bool place_hosts(struct cluster *c)
{
    const struct search_hosts *hosts = &c->context->result->hosts;
    c->host_at = arena_alloc(&c->arena, hosts->host_count, sizeof *c->host_at);
    if (!c->host_at) return false;
    for (uint32_t place = 0; place < hosts->host_count; place++)
        c->host_at[place] = c->shapes.host_index[hosts->ranks[hosts->first_rank[place]]];
    c->places = hosts->host_count;
    c->host_ranks = c->shapes.rank_count[c->host_at[0]];
    for (uint32_t host = 0; host < c->shapes.host_count; host++)
        if (c->shapes.rank_count[host] < c->host_ranks) c->host_ranks = c->shapes.rank_count[host];
    return true;
}

static bool cut_out_host(struct cluster *c)
{
    const struct search_flow_graph *graph = c->context->graph;
    uint32_t host = c->host_at[0], first = c->shapes.first_node[host];
    struct search_flow_graph *local = &c->local;
    *local = (struct search_flow_graph){.unit = graph->unit, .hops = graph->hops, .hop_count = graph->hop_count};
    local->rank_count = c->shapes.rank_count[host];
    local->node_count = c->shapes.first_node[host + 1] - first;
    local->arcs = arena_alloc(&c->arena, graph->arc_count + 1u, sizeof *local->arcs);
    local->first_arc = arena_alloc(&c->arena, local->node_count + 1u, sizeof *local->first_arc);
    if (!local->arcs || !local->first_arc) return false;
    for (uint32_t i = 0; i < local->node_count; i++) {
        uint32_t node = c->shapes.nodes[first + i];
        local->first_arc[i] = local->arc_count;
        for (uint32_t k = graph->first_arc[node]; k < graph->first_arc[node + 1]; k++) {
            if (c->shapes.host_index[graph->arcs[k].to] != host) continue;
            struct flow_arc *arc = &local->arcs[local->arc_count++];
            *arc = graph->arcs[k];
            arc->from = i;
            arc->to = c->shapes.local[graph->arcs[k].to];
        }
    }
    local->first_arc[local->node_count] = local->arc_count;
    return true;
}

static bool index_arcs(struct cluster *c, const struct search_flow_graph *graph, struct cluster_index *index)
{
    uint32_t hosts = c->shapes.host_count, switches = 0, into = 0;
    index->graph = graph;
    index->first_to_switch = arena_alloc(&c->arena, graph->node_count + 1u, sizeof(uint32_t));
    index->to_switch = arena_alloc(&c->arena, graph->arc_count + 1u, sizeof(uint32_t));
    index->first_into = arena_alloc(&c->arena, hosts + 2u, sizeof(uint32_t));
    index->into = arena_alloc(&c->arena, graph->arc_count + 1u, sizeof(uint32_t));
    if (!index->first_to_switch || !index->to_switch || !index->first_into || !index->into) return false;
    for (uint32_t node = 0; node < graph->node_count; node++) {
        index->first_to_switch[node] = switches;
        for (uint32_t i = graph->first_arc[node]; i < graph->first_arc[node + 1]; i++) {
            uint32_t host = c->shapes.host_index[graph->arcs[i].to];
            if (c->shapes.host_index[node] != TOPOLOGY_NONE) continue;
            if (host == TOPOLOGY_NONE)
                index->to_switch[switches++] = i;
            else
                index->first_into[host + 2]++;
        }
    }
    index->first_to_switch[graph->node_count] = switches;
    for (uint32_t host = 0; host < hosts; host++) index->first_into[host + 2] += index->first_into[host + 1];
    for (uint32_t i = 0; i < graph->arc_count; i++) { /* shifted by one, so that filling moves each start into place */
        uint32_t host = c->shapes.host_index[graph->arcs[i].to];
        if (c->shapes.host_index[graph->arcs[i].from] != TOPOLOGY_NONE || host == TOPOLOGY_NONE) continue;
        index->into[index->first_into[host + 1]++] = i;
        into++;
    }
    return into <= graph->arc_count;
}

bool cluster_init(struct cluster *cluster, struct search_context *context)
{
    *cluster = (struct cluster){.context = context};
    uint32_t nodes = context->graph->node_count + 1;
    if (host_shapes_find(context->graph, NULL, &cluster->arena, &cluster->shapes)) {
        context->failed = true;
        return false;
    }
    if (cluster->shapes.host_count < 2) return false;
    cluster->alike = same_shape(cluster);
    cluster->seen = arena_alloc(&cluster->arena, nodes, sizeof *cluster->seen);
    cluster->via = arena_alloc(&cluster->arena, nodes, sizeof *cluster->via);
    cluster->round = arena_alloc(&cluster->arena, nodes, sizeof *cluster->round);
    cluster->queue = arena_alloc(&cluster->arena, nodes, sizeof *cluster->queue);
    cluster->inside = arena_alloc(&cluster->arena, nodes, sizeof *cluster->inside);
    cluster->pressure = arena_alloc(&cluster->arena, nodes, sizeof *cluster->pressure);
    bool ok = cluster->seen && cluster->round && cluster->via && cluster->queue && cluster->inside &&
              cluster->pressure && place_hosts(cluster) && cut_out_host(cluster) &&
              index_arcs(cluster, context->graph, &cluster->index[0]) &&
              index_arcs(cluster, context->reversed, &cluster->index[1]);
    context->failed |= !ok;
    return ok;
}

void cluster_free(struct cluster *cluster)
{
    arena_free(&cluster->arena);
}

uint32_t cluster_node(const struct cluster *cluster, uint32_t place, uint32_t local)
{
    return cluster->shapes.nodes[cluster->shapes.first_node[cluster->host_at[place]] + local];
}

/* One round of a search: what was reached in it so far is queue[tail..new_tail). */
struct round {
    struct cluster *cluster;
    const struct search_flow_graph *graph;
    const uint64_t *load;
    uint32_t tail, new_tail;
};

/* A node that is reached twice in a round keeps the way of lesser pressure. */
static void reach(struct round *round, uint32_t arc)
{
    struct cluster *c = round->cluster;
    const struct flow_arc *along = &round->graph->arcs[arc];
    /* By the first of its hops: an arc of the reversed graph is then the same link as in the graph itself. */
    double own = (double)round->load[along->first_hop] / (double)along->capacity;
    double pressure = fmax(own, c->pressure[along->from]);
    if (c->seen[along->to] != c->stamp) {
        c->seen[along->to] = c->stamp;
        c->round[along->to] = round->tail; /* grows from round to round */
        c->queue[round->new_tail++] = along->to;
    } else if (c->round[along->to] != round->tail || pressure >= c->pressure[along->to]) {
        return;
    }
    c->pressure[along->to] = pressure;
    c->via[along->to] = arc;
}

/*
 * For nodes of the target's host: rounds[] over arcs inside it to the target. Returns the least of them among the nodes
 * that the fabric leads to: from outside, the target is never nearer than that.
 */
static uint32_t inside_rounds(struct cluster *c, const struct search_flow_graph *graph, uint32_t to, bool relay)
{
    const struct cluster_index *index = &c->index[graph == c->index[1].graph];
    const struct search_flow_graph *back = c->index[graph != c->index[1].graph].graph;
    uint32_t host = c->shapes.host_index[to], head = 0, tail = 1, least = UINT32_MAX;
    for (uint32_t i = c->shapes.first_node[host]; i < c->shapes.first_node[host + 1]; i++)
        c->inside[c->shapes.nodes[i]] = UINT32_MAX;
    c->inside[to] = 0;
    c->queue[0] = to;
    while (head < tail) {
        uint32_t node = c->queue[head++];
        if (node < graph->rank_count && node != to && !relay) continue;
        for (uint32_t i = back->first_arc[node]; i < back->first_arc[node + 1]; i++) {
            uint32_t before = back->arcs[i].to;
            if (c->shapes.host_index[before] != host || c->inside[before] != UINT32_MAX) continue;
            c->inside[before] = c->inside[node] + 1;
            c->queue[tail++] = before;
        }
    }
    for (uint32_t i = index->first_into[host]; i < index->first_into[host + 1]; i++) {
        uint32_t entry = graph->arcs[index->into[i]].to;
        if (c->inside[entry] < least) least = c->inside[entry];
    }
    return least;
}

static void leave(struct round *round, uint32_t node, const uint32_t *ends)
{
    struct cluster *c = round->cluster;
    const struct search_flow_graph *graph = round->graph;
    const uint32_t *host_of = c->shapes.host_index;
    if (host_of[node] != TOPOLOGY_NONE) {
        for (uint32_t i = graph->first_arc[node]; i < graph->first_arc[node + 1]; i++) {
            uint32_t host = host_of[graph->arcs[i].to];
            if (host == TOPOLOGY_NONE || host == host_of[ends[0]] || host == host_of[ends[1]]) reach(round, i);
        }
        return;
    }
    const struct cluster_index *index = &c->index[graph == c->index[1].graph];
    uint32_t target = host_of[ends[1]];
    for (uint32_t i = index->first_to_switch[node]; i < index->first_to_switch[node + 1]; i++)
        reach(round, index->to_switch[i]);
    for (uint32_t i = index->first_into[target]; i < index->first_into[target + 1]; i++)
        if (graph->arcs[index->into[i]].from == node) reach(round, index->into[i]);
}

bool cluster_way(struct cluster *cluster, const struct search_flow_graph *graph, const uint64_t *load, uint32_t from,
                 uint32_t to, bool relay, struct hop_list *arcs)
{
    uint32_t ends[2] = {from, to}, head = 0, tail = 1, target = cluster->shapes.host_index[to];
    uint32_t least = inside_rounds(cluster, graph, to, relay), best = UINT32_MAX;
    cluster->stamp++;
    cluster->seen[from] = cluster->stamp;
    cluster->pressure[from] = 0;
    cluster->queue[0] = from;
    for (uint32_t depth = 0; head < tail && cluster->seen[to] != cluster->stamp; depth++) {
        struct round round = {.cluster = cluster, .graph = graph, .load = load, .tail = tail, .new_tail = tail};
        for (uint32_t at = head; at < tail; at++) { /* in the target's host the rest of the way is known */
            uint32_t node = cluster->queue[at];
            bool passes = node >= graph->rank_count || node == from || relay;
            bool known = cluster->shapes.host_index[node] == target && cluster->inside[node] != UINT32_MAX;
            if (known && passes && depth + cluster->inside[node] < best) best = depth + cluster->inside[node];
        }
        for (uint32_t at = head; at < tail; at++) {
            uint32_t node = cluster->queue[at];
            bool outside = cluster->shapes.host_index[node] != target;
            if (outside && best != UINT32_MAX && depth + 1 + least > best) continue; /* a longer way than one known */
            if (node >= graph->rank_count || node == from || relay) leave(&round, node, ends);
        }
        head = tail;
        tail = round.new_tail;
    }
    if (cluster->seen[to] != cluster->stamp) return false;
    uint32_t first = arcs->count;
    for (uint32_t node = to; node != from; node = graph->arcs[cluster->via[node]].from)
        if (!hop_list_add(arcs, cluster->via[node])) {
            cluster->context->failed = true;
            return false;
        }
    for (uint32_t low = first, high = arcs->count; low + 1 < high; low++) {
        uint32_t arc = arcs->hops[low];
        arcs->hops[low] = arcs->hops[--high];
        arcs->hops[high] = arc;
    }
    return true;
}
