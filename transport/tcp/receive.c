/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The receiving half of a lane. Nothing is written to the granted region before its header has been found to stay
 * within it.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "transport/tcp/tcp_internal.h"

/* After so much of one lane the others get their turn, and the user the slices that are complete, still in cache. */
#define TURN_BYTES (256u << 10)

static bool lane_reads(const struct tcp_lane *lane)
{
    const struct tcp_connection *connection = lane->connection;

    return !lane->ended && (connection->state == TCP_CONNECTED ||
                            (connection->state == TCP_FAILING && connection->failure == WEFT_PEER_FAILED));
}

static uint8_t *payload_rest(const struct tcp_lane *lane)
{
    return lane->connection->base.granted + lane->frame.offset + lane->frame_received;
}

/* Begin the frame whose header is next in the input. */
static void frame_begin(struct tcp_lane *lane)
{
    struct tcp_connection *connection = lane->connection;
    const char *reason;

    if (tcp_frame_decode(lane->input + lane->input_begin, connection->base.granted_bytes, &lane->frame, &reason)) {
        tcp_connection_refuse(connection, reason);
        return;
    }
    lane->input_begin += TCP_FRAME_BYTES;
    if (lane->quiet) {
        tcp_connection_refuse(connection, "goes on after having said that it would not");
    } else if (lane->frame.kind == TCP_FRAME_QUIESCE) {
        tcp_connection_stop(connection);
    } else if (lane->frame.kind == TCP_FRAME_QUIET) {
        tcp_lane_quiet(lane);
    } else {
        lane->in_frame = true;
        lane->frame_received = 0;
    }
}

/* Move what the input holds of the payload to its place. */
static void payload_take(struct tcp_lane *lane)
{
    const uint32_t available = lane->input_end - lane->input_begin;
    const uint32_t missing = lane->frame.bytes - lane->frame_received;
    const uint32_t bytes = available < missing ? available : missing;

    if (bytes == 0) return;
    memcpy(payload_rest(lane), lane->input + lane->input_begin, bytes);
    lane->input_begin += bytes;
    lane->frame_received += bytes;
}

/* Go through the input; what is left of it is less than a header, or has no room among the events. */
static size_t input_parse(struct tcp_lane *lane, struct event *events, size_t max)
{
    size_t count = 0;

    while (lane_reads(lane)) {
        if (lane->in_frame) {
            payload_take(lane);
            if (lane->frame_received < lane->frame.bytes) break;
            if (lane->frame.flags & TCP_FRAME_NOTIFY) {
                if (count == max) break;
                events[count++] = tcp_event(lane->connection, EVENT_ARRIVED, lane->frame.tag);
            }
            lane->in_frame = false;
        }
        if (lane->input_end - lane->input_begin < TCP_FRAME_BYTES) break;
        frame_begin(lane);
    }
    return count;
}

/* Read once: the rest of a payload to its place, and what follows it to the input. Returns the number of bytes. */
static size_t lane_read(struct tcp_lane *lane)
{
    struct iovec parts[2];
    struct msghdr message = {.msg_iov = parts};
    size_t wanted = 0;

    const uint32_t left = lane->input_end - lane->input_begin; /* less than a header */
    if (left && lane->input_begin) memmove(lane->input, lane->input + lane->input_begin, left);
    lane->input_begin = 0;
    lane->input_end = left;

    size_t missing = lane->in_frame ? lane->frame.bytes - lane->frame_received : 0;
    if (missing > TURN_BYTES) missing = TURN_BYTES;
    if (missing) parts[message.msg_iovlen++] = (struct iovec){payload_rest(lane), wanted = missing};
    if (missing < TURN_BYTES) {
        parts[message.msg_iovlen++] = (struct iovec){lane->input + left, TCP_INPUT_BYTES - left};
        wanted += TCP_INPUT_BYTES - left;
    }
    const ssize_t received = message.msg_iovlen == 1 ? recv(lane->fd, parts[0].iov_base, parts[0].iov_len, MSG_DONTWAIT)
                                                     : recvmsg(lane->fd, &message, MSG_DONTWAIT);
    if (received < 0 && errno == EAGAIN) {
        lane->drained = true;
        return 0;
    }
    if (received < 0 && (errno == EINTR || errno == ENOMEM || errno == ENOBUFS))
        return TURN_BYTES; /* try again later */
    if (received <= 0) {
        tcp_lane_end(lane);
        return 0;
    }
    const size_t placed = (size_t)received < missing ? (size_t)received : missing;
    lane->frame_received += (uint32_t)placed;
    lane->input_end += (uint32_t)((size_t)received - placed);
    /* After an end has been announced nothing will announce it again: read on until it is found. */
    lane->drained = (size_t)received < wanted && !lane->hung_up;
    return (size_t)received;
}

size_t tcp_lane_receive(struct tcp_lane *lane, struct event *events, size_t max)
{
    size_t count = 0, read_bytes = 0;

    for (;;) {
        count += input_parse(lane, events + count, max - count);
        if (!lane_reads(lane)) {
            tcp_lane_set_ready(lane, false);
            break;
        }
        if (count == max || read_bytes >= TURN_BYTES) break; /* and stay among the ready */
        if (lane->drained) {
            tcp_lane_set_ready(lane, false);
            break;
        }
        read_bytes += lane_read(lane);
    }
    return count;
}
