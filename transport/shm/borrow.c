/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The borrower's side: shares that the peer has told of are mapped when they are, so that no descriptor is kept, and
 * found by their number.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/log.h"
#include "transport/shm/shm_internal.h"

/* One that cannot be mapped, for want of address space, say, is remembered all the same: the kernel may copy of it. */
static void borrowed_map(struct shm_borrowed *share, uint64_t offset, uint64_t page_bytes, int memory)
{
    const uint64_t before = offset % page_bytes;
    const uint64_t bytes = (before + share->bytes + page_bytes - 1) / page_bytes * page_bytes;
    void *mapping = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, memory, (off_t)(offset - before));

    if (mapping == MAP_FAILED) {
        log_info("shm share not mapped bytes %llu reason \"%s\"", (unsigned long long)share->bytes, strerror(errno));
        return;
    }
    (void)madvise(mapping, bytes, MADV_DONTFORK); /* as for segments */
    (void)madvise(mapping, bytes, MADV_HUGEPAGE); /* whoever touches a page first decides on its size */
    share->mapping = mapping;
    share->mapping_bytes = bytes;
    share->start = (uint8_t *)mapping + before;
}

static void borrowed_unmap(struct shm_borrowed *share)
{
    if (share->mapping) munmap(share->mapping, share->mapping_bytes);
    *share = (struct shm_borrowed){0};
}

const char *shm_share_take(struct shm_connection *connection, const struct shm_message *message, int memory)
{
    struct shm_borrowed *share = &connection->borrowed[message->share % SHM_SHARES];
    uint64_t page_bytes;

    if (memory < 0) return "tells of a share without its memory";
    if (message->share == 0 || share->number) return "tells of a share under a number that is taken";
    if (message->bytes > PTRDIFF_MAX || message->address > UINTPTR_MAX - message->bytes)
        return "shares more memory than there can be";
    if (shm_share_defect(memory, message->offset, message->bytes, &page_bytes))
        return "shares what is not memory of that size that cannot shrink";
    *share = (struct shm_borrowed){.number = message->share, .address = message->address, .bytes = message->bytes};
    borrowed_map(share, message->offset, page_bytes, memory);
    return NULL;
}

const char *shm_share_drop(struct shm_connection *connection, uint64_t number)
{
    struct shm_borrowed *share = &connection->borrowed[number % SHM_SHARES];

    if (number == 0 || share->number != number) return "ends a share that is none";
    borrowed_unmap(share);
    return NULL;
}

void shm_shares_unmap(struct shm_connection *connection)
{
    for (uint32_t i = 0; i < SHM_SHARES; i++) borrowed_unmap(&connection->borrowed[i]);
}

/* The share that @p loan is of, if all @p bytes lie in it. */
static const struct shm_borrowed *borrowed_find(struct shm_connection *connection, const struct loan *loan,
                                                size_t bytes)
{
    const struct shm_borrowed *share = &connection->borrowed[loan->share % SHM_SHARES];

    /* The lender has told of it before it told of the loan, but by another way: what it said may still lie there. */
    while (share->number != loan->share && connection->state == SHM_CONNECTED && shm_socket_look(connection)) continue;
    if (connection->state != SHM_CONNECTED || share->number != loan->share || loan->address < share->address)
        return NULL;
    const uint64_t offset = loan->address - share->address;
    return offset <= share->bytes && bytes <= share->bytes - offset ? share : NULL;
}

void *shm_borrow(struct connection *base, const struct loan *loan, size_t bytes)
{
    struct shm_connection *connection = shm_connection_of(base);

    if (connection->state != SHM_CONNECTED) return NULL;
    if (loan->share == 0) return connection->reach == SHM_REACH_DIRECTLY ? (void *)(uintptr_t)loan->address : NULL;
    const struct shm_borrowed *share = borrowed_find(connection, loan, bytes);
    return share && share->start ? share->start + (loan->address - share->address) : NULL;
}

/*
 * Where @p bytes from @p offset of the loan lie. WEFT_OK with *here where they are mapped; else with *here NULL, and
 * *address is where the kernel is to look for them in the peer.
 */
static weft_status locate(struct shm_connection *connection, const struct loan *loan, uint64_t offset, size_t bytes,
                          void **here, uint64_t *address)
{
    const struct loan part = {.address = loan->address + offset, .share = loan->share};

    if (connection->state != SHM_CONNECTED)
        return connection->state < SHM_CONNECTED ? WEFT_INVALID_STATE : connection->failure;
    if (part.address < offset || part.address == 0 || bytes > UINTPTR_MAX - part.address) return WEFT_PROTOCOL_ERROR;
    *address = part.address;
    *here = shm_borrow(&connection->base, &part, bytes);
    if (*here) return WEFT_OK;
    if (part.share && !borrowed_find(connection, &part, bytes))
        return connection->state == SHM_CONNECTED ? WEFT_PROTOCOL_ERROR : connection->failure;
    return connection->reach == SHM_REACH_COPYING ? WEFT_OK : WEFT_UNSUPPORTED;
}

weft_status shm_read(struct connection *base, const struct loan *loan, uint64_t offset, void *to, size_t bytes)
{
    struct shm_connection *connection = shm_connection_of(base);
    uint64_t address = 0;
    void *here = NULL;

    if (bytes == 0) return WEFT_OK;
    const weft_status status = locate(connection, loan, offset, bytes, &here, &address);
    if (status) return status;
    if (!here) return shm_attach_read(connection, address, to, bytes);
    memcpy(to, here, bytes);
    return WEFT_OK;
}

weft_status shm_write(struct connection *base, const struct loan *loan, uint64_t offset, const void *from, size_t bytes)
{
    struct shm_connection *connection = shm_connection_of(base);
    uint64_t address = 0;
    void *here = NULL;

    if (bytes == 0) return WEFT_OK;
    const weft_status status = locate(connection, loan, offset, bytes, &here, &address);
    if (status) return status;
    if (!here) return shm_attach_write(connection, address, from, bytes);
    memcpy(here, from, bytes);
    return WEFT_OK;
}
