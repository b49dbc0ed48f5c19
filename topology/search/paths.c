/* SPDX-License-Identifier: Apache-2.0 */
#include "topology/search/paths.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

bool rank_paths_init(struct rank_paths *paths, const struct search_flow_graph *graph)
{
    size_t ranks = graph->rank_count, nodes = graph->node_count;
    *paths = (struct rank_paths){.graph = graph};
    paths->cost = calloc(ranks * ranks + 1, sizeof *paths->cost);
    paths->via = calloc(ranks * nodes + 1, sizeof *paths->via);
    paths->distance = calloc(nodes + 1, sizeof *paths->distance);
    paths->length = calloc(nodes + 1, sizeof *paths->length);
    paths->settled = calloc(nodes + 1, sizeof *paths->settled);
    paths->heap = calloc(graph->arc_count + 2u, sizeof *paths->heap);
    return paths->cost && paths->via && paths->distance && paths->length && paths->settled && paths->heap;
}

void rank_paths_free(struct rank_paths *paths)
{
    free(paths->cost);
    free(paths->via);
    free(paths->distance);
    free(paths->length);
    free(paths->settled);
    free(paths->heap);
    *paths = (struct rank_paths){0};
}

/* The nearest first, of these the one of fewest arcs, of these the lowest number: one order on every machine. */
static bool comes_first(const struct rank_path_entry *a, const struct rank_path_entry *b)
{
    if (a->distance != b->distance) return a->distance < b->distance;
    if (a->length != b->length) return a->length < b->length;
    return a->node < b->node;
}

static void heap_push(struct rank_paths *paths, struct rank_path_entry entry)
{
    uint32_t place = paths->heap_count++;
    for (; place > 0 && comes_first(&entry, &paths->heap[(place - 1) / 2]); place = (place - 1) / 2)
        paths->heap[place] = paths->heap[(place - 1) / 2];
    paths->heap[place] = entry;
}

static struct rank_path_entry heap_pop(struct rank_paths *paths)
{
    struct rank_path_entry *heap = paths->heap, first = heap[0], moved = heap[--paths->heap_count];
    uint32_t place = 0;
    for (uint32_t child; (child = 2 * place + 1) < paths->heap_count; place = child) {
        if (child + 1 < paths->heap_count && comes_first(&heap[child + 1], &heap[child])) child++;
        if (!comes_first(&heap[child], &moved)) break;
        heap[place] = heap[child];
    }
    heap[place] = moved;
    return first;
}

/* Dijkstra. Nodes settle once, so that each arc pushes one entry at most. */
static void from_rank(struct rank_paths *paths, uint32_t source, const double *prices)
{
    const struct search_flow_graph *graph = paths->graph;
    uint32_t nodes = graph->node_count, *via = &paths->via[(size_t)source * nodes];
    for (uint32_t node = 0; node < nodes; node++) {
        paths->distance[node] = INFINITY;
        paths->length[node] = UINT32_MAX;
        paths->settled[node] = false;
        via[node] = UINT32_MAX;
    }
    paths->distance[source] = paths->length[source] = 0;
    paths->heap_count = 0;
    heap_push(paths, (struct rank_path_entry){0, 0, source});
    while (paths->heap_count > 0) {
        uint32_t best = heap_pop(paths).node;
        if (paths->settled[best]) continue;
        paths->settled[best] = true;
        if (best < graph->rank_count && best != source) continue; /* ranks pass nothing on here */
        for (uint32_t i = graph->first_arc[best]; i < graph->first_arc[best + 1]; i++) {
            uint32_t to = graph->arcs[i].to;
            double distance = paths->distance[best] + (prices ? prices[i] : 1);
            if (paths->settled[to] || distance > paths->distance[to] ||
                (distance == paths->distance[to] && paths->length[best] + 1 >= paths->length[to]))
                continue;
            paths->distance[to] = distance;
            paths->length[to] = paths->length[best] + 1;
            via[to] = i;
            heap_push(paths, (struct rank_path_entry){distance, paths->length[to], to});
        }
    }
}

void rank_paths_find(struct rank_paths *paths, const double *prices)
{
    uint32_t ranks = paths->graph->rank_count;
    for (uint32_t source = 0; source < ranks; source++) {
        from_rank(paths, source, prices);
        memcpy(&paths->cost[(size_t)source * ranks], paths->distance, ranks * sizeof *paths->cost);
    }
}

uint32_t rank_paths_arcs(const struct rank_paths *paths, uint32_t from, uint32_t to, uint32_t *arcs)
{
    const uint32_t *via = &paths->via[(size_t)from * paths->graph->node_count];
    uint32_t count = 0;
    for (uint32_t node = to; node != from; node = paths->graph->arcs[via[node]].from) arcs[count++] = via[node];
    for (uint32_t i = 0; i < count / 2; i++) {
        uint32_t arc = arcs[i];
        arcs[i] = arcs[count - 1 - i];
        arcs[count - 1 - i] = arc;
    }
    return count;
}

/* Breadth first from one node; of the ways of equal length the widest. Fills via[], UINT32_MAX where nothing leads. */
static void widest_of_shortest(const struct search_flow_graph *graph, uint32_t from, bool relay, uint32_t *via,
                               uint32_t *length, int64_t *width, uint32_t *queue)
{
    uint32_t tail = 0;
    for (uint32_t node = 0; node < graph->node_count; node++) via[node] = length[node] = UINT32_MAX;
    length[from] = 0;
    width[from] = INT64_MAX;
    queue[tail++] = from;
    for (uint32_t head = 0; head < tail; head++) {
        uint32_t node = queue[head];
        if (node < graph->rank_count && node != from && !relay) continue;
        for (uint32_t i = graph->first_arc[node]; i < graph->first_arc[node + 1]; i++) {
            uint32_t to = graph->arcs[i].to;
            int64_t wide = graph->arcs[i].capacity < width[node] ? graph->arcs[i].capacity : width[node];
            if (length[to] == UINT32_MAX)
                queue[tail++] = to;
            else if (length[to] != length[node] + 1 || wide <= width[to])
                continue;
            length[to] = length[node] + 1;
            width[to] = wide;
            via[to] = i;
        }
    }
}

weft_status search_route_between(const struct search_result *result, uint32_t from, uint32_t to, uint32_t **hops,
                                 uint32_t *count)
{
    const struct search_flow_graph *graph = result->graph;
    if (from >= result->rank_count || to >= result->rank_count) return WEFT_INVALID_ARGUMENT;
    uint32_t nodes = graph->node_count, length = 0;
    uint32_t *arrays = malloc((size_t)nodes * 3 * sizeof *arrays), *list = malloc((nodes + 1u) * sizeof *list);
    int64_t *width = malloc(nodes * sizeof *width);
    if (!arrays || !list || !width) {
        free(arrays);
        free(list);
        free(width);
        return WEFT_OUT_OF_MEMORY;
    }
    widest_of_shortest(graph, from, false, arrays, arrays + nodes, width, arrays + (size_t)2 * nodes);
    if (arrays[to] == UINT32_MAX)
        widest_of_shortest(graph, from, true, arrays, arrays + nodes, width, arrays + (size_t)2 * nodes);
    for (uint32_t node = to; node != from; node = graph->arcs[arrays[node]].from)
        list[length++] = graph->hops[graph->arcs[arrays[node]].first_hop].hop;
    for (uint32_t i = 0; i < length / 2; i++) {
        uint32_t hop = list[i];
        list[i] = list[length - 1 - i];
        list[length - 1 - i] = hop;
    }
    free(arrays);
    free(width);
    *hops = list;
    *count = length;
    return WEFT_OK;
}
