/* SPDX-License-Identifier: Apache-2.0 */
#include "topology/search/max_flow.h"

#include <stdlib.h>
#include <string.h>

#define NO_ARC UINT32_MAX

void max_flow_free(struct max_flow *network)
{
    free(network->first);
    free(network->next);
    free(network->to);
    free(network->capacity);
    free(network->residual);
    free(network->level);
    free(network->cursor);
    free(network->queue);
    *network = (struct max_flow){0};
}

static bool grow(void *array, uint32_t count, size_t size)
{
    void *old, *new;
    memcpy(&old, array, sizeof old);
    new = realloc(old, (size_t)count * size);
    if (new) memcpy(array, &new, sizeof new);
    return new != NULL;
}

static bool reserve_nodes(struct max_flow *network, uint32_t count)
{
    if (count <= network->node_capacity) return true;
    uint32_t capacity = count + count / 2 + 16;
    if (!grow(&network->first, capacity, sizeof *network->first) ||
        !grow(&network->level, capacity, sizeof *network->level) ||
        !grow(&network->cursor, capacity, sizeof *network->cursor) ||
        !grow(&network->queue, capacity, sizeof *network->queue)) {
        network->failed = true;
        return false;
    }
    network->node_capacity = capacity;
    return true;
}

static bool reserve_arcs(struct max_flow *network, uint32_t count)
{
    if (count <= network->arc_capacity) return true;
    uint32_t capacity = count + count / 2 + 64;
    if (!grow(&network->next, capacity, sizeof *network->next) || !grow(&network->to, capacity, sizeof *network->to) ||
        !grow(&network->capacity, capacity, sizeof *network->capacity) ||
        !grow(&network->residual, capacity, sizeof *network->residual)) {
        network->failed = true;
        return false;
    }
    network->arc_capacity = capacity;
    return true;
}

void max_flow_clear(struct max_flow *network, uint32_t node_count)
{
    network->arc_count = 0;
    network->node_count = 0;
    if (!reserve_nodes(network, node_count)) return;
    network->node_count = node_count;
    for (uint32_t i = 0; i < node_count; i++) network->first[i] = NO_ARC;
}

uint32_t max_flow_add_node(struct max_flow *network)
{
    if (network->failed || !reserve_nodes(network, network->node_count + 1)) return 0;
    network->first[network->node_count] = NO_ARC;
    return network->node_count++;
}

static void push_arc(struct max_flow *network, uint32_t from, uint32_t to, int64_t capacity)
{
    uint32_t arc = network->arc_count++;
    network->to[arc] = to;
    network->capacity[arc] = capacity;
    network->next[arc] = network->first[from];
    network->first[from] = arc;
}

uint32_t max_flow_add(struct max_flow *network, uint32_t from, uint32_t to, int64_t capacity)
{
    if (network->failed || !reserve_arcs(network, network->arc_count + 2)) return 0;
    push_arc(network, from, to, capacity);
    push_arc(network, to, from, 0);
    return network->arc_count - 2;
}

void max_flow_set(struct max_flow *network, uint32_t arc, int64_t capacity)
{
    if (!network->failed) network->capacity[arc] = capacity;
}

/* Distances from the source over arcs with room; does not stop at the sink, for max_flow_source_side(). */
static bool find_levels(struct max_flow *network, uint32_t source, uint32_t sink)
{
    memset(network->level, 0xff, network->node_count * sizeof *network->level);
    uint32_t head = 0, tail = 0;
    network->queue[tail++] = source;
    network->level[source] = 0;
    while (head < tail) {
        uint32_t node = network->queue[head++];
        for (uint32_t arc = network->first[node]; arc != NO_ARC; arc = network->next[arc]) {
            uint32_t other = network->to[arc];
            if (network->residual[arc] <= 0 || network->level[other] != UINT32_MAX) continue;
            network->level[other] = network->level[node] + 1;
            network->queue[tail++] = other;
        }
    }
    return network->level[sink] != UINT32_MAX;
}

/* Push along one path of the level graph; 0 when none is left. The path's arcs are kept in `queue`: no recursion. */
static int64_t augment(struct max_flow *network, uint32_t source, uint32_t sink, int64_t limit)
{
    uint32_t *path = network->queue, depth = 0, node = source;
    while (node != sink) {
        uint32_t arc = network->cursor[node];
        while (arc != NO_ARC &&
               (network->residual[arc] <= 0 || network->level[network->to[arc]] != network->level[node] + 1))
            arc = network->next[arc];
        network->cursor[node] = arc;
        if (arc != NO_ARC) {
            path[depth++] = arc;
            node = network->to[arc];
        } else {
            if (depth == 0) return 0;
            node = network->to[path[--depth] ^ 1];
            network->cursor[node] = network->next[network->cursor[node]];
        }
    }
    int64_t amount = limit;
    for (uint32_t i = 0; i < depth; i++)
        if (network->residual[path[i]] < amount) amount = network->residual[path[i]];
    for (uint32_t i = 0; i < depth; i++) {
        network->residual[path[i]] -= amount;
        network->residual[path[i] ^ 1] += amount;
    }
    return amount;
}

int64_t max_flow_run(struct max_flow *network, uint32_t source, uint32_t sink, int64_t limit)
{
    if (network->failed) return 0;
    if (network->arc_count) memcpy(network->residual, network->capacity, network->arc_count * sizeof(int64_t));
    int64_t flow = 0;
    while (flow < limit && find_levels(network, source, sink)) {
        memcpy(network->cursor, network->first, network->node_count * sizeof *network->first);
        int64_t amount;
        while (flow < limit && (amount = augment(network, source, sink, limit - flow)) > 0) flow += amount;
    }
    return flow;
}

void max_flow_sink_side(const struct max_flow *network, uint32_t sink, bool *side)
{
    if (network->failed) return;
    memset(side, 0, network->node_count * sizeof *side);
    uint32_t head = 0, tail = 0;
    network->queue[tail++] = sink;
    side[sink] = true;
    while (head < tail) {
        uint32_t node = network->queue[head++];
        for (uint32_t arc = network->first[node]; arc != NO_ARC; arc = network->next[arc]) {
            uint32_t other = network->to[arc]; /* the pair of `arc` leads from other to node */
            if (side[other] || network->residual[arc ^ 1] <= 0) continue;
            side[other] = true;
            network->queue[tail++] = other;
        }
    }
}
