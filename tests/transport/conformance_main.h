/* SPDX-License-Identifier: Apache-2.0 */
/* The conformance suite as a cmocka group. */
#ifndef TESTS_TRANSPORT_CONFORMANCE_MAIN_H
#define TESTS_TRANSPORT_CONFORMANCE_MAIN_H

#include "transport/core/conformance.h"

/* Run each test with seeds @p first_seed, first_seed + 1, ...; returns the number of failed tests. */
int conformance_main(const char *group, const struct conformance_backend *backend, uint64_t first_seed,
                     uint64_t seed_count);
#endif
