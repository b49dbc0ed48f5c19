/* SPDX-License-Identifier: Apache-2.0 */
/* Endpoints and connections: made and ended. */
#include "transport/tcp/tcp.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "transport/tcp/tcp_internal.h"

#define DEFAULT_LINGER_NS (100 * NS_PER_MS)

/* A grant of nothing has an address too. */
static size_t mapped_bytes(size_t granted_bytes)
{
    return granted_bytes ? granted_bytes : 1;
}

static weft_status tcp_connect(struct endpoint *base, uint32_t peer, size_t granted_bytes,
                               struct connection **connection)
{
    struct tcp_endpoint *endpoint = tcp_endpoint_of(base);

    if (peer >= base->rank_count || peer == base->rank || endpoint->of_peer[peer] ||
        granted_bytes > TCP_MAX_GRANTED_BYTES)
        return WEFT_INVALID_ARGUMENT;

    struct tcp_connection *made = calloc(1, sizeof *made);
    if (!made) return WEFT_OUT_OF_MEMORY;
    /* Pages are taken when they are touched. */
    void *granted = mmap(NULL, mapped_bytes(granted_bytes), PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (granted == MAP_FAILED) {
        free(made);
        return WEFT_OUT_OF_MEMORY;
    }
    made->base =
        (struct connection){.endpoint = base, .peer = peer, .granted = granted, .granted_bytes = granted_bytes};
    for (uint32_t i = 0; i < TCP_MAX_LANES; i++) made->placed[i].fd = made->waiting[i].fd = -1;
    if (base->rank < peer) {
        made->attempt = endpoint->attempts++;
        made->lane_count = endpoint->config.lanes;
    }
    endpoint->of_peer[peer] = made;
    *connection = &made->base;
    return WEFT_OK;
}

/* Wait for @p fd, but not beyond @p until_ns. False: it is past. */
static bool wait_until(int fd, short events, uint64_t until_ns)
{
    const uint64_t now_ns = clock_now_ns();
    struct pollfd waited = {.fd = fd, .events = events};

    if (now_ns >= until_ns) return false;
    (void)poll(&waited, 1, (int)((until_ns - now_ns) / NS_PER_MS) + 1);
    return true;
}

/* Get accepted puts into the kernel's hands: their sources are the caller's again when disconnect() returns. */
static void lane_finish_output(struct tcp_lane *lane, uint64_t until_ns)
{
    for (;;) {
        tcp_lane_flush(lane);
        if (lane->head == lane->tail || !wait_until(lane->fd, POLLOUT, until_ns)) return;
    }
}

static void tcp_disconnect(struct connection *base)
{
    struct tcp_connection *connection = tcp_connection_of(base);
    struct tcp_endpoint *endpoint = tcp_endpoint_of(base->endpoint);
    const bool healthy = connection->state == TCP_CONNECTED;
    const uint64_t until_ns = clock_now_ns() + endpoint->config.linger_ns;

    tcp_greetings_close(connection);
    for (uint32_t i = 0; connection->lanes && i < connection->lane_count; i++) {
        struct tcp_lane *lane = &connection->lanes[i];
        if (healthy) lane_finish_output(lane, until_ns);
        (void)tcp_lane_drop_output(lane);
        tcp_lane_unwatch(lane);
    }
    /* Once all are served, so that all end together. */
    for (uint32_t i = 0; connection->lanes && i < connection->lane_count; i++) {
        tcp_refer_close(&connection->lanes[i]);
        if (connection->lanes[i].ended || connection->failure == WEFT_PROTOCOL_ERROR)
            close(connection->lanes[i].fd);
        else
            tcp_socket_end(endpoint, connection->lanes[i].fd);
    }
    if (connection->attentive) TAILQ_REMOVE(&endpoint->attention, connection, attention_link);
    tcp_closing_reap(endpoint, clock_now_ns());
    free(connection->lanes);
    (void)munmap(base->granted, mapped_bytes(base->granted_bytes));
    endpoint->of_peer[base->peer] = NULL;
    free(connection);
}

static void tcp_endpoint_destroy(struct endpoint *base)
{
    struct tcp_endpoint *endpoint = tcp_endpoint_of(base);

    /* A peer that lives on without polling acknowledges within its kernel's 40 ms of delay. */
    while (tcp_closing_reap(endpoint, clock_now_ns()), endpoint->closing_count > 0) (void)poll(NULL, 0, 1);
    free(endpoint->closing);
    close(endpoint->epoll);
    free(endpoint);
}

static const struct transport_ops tcp_ops = {
    .name = "tcp",
    .capabilities = 0,
    .endpoint_destroy = tcp_endpoint_destroy,
    .connect = tcp_connect,
    .connect_advance = tcp_connect_advance,
    .disconnect = tcp_disconnect,
    .map = transport_map_none,
    TRANSPORT_LENDS_NOTHING,
    .put = tcp_put,
    .recall = tcp_recall,
    .quiesce = tcp_quiesce,
    .poll = tcp_poll,
    .arm = tcp_arm,
    .memory_register = transport_memory_register_unsupported,
    .memory_deregister = transport_memory_deregister_none,
};

weft_status tcp_endpoint_create(const struct tcp_config *config, struct rendezvous rendezvous,
                                struct endpoint **endpoint, struct diagnostic *diagnostic)
{
    if (config->rank >= config->rank_count || !rendezvous.reach)
        return diagnose(diagnostic, WEFT_INVALID_ARGUMENT, "tcp: rank %u of %u cannot be", config->rank,
                        config->rank_count);
    if (config->lanes > TCP_MAX_LANES)
        return diagnose(diagnostic, WEFT_INVALID_ARGUMENT, "tcp: %u lanes to a peer; at most %u are supported",
                        config->lanes, TCP_MAX_LANES);

    struct tcp_endpoint *made = calloc(1, sizeof *made + config->rank_count * sizeof *made->of_peer);
    if (!made)
        return diagnose(diagnostic, WEFT_OUT_OF_MEMORY, "tcp: no memory for an endpoint among %u ranks",
                        config->rank_count);
    made->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (made->epoll < 0) {
        const weft_status status = tcp_status_of_errno(errno);
        free(made);
        return diagnose(diagnostic, status, "tcp: no descriptor to wait on: %s (raise `ulimit -n`)", strerror(errno));
    }
    made->base = (struct endpoint){.ops = &tcp_ops, .rank = config->rank, .rank_count = config->rank_count};
    made->config = *config;
    if (made->config.lanes == 0) made->config.lanes = TCP_DEFAULT_LANES;
    if (made->config.linger_ns == 0) made->config.linger_ns = DEFAULT_LINGER_NS;
    made->rendezvous = rendezvous;
    TAILQ_INIT(&made->watched);
    TAILQ_INIT(&made->ready);
    TAILQ_INIT(&made->sending);
    TAILQ_INIT(&made->attention);
    *endpoint = &made->base;
    return WEFT_OK;
}
