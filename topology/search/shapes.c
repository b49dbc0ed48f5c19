/* SPDX-License-Identifier: Apache-2.0 */
#include "topology/search/shapes.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"

/* A host written down as numbers: equal lists, equal hosts. */
struct host_words {
    uint64_t *words;
    uint32_t count;
    uint64_t hash;
    uint32_t host;
};

static bool allocate(const struct search_flow_graph *graph, struct arena *arena, struct host_shapes *shapes)
{
    uint32_t count = graph->node_count + 1;
    shapes->host = arena_alloc(arena, count, sizeof(uint32_t));
    shapes->host_index = arena_alloc(arena, count, sizeof(uint32_t));
    shapes->local = arena_alloc(arena, count, sizeof(uint32_t));
    shapes->first_node = arena_alloc(arena, count + 1u, sizeof(uint32_t));
    shapes->nodes = arena_alloc(arena, count, sizeof(uint32_t));
    shapes->rank_count = arena_alloc(arena, count, sizeof(uint32_t));
    shapes->shape = arena_alloc(arena, count, sizeof(uint32_t));
    shapes->twin = arena_alloc(arena, count, sizeof(uint32_t));
    return shapes->host && shapes->host_index && shapes->local && shapes->first_node && shapes->nodes &&
           shapes->rank_count && shapes->shape && shapes->twin;
}

static int compare_numbers(const void *left, const void *right)
{
    uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
    return a < b ? -1 : a > b;
}

static bool group_nodes(const struct search_flow_graph *graph, struct host_shapes *shapes)
{
    uint32_t *index = malloc((graph->topology_node_count + 1u) * sizeof *index);
    uint32_t *filled = calloc(graph->node_count + 1u, sizeof *filled);
    if (!index || !filled) {
        free(index);
        free(filled);
        return false;
    }
    memset(index, 0xff, (graph->topology_node_count + 1u) * sizeof *index);
    for (uint32_t rank = 0; rank < graph->rank_count; rank++) {
        uint32_t host = graph->host[rank];
        if (index[host] != TOPOLOGY_NONE) continue;
        index[host] = 0;
        shapes->host[shapes->host_count++] = host;
    }
    qsort(shapes->host, shapes->host_count, sizeof *shapes->host, compare_numbers);
    for (uint32_t i = 0; i < shapes->host_count; i++) index[shapes->host[i]] = i;
    for (uint32_t node = 0; node < graph->node_count; node++) {
        uint32_t host = graph->host[node] == TOPOLOGY_NONE ? TOPOLOGY_NONE : index[graph->host[node]];
        shapes->host_index[node] = host;
        if (host == TOPOLOGY_NONE) continue;
        shapes->first_node[host + 1]++;
        shapes->rank_count[host] += node < graph->rank_count;
    }
    for (uint32_t i = 0; i < shapes->host_count; i++) shapes->first_node[i + 1] += shapes->first_node[i];
    for (uint32_t node = 0; node < graph->node_count; node++) { /* ranks are the first nodes of the graph */
        uint32_t host = shapes->host_index[node];
        if (host == TOPOLOGY_NONE) continue;
        shapes->local[node] = filled[host]++;
        shapes->nodes[shapes->first_node[host] + shapes->local[node]] = node;
    }
    free(index);
    free(filled);
    return true;
}

/* Without @p outside, links out of the host count without saying whereto. */
static bool describe(const struct search_flow_graph *graph, const uint32_t *demand, const struct host_shapes *shapes,
                     uint32_t host, bool outside, struct host_words *out)
{
    uint32_t first = shapes->first_node[host], count = shapes->first_node[host + 1] - first, arcs = 0;
    for (uint32_t i = 0; i < count; i++)
        arcs += graph->first_arc[shapes->nodes[first + i] + 1] - graph->first_arc[shapes->nodes[first + i]];
    *out = (struct host_words){.host = host};
    out->words = malloc((2 + count + 3 * (size_t)arcs) * sizeof *out->words);
    if (!out->words) return false;
    out->words[out->count++] = count;
    out->words[out->count++] = shapes->rank_count[host];
    for (uint32_t i = 0; i < count; i++) {
        uint32_t node = shapes->nodes[first + i];
        uint64_t wanted = node < graph->rank_count ? (demand ? demand[node] : 1) : 0;
        out->words[out->count++] = wanted << 32 | (graph->first_arc[node + 1] - graph->first_arc[node]);
        for (uint32_t k = graph->first_arc[node]; k < graph->first_arc[node + 1]; k++) {
            uint32_t to = graph->arcs[k].to;
            bool inside = shapes->host_index[to] == host;
            out->words[out->count++] = inside ? shapes->local[to] : UINT64_C(1) << 32 | (outside ? to : 0);
            out->words[out->count++] = (uint64_t)graph->arcs[k].capacity;
        }
    }
    out->hash = bytes_hash(BYTES_HASH_START, out->words, out->count * sizeof *out->words);
    return true;
}

static int compare_words(const void *left, const void *right)
{
    const struct host_words *a = left, *b = right;
    if (a->hash != b->hash) return a->hash < b->hash ? -1 : 1;
    if (a->count != b->count) return a->count < b->count ? -1 : 1;
    int order = memcmp(a->words, b->words, a->count * sizeof *a->words);
    return order ? order : a->host < b->host ? -1 : a->host > b->host;
}

/*
 * What leads into a host from outside is described by the outside's arcs: add it to the twins' words as links from the
 * node to the host. Switches are few against hosts, so one pass over their arcs sorts everything.
 */
static bool describe_inward(const struct search_flow_graph *graph, const struct host_shapes *shapes, bool outside,
                            struct host_words *words)
{
    uint32_t *extra = calloc(shapes->host_count + 1u, sizeof *extra);
    bool ok = extra != NULL;
    for (uint32_t i = 0; i < graph->arc_count && ok; i++) {
        uint32_t host = shapes->host_index[graph->arcs[i].to];
        if (host != TOPOLOGY_NONE && shapes->host_index[graph->arcs[i].from] != host) extra[host] += 3;
    }
    for (uint32_t host = 0; host < shapes->host_count && ok; host++) {
        uint64_t *grown = realloc(words[host].words, (words[host].count + extra[host] + 1u) * sizeof *grown);
        if (grown)
            words[host].words = grown;
        else
            ok = false;
    }
    for (uint32_t i = 0; i < graph->arc_count && ok; i++) {
        uint32_t from = graph->arcs[i].from, to = graph->arcs[i].to, host = shapes->host_index[to];
        if (host == TOPOLOGY_NONE || shapes->host_index[from] == host) continue;
        struct host_words *w = &words[host];
        uint64_t link[3] = {outside ? from : 0, shapes->local[to], (uint64_t)graph->arcs[i].capacity};
        memcpy(w->words + w->count, link, sizeof link);
        w->count += 3;
    }
    for (uint32_t host = 0; host < shapes->host_count && ok; host++)
        words[host].hash = bytes_hash(BYTES_HASH_START, words[host].words, words[host].count * sizeof(uint64_t));
    free(extra);
    return ok;
}

/* alike[host]: the first host with the same words. */
static bool classify(const struct search_flow_graph *graph, const uint32_t *demand, struct host_shapes *shapes,
                     bool outside, uint32_t *alike, uint32_t *count)
{
    struct host_words *words = calloc(shapes->host_count + 1u, sizeof *words);
    bool ok = words != NULL;
    for (uint32_t host = 0; host < shapes->host_count && ok; host++)
        ok = describe(graph, demand, shapes, host, outside, &words[host]);
    ok = ok && (!outside || describe_inward(graph, shapes, outside, words));
    if (ok) {
        qsort(words, shapes->host_count, sizeof *words, compare_words);
        for (uint32_t i = 0; i < shapes->host_count; i++) {
            bool same = i > 0 && words[i].hash == words[i - 1].hash && words[i].count == words[i - 1].count &&
                        !memcmp(words[i].words, words[i - 1].words, words[i].count * sizeof *words[i].words);
            alike[words[i].host] = same ? alike[words[i - 1].host] : words[i].host;
            *count += !same;
        }
    }
    for (uint32_t host = 0; host < shapes->host_count && words; host++) free(words[host].words);
    free(words);
    return ok;
}

weft_status host_shapes_find(const struct search_flow_graph *graph, const uint32_t *demand, struct arena *arena,
                             struct host_shapes *shapes)
{
    *shapes = (struct host_shapes){0};
    bool ok = allocate(graph, arena, shapes) && group_nodes(graph, shapes) &&
              classify(graph, demand, shapes, false, shapes->shape, &shapes->shape_count) &&
              classify(graph, demand, shapes, true, shapes->twin, &shapes->twin_count);
    return ok ? WEFT_OK : WEFT_OUT_OF_MEMORY;
}
