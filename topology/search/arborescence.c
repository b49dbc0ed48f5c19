/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every node takes its cheapest arc in; a cycle of such arcs becomes one node, whose arcs in cost what they cost more
 * than the cycle's own; and so on until there is no cycle. Then cycles are opened again, last one first.
 */
#include "topology/search/arborescence.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct contraction {
    uint32_t count, room;  /* nodes, contracted ones included; room: 2 * original count */
    double *cost;          /* room^2, between nodes that are alive */
    uint32_t *tail, *head; /* room^2: the original arc behind it */
    bool *alive;
    uint32_t *cheapest;            /* by node: the node its arc comes from */
    uint32_t *arc_tail, *arc_head; /* that arc's original ends */
    uint32_t *owner;               /* by node: the cycle that swallowed it */
    uint32_t *mark;
};

static size_t at(const struct contraction *c, uint32_t from, uint32_t to)
{
    return (size_t)from * c->room + to;
}

static bool choose_arc(struct contraction *c, uint32_t node)
{
    uint32_t best = UINT32_MAX;
    for (uint32_t from = 0; from < c->count; from++)
        if (c->alive[from] && from != node &&
            (best == UINT32_MAX || c->cost[at(c, from, node)] < c->cost[at(c, best, node)]))
            best = from;
    if (best == UINT32_MAX || isinf(c->cost[at(c, best, node)])) return false;
    c->cheapest[node] = best;
    c->arc_tail[node] = c->tail[at(c, best, node)];
    c->arc_head[node] = c->head[at(c, best, node)];
    return true;
}

/* A node on a cycle of chosen arcs, or UINT32_MAX. */
static uint32_t find_cycle(struct contraction *c, uint32_t root)
{
    memset(c->mark, 0, c->room * sizeof *c->mark);
    for (uint32_t start = 0; start < c->count; start++) {
        uint32_t node = start;
        if (!c->alive[start]) continue;
        while (node != root && c->mark[node] == 0) {
            c->mark[node] = start + 1;
            node = c->cheapest[node];
        }
        if (node != root && c->mark[node] == start + 1) return node;
    }
    return UINT32_MAX;
}

static void contract(struct contraction *c, uint32_t on_cycle)
{
    uint32_t new = c->count++;
    for (uint32_t other = 0; other < new; other++) c->cost[at(c, new, other)] = c->cost[at(c, other, new)] = INFINITY;
    uint32_t node = on_cycle;
    do {
        c->owner[node] = new;
        c->alive[node] = false;
        node = c->cheapest[node];
    } while (node != on_cycle);
    do {
        double own = c->cost[at(c, c->cheapest[node], node)];
        for (uint32_t other = 0; other < new; other++) {
            if (!c->alive[other]) continue;
            size_t in = at(c, other, node), out = at(c, node, other);
            if (c->cost[in] - own < c->cost[at(c, other, new)]) {
                c->cost[at(c, other, new)] = c->cost[in] - own;
                c->tail[at(c, other, new)] = c->tail[in];
                c->head[at(c, other, new)] = c->head[in];
            }
            if (c->cost[out] < c->cost[at(c, new, other)]) {
                c->cost[at(c, new, other)] = c->cost[out];
                c->tail[at(c, new, other)] = c->tail[out];
                c->head[at(c, new, other)] = c->head[out];
            }
        }
        node = c->cheapest[node];
    } while (node != on_cycle);
    c->alive[new] = true;
}

static bool solve(struct contraction *c, uint32_t originals, uint32_t root, uint32_t *parent)
{
    for (uint32_t node = 0; node < originals; node++)
        if (node != root && !choose_arc(c, node)) return false;
    for (uint32_t cycle; (cycle = find_cycle(c, root)) != UINT32_MAX;) {
        contract(c, cycle);
        uint32_t new = c->count - 1;
        for (uint32_t node = 0; node < new; node++) /* arcs that came from the cycle now come from the new node */
            if (c->alive[node] && node != root && c->owner[c->cheapest[node]] == new) c->cheapest[node] = new;
        if (!choose_arc(c, new)) return false;
    }
    /* A contracted node's arc replaces that of the member which it enters, all the way down. */
    for (uint32_t node = c->count; node-- > originals;)
        for (uint32_t member = c->arc_head[node]; member != node; member = c->owner[member]) {
            c->arc_tail[member] = c->arc_tail[node];
            c->arc_head[member] = c->arc_head[node];
        }
    for (uint32_t node = 0; node < originals; node++) parent[node] = node == root ? UINT32_MAX : c->arc_tail[node];
    return true;
}

bool cheapest_arborescence(uint32_t count, const double *cost, uint32_t root, uint32_t *parent)
{
    struct contraction c = {.count = count, .room = 2 * count};
    size_t room = c.room, square = room * room + 1;
    c.cost = malloc(square * sizeof *c.cost);
    c.tail = calloc(square, sizeof *c.tail);
    c.head = calloc(square, sizeof *c.head);
    c.alive = calloc(room + 1, sizeof *c.alive);
    c.cheapest = calloc(room + 1, sizeof *c.cheapest);
    c.arc_tail = calloc(room + 1, sizeof *c.arc_tail);
    c.arc_head = calloc(room + 1, sizeof *c.arc_head);
    c.owner = calloc(room + 1, sizeof *c.owner);
    c.mark = calloc(room + 1, sizeof *c.mark);
    bool ok = c.cost && c.tail && c.head && c.alive && c.cheapest && c.arc_tail && c.arc_head && c.owner && c.mark;
    for (uint32_t from = 0; from < count && ok; from++) {
        c.alive[from] = true;
        c.owner[from] = UINT32_MAX;
        for (uint32_t to = 0; to < count; to++) {
            c.cost[at(&c, from, to)] = from == to ? INFINITY : cost[(size_t)from * count + to];
            c.tail[at(&c, from, to)] = from;
            c.head[at(&c, from, to)] = to;
        }
    }
    for (uint32_t node = count; node < room && ok; node++) c.owner[node] = UINT32_MAX;
    ok = ok && solve(&c, count, root, parent);
    free(c.cost);
    free(c.tail);
    free(c.head);
    free(c.alive);
    free(c.cheapest);
    free(c.arc_tail);
    free(c.arc_head);
    free(c.owner);
    free(c.mark);
    return ok;
}
