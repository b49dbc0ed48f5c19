/* SPDX-License-Identifier: Apache-2.0 */
/* What weft_topology_simulate() says: time, loads of links, the critical path, and other models' figures beside it. */
#include <math.h>

#include "collectives/predict/advice.h"

#define GB 1e9
enum { LINKS_SHOWN = 12, HOPS_SHOWN = 8 };

/* LogGOPS with what this topology's own figures come to: the mean message of the critical path, its slowest link. */
static bool loggops_of(const struct advice *advice, const struct prediction *prediction, struct loggops *model)
{
    double latency = 0, count = 0, narrowest = INFINITY;
    for (uint32_t i = 0; i < prediction->path_count; i++) {
        if (prediction->path[i].from == prediction->path[i].to) continue;
        latency += prediction->path[i].begin_s - prediction->path[i].start_s;
        count++;
    }
    for (uint32_t i = 0; i < prediction->load_count; i++)
        if (prediction->loads[i].capacity < narrowest) narrowest = prediction->loads[i].capacity;
    if (count == 0 || !isfinite(narrowest)) return false;
    bool gpu = advice->topology->nodes[advice->endpoints[0]].kind == NODE_GPU;
    const struct rank_cost *cost = gpu ? &cost_figures_built_in.gpu : &cost_figures_built_in.host;
    *model = (struct loggops){.o = cost->step_s / 2,
                              .g = cost->step_s,
                              .G = 1 / narrowest,
                              .S = UINT64_MAX,
                              .source = "from the topology and the simulated path"};
    /* What waited in line is no latency: the shortest begin tells the wire's. */
    double least = latency / count;
    for (uint32_t i = 0; i < prediction->path_count; i++) {
        const struct predict_hop *hop = &prediction->path[i];
        if (hop->from != hop->to && hop->begin_s - hop->start_s < least) least = hop->begin_s - hop->start_s;
    }
    model->L = fmax(0, least - cost->step_s);
    return true;
}

/* All-reduce by ring or tree in other people's models; seconds, 0 where they have none. */
struct comparison {
    double loggops_s, nccl_simple_s, nccl_ll_s;
    struct loggops model;
};

static struct comparison compare(const struct advice *advice)
{
    const struct candidate *chosen = &advice->candidates[advice->chosen];
    struct comparison comparison = {0};
    if (advice->request.collective != WEFT_ALL_REDUCE) return comparison;
    uint32_t n = advice->rank_count, hosts = 0;
    for (uint32_t i = 0; i < advice->topology->node_count; i++) hosts += advice->topology->nodes[i].kind == NODE_HOST;
    bool ring = chosen->algorithm == WEFT_ALGORITHM_RING, tree = chosen->algorithm == WEFT_ALGORITHM_TREE;
    double bytes = (double)advice->request.bytes;
    if (loggops_of(advice, &chosen->prediction, &comparison.model)) {
        if (ring) comparison.loggops_s = loggops_ring_all_reduce(&comparison.model, n, bytes);
        if (tree)
            comparison.loggops_s = loggops_tree_all_reduce(&comparison.model, n, bytes, chosen->prediction.slices);
    }
    if (hosts == 0 || n % hosts != 0) return comparison;
    double (*latency)(enum nccl_protocol, enum nccl_hop, uint32_t, uint32_t) = ring   ? nccl_ring_latency
                                                                               : tree ? nccl_tree_latency
                                                                                      : NULL;
    if (!latency) return comparison;
    comparison.nccl_simple_s = latency(NCCL_SIMPLE, NCCL_NVLINK, hosts, n / hosts);
    comparison.nccl_ll_s = latency(NCCL_LL, NCCL_NVLINK, hosts, n / hosts);
    return comparison;
}

static void load_json(const struct advice *advice, const struct predict_load *load, struct text *text)
{
    char name[300];
    advice_link_name(advice->topology, load->link, name);
    json_object_begin(text, NULL);
    json_string(text, "link", name);
    if (load->link / 2 < advice->topology->link_count) {
        json_unsigned(text, "edge", load->link / 2);
        json_bool(text, "reverse", load->link % 2);
    }
    json_number(text, "bytes", load->bytes);
    json_number(text, "capacity_gbps", load->capacity / GB);
    json_number(text, "used", load->used);
    json_number(text, "busy", load->busy);
    json_object_end(text);
}

static void hop_json(const struct predict_hop *hop, struct text *text)
{
    json_object_begin(text, NULL);
    json_unsigned(text, "from", hop->from);
    json_unsigned(text, "to", hop->to);
    json_unsigned(text, "channel", hop->channel);
    json_unsigned(text, "bytes", hop->bytes);
    json_number(text, "start_us", hop->start_s * 1e6);
    json_number(text, "begin_us", hop->begin_s * 1e6);
    json_number(text, "end_us", hop->end_s * 1e6);
    json_object_end(text);
}

static void comparison_json(const struct advice *advice, struct text *text)
{
    struct comparison comparison = compare(advice);
    json_object_begin(text, "comparison");
    if (comparison.loggops_s > 0) {
        json_number(text, "loggops_us", comparison.loggops_s * 1e6);
        json_number(text, "loggops_L_us", comparison.model.L * 1e6);
        json_number(text, "loggops_o_us", comparison.model.o * 1e6);
        json_number(text, "loggops_G_ns_per_byte", comparison.model.G * 1e9);
    }
    if (comparison.nccl_simple_s > 0) {
        json_number(text, "nccl_model_latency_simple_us", comparison.nccl_simple_s * 1e6);
        json_number(text, "nccl_model_latency_ll_us", comparison.nccl_ll_s * 1e6);
        json_string(text, "nccl_source", nccl_source);
    }
    json_object_end(text);
}

void advice_simulation_json(const struct advice *advice, struct text *text)
{
    const struct candidate *chosen = &advice->candidates[advice->chosen];
    const struct prediction *prediction = &chosen->prediction;
    char method[160];
    prediction_method(prediction, method);
    json_object_begin(text, NULL);
    json_unsigned(text, "ranks", advice->rank_count);
    json_string(text, "collective", weft_collective_name(advice->request.collective));
    json_string(text, "algorithm", weft_algorithm_name(chosen->algorithm));
    json_string(text, "plan", chosen->name);
    json_unsigned(text, "bytes", advice->request.bytes);
    json_string(text, "method", method);
    json_number(text, "time_us", prediction->seconds * 1e6);
    json_number(text, "algbw_gbps", prediction->algbw / GB);
    json_number(text, "busbw_gbps", prediction->busbw / GB);
    json_unsigned(text, "messages", prediction->messages);
    json_unsigned(text, "simulated_messages", prediction->simulated_messages);
    json_unsigned(text, "slices", prediction->slices);
    json_unsigned(text, "assumed_links", prediction->assumed_links);
    advice_candidates_json(advice, text);
    json_array_begin(text, "links");
    for (uint32_t i = 0; i < prediction->load_count; i++) load_json(advice, &prediction->loads[i], text);
    json_array_end(text);
    json_array_begin(text, "critical_path");
    for (uint32_t i = 0; i < prediction->path_count; i++) hop_json(&prediction->path[i], text);
    json_array_end(text);
    comparison_json(advice, text);
    json_object_end(text);
}

static void hop_text(const struct advice *advice, const struct predict_hop *hop, struct text *text)
{
    char from[128], to[128];
    advice_node_name(advice->topology, advice->endpoints[hop->from], from);
    advice_node_name(advice->topology, advice->endpoints[hop->to], to);
    if (hop->from == hop->to)
        text_add(text, "  %10.4g us  rank %u (%s) combines or copies %llu bytes, %.4g us\n", hop->start_s * 1e6,
                 hop->from, from, (unsigned long long)hop->bytes, (hop->end_s - hop->begin_s) * 1e6);
    else
        text_add(text,
                 "  %10.4g us  rank %u (%s) to rank %u (%s), channel %u, %llu bytes: %.4g us until they move, "
                 "%.4g while they do\n",
                 hop->start_s * 1e6, hop->from, from, hop->to, to, hop->channel, (unsigned long long)hop->bytes,
                 (hop->begin_s - hop->start_s) * 1e6, (hop->end_s - hop->begin_s) * 1e6);
}

static void path_text(const struct advice *advice, const struct prediction *prediction, struct text *text)
{
    text_add(text,
             "critical path: %u transfers, each waiting for the one before; %.4g us until bytes move, %.4g us while "
             "they do\n",
             prediction->path_count, prediction->path_latency_s * 1e6, prediction->path_transfer_s * 1e6);
    for (uint32_t i = 0; i < prediction->path_count; i++) {
        if (prediction->path_count > 2 * HOPS_SHOWN && i == HOPS_SHOWN) {
            text_add(text, "  ... %u more (all of them with --json)\n", prediction->path_count - 2 * HOPS_SHOWN);
            i = prediction->path_count - HOPS_SHOWN;
        }
        hop_text(advice, &prediction->path[i], text);
    }
}

static void loads_text(const struct advice *advice, const struct prediction *prediction, struct text *text)
{
    text_add(text, "links, most used first (of %u that carry something):\n", prediction->load_count);
    for (uint32_t i = 0; i < prediction->load_count && i < LINKS_SHOWN; i++) {
        const struct predict_load *load = &prediction->loads[i];
        char name[300];
        advice_link_name(advice->topology, load->link, name);
        text_add(text, "  %5.1f %% of %.4g GB/s, busy %5.1f %%, %.4g MB  %s\n", load->used * 100, load->capacity / GB,
                 load->busy * 100, load->bytes / 1e6, name);
    }
}

void advice_simulation_text(const struct advice *advice, struct text *text)
{
    const struct candidate *chosen = &advice->candidates[advice->chosen];
    const struct prediction *prediction = &chosen->prediction;
    char method[160];
    prediction_method(prediction, method);
    text_add(text, "%s of %llu bytes over %u ranks: %s\n", weft_collective_name(advice->request.collective),
             (unsigned long long)advice->request.bytes, advice->rank_count, chosen->name);
    text_add(text, "time %.6g us, algbw %.4g GB/s, busbw %.4g GB/s\n", prediction->seconds * 1e6,
             prediction->algbw / GB, prediction->busbw / GB);
    text_add(text, "%s; %llu messages of %llu\n", method, (unsigned long long)prediction->simulated_messages,
             (unsigned long long)prediction->messages);
    if (prediction->assumed_links)
        text_add(text, "%u of the links have no bandwidth in the topology: %s\n", prediction->assumed_links,
                 cost_figures_built_in.links[LINK_NETWORK].source);
    if (advice->candidate_count > 1) {
        text_add(text, "candidates:\n");
        advice_candidates_text(advice, text);
    }
    if (advice->search_refusal[0]) text_add(text, "in rank order only: %s\n", advice->search_refusal);
    loads_text(advice, prediction, text);
    path_text(advice, prediction, text);
    struct comparison comparison = compare(advice);
    if (comparison.loggops_s > 0)
        text_add(text, "for comparison: LogGOPS closed form %.6g us (L %.3g us, o %.3g us, G %.3g ns/B)\n",
                 comparison.loggops_s * 1e6, comparison.model.L * 1e6, comparison.model.o * 1e6,
                 comparison.model.G * 1e9);
    if (comparison.nccl_simple_s > 0)
        text_add(text, "for comparison: NCCL's model has %.4g us (Simple) and %.4g us (LL) of latency, without bytes\n",
                 comparison.nccl_simple_s * 1e6, comparison.nccl_ll_s * 1e6);
}
