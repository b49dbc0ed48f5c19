/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lending between simulated ranks. They live in one process, so an address is good everywhere; what a rank does with
 * it happens at once. A rank that has died, or ended the connection, gives nothing any more. Where memory is mapped,
 * all of a rank's is one share.
 */
#include <string.h>

#include "transport/sim/sim_internal.h"

enum { THE_SHARE = 77 }; /* its number */

static const struct sim_connection *connection_of(const struct connection *connection)
{
    return (const struct sim_connection *)connection;
}

static bool peer_is_there(const struct sim_connection *connection)
{
    return connection->joined && !connection->severed && !connection->fabric->dead[connection->base.peer];
}

static bool share_is_known(const struct loan *loan)
{
    return loan->share == 0 || loan->share == THE_SHARE;
}

/* May the peers map what lies there, as its owner sees it? */
static bool is_mapped(const struct sim_config *config, uintptr_t address, size_t bytes)
{
    const uintptr_t begin = (uintptr_t)config->mapped;
    if (config->lending != SIM_LENDS_SOME_MAPPED) return config->lending != SIM_LENDS_COPIED;
    return address >= begin && address - begin <= config->mapped_bytes &&
           bytes <= config->mapped_bytes - (address - begin);
}

bool sim_lend(struct connection *base, const void *address, size_t bytes, struct loan *loan)
{
    const struct sim_connection *connection = connection_of(base);

    if (!peer_is_there(connection)) return false;
    const bool mapped = is_mapped(&connection->fabric->config, (uintptr_t)address, bytes);
    *loan = (struct loan){.address = (uintptr_t)address, .share = mapped ? THE_SHARE : 0};
    return true;
}

void *sim_borrow(struct connection *base, const struct loan *loan, size_t bytes)
{
    const struct sim_config *config = &connection_of(base)->fabric->config;

    if (config->lending != SIM_LENDS_MAPPED && config->lending != SIM_LENDS_SOME_MAPPED) return NULL;
    if (config->lending == SIM_LENDS_SOME_MAPPED && loan->share == 0) return NULL;
    if (!share_is_known(loan) || loan->address > UINTPTR_MAX - bytes) return NULL;
    return (void *)(uintptr_t)loan->address;
}

static weft_status reach(const struct sim_connection *connection, const struct loan *loan, uint64_t offset,
                         size_t bytes, void **address)
{
    if (!peer_is_there(connection)) return WEFT_PEER_FAILED;
    if (!share_is_known(loan) || !loan->address || offset > UINTPTR_MAX - bytes ||
        loan->address > UINTPTR_MAX - bytes - offset)
        return WEFT_PROTOCOL_ERROR;
    *address = (void *)(uintptr_t)(loan->address + offset);
    return WEFT_OK;
}

weft_status sim_read(struct connection *base, const struct loan *loan, uint64_t offset, void *to, size_t bytes)
{
    void *address;

    if (bytes == 0) return WEFT_OK;
    const weft_status status = reach(connection_of(base), loan, offset, bytes, &address);
    if (status) return status;
    memcpy(to, address, bytes);
    return WEFT_OK;
}

weft_status sim_write(struct connection *base, const struct loan *loan, uint64_t offset, const void *from, size_t bytes)
{
    void *address;

    if (bytes == 0) return WEFT_OK;
    const weft_status status = reach(connection_of(base), loan, offset, bytes, &address);
    if (status) return status;
    memcpy(address, from, bytes);
    return WEFT_OK;
}
