/* SPDX-License-Identifier: Apache-2.0 */
/* Which seeds a random test runs: all of its own, or the one that WEFT_TEST_SEED names. */
#ifndef TESTS_TRANSPORT_SEED_H
#define TESTS_TRANSPORT_SEED_H

#include <stdint.h>
#include <stdlib.h>

static inline void seeds_choose(uint64_t *first, uint64_t *count)
{
    const char *one = getenv("WEFT_TEST_SEED");

    if (!one) return;
    *first = strtoull(one, NULL, 0);
    *count = 1;
}
#endif
