/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How two sides come by their lanes. The lower rank dials:
 *
 *     it sends          a hello on each socket, which names the lane
 *     the other sends   a hello on each, once it has read that one
 *     it sends          TCP_GO on lane 0, once it has read all of those
 *
 * The accepting side gets its sockets in any order, and among them those of attempts that the dialling side has given
 * up since. It therefore believes in a connection only when it has TCP_GO, and takes the end of a socket before that
 * for the end of an attempt: another may follow. Whether the peer lives is for others to find out.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "transport/tcp/tcp_internal.h"

static void greeting_close(struct tcp_greeting *greeting)
{
    if (greeting->fd >= 0) close(greeting->fd);
    *greeting = (struct tcp_greeting){.fd = -1};
}

static void placed_close(struct tcp_connection *connection)
{
    for (uint32_t i = 0; i < TCP_MAX_LANES; i++) greeting_close(&connection->placed[i]);
}

void tcp_greetings_close(struct tcp_connection *connection)
{
    placed_close(connection);
    for (uint32_t i = 0; i < TCP_MAX_LANES; i++) greeting_close(&connection->waiting[i]);
}

static weft_status refuse(const struct tcp_connection *connection, weft_status status, const char *reason)
{
    log_warning("tcp connection refused rank %u peer %u reason \"it %s\"", connection->base.endpoint->rank,
                connection->base.peer, reason);
    return status;
}

/* What a socket call that failed means; WEFT_IN_PROGRESS: nothing yet. */
static weft_status status_of_socket_errno(int error)
{
    if (error == EAGAIN || error == EINTR) return WEFT_IN_PROGRESS;
    if (error == ENOMEM || error == ENOBUFS) return tcp_status_of_errno(error);
    return WEFT_PEER_FAILED; /* EPIPE, ECONNRESET, ETIMEDOUT, EHOSTUNREACH, ... */
}

static bool dials(const struct tcp_connection *connection)
{
    return connection->base.endpoint->rank < connection->base.peer;
}

static weft_status reach(struct tcp_connection *connection, struct tcp_greeting *greeting)
{
    const struct tcp_endpoint *endpoint = tcp_endpoint_of_connection(connection);
    int fd;

    const weft_status status = endpoint->rendezvous.reach(endpoint->rendezvous.context, connection->base.peer, &fd);
    if (status) return status;
    greeting->fd = fd;
    const weft_status prepared = tcp_socket_prepare(fd, &endpoint->config);
    return prepared == WEFT_UNSUPPORTED ? refuse(connection, prepared, "is reached by no stream socket") : prepared;
}

static weft_status hello_send(struct tcp_connection *connection, uint32_t lane)
{
    struct tcp_greeting *greeting = &connection->placed[lane];
    const struct tcp_hello hello = {.rank = connection->base.endpoint->rank,
                                    .peer = connection->base.peer,
                                    .attempt = connection->attempt,
                                    .lane = (uint16_t)lane,
                                    .lanes = (uint16_t)connection->lane_count,
                                    .granted_bytes = connection->base.granted_bytes};
    uint8_t wire[TCP_HELLO_BYTES];

    if (greeting->sent == sizeof wire) return WEFT_OK;
    tcp_hello_encode(&hello, wire);
    const ssize_t sent =
        send(greeting->fd, wire + greeting->sent, sizeof wire - greeting->sent, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0) return status_of_socket_errno(errno);
    greeting->sent = (uint8_t)(greeting->sent + sent);
    return greeting->sent == sizeof wire ? WEFT_OK : WEFT_IN_PROGRESS;
}

/* No byte beyond the hello is read: frames may follow at once. */
static weft_status hello_receive(const struct tcp_connection *connection, struct tcp_greeting *greeting,
                                 struct tcp_hello *hello)
{
    const char *reason;

    if (greeting->received < TCP_HELLO_BYTES) {
        const ssize_t received = recv(greeting->fd, greeting->wire + greeting->received,
                                      (size_t)(TCP_HELLO_BYTES - greeting->received), MSG_DONTWAIT);
        if (received < 0) return status_of_socket_errno(errno);
        if (received == 0) return WEFT_PEER_FAILED;
        greeting->received = (uint8_t)(greeting->received + received);
        if (greeting->received < TCP_HELLO_BYTES) return WEFT_IN_PROGRESS;
    }
    const weft_status status = tcp_hello_decode(greeting->wire, hello, &reason);
    if (status) return refuse(connection, status, reason);
    if (hello->rank != connection->base.peer || hello->peer != connection->base.endpoint->rank)
        return refuse(connection, WEFT_PROTOCOL_ERROR, "is another rank, or takes us for another");
    return WEFT_OK;
}

/* The dialling side: WEFT_OK when this lane's answer is there. */
static weft_status dial_lane(struct tcp_connection *connection, uint32_t lane, struct tcp_hello *answer)
{
    struct tcp_greeting *greeting = &connection->placed[lane];
    weft_status status;

    if (greeting->fd < 0 && (status = reach(connection, greeting)) != WEFT_OK) return status;
    if ((status = hello_send(connection, lane)) != WEFT_OK) return status;
    if ((status = hello_receive(connection, greeting, answer)) != WEFT_OK) return status;
    if (answer->attempt != connection->attempt || answer->lane != lane || answer->lanes != connection->lane_count)
        return refuse(connection, WEFT_PROTOCOL_ERROR, "answers what it was not asked");
    return WEFT_OK;
}

/* All at once: the other side answers none before it has all. */
static weft_status dial(struct tcp_connection *connection)
{
    struct tcp_hello answers[TCP_MAX_LANES] = {{0}};
    bool waiting = false;

    for (uint32_t lane = 0; lane < connection->lane_count; lane++) {
        const weft_status status = dial_lane(connection, lane, &answers[lane]);
        if (status > WEFT_IN_PROGRESS) return status;
        waiting |= status == WEFT_IN_PROGRESS;
    }
    if (waiting) return WEFT_IN_PROGRESS;
    for (uint32_t lane = 1; lane < connection->lane_count; lane++) {
        if (answers[lane].granted_bytes != answers[0].granted_bytes)
            return refuse(connection, WEFT_PROTOCOL_ERROR, "says different things of one connection");
    }
    connection->base.remote_bytes = answers[0].granted_bytes;
    if (send(connection->placed[0].fd, &(char){TCP_GO}, 1, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
        return status_of_socket_errno(errno);
    return WEFT_OK;
}

/* Is @p hello of a later attempt than the one at hand? */
static bool attempt_is_later(const struct tcp_connection *connection, const struct tcp_hello *hello)
{
    return !connection->attempt_known || (int32_t)(hello->attempt - connection->attempt) > 0;
}

/* A socket has said what it is: it becomes a lane, or is of an attempt that was given up. */
static weft_status place(struct tcp_connection *connection, struct tcp_greeting *greeting,
                         const struct tcp_hello *hello)
{
    if (attempt_is_later(connection, hello)) {
        placed_close(connection);
        connection->attempt_known = true;
        connection->attempt = hello->attempt;
        connection->lane_count = hello->lanes;
        connection->base.remote_bytes = hello->granted_bytes;
    }
    if (hello->attempt != connection->attempt) {
        greeting_close(greeting);
        return WEFT_OK;
    }
    if (hello->lanes != connection->lane_count || hello->granted_bytes != connection->base.remote_bytes ||
        connection->placed[hello->lane].fd >= 0)
        return refuse(connection, WEFT_PROTOCOL_ERROR, "says different things of one connection");
    connection->placed[hello->lane] = *greeting;
    *greeting = (struct tcp_greeting){.fd = -1};
    return WEFT_OK;
}

static uint32_t greetings_open(const struct tcp_greeting greetings[TCP_MAX_LANES])
{
    uint32_t open = 0;

    for (uint32_t i = 0; i < TCP_MAX_LANES; i++) open += greetings[i].fd >= 0;
    return open;
}

/* Take the sockets that have come, and let them say what they are. */
static weft_status accept_sockets(struct tcp_connection *connection)
{
    for (uint32_t i = 0; i < TCP_MAX_LANES; i++) {
        struct tcp_greeting *greeting = &connection->waiting[i];
        struct tcp_hello hello;
        weft_status status;

        if (greeting->fd < 0) {
            const uint32_t wanted = connection->attempt_known ? connection->lane_count : 1;
            if (greetings_open(connection->placed) + greetings_open(connection->waiting) >= wanted) continue;
            status = reach(connection, greeting);
            if (status == WEFT_IN_PROGRESS) continue;
            if (status) return status;
        }
        status = hello_receive(connection, greeting, &hello);
        if (status == WEFT_OK) status = place(connection, greeting, &hello);
        if (status == WEFT_PEER_FAILED) { /* given up before a word was said */
            greeting_close(greeting);
            status = WEFT_IN_PROGRESS;
        }
        if (status > WEFT_IN_PROGRESS) return status;
    }
    return WEFT_OK;
}

static weft_status await_go(struct tcp_connection *connection)
{
    char go;

    /* One byte and no more, for the same reason as in hello_receive(). */
    const ssize_t received = recv(connection->placed[0].fd, &go, 1, MSG_DONTWAIT);
    if (received < 0) return status_of_socket_errno(errno);
    if (received == 0) return WEFT_PEER_FAILED;
    if (go != TCP_GO) return refuse(connection, WEFT_PROTOCOL_ERROR, "does not say that it is ready");
    return WEFT_OK;
}

static weft_status answer(struct tcp_connection *connection)
{
    for (uint32_t lane = 0; lane < connection->lane_count; lane++) {
        const weft_status status = hello_send(connection, lane);
        if (status) return status;
    }
    return await_go(connection);
}

static weft_status accept_lanes(struct tcp_connection *connection)
{
    weft_status status = accept_sockets(connection);

    if (status) return status;
    if (!connection->attempt_known || greetings_open(connection->placed) < connection->lane_count)
        return WEFT_IN_PROGRESS;
    status = answer(connection);
    if (status != WEFT_PEER_FAILED) return status;
    placed_close(connection); /* this attempt was given up */
    connection->attempt_known = false;
    return WEFT_IN_PROGRESS;
}

/* All sockets are there: make lanes of them. */
static weft_status lanes_open(struct tcp_connection *connection)
{
    connection->lanes = calloc(connection->lane_count, sizeof *connection->lanes);
    if (!connection->lanes) return WEFT_OUT_OF_MEMORY;
    for (uint32_t i = 0; i < connection->lane_count; i++) {
        struct tcp_lane *lane = &connection->lanes[i];
        lane->connection = connection;
        lane->fd = connection->placed[i].fd;
        tcp_refer_open(lane);
        const weft_status status = tcp_lane_watch(lane);
        if (status) {
            while (i-- > 0) tcp_lane_unwatch(&connection->lanes[i]);
            free(connection->lanes);
            connection->lanes = NULL;
            return status;
        }
    }
    for (uint32_t i = 0; i < connection->lane_count; i++) connection->placed[i].fd = -1;
    tcp_greetings_close(connection);
    return WEFT_OK;
}

weft_status tcp_connect_advance(struct connection *base, uint64_t now_ns)
{
    struct tcp_connection *connection = tcp_connection_of(base);
    weft_status status;

    (void)now_ns;
    if (connection->state == TCP_CONNECTED) return WEFT_OK;
    if (connection->state != TCP_CONNECTING) return connection->failure;
    status = dials(connection) ? dial(connection) : accept_lanes(connection);
    if (status == WEFT_OK) status = lanes_open(connection);
    if (status == WEFT_IN_PROGRESS) return status;
    if (status == WEFT_OK) {
        connection->state = TCP_CONNECTED;
        return status;
    }
    tcp_greetings_close(connection); /* which tells the peer */
    connection->failure = status;
    connection->state = TCP_FAILED;
    return status;
}
