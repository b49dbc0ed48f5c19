/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checks of a search's result against the topology alone: what is a tree, a ring, a way, and what every link carries,
 * added up exactly. Shares no code with what it checks but struct rational.
 */
#ifndef TESTS_TOPOLOGY_SEARCH_CHECKER_H
#define TESTS_TOPOLOGY_SEARCH_CHECKER_H

#include "topology/search/search.h"

/* Fail the test unless all plans of the result are what they claim to be. */
void check_result(const weft_topology *topology, const struct search_result *result);

/* numerator / denominator, exactly. */
void check_rational(struct rational value, uint64_t numerator, uint64_t denominator);
#endif
