/* SPDX-License-Identifier: Apache-2.0 */
#include "topology/search/realize.h"

#include <stdlib.h>

bool realizer_init(struct realizer *realizer, struct search_context *context, uint64_t denominator)
{
    const struct search_flow_graph *graph = context->graph;
    *realizer = (struct realizer){.context = context};
    realizer->left = malloc((graph->hop_count + 1u) * sizeof *realizer->left);
    for (uint32_t i = 0; i < graph->hop_count && realizer->left; i++)
        realizer->left[i] = (uint64_t)graph->hops[i].capacity * denominator;
    return realizer->left != NULL;
}

void realizer_free(struct realizer *realizer)
{
    free(realizer->left);
    free(realizer->choice);
    *realizer = (struct realizer){0};
}

/* Take @p weight at each arc's widest link; where one has less, put all back and say how much it has. */
static uint64_t try_weight(struct realizer *realizer, const uint32_t *arcs, uint32_t count, uint64_t weight)
{
    const struct search_flow_graph *graph = realizer->context->graph;
    uint64_t *left = realizer->left;
    for (uint32_t i = 0; i < count; i++) {
        const struct flow_arc *arc = &graph->arcs[arcs[i]];
        uint32_t widest = arc->first_hop;
        for (uint32_t k = 1; k < arc->hop_count; k++)
            if (left[arc->first_hop + k] > left[widest]) widest = arc->first_hop + k;
        realizer->choice[i] = widest;
        if (left[widest] < weight) {
            uint64_t narrow = left[widest];
            while (i-- > 0) left[realizer->choice[i]] += weight;
            return narrow;
        }
        left[widest] -= weight;
    }
    return weight;
}

uint64_t realizer_take(struct realizer *realizer, const uint32_t *arcs, uint32_t count, uint64_t weight, uint32_t *hops)
{
    if (count > realizer->choice_capacity) {
        uint32_t *grown = realloc(realizer->choice, count * sizeof *grown);
        if (!grown) {
            realizer->context->failed = true;
            return 0;
        }
        realizer->choice = grown;
        realizer->choice_capacity = count;
    }
    while (weight > 0) {
        uint64_t possible = try_weight(realizer, arcs, count, weight);
        if (possible == weight) break;
        weight = possible;
    }
    for (uint32_t i = 0; i < count && weight > 0; i++)
        hops[i] = realizer->context->graph->hops[realizer->choice[i]].hop;
    return weight;
}
