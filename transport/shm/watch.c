/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What happens on sockets: wake-ups, quiescing, and the end of a peer.
 *
 * Wake-ups go over the socket and not an eventfd: a descriptor shared with a peer may be made blocking by it, and a
 * full eventfd would then hold us up; a send can be non-blocking by itself.
 */
#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "transport/shm/shm_internal.h"

#define WATCH_EVENTS 32
#define WATCH_BYTES 64

/* The lowest bit of what epoll gives back tells a connection's process from its socket. */
#define WATCH_PROCESS UINT64_C(1)

static bool message_send(const struct shm_connection *connection, enum shm_message message)
{
    return send(connection->socket, &(char){(char)message}, 1, MSG_DONTWAIT | MSG_NOSIGNAL) == 1;
}

weft_status shm_watch_begin(struct shm_connection *connection)
{
    struct shm_endpoint *endpoint = shm_endpoint_of(connection->base.endpoint);
    struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP, .data.u64 = (uintptr_t)connection};

    if (epoll_ctl(endpoint->epoll, EPOLL_CTL_ADD, connection->socket, &event) < 0) return shm_status_of_errno(errno);
    if (connection->process >= 0) {
        event.events = EPOLLIN;
        event.data.u64 |= WATCH_PROCESS;
        if (epoll_ctl(endpoint->epoll, EPOLL_CTL_ADD, connection->process, &event) < 0) {
            close(connection->process); /* the socket will have to do */
            connection->process = -1;
        }
    }
    endpoint->polled[endpoint->polled_count++] = connection;
    connection->connected = true;
    return WEFT_OK;
}

void shm_watch_end(struct shm_connection *connection)
{
    const int epoll = shm_endpoint_of(connection->base.endpoint)->epoll;

    /* Closing would not do: a copy of the descriptor in a forked child keeps it in the epoll set. */
    (void)epoll_ctl(epoll, EPOLL_CTL_DEL, connection->socket, NULL);
    if (connection->process >= 0) (void)epoll_ctl(epoll, EPOLL_CTL_DEL, connection->process, NULL);
}

void shm_connection_fail(struct shm_connection *connection, weft_status status)
{
    if (connection->state != SHM_CONNECTED) return;
    connection->state = SHM_FAILING;
    connection->failure = status;
    connection->attention = true;
}

/* The peer is no more, so none of its stores is to come: the kernel ends a socket after a process has lost its memory.
 */
static void peer_gone(struct shm_connection *connection)
{
    if (connection->gone) return;
    connection->gone = true;
    connection->attention = true;
    shm_watch_end(connection);
    if (connection->quiesce == SHM_ASKED) connection->quiesce = SHM_QUIESCED_DUE;
    shm_connection_fail(connection, WEFT_PEER_FAILED);
}

static void message_take(struct shm_connection *connection, char message)
{
    switch (message) {
    case SHM_WAKE:
        break;
    case SHM_QUIESCE:
        connection->stop_asked = true;
        shm_connection_fail(connection, WEFT_LINK_DOWN);
        connection->attention = true;
        break;
    case SHM_QUIET:
        if (connection->quiesce == SHM_ASKED) {
            connection->quiesce = SHM_QUIESCED_DUE;
            connection->attention = true;
            break;
        }
        /* fall through */
    default:
        log_warning("shm peer broke the protocol rank %u peer %u message %u", connection->base.endpoint->rank,
                    connection->base.peer, (unsigned char)message);
        shm_connection_fail(connection, WEFT_PROTOCOL_ERROR);
    }
}

static void socket_look(struct shm_connection *connection)
{
    char messages[WATCH_BYTES];
    const ssize_t received = recv(connection->socket, messages, sizeof messages, MSG_DONTWAIT);

    if (received < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (received <= 0) {
        peer_gone(connection);
        return;
    }
    for (ssize_t i = 0; i < received; i++) message_take(connection, messages[i]);
}

void shm_watch(struct shm_endpoint *endpoint)
{
    struct epoll_event events[WATCH_EVENTS];
    const int count = epoll_wait(endpoint->epoll, events, WATCH_EVENTS, 0);

    for (int i = 0; i < count; i++) {
        struct shm_connection *connection = (struct shm_connection *)(uintptr_t)(events[i].data.u64 & ~WATCH_PROCESS);
        if (connection->gone) continue; /* its process and its socket came together */
        if (events[i].data.u64 & WATCH_PROCESS)
            peer_gone(connection);
        else
            socket_look(connection);
    }
}

void shm_peer_wake(struct shm_connection *connection)
{
    _Atomic uint32_t *sleeping = &connection->remote->sleeping;

    /*
     * Pairs with the fence of shm_arm(): we store a notification (or progress) and look at `sleeping`; the peer stores
     * `sleeping` and looks for notifications (or progress). At least one of the two sees the other's store. The fence
     * costs the wait for our own stores, of which the peer waits for the same ones.
     */
    shm_fence();
    if (atomic_load_explicit(sleeping, memory_order_relaxed) == 0) return;
    /* One message for each sleep. If the socket is full, the peer has enough to wake up for. */
    if (atomic_exchange_explicit(sleeping, 0, memory_order_relaxed)) (void)message_send(connection, SHM_WAKE);
}

void shm_quiet_send(struct shm_connection *connection)
{
    connection->stop_asked = false;
    /* When not even a byte can be sent, the end of the connection says the same. */
    if (!message_send(connection, SHM_QUIET)) (void)shutdown(connection->socket, SHUT_RDWR);
}

weft_status shm_quiesce(struct connection *base)
{
    struct shm_connection *connection = shm_connection_of(base);

    if (!connection->connected) return WEFT_INVALID_STATE;
    if (connection->quiesce != SHM_NOT_ASKED) return WEFT_OK;
    if (connection->gone) {
        connection->quiesce = SHM_QUIESCED_DUE;
        connection->attention = true;
        return WEFT_OK;
    }
    /* A peer that has left since cannot be told; that it has left is as good, and shm_watch() will see it. */
    if (!message_send(connection, SHM_QUIESCE) && errno == EAGAIN) return WEFT_AGAIN;
    connection->quiesce = SHM_ASKED;
    return WEFT_OK;
}
