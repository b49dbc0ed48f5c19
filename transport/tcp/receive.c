/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The receiving half of a lane. Nothing is written to the granted region before its header has been found to stay
 * within it. Large payloads may have a better place, which the connection's user knows: then the kernel's copy is the
 * only one.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "transport/tcp/tcp_internal.h"

/* After so much of one lane the others get their turn, and the user the slices that are complete, still in cache. */
#define TURN_BYTES (256u << 10)

/* What is looked at before it is taken; with more than LEFT_BYTES of that a second look costs more than it saves. */
#define LOOK_BYTES 2304u
#define LEFT_BYTES 512u

/* Smaller payloads are copied from the input buffer, wherever they go, and are still in cache when they are used. */
#define LANDING_BYTES 2048u

static bool lane_reads(const struct tcp_lane *lane)
{
    const struct tcp_connection *connection = lane->connection;

    return !lane->ended && (connection->state == TCP_CONNECTED ||
                            (connection->state == TCP_FAILING && connection->failure == WEFT_PEER_FAILED));
}

static uint8_t *payload_rest(const struct tcp_lane *lane)
{
    return lane->destination + lane->frame_received;
}

/* Where the payload of the frame goes that has just begun. */
static void destination_choose(struct tcp_lane *lane)
{
    const struct connection *connection = &lane->connection->base;
    const struct tcp_frame *frame = &lane->frame;
    const struct put put = {.remote_offset = frame->offset, .bytes = frame->bytes, .tag = frame->tag};
    uint8_t *place = NULL;

    if (connection->land && frame->bytes >= LANDING_BYTES && frame->flags & TCP_FRAME_NOTIFY)
        place = connection->land(connection->land_context, &put);
    lane->lands = place;
    lane->destination = place ? place : connection->granted + frame->offset;
}

void tcp_recall(struct connection *base)
{
    struct tcp_connection *connection = tcp_connection_of(base);

    for (uint32_t i = 0; connection->lanes && i < connection->lane_count; i++) {
        struct tcp_lane *lane = &connection->lanes[i];
        if (!lane->in_frame || !lane->lands) continue;
        memcpy(base->granted + lane->frame.offset, lane->destination, lane->frame_received);
        lane->destination = base->granted + lane->frame.offset;
        lane->lands = false;
    }
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
        destination_choose(lane);
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
                events[count++] =
                    tcp_event(lane->connection, lane->lands ? EVENT_LANDED : EVENT_ARRIVED, lane->frame.tag);
            }
            lane->in_frame = false;
        }
        if (lane->input_end - lane->input_begin < TCP_FRAME_BYTES) break;
        frame_begin(lane);
    }
    return count;
}

/* What is not parsed yet, less than a header, goes to the front. */
static void input_compact(struct tcp_lane *lane)
{
    const uint32_t rest = lane->input_end - lane->input_begin;

    if (rest && lane->input_begin) memmove(lane->input, lane->input + lane->input_begin, rest);
    lane->input_begin = 0;
    lane->input_end = rest;
}

/* After a read that brought no bytes. Returns what lane_read() does. */
static size_t read_failed(struct tcp_lane *lane, ssize_t received)
{
    if (received < 0 && errno == EAGAIN) {
        lane->drained = true;
        return 0;
    }
    if (received < 0 && (errno == EINTR || errno == ENOMEM || errno == ENOBUFS))
        return TURN_BYTES; /* try again later */
    tcp_lane_end(lane);
    return 0;
}

/*
 * Is what comes next better left in the kernel's hands, and only looked at? Who takes a second small message after the
 * last one that it sent makes the kernel acknowledge both, before the call returns: that is a packet, and so 1 to 2 us,
 * between a message and whoever waits for it. It happens when the socket has been emptied, so it is not; when something
 * has been sent, which takes the acknowledgement along, the bytes are taken with those that follow them. Of large
 * messages no acknowledgement can be avoided.
 */
static bool lane_leaves(const struct tcp_lane *lane)
{
    const struct tcp_endpoint *endpoint = tcp_endpoint_of_connection(lane->connection);

    if (lane->unanswered == 0 || lane->in_frame || lane->hung_up) return false;
    return lane->left_bytes == 0 || (lane->left_bytes < LEFT_BYTES && endpoint->fruitless_polls < TCP_LAZY_POLLS);
}

/* Look at what the kernel has, beginning with what has been left there. Returns the number of new bytes. */
static size_t lane_look(struct tcp_lane *lane)
{
    if (lane->left_bytes == 0) input_compact(lane);
    const uint32_t begin = lane->input_end - lane->left_bytes;
    const ssize_t received = recv(lane->fd, lane->input + begin, LOOK_BYTES, MSG_DONTWAIT | MSG_PEEK);
    if (received <= 0) return read_failed(lane, received);
    const size_t fresh = (size_t)received - lane->left_bytes;
    lane->left_bytes = (uint32_t)received;
    lane->input_end = begin + (uint32_t)received;
    lane->unanswered += fresh > 0;
    lane->drained = (size_t)received < LOOK_BYTES;
    return fresh;
}

/*
 * Read once: what has been left, to where it was, the rest of a payload to its place, and what follows it to the input.
 * Returns the number of new bytes.
 */
static size_t lane_read(struct tcp_lane *lane)
{
    struct iovec parts[3];
    struct msghdr message = {.msg_iov = parts};
    size_t wanted = 0, missing = 0;

    if (lane->left_bytes == 0) input_compact(lane);
    if (lane->in_frame) {
        /* Of a payload whose beginning was left all comes again: it has gone to its place for nothing. */
        const uint32_t again = lane->left_bytes ? lane->frame_received : 0;
        lane->frame_received -= again;
        lane->left_bytes -= again;
        lane->input_begin = lane->input_end -= again;
        missing = lane->frame.bytes - lane->frame_received;
        if (missing > TURN_BYTES) missing = TURN_BYTES;
    }
    uint8_t *const left = lane->input + lane->input_end - lane->left_bytes;
    const size_t left_bytes = lane->left_bytes;
    if (missing && left_bytes) parts[message.msg_iovlen++] = (struct iovec){left, wanted = left_bytes};
    if (missing) parts[message.msg_iovlen++] = (struct iovec){payload_rest(lane), missing};
    wanted += missing;
    if (missing < TURN_BYTES) {
        uint8_t *const rest = missing ? lane->input + lane->input_end : left;
        const size_t rest_bytes = (size_t)(lane->input + TCP_INPUT_BYTES - rest);
        parts[message.msg_iovlen++] = (struct iovec){rest, rest_bytes};
        wanted += rest_bytes;
    }
    const ssize_t received = message.msg_iovlen == 1 ? recv(lane->fd, parts[0].iov_base, parts[0].iov_len, MSG_DONTWAIT)
                                                     : recvmsg(lane->fd, &message, MSG_DONTWAIT);
    if (received <= 0) return read_failed(lane, received);
    if ((size_t)received < left_bytes) { /* never seen; whatever interrupts a read */
        lane->left_bytes -= (uint32_t)received;
        return 0;
    }
    const size_t fresh = (size_t)received - left_bytes, placed = fresh < missing ? fresh : missing;
    lane->left_bytes = 0;
    lane->frame_received += (uint32_t)placed;
    lane->input_end += (uint32_t)(fresh - placed);
    lane->unanswered += fresh > 0;
    /* After an end has been announced nothing will announce it again: read on until it is found. */
    lane->drained = (size_t)received < wanted && !lane->hung_up;
    return fresh;
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
        read_bytes += lane_leaves(lane) ? lane_look(lane) : lane_read(lane);
    }
    if (lane->connection->state == TCP_FAILING && (count || read_bytes)) tcp_connection_heard(lane->connection);
    return count;
}
