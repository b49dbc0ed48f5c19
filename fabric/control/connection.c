/* SPDX-License-Identifier: Apache-2.0 */
/* The stream of messages to and from one control neighbour. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "control_internal.h"

/*
 * Far more than a correct exchange ever has in flight, behind a socket buffer that takes hundreds of messages: whoever
 * leaves so much unread is about to be found silent. Heartbeats and signatures beyond are dropped (whole messages).
 */
enum { UNSENT_BYTES_MAX = 64 << 10, READS_AT_ONCE = 64 };

#define REDIAL_PAUSE_NS (20 * NS_PER_MS)

static void connection_ready(void *context, uint32_t events, uint64_t now_ns);

bool connection_open(struct connection *connection, int fd, uint64_t now_ns)
{
    connection->fd = fd;
    connection->broken = false;
    connection->filled = 0;
    connection->unsent_bytes = 0;
    connection->watch = engine_watch_add(fd, EPOLLIN, connection_ready, connection);
    if (!connection->watch) {
        connection_close(connection);
        return false;
    }
    protocol_connected(&connection->control->protocol, connection->neighbour, now_ns);
    return true;
}

void connection_close(struct connection *connection)
{
    engine_watch_remove(&connection->watch);
    if (connection->fd >= 0) close(connection->fd);
    connection->fd = -1;
    free(connection->unsent);
    connection->unsent = NULL;
    connection->unsent_bytes = connection->unsent_capacity = 0;
}

/* Returns how many of @p size bytes the socket has taken. */
static size_t send_some(struct connection *connection, const uint8_t *bytes, size_t size)
{
    size_t sent = 0;
    while (sent < size) {
        ssize_t now = send(connection->fd, bytes + sent, size - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (now < 0 && errno == EINTR) continue;
        if (now < 0) {
            /* A broken pipe says nothing yet: why the neighbour has gone may still be waiting to be read. */
            connection->broken = errno != EAGAIN && errno != EWOULDBLOCK && errno != ENOBUFS && errno != ENOMEM;
            break;
        }
        sent += (size_t)now;
    }
    return sent;
}

static void keep_unsent(struct connection *connection, const uint8_t *bytes, size_t size)
{
    size_t needed = connection->unsent_bytes + size;
    if (needed > connection->unsent_capacity) {
        size_t capacity = needed < 4096 ? 4096 : 2 * needed;
        uint8_t *grown = realloc(connection->unsent, capacity);
        if (!grown) {
            connection->broken = true; /* half a message may have gone: nothing can follow it */
            return;
        }
        connection->unsent = grown;
        connection->unsent_capacity = capacity;
    }
    memcpy(connection->unsent + connection->unsent_bytes, bytes, size);
    connection->unsent_bytes = needed;
    engine_watch_change(connection->watch, EPOLLIN | EPOLLOUT);
}

void connection_send(struct connection *connection, const struct message *message)
{
    uint8_t bytes[MESSAGE_BYTES_MAX];
    if (connection->fd < 0 || connection->broken) return;
    size_t size = message_encode(message, bytes);
    /* A failure and a goodbye, of which there is one each, are never dropped: nothing else tells what they tell. */
    bool may_drop = message->kind == MESSAGE_HEARTBEAT || message->kind == MESSAGE_SIGNATURE;
    if (may_drop && connection->unsent_bytes + size > UNSENT_BYTES_MAX) return;
    size_t sent = connection->unsent_bytes ? 0 : send_some(connection, bytes, size);
    if (sent < size && !connection->broken) keep_unsent(connection, bytes + sent, size - sent);
}

static void send_unsent(struct connection *connection)
{
    size_t sent = send_some(connection, connection->unsent, connection->unsent_bytes);
    connection->unsent_bytes -= sent;
    memmove(connection->unsent, connection->unsent + sent, connection->unsent_bytes);
    if (connection->broken) connection->unsent_bytes = 0;
    if (connection->unsent_bytes == 0) engine_watch_change(connection->watch, EPOLLIN);
}

bool connections_unsent(const struct control *control)
{
    for (uint32_t i = 0; i < control->protocol.neighbour_count; i++)
        if (control->connections[i].fd >= 0 && control->connections[i].unsent_bytes > 0) return true;
    return false;
}

/* Take the messages out of what has been received. WEFT_PROTOCOL_ERROR: no use reading on. */
static weft_status take_messages(struct connection *connection, uint64_t now_ns, struct diagnostic *wrong)
{
    struct protocol *protocol = &connection->control->protocol;
    uint32_t taken = 0;
    weft_status status;
    for (;;) {
        struct message message;
        size_t used;
        status = message_decode(connection->received + taken, connection->filled - taken, protocol->rank_count,
                                &message, &used, wrong);
        if (status != WEFT_OK) break;
        taken += (uint32_t)used;
        protocol_receive(protocol, connection->neighbour, &message, now_ns);
    }
    connection->filled -= taken;
    memmove(connection->received, connection->received + taken, connection->filled);
    return status;
}

/* Everything there is to read. False, with *wrong where something was, when the connection is at its end. */
static bool read_messages(struct connection *connection, uint64_t now_ns, struct diagnostic *wrong)
{
    for (int reads = 0; reads < READS_AT_ONCE; reads++) {
        ssize_t got = recv(connection->fd, connection->received + connection->filled,
                           sizeof connection->received - connection->filled, MSG_DONTWAIT);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return true;
        if (got <= 0) return false;
        connection->filled += (uint32_t)got;
        if (take_messages(connection, now_ns, wrong) == WEFT_PROTOCOL_ERROR) return false;
    }
    return true;
}

static void connection_ready(void *context, uint32_t events, uint64_t now_ns)
{
    struct connection *connection = context;
    struct control *control = connection->control;
    struct protocol *protocol = &control->protocol;
    struct diagnostic wrong = {.status = WEFT_OK};
    if (events & EPOLLOUT) send_unsent(connection);
    if (!read_messages(connection, now_ns, &wrong)) {
        bool unheard = protocol->neighbours[connection->neighbour].state == NEIGHBOUR_CONNECTED;
        protocol_ended(protocol, connection->neighbour, wrong.status == WEFT_OK ? NULL : &wrong);
        control_settle(control);
        connection_close(connection);
        /* Dropped before a word: the peer was not ready for us, so try again, but not at full speed. */
        uint32_t peer = protocol->neighbours[connection->neighbour].rank;
        if (unheard && !protocol->failed && peer > control->identity.rank)
            meeting_dial(control, peer, ROLE_CONTROL, now_ns + REDIAL_PAUSE_NS);
        return;
    }
    control_settle(control);
}
