/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TOPOLOGY_SEARCH_ALL_REDUCE_H
#define TOPOLOGY_SEARCH_ALL_REDUCE_H

#include "topology/search/result.h"

/* Reduce-and-broadcast trees of most total bandwidth. False: out of memory, or ranks are joined by ranks only. */
bool all_reduce_trees(struct search_context *context, struct search_forest *forest);
#endif
