/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every transport offers: put with notification, into memory the receiver has granted.
 *
 * An endpoint is one rank's end of one transport; a connection joins it to one peer, both ways. At connection each side
 * grants the other one region of its own memory; afterwards either side may put bytes there and notify.
 *
 * Rules that every backend keeps, and transport/core/conformance.h tests:
 *  - A notification is delivered after the bytes of its put, and of every earlier put of the same path, are visible.
 *  - Order holds within a path (path_hint) only. Each accepted put with PUT_NOTIFY gives exactly one EVENT_ARRIVED.
 *  - put() may accept fewer than it is offered, never part of one; EVENT_WRITABLE says when to offer the rest.
 *  - A put that does not fit the granted region is refused with nothing written.
 *  - Once a connection has failed, EVENT_FAILED is delivered exactly once for it, put() accepts nothing more, and
 *    polling goes on working for the others.
 *  - After EVENT_QUIESCED no byte of that peer lands any more.
 *  - After connect_advance() returned WEFT_OK nothing blocks or allocates until disconnect().
 *  - What a peer writes or says is never trusted: a bad notification fails the connection with WEFT_PROTOCOL_ERROR.
 *
 * Threads: one at a time per endpoint.
 */
#ifndef TRANSPORT_TRANSPORT_H
#define TRANSPORT_TRANSPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <weft/types.h>

/*
 * How an endpoint reaches a peer before the transport itself can: a connected, authenticated, non-blocking stream
 * socket (Unix domain where both share a host). Both sides ask; who dials and who accepts is not the transport's
 * business. WEFT_IN_PROGRESS: ask again. WEFT_OK: *fd is the caller's to close.
 */
struct rendezvous {
    weft_status (*reach)(void *context, uint32_t peer, int *fd);
    void *context;
};

enum put_flags {
    PUT_NOTIFY = 1,     /* the peer gets EVENT_ARRIVED with the tag */
    PUT_LOCAL_DONE = 2, /* this side gets EVENT_LOCAL_DONE with the tag once `source` may be changed again */
};

struct put {
    const void *source;     /* `bytes` bytes; may be NULL when bytes is 0 */
    uint64_t remote_offset; /* into the region the peer granted */
    uint32_t bytes;
    uint32_t tag;           /* carried to the events, all 32 bits of it */
    uint16_t path_hint;     /* equal hints keep order */
    uint16_t flags;
};

enum event_kind {
    EVENT_ARRIVED,    /* peer, tag */
    EVENT_LOCAL_DONE, /* peer, tag */
    EVENT_WRITABLE,   /* peer: put() accepts again after having refused */
    EVENT_QUIESCED,   /* peer */
    EVENT_PATH_DOWN,  /* peer, path: the transport goes on without it */
    EVENT_FAILED,     /* peer, status: the connection is dead */
};

struct event {
    uint8_t kind;
    uint8_t path;
    uint16_t status; /* weft_status of EVENT_FAILED */
    uint32_t peer, tag;
};

struct endpoint;
struct connection;

enum transport_capabilities {
    TRANSPORT_MAPS = 1, /* connection_map() gives a pointer into the peer's granted region */
};

struct transport_ops {
    const char *name;
    uint32_t capabilities;
    void (*endpoint_destroy)(struct endpoint *);
    weft_status (*connect)(struct endpoint *, uint32_t peer, size_t granted_bytes, struct connection **);
    weft_status (*connect_advance)(struct connection *, uint64_t now_ns);
    void (*disconnect)(struct connection *);
    void *(*map)(struct connection *);
    size_t (*put)(struct connection *, const struct put *, size_t count);
    weft_status (*quiesce)(struct connection *);
    size_t (*poll)(struct endpoint *, struct event *, size_t max, uint64_t now_ns);
    weft_status (*arm)(struct endpoint *, int *fd);
};

/* Every backend's endpoint and connection begin with these. */
struct endpoint {
    const struct transport_ops *ops;
    uint32_t rank, rank_count;
};
struct connection {
    struct endpoint *endpoint;
    uint32_t peer;
    uint8_t *granted;     /* this side's region, zeroed at the start, which the peer writes; owned by the connection */
    size_t granted_bytes;
    size_t remote_bytes;  /* size of the peer's region, once connected */
};

/*
 * Begin to connect to @p peer (not oneself; once per pair at a time), granting it a fresh region of @p granted_bytes.
 * Errors: WEFT_INVALID_ARGUMENT, WEFT_OUT_OF_MEMORY, WEFT_RESOURCE_LIMIT.
 */
static inline weft_status endpoint_connect(struct endpoint *endpoint, uint32_t peer, size_t granted_bytes,
                                           struct connection **connection)
{
    return endpoint->ops->connect(endpoint, peer, granted_bytes, connection);
}

/* Bounded work. WEFT_IN_PROGRESS until both sides are ready; WEFT_PEER_FAILED, WEFT_PROTOCOL_ERROR, ... end it. */
static inline weft_status connection_advance(struct connection *connection, uint64_t now_ns)
{
    return connection->endpoint->ops->connect_advance(connection, now_ns);
}

/* Ends a connection in any state. Its undelivered events are dropped. The peer gets EVENT_FAILED. */
static inline void connection_disconnect(struct connection *connection)
{
    connection->endpoint->ops->disconnect(connection);
}

/* The peer's granted region in this process's memory, or NULL: then only put() reaches it. Stores before put() count as its bytes. */
static inline void *connection_map(struct connection *connection)
{
    return connection->endpoint->ops->map(connection);
}

/* Offer @p count puts in order; returns how many were accepted. */
static inline size_t connection_put(struct connection *connection, const struct put *puts, size_t count)
{
    return connection->endpoint->ops->put(connection, puts, count);
}

/* Ask that no byte of this peer land any more; EVENT_QUIESCED follows. WEFT_UNSUPPORTED where a backend cannot. */
static inline weft_status connection_quiesce(struct connection *connection)
{
    return connection->endpoint->ops->quiesce(connection);
}

/* Bounded work on all connected connections; returns the number of events written, at most @p max. */
static inline size_t endpoint_poll(struct endpoint *endpoint, struct event *events, size_t max, uint64_t now_ns)
{
    return endpoint->ops->poll(endpoint, events, max, now_ns);
}

/*
 * Prepare to sleep: *fd becomes readable at the next event. WEFT_AGAIN: poll first, something has come already.
 * The next endpoint_poll() disarms. The descriptor belongs to the endpoint.
 */
static inline weft_status endpoint_arm(struct endpoint *endpoint, int *fd)
{
    return endpoint->ops->arm(endpoint, fd);
}

/* All connections must have been disconnected. NULL is allowed. */
static inline void endpoint_destroy(struct endpoint *endpoint)
{
    if (endpoint) endpoint->ops->endpoint_destroy(endpoint);
}

/* For the ops a backend has no use for: reject, never pretend. */
void *transport_map_none(struct connection *connection);
weft_status transport_quiesce_unsupported(struct connection *connection);
weft_status transport_arm_unsupported(struct endpoint *endpoint, int *fd);

/* Is [offset, offset + bytes) inside the peer's region? Overflow-safe. */
bool transport_put_fits(const struct connection *connection, const struct put *put);
#endif
