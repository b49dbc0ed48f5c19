/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The lender's side: memory that a file backs, of which peers are told when they are first lent something of it.
 *
 * Any thread adds and takes away, under a lock, and moves a generation on. The endpoint's thread looks addresses up in
 * a copy of its own, which it makes again when the generation has moved: between changes a loan costs no lock.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "transport/shm/shm_internal.h"

#ifndef HUGETLBFS_MAGIC
#define HUGETLBFS_MAGIC 0x958458f6
#endif

/*
 * Huge pages are allowed here, unlike for segments: mmap() takes them from the reserve, so that no touch can lack one.
 */
const char *shm_share_defect(int memory, uint64_t offset, uint64_t bytes, uint64_t *page_bytes)
{
    struct stat file;
    struct statfs system;

    if (fstat(memory, &file) < 0 || !S_ISREG(file.st_mode)) return "is no file";
    if (fstatfs(memory, &system) < 0 || (system.f_type != TMPFS_MAGIC && system.f_type != HUGETLBFS_MAGIC))
        return "is not memory";
    const int seals = fcntl(memory, F_GET_SEALS);
    if (seals < 0 || !(seals & F_SEAL_SHRINK)) return "may shrink (make it with memfd_create() and F_SEAL_SHRINK)";
    if ((seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)) || (fcntl(memory, F_GETFL) & O_ACCMODE) != O_RDWR)
        return "cannot be written";
    if (bytes == 0 || file.st_size < 0 || offset > (uint64_t)file.st_size || bytes > (uint64_t)file.st_size - offset)
        return "is shorter than that";
    *page_bytes = (uint64_t)system.f_bsize;
    return NULL;
}

void shm_shares_init(struct shm_shares *shares)
{
    pthread_mutex_init(&shares->lock, NULL);
    atomic_init(&shares->generation, 0);
    for (uint32_t i = 0; i < SHM_SHARES; i++) shares->table[i].descriptor = -1;
}

void shm_shares_destroy(struct shm_shares *shares)
{
    for (uint32_t i = 0; i < SHM_SHARES; i++) {
        if (shares->table[i].descriptor >= 0) close(shares->table[i].descriptor);
    }
    pthread_mutex_destroy(&shares->lock);
}

/* Where @p address belongs among the ranges: behind all that begin at or before it. */
static uint32_t range_after(const struct shm_ranges *ranges, uintptr_t address)
{
    uint32_t low = 0, high = ranges->count;

    while (low < high) {
        const uint32_t middle = (low + high) / 2;
        if (ranges->sorted[middle].address <= address)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Under the lock. NULL: the share is in the table; else why not. */
static const char *share_add(struct shm_shares *shares, const struct shm_share *share, struct shm_share **result)
{
    struct shm_ranges *ranges = &shares->ranges;
    const uint32_t at = range_after(ranges, share->address);
    uint32_t slot = 0;

    if ((at > 0 && share->address - ranges->sorted[at - 1].address < ranges->sorted[at - 1].bytes) ||
        (at < ranges->count && ranges->sorted[at].address - share->address < share->bytes))
        return "overlaps another share";
    if (ranges->count == SHM_SHARES) return "is one share too many";
    while (ranges->numbers[slot]) slot++;

    const uint64_t number = ++shares->serial * SHM_SHARES + slot;
    memmove(&ranges->sorted[at + 1], &ranges->sorted[at], (ranges->count - at) * sizeof ranges->sorted[0]);
    ranges->sorted[at] = (struct shm_range){share->address, share->bytes, number};
    ranges->count++;
    ranges->numbers[slot] = number;
    shares->table[slot] = *share;
    shares->table[slot].number = number;
    *result = &shares->table[slot];
    return NULL;
}

weft_status shm_memory_share(struct endpoint *base, void *address, size_t bytes, int descriptor, uint64_t offset,
                             void **share, struct diagnostic *diagnostic)
{
    struct shm_shares *shares = &shm_endpoint_of(base)->shares;
    struct shm_share *added;
    uint64_t page_bytes;
    const char *obstacle = shm_share_defect(descriptor, offset, bytes, &page_bytes);

    if (obstacle)
        return diagnose(diagnostic, WEFT_UNSUPPORTED, "shm: memory cannot be shared: descriptor %d %s", descriptor,
                        obstacle);
    const int kept = fcntl(descriptor, F_DUPFD_CLOEXEC, 3);
    if (kept < 0)
        return diagnose(diagnostic, WEFT_RESOURCE_LIMIT, "shm: no descriptor for shared memory: %s (raise `ulimit -n`)",
                        strerror(errno));
    pthread_mutex_lock(&shares->lock);
    obstacle = share_add(shares, &(struct shm_share){0, (uintptr_t)address, bytes, offset, kept}, &added);
    /* Release, with shm_shares_sync(); the lock orders what it takes. */
    if (!obstacle) atomic_fetch_add_explicit(&shares->generation, 1, memory_order_release);
    pthread_mutex_unlock(&shares->lock);
    if (obstacle) {
        close(kept);
        return diagnose(diagnostic, WEFT_UNSUPPORTED, "shm: memory at %p cannot be shared: it %s (%u are allowed)",
                        address, obstacle, SHM_SHARES);
    }
    *share = added;
    return WEFT_OK;
}

void shm_memory_unshare(struct endpoint *base, void *share)
{
    struct shm_shares *shares = &shm_endpoint_of(base)->shares;
    struct shm_share *ended = share;
    struct shm_ranges *ranges = &shares->ranges;

    pthread_mutex_lock(&shares->lock);
    const uint32_t after = range_after(ranges, ended->address);
    memmove(&ranges->sorted[after - 1], &ranges->sorted[after], (ranges->count - after) * sizeof ranges->sorted[0]);
    ranges->count--;
    ranges->numbers[ended->number % SHM_SHARES] = 0;
    close(ended->descriptor);
    *ended = (struct shm_share){.descriptor = -1};
    /* As in shm_memory_share(). The peers are told by the endpoint's thread, whose connections they are. */
    atomic_fetch_add_explicit(&shares->generation, 1, memory_order_release);
    pthread_mutex_unlock(&shares->lock);
}

/* Tell the peer which of the shares that it knows have ended. False: the socket is full, and some remain to be told. */
static bool endings_tell(struct shm_connection *connection, const struct shm_ranges *ranges)
{
    for (uint32_t slot = 0; slot < SHM_SHARES; slot++) {
        const uint64_t told = connection->told[slot];
        if (!told || told == ranges->numbers[slot]) continue;
        const struct shm_message ended = {.kind = SHM_UNSHARE, .share = told};
        if (!shm_message_send(connection->socket, &ended, -1)) return false;
        connection->told[slot] = 0;
    }
    return true;
}

void shm_shares_sync(struct shm_endpoint *endpoint)
{
    struct shm_shares *shares = &endpoint->shares;

    /* Acquire, with shm_memory_share() and shm_memory_unshare(). */
    if (atomic_load_explicit(&shares->generation, memory_order_acquire) == shares->seen && !shares->endings_due) return;
    pthread_mutex_lock(&shares->lock);
    shares->seen = atomic_load_explicit(&shares->generation, memory_order_relaxed); /* changes under the lock only */
    memcpy(shares->copy.sorted, shares->ranges.sorted, shares->ranges.count * sizeof shares->ranges.sorted[0]);
    memcpy(shares->copy.numbers, shares->ranges.numbers, sizeof shares->ranges.numbers);
    shares->copy.count = shares->ranges.count;
    pthread_mutex_unlock(&shares->lock);
    shares->endings_due = false;
    for (uint32_t i = 0; i < endpoint->polled_count; i++) {
        struct shm_connection *connection = endpoint->polled[i];
        if (connection->state == SHM_CONNECTED && !endings_tell(connection, &shares->copy)) shares->endings_due = true;
    }
}

static const struct shm_range *range_find(const struct shm_ranges *ranges, uintptr_t address, size_t bytes)
{
    const uint32_t after = range_after(ranges, address);

    if (after == 0) return NULL;
    const struct shm_range *range = &ranges->sorted[after - 1];
    const uintptr_t offset = address - range->address;
    return offset <= range->bytes && bytes <= range->bytes - offset ? range : NULL;
}

/* The first loan of a share to this peer: it gets the descriptor. False: not now. */
static bool share_tell(struct shm_connection *connection, uint64_t number)
{
    struct shm_shares *shares = &shm_endpoint_of(connection->base.endpoint)->shares;
    const uint32_t slot = number % SHM_SHARES;

    /* What the peer knows under this slot has ended, and it could not be told yet. */
    if (connection->told[slot]) return false;
    pthread_mutex_lock(&shares->lock); /* so that nobody closes the descriptor */
    const struct shm_share *share = &shares->table[slot];
    const struct shm_message message = {
        .kind = SHM_SHARE, .share = number, .address = share->address, .bytes = share->bytes, .offset = share->offset};
    const bool sent = share->number == number && shm_message_send(connection->socket, &message, share->descriptor);
    pthread_mutex_unlock(&shares->lock);
    if (sent) connection->told[slot] = number;
    return sent;
}

bool shm_lend(struct connection *base, const void *address, size_t bytes, struct loan *loan)
{
    struct shm_connection *connection = shm_connection_of(base);
    struct shm_endpoint *endpoint = shm_endpoint_of(base->endpoint);
    const struct shm_range *range = NULL;

    if (connection->state != SHM_CONNECTED) return false;
    if (connection->peer_reach != SHM_REACH_DIRECTLY) {
        shm_shares_sync(endpoint);
        range = range_find(&endpoint->shares.copy, (uintptr_t)address, bytes);
        if (range && connection->told[range->number % SHM_SHARES] != range->number &&
            !share_tell(connection, range->number))
            range = NULL;
        if (!range && connection->peer_reach != SHM_REACH_COPYING) return false;
    }
    *loan = (struct loan){.address = (uintptr_t)address, .share = range ? range->number : 0};
    return true;
}
