/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Payload that the socket's queue refers to, instead of having a copy of it: by way of a pipe, which is filled with
 * references (vmsplice) and emptied into the socket (splice). Whoever puts such payload leaves it as it is until the
 * peer has it.
 *
 * When that pays depends on where the two processes run. Between cores that share a cache a plain send() is faster: a
 * reference is to 4 KiB, and costs some 0.2 us at both ends. Between cores that do not, the kernel's copy is written
 * into pages that the peer has just read, and each line has to be fetched back from its cache: 2 GB/s instead of 10.
 * So sends are timed, and some in a row that took as long as that make the connection want steady memory. What does not
 * go by loopback has its pages back from a device, and is not timed.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "transport/tcp/tcp_internal.h"

/* As much as any user may have in a pipe. */
#define PIPE_BYTES (1 << 20)
/* Fewer are copied in the time that references take. */
#define REFERRED_BYTES (32u << 10)
/* Measured, ns of a send() for each KiB: 80 to 320 where caches are shared, 340 to 800 where they are not. */
#define SLOW_NS_PER_KIB 400u
/* Whatever interrupts a send makes it slow, so it is slow only so often in a row. */
#define SLOW_SURE 3u

void tcp_refer_open(struct tcp_lane *lane)
{
    const struct tcp_config *config = &tcp_endpoint_of_connection(lane->connection)->config;

    lane->pipe[0] = lane->pipe[1] = -1;
    lane->judged = config->references == TCP_REFER_WHERE_COPIES_ARE_SLOW && tcp_socket_is_local(lane->fd);
    if (config->references == TCP_REFER_ALWAYS) lane->connection->base.steady_bytes = 1;
}

void tcp_refer_close(struct tcp_lane *lane)
{
    if (lane->pipe[0] < 0) return;
    close(lane->pipe[0]);
    close(lane->pipe[1]);
    lane->pipe[0] = lane->pipe[1] = -1;
}

void tcp_refer_judge(struct tcp_lane *lane, size_t bytes, uint64_t taken_ns)
{
    const bool slow = taken_ns * 1024 > bytes * SLOW_NS_PER_KIB;

    lane->slow_sends = slow ? lane->slow_sends + 1 : 0;
    if (lane->slow_sends < SLOW_SURE) return;
    lane->slow_sends = 0;
    lane->connection->base.steady_bytes = REFERRED_BYTES;
}

/* Copies it is, then, and for good: what was in the pipe is copied too. */
static void give_up(struct tcp_lane *lane)
{
    tcp_refer_close(lane);
    lane->piped_bytes = 0;
    lane->judged = false;
    lane->connection->base.steady_bytes = 0;
}

bool tcp_refer_serves(struct tcp_lane *lane)
{
    if (lane->pipe[0] >= 0) return true;
    if (lane->connection->base.steady_bytes == 0) return false;
    if (pipe2(lane->pipe, O_NONBLOCK | O_CLOEXEC) == 0 && fcntl(lane->pipe[1], F_SETPIPE_SZ, PIPE_BYTES) > 0)
        return true;
    /* No descriptor, or no room of this user's for pipes. */
    give_up(lane);
    return false;
}

/* splice() knows no MSG_NOSIGNAL, and may raise the signal after it has moved a part. */
static ssize_t splice_silently(int from, int to, size_t bytes, unsigned flags)
{
    sigset_t broken, before;

    sigemptyset(&broken);
    sigaddset(&broken, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &broken, &before);
    const ssize_t moved = splice(from, NULL, to, NULL, bytes, flags);
    const int error = errno;
    if (moved < (ssize_t)bytes && !sigismember(&before, SIGPIPE))
        (void)sigtimedwait(&broken, NULL, &(struct timespec){0});
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    errno = error;
    return moved;
}

ssize_t tcp_refer_send(struct tcp_lane *lane, const uint8_t *source, size_t bytes, bool more)
{
    if (lane->piped_bytes == 0) {
        const struct iovec part = {(void *)(uintptr_t)source, bytes};
        const ssize_t piped = vmsplice(lane->pipe[1], &part, 1, SPLICE_F_NONBLOCK);
        if (piped <= 0) { /* a sandbox may forbid it */
            give_up(lane);
            errno = EFAULT;
            return -1;
        }
        lane->piped_bytes = (size_t)piped;
    }
    more |= lane->piped_bytes < bytes;
    const ssize_t moved =
        splice_silently(lane->pipe[0], lane->fd, lane->piped_bytes, SPLICE_F_NONBLOCK | (more ? SPLICE_F_MORE : 0));
    if (moved < 0 && (errno == EPERM || errno == ENOSYS || errno == EINVAL)) {
        give_up(lane);
        errno = EFAULT;
    }
    if (moved > 0) lane->piped_bytes -= (size_t)moved;
    return moved;
}
