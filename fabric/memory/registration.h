/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Registered memory, found again by range.
 *
 * A device reads and writes only what has been registered with it, which costs microseconds to milliseconds (it pins
 * pages); so what is registered is kept. Two ways in:
 *  - registration_cache_add(): the program says so, and keeps the memory until registration_cache_remove().
 *  - registration_cache_acquire(): whatever buffer an operation comes with. It stays cached after the operation, as
 * long as userfaultfd tells when that memory is unmapped, moved or dropped; where it cannot be watched it is not
 * cached, and the caller copies instead. No hook into malloc() or any other function.
 *
 * Staleness. The kernel holds munmap(), mremap() and madvise(MADV_DONTNEED) until the watching thread has read their
 * event, and that thread reads with every cache locked: when the call returns no lookup finds the old registration any
 * more, whatever is mapped there next. madvise() is told of before the pages are dropped, so a program that drops the
 * pages of a buffer while an operation on that very buffer begins may leave a registration of the dropped pages: that
 * is the program's race, as for any other writer of a buffer in use. What an unfinished operation uses stays registered
 * until it is released, with its old pages pinned.
 *
 * Deadlock. The thread that unmaps may be the one that frees a node of its own: so nothing here allocates, frees or
 * calls the backend with a cache locked, and the watching thread does none of it at all. It puts aside what is stale;
 * the next acquire, add, remove, release of a stale one or destroy deregisters it, outside the lock.
 *
 * Fork. A child finds nothing in its parent's caches (WEFT_INVALID_STATE); its own work.
 *
 * Threads: any call by any thread, but create and destroy.
 * Cost:    docs/design/memory.md has measured figures. Nothing allocates after creation but the backend itself.
 */
#ifndef FABRIC_MEMORY_REGISTRATION_H
#define FABRIC_MEMORY_REGISTRATION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <weft/types.h>

#include "base/diagnostic.h"

struct registration_backend {
    /* May block. WEFT_OUT_OF_MEMORY and WEFT_RESOURCE_LIMIT make the cache drop what is idle and try again. */
    weft_status (*make)(void *context, void *address, size_t bytes, void **handle, struct diagnostic *diagnostic);
    void (*unmake)(void *context, void *handle);
    void *context;
};

struct registration_config {
    struct registration_backend backend;
    uint32_t max_count; /* registrations at a time */
    size_t max_bytes;   /* registered at a time, those that were added included */
    bool transparent;   /* acquire() may register; else it finds what was added alone */
};

/* Of which @c handle is the backend's; the rest is the cache's. */
struct registration {
    void *handle;
};
struct registration_cache;

struct registration_statistics {
    uint64_t hits, misses;
    uint64_t evictions;     /* idle ones that made room */
    uint64_t invalidations; /* memory that went away */
    uint64_t refusals;      /* acquire() without success */
    uint32_t count;         /* now */
    size_t bytes;           /* now */
};

/*
 * Errors: WEFT_OUT_OF_MEMORY. Where userfaultfd is not to be had (kernel, seccomp) the cache works without
 * transparency, and registration_cache_obstacle() says why.
 */
weft_status registration_cache_create(const struct registration_config *config, struct registration_cache **cache);
/* All references must have been released; what was added is removed. NULL is allowed. */
void registration_cache_destroy(struct registration_cache *cache);
/* NULL: buffers are registered as they come. Else one sentence why not; lives as long as the cache. */
const char *registration_cache_obstacle(const struct registration_cache *cache);

/*
 * Register [address, address + bytes), or find it registered, and keep it until the matching release. Whole pages are
 * registered. The common case is a lookup: no system call, no allocation.
 *
 * Errors: WEFT_UNSUPPORTED (cannot be watched), WEFT_RESOURCE_LIMIT and WEFT_OUT_OF_MEMORY (the bounds, with everything
 * else in use; the backend's), WEFT_AGAIN (it went away meanwhile), WEFT_INVALID_STATE (after a fork), or the
 * backend's. The caller copies in any case.
 */
weft_status registration_cache_acquire(struct registration_cache *cache, const void *address, size_t bytes,
                                       struct registration **registration, struct diagnostic *diagnostic);
void registration_cache_release(struct registration_cache *cache, struct registration *registration);

/*
 * The data path's question: what covers these bytes and is held by somebody (an operation, or the program by adding
 * it)? Adds no reference: the answer is good as long as that holder's. NULL: copy. Never blocks on a backend.
 */
struct registration *registration_cache_find(struct registration_cache *cache, const void *address, size_t bytes);

/* Register exactly these bytes until removed. Errors as for acquire. */
weft_status registration_cache_add(struct registration_cache *cache, void *address, size_t bytes,
                                   struct registration **registration, struct diagnostic *diagnostic);
/* WEFT_INVALID_STATE: an operation still holds it, and it stays. */
weft_status registration_cache_remove(struct registration_cache *cache, struct registration *registration);

void registration_cache_statistics(struct registration_cache *cache, struct registration_statistics *statistics);
#endif
