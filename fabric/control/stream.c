/* SPDX-License-Identifier: Apache-2.0 */
#include "stream.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

/*
 * Far more than a correct exchange ever has in flight, behind a socket buffer that takes hundreds of messages: whoever
 * leaves so much unread is about to be found silent. Heartbeats and signatures beyond are dropped (whole messages).
 */
enum { UNSENT_BYTES_MAX = 64 << 10, READS_AT_ONCE = 64 };

bool stream_open(struct stream *stream, const struct link *link, engine_ready ready, void *context)
{
    *stream = (struct stream){.link = *link};
    stream->watch = engine_watch_add(link->fd, EPOLLIN, ready, context);
    if (!stream->watch) stream_close(stream);
    return stream->watch != 0;
}

void stream_close(struct stream *stream)
{
    engine_watch_remove(&stream->watch);
    link_close(&stream->link);
    free(stream->unsent);
    stream->unsent = NULL;
    stream->unsent_bytes = stream->unsent_capacity = 0;
}

/* Returns how many of @p size bytes the socket has taken. */
static size_t send_some(struct stream *stream, const uint8_t *bytes, size_t size)
{
    size_t sent = 0;
    while (sent < size) {
        ssize_t now = link_send(&stream->link, bytes + sent, size - sent);
        if (now < 0 && errno == EINTR) continue;
        if (now < 0) {
            /* A broken pipe says nothing yet: why the neighbour has gone may still be waiting to be read. */
            stream->broken = errno != EAGAIN && errno != EWOULDBLOCK && errno != ENOBUFS && errno != ENOMEM;
            break;
        }
        sent += (size_t)now;
    }
    return sent;
}

static void keep_unsent(struct stream *stream, const uint8_t *bytes, size_t size)
{
    size_t needed = stream->unsent_bytes + size;
    if (needed > stream->unsent_capacity) {
        size_t capacity = needed < 4096 ? 4096 : 2 * needed;
        uint8_t *grown = realloc(stream->unsent, capacity);
        if (!grown) {
            stream->broken = true; /* half a message may have gone: nothing can follow it */
            return;
        }
        stream->unsent = grown;
        stream->unsent_capacity = capacity;
    }
    memcpy(stream->unsent + stream->unsent_bytes, bytes, size);
    stream->unsent_bytes = needed;
    engine_watch_change(stream->watch, EPOLLIN | EPOLLOUT);
}

void stream_send(struct stream *stream, const struct message *message)
{
    uint8_t bytes[MESSAGE_BYTES_MAX];
    if (stream->link.fd < 0 || stream->broken) return;
    size_t size = message_encode(message, bytes);
    /* A failure and a goodbye, of which there is one each, are never dropped: nothing else tells what they tell. */
    bool may_drop = message->kind == MESSAGE_HEARTBEAT || message->kind == MESSAGE_SIGNATURE;
    if (may_drop && stream->unsent_bytes + size > UNSENT_BYTES_MAX) return;
    size_t sent = stream->unsent_bytes ? 0 : send_some(stream, bytes, size);
    if (sent < size && !stream->broken) keep_unsent(stream, bytes + sent, size - sent);
}

static void send_unsent(struct stream *stream)
{
    size_t sent = send_some(stream, stream->unsent, stream->unsent_bytes);
    stream->unsent_bytes -= sent;
    memmove(stream->unsent, stream->unsent + sent, stream->unsent_bytes);
    if (stream->broken) stream->unsent_bytes = 0;
    if (stream->unsent_bytes == 0) engine_watch_change(stream->watch, EPOLLIN);
}

/* Take the messages out of what has been received. WEFT_PROTOCOL_ERROR: no use reading on. */
static weft_status take_messages(struct stream *stream, uint32_t rank_count, stream_taker take, void *context,
                                 uint64_t now_ns, struct diagnostic *wrong)
{
    uint32_t taken = 0;
    weft_status status;
    for (;;) {
        struct message message;
        size_t used;
        status = message_decode(stream->received + taken, stream->filled - taken, rank_count, &message, &used, wrong);
        if (status != WEFT_OK) break;
        taken += (uint32_t)used;
        take(context, &message, now_ns);
    }
    stream->filled -= taken;
    memmove(stream->received, stream->received + taken, stream->filled);
    return status;
}

bool stream_advance(struct stream *stream, uint32_t rank_count, stream_taker take, void *context, uint64_t now_ns,
                    struct diagnostic *wrong)
{
    if (stream->unsent_bytes) send_unsent(stream);
    /* What TLS has decrypted and not given out would not wake us again. */
    for (int reads = 0; reads < READS_AT_ONCE || link_pending(&stream->link); reads++) {
        ssize_t got =
            link_receive(&stream->link, stream->received + stream->filled, sizeof stream->received - stream->filled);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return true;
        if (got <= 0) return false;
        stream->filled += (uint32_t)got;
        if (take_messages(stream, rank_count, take, context, now_ns, wrong) == WEFT_PROTOCOL_ERROR) return false;
    }
    return true;
}
