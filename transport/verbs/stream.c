/* SPDX-License-Identifier: Apache-2.0 */
/* The stream between the two processes: frames, and the end of the peer. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "transport/verbs/verbs_internal.h"

static void set(int fd, int level, int option, int value)
{
    (void)setsockopt(fd, level, option, &value, sizeof value);
}

/* The stream is idle, and read as often as its end is polled: so both kinds of silence are its host's. */
static void watch_silence(int fd, uint64_t keepalive_ns)
{
    enum { PROBES = 3, MOST_S = 32767 };
    uint64_t interval_s = keepalive_ns / NS_PER_S / (PROBES + 1);

    if (interval_s < 1) interval_s = 1;
    if (interval_s > MOST_S) interval_s = MOST_S;
    set(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    set(fd, IPPROTO_TCP, TCP_KEEPIDLE, (int)interval_s);
    set(fd, IPPROTO_TCP, TCP_KEEPINTVL, (int)interval_s);
    set(fd, IPPROTO_TCP, TCP_KEEPCNT, PROBES);
    set(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, (int)(keepalive_ns / NS_PER_MS));
}

weft_status verbs_stream_open(struct verbs_connection *connection, int fd)
{
    struct verbs_endpoint *endpoint = verbs_endpoint_of_connection(connection);
    struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP, .data.ptr = connection};
    int domain;
    socklen_t size = sizeof domain;

    if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) == 0 && domain != AF_UNIX) {
        set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
        if (endpoint->config.keepalive_ns) watch_silence(fd, endpoint->config.keepalive_ns);
    }
    if (epoll_ctl(endpoint->epoll, EPOLL_CTL_ADD, fd, &event) < 0) {
        const weft_status status = verbs_status_of_errno(errno);
        close(fd);
        return status;
    }
    connection->stream.fd = fd;
    connection->stream.ended = false;
    connection->stream.filled = connection->stream.unsent = 0;
    return WEFT_OK;
}

static void stream_end(struct verbs_connection *connection)
{
    struct verbs_endpoint *endpoint = verbs_endpoint_of_connection(connection);

    if (connection->stream.fd < 0 || connection->stream.ended) return;
    /* Its end would make the endpoint's descriptor readable for ever; and a forked child may have a copy. */
    (void)epoll_ctl(endpoint->epoll, EPOLL_CTL_DEL, connection->stream.fd, NULL);
    connection->stream.ended = true;
    verbs_connection_attend(connection);
}

void verbs_stream_close(struct verbs_connection *connection)
{
    if (connection->stream.fd < 0) return;
    stream_end(connection);
    (void)shutdown(connection->stream.fd, SHUT_RDWR); /* for the peer, also where a forked child has a copy */
    close(connection->stream.fd);
    connection->stream.fd = -1;
}

static void send_unsent(struct verbs_connection *connection)
{
    struct verbs_stream *stream = &connection->stream;

    while (stream->unsent > 0 && !stream->ended) {
        const ssize_t sent = send(stream->fd, stream->output, stream->unsent, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) continue;
        if (sent < 0) return; /* if it is the end, reading says so, after what is still to be read */
        stream->unsent -= (uint32_t)sent;
        memmove(stream->output, stream->output + sent, stream->unsent);
    }
}

bool verbs_stream_send(struct verbs_connection *connection, const uint8_t *frame, size_t bytes)
{
    struct verbs_stream *stream = &connection->stream;

    if (stream->fd < 0 || stream->ended || stream->unsent + bytes > STREAM_OUTPUT_BYTES) return false;
    memcpy(stream->output + stream->unsent, frame, bytes);
    stream->unsent += (uint32_t)bytes;
    send_unsent(connection);
    return true;
}

/* False: it makes no sense to read on. */
static bool frames_take(struct verbs_connection *connection)
{
    struct verbs_stream *stream = &connection->stream;
    const char *reason = "breaks the protocol";
    uint32_t taken = 0;
    weft_status status;

    for (;;) {
        enum wire_frame_kind kind;
        size_t bytes;
        status = wire_frame_decode(stream->input + taken, stream->filled - taken, &kind, &bytes, &reason);
        if (status == WEFT_OK) status = verbs_frame_take(connection, kind, stream->input + taken, bytes, &reason);
        if (status != WEFT_OK) break;
        taken += (uint32_t)bytes;
    }
    stream->filled -= taken;
    memmove(stream->input, stream->input + taken, stream->filled);
    if (status == WEFT_IN_PROGRESS) return true;
    verbs_connection_refuse(connection, status, reason);
    return false;
}

void verbs_stream_advance(struct verbs_connection *connection)
{
    struct verbs_stream *stream = &connection->stream;

    if (stream->fd < 0 || stream->ended) return;
    send_unsent(connection);
    for (;;) {
        const ssize_t got =
            recv(stream->fd, stream->input + stream->filled, sizeof stream->input - stream->filled, MSG_DONTWAIT);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0 && (errno == EAGAIN || errno == ENOMEM || errno == ENOBUFS)) return;
        if (got <= 0) break;
        stream->filled += (uint32_t)got;
        if (!frames_take(connection)) break;
    }
    stream_end(connection);
}
