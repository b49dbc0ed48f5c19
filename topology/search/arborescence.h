/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The cheapest tree that leads from a root to all others in a complete directed graph.
 * Source: Chu and Liu (1965); Edmonds, J. Research NBS 71B (1967).
 */
#ifndef TOPOLOGY_SEARCH_ARBORESCENCE_H
#define TOPOLOGY_SEARCH_ARBORESCENCE_H

#include <stdbool.h>
#include <stdint.h>

/*
 * cost[from * count + to]; INFINITY where there is no arc. Fills parent[] (the root's is UINT32_MAX) and returns true;
 * false: out of memory, or the root cannot reach everything.
 */
bool cheapest_arborescence(uint32_t count, const double *cost, uint32_t root, uint32_t *parent);
#endif
