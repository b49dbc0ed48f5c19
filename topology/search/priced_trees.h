/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Trees for what neither packs nor lifts in time: clusters of hosts that differ. One tree for each rank (all-reduce:
 * one there and back for each of as many shares, rooted where it costs least), each the cheapest at prices that grow
 * with the loads of links; then each is taken out and found again until nothing gets better. No proof comes with them:
 * the gap says how good they are. Source: multiplicative weights as in Garg and Könemann, SIAM J. Computing 37 (2007),
 * with whole trees and rerouting.
 */
#ifndef TOPOLOGY_SEARCH_PRICED_TREES_H
#define TOPOLOGY_SEARCH_PRICED_TREES_H

#include "topology/search/result.h"

/* Fills @p forest unless nothing was found in time. WEFT_OUT_OF_MEMORY. */
weft_status priced_trees(struct search_context *context, struct search_forest *forest);
#endif
