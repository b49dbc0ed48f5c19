/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>

#define NS_PER_US UINT64_C(1000)
#define NS_PER_MS UINT64_C(1000000)
#define NS_PER_S UINT64_C(1000000000)

/* CLOCK_MONOTONIC in nanoseconds. Thread: any. */
uint64_t clock_now_ns(void);

/* The time @p duration_ns later. What is longer than a clock runs ends at INT64_MAX, which never comes. */
static inline uint64_t clock_after_ns(uint64_t time_ns, uint64_t duration_ns)
{
    uint64_t after_ns;
    if (__builtin_add_overflow(time_ns, duration_ns, &after_ns) || after_ns > INT64_MAX) return INT64_MAX;
    return after_ns;
}
#endif
