/* SPDX-License-Identifier: Apache-2.0 */
/* From a sketch of arcs to the graph that everything else works on: prune, give figures, merge, number. */
#include "topology/search/flow_graph.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The sum of capacities times the number of ranks has to stay below MAX_FLOW_UNLIMITED. */
#define CAPACITY_LIMIT 0x1p60
/* Capacities are at most this many units, so that sums and products of their fractions fit into 64 bits. */
#define MOST_UNITS ((uint64_t)1 << 18)

void flow_graph_note(struct search_flow_graph *graph, struct arena *arena, const char *format, ...)
{
    char text[320];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    char *copy = arena_strdup(arena, text);
    if (copy && graph->note_count < sizeof graph->notes / sizeof *graph->notes)
        graph->notes[graph->note_count++] = copy;
}

void flow_sketch_add(struct flow_sketch *sketch, struct flow_sketch_arc arc)
{
    if (sketch->failed) return;
    if (sketch->arc_count == sketch->arc_capacity) {
        uint32_t capacity = sketch->arc_capacity ? 2 * sketch->arc_capacity : 256;
        struct flow_sketch_arc *arcs = realloc(sketch->arcs, capacity * sizeof *arcs);
        if (!arcs) {
            sketch->failed = true;
            return;
        }
        sketch->arcs = arcs;
        sketch->arc_capacity = capacity;
    }
    sketch->arcs[sketch->arc_count++] = arc;
}

static int compare_arcs(const void *left, const void *right)
{
    const struct flow_sketch_arc *a = left, *b = right;
    if (a->from != b->from) return a->from < b->from ? -1 : 1;
    if (a->to != b->to) return a->to < b->to ? -1 : 1;
    return a->hop < b->hop ? -1 : a->hop > b->hop;
}

/* Sets reached[] for all nodes that ranks reach over the arcs (backwards: that reach ranks). Arcs are sorted by from.
 */
static void spread(const struct flow_sketch *sketch, bool backwards, bool *reached)
{
    memset(reached, 0, sketch->node_count * sizeof *reached);
    for (uint32_t rank = 0; rank < sketch->rank_count; rank++) reached[sketch->rank_nodes[rank]] = true;
    for (bool changed = true; changed;) { /* as many rounds as the longest way has turns against the order: few */
        changed = false;
        for (uint32_t i = 0; i < sketch->arc_count; i++) {
            const struct flow_sketch_arc *arc = &sketch->arcs[i];
            uint32_t from = backwards ? arc->to : arc->from, to = backwards ? arc->from : arc->to;
            if (!reached[from] || reached[to]) continue;
            reached[to] = true;
            changed = true;
        }
    }
}

static void keep_arcs(struct flow_sketch *sketch, const bool *keep)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < sketch->arc_count; i++)
        if (keep[sketch->arcs[i].from] && keep[sketch->arcs[i].to]) sketch->arcs[kept++] = sketch->arcs[i];
    sketch->arc_count = kept;
}

/* Transit nodes with a single neighbour carry nothing; taking one away may leave another. */
static void prune_ends(struct flow_sketch *sketch, const bool *is_rank, uint32_t *neighbour, bool *keep)
{
    for (bool changed = true; changed;) {
        changed = false;
        memset(neighbour, 0xff, sketch->node_count * sizeof *neighbour);
        memset(keep, 0, sketch->node_count * sizeof *keep);
        for (uint32_t i = 0; i < sketch->arc_count; i++) {
            uint32_t ends[2] = {sketch->arcs[i].from, sketch->arcs[i].to};
            for (int side = 0; side < 2; side++) {
                if (neighbour[ends[side]] == UINT32_MAX) neighbour[ends[side]] = ends[!side];
                keep[ends[side]] |= is_rank[ends[side]] || neighbour[ends[side]] != ends[!side];
            }
        }
        uint32_t before = sketch->arc_count;
        keep_arcs(sketch, keep);
        changed = sketch->arc_count != before;
    }
}

static bool prune(struct flow_sketch *sketch)
{
    size_t count = sketch->node_count + 1u;
    bool *one = calloc(count, 1), *other = calloc(count, 1), *is_rank = calloc(count, 1);
    uint32_t *neighbour = malloc(count * sizeof *neighbour);
    bool ok = one && other && is_rank && neighbour;
    if (ok) {
        spread(sketch, false, one);
        spread(sketch, true, other);
        for (uint32_t node = 0; node < sketch->node_count; node++) one[node] &= other[node];
        keep_arcs(sketch, one);
        for (uint32_t rank = 0; rank < sketch->rank_count; rank++) is_rank[sketch->rank_nodes[rank]] = true;
        prune_ends(sketch, is_rank, neighbour, one);
    }
    free(one);
    free(other);
    free(is_rank);
    free(neighbour);
    return ok;
}

/*
 * Links without a figure: every single link counts 1 if none has one; else the smallest figure of a single link of its
 * kind, or where its kind has none the largest of all, which seldom binds. What stands for several counts so often.
 */
static void assume_capacities(struct flow_sketch *sketch, struct search_flow_graph *graph, struct arena *arena)
{
    int64_t smallest[LINK_KIND_COUNT] = {0}, largest = 0;
    for (uint32_t i = 0; i < sketch->arc_count; i++) {
        const struct flow_sketch_arc *arc = &sketch->arcs[i];
        int64_t single = arc->capacity > 0 && arc->capacity < arc->count ? 1 : arc->capacity / arc->count;
        if (arc->capacity == 0) continue;
        if (!smallest[arc->kind] || single < smallest[arc->kind]) smallest[arc->kind] = single;
        if (single > largest) largest = single;
    }
    graph->unit_is_link = largest == 0;
    uint32_t assumed[LINK_KIND_COUNT] = {0};
    for (uint32_t i = 0; i < sketch->arc_count; i++) {
        struct flow_sketch_arc *arc = &sketch->arcs[i];
        if (arc->capacity) continue;
        assumed[arc->kind]++;
        arc->capacity = (!largest ? 1 : smallest[arc->kind] ? smallest[arc->kind] : largest) * arc->count;
    }
    for (int kind = 0; kind < LINK_KIND_COUNT; kind++) {
        graph->assumed_links += assumed[kind];
        if (!assumed[kind] || !largest) continue;
        flow_graph_note(graph, arena, "%u directions of %s links have no figure: a link is taken as %s, %.6g GB/s",
                        assumed[kind], topology_link_kind_name((enum link_kind)kind),
                        smallest[kind] ? "the slowest of their kind" : "the fastest of all",
                        (double)(smallest[kind] ? smallest[kind] : largest) / 1e9);
    }
    if (!largest && sketch->arc_count)
        flow_graph_note(graph, arena,
                        "no link has a figure: each counts 1, bundled ones as many as they are, and bandwidths are in "
                        "links");
}

/* Divide by the greatest common divisor; what is too large even then becomes coarser, rounded down. */
static void scale_capacities(struct flow_sketch *sketch, struct search_flow_graph *graph, struct arena *arena)
{
    uint64_t divisor = 0, largest = 0;
    double sum = 0;
    for (uint32_t i = 0; i < sketch->arc_count; i++) {
        divisor = (uint64_t)rational_gcd(divisor, (uint64_t)sketch->arcs[i].capacity);
        sum += (double)sketch->arcs[i].capacity;
        if ((uint64_t)sketch->arcs[i].capacity > largest) largest = (uint64_t)sketch->arcs[i].capacity;
    }
    if (divisor == 0) divisor = 1;
    sum *= (double)(sketch->rank_count + 1u);
    if (largest / divisor > MOST_UNITS || sum / (double)divisor > CAPACITY_LIMIT) {
        divisor = 1; /* what has no common divisor was measured: steps that a person can read */
        while (largest / divisor > MOST_UNITS || sum / (double)divisor > CAPACITY_LIMIT) divisor *= 10;
        flow_graph_note(graph, arena, "bandwidths are taken in steps of %llu bytes/s", (unsigned long long)divisor);
    }
    for (uint32_t i = 0; i < sketch->arc_count; i++) {
        sketch->arcs[i].capacity /= (int64_t)divisor;
        if (sketch->arcs[i].capacity == 0) sketch->arcs[i].capacity = 1;
    }
    graph->unit = rational_make(divisor, 1);
}

static bool number_nodes(struct flow_sketch *sketch, struct arena *arena, struct search_flow_graph *graph)
{
    uint32_t *number = malloc((sketch->node_count + 1u) * sizeof *number);
    if (!number) return false;
    memset(number, 0xff, sketch->node_count * sizeof *number);
    uint32_t count = 0;
    for (; count < sketch->rank_count; count++) number[sketch->rank_nodes[count]] = count;
    for (uint32_t i = 0; i < sketch->arc_count; i++) {
        struct flow_sketch_arc *arc = &sketch->arcs[i];
        if (number[arc->from] == UINT32_MAX) number[arc->from] = count++;
    }
    graph->rank_count = sketch->rank_count;
    graph->node_count = count;
    graph->topology_node = arena_alloc(arena, count, sizeof *graph->topology_node);
    graph->first_arc = arena_alloc(arena, count + 1u, sizeof *graph->first_arc);
    if (graph->topology_node)
        for (uint32_t node = 0; node < sketch->node_count; node++)
            if (number[node] != UINT32_MAX) graph->topology_node[number[node]] = sketch->topology_node[node];
    for (uint32_t i = 0; i < sketch->arc_count; i++) {
        sketch->arcs[i].from = number[sketch->arcs[i].from];
        sketch->arcs[i].to = number[sketch->arcs[i].to];
    }
    free(number);
    return graph->topology_node && graph->first_arc;
}

static bool merge_arcs(const struct flow_sketch *sketch, struct arena *arena, struct search_flow_graph *graph)
{
    graph->arcs = arena_alloc(arena, sketch->arc_count, sizeof *graph->arcs);
    graph->hops = arena_alloc(arena, sketch->arc_count, sizeof *graph->hops);
    if (!graph->arcs || !graph->hops) return false;
    for (uint32_t i = 0; i < sketch->arc_count; i++) {
        const struct flow_sketch_arc *raw = &sketch->arcs[i];
        struct flow_arc *arc = graph->arc_count ? &graph->arcs[graph->arc_count - 1] : NULL;
        if (!arc || arc->from != raw->from || arc->to != raw->to) {
            arc = &graph->arcs[graph->arc_count++];
            *arc = (struct flow_arc){.from = raw->from, .to = raw->to, .first_hop = graph->hop_count};
        }
        arc->capacity += raw->capacity;
        arc->hop_count++;
        graph->hops[graph->hop_count++] = (struct flow_hop){.hop = raw->hop, .capacity = raw->capacity};
    }
    for (uint32_t node = 0, arc = 0; node <= graph->node_count; node++) {
        while (arc < graph->arc_count && graph->arcs[arc].from < node) arc++;
        graph->first_arc[node] = arc;
    }
    return true;
}

weft_status flow_graph_finish(struct flow_sketch *sketch, struct arena *arena, struct search_flow_graph *graph,
                              struct diagnostic *diagnostic)
{
    if (sketch->failed) return diagnose(diagnostic, WEFT_OUT_OF_MEMORY, "out of memory");
    if (sketch->arc_count) qsort(sketch->arcs, sketch->arc_count, sizeof *sketch->arcs, compare_arcs);
    if (!prune(sketch)) return diagnose(diagnostic, WEFT_OUT_OF_MEMORY, "out of memory");
    assume_capacities(sketch, graph, arena);
    scale_capacities(sketch, graph, arena);
    if (!number_nodes(sketch, arena, graph)) return diagnose(diagnostic, WEFT_OUT_OF_MEMORY, "out of memory");
    if (sketch->arc_count) qsort(sketch->arcs, sketch->arc_count, sizeof *sketch->arcs, compare_arcs);
    if (!merge_arcs(sketch, arena, graph)) return diagnose(diagnostic, WEFT_OUT_OF_MEMORY, "out of memory");
    return WEFT_OK;
}

uint32_t flow_graph_arc(const struct search_flow_graph *graph, uint32_t from, uint32_t to)
{
    uint32_t low = graph->first_arc[from], high = graph->first_arc[from + 1];
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (graph->arcs[middle].to == to) return middle;
        if (graph->arcs[middle].to < to)
            low = middle + 1;
        else
            high = middle;
    }
    return UINT32_MAX;
}

static int compare_reversed(const void *left, const void *right)
{
    const struct flow_arc *a = left, *b = right;
    if (a->from != b->from) return a->from < b->from ? -1 : 1;
    return a->to < b->to ? -1 : a->to > b->to;
}

struct search_flow_graph *flow_graph_reversed(const struct search_flow_graph *graph, struct arena *arena)
{
    struct search_flow_graph *reversed = arena_alloc(arena, 1, sizeof *reversed);
    if (!reversed) return NULL;
    *reversed = *graph;
    reversed->arcs = arena_alloc(arena, graph->arc_count, sizeof *reversed->arcs);
    reversed->first_arc = arena_alloc(arena, graph->node_count + 1u, sizeof *reversed->first_arc);
    if (!reversed->arcs || !reversed->first_arc) return NULL;
    for (uint32_t i = 0; i < graph->arc_count; i++) {
        reversed->arcs[i] = graph->arcs[i];
        reversed->arcs[i].from = graph->arcs[i].to;
        reversed->arcs[i].to = graph->arcs[i].from;
    }
    if (graph->arc_count) qsort(reversed->arcs, reversed->arc_count, sizeof *reversed->arcs, compare_reversed);
    for (uint32_t node = 0, arc = 0; node <= graph->node_count; node++) {
        while (arc < graph->arc_count && reversed->arcs[arc].from < node) arc++;
        reversed->first_arc[node] = arc;
    }
    return reversed;
}
