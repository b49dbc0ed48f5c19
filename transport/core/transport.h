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
 *  - put() may accept fewer than it is offered, never part of one; one EVENT_WRITABLE says when to offer the rest. It
 * may be told early: then put() refuses again.
 *  - A put that does not fit the granted region is refused with nothing written. That is the caller's mistake, so no
 *    EVENT_WRITABLE follows.
 *  - Once a connection has failed, EVENT_FAILED is delivered exactly once for it, after everything that had arrived
 *    before; put() accepts nothing more, and polling goes on working for the others.
 *  - After EVENT_QUIESCED no byte of that peer lands any more.
 *  - A busy peer does not keep out the events of the others.
 *  - After connect_advance() returned WEFT_OK nothing blocks or allocates until disconnect().
 *  - What a peer writes or says is never trusted: a bad notification fails the connection with WEFT_PROTOCOL_ERROR.
 *
 * Threads: one at a time per endpoint.
 */
#ifndef TRANSPORT_TRANSPORT_H
#define TRANSPORT_TRANSPORT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <weft/types.h>

#include "base/diagnostic.h"

/*
 * How an endpoint reaches a peer before the transport itself can: a connected, authenticated, non-blocking stream
 * socket (Unix domain where both share a host). Both sides ask, as often as they need sockets; the lower rank dials,
 * and the other gets what was dialled, in any order. WEFT_IN_PROGRESS: ask again. WEFT_OK: *fd is the caller's to
 * close.
 */
struct rendezvous {
    weft_status (*reach)(void *context, uint32_t peer, int *fd);
    void *context;
};

enum put_flags {
    PUT_NOTIFY = 1,     /* the peer gets EVENT_ARRIVED with the tag */
    PUT_LOCAL_DONE = 2, /* this side gets EVENT_LOCAL_DONE with the tag once `source` may be changed again */
    PUT_MORE = 4,       /* may wait for the next poll(), to leave together with what is put until then */
    PUT_LAZY = 8,       /* may wait for longer: for anything else on its path, arm(), or polls that find nothing */
    PUT_STEADY = 16,    /* `source` stays as it is until the peer has answered that it has taken these bytes, or until
                           the connection is disconnected: they need not be copied. EVENT_LOCAL_DONE does not say that
                           they have arrived. */
};

struct put {
    const void *source;     /* `bytes` bytes; may be NULL when bytes is 0 */
    uint64_t remote_offset; /* into the region the peer granted */
    uint32_t bytes;
    uint32_t tag;       /* carried to the events, all 32 bits of it */
    uint16_t path_hint; /* equal hints keep order */
    uint16_t flags;
};

enum event_kind {
    EVENT_ARRIVED,    /* peer, tag */
    EVENT_LANDED,     /* peer, tag: arrived, with its bytes where connection.land has said */
    EVENT_LOCAL_DONE, /* peer, tag */
    EVENT_WRITABLE,   /* peer: put() accepts again after having refused */
    EVENT_QUIESCED,   /* peer */
    EVENT_PATH_DOWN,  /* peer, path: the transport goes on without it */
    EVENT_FAILED,     /* peer, status: the connection is dead. WEFT_PEER_FAILED (the peer is gone or has disconnected),
                         WEFT_PROTOCOL_ERROR, WEFT_LINK_DOWN (also: the peer has asked for quiet) */
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
    TRANSPORT_MAPS = 1,  /* connection_map() gives a pointer into the peer's granted region */
    TRANSPORT_LENDS = 2, /* connection_lend() may succeed: peers can get at each other's own buffers */
};

/*
 * Says to a peer where a buffer of this process lies. Travels as data: what it says is checked by whoever uses it, and
 * the worst that a wrong one can do is to fail.
 */
struct loan {
    uint64_t address; /* the lender's */
    uint64_t share;   /* number of the shared memory that it lies in, from 1; 0: the lender's own memory */
};

struct transport_ops {
    const char *name;
    uint32_t capabilities;
    void (*endpoint_destroy)(struct endpoint *);
    weft_status (*connect)(struct endpoint *, uint32_t peer, size_t granted_bytes, struct connection **);
    weft_status (*connect_advance)(struct connection *, uint64_t now_ns);
    void (*disconnect)(struct connection *);
    void *(*map)(struct connection *);
    void (*wake)(struct connection *); /* NULL where no connection says that its peer sleeps */
    bool (*lend)(struct connection *, const void *address, size_t bytes, struct loan *loan);
    void *(*borrow)(struct connection *, const struct loan *loan, size_t bytes);
    weft_status (*read)(struct connection *, const struct loan *loan, uint64_t offset, void *to, size_t bytes);
    weft_status (*write)(struct connection *, const struct loan *loan, uint64_t offset, const void *from, size_t bytes);
    size_t (*put)(struct connection *, const struct put *, size_t count);
    void (*recall)(struct connection *); /* NULL where nothing asks connection.land */
    weft_status (*quiesce)(struct connection *);
    size_t (*poll)(struct endpoint *, struct event *, size_t max, uint64_t now_ns);
    weft_status (*arm)(struct endpoint *, int *fd);
    weft_status (*memory_register)(struct endpoint *, void *address, size_t bytes, void **registration,
                                   struct diagnostic *);
    void (*memory_deregister)(struct endpoint *, void *registration);
    weft_status (*memory_share)(struct endpoint *, void *address, size_t bytes, int descriptor, uint64_t offset,
                                void **share, struct diagnostic *);
    void (*memory_unshare)(struct endpoint *, void *share);
};

/* Every backend's endpoint and connection begin with these. */
struct endpoint {
    const struct transport_ops *ops;
    uint32_t rank, rank_count;
};
struct connection {
    struct endpoint *endpoint; /* whose ops these are: a router's connections are those of its routes */
    uint32_t peer;
    uint8_t *granted; /* this side's region, zeroed at the start, which the peer writes; owned by the connection */
    size_t granted_bytes;
    size_t remote_bytes; /* size of the peer's region, once connected */
    /*
     * Puts of so many bytes and more had better be PUT_STEADY, from memory written past the caches, because what the
     * transport copies it copies slowly; 0: none. Set by the transport, and set to 0 by its user too, who may find out
     * that copies must be quick again.
     */
    uint32_t steady_bytes;
    /*
     * Where the bytes of a put are to go instead of the granted region: all of them, and EVENT_LANDED follows; or NULL.
     * Set by the user, who may leave it NULL; transports that cannot do it, or not for that put, do not ask. Asked in
     * poll(), of puts with PUT_NOTIFY that fit the region, before anything of them is stored. What a put says is the
     * peer's word, and it may never come to its end.
     */
    void *(*land)(void *context, const struct put *put); /* remote_offset, bytes and tag are set */
    void *land_context;
    /* In the peer's memory, once connected: not 0 while it is asleep and has to be woken. NULL: never. */
    const _Atomic uint32_t *sleeping;
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

/*
 * Bounded work. WEFT_IN_PROGRESS until both sides are ready; then WEFT_OK, from when on events of it are polled.
 * WEFT_PEER_FAILED, WEFT_PEER_REFUSED, WEFT_PROTOCOL_ERROR, ... end it: no event tells of it, and it goes on answering
 * the same until it is disconnected.
 */
static inline weft_status connection_advance(struct connection *connection, uint64_t now_ns)
{
    return connection->endpoint->ops->connect_advance(connection, now_ns);
}

/*
 * Ends a connection in any state; the same pair may connect again. Its undelivered events are dropped, and what was put
 * and is not known to have arrived may be lost: agree with the peer before. The peer gets EVENT_FAILED with
 * WEFT_PEER_FAILED. The granted region and the peer's map are gone afterwards.
 */
static inline void connection_disconnect(struct connection *connection)
{
    connection->endpoint->ops->disconnect(connection);
}

/*
 * The peer's granted region in this process's memory, or NULL: then only put() reaches it. Stores before put() count as
 * its bytes; non-temporal ones need a store fence of their own first. The peer may write the same memory at any time,
 * so what is read from it is as good as what a peer says. Not to be used any more after EVENT_FAILED.
 */
static inline void *connection_map(struct connection *connection)
{
    return connection->endpoint->ops->map(connection);
}

/*
 * The peer may be asleep until something comes that was stored through connection_map() without a put: wake it. To be
 * called after the store and a fence_full(), one for however many connections; the peer, for its part, looks at that
 * memory between endpoint_arm() and going to sleep.
 */
static inline void connection_wake(struct connection *connection)
{
    if (connection->sleeping && atomic_load_explicit(connection->sleeping, memory_order_relaxed))
        connection->endpoint->ops->wake(connection);
}

/*
 * Let the peer get at @p bytes of this process's memory, with *loan for it to find them by. False: it could not, and
 * nothing is lent. For memory that is in no share the answer is the same as long as the connection works. For memory in
 * one it may become better: to hear of a share the peer needs room in its socket, and until there is some, the memory
 * is lent as any other, or not at all. A loan has no end of its own: when lender and borrower have agreed that the
 * borrower is done, it is over; so it is when the connection fails. A system call the first time a peer is lent
 * something of a share; afterwards none, nor a lock, nor an allocation.
 */
static inline bool connection_lend(struct connection *connection, const void *address, size_t bytes, struct loan *loan)
{
    return connection->endpoint->ops->lend(connection, address, bytes, loan);
}

/*
 * Where the peer's bytes lie in this process's memory, to load from and store to; NULL: out of reach of both (and
 * only connection_read() and connection_write() can get at them), or the loan is not one. Good until the lender takes
 * the memory out of its share; not to be used any more after EVENT_FAILED. What is read is as good as what the peer
 * says. No system call but for the first loan of a share.
 */
static inline void *connection_borrow(struct connection *connection, const struct loan *loan, size_t bytes)
{
    return connection->endpoint->ops->borrow(connection, loan, bytes);
}

/*
 * Copy from, or to, what the peer has lent, from @p offset of the loan on: one copy, by the kernel where
 * connection_borrow() would give NULL. Blocks for no longer than that takes. On an error part of the bytes may have
 * been copied. WEFT_UNSUPPORTED (out of reach), WEFT_PEER_FAILED, WEFT_PROTOCOL_ERROR (no such memory there), and what
 * a connection has failed with.
 */
static inline weft_status connection_read(struct connection *connection, const struct loan *loan, uint64_t offset,
                                          void *to, size_t bytes)
{
    return connection->endpoint->ops->read(connection, loan, offset, to, bytes);
}
static inline weft_status connection_write(struct connection *connection, const struct loan *loan, uint64_t offset,
                                           const void *from, size_t bytes)
{
    return connection->endpoint->ops->write(connection, loan, offset, from, bytes);
}

/* Offer @p count puts in order; returns how many were accepted. Several at once cost less than one at a time. */
static inline size_t connection_put(struct connection *connection, const struct put *puts, size_t count)
{
    return connection->endpoint->ops->put(connection, puts, count);
}

/*
 * Nothing more goes to where connection.land has said until now: what is on its way there ends in the granted region,
 * with all that has come of it, and with EVENT_ARRIVED.
 */
static inline void connection_recall(struct connection *connection)
{
    if (connection->endpoint->ops->recall) connection->endpoint->ops->recall(connection);
}

/*
 * Ask that no byte of this peer land any more; EVENT_QUIESCED follows, once the peer has polled and thereby learned of
 * it, or is gone. It is the end of the connection for both: put() accepts nothing more, the peer gets EVENT_FAILED with
 * WEFT_LINK_DOWN, and disconnecting is what remains. Asking twice is asking once.
 * Errors: WEFT_UNSUPPORTED (a backend that cannot), WEFT_INVALID_STATE (not connected), WEFT_AGAIN (ask later).
 */
static inline weft_status connection_quiesce(struct connection *connection)
{
    return connection->endpoint->ops->quiesce(connection);
}

/*
 * Bounded work on all connected connections; returns the number of events written, at most @p max. @p now_ns (any
 * monotonic clock) paces what need not be looked at each time, such as whether a peer is still there: within some
 * milliseconds of it, or of some ten thousand polls where it stands still.
 */
static inline size_t endpoint_poll(struct endpoint *endpoint, struct event *events, size_t max, uint64_t now_ns)
{
    return endpoint->ops->poll(endpoint, events, max, now_ns);
}

/*
 * Prepare to sleep: *fd becomes readable at the next event, a peer's end included. WEFT_AGAIN: poll first, something
 * has come already. Waking up for nothing is possible. The next endpoint_poll() disarms. The descriptor belongs to the
 * endpoint and stays the same. WEFT_UNSUPPORTED: sleep for short times and poll.
 */
static inline weft_status endpoint_arm(struct endpoint *endpoint, int *fd)
{
    return endpoint->ops->arm(endpoint, fd);
}

/*
 * Make the endpoint's devices able to read @p bytes at @p address, so that puts from there need no copy. May block, and
 * allocates; the memory has to stay until endpoint_memory_deregister(), and that until the puts from it are complete.
 * Puts find the registration through what the backend was given at creation. Thread: any, beside the endpoint's own.
 * Errors: WEFT_UNSUPPORTED (nothing to gain: sources need no registration), WEFT_OUT_OF_MEMORY, WEFT_RESOURCE_LIMIT
 * (such as locked memory), WEFT_INVALID_ARGUMENT (no memory there), WEFT_SYSTEM_ERROR.
 */
static inline weft_status endpoint_memory_register(struct endpoint *endpoint, void *address, size_t bytes,
                                                   void **registration, struct diagnostic *diagnostic)
{
    return endpoint->ops->memory_register(endpoint, address, bytes, registration, diagnostic);
}
static inline void endpoint_memory_deregister(struct endpoint *endpoint, void *registration)
{
    endpoint->ops->memory_deregister(endpoint, registration);
}

/*
 * Tell of memory that a file backs and peers on this host can therefore map: @p bytes at @p address are mapped there
 * from @p offset of @p descriptor on, which is duplicated. Until endpoint_memory_unshare(), before which all loans of
 * it have to be over; peers unmap it when they next look, so its pages may live on for that long. Thread: any, beside
 * the endpoint's own. Errors: WEFT_UNSUPPORTED (nothing to gain; peers could not map it safely: a file that may shrink;
 * overlaps what is shared, or there is too much of that), WEFT_OUT_OF_MEMORY, WEFT_RESOURCE_LIMIT (descriptors).
 */
static inline weft_status endpoint_memory_share(struct endpoint *endpoint, void *address, size_t bytes, int descriptor,
                                                uint64_t offset, void **share, struct diagnostic *diagnostic)
{
    return endpoint->ops->memory_share(endpoint, address, bytes, descriptor, offset, share, diagnostic);
}
static inline void endpoint_memory_unshare(struct endpoint *endpoint, void *share)
{
    endpoint->ops->memory_unshare(endpoint, share);
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
weft_status transport_memory_register_unsupported(struct endpoint *endpoint, void *address, size_t bytes,
                                                  void **registration, struct diagnostic *diagnostic);
void transport_memory_deregister_none(struct endpoint *endpoint, void *registration);
bool transport_lend_none(struct connection *connection, const void *address, size_t bytes, struct loan *loan);
void *transport_borrow_none(struct connection *connection, const struct loan *loan, size_t bytes);
weft_status transport_read_unsupported(struct connection *connection, const struct loan *loan, uint64_t offset,
                                       void *to, size_t bytes);
weft_status transport_write_unsupported(struct connection *connection, const struct loan *loan, uint64_t offset,
                                        const void *from, size_t bytes);
weft_status transport_memory_share_unsupported(struct endpoint *endpoint, void *address, size_t bytes, int descriptor,
                                               uint64_t offset, void **share, struct diagnostic *diagnostic);
void transport_memory_unshare_none(struct endpoint *endpoint, void *share);
/* The slots of a backend that lends nothing. */
#define TRANSPORT_LENDS_NOTHING                                                                                        \
    .lend = transport_lend_none, .borrow = transport_borrow_none, .read = transport_read_unsupported,                  \
    .write = transport_write_unsupported, .memory_share = transport_memory_share_unsupported,                          \
    .memory_unshare = transport_memory_unshare_none

/* Is [offset, offset + bytes) inside the peer's region? Overflow-safe. */
bool transport_put_fits(const struct connection *connection, const struct put *put);
#endif
