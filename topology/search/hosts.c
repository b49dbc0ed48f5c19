/* SPDX-License-Identifier: Apache-2.0 */
/* Hosts in an order that crosses few switches, their lanes, and binary trees across them. */
#include <stdlib.h>
#include <string.h>

#include "topology/search/order.h"
#include "topology/search/result.h"
#include "topology/search/shapes.h"

/* A NIC of a flow graph's host: its outgoing side has an arc out of the host. */
static bool leaves_host(const struct search_context *context, const struct host_shapes *shapes, uint32_t node)
{
    const struct search_flow_graph *graph = context->graph;
    for (uint32_t i = graph->first_arc[node]; i < graph->first_arc[node + 1]; i++)
        if (shapes->host_index[graph->arcs[i].to] != shapes->host_index[node]) return true;
    return false;
}

/* Distances within a host from @p rank over what passes data on, into by_local[] (TOPOLOGY_NONE: out of reach). */
static void distances(const struct search_context *context, const struct host_shapes *shapes, uint32_t rank,
                      uint32_t *by_local, uint32_t *queue)
{
    const struct search_flow_graph *graph = context->graph;
    uint32_t host = shapes->host_index[rank], head = 0, tail = 0;
    uint32_t count = shapes->first_node[host + 1] - shapes->first_node[host];
    memset(by_local, 0xff, count * sizeof *by_local);
    by_local[shapes->local[rank]] = 0;
    queue[tail++] = rank;
    while (head < tail) {
        uint32_t node = queue[head++];
        if (node < graph->rank_count && node != rank) continue;
        for (uint32_t i = graph->first_arc[node]; i < graph->first_arc[node + 1]; i++) {
            uint32_t to = graph->arcs[i].to;
            if (shapes->host_index[to] != host || by_local[shapes->local[to]] != TOPOLOGY_NONE) continue;
            by_local[shapes->local[to]] = by_local[shapes->local[node]] + 1;
            queue[tail++] = to;
        }
    }
}

/*
 * The lanes of one host into lanes[]; their number. A lane's rank is the nearest, one without a lane yet if it can be.
 */
static uint32_t find_lanes(struct search_context *context, const struct host_shapes *shapes, uint32_t host,
                           struct search_lane *lanes, uint32_t *by_local, uint32_t *queue, uint32_t *use_count)
{
    uint32_t first = shapes->first_node[host], nodes = shapes->first_node[host + 1] - first, count = 0;
    for (uint32_t i = 0; i < shapes->rank_count[host]; i++) use_count[i] = 0;
    for (uint32_t i = 0; i < nodes; i++) {
        uint32_t node = shapes->nodes[first + i], best = TOPOLOGY_NONE, best_key = TOPOLOGY_NONE;
        if (!leaves_host(context, shapes, node)) continue;
        for (uint32_t r = 0; r < shapes->rank_count[host]; r++) {
            distances(context, shapes, shapes->nodes[first + r], by_local, queue);
            if (by_local[i] == TOPOLOGY_NONE) continue;
            uint32_t key = by_local[i] * 1024 + (use_count[r] < 1023 ? use_count[r] : 1023);
            if (key < best_key) best = r, best_key = key;
        }
        if (best == TOPOLOGY_NONE) continue;
        use_count[best]++;
        bool is_rank = node < context->graph->rank_count;
        lanes[count++] = (struct search_lane){.nic = is_rank ? TOPOLOGY_NONE : context->graph->topology_node[node],
                                              .rank = shapes->nodes[first + best]};
    }
    return count;
}

/* Lanes of every host, by place; none in common if hosts have different numbers. */
static void fill_lanes(struct search_context *context, const struct host_shapes *shapes, const uint32_t *order,
                       struct search_hosts *hosts)
{
    uint32_t node_count = context->graph->node_count, common = 0;
    uint32_t *by_local = malloc((node_count + 1u) * sizeof *by_local),
             *queue = malloc((node_count + 1u) * sizeof *queue);
    uint32_t *use_count = malloc((node_count + 1u) * sizeof *use_count);
    struct search_lane *lanes = malloc((node_count + 1u) * sizeof *lanes), *all = NULL;
    if (!by_local || !queue || !use_count || !lanes) context->failed = true;
    for (uint32_t place = 0; place < shapes->host_count && !context->failed; place++) {
        uint32_t count = find_lanes(context, shapes, order[place], lanes, by_local, queue, use_count);
        if (place == 0) {
            common = count;
            all = result_alloc(context, (size_t)count * shapes->host_count, sizeof *all);
        }
        if (count != common || context->failed) {
            common = 0;
            break;
        }
        memcpy(&all[(size_t)place * common], lanes, common * sizeof *lanes);
    }
    hosts->lane_count = common;
    hosts->lanes = all;
    free(by_local);
    free(queue);
    free(use_count);
    free(lanes);
}

/*
 * Parents in the in-order binary tree of the numbers 0 to count - 1 whose odd numbers are leaves; 0 is the root and
 * has one child. The second tree is its mirror image, or where that would not swap odd and even, shifted by one.
 */
static uint32_t in_order_parent(uint32_t number, uint32_t count)
{
    if (number == 0) return TOPOLOGY_NONE;
    uint32_t bit = number & -number, up = (number ^ bit) | bit << 1;
    return up < count ? up : number ^ bit;
}

static void fill_binary_trees(struct search_context *context, uint32_t count, struct search_hosts *hosts)
{
    uint32_t *first = result_alloc(context, count, sizeof *first),
             *second = result_alloc(context, count, sizeof *second);
    if (context->failed) return;
    for (uint32_t i = 0; i < count; i++) {
        first[i] = in_order_parent(i, count);
        if (count % 2 == 0) {
            uint32_t up = in_order_parent(count - 1 - i, count);
            second[i] = up == TOPOLOGY_NONE ? up : count - 1 - up;
        } else {
            uint32_t up = in_order_parent((i + count - 1) % count, count);
            second[i] = up == TOPOLOGY_NONE ? up : (up + 1) % count;
        }
    }
    hosts->binary_parents[0] = first;
    hosts->binary_parents[1] = second;
}

static void fill_ranks(struct search_context *context, const struct host_shapes *shapes, const uint32_t *order,
                       struct search_hosts *hosts)
{
    uint32_t count = shapes->host_count, ranks = context->graph->rank_count, total = 0, classes = 0;
    uint32_t *nodes = result_alloc(context, count, sizeof *nodes), *class = result_alloc(context, count, sizeof *class);
    uint32_t *first = result_alloc(context, count + 1u, sizeof *first),
             *list = result_alloc(context, ranks, sizeof *list);
    uint32_t *place_of = result_alloc(context, ranks, sizeof *place_of);
    uint32_t *index_of = result_alloc(context, ranks, sizeof *index_of);
    uint32_t *number = malloc((count + 1u) * sizeof *number);
    if (!number) context->failed = true;
    if (number) memset(number, 0xff, count * sizeof *number);
    for (uint32_t place = 0; place < count && !context->failed; place++) {
        uint32_t host = order[place], shape = shapes->shape[host];
        if (number[shape] == TOPOLOGY_NONE) number[shape] = classes++;
        class[place] = number[shape];
        nodes[place] = shapes->host[host];
        first[place] = total;
        for (uint32_t i = 0; i < shapes->rank_count[host]; i++) {
            uint32_t rank = shapes->nodes[shapes->first_node[host] + i];
            place_of[rank] = place;
            index_of[rank] = i;
            list[total++] = rank;
        }
        first[place + 1] = total;
    }
    free(number);
    hosts->host_count = count;
    hosts->order = nodes;
    hosts->class_of = class;
    hosts->class_count = classes;
    hosts->first_rank = first;
    hosts->ranks = list;
    hosts->place_of_rank = place_of;
    hosts->index_of_rank = index_of;
}

weft_status result_find_hosts(struct search_context *context)
{
    struct host_shapes shapes;
    struct arena scratch = {0};
    struct search_hosts *hosts = &context->result->hosts;
    weft_status status = host_shapes_find(context->graph, NULL, &scratch, &shapes);
    uint32_t *order = arena_alloc(&scratch, context->graph->node_count + 1u, sizeof *order);
    if (!order) status = WEFT_OUT_OF_MEMORY;
    if (!status)
        status = host_order_find(context->graph, &shapes, context->budget, order, &hosts->switch_hops,
                                 &hosts->switch_hops_as_listed);
    if (!status) {
        fill_ranks(context, &shapes, order, hosts);
        if (!context->failed) fill_lanes(context, &shapes, order, hosts);
        if (!context->failed) fill_binary_trees(context, shapes.host_count, hosts);
    }
    arena_free(&scratch);
    return context->failed ? WEFT_OUT_OF_MEMORY : status;
}

uint32_t search_rotate(const struct search_result *result, uint32_t rank, uint32_t places)
{
    const struct search_hosts *hosts = &result->hosts;
    uint32_t place = (uint32_t)(((uint64_t)hosts->place_of_rank[rank] + places) % hosts->host_count);
    return hosts->ranks[hosts->first_rank[place] + hosts->index_of_rank[rank]];
}
