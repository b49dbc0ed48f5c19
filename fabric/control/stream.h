/* SPDX-License-Identifier: Apache-2.0 */
/* Messages to and from one other rank over a link, with what the link does not take yet. With the engine's lock. */
#ifndef FABRIC_CONTROL_STREAM_H
#define FABRIC_CONTROL_STREAM_H

#include "engine.h"
#include "message.h"

struct stream {
    struct link link; /* fd -1: closed */
    engine_watch watch;
    bool broken; /* writing has failed; what can still be read comes first, then its end */
    uint32_t filled;
    uint8_t received[MESSAGE_BYTES_MAX];
    uint8_t *unsent; /* whole messages behind the first, of which a part may have gone */
    size_t unsent_bytes, unsent_capacity;
};

/* Takes @p link over; @p ready is called when there is something to read or room to write. False: out of memory or
 * descriptors; the link is closed. */
bool stream_open(struct stream *stream, const struct link *link, engine_ready ready, void *context);
void stream_close(struct stream *stream);
void stream_send(struct stream *stream, const struct message *message);

/*
 * Send what is unsent, then give all messages that have come to @p take, which must not close the stream. False, with
 * *wrong where something was, when the stream is at its end.
 */
typedef void (*stream_taker)(void *context, const struct message *message, uint64_t now_ns);
bool stream_advance(struct stream *stream, uint32_t rank_count, stream_taker take, void *context, uint64_t now_ns,
                    struct diagnostic *wrong);
#endif
