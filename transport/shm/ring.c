/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The data path: put, poll and arm. On the way of a put that finds room and a poll that finds a notification there is
 * no system call, lock or allocation.
 */
#include <string.h>

#include "base/clock.h"
#include "base/fence.h"
#include "base/log.h"
#include "transport/shm/shm_internal.h"

/* How often poll looks at the sockets while nobody sleeps: what it costs is spread thin, and a death is noticed soon.
 */
#define WATCH_INTERVAL_NS NS_PER_MS
/* The same for callers whose now_ns stands still. */
#define WATCH_INTERVAL_POLLS 16384

/* Progress is told to the peer in steps, so that its line is not taken from it for each notification. */
#define PUBLISH_STEP (SHM_RING_ENTRIES / 4)

/* The entry that notification @p index (from 0) makes, without its tag. */
static uint32_t sequence_of(uint64_t index)
{
    return (uint32_t)(index + 1); /* never the 0 of a fresh ring, while that is what the ring may hold */
}

/* Pairs with notification_load() in the peer. */
static void notification_store(struct shm_connection *connection, uint32_t tag)
{
    const uint64_t entry = (uint64_t)sequence_of(connection->stored) << 32 | tag;

    atomic_store_explicit(&connection->remote->ring[connection->stored % SHM_RING_ENTRIES], entry,
                          SHM_NOTIFICATION_STORE);
    connection->stored++;
}

/* Pairs with notification_store() in the peer. */
static uint64_t notification_load(const struct shm_connection *connection)
{
    return atomic_load_explicit(&connection->own->ring[connection->taken % SHM_RING_ENTRIES], SHM_NOTIFICATION_LOAD);
}

static bool ring_has_room(struct shm_connection *connection)
{
    if (connection->stored - connection->consumed < SHM_RING_ENTRIES) return true;

    /* Acquire, with progress_publish() in the peer: it has read the entries that will be overwritten. */
    const uint64_t consumed = atomic_load_explicit(&connection->remote->consumed, memory_order_acquire);
    if (consumed < connection->consumed || consumed > connection->stored) {
        log_warning("shm peer broke the protocol rank %u peer %u consumed %llu of %llu",
                    connection->base.endpoint->rank, connection->base.peer, (unsigned long long)consumed,
                    (unsigned long long)connection->stored);
        shm_connection_fail(connection, WEFT_PROTOCOL_ERROR);
        return false;
    }
    connection->consumed = consumed;
    return connection->stored - consumed < SHM_RING_ENTRIES;
}

static bool done_has_room(const struct shm_connection *connection)
{
    return connection->done_tail - connection->done_head < SHM_RING_ENTRIES;
}

static bool put_one(struct shm_connection *connection, const struct put *put)
{
    if (!transport_put_fits(&connection->base, put)) return false;
    if (((put->flags & PUT_NOTIFY) && !ring_has_room(connection)) ||
        ((put->flags & PUT_LOCAL_DONE) && !done_has_room(connection))) {
        connection->refused = true;
        connection->attention = true;
        return false;
    }
    if (put->bytes) memcpy(shm_segment_region(connection->remote) + put->remote_offset, put->source, put->bytes);
    if (put->flags & PUT_NOTIFY) notification_store(connection, put->tag);
    if (put->flags & PUT_LOCAL_DONE) {
        connection->done_tags[connection->done_tail++ % SHM_RING_ENTRIES] = put->tag;
        connection->attention = true;
    }
    return true;
}

size_t shm_put(struct connection *base, const struct put *puts, size_t count)
{
    struct shm_connection *connection = shm_connection_of(base);
    const uint64_t stored = connection->stored;
    size_t accepted = 0;

    if (connection->state != SHM_CONNECTED || connection->quiesce != SHM_NOT_ASKED) return 0;
    while (accepted < count && put_one(connection, &puts[accepted])) accepted++;
    if (connection->stored != stored) shm_peer_wake(connection); /* one fence for all */
    return accepted;
}

static struct event event_make(const struct shm_connection *connection, enum event_kind kind, uint32_t tag)
{
    return (struct event){.kind = (uint8_t)kind, .peer = connection->base.peer, .tag = tag};
}

/* Pairs with ring_has_room() in the peer, which may be asleep until there is some. */
static void progress_publish(struct shm_connection *connection)
{
    connection->published = connection->taken;
    atomic_store_explicit(&connection->own->consumed, connection->taken, memory_order_release);
    shm_peer_wake(connection);
}

/* Is @p entry what stood in the place of notification `taken` before it came? */
static bool entry_is_old(const struct shm_connection *connection, uint64_t entry)
{
    if (connection->taken < SHM_RING_ENTRIES) return entry == 0;
    return entry >> 32 == sequence_of(connection->taken - SHM_RING_ENTRIES);
}

static size_t poll_ring(struct shm_connection *connection, struct event *events, size_t max)
{
    size_t count = 0;

    while (count < max) {
        const uint64_t entry = notification_load(connection);
        if (entry >> 32 != sequence_of(connection->taken)) {
            if (!entry_is_old(connection, entry)) {
                log_warning("shm peer broke the protocol rank %u peer %u notification %llu entry %016llx",
                            connection->base.endpoint->rank, connection->base.peer,
                            (unsigned long long)connection->taken, (unsigned long long)entry);
                shm_connection_fail(connection, WEFT_PROTOCOL_ERROR);
            }
            break;
        }
        events[count++] = event_make(connection, EVENT_ARRIVED, (uint32_t)entry);
        connection->taken++;
        if (connection->taken - connection->published == PUBLISH_STEP) progress_publish(connection);
    }
    return count;
}

/* EVENT_WRITABLE can be told. */
static bool room_again(struct shm_connection *connection)
{
    return connection->refused && connection->state == SHM_CONNECTED && ring_has_room(connection) &&
           done_has_room(connection);
}

/* What is rare: all that is not a notification from a healthy peer. */
static size_t poll_attention(struct shm_connection *connection, struct event *events, size_t max)
{
    size_t count = 0;

    while (count < max && connection->done_head != connection->done_tail) {
        const uint32_t tag = connection->done_tags[connection->done_head++ % SHM_RING_ENTRIES];
        events[count++] = event_make(connection, EVENT_LOCAL_DONE, tag);
    }
    if (count < max && room_again(connection)) {
        connection->refused = false;
        events[count++] = event_make(connection, EVENT_WRITABLE, 0);
    }
    if (count < max && connection->quiesce == SHM_QUIESCED_DUE) {
        connection->quiesce = SHM_QUIESCED;
        events[count++] = event_make(connection, EVENT_QUIESCED, 0);
    }
    if (count < max && connection->state == SHM_FAILING) {
        connection->state = SHM_FAILED;
        events[count] = event_make(connection, EVENT_FAILED, 0);
        events[count++].status = (uint16_t)connection->failure;
        /* The next poll, before which our user has seen the event, is to pay a SHM_QUIET that is owed. */
        shm_endpoint_of(connection->base.endpoint)->polls_unwatched = WATCH_INTERVAL_POLLS;
    }
    /* After a failure the ring is not read any more; that too is seen to by coming here. */
    connection->attention = connection->done_head != connection->done_tail || connection->refused ||
                            connection->quiesce == SHM_QUIESCED_DUE || connection->state != SHM_CONNECTED;
    return count;
}

static size_t poll_connection(struct shm_connection *connection, struct event *events, size_t max)
{
    size_t count = 0;

    /* What arrived before a peer's end comes before EVENT_FAILED; a ring that broke the protocol is not read again. */
    if (connection->state == SHM_CONNECTED ||
        (connection->state == SHM_FAILING && connection->failure != WEFT_PROTOCOL_ERROR)) {
        count = poll_ring(connection, events, max);
        if (count == max) return count;
    }
    if (connection->attention) count += poll_attention(connection, events + count, max - count);
    return count;
}

static void disarm(struct shm_endpoint *endpoint)
{
    for (uint32_t i = 0; i < endpoint->polled_count; i++)
        atomic_store_explicit(&endpoint->polled[i]->own->sleeping, 0, memory_order_relaxed);
    endpoint->armed = false;
}

/* Before anything is polled: what a peer stored before its end is then found in its ring before EVENT_FAILED is told.
 */
static void watch_now_and_then(struct shm_endpoint *endpoint, uint64_t now_ns)
{
    if (!endpoint->armed && now_ns - endpoint->watched_at_ns < WATCH_INTERVAL_NS &&
        ++endpoint->polls_unwatched < WATCH_INTERVAL_POLLS)
        return;
    if (endpoint->armed) disarm(endpoint);
    endpoint->watched_at_ns = now_ns;
    endpoint->polls_unwatched = 0;
    for (uint32_t i = 0; i < endpoint->polled_count; i++) {
        struct shm_connection *connection = endpoint->polled[i];
        if (connection->stop_asked && connection->state == SHM_FAILED) shm_quiet_send(connection);
    }
    shm_shares_sync(endpoint);
    shm_watch(endpoint);
}

size_t shm_poll(struct endpoint *base, struct event *events, size_t max, uint64_t now_ns)
{
    struct shm_endpoint *endpoint = shm_endpoint_of(base);
    const uint32_t polled_count = endpoint->polled_count;
    size_t count = 0;

    watch_now_and_then(endpoint, now_ns);
    /* Where the last poll stopped for want of room this one begins, so that no peer can keep out the others. */
    for (uint32_t i = 0; i < polled_count && count < max; i++) {
        if (endpoint->polled_next >= polled_count) endpoint->polled_next = 0;
        count += poll_connection(endpoint->polled[endpoint->polled_next++], events + count, max - count);
    }
    return count;
}

/* Would poll give an event of this connection? */
static bool connection_is_due(struct shm_connection *connection)
{
    if (connection->done_head != connection->done_tail || connection->quiesce == SHM_QUIESCED_DUE ||
        connection->state == SHM_FAILING)
        return true;
    if (connection->state != SHM_CONNECTED) return connection->stop_asked;
    return !entry_is_old(connection, notification_load(connection)) || room_again(connection) ||
           connection->state == SHM_FAILING; /* which room_again() may have found */
}

weft_status shm_arm(struct endpoint *base, int *fd)
{
    struct shm_endpoint *endpoint = shm_endpoint_of(base);

    for (uint32_t i = 0; i < endpoint->polled_count; i++)
        atomic_store_explicit(&endpoint->polled[i]->own->sleeping, 1, memory_order_relaxed);
    endpoint->armed = true;
    fence_full(); /* pairs with the one in shm_peer_wake() */
    for (uint32_t i = 0; i < endpoint->polled_count; i++) {
        if (connection_is_due(endpoint->polled[i])) {
            disarm(endpoint);
            return WEFT_AGAIN;
        }
    }
    *fd = endpoint->epoll;
    return WEFT_OK;
}
