/* SPDX-License-Identifier: Apache-2.0 */
/* Endpoints and connections: made and ended. */
#include "transport/shm/shm.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "transport/shm/shm_internal.h"

static void close_if_open(int fd)
{
    if (fd >= 0) close(fd);
}

static weft_status shm_connect(struct endpoint *base, uint32_t peer, size_t granted_bytes,
                               struct connection **connection)
{
    struct shm_endpoint *endpoint = shm_endpoint_of(base);

    if (peer >= base->rank_count || peer == base->rank || endpoint->of_peer[peer]) return WEFT_INVALID_ARGUMENT;

    struct shm_connection *made = calloc(1, sizeof *made);
    if (!made) return WEFT_OUT_OF_MEMORY;
    made->base = (struct connection){.endpoint = base, .peer = peer, .granted_bytes = granted_bytes};
    made->socket = made->process = made->memory = made->greeting_memory = made->received_memory = -1;

    const struct shm_header header = shm_header_of(made);
    const weft_status status = shm_segment_create(&header, &made->memory, &made->own_mapping);
    if (status) {
        free(made);
        return status;
    }
    made->own = made->own_mapping->segment;
    made->base.granted = shm_segment_region(made->own);
    endpoint->of_peer[peer] = made;
    *connection = &made->base;
    return WEFT_OK;
}

static void polled_remove(struct shm_endpoint *endpoint, const struct shm_connection *connection)
{
    for (uint32_t i = 0; i < endpoint->polled_count; i++) {
        if (endpoint->polled[i] == connection) endpoint->polled[i] = endpoint->polled[--endpoint->polled_count];
    }
}

static void shm_disconnect(struct connection *base)
{
    struct shm_connection *connection = shm_connection_of(base);
    struct shm_endpoint *endpoint = shm_endpoint_of(base->endpoint);

    if (connection->connected) {
        polled_remove(endpoint, connection);
        if (!connection->gone) shm_watch_end(connection);
    }
    /* Before the socket: its end tells the peer that nothing more of ours lands. */
    shm_segment_release(connection->remote_mapping);
    shm_shares_unmap(connection);
    close_if_open(connection->socket);
    close_if_open(connection->process);
    close_if_open(connection->memory);
    close_if_open(connection->greeting_memory);
    close_if_open(connection->received_memory);
    shm_segment_release(connection->own_mapping);
    endpoint->of_peer[base->peer] = NULL;
    free(connection);
}

static void *shm_map(struct connection *base)
{
    struct shm_connection *connection = shm_connection_of(base);

    return connection->remote ? shm_segment_region(connection->remote) : NULL;
}

static void shm_wake(struct connection *base)
{
    struct shm_connection *connection = shm_connection_of(base);

    if (connection->state == SHM_CONNECTED) shm_peer_rouse(connection);
}

static void shm_endpoint_destroy(struct endpoint *base)
{
    struct shm_endpoint *endpoint = shm_endpoint_of(base);

    shm_shares_destroy(&endpoint->shares);
    close(endpoint->epoll);
    free(endpoint->polled);
    free(endpoint);
}

static const struct transport_ops shm_ops = {
    .name = "shm",
    .capabilities = TRANSPORT_MAPS | TRANSPORT_LENDS,
    .endpoint_destroy = shm_endpoint_destroy,
    .connect = shm_connect,
    .connect_advance = shm_connect_advance,
    .disconnect = shm_disconnect,
    .map = shm_map,
    .wake = shm_wake,
    .lend = shm_lend,
    .borrow = shm_borrow,
    .read = shm_read,
    .write = shm_write,
    .memory_share = shm_memory_share,
    .memory_unshare = shm_memory_unshare,
    .put = shm_put,
    .quiesce = shm_quiesce,
    .poll = shm_poll,
    .arm = shm_arm,
    .memory_register = transport_memory_register_unsupported,
    .memory_deregister = transport_memory_deregister_none,
};

weft_status shm_endpoint_create(const struct shm_config *config, struct rendezvous rendezvous,
                                struct endpoint **endpoint, struct diagnostic *diagnostic)
{
    const uint32_t rank = config->rank, rank_count = config->rank_count;

    if (rank >= rank_count || !rendezvous.reach)
        return diagnose(diagnostic, WEFT_INVALID_ARGUMENT, "shm: rank %u of %u cannot be", rank, rank_count);

    struct shm_endpoint *made = calloc(1, sizeof *made + rank_count * sizeof *made->of_peer);
    struct shm_connection **polled = calloc(rank_count, sizeof *polled);
    if (!made || !polled) {
        free(made);
        free(polled);
        return diagnose(diagnostic, WEFT_OUT_OF_MEMORY, "shm: no memory for an endpoint among %u ranks", rank_count);
    }
    made->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (made->epoll < 0) {
        const weft_status status = shm_status_of_errno(errno);
        free(made);
        free(polled);
        return diagnose(diagnostic, status, "shm: no descriptor to wait on: %s (raise `ulimit -n`)", strerror(errno));
    }
    made->base = (struct endpoint){.ops = &shm_ops, .rank = rank, .rank_count = rank_count};
    made->config = *config;
    made->rendezvous = rendezvous;
    shm_shares_init(&made->shares);
    if (config->attach == SHM_ATTACH_PERMIT) shm_attach_permit();
    made->polled = polled;
    *endpoint = &made->base;
    return WEFT_OK;
}
