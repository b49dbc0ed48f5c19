/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory that the program allocates here or tells of, and the buffers of operations while they run: both are registered
 * with the devices of a transport that has some, and what a file backs is shared with peers that can map it.
 */
#include "collectives/comm/memory.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/queue.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/config.h"
#include "base/log.h"
#include "collectives/comm/comm_internal.h"
#include "fabric/memory/memory.h"
#include "fabric/memory/registration.h"

/* Buffers below this are copied: registration would cost more than it saves, even when it is found again. */
#define SMALLEST_HELD_BYTES ((size_t)64 << 10)
#define REGISTRATION_COUNT 1024u

/* What the program allocated or registered; found by its address. */
struct record {
    void *address;
    size_t bytes;
    bool allocated;
    struct memory memory;              /* where allocated */
    int descriptor;                    /* of shared memory: the record's own; -1: none */
    uint64_t offset;                   /* of `address` in it */
    struct registration *registration; /* NULL: the transport has no use for one */
    void *share;                       /* NULL: no peer can map it */
    uint32_t users;                    /* operations whose buffers lie in it, where it is shared */
    LIST_ENTRY(record) link;
};

struct comm_memory {
    struct endpoint *endpoint;
    struct registration_cache *cache; /* NULL: the transport registers nothing */
    _Atomic uint32_t share_count;     /* of the records: changes under the lock */
    pthread_mutex_t lock;             /* guards `records` and their users */
    LIST_HEAD(, record) records;
};

/* ---- The cache over the endpoint ---- */

static weft_status backend_make(void *context, void *address, size_t bytes, void **handle,
                                struct diagnostic *diagnostic)
{
    return endpoint_memory_register(context, address, bytes, handle, diagnostic);
}

static void backend_unmake(void *context, void *handle)
{
    endpoint_memory_deregister(context, handle);
}

/* Half of what may be locked, and of what there is: others need some too. */
static size_t default_limit_bytes(void)
{
    const long pages = sysconf(_SC_PHYS_PAGES), page_bytes = sysconf(_SC_PAGESIZE);
    size_t bytes = pages > 0 && page_bytes > 0 ? (size_t)pages * (size_t)page_bytes : (size_t)1 << 30;
    struct rlimit limit;
    if (getrlimit(RLIMIT_MEMLOCK, &limit) == 0 && limit.rlim_cur < bytes) bytes = (size_t)limit.rlim_cur;
    return bytes / 2;
}

weft_status comm_memory_create(struct weft_comm *comm)
{
    struct comm_memory *made = calloc(1, sizeof *made);
    if (!made) return WEFT_OUT_OF_MEMORY;
    made->endpoint = comm->endpoint;
    LIST_INIT(&made->records);
    pthread_mutex_init(&made->lock, NULL);
    if (comm->endpoint->ops->memory_deregister != transport_memory_deregister_none) {
        const struct config *config = config_get();
        const struct registration_config cache = {
            .backend = {.make = backend_make, .unmake = backend_unmake, .context = comm->endpoint},
            .max_count = REGISTRATION_COUNT,
            .max_bytes = config->registration_bytes ? config->registration_bytes : default_limit_bytes(),
            .transparent = config->registration_cache,
        };
        if (registration_cache_create(&cache, &made->cache) != WEFT_OK) {
            pthread_mutex_destroy(&made->lock);
            free(made);
            return WEFT_OUT_OF_MEMORY;
        }
        const char *obstacle = registration_cache_obstacle(made->cache);
        if (obstacle) log_info("rank %u registers buffers only when told to: %s", comm->identity.rank, obstacle);
    }
    comm->memory = made;
    return WEFT_OK;
}

static void record_free(struct comm_memory *memory, struct record *record)
{
    if (record->share) endpoint_memory_unshare(memory->endpoint, record->share);
    if (record->registration) (void)registration_cache_remove(memory->cache, record->registration);
    if (record->allocated)
        memory_free(&record->memory);
    else if (record->descriptor >= 0)
        close(record->descriptor);
    free(record);
}

void comm_memory_destroy(struct weft_comm *comm)
{
    struct comm_memory *memory = comm->memory;
    if (!memory) return;
    while (!LIST_EMPTY(&memory->records)) {
        struct record *record = LIST_FIRST(&memory->records);
        LIST_REMOVE(record, link);
        record_free(memory, record);
    }
    if (memory->cache) {
        struct registration_statistics seen;
        registration_cache_statistics(memory->cache, &seen);
        log_debug("rank %u registrations hits %llu misses %llu evictions %llu gone %llu refused %llu",
                  comm->identity.rank, (unsigned long long)seen.hits, (unsigned long long)seen.misses,
                  (unsigned long long)seen.evictions, (unsigned long long)seen.invalidations,
                  (unsigned long long)seen.refusals);
    }
    registration_cache_destroy(memory->cache);
    pthread_mutex_destroy(&memory->lock);
    free(memory);
    comm->memory = NULL;
}

/* ---- Operations ---- */

void *comm_memory_find(void *context, const void *source, size_t bytes)
{
    const struct weft_comm *comm = context;
    if (!comm->memory || !comm->memory->cache) return NULL;
    const struct registration *registration = registration_cache_find(comm->memory->cache, source, bytes);
    return registration ? registration->handle : NULL;
}

/* A buffer that cannot be registered is copied. */
static struct registration *hold(struct registration_cache *cache, const void *buffer, size_t bytes)
{
    struct registration *held = NULL;
    if (bytes < SMALLEST_HELD_BYTES) return NULL;
    return registration_cache_acquire(cache, buffer, bytes, &held, NULL) == WEFT_OK ? held : NULL;
}

/* Until it is let go, what is shared cannot be unshared: a peer may be reading it where it has mapped it. */
static struct record *shared_hold(struct comm_memory *memory, const void *buffer, size_t bytes)
{
    struct record *record = NULL;
    /* Relaxed: who posts an operation on memory knows that it has been shared. */
    if (bytes == 0 || atomic_load_explicit(&memory->share_count, memory_order_relaxed) == 0) return NULL;
    pthread_mutex_lock(&memory->lock);
    LIST_FOREACH(record, &memory->records, link)
    {
        const size_t offset = (uintptr_t)buffer - (uintptr_t)record->address;
        if (record->share && offset < record->bytes && bytes <= record->bytes - offset) break;
    }
    if (record) record->users++;
    pthread_mutex_unlock(&memory->lock);
    return record;
}

static void shared_release(struct comm_memory *memory, struct record *record)
{
    pthread_mutex_lock(&memory->lock);
    record->users--;
    pthread_mutex_unlock(&memory->lock);
}

void comm_memory_hold(struct weft_comm *comm, struct weft_request *request)
{
    struct comm_memory *memory = comm->memory;
    if (comm->identity.rank_count == 1) return;
    request->shared[0] = shared_hold(memory, request->call.recv, request->recv_bytes);
    request->shared[1] = shared_hold(memory, request->call.send, request->send_bytes);
    if (!memory->cache) return;
    request->held[0] = hold(memory->cache, request->call.recv, request->recv_bytes);
    request->held[1] = hold(memory->cache, request->call.send, request->send_bytes); /* in place: found at once */
}

void comm_memory_release(struct weft_comm *comm, struct weft_request *request)
{
    for (size_t i = 0; i < 2; i++) {
        if (request->held[i]) registration_cache_release(comm->memory->cache, request->held[i]);
        if (request->shared[i]) shared_release(comm->memory, request->shared[i]);
        request->held[i] = NULL;
        request->shared[i] = NULL;
    }
}

/* ---- The program's own ---- */

static struct record *record_at(const struct comm_memory *memory, const void *address)
{
    struct record *record;
    LIST_FOREACH(record, &memory->records, link)
    if (record->address == address) return record;
    return NULL;
}

/* Peers that cannot map it get at it in other ways: never an error. */
static void record_share(struct weft_comm *comm, struct record *record)
{
    struct diagnostic diagnostic = {WEFT_OK, ""};

    if (record->descriptor < 0 || comm->identity.rank_count == 1) return;
    if (endpoint_memory_share(comm->endpoint, record->address, record->bytes, record->descriptor, record->offset,
                              &record->share, &diagnostic) != WEFT_OK)
        log_info("rank %u does not share %zu bytes of memory: %s", comm->identity.rank, record->bytes, diagnostic.text);
}

/* Register, share and remember. On error the record is the caller's as before. */
static weft_status record_add(struct weft_comm *comm, struct record *record, struct diagnostic *diagnostic)
{
    struct comm_memory *memory = comm->memory;
    weft_status status = WEFT_OK;
    pthread_mutex_lock(&memory->lock);
    const bool known = record_at(memory, record->address) != NULL;
    pthread_mutex_unlock(&memory->lock);
    if (known) return diagnose(diagnostic, WEFT_INVALID_STATE, "memory at %p is registered already", record->address);
    if (memory->cache)
        status =
            registration_cache_add(memory->cache, record->address, record->bytes, &record->registration, diagnostic);
    if (status != WEFT_OK) return status;
    record_share(comm, record);
    pthread_mutex_lock(&memory->lock);
    LIST_INSERT_HEAD(&memory->records, record, link);
    if (record->share) atomic_fetch_add_explicit(&memory->share_count, 1, memory_order_relaxed);
    pthread_mutex_unlock(&memory->lock);
    return WEFT_OK;
}

weft_status weft_mem_alloc(weft_comm *comm, uint64_t bytes, weft_memory_kind kind, void **memory)
{
    if (!comm || !memory || bytes == 0 || bytes > SIZE_MAX) return WEFT_INVALID_ARGUMENT;
    struct record *record = calloc(1, sizeof *record);
    if (!record) return WEFT_OUT_OF_MEMORY;
    struct diagnostic diagnostic = {WEFT_OK, ""};
    weft_status status = memory_allocate((enum memory_kind)kind, (size_t)bytes, &record->memory, &diagnostic);
    if (status == WEFT_OK) {
        record->allocated = true;
        record->address = record->memory.address;
        record->bytes = (size_t)bytes;
        record->descriptor = record->memory.descriptor;
        status = record_add(comm, record, &diagnostic);
        if (status != WEFT_OK) memory_free(&record->memory);
    }
    if (status != WEFT_OK) {
        log_error("rank %u cannot allocate %llu bytes: %s", comm->identity.rank, (unsigned long long)bytes,
                  diagnostic.text);
        free(record);
        return status;
    }
    *memory = record->address;
    return WEFT_OK;
}

/* That these bytes are mapped at the address is the program's word. */
static weft_status descriptor_check(int descriptor, uint64_t offset, size_t bytes, struct diagnostic *diagnostic)
{
    struct stat file;
    if (fstat(descriptor, &file) != 0)
        return diagnose(diagnostic, WEFT_INVALID_ARGUMENT, "descriptor %d is not open", descriptor);
    if (offset > (uint64_t)file.st_size || bytes > (uint64_t)file.st_size - offset)
        return diagnose(diagnostic, WEFT_INVALID_ARGUMENT, "bytes %llu to %llu are not in a file of %lld bytes",
                        (unsigned long long)offset, (unsigned long long)(offset + bytes), (long long)file.st_size);
    return WEFT_OK;
}

weft_status weft_mem_register(weft_comm *comm, void *memory, uint64_t bytes, int descriptor, uint64_t offset)
{
    if (!comm || !memory || bytes == 0 || bytes > PTRDIFF_MAX || descriptor < -1) return WEFT_INVALID_ARGUMENT;
    struct diagnostic diagnostic = {WEFT_OK, ""};
    struct record *record = calloc(1, sizeof *record);
    weft_status status = record ? WEFT_OK : WEFT_OUT_OF_MEMORY;
    if (record) {
        *record = (struct record){.address = memory, .bytes = (size_t)bytes, .descriptor = -1, .offset = offset};
        if (descriptor >= 0) status = descriptor_check(descriptor, offset, (size_t)bytes, &diagnostic);
        if (status == WEFT_OK && descriptor >= 0) {
            record->descriptor = fcntl(descriptor, F_DUPFD_CLOEXEC, 3);
            if (record->descriptor < 0) status = diagnose(&diagnostic, WEFT_RESOURCE_LIMIT, "no descriptor is free");
        }
        if (status == WEFT_OK) status = record_add(comm, record, &diagnostic);
    }
    if (status == WEFT_OK) return WEFT_OK;
    if (diagnostic.text[0])
        log_error("rank %u cannot register %llu bytes: %s", comm->identity.rank, (unsigned long long)bytes,
                  diagnostic.text);
    if (record && record->descriptor >= 0) close(record->descriptor);
    free(record);
    return status;
}

static weft_status record_end(struct weft_comm *comm, const void *address, bool allocated)
{
    struct comm_memory *memory = comm->memory;
    pthread_mutex_lock(&memory->lock);
    struct record *record = record_at(memory, address);
    weft_status status = record && record->allocated == allocated ? WEFT_OK : WEFT_INVALID_ARGUMENT;
    if (status == WEFT_OK && record->users) status = WEFT_INVALID_STATE;
    if (status == WEFT_OK && record->registration) {
        status = registration_cache_remove(memory->cache, record->registration);
        if (status == WEFT_OK) record->registration = NULL;
    }
    if (status == WEFT_OK) {
        LIST_REMOVE(record, link);
        if (record->share) atomic_fetch_sub_explicit(&memory->share_count, 1, memory_order_relaxed);
    }
    pthread_mutex_unlock(&memory->lock);
    if (status == WEFT_OK) record_free(memory, record);
    return status;
}

weft_status weft_mem_free(weft_comm *comm, void *memory)
{
    if (!memory) return WEFT_OK;
    return comm ? record_end(comm, memory, true) : WEFT_INVALID_ARGUMENT;
}

weft_status weft_mem_deregister(weft_comm *comm, void *memory)
{
    return comm && memory ? record_end(comm, memory, false) : WEFT_INVALID_ARGUMENT;
}
