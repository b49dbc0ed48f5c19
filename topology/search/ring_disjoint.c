/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Edge-disjoint rings: how many tours of all ranks, each taking one unit of every arc it uses. Depth first, all rings
 * in one search, nearest and most awkward rank first; a search that loses its way starts again with other ties broken,
 * which on these graphs finds in milliseconds what going on would not in hours. A fixed seed: equal graphs give equal
 * rings.
 */
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "topology/search/rings.h"

#define STEPS_PER_START 4000u
#define STARTS_PER_COUNT 300u
#define STEPS_IN_ALL 300000u
#define MOST_RINGS 64u
#define MOST_WIDTHS 6u

struct weave {
    struct search_context *context;
    const struct search_flow_graph *graph;
    int64_t *left; /* by arc: units */
    uint32_t ring_count, rank_count;
    uint32_t *order;      /* by place (ring * rank_count + i): the rank there */
    bool *visited;        /* by ring * rank_count + rank */
    uint32_t *candidates; /* by place: rank_count choices for the next rank */
    uint32_t *candidate_count, *next_candidate;
    uint32_t *path; /* by place: the arcs taken, node_count each */
    uint32_t *path_length;
    uint32_t *via, *length, *queue; /* of one breadth-first search */
    uint64_t *keys;
    struct random random;
    uint64_t steps_left; /* of all searches together */
    bool expired;
};

/* Ranks in reach of @p from over switches with units left. */
static void reach(struct weave *w, uint32_t from)
{
    const struct search_flow_graph *graph = w->graph;
    memset(w->length, 0xff, graph->node_count * sizeof *w->length);
    uint32_t head = 0, tail = 0;
    w->length[from] = 0;
    w->queue[tail++] = from;
    while (head < tail) {
        uint32_t node = w->queue[head++];
        if (node < graph->rank_count && node != from) continue;
        for (uint32_t i = graph->first_arc[node]; i < graph->first_arc[node + 1]; i++) {
            uint32_t to = graph->arcs[i].to;
            if (w->left[i] <= 0 || w->length[to] != UINT32_MAX) continue;
            w->length[to] = w->length[node] + 1;
            w->via[to] = i;
            w->queue[tail++] = to;
        }
    }
}

/* Direct arcs with units left from @p rank to ranks that the ring still has to visit. */
static uint32_t ways_on(const struct weave *w, uint32_t rank, const bool *visited)
{
    uint32_t count = 0;
    for (uint32_t i = w->graph->first_arc[rank]; i < w->graph->first_arc[rank + 1]; i++) {
        uint32_t to = w->graph->arcs[i].to;
        count += w->left[i] > 0 && (to >= w->graph->rank_count || !visited[to]);
    }
    return count;
}

/* Where the ring may go from this place, best first. */
static void list_candidates(struct weave *w, uint32_t place)
{
    uint32_t ranks = w->rank_count, count = 0, *list = &w->candidates[(size_t)place * ranks];
    const bool *visited = &w->visited[(size_t)(place / ranks) * ranks];
    uint32_t from = w->order[place], start = w->order[place - place % ranks];
    bool closing = place % ranks == ranks - 1;
    reach(w, from);
    for (uint32_t rank = 0; rank < ranks; rank++) {
        if (closing ? rank != start : visited[rank]) continue;
        if (w->length[rank] == UINT32_MAX || (rank == from && ranks > 1)) continue;
        uint64_t key = (uint64_t)w->length[rank] << 32 | (uint64_t)ways_on(w, rank, visited) << 16;
        key |= random_below(&w->random, 1u << 16);
        uint32_t at = count++;
        for (; at > 0 && w->keys[at - 1] > key; at--) {
            w->keys[at] = w->keys[at - 1];
            list[at] = list[at - 1];
        }
        w->keys[at] = key;
        list[at] = rank;
    }
    w->candidate_count[place] = count;
    w->next_candidate[place] = 0;
}

static void take_path(struct weave *w, uint32_t place, uint32_t to)
{
    uint32_t from = w->order[place], count = 0, *path = &w->path[(size_t)place * w->graph->node_count];
    reach(w, from);
    for (uint32_t node = to; node != from; node = w->graph->arcs[w->via[node]].from) path[count++] = w->via[node];
    for (uint32_t i = 0; i < count / 2; i++) {
        uint32_t arc = path[i];
        path[i] = path[count - 1 - i];
        path[count - 1 - i] = arc;
    }
    for (uint32_t i = 0; i < count; i++) w->left[path[i]]--;
    w->path_length[place] = count;
}

static void give_back(struct weave *w, uint32_t place)
{
    const uint32_t *path = &w->path[(size_t)place * w->graph->node_count];
    for (uint32_t i = 0; i < w->path_length[place]; i++) w->left[path[i]]++;
}

static void arrive(struct weave *w, uint32_t place, uint32_t rank)
{
    w->order[place] = rank;
    w->visited[(size_t)(place / w->rank_count) * w->rank_count + rank] = true;
    list_candidates(w, place);
}

/*
 * One search from the start. True: all rings found. Each ring is begun at another rank: where hosts have a NIC for
 * each GPU, rings that close at one and the same rank would all need its NIC.
 */
static bool weave(struct weave *w, uint64_t seed)
{
    uint32_t ranks = w->rank_count, places = w->ring_count * ranks, place = 0, steps = STEPS_PER_START + 20 * places;
    random_seed(&w->random, seed);
    memset(w->visited, 0, places * sizeof *w->visited);
    arrive(w, 0, 0);
    while (steps-- > 0 && w->steps_left > 0) {
        w->steps_left--;
        if (w->next_candidate[place] < w->candidate_count[place]) {
            uint32_t to = w->candidates[(size_t)place * ranks + w->next_candidate[place]++];
            take_path(w, place, to);
            if (++place == places) return true;
            arrive(w, place, place % ranks ? to : place / ranks % ranks);
            continue;
        }
        if (place == 0) return false;
        w->visited[(size_t)(place / ranks) * ranks + w->order[place]] = false;
        give_back(w, --place);
    }
    while (place-- > 0) give_back(w, place);
    return false;
}

static bool allocate(struct weave *w, uint32_t most_rings)
{
    size_t ranks = w->rank_count, places = ranks * most_rings, nodes = w->graph->node_count;
    w->order = calloc(places, sizeof *w->order);
    w->visited = calloc(places, sizeof *w->visited);
    w->candidates = calloc(places * ranks, sizeof *w->candidates);
    w->candidate_count = calloc(places, sizeof *w->candidate_count);
    w->next_candidate = calloc(places, sizeof *w->next_candidate);
    w->path = calloc(places * nodes, sizeof *w->path);
    w->path_length = calloc(places, sizeof *w->path_length);
    w->via = calloc(nodes, sizeof *w->via);
    w->length = calloc(nodes, sizeof *w->length);
    w->queue = calloc(nodes, sizeof *w->queue);
    w->keys = calloc(ranks, sizeof *w->keys);
    return w->order && w->visited && w->candidates && w->candidate_count && w->next_candidate && w->path &&
           w->path_length && w->via && w->length && w->queue && w->keys;
}

static void free_weave(struct weave *w)
{
    free(w->order);
    free(w->visited);
    free(w->candidates);
    free(w->candidate_count);
    free(w->next_candidate);
    free(w->path);
    free(w->path_length);
    free(w->via);
    free(w->length);
    free(w->queue);
    free(w->keys);
    free(w->left);
}

static bool keep_rings(const struct weave *w, uint64_t width, struct ring_set *set)
{
    ring_set_free(set);
    set->denominator = 1;
    for (uint32_t r = 0; r < w->ring_count; r++) {
        struct ring *ring = ring_set_add(set, w->rank_count * w->graph->node_count);
        if (!ring) return false;
        uint32_t total = 0;
        for (uint32_t i = 0; i < w->rank_count; i++) {
            uint32_t place = r * w->rank_count + i;
            ring->order[i] = w->order[place];
            ring->first[i] = total;
            memcpy(ring->arcs + total, &w->path[(size_t)place * w->graph->node_count],
                   w->path_length[place] * sizeof *ring->arcs);
            total += w->path_length[place];
        }
        ring->first[w->rank_count] = total;
        ring->weight = width;
        set->count++;
    }
    return true;
}

/* As many rings of @p width as a cut between two ranks lets through, at most. */
static uint32_t count_limit(struct weave *w, int64_t width)
{
    struct search_flow_graph units = *w->graph;
    struct arena scratch = {0};
    struct cut_bound cut = {0};
    uint32_t count = 0;
    units.arcs = arena_alloc(&scratch, units.arc_count, sizeof *units.arcs);
    if (units.arcs) {
        memcpy(units.arcs, w->graph->arcs, units.arc_count * sizeof *units.arcs);
        for (uint32_t i = 0; i < units.arc_count; i++) units.arcs[i].capacity /= width;
        if (!bound_pair(&units, w->context->budget, &scratch, &cut) && rational_valid(cut.rate))
            count = cut.capacity > MOST_RINGS ? 0 : (uint32_t)cut.capacity; /* that many are no use to anyone */
    }
    arena_free(&scratch);
    return count;
}

/* Rings of one width, as many as are found and more in total than *total. False: out of memory. */
static bool try_width(struct weave *w, int64_t width, double most, uint64_t *total, struct ring_set *set)
{
    uint32_t limit = count_limit(w, width);
    if (most > 0 && most * (1 + 1e-6) / (double)width < limit) limit = (uint32_t)(most * (1 + 1e-6) / (double)width);
    if (limit == 0 || (uint64_t)limit * (uint64_t)width <= *total) return true;
    w->left = malloc((w->graph->arc_count + 1u) * sizeof *w->left);
    bool ok = w->left && allocate(w, limit);
    for (uint32_t count = limit; ok && count > 0 && count * (uint64_t)width > *total; count--) {
        w->ring_count = count;
        for (uint32_t start = 0;
             ok && start < STARTS_PER_COUNT && w->steps_left > 0 && count * (uint64_t)width > *total; start++) {
            if ((w->expired = search_expired(w->context->budget))) goto done;
            for (uint32_t i = 0; i < w->graph->arc_count; i++) w->left[i] = w->graph->arcs[i].capacity / width;
            if (!weave(w, start + 1)) continue;
            ok = keep_rings(w, (uint64_t)width, set);
            *total = count * (uint64_t)width;
            set->optimal = most > 0 && (double)*total + 1 > most * (1 + 1e-6); /* widths are whole */
        }
    }
done:
    free_weave(w);
    return ok;
}

static int narrowest_first(const void *left, const void *right)
{
    int64_t a = *(const int64_t *)left, b = *(const int64_t *)right;
    return a < b ? -1 : a > b;
}

bool rings_disjoint(struct search_context *context, double most, uint64_t at_least, struct ring_set *set)
{
    const struct search_flow_graph *graph = context->graph;
    int64_t *all = malloc((graph->arc_count + 1u) * sizeof *all), widths[MOST_WIDTHS] = {1};
    if (!all) return false;
    for (uint32_t i = 0; i < graph->arc_count; i++) all[i] = graph->arcs[i].capacity;
    qsort(all, graph->arc_count, sizeof *all, narrowest_first);
    uint32_t count = 1; /* the unit, and what arcs have */
    for (uint32_t i = 0; i < graph->arc_count && count < MOST_WIDTHS; i++)
        if (widths[count - 1] != all[i]) widths[count++] = all[i];
    free(all);
    uint64_t total = at_least;
    bool ok = true, expired = false;
    for (uint32_t i = count; i-- > 0 && ok && !expired;) { /* of equal totals the fewest, widest rings */
        struct weave w = {
            .context = context, .graph = graph, .rank_count = graph->rank_count, .steps_left = STEPS_IN_ALL};
        ok = try_width(&w, widths[i], most, &total, set);
        expired = w.expired;
    }
    return ok && set->count > 0;
}
