/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What happens on sockets: wake-ups, quiescing, shares, and the end of a peer.
 *
 * Wake-ups go over the socket and not an eventfd: a descriptor shared with a peer may be made blocking by it, and a
 * full eventfd would then hold us up; a send can be non-blocking by itself.
 */
#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fence.h"
#include "base/log.h"
#include "transport/shm/shm_internal.h"

#define WATCH_EVENTS 32
#define WATCH_BYTES 256

/* The lowest bit of what epoll gives back tells a connection's process from its socket. */
#define WATCH_PROCESS UINT64_C(1)

static bool message_send(const struct shm_connection *connection, enum shm_message_kind kind)
{
    return send(connection->socket, &(char){(char)kind}, 1, MSG_DONTWAIT | MSG_NOSIGNAL) == 1;
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

static void protocol_broken(struct shm_connection *connection, const char *reason)
{
    log_warning("shm peer broke the protocol rank %u peer %u reason \"it %s\"", connection->base.endpoint->rank,
                connection->base.peer, reason);
    shm_connection_fail(connection, WEFT_PROTOCOL_ERROR);
}

static void received_memory_close(struct shm_connection *connection)
{
    if (connection->received_memory >= 0) close(connection->received_memory);
    connection->received_memory = -1;
}

/* NULL, or what the peer has done that it may not. */
static const char *message_take(struct shm_connection *connection, const struct shm_message *message)
{
    const char *defect = NULL;

    switch (message->kind) {
    case SHM_WAKE:
        return NULL;
    case SHM_QUIESCE:
        connection->stop_asked = true;
        shm_connection_fail(connection, WEFT_LINK_DOWN);
        connection->attention = true;
        return NULL;
    case SHM_QUIET:
        if (connection->quiesce != SHM_ASKED) return "says that it is quiet without being asked";
        connection->quiesce = SHM_QUIESCED_DUE;
        connection->attention = true;
        return NULL;
    case SHM_SHARE:
        if (connection->state == SHM_CONNECTED)
            defect = shm_share_take(connection, message, connection->received_memory);
        received_memory_close(connection); /* the mapping holds the memory now */
        return defect;
    case SHM_UNSHARE:
        return connection->state == SHM_CONNECTED ? shm_share_drop(connection, message->share) : NULL;
    default:
        return "says what means nothing";
    }
}

static void messages_take(struct shm_connection *connection, const uint8_t *bytes, size_t count)
{
    struct shm_message message;

    while (shm_message_decode(&connection->reader, &bytes, &count, &message)) {
        const char *defect = message_take(connection, &message);
        if (defect) protocol_broken(connection, defect);
    }
    /* The kernel gives a descriptor with the first bytes of what it was sent with, and nothing after these. */
    if (connection->received_memory >= 0 && connection->reader.count == 0) {
        received_memory_close(connection);
        protocol_broken(connection, "sends memory with a message that has none");
    }
}

bool shm_socket_look(struct shm_connection *connection)
{
    alignas(struct cmsghdr) uint8_t control[SHM_CONTROL_BYTES];
    uint8_t bytes[WATCH_BYTES];
    struct iovec part = {bytes, sizeof bytes};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    pid_t sender; /* whoever holds the socket may send; whom it was made with is known already */

    if (connection->gone) return false;
    const ssize_t received = recvmsg(connection->socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (received < 0 && (errno == EAGAIN || errno == EINTR)) return false;
    if (received <= 0) {
        peer_gone(connection);
        return false;
    }
    if (!shm_control_take(&message, &connection->received_memory, &sender))
        protocol_broken(connection, "sends more memory than a message has");
    messages_take(connection, bytes, (size_t)received);
    return true;
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
            (void)shm_socket_look(connection);
    }
}

void shm_peer_wake(struct shm_connection *connection)
{
    /*
     * Pairs with the fence of shm_arm(): we store a notification (or progress) and look at `sleeping`; the peer stores
     * `sleeping` and looks for notifications (or progress). At least one of the two sees the other's store. The fence
     * costs the wait for our own stores, of which the peer waits for the same ones.
     */
    fence_full();
    if (atomic_load_explicit(&connection->remote->sleeping, memory_order_relaxed)) shm_peer_rouse(connection);
}

void shm_peer_rouse(struct shm_connection *connection)
{
    /* One message for each sleep. If the socket is full, the peer has enough to wake up for. */
    if (atomic_exchange_explicit(&connection->remote->sleeping, 0, memory_order_relaxed))
        (void)message_send(connection, SHM_WAKE);
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
