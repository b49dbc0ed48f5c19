/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sending half of a lane. What is accepted goes into a queue, and from there, as many frames in one system call as
 * there are, into the kernel. A frame that the kernel takes in part stays at the head of the queue.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "base/clock.h"
#include "transport/tcp/tcp_internal.h"

/* Entries that puts leave free for control frames. */
#define CONTROL_ENTRIES 2u

/* What one system call takes. Headers and small payloads are copied side by side: that costs less than a part each. */
struct gather {
    size_t total_bytes;
    uint32_t part_count, copied_bytes;
    bool refers; /* the last frame's payload follows by reference, and nothing goes before that */
    struct iovec parts[64];
    uint8_t copies[4096];
};
enum { MOST_PARTS = 64, MOST_COPIED_BYTES = 4096, COPIED_PAYLOAD_BYTES = 512 };

/* Beyond this a call has enough to do. */
#define ENOUGH_BYTES (1u << 20)

/*
 * What may wait is sent without waiting once there is so much of it. Slices one by one would each end in a packet of
 * its own that is nearly empty, and costs as much as a full one.
 */
#define WORTH_BYTES (256u << 10)

static void gather_copy(struct gather *gather, const uint8_t *from, size_t bytes)
{
    uint8_t *to = gather->copies + gather->copied_bytes;
    struct iovec *last = gather->part_count ? &gather->parts[gather->part_count - 1] : NULL;

    memcpy(to, from, bytes);
    if (last && (uint8_t *)last->iov_base + last->iov_len == to)
        last->iov_len += bytes;
    else
        gather->parts[gather->part_count++] = (struct iovec){to, bytes};
    gather->copied_bytes += (uint32_t)bytes;
    gather->total_bytes += bytes;
}

/* Add what is left of @p output after its first @p skip bytes. False: no room for it. */
static bool gather_output(struct gather *gather, const struct tcp_output *output, uint64_t skip)
{
    if (gather->part_count + 2 > MOST_PARTS || gather->total_bytes >= ENOUGH_BYTES ||
        gather->copied_bytes + TCP_FRAME_BYTES + COPIED_PAYLOAD_BYTES > MOST_COPIED_BYTES)
        return false;
    if (skip < TCP_FRAME_BYTES) {
        uint8_t wire[TCP_FRAME_BYTES];
        tcp_frame_encode(&output->frame, wire);
        gather_copy(gather, wire + skip, TCP_FRAME_BYTES - skip);
        skip = TCP_FRAME_BYTES;
    }
    if (output->steady) {
        gather->refers = true;
        return true;
    }
    const size_t rest_bytes = output->frame.bytes - (size_t)(skip - TCP_FRAME_BYTES);
    if (rest_bytes == 0) return true;
    const uint8_t *rest = output->source + (skip - TCP_FRAME_BYTES);
    if (rest_bytes <= COPIED_PAYLOAD_BYTES) {
        gather_copy(gather, rest, rest_bytes);
    } else {
        gather->parts[gather->part_count++] = (struct iovec){(void *)(uintptr_t)rest, rest_bytes};
        gather->total_bytes += rest_bytes;
    }
    return true;
}

/* @p bytes more have gone. */
static void output_advance(struct tcp_lane *lane, size_t bytes)
{
    struct tcp_connection *connection = lane->connection;

    lane->head_sent += bytes;
    lane->queued_bytes -= bytes;
    while (lane->head != lane->tail) {
        const struct tcp_output *output = &lane->queue[lane->head % TCP_QUEUE_ENTRIES];
        const uint64_t frame_bytes = TCP_FRAME_BYTES + (uint64_t)output->frame.bytes;
        if (lane->head_sent < frame_bytes) break;
        lane->head_sent -= frame_bytes;
        lane->head++;
        if (output->local_done) {
            connection->done_tags[connection->done_tail++ % TCP_DONE_ENTRIES] = output->frame.tag;
            tcp_connection_attend(connection);
        }
    }
}

/* The payload at the head, by reference. */
static ssize_t refer_some(struct tcp_lane *lane, bool *more)
{
    struct tcp_output *output = &lane->queue[lane->head % TCP_QUEUE_ENTRIES];
    const size_t at = (size_t)(lane->head_sent - TCP_FRAME_BYTES), rest_bytes = output->frame.bytes - at;
    const bool last = lane->head + 1 == lane->tail;
    const ssize_t sent = tcp_refer_send(lane, output->source + at, rest_bytes, !last);

    if (sent < 0 && errno == EFAULT) {
        output->steady = false;
        errno = EINTR;
        return -1;
    }
    lane->blocked = sent >= 0 && lane->piped_bytes > 0;
    *more = sent >= 0 && !lane->blocked && (!last || (size_t)sent < rest_bytes);
    return sent;
}

/* What the kernel took of everything that fits into one call, or -1. @p more: it has to be called again. */
static ssize_t send_some(struct tcp_lane *lane, bool *more)
{
    struct gather gather;
    uint32_t at = lane->head;

    if (lane->head_sent >= TCP_FRAME_BYTES && lane->queue[lane->head % TCP_QUEUE_ENTRIES].steady)
        return refer_some(lane, more);
    gather.total_bytes = gather.part_count = gather.copied_bytes = 0;
    gather.refers = false;
    while (at != lane->tail && !gather.refers &&
           gather_output(&gather, &lane->queue[at % TCP_QUEUE_ENTRIES], at == lane->head ? lane->head_sent : 0))
        at++;
    const struct msghdr message = {.msg_iov = gather.parts, .msg_iovlen = gather.part_count};
    const int flags = MSG_DONTWAIT | MSG_NOSIGNAL | (gather.refers ? MSG_MORE : 0);
    const bool judged = lane->judged && gather.total_bytes >= TCP_JUDGED_BYTES;
    const uint64_t begun_ns = judged ? clock_now_ns() : 0;
    const ssize_t sent = gather.part_count == 1
                             ? send(lane->fd, gather.parts[0].iov_base, gather.parts[0].iov_len, flags)
                             : sendmsg(lane->fd, &message, flags);
    if (judged && sent >= (ssize_t)TCP_JUDGED_BYTES) tcp_refer_judge(lane, (size_t)sent, clock_now_ns() - begun_ns);
    *more = sent == (ssize_t)gather.total_bytes && (at != lane->tail || gather.refers);
    lane->blocked = sent >= 0 && sent < (ssize_t)gather.total_bytes;
    return sent;
}

void tcp_lane_flush(struct tcp_lane *lane)
{
    bool more = lane->head != lane->tail;

    lane->lazy = false; /* of a frame that the kernel takes in part the rest is urgent */
    while (more) {
        const ssize_t sent = send_some(lane, &more);
        if (sent >= 0) {
            lane->unanswered = 0; /* it took the acknowledgement along */
            output_advance(lane, (size_t)sent);
        } else if (errno == EINTR) {
            more = true;
        } else if (errno == EAGAIN || errno == ENOBUFS || errno == ENOMEM) {
            lane->blocked = errno == EAGAIN; /* of the others no event tells the end */
        } else {
            /* What the peer sent before it left is still to be read, and after it the end. */
            (void)tcp_lane_drop_output(lane);
            tcp_connection_fail(lane->connection, WEFT_PEER_FAILED);
            return;
        }
    }
    tcp_lane_set_sending(lane, lane->head != lane->tail);
    if (lane->refused) tcp_connection_check_room(lane->connection);
}

static bool queue_has_room(const struct tcp_lane *lane)
{
    return lane->tail - lane->head < TCP_QUEUE_ENTRIES - CONTROL_ENTRIES;
}

static bool done_has_room(const struct tcp_connection *connection)
{
    return connection->done_reserved < TCP_DONE_ENTRIES;
}

void tcp_connection_check_room(struct tcp_connection *connection)
{
    if (connection->state != TCP_CONNECTED || !done_has_room(connection)) return;
    for (uint32_t i = 0; i < connection->lane_count; i++) {
        struct tcp_lane *lane = &connection->lanes[i];
        if (!lane->refused || !queue_has_room(lane)) continue;
        lane->refused = false;
        connection->writable = true;
        tcp_connection_attend(connection);
    }
}

static void enqueue(struct tcp_lane *lane, const struct tcp_output *output, bool lazy)
{
    lane->lazy = lazy && (lane->lazy || lane->head == lane->tail);
    lane->queue[lane->tail++ % TCP_QUEUE_ENTRIES] = *output;
    lane->queued_bytes += TCP_FRAME_BYTES + (uint64_t)output->frame.bytes;
}

bool tcp_lane_send_control(struct tcp_lane *lane, enum tcp_frame_kind kind)
{
    if (lane->tail - lane->head == TCP_QUEUE_ENTRIES) return false;
    enqueue(lane, &(struct tcp_output){.frame = {.kind = (uint8_t)kind}}, false);
    return true;
}

bool tcp_lane_drop_output(struct tcp_lane *lane)
{
    const bool cut = lane->head != lane->tail && lane->head_sent > 0;

    lane->head = lane->tail;
    lane->head_sent = lane->queued_bytes = 0;
    tcp_lane_set_sending(lane, false);
    return cut;
}

static bool put_one(struct tcp_connection *connection, struct tcp_lane *lane, const struct put *put)
{
    const bool local_done = put->flags & PUT_LOCAL_DONE;

    if (!transport_put_fits(&connection->base, put)) return false;
    if (!queue_has_room(lane) || (local_done && !done_has_room(connection))) {
        lane->refused = true;
        return false;
    }
    connection->done_reserved += local_done;
    const struct tcp_output output = {.frame = {.kind = TCP_FRAME_PUT,
                                                .flags = put->flags & PUT_NOTIFY ? TCP_FRAME_NOTIFY : 0,
                                                .bytes = put->bytes,
                                                .tag = put->tag,
                                                .offset = put->remote_offset},
                                      .source = put->source,
                                      .local_done = local_done,
                                      .steady = put->flags & PUT_STEADY && put->bytes > COPIED_PAYLOAD_BYTES &&
                                                tcp_refer_serves(lane)};
    enqueue(lane, &output, put->flags & PUT_LAZY);
    return true;
}

size_t tcp_put(struct connection *base, const struct put *puts, size_t count)
{
    struct tcp_connection *connection = tcp_connection_of(base);
    uint32_t touched = 0, urgent = 0;
    size_t accepted = 0;

    if (connection->state != TCP_CONNECTED || connection->quiesce != TCP_NOT_ASKED) return 0;
    while (accepted < count) {
        const uint32_t lane = puts[accepted].path_hint % connection->lane_count;
        if (!put_one(connection, &connection->lanes[lane], &puts[accepted])) break;
        touched |= UINT32_C(1) << lane;
        if (!(puts[accepted].flags & (PUT_MORE | PUT_LAZY))) urgent |= UINT32_C(1) << lane;
        accepted++;
    }
    for (; touched; touched &= touched - 1) {
        struct tcp_lane *lane = &connection->lanes[__builtin_ctz(touched)];
        const bool worth = (urgent & touched & -touched) || lane->queued_bytes >= WORTH_BYTES;
        if (worth && !lane->blocked)
            tcp_lane_flush(lane);
        else
            tcp_lane_set_sending(lane, true); /* poll() will */
    }
    return accepted;
}
