/* SPDX-License-Identifier: Apache-2.0 */
/* Which seeds a random test runs: all of its own, or the one that WEFT_TEST_SEED names. */
#ifndef TESTS_TRANSPORT_SEED_H
#define TESTS_TRANSPORT_SEED_H

#include <stdint.h>
#include <stdlib.h>

#if defined(__SANITIZE_THREAD__)
#define THREAD_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define THREAD_SANITIZER 1
#endif
#endif
#ifndef THREAD_SANITIZER
#define THREAD_SANITIZER 0
#endif

/* For tests of one thread: where only data races are looked for, some seeds will do. */
static inline void seeds_choose(uint64_t *first, uint64_t *count)
{
    const char *one = getenv("WEFT_TEST_SEED");

    if (THREAD_SANITIZER) *count = (*count + 19) / 20;
    if (!one) return;
    *first = strtoull(one, NULL, 0);
    *count = 1;
}
#endif
