/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Told of memory that goes away: userfaultfd's unmap, remap and remove events, read by one thread of this process.
 *
 * The thread locks every listener, then reads, then calls them, then unlocks. The kernel lets the unmapping thread go
 * on once its event was read; so nobody who takes a listener's lock after munmap() has returned can miss the call.
 */
#ifndef FABRIC_MEMORY_WATCH_H
#define FABRIC_MEMORY_WATCH_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <weft/types.h>

#include "base/diagnostic.h"

struct watch_listener {
    pthread_mutex_t lock; /* held while `gone` and `forked` are called; the listener's data is under it */
    /* [start, end) is no longer what it was. On the watching thread: must not allocate, free or unmap anything. */
    void (*gone)(struct watch_listener *listener, uintptr_t start, uintptr_t end);
    /* In the child of a fork: nothing is watched here, and the thread does not exist. */
    void (*forked)(struct watch_listener *listener);
    struct watch_listener *next;
};

/*
 * Begin to listen; the first listener that wants memory watched starts the thread. Each hears of forks until it leaves,
 * whatever the status.
 * Errors: WEFT_UNSUPPORTED, WEFT_RESOURCE_LIMIT with a sentence: no memory can be watched.
 */
weft_status watch_join(struct watch_listener *listener, bool wants_memory, struct diagnostic *diagnostic);
void watch_leave(struct watch_listener *listener);

/* Watch whole pages [start, end) from now on; by one who has joined and not left, with no listener locked. False: this
 * memory cannot be. */
bool watch_range(uintptr_t start, uintptr_t end);
#endif
