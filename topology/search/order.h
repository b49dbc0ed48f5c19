/* SPDX-License-Identifier: Apache-2.0 */
/* A tour of all hosts over few links between switches. */
#ifndef TOPOLOGY_SEARCH_ORDER_H
#define TOPOLOGY_SEARCH_ORDER_H

#include "topology/search/bound.h"
#include "topology/search/shapes.h"

/*
 * Fills order[] with host numbers of @p shapes, and how many links between switches a tour in that order uses, against
 * one in the topology's order. Never more than that; the least possible where switches form a tree.
 */
weft_status host_order_find(const struct search_flow_graph *graph, const struct host_shapes *shapes,
                            const struct search_budget *budget, uint32_t *order, uint32_t *hops,
                            uint32_t *hops_as_listed);
#endif
