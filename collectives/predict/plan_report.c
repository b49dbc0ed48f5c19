/* SPDX-License-Identifier: Apache-2.0 */
/* What weft_topology_plan() says: the rings and trees that were found, how good any could be, and why. */
#include <math.h>
#include <string.h>

#include "collectives/predict/advice.h"

#define GB 1e9
/* A plan of more trees, times ranks, is listed for one host only, as the search found it. */
enum { LISTED_EDGES_MAX = 2000000, NAMES_SHOWN = 16 };

static double value_of(struct rational rational)
{
    return rational_valid(rational) ? rational_value(rational) : 0;
}

/* Figures are in links where a topology has no bandwidth at all. */
static double scaled(const struct advice *advice, struct rational rational)
{
    return value_of(rational) / (advice->search->unit_is_link ? 1 : GB);
}

static const char *unit_of(const struct advice *advice)
{
    return advice->search->unit_is_link ? "links" : "GB/s";
}

/* Only of a chosen sort: the other is not wanted, or there is none. */
static const struct search_rings *rings_listed(const struct advice *advice)
{
    return advice->request.algorithm == WEFT_ALGORITHM_TREE ? NULL : advice_rings(advice);
}

static const struct search_forest *forest_listed(const struct advice *advice)
{
    const struct search_forest *forest = &advice->search->forest;
    return advice->request.algorithm == WEFT_ALGORITHM_RING || forest->tree_count == 0 ? NULL : forest;
}

static double ring_algbw(const struct advice *advice)
{
    const struct search_rings *rings = rings_listed(advice);
    return rings ? value_of(rings->algbw) : 0;
}

static double tree_algbw(const struct advice *advice)
{
    const struct search_forest *forest = forest_listed(advice);
    return forest ? value_of(forest->algbw) : 0;
}

void advice_figures(const struct advice *advice, weft_topology_figures *figures)
{
    double unit = advice->search->unit_is_link ? 0 : 1; /* figures are in bytes per second, or unknown */
    double bound = value_of(advice->search->bound.algbw), ring = ring_algbw(advice), tree = tree_algbw(advice);
    figures->rank_count = advice->rank_count;
    figures->ring_algbw = ring * unit;
    figures->tree_algbw = tree * unit;
    figures->bound_algbw = bound * unit;
    figures->gap = bound > 0 ? fmax(ring, tree) / bound : 0;
}

static uint32_t turned(const struct advice *advice, uint32_t rank, uint32_t places)
{
    return places ? search_rotate(advice->search, rank, places) : rank;
}

/* Do data on their way up take the same edges, backwards, as on their way down? */
static bool is_mirror(const struct search_tree *tree)
{
    if (!tree->edges || !tree->reduce_edges) return true;
    for (uint32_t i = 0; i < tree->edge_count; i++) {
        bool same = tree->reduce_edges[i].child == tree->edges[i].child &&
                    tree->reduce_edges[i].parent == tree->edges[i].parent;
        for (uint32_t k = 0; k < tree->edge_count && !same; k++)
            same = tree->reduce_edges[k].child == tree->edges[i].child &&
                   tree->reduce_edges[k].parent == tree->edges[i].parent;
        if (!same) return false;
    }
    return true;
}

static void edges_json(const struct advice *advice, struct text *text, const char *key, const struct search_edge *edges,
                       uint32_t count, uint32_t places)
{
    json_array_begin(text, key);
    for (uint32_t i = 0; i < count; i++) {
        json_array_begin(text, NULL);
        json_unsigned(text, NULL, turned(advice, edges[i].parent, places));
        json_unsigned(text, NULL, turned(advice, edges[i].child, places));
        json_array_end(text);
    }
    json_array_end(text);
}

static uint32_t turns_listed(const struct advice *advice, const struct search_forest *forest)
{
    uint64_t hosts = forest->rotated ? advice->search->hosts.host_count : 1;
    return hosts * forest->different_count * advice->rank_count <= LISTED_EDGES_MAX ? (uint32_t)hosts : 1;
}

static void trees_json(const struct advice *advice, const struct search_forest *forest, struct text *text)
{
    uint32_t turns = turns_listed(advice, forest);
    for (uint32_t places = 0; places < turns; places++) {
        for (uint32_t i = 0; i < forest->tree_count; i++) {
            const struct search_tree *tree = &forest->trees[i];
            if (forest->same_as[i] != i) continue;
            json_object_begin(text, NULL);
            json_unsigned(text, "root", turned(advice, tree->root, places));
            edges_json(advice, text, "edges", tree->edges ? tree->edges : tree->reduce_edges, tree->edge_count, places);
            if (!is_mirror(tree))
                edges_json(advice, text, "reduce_edges", tree->reduce_edges, tree->edge_count, places);
            json_number(text, "gbps", scaled(advice, search_same_bandwidth(forest, i)));
            json_object_end(text);
        }
    }
}

void advice_candidates_json(const struct advice *advice, struct text *text)
{
    json_array_begin(text, "candidates");
    for (uint32_t i = 0; i < advice->candidate_count; i++) {
        const struct candidate *candidate = &advice->candidates[i];
        char method[160];
        json_object_begin(text, NULL);
        json_string(text, "plan", candidate->name);
        json_string(text, "algorithm", weft_algorithm_name(candidate->algorithm));
        if (candidate->predicted) {
            prediction_method(&candidate->prediction, method);
            json_number(text, "time_us", candidate->prediction.seconds * 1e6);
            json_number(text, "algbw_gbps", candidate->prediction.algbw / GB);
            json_string(text, "method", method);
        }
        if (candidate->ideal_algbw > 0)
            json_number(text, "ideal_algbw_gbps",
                        candidate->ideal_algbw / (advice->search && advice->search->unit_is_link ? 1 : GB));
        if (candidate->kept) {
            json_unsigned(text, "kept", candidate->kept);
            json_unsigned(text, "found", candidate->found);
        }
        if (candidate->refusal[0]) json_string(text, "refusal", candidate->refusal);
        json_bool(text, "chosen", i == advice->chosen);
        json_object_end(text);
    }
    json_array_end(text);
}

/* The nodes of one part, ranks first; at most NAMES_SHOWN. Returns how many there are. */
static uint32_t part_names(const struct advice *advice, uint32_t part, struct text *text, bool json)
{
    const struct search_bound *bound = &advice->search->bound;
    uint32_t count = 0;
    for (uint32_t rank = 0; rank < advice->rank_count && bound->part_of_rank; rank++) {
        char name[128];
        if (bound->part_of_rank[rank] != part || count++ >= NAMES_SHOWN) continue;
        advice_node_name(advice->topology, advice->search->rank_nodes[rank], name);
        if (json)
            json_string(text, NULL, name);
        else
            text_add(text, "%s%s", count > 1 ? ", " : "", name);
    }
    for (uint32_t node = 0; node < advice->topology->node_count && bound->part_of_node; node++) {
        enum node_kind kind = advice->topology->nodes[node].kind;
        char name[128];
        if (bound->part_of_node[node] != part || (kind != NODE_SWITCH && kind != NODE_NVSWITCH)) continue;
        if (count++ >= NAMES_SHOWN) continue;
        advice_node_name(advice->topology, node, name);
        if (json)
            json_string(text, NULL, name);
        else
            text_add(text, "%s%s", count > 1 ? ", " : "", name);
    }
    return count;
}

static void bound_json(const struct advice *advice, struct text *text)
{
    const struct search_bound *bound = &advice->search->bound;
    json_object_begin(text, "bound");
    json_bool(text, "exact", bound->exact);
    json_unsigned(text, "parts", bound->part_count);
    json_unsigned(text, "inside_ranks", bound->inside_ranks);
    json_number(text, "bandwidth_gbps", scaled(advice, bound->bandwidth));
    json_array_begin(text, "inside");
    if (bound->part_count) part_names(advice, 0, text, true);
    json_array_end(text);
    json_object_end(text);
}

void advice_plan_json(const struct advice *advice, struct text *text)
{
    const struct search_result *search = advice->search;
    const struct search_rings *rings = rings_listed(advice);
    const struct search_forest *forest = forest_listed(advice);
    double unit = search->unit_is_link ? 1 : GB, bound = value_of(search->bound.algbw);
    json_object_begin(text, NULL);
    json_unsigned(text, "ranks", advice->rank_count);
    json_array_begin(text, "rings");
    for (uint32_t i = 0; rings && i < rings->ring_count; i++) {
        json_object_begin(text, NULL);
        json_array_begin(text, "order");
        for (uint32_t k = 0; k < advice->rank_count; k++) json_unsigned(text, NULL, rings->rings[i].order[k]);
        json_array_end(text);
        json_number(text, "gbps", scaled(advice, rings->rings[i].bandwidth));
        json_object_end(text);
    }
    json_array_end(text);
    json_array_begin(text, "trees");
    if (forest) trees_json(advice, forest, text);
    json_array_end(text);
    json_number(text, "ring_algbw_gbps", ring_algbw(advice) / unit);
    json_number(text, "tree_algbw_gbps", tree_algbw(advice) / unit);
    json_number(text, "bound_algbw_gbps", bound / unit);
    json_number(text, "gap", bound > 0 ? fmax(ring_algbw(advice), tree_algbw(advice)) / bound : NAN);
    if (advice->request.explain) {
        json_object_begin(text, "explain");
        json_string(text, "collective", weft_collective_name(advice->request.collective));
        json_string(text, "unit", search->unit_is_link ? "links" : "gbps");
        json_unsigned(text, "bytes", advice->request.bytes);
        bound_json(advice, text);
        json_number(text, "reduce_scatter_then_all_gather_gbps", scaled(advice, search->two_phase_bound.algbw));
        advice_candidates_json(advice, text);
        json_array_begin(text, "notes");
        for (uint32_t i = 0; i < search->note_count; i++) json_string(text, NULL, search->notes[i]);
        json_array_end(text);
        json_object_end(text);
    }
    json_object_end(text);
}

static void rings_text(const struct advice *advice, struct text *text)
{
    const struct search_rings *rings = rings_listed(advice);
    if (!rings) {
        text_add(text, "rings: none\n");
        return;
    }
    text_add(text, "%u ring%s%s, together %.6g %s, algbw %.6g\n", rings->ring_count, rings->ring_count == 1 ? "" : "s",
             rings == &advice->search->fractional_rings ? " (fractional)" : ", edge-disjoint",
             scaled(advice, rings->bandwidth), unit_of(advice), scaled(advice, rings->algbw));
    for (uint32_t i = 0; i < rings->ring_count && i < NAMES_SHOWN; i++) {
        text_add(text, "  %.6g:", scaled(advice, rings->rings[i].bandwidth));
        for (uint32_t k = 0; k < advice->rank_count && k < 64; k++) text_add(text, " %u", rings->rings[i].order[k]);
        text_add(text, advice->rank_count > 64 ? " ...\n" : "\n");
    }
    if (rings->ring_count > NAMES_SHOWN) text_add(text, "  ... (all of them with --json)\n");
}

static void trees_text(const struct advice *advice, struct text *text)
{
    const struct search_forest *forest = forest_listed(advice);
    if (!forest) {
        text_add(text, "trees: none\n");
        return;
    }
    text_add(text, "%u tree%s%s, %s, algbw %.6g %s\n", forest->different_count, forest->different_count == 1 ? "" : "s",
             forest->rotated ? " for each host" : "", forest->method ? forest->method : "packed",
             scaled(advice, forest->algbw), unit_of(advice));
    for (uint32_t i = 0, shown = 0; i < forest->tree_count && shown < NAMES_SHOWN; i++) {
        const struct search_tree *tree = &forest->trees[i];
        const struct search_edge *edges = tree->edges ? tree->edges : tree->reduce_edges;
        if (forest->same_as[i] != i) continue;
        text_add(text, "  %.6g: root %u;", scaled(advice, search_same_bandwidth(forest, i)), tree->root);
        for (uint32_t k = 0; k < tree->edge_count && k < 32; k++)
            text_add(text, " %u-%u", edges[k].parent, edges[k].child);
        text_add(text, tree->edge_count > 32 ? " ...\n" : "\n");
        shown++;
    }
    if (forest->different_count > NAMES_SHOWN) text_add(text, "  ... (all of them with --json)\n");
}

static void bound_text(const struct advice *advice, struct text *text)
{
    const struct search_bound *bound = &advice->search->bound;
    if (!bound->part_count) {
        text_add(text, "no cut binds: nothing has to move\n");
        return;
    }
    bool both_ways = rational_valid(bound->share) && rational_value(bound->share) > 1.5; /* a partition into two */
    if (bound->part_count == 2)
        text_add(text, "what binds: %.6g %s lead %s the %u rank%s of\n  ", scaled(advice, bound->bandwidth),
                 unit_of(advice), both_ways ? "into and out of" : "out of", bound->inside_ranks,
                 bound->inside_ranks == 1 ? "" : "s");
    else
        text_add(text, "what binds: %.6g %s lead into %u parts, the first being\n  ", scaled(advice, bound->bandwidth),
                 unit_of(advice), bound->part_count);
    uint32_t count = part_names(advice, 0, text, false);
    if (count > NAMES_SHOWN) text_add(text, " and %u more", count - NAMES_SHOWN);
    text_add(text, "\n");
    if (!bound->exact) text_add(text, "  (the best proven in the time; the true bound may be lower)\n");
}

/* By how much it lost, and to what. */
static void loss_text(const struct advice *advice, const struct prediction *prediction, double times, struct text *text)
{
    if (times < 1.0005) {
        text_add(text, "  as fast\n");
        return;
    }
    text_add(text, "  %.3g times as long: ", times);
    if (prediction->path_latency_s > prediction->seconds / 2) {
        text_add(text, "mostly latency, one message after the other\n");
    } else if (prediction->load_count && prediction->loads[0].used > 0.85) {
        char name[300];
        advice_link_name(advice->topology, prediction->loads[0].link, name);
        text_add(text, "full is %s\n", name);
    } else {
        text_add(text, "it waits more: no link is busy all the time\n");
    }
}

static bool is_coarse(const struct prediction *prediction)
{
    return prediction->extrapolated || prediction->slices < prediction->real_slices;
}

void advice_candidates_text(const struct advice *advice, struct text *text)
{
    double best = advice->chosen < CANDIDATES_MAX ? advice->candidates[advice->chosen].prediction.seconds : 0;
    bool coarse = false;
    for (uint32_t i = 0; i < advice->candidate_count; i++) {
        const struct candidate *candidate = &advice->candidates[i];
        text_add(text, "  %-50s ", candidate->name);
        if (!candidate->predicted) {
            text_add(text, "%s\n", candidate->refusal[0] ? candidate->refusal : "not priced");
            continue;
        }
        const struct prediction *prediction = &candidate->prediction;
        text_add(text, "%c%10.6g us  algbw %8.4g GB/s", is_coarse(prediction) ? '~' : ' ', prediction->seconds * 1e6,
                 prediction->algbw / GB);
        coarse |= is_coarse(prediction);
        if (i == advice->chosen)
            text_add(text, "  chosen\n");
        else
            loss_text(advice, prediction, prediction->seconds / best, text);
        if (candidate->kept)
            text_add(text, "    of up to %u for each root, or in all, the %u heaviest: more do not fit into a plan\n",
                     candidate->found, candidate->kept);
    }
    if (coarse)
        text_add(text, "  (~: simulated with fewer, larger slices than a run has, which takes a little longer)\n");
}

/* Which rank is where, as far as it fits. */
static void ranks_text(const struct advice *advice, struct text *text)
{
    for (uint32_t rank = 0; rank < advice->rank_count && rank < NAMES_SHOWN; rank++) {
        char name[128];
        advice_node_name(advice->topology, advice->endpoints[rank], name);
        text_add(text, "%s%u: %s", rank % 4 ? ",  " : rank ? "\n  " : "  ", rank, name);
    }
    text_add(text, advice->rank_count > NAMES_SHOWN ? ", ...\n" : "\n");
}

void advice_plan_text(const struct advice *advice, struct text *text)
{
    const struct search_result *search = advice->search;
    double bound = value_of(search->bound.algbw);
    text_add(text, "%s over %u ranks, a rank on every %s, %u host%s\n",
             weft_collective_name(advice->request.collective), advice->rank_count,
             topology_node_kind_name(advice->topology->nodes[advice->endpoints[0]].kind), search->hosts.host_count,
             search->hosts.host_count == 1 ? "" : "s");
    if (advice->request.explain) ranks_text(advice, text);
    rings_text(advice, text);
    trees_text(advice, text);
    text_add(text, "bound: algbw %.6g %s%s", scaled(advice, search->bound.algbw), unit_of(advice),
             search->bound.exact ? "" : " (not exact)");
    if (bound > 0) text_add(text, "; reached: %.6g of it", fmax(ring_algbw(advice), tree_algbw(advice)) / bound);
    text_add(text, bound > 0 && advice->request.explain ? " (of bandwidth; latency and overheads left aside)\n" : "\n");
    if (search->expired) text_add(text, "the search ran out of time: this is the best so far\n");
    if (!advice->request.explain) return;
    bound_text(advice, text);
    if (rational_valid(search->two_phase_bound.algbw))
        text_add(text, "reduce-scatter then all-gather could reach %.6g %s\n",
                 scaled(advice, search->two_phase_bound.algbw), unit_of(advice));
    if (search->hosts.host_count > 1)
        text_add(text,
                 "a tour of the hosts in the order found uses %u links between switches, in the order listed %u\n",
                 search->hosts.switch_hops, search->hosts.switch_hops_as_listed);
    text_add(text, "candidates, priced for %llu bytes:\n", (unsigned long long)advice->request.bytes);
    advice_candidates_text(advice, text);
    if (search->assumed_links) text_add(text, "%u links have no bandwidth of their own\n", search->assumed_links);
    for (uint32_t i = 0; i < search->note_count; i++) text_add(text, "note: %s\n", search->notes[i]);
}
