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
    cluster->pressure = arena_alloc(&cluster->arena, nodes, sizeof *cluster->pressure);
    bool ok = cluster->seen && cluster->round && cluster->via && cluster->queue && cluster->pressure &&
              place_hosts(cluster) && cut_out_host(cluster);
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

/* One more step outwards from queue[head..tail); the new tail. A node reached twice at once keeps the lesser pressure.
 */
static uint32_t widen(struct cluster *c, const struct search_flow_graph *graph, const uint64_t *load, uint32_t head,
                      uint32_t tail, const uint32_t *ends, bool relay)
{
    uint32_t round = tail, new_tail = tail; /* tail grows from round to round */
    for (uint32_t at = head; at < tail; at++) {
        uint32_t node = c->queue[at];
        if (node < graph->rank_count && node != ends[0] && !relay) continue;
        for (uint32_t i = graph->first_arc[node]; i < graph->first_arc[node + 1]; i++) {
            uint32_t to = graph->arcs[i].to, host = c->shapes.host_index[to];
            if (host != TOPOLOGY_NONE && host != c->shapes.host_index[ends[0]] && host != c->shapes.host_index[ends[1]])
                continue;
            /* By the first of its hops: an arc of the reversed graph is then the same link as in the graph itself. */
            double own = (double)load[graph->arcs[i].first_hop] / (double)graph->arcs[i].capacity;
            double pressure = fmax(own, c->pressure[node]);
            if (c->seen[to] != c->stamp) {
                c->seen[to] = c->stamp;
                c->round[to] = round;
                c->queue[new_tail++] = to;
            } else if (c->round[to] != round || pressure >= c->pressure[to]) {
                continue;
            }
            c->pressure[to] = pressure;
            c->via[to] = i;
        }
    }
    return new_tail;
}

bool cluster_way(struct cluster *cluster, const struct search_flow_graph *graph, const uint64_t *load, uint32_t from,
                 uint32_t to, bool relay, struct hop_list *arcs)
{
    uint32_t ends[2] = {from, to}, head = 0, tail = 1;
    cluster->stamp++;
    cluster->seen[from] = cluster->stamp;
    cluster->pressure[from] = 0;
    cluster->queue[0] = from;
    while (head < tail && cluster->seen[to] != cluster->stamp) {
        uint32_t new_tail = widen(cluster, graph, load, head, tail, ends, relay);
        head = tail;
        tail = new_tail;
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
