/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A full fence: the first half of "store mine, then look at theirs". Either side of such a pair may be the one that
 * sees the other's store, but not neither. For wake-ups alone: the thread sanitizer knows no fences, so nothing that it
 * is to check may rest on one.
 */
#ifndef BASE_FENCE_H
#define BASE_FENCE_H

#include <stdatomic.h>

static inline void fence_full(void)
{
#pragma GCC diagnostic push
#ifndef __clang__
#pragma GCC diagnostic ignored "-Wtsan"
#endif
    atomic_thread_fence(memory_order_seq_cst);
#pragma GCC diagnostic pop
}
#endif
