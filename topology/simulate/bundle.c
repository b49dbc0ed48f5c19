/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Links that hardware uses as one. Traffic between two GPUs is spread by address over all NVLinks between them, and
 * over all NVSwitches that join the same GPUs; so these count as one link of their bandwidths' sum, and as one switch.
 * Network cables side by side do not: there a flow takes one of them.
 */
#include <stdlib.h>

#include "topology/simulate/route_internal.h"

struct switch_key {
    uint32_t host;
    uint64_t gpus; /* a hash of the set */
    uint32_t node;
};

struct bundle_key {
    uint32_t low, high; /* what the link joins, a switch being the one that stands for it */
    bool elsewhere;     /* it does not end at the switch that stands for the others, so it cannot lead */
    uint32_t link;
};

static int switch_compare(const void *left, const void *right)
{
    const struct switch_key *a = left, *b = right;
    if (a->host != b->host) return a->host < b->host ? -1 : 1;
    if (a->gpus != b->gpus) return a->gpus < b->gpus ? -1 : 1;
    return (a->node > b->node) - (a->node < b->node);
}

static int bundle_compare(const void *left, const void *right)
{
    const struct bundle_key *a = left, *b = right;
    if (a->low != b->low) return a->low < b->low ? -1 : 1;
    if (a->high != b->high) return a->high < b->high ? -1 : 1;
    if (a->elsewhere != b->elsewhere) return a->elsewhere ? 1 : -1;
    return (a->link > b->link) - (a->link < b->link);
}

/* By node: the switch that stands for it, or itself. */
static bool switches_match(const weft_topology *topology, uint32_t *stands_for)
{
    uint32_t count = 0;
    struct switch_key *keys = calloc((size_t)topology->node_count + 1, sizeof *keys);
    if (!keys) return false;
    for (uint32_t i = 0; i < topology->node_count; i++) {
        stands_for[i] = i;
        if (topology->nodes[i].kind != NODE_NVSWITCH) continue;
        uint32_t link_count;
        const uint32_t *links = topology_links_of(topology, i, &link_count);
        struct switch_key *key = &keys[count++];
        *key = (struct switch_key){.host = topology_host_of(topology, i), .node = i};
        for (uint32_t l = 0; l < link_count; l++) { /* a sum: in whatever order the links stand */
            const struct topology_link *link = &topology->links[links[l]];
            uint32_t other = link->from == i ? link->to : link->from;
            if (topology->nodes[other].kind == NODE_GPU) key->gpus += route_mix(other + 1);
        }
    }
    qsort(keys, count, sizeof *keys, switch_compare);
    for (uint32_t i = 1; i < count; i++)
        if (keys[i].host == keys[i - 1].host && keys[i].gpus == keys[i - 1].gpus && keys[i].gpus != 0)
            stands_for[keys[i].node] = stands_for[keys[i - 1].node];
    free(keys);
    return true;
}

static bool bundles_match(const weft_topology *topology, const uint32_t *stands_for, struct route_links *links)
{
    uint32_t count = 0;
    struct bundle_key *keys = calloc((size_t)topology->link_count + 1, sizeof *keys);
    if (!keys) return false;
    for (uint32_t i = 0; i < topology->link_count; i++) {
        const struct topology_link *link = &topology->links[i];
        if (link->kind != LINK_NVLINK && link->kind != LINK_XGMI) continue;
        uint32_t from = stands_for[link->from], to = stands_for[link->to];
        bool elsewhere = from != link->from || to != link->to;
        keys[count++] = (struct bundle_key){from < to ? from : to, from < to ? to : from, elsewhere, i};
    }
    qsort(keys, count, sizeof *keys, bundle_compare);
    for (uint32_t i = 0, first = 0; i < count; i++) {
        if (keys[i].low != keys[first].low || keys[i].high != keys[first].high) first = i;
        uint32_t lead = keys[first].link, link = keys[i].link;
        if (lead == link) continue;
        bool turned = stands_for[topology->links[link].from] != stands_for[topology->links[lead].from];
        for (uint32_t back = 0; back < 2; back++) {
            uint32_t own = ROUTE_LINK(link, back), leads = ROUTE_LINK(lead, back != turned);
            links->leads[own] = leads;
            links->capacities[leads] += links->own[own];
        }
    }
    free(keys);
    return true;
}

bool route_links_open(const weft_topology *topology, const struct cost_model_figures *figures, const double *assumed,
                      struct route_links *links)
{
    uint32_t count = route_link_count(topology);
    *links = (struct route_links){.count = count,
                                  .own = calloc((size_t)count + 1, sizeof *links->own),
                                  .capacities = calloc((size_t)count + 1, sizeof *links->capacities),
                                  .leads = calloc((size_t)count + 1, sizeof *links->leads)};
    uint32_t *stands_for = calloc((size_t)topology->node_count + 1, sizeof *stands_for);
    bool opened = links->own && links->capacities && links->leads && stands_for;
    for (uint32_t i = 0; opened && i < count; i++) {
        bool shown = i / 2 < topology->link_count;
        bool unknown = shown && cost_link_is_assumed(&topology->links[i / 2], i % 2);
        links->own[i] =
            unknown && assumed && assumed[i] > 0 ? (uint64_t)assumed[i] : route_link_capacity(topology, figures, i);
        links->capacities[i] = links->own[i];
        links->leads[i] = i;
    }
    opened = opened && switches_match(topology, stands_for) && bundles_match(topology, stands_for, links);
    free(stands_for);
    if (!opened) route_links_close(links);
    return opened;
}

void route_links_close(struct route_links *links)
{
    free(links->own);
    free(links->capacities);
    free(links->leads);
    *links = (struct route_links){0};
}
