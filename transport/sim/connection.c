/* SPDX-License-Identifier: Apache-2.0 */
/* One end of a simulated connection: what its user does, and what happens to it. */
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "transport/sim/sim_internal.h"

/*
 * What can be planned for one connection at one time: a landing of each path, and another one after its loss; failures
 * by its own drop, the death of either rank and the peer's disconnect; and one of each other kind.
 */
#define HAPPENINGS(path_count) (2 * (size_t)(path_count) + 8)
/* Events beside arrivals and LOCAL_DONE: the loss of each path, and one of each other kind. */
#define OTHER_EVENTS (SIM_MAX_PATHS + 3)

static struct sim_connection *connection_of(struct connection *connection)
{
    return (struct sim_connection *)connection;
}

static struct sim_region *region_create(size_t bytes)
{
    struct sim_region *region = bytes > SIZE_MAX / 2 ? NULL : calloc(1, sizeof *region + 64 + bytes);

    if (!region) return NULL;
    region->references = 1;
    region->bytes = (uint8_t *)(((uintptr_t)(region + 1) + 63) & ~(uintptr_t)63);
    return region;
}

static void region_release(struct sim_region *region)
{
    if (region && --region->references == 0) free(region);
}

void sim_connection_free(struct sim_connection *connection)
{
    if (!connection) return;
    region_release(connection->own);
    region_release(connection->remote);
    free(connection->puts);
    free(connection->events);
    free(connection);
}

/* The end that belongs to a pair: made once, used by each incarnation. */
static struct sim_connection *end_acquire(struct sim_fabric *fabric, uint32_t of, uint32_t to)
{
    const struct sim_config *config = &fabric->config;
    struct sim_connection *end = sim_end(fabric, of, to);

    if (end) return end;
    end = calloc(1, sizeof *end);
    if (!end) return NULL;
    end->event_capacity = 2 * config->queue_depth + OTHER_EVENTS;
    end->events = calloc(end->event_capacity, sizeof *end->events);
    end->puts = calloc(config->queue_depth, sizeof *end->puts);
    if (!end->events || !end->puts) {
        sim_connection_free(end);
        return NULL;
    }
    end->fabric = fabric;
    fabric->connection_count++;
    fabric->ends[(size_t)of * config->rank_count + to] = end;
    return end;
}

static void ends_join(struct sim_connection *a, struct sim_connection *b)
{
    struct sim_connection *const both[] = {a, b};
    struct sim_fabric *fabric = a->fabric;

    for (int i = 0; i < 2; i++) {
        struct sim_connection *end = both[i], *other = both[1 - i];
        end->peer = other;
        end->joined = true;
        end->remote = other->own;
        end->remote->references++;
        end->base.remote_bytes = other->base.granted_bytes;
        const uint64_t pause_ns = fabric->config.latency_ns + sim_random_up_to(fabric, fabric->config.jitter_ns + 1);
        sim_plan(fabric, fabric->now_ns + pause_ns, SIM_CONNECTED, end, 0);
    }
}

static weft_status sim_connect(struct endpoint *base, uint32_t to, size_t granted_bytes, struct connection **connection)
{
    struct sim_endpoint *endpoint = (struct sim_endpoint *)base;
    struct sim_fabric *fabric = endpoint->fabric;

    if (to >= base->rank_count || to == base->rank) return WEFT_INVALID_ARGUMENT;
    struct sim_connection *end = end_acquire(fabric, base->rank, to), *other = sim_end(fabric, to, base->rank);
    if (!end) return WEFT_OUT_OF_MEMORY;
    if (end->state != SIM_ENDED) return WEFT_INVALID_ARGUMENT;
    struct sim_region *region = region_create(granted_bytes);
    /* Counting the entries that ended incarnations have left behind. */
    if (!region ||
        !sim_queue_reserve(&fabric->queue, fabric->connection_count * HAPPENINGS(fabric->config.path_count))) {
        free(region);
        return WEFT_OUT_OF_MEMORY;
    }
    *end = (struct sim_connection){.base = {.endpoint = base,
                                            .peer = to,
                                            .granted = region->bytes,
                                            .granted_bytes = granted_bytes,
                                            .steady_bytes = fabric->config.steady},
                                   .fabric = fabric,
                                   .incarnation = end->incarnation,
                                   .state = SIM_CONNECTING,
                                   .own = region,
                                   .puts = end->puts,
                                   .events = end->events,
                                   .event_capacity = end->event_capacity};
    sim_flight_reset(end);
    endpoint->active[endpoint->active_count++] = end;
    if (fabric->dead[to])
        sim_plan(fabric, fabric->now_ns + fabric->config.latency_ns, SIM_FAILS, end, WEFT_PEER_FAILED);
    else if (other && other->state == SIM_CONNECTING && !other->joined)
        ends_join(end, other);
    *connection = &end->base;
    return WEFT_OK;
}

static weft_status sim_connect_advance(struct connection *base, uint64_t now_ns)
{
    struct sim_connection *connection = connection_of(base);

    (void)now_ns;
    if (connection->state == SIM_CONNECTING) return WEFT_IN_PROGRESS;
    if (connection->state != SIM_OPEN) return connection->failure;
    connection->announced = true;
    return WEFT_OK;
}

uint64_t sim_connection_sever(struct sim_connection *connection)
{
    uint64_t landed_ns = 0;

    connection->severed = true;
    sim_flight_cut(connection, true);
    for (uint32_t i = 0; i < connection->fabric->config.path_count; i++) {
        for (const struct sim_put *put = connection->paths[i].first; put; put = put->next) {
            if (put->lands_ns > landed_ns) landed_ns = put->lands_ns;
        }
    }
    return landed_ns;
}

static void sim_disconnect(struct connection *base)
{
    struct sim_connection *connection = connection_of(base), *peer = connection->peer;
    struct sim_endpoint *endpoint = (struct sim_endpoint *)base->endpoint;
    struct sim_fabric *fabric = connection->fabric;

    for (uint32_t i = 0; i < endpoint->active_count; i++) {
        if (endpoint->active[i] == connection) endpoint->active[i] = endpoint->active[--endpoint->active_count];
    }
    endpoint->pending -= connection->event_count;
    sim_flight_cut(connection, false); /* the sources may be gone the next moment */
    if (connection->joined) {
        peer->joined = connection->joined = false;
        peer->severed = true;
        sim_flight_cut(peer, false);
        sim_plan(fabric, fabric->now_ns + fabric->config.latency_ns, SIM_FAILS, peer, WEFT_PEER_FAILED);
    }
    region_release(connection->own);
    region_release(connection->remote);
    connection->own = connection->remote = NULL;
    connection->event_count = 0;
    connection->state = SIM_ENDED;
    connection->incarnation++; /* what is planned for it will not happen */
}

static void *sim_map(struct connection *base)
{
    const struct sim_connection *connection = connection_of(base);

    return connection->remote ? connection->remote->bytes : NULL;
}

static size_t sim_put(struct connection *base, const struct put *puts, size_t count)
{
    struct sim_connection *connection = connection_of(base);
    size_t accepted = 0;

    if (connection->state != SIM_OPEN || !connection->announced || connection->quiesce_asked ||
        connection->fabric->dead[base->endpoint->rank])
        return 0;
    while (accepted < count && sim_flight_add(connection, &puts[accepted])) accepted++;
    return accepted;
}

static void quiesced_tell(struct sim_connection *connection)
{
    if (!connection->quiesce_asked || connection->quiesced) return;
    connection->quiesced = true;
    sim_event_add(connection, EVENT_QUIESCED, 0, 0, WEFT_OK);
}

/* The peer answers once its user knows; one that is gone does not, and the failure that tells of it will do instead. */
static weft_status sim_quiesce(struct connection *base)
{
    struct sim_connection *connection = connection_of(base);
    struct sim_fabric *fabric = connection->fabric;

    if (!connection->announced) return WEFT_INVALID_STATE;
    if (connection->quiesce_asked) return WEFT_OK;
    connection->quiesce_asked = true;
    if (connection->joined && !fabric->dead[base->peer])
        sim_plan(fabric, fabric->now_ns + fabric->config.latency_ns, SIM_STOPS, connection->peer, 0);
    else if (connection->state != SIM_OPEN)
        quiesced_tell(connection);
    return WEFT_OK;
}

static void connection_fail(struct sim_connection *connection, weft_status status)
{
    if (status == WEFT_PEER_FAILED) quiesced_tell(connection);
    if (connection->state != SIM_CONNECTING && connection->state != SIM_OPEN) return;
    sim_flight_cut(connection, false);
    connection->severed = true;
    connection->failure = status;
    if (connection->announced) {
        connection->state = SIM_FAILING;
        sim_event_add(connection, EVENT_FAILED, 0, 0, status);
    } else {
        connection->state = SIM_FAILED; /* and connect_advance() tells */
    }
}

static void connection_writable(struct sim_connection *connection)
{
    const uint32_t depth = connection->fabric->config.queue_depth;

    connection->writable_planned = false;
    /* Without room it is planned again when there is some. */
    if (connection->state != SIM_OPEN || !connection->refused || connection->outstanding == depth ||
        connection->done_outstanding == depth)
        return;
    connection->refused = false;
    sim_event_add(connection, EVENT_WRITABLE, 0, 0, WEFT_OK);
}

void sim_connection_happens(struct sim_connection *connection, enum sim_happening happening, uint32_t detail)
{
    if (connection->fabric->dead[connection->base.endpoint->rank] && happening != SIM_LANDS) return;
    switch (happening) {
    case SIM_LANDS:
        sim_flight_land(connection, detail);
        break;
    case SIM_CONNECTED:
        if (connection->state == SIM_CONNECTING) connection->state = SIM_OPEN;
        break;
    case SIM_FAILS:
        connection_fail(connection, (weft_status)detail);
        break;
    case SIM_WRITABLE:
        connection_writable(connection);
        break;
    case SIM_STOPS:
        connection->stop_asked = true;
        connection_fail(connection, WEFT_LINK_DOWN);
        break;
    case SIM_QUIET:
        quiesced_tell(connection);
        break;
    case SIM_FAULT:
        break;
    }
}

/* Our user takes an event: there may be room for more of its kind. */
static void event_taken(struct sim_connection *connection, const struct event *event)
{
    struct sim_fabric *fabric = connection->fabric;
    const uint64_t key[] = {
        fabric->now_ns, connection->base.endpoint->rank, event->kind, event->path, event->status, event->peer,
        event->tag};

    fabric->hash = bytes_hash(fabric->hash, key, sizeof key);
    if ((event->kind == EVENT_ARRIVED || event->kind == EVENT_LANDED) && connection->joined) {
        connection->peer->outstanding--;
        sim_writable_plan(connection->peer, fabric->now_ns + fabric->config.latency_ns);
    } else if (event->kind == EVENT_LOCAL_DONE) {
        connection->done_outstanding--;
        sim_writable_plan(connection, fabric->now_ns);
    } else if (event->kind == EVENT_FAILED) {
        connection->state = SIM_FAILED;
    }
}

static size_t poll_connection(struct sim_connection *connection, struct event *events, size_t max)
{
    size_t count = 0;

    if (!connection->announced) return 0;
    while (count < max && connection->event_count) {
        events[count] = connection->events[connection->event_first];
        connection->event_first = (connection->event_first + 1) % connection->event_capacity;
        connection->event_count--;
        event_taken(connection, &events[count++]);
    }
    return count;
}

/* Since the last poll its user has seen EVENT_FAILED, and stores nothing more. */
static void quiet_tell(struct sim_connection *connection)
{
    struct sim_fabric *fabric = connection->fabric;

    if (!connection->stop_asked || connection->state != SIM_FAILED) return;
    connection->stop_asked = false;
    if (connection->joined)
        sim_plan(fabric, fabric->now_ns + fabric->config.latency_ns, SIM_QUIET, connection->peer, 0);
}

static size_t sim_poll(struct endpoint *base, struct event *events, size_t max, uint64_t now_ns)
{
    struct sim_endpoint *endpoint = (struct sim_endpoint *)base;
    const uint32_t active_count = endpoint->active_count;
    size_t count = 0;

    (void)now_ns;
    if (endpoint->fabric->dead[base->rank]) return 0;
    for (uint32_t i = 0; i < active_count; i++) quiet_tell(endpoint->active[i]);
    for (uint32_t i = 0; i < active_count && count < max && endpoint->pending > count; i++) {
        if (endpoint->active_next >= active_count) endpoint->active_next = 0;
        count += poll_connection(endpoint->active[endpoint->active_next++], events + count, max - count);
    }
    endpoint->pending -= (uint32_t)count;
    return count;
}

static void sim_endpoint_destroy(struct endpoint *base)
{
    struct sim_endpoint *endpoint = (struct sim_endpoint *)base;

    endpoint->fabric->endpoints[base->rank] = NULL;
    free(endpoint);
}

/* No arm: a simulated rank has nothing to sleep on, whoever steps the clock wakes it. */
#define SIM_OPS                                                                                                        \
    .name = "sim", .endpoint_destroy = sim_endpoint_destroy, .connect = sim_connect,                                   \
    .connect_advance = sim_connect_advance, .disconnect = sim_disconnect, .put = sim_put, .quiesce = sim_quiesce,      \
    .poll = sim_poll, .arm = transport_arm_unsupported, .memory_register = transport_memory_register_unsupported,      \
    .memory_deregister = transport_memory_deregister_none
#define SIM_LENDS                                                                                                      \
    .lend = sim_lend, .borrow = sim_borrow, .read = sim_read, .write = sim_write,                                      \
    .memory_share = transport_memory_share_unsupported, .memory_unshare = transport_memory_unshare_none

const struct transport_ops *sim_ops_of(const struct sim_config *config)
{
    static const struct transport_ops ops[2][2] = {
        {{SIM_OPS, .map = transport_map_none, TRANSPORT_LENDS_NOTHING},
         {SIM_OPS, .capabilities = TRANSPORT_LENDS, .map = transport_map_none, SIM_LENDS}},
        {{SIM_OPS, .capabilities = TRANSPORT_MAPS, .map = sim_map, TRANSPORT_LENDS_NOTHING},
         {SIM_OPS, .capabilities = TRANSPORT_MAPS | TRANSPORT_LENDS, .map = sim_map, SIM_LENDS}}};

    return &ops[config->maps][config->lending != SIM_LENDS_NOTHING];
}
