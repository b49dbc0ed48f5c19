/* SPDX-License-Identifier: Apache-2.0 */
#include "fabric/memory/registration.h"

#include <assert.h>
#include <stdlib.h>
#include <sys/queue.h>
#include <unistd.h>

#include "fabric/memory/range_index.h"
#include "fabric/memory/watch.h"

enum slot_state {
    SLOT_FREE,
    SLOT_PENDING, /* being registered by the one who holds it; lookups pass it over */
    SLOT_READY,
    SLOT_GONE, /* out of the index; its last holder puts it aside, or whoever comes next deregisters it */
};

struct slot {
    struct registration registration; /* first: what callers hold */
    uintptr_t start, end;
    size_t bytes;
    uint32_t references;
    uint8_t state;
    bool added; /* by the program: holds a reference, is never evicted */
    bool gone;  /* SLOT_PENDING: its memory went away meanwhile */
    TAILQ_ENTRY(slot) link;
};
TAILQ_HEAD(slots, slot);

struct registration_cache {
    struct watch_listener listener; /* first; its lock guards all below but `config` and `obstacle` */
    struct registration_config config;
    struct diagnostic obstacle;
    size_t page_bytes;
    bool orphaned;
    struct range_index index;
    struct slots free, idle, gone; /* idle: least recently used first; gone: to be deregistered */
    struct registration_statistics statistics;
    struct slot *slots;
};

static void cache_lock(struct registration_cache *cache)
{
    pthread_mutex_lock(&cache->listener.lock);
}

static void cache_unlock(struct registration_cache *cache)
{
    pthread_mutex_unlock(&cache->listener.lock);
}

static struct slot *slot_of(struct registration *registration)
{
    return (struct slot *)registration;
}

/* ---- Slots; the cache is locked ---- */

static void slot_use(struct registration_cache *cache, struct slot *slot)
{
    if (slot->references++ == 0) TAILQ_REMOVE(&cache->idle, slot, link);
}

/* Out of the index; deregistered as soon as nobody holds it. */
static void slot_retire(struct registration_cache *cache, struct slot *slot)
{
    range_index_remove(&cache->index, slot->start, slot);
    slot->state = SLOT_GONE;
    if (slot->references) return;
    TAILQ_REMOVE(&cache->idle, slot, link);
    TAILQ_INSERT_TAIL(&cache->gone, slot, link);
}

/* The registration of [start, end) that is ready; only one that is held, where @p held. */
static struct slot *slot_find(const struct registration_cache *cache, uintptr_t start, uintptr_t end, bool held)
{
    int64_t at = range_index_covering(&cache->index, range_index_bisect(&cache->index, start), end);
    while (at >= 0) {
        struct slot *slot = cache->index.entries[at].value;
        if (slot->state == SLOT_READY && (slot->references || !held)) return slot;
        at = range_index_covering(&cache->index, at - 1, end);
    }
    return NULL;
}

/* ---- What the watching thread calls, the cache being locked ---- */

static void cache_gone(struct watch_listener *listener, uintptr_t start, uintptr_t end)
{
    struct registration_cache *cache = (struct registration_cache *)listener;
    int64_t at = range_index_reaching(&cache->index, range_index_bisect(&cache->index, end - 1), start);
    while (at >= 0) {
        struct slot *slot = cache->index.entries[at].value;
        /* What the program added it has promised to keep. */
        if (!slot->added) {
            cache->statistics.invalidations++;
            if (slot->state == SLOT_PENDING)
                slot->gone = true;
            else
                slot_retire(cache, slot);
        }
        at = range_index_reaching(&cache->index, at - 1, start);
    }
}

static void cache_forked(struct watch_listener *listener)
{
    ((struct registration_cache *)listener)->orphaned = true;
}

/* ---- Deregistering, the cache not being locked ---- */

/* Deregister all that is put aside. The backend may take its time, and may free. */
static void cache_sweep(struct registration_cache *cache)
{
    cache_lock(cache);
    for (struct slot *slot; !cache->orphaned && (slot = TAILQ_FIRST(&cache->gone));) {
        TAILQ_REMOVE(&cache->gone, slot, link);
        cache_unlock(cache);
        cache->config.backend.unmake(cache->config.backend.context, slot->registration.handle);
        cache_lock(cache);
        slot->state = SLOT_FREE;
        cache->statistics.count--;
        cache->statistics.bytes -= slot->bytes;
        TAILQ_INSERT_HEAD(&cache->free, slot, link);
    }
    cache_unlock(cache);
}

/* Put the least recently used idle one aside. False: there is none. The cache is locked. */
static bool evict_one(struct registration_cache *cache)
{
    struct slot *slot = TAILQ_FIRST(&cache->idle);
    if (!slot) return false;
    slot_retire(cache, slot);
    cache->statistics.evictions++;
    return true;
}

/* A slot within the bounds, in the index and pending, held once; NULL: everything else is in use. */
static struct slot *slot_take(struct registration_cache *cache, uintptr_t start, uintptr_t end, bool added)
{
    const size_t bytes = end - start;
    if (bytes > cache->config.max_bytes) return NULL;
    cache_lock(cache);
    struct slot *slot;
    while (!(slot = TAILQ_FIRST(&cache->free)) || bytes > cache->config.max_bytes - cache->statistics.bytes) {
        const bool freed = TAILQ_FIRST(&cache->gone) || evict_one(cache);
        cache_unlock(cache);
        if (!freed) return NULL;
        cache_sweep(cache);
        cache_lock(cache);
    }
    TAILQ_REMOVE(&cache->free, slot, link);
    *slot = (struct slot){
        .start = start, .end = end, .bytes = bytes, .references = 1, .state = SLOT_PENDING, .added = added};
    cache->statistics.count++;
    cache->statistics.bytes += bytes;
    const bool inserted = range_index_insert(&cache->index, start, end, slot);
    assert(inserted);
    cache_unlock(cache);
    return slot;
}

/* A pending slot that came to nothing. */
static void slot_give_back(struct registration_cache *cache, struct slot *slot)
{
    cache_lock(cache);
    range_index_remove(&cache->index, slot->start, slot);
    slot->state = SLOT_FREE;
    cache->statistics.count--;
    cache->statistics.bytes -= slot->bytes;
    cache->statistics.refusals++;
    TAILQ_INSERT_HEAD(&cache->free, slot, link);
    cache_unlock(cache);
}

/* Ask the backend, dropping one idle registration after the other where it has no room. */
static weft_status backend_make(struct registration_cache *cache, struct slot *slot, struct diagnostic *diagnostic)
{
    for (;;) {
        const weft_status status = cache->config.backend.make(cache->config.backend.context, (void *)slot->start,
                                                              slot->bytes, &slot->registration.handle, diagnostic);
        if (status != WEFT_OUT_OF_MEMORY && status != WEFT_RESOURCE_LIMIT) return status;
        cache_lock(cache);
        const bool evicted = evict_one(cache);
        cache_unlock(cache);
        if (!evicted) return status;
        cache_sweep(cache);
    }
}

static weft_status cache_register(struct registration_cache *cache, uintptr_t start, uintptr_t end, bool added,
                                  struct registration **registration, struct diagnostic *diagnostic)
{
    struct slot *slot = slot_take(cache, start, end, added);
    if (!slot)
        return diagnose(diagnostic, WEFT_RESOURCE_LIMIT,
                        "registering %zu bytes more would exceed %zu bytes or %u regions, with the others in use",
                        end - start, cache->config.max_bytes, cache->config.max_count);
    /* Watched before it is registered: what goes away in between is seen. */
    if (!added && !watch_range(start, end)) {
        slot_give_back(cache, slot);
        return diagnose(diagnostic, WEFT_UNSUPPORTED, "this memory cannot be watched, so it is copied");
    }
    weft_status status = backend_make(cache, slot, diagnostic);
    if (status != WEFT_OK) {
        slot_give_back(cache, slot);
        return status;
    }
    cache_lock(cache);
    const bool gone = slot->gone;
    if (!gone) slot->state = SLOT_READY;
    cache_unlock(cache);
    if (gone) {
        cache->config.backend.unmake(cache->config.backend.context, slot->registration.handle);
        slot_give_back(cache, slot);
        return diagnose(diagnostic, WEFT_AGAIN, "the memory went away while it was registered");
    }
    *registration = &slot->registration;
    return WEFT_OK;
}

/* ---- The interface ---- */

weft_status registration_cache_create(const struct registration_config *config, struct registration_cache **cache)
{
    struct registration_cache *made = calloc(1, sizeof *made);
    if (!made) return WEFT_OUT_OF_MEMORY;
    made->config = *config;
    made->page_bytes = (size_t)sysconf(_SC_PAGESIZE);
    made->listener.gone = cache_gone;
    made->listener.forked = cache_forked;
    TAILQ_INIT(&made->free);
    TAILQ_INIT(&made->idle);
    TAILQ_INIT(&made->gone);
    made->slots = calloc(config->max_count ? config->max_count : 1, sizeof *made->slots);
    if (!made->slots) goto free_cache;
    if (range_index_create(config->max_count, &made->index) != WEFT_OK) goto free_slots;
    for (uint32_t i = 0; i < config->max_count; i++) TAILQ_INSERT_TAIL(&made->free, &made->slots[i], link);
    pthread_mutex_init(&made->listener.lock, NULL);
    made->obstacle.status = watch_join(&made->listener, config->transparent, &made->obstacle);
    if (!config->transparent) diagnose(&made->obstacle, WEFT_UNSUPPORTED, "registration of what comes is switched off");
    *cache = made;
    return WEFT_OK;

free_slots:
    free(made->slots);
free_cache:
    free(made);
    return WEFT_OUT_OF_MEMORY;
}

void registration_cache_destroy(struct registration_cache *cache)
{
    if (!cache) return;
    cache_lock(cache);
    while (cache->index.count) {
        struct slot *slot = cache->index.entries[cache->index.count - 1].value;
        if (slot->added && slot->references == 1) {
            slot->references = 0;
            TAILQ_INSERT_TAIL(&cache->idle, slot, link);
        }
        assert(slot->references == 0 || cache->orphaned);
        if (slot->references) break;
        slot_retire(cache, slot);
    }
    cache_unlock(cache);
    cache_sweep(cache);
    watch_leave(&cache->listener);
    pthread_mutex_destroy(&cache->listener.lock);
    range_index_destroy(&cache->index);
    free(cache->slots);
    free(cache);
}

const char *registration_cache_obstacle(const struct registration_cache *cache)
{
    return cache->obstacle.status == WEFT_OK ? NULL : cache->obstacle.text;
}

weft_status registration_cache_acquire(struct registration_cache *cache, const void *address, size_t bytes,
                                       struct registration **registration, struct diagnostic *diagnostic)
{
    const uintptr_t start = (uintptr_t)address, end = start + bytes;
    if (bytes == 0 || end < start) return diagnose(diagnostic, WEFT_INVALID_ARGUMENT, "no range of memory");
    cache_lock(cache);
    struct slot *slot = cache->orphaned ? NULL : slot_find(cache, start, end, false);
    if (slot) {
        cache->statistics.hits++;
        slot_use(cache, slot);
        cache_unlock(cache);
        *registration = &slot->registration;
        return WEFT_OK;
    }
    cache->statistics.misses++;
    const bool orphaned = cache->orphaned;
    const bool watched = cache->obstacle.status == WEFT_OK;
    if (orphaned || !watched) cache->statistics.refusals++;
    cache_unlock(cache);
    if (orphaned) return diagnose(diagnostic, WEFT_INVALID_STATE, "this cache is of the process that forked");
    if (!watched) return diagnose(diagnostic, WEFT_UNSUPPORTED, "%s", cache->obstacle.text);
    cache_sweep(cache);
    const uintptr_t mask = cache->page_bytes - 1;
    return cache_register(cache, start & ~mask, (end + mask) & ~mask, false, registration, diagnostic);
}

void registration_cache_release(struct registration_cache *cache, struct registration *registration)
{
    struct slot *slot = slot_of(registration);
    bool sweep = false;
    cache_lock(cache);
    assert(slot->references > 0);
    if (--slot->references == 0) {
        sweep = slot->state == SLOT_GONE;
        TAILQ_INSERT_TAIL(sweep ? &cache->gone : &cache->idle, slot, link);
    }
    cache_unlock(cache);
    if (sweep) cache_sweep(cache);
}

struct registration *registration_cache_find(struct registration_cache *cache, const void *address, size_t bytes)
{
    const uintptr_t start = (uintptr_t)address, end = start + bytes;
    cache_lock(cache);
    struct slot *slot = cache->orphaned || end < start ? NULL : slot_find(cache, start, end, true);
    cache_unlock(cache);
    return slot ? &slot->registration : NULL;
}

weft_status registration_cache_add(struct registration_cache *cache, void *address, size_t bytes,
                                   struct registration **registration, struct diagnostic *diagnostic)
{
    const uintptr_t start = (uintptr_t)address, end = start + bytes;
    if (bytes == 0 || end < start) return diagnose(diagnostic, WEFT_INVALID_ARGUMENT, "no range of memory");
    cache_lock(cache);
    const bool orphaned = cache->orphaned;
    cache_unlock(cache);
    if (orphaned) return diagnose(diagnostic, WEFT_INVALID_STATE, "this cache is of the process that forked");
    cache_sweep(cache);
    return cache_register(cache, start, end, true, registration, diagnostic);
}

weft_status registration_cache_remove(struct registration_cache *cache, struct registration *registration)
{
    struct slot *slot = slot_of(registration);
    cache_lock(cache);
    assert(slot->added && slot->references > 0);
    const bool held = slot->references > 1;
    if (!held) {
        slot->references = 0;
        slot->added = false;
        TAILQ_INSERT_TAIL(&cache->idle, slot, link);
        slot_retire(cache, slot);
    }
    cache_unlock(cache);
    if (held) return WEFT_INVALID_STATE;
    cache_sweep(cache);
    return WEFT_OK;
}

void registration_cache_statistics(struct registration_cache *cache, struct registration_statistics *statistics)
{
    cache_lock(cache);
    *statistics = cache->statistics;
    cache_unlock(cache);
}
