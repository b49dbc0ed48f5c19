/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "bench/tcp/floor.h"

/* What is received at a time: what has come is still in cache when it is added. */
enum { RECEIVE_BYTES = 256 << 10, PIPE_BYTES = 1 << 20 };

const struct way ways[] = {
    {.name = "whole", .what = "one send() of everything, received where it belongs"},
    {.name = "paced", .what = "the same, under the system's own congestion control", .paced = true},
    {.name = "slices", .what = "sends of two full packets each", .piece_bytes = (128 << 10) - 112},
    {.name = "staged", .what = "received into 1 MiB of staging, and copied", .staged = true},
    {.name = "referred", .what = "vmsplice() and splice(): not copied by the sender", .refers = true},
    {.name = "io_uring", .what = "send and receive submitted together", .rings = true},
};
const size_t way_count = sizeof ways / sizeof ways[0];

bool lane_open(struct lane *lane)
{
    if (lane->way->rings) return (lane->ring = uring_open());
    if (ioctl(lane->fd, FIONBIO, &(int){1}) < 0) return false;
    if (!lane->way->refers) return true;
    return pipe2(lane->pipe, O_NONBLOCK | O_CLOEXEC) == 0 && fcntl(lane->pipe[1], F_SETPIPE_SZ, PIPE_BYTES) > 0;
}

static ssize_t refer(struct lane *lane, const uint8_t *at, size_t bytes)
{
    if (!lane->piped_bytes) {
        const struct iovec part = {(void *)(uintptr_t)at, bytes};
        const ssize_t piped = vmsplice(lane->pipe[1], &part, 1, SPLICE_F_NONBLOCK);
        if (piped <= 0) die("vmsplice");
        lane->piped_bytes = (size_t)piped;
    }
    const unsigned more = lane->piped_bytes < bytes ? SPLICE_F_MORE : 0;
    const ssize_t moved = splice(lane->pipe[0], NULL, lane->fd, NULL, lane->piped_bytes, SPLICE_F_NONBLOCK | more);
    if (moved > 0) lane->piped_bytes -= (size_t)moved;
    return moved;
}

static size_t send_some(struct lane *lane, const struct job *job, size_t sent_bytes)
{
    size_t bytes = job->out_bytes - sent_bytes;
    if (lane->way->piece_bytes && bytes > lane->way->piece_bytes) bytes = lane->way->piece_bytes;
    const ssize_t sent = lane->way->refers
                             ? refer(lane, job->source + sent_bytes, bytes)
                             : send(lane->fd, job->source + sent_bytes, bytes, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) die("send");
    return sent > 0 ? (size_t)sent : 0;
}

static bool passes_staging(const struct lane *lane, const struct job *job)
{
    return job->adds || lane->way->staged;
}

/* Where the next bytes are to be received, and how many at most. */
static uint8_t *place(const struct lane *lane, const struct job *job, size_t received_bytes, size_t *bytes)
{
    const size_t left = job->in_bytes - received_bytes, at = received_bytes % STAGING_BYTES;
    *bytes = left < RECEIVE_BYTES ? left : RECEIVE_BYTES;
    if (!passes_staging(lane, job)) return job->target + received_bytes;
    if (*bytes > STAGING_BYTES - at) *bytes = STAGING_BYTES - at;
    return lane->staging + at;
}

/* A compiler that is told to be cheap makes no vectors of a plain loop. */
static void add(uint8_t *target, const uint8_t *left, const uint8_t *right, size_t bytes)
{
    typedef float vector __attribute__((vector_size(32), aligned(4), may_alias));
    typedef float single __attribute__((may_alias));
    size_t at = 0;
    for (; at + sizeof(vector) <= bytes; at += sizeof(vector))
        *(vector *)(target + at) = *(const vector *)(left + at) + *(const vector *)(right + at);
    for (; at < bytes; at += sizeof(single))
        *(single *)(target + at) = *(const single *)(left + at) + *(const single *)(right + at);
}

/* @p to bytes are there, of which @p from have been used: whole floats. Returns how many have been now. */
static size_t use(const struct lane *lane, const struct job *job, size_t from, size_t to)
{
    to -= to % sizeof(float);
    if (!passes_staging(lane, job) || to <= from) return to;
    for (size_t bytes; from < to; from += bytes) {
        const size_t at = from % STAGING_BYTES;
        bytes = to - from < STAGING_BYTES - at ? to - from : STAGING_BYTES - at;
        if (job->adds)
            add(job->target + from, job->source + from, lane->staging + at, bytes);
        else
            memcpy(job->target + from, lane->staging + at, bytes);
    }
    return to;
}

static void run_by_calls(struct lane *lane, const struct job *job)
{
    size_t sent_bytes = 0, received_bytes = 0, used_bytes = 0;
    while (sent_bytes < job->out_bytes || received_bytes < job->in_bytes) {
        if (sent_bytes < job->out_bytes) sent_bytes += send_some(lane, job, sent_bytes);
        if (received_bytes == job->in_bytes) continue;
        size_t bytes;
        uint8_t *to = place(lane, job, received_bytes, &bytes);
        const ssize_t received = recv(lane->fd, to, bytes, MSG_DONTWAIT);
        if (received == 0 || (received < 0 && errno != EAGAIN)) die("recv");
        if (received < 0) continue;
        received_bytes += (size_t)received;
        used_bytes = use(lane, job, used_bytes, received_bytes);
    }
}

static void run_by_ring(struct lane *lane, const struct job *job)
{
    size_t sent_bytes = 0, received_bytes = 0, used_bytes = 0;
    bool sends = false, receives = false;
    while (sent_bytes < job->out_bytes || received_bytes < job->in_bytes) {
        if (!sends && sent_bytes < job->out_bytes)
            uring_begin(lane->ring, true, lane->fd, (void *)(uintptr_t)(job->source + sent_bytes),
                        job->out_bytes - sent_bytes);
        sends = sent_bytes < job->out_bytes;
        if (!receives && received_bytes < job->in_bytes) {
            size_t bytes;
            uint8_t *to = place(lane, job, received_bytes, &bytes);
            uring_begin(lane->ring, false, lane->fd, to, bytes);
        }
        receives = received_bytes < job->in_bytes;
        bool is_send;
        int result;
        if (!uring_poll(lane->ring, &is_send, &result)) continue;
        if (result <= 0) die(is_send ? "io_uring's send" : "io_uring's receive");
        if (is_send) {
            sends = false;
            sent_bytes += (size_t)result;
            continue;
        }
        receives = false;
        received_bytes += (size_t)result;
        used_bytes = use(lane, job, used_bytes, received_bytes);
    }
}

void lane_run(struct lane *lane, const struct job *job)
{
    if (lane->way->rings)
        run_by_ring(lane, job);
    else
        run_by_calls(lane, job);
}
