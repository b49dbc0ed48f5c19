/* SPDX-License-Identifier: Apache-2.0 */
/* How connections end: by failing, by being asked for quiet, and, for their sockets, after being disconnected. */
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "transport/tcp/tcp_internal.h"

/* When one lane has ended, or sends nothing any more, the others give what they have and follow, unless the path of
 * that one alone is lost: then they are silent for so long. */
#define LANES_END_NS (100 * NS_PER_MS)
/* And at as many polls: a process that was not run for longer has not heard anybody. */
#define LANES_END_LOOKS 4
/* The same for callers whose now_ns stands still. */
#define LANES_END_POLLS 16384

static void quiesced(struct tcp_connection *connection)
{
    if (connection->quiesce != TCP_ASKED) return;
    connection->quiesce = TCP_QUIESCED_DUE;
    tcp_connection_attend(connection);
}

void tcp_connection_fail(struct tcp_connection *connection, weft_status status)
{
    if (connection->state != TCP_CONNECTED) return;
    connection->state = TCP_FAILING;
    connection->failure = status;
    connection->failing_since_ns = tcp_endpoint_of_connection(connection)->now_ns;
    for (uint32_t i = 0; i < connection->lane_count; i++) (void)tcp_lane_drop_output(&connection->lanes[i]);
    /* Only of a peer that is gone anything more is read; else nothing lands any more from here on. */
    if (status != WEFT_PEER_FAILED) quiesced(connection);
    tcp_connection_attend(connection);
}

void tcp_connection_heard(struct tcp_connection *connection)
{
    connection->failing_since_ns = tcp_endpoint_of_connection(connection)->now_ns;
    connection->failing_polls = 0;
}

void tcp_connection_refuse(struct tcp_connection *connection, const char *reason)
{
    log_warning("tcp peer broke the protocol rank %u peer %u reason \"it %s\"", connection->base.endpoint->rank,
                connection->base.peer, reason);
    tcp_connection_fail(connection, WEFT_PROTOCOL_ERROR);
    connection->failure = WEFT_PROTOCOL_ERROR; /* also of one that was failing: it is not read from again */
}

static void check_quiet(struct tcp_connection *connection)
{
    for (uint32_t i = 0; i < connection->lane_count; i++) {
        if (!connection->lanes[i].quiet && !connection->lanes[i].ended) return;
    }
    quiesced(connection);
}

void tcp_lane_end(struct tcp_lane *lane)
{
    struct tcp_connection *connection = lane->connection;

    tcp_lane_unwatch(lane);
    lane->ended = true;
    tcp_connection_fail(connection, WEFT_PEER_FAILED);
    check_quiet(connection);
}

void tcp_lane_quiet(struct tcp_lane *lane)
{
    if (lane->connection->quiesce == TCP_NOT_ASKED) {
        tcp_connection_refuse(lane->connection, "is quiet without having been asked");
        return;
    }
    lane->quiet = true;
    check_quiet(lane->connection);
}

void tcp_connection_stop(struct tcp_connection *connection)
{
    if (connection->state != TCP_CONNECTED) return;
    bool cut[TCP_MAX_LANES];
    for (uint32_t i = 0; i < connection->lane_count; i++) cut[i] = tcp_lane_drop_output(&connection->lanes[i]);
    tcp_connection_fail(connection, WEFT_LINK_DOWN);
    for (uint32_t i = 0; i < connection->lane_count; i++) {
        struct tcp_lane *lane = &connection->lanes[i];
        if (!cut[i]) (void)tcp_lane_send_control(lane, TCP_FRAME_QUIET); /* there is room: the queue is empty */
        if (cut[i])
            (void)shutdown(lane->fd, SHUT_WR); /* the end says the same */
        else
            tcp_lane_flush(lane);
    }
}

weft_status tcp_quiesce(struct connection *base)
{
    struct tcp_connection *connection = tcp_connection_of(base);

    if (!connection->lanes) return WEFT_INVALID_STATE;
    if (connection->quiesce != TCP_NOT_ASKED) return WEFT_OK;
    if (connection->state == TCP_CONNECTED) {
        if (!tcp_lane_send_control(&connection->lanes[0], TCP_FRAME_QUIESCE)) return WEFT_AGAIN;
        connection->quiesce = TCP_ASKED;
        tcp_lane_flush(&connection->lanes[0]);
        return WEFT_OK;
    }
    connection->quiesce = TCP_ASKED;
    if (connection->state == TCP_FAILED || connection->failure != WEFT_PEER_FAILED) quiesced(connection);
    return WEFT_OK;
}

bool tcp_connection_is_over(struct tcp_connection *connection)
{
    const uint64_t now_ns = tcp_endpoint_of_connection(connection)->now_ns;
    uint32_t ended = 0;

    if (connection->failure != WEFT_PEER_FAILED) return true;
    for (uint32_t i = 0; i < connection->lane_count; i++) ended += connection->lanes[i].ended;
    const uint32_t polls = ++connection->failing_polls;
    const bool fresh = now_ns - connection->failing_since_ns < LANES_END_NS || polls <= LANES_END_LOOKS;
    if (ended < connection->lane_count && fresh && polls < LANES_END_POLLS) return false;
    quiesced(connection); /* what has not come by now is not read any more */
    return true;
}

static void closing_remove(struct tcp_endpoint *endpoint, size_t index)
{
    close(endpoint->closing[index].fd);
    endpoint->closing[index] = endpoint->closing[--endpoint->closing_count];
}

void tcp_closing_reap(struct tcp_endpoint *endpoint, uint64_t now_ns)
{
    for (size_t i = endpoint->closing_count; i-- > 0;) {
        if (now_ns >= endpoint->closing[i].give_up_ns || tcp_socket_finished(endpoint->closing[i].fd))
            closing_remove(endpoint, i);
    }
}

/*
 * End a socket so that what the kernel holds of ours still gets there. A plain close() while input is unread, or comes
 * later, sends a reset that discards it; SO_LINGER neither helps against that nor keeps a non-blocking socket from
 * blocking. So the socket stays, ended in our direction, until the peer has acknowledged everything.
 */
void tcp_socket_end(struct tcp_endpoint *endpoint, int fd)
{
    (void)shutdown(fd, SHUT_WR);
    if (!tcp_socket_finished(fd)) {
        const size_t bytes = (endpoint->closing_count + 1) * sizeof *endpoint->closing;
        struct tcp_closing *more = realloc(endpoint->closing, bytes);
        if (more) {
            more[endpoint->closing_count++] = (struct tcp_closing){fd, clock_now_ns() + endpoint->config.linger_ns};
            endpoint->closing = more;
            return;
        }
    }
    close(fd);
}
