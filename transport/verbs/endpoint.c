/* SPDX-License-Identifier: Apache-2.0 */
/* Endpoints: ports opened, polled and slept on. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "fabric/bootstrap/keyed_hash.h"
#include "transport/verbs/verbs_internal.h"

/* What costs a system call is looked at so often; the second for callers whose now_ns stands still. */
#define LOOK_INTERVAL_NS (500 * NS_PER_US)
#define LOOK_POLLS 1024u
#define LOOK_EVENTS 64
/* Completions that tell of nothing but room for more requests keep nobody awake, within reason. */
#define ARM_ROUNDS 64u

#define DEFAULT_LANES_PER_RAIL 1u
#define DEFAULT_DEPTH 128u
#define DEFAULT_SEND_DEPTH 128u
#define DEFAULT_INLINE_BYTES 220u
#define DEFAULT_STRIPE_BYTES 65536u
#define DEFAULT_STAGING_BYTES (4u << 20)
#define DEFAULT_TIMEOUT 18u    /* 1.07 s */
#define DEFAULT_RETRY_COUNT 6u /* 7 is for ever on soft-RoCE */
#define DEFAULT_LINGER_NS (100 * NS_PER_MS)
#define DEFAULT_RECONNECT_NS NS_PER_S

/* ---- What connections ask for ---- */

void verbs_connection_attend(struct verbs_connection *connection)
{
    struct verbs_endpoint *endpoint = verbs_endpoint_of_connection(connection);

    if (connection->attentive) return;
    connection->attentive = true;
    TAILQ_INSERT_TAIL(&endpoint->attention, connection, attention_link);
}

weft_status verbs_lanes_register(struct verbs_endpoint *endpoint, struct verbs_lane *lanes, uint32_t count)
{
    uint32_t slot = 0;

    for (uint32_t i = 0; i < count; i++) {
        while (slot < endpoint->lane_slots && endpoint->lanes[slot]) slot++;
        if (slot == endpoint->lane_slots) {
            const uint32_t slots = slot ? 2 * slot : 16;
            struct verbs_lane **grown = reallocarray(endpoint->lanes, slots, sizeof *grown);
            if (!grown) {
                verbs_lanes_forget(endpoint, lanes, count);
                return WEFT_OUT_OF_MEMORY;
            }
            memset(grown + slot, 0, (slots - slot) * sizeof *grown);
            endpoint->lanes = grown;
            endpoint->lane_slots = slots;
        }
        lanes[i].slot = slot;
        endpoint->lanes[slot] = &lanes[i];
    }
    return WEFT_OK;
}

void verbs_lanes_forget(struct verbs_endpoint *endpoint, struct verbs_lane *lanes, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (lanes[i].slot < endpoint->lane_slots && endpoint->lanes[lanes[i].slot] == &lanes[i])
            endpoint->lanes[lanes[i].slot] = NULL;
    }
}

weft_status verbs_ranges_add(struct verbs_endpoint *endpoint, struct verbs_connection *connection)
{
    struct verbs_range *grown = reallocarray(endpoint->ranges, endpoint->range_count + 1, sizeof *grown);
    uint32_t at = endpoint->range_count;

    if (!grown) return WEFT_OUT_OF_MEMORY;
    endpoint->ranges = grown;
    for (; at > 0 && grown[at - 1].begin > connection->base.granted; at--) grown[at] = grown[at - 1];
    grown[at] = (struct verbs_range){.begin = connection->base.granted,
                                     .end = connection->base.granted + connection->base.granted_bytes,
                                     .connection = connection};
    endpoint->range_count++;
    return WEFT_OK;
}

void verbs_ranges_remove(struct verbs_endpoint *endpoint, const struct verbs_connection *connection)
{
    uint32_t kept = 0;

    for (uint32_t i = 0; i < endpoint->range_count; i++) {
        if (endpoint->ranges[i].connection != connection) endpoint->ranges[kept++] = endpoint->ranges[i];
    }
    endpoint->range_count = kept;
}

/* The last range that begins at or before @p source. */
static const struct verbs_range *range_find(const struct verbs_endpoint *endpoint, const uint8_t *source)
{
    uint32_t low = 0, high = endpoint->range_count;

    while (low < high) {
        const uint32_t middle = (low + high) / 2;
        if (endpoint->ranges[middle].begin <= source)
            low = middle + 1;
        else
            high = middle;
    }
    return low ? &endpoint->ranges[low - 1] : NULL;
}

/* A region of another connection that is registered with the same port: what was received is passed on from there. */
static const struct ibv_mr *granted_region(const struct verbs_connection *connection, const struct verbs_port *port)
{
    for (uint32_t i = 0; i < connection->rail_count; i++) {
        if (connection->rails[i].port == port) return connection->rails[i].region;
    }
    return NULL;
}

bool verbs_source_key(struct verbs_connection *connection, const struct verbs_rail_end *rail, const void *source,
                      uint32_t bytes, uint32_t *lkey)
{
    const struct verbs_endpoint *endpoint = verbs_endpoint_of_connection(connection);
    const struct verbs_range *range = range_find(endpoint, source);
    const struct ibv_mr *region = NULL;

    if (range && (const uint8_t *)source < range->end && bytes <= (size_t)(range->end - (const uint8_t *)source))
        region = granted_region(range->connection, rail->port);
    else if (endpoint->config.memory.find)
        region = verbs_registered_region(endpoint->config.memory.find(endpoint->config.memory.context, source, bytes),
                                         rail->port);
    if (!region) return false;
    *lkey = region->lkey;
    return true;
}

void verbs_waiting_wake(struct verbs_endpoint *endpoint)
{
    struct verbs_lane *last = TAILQ_LAST(&endpoint->waiting, verbs_waiting), *lane = NULL;

    while (lane != last && (lane = TAILQ_FIRST(&endpoint->waiting))) {
        TAILQ_REMOVE(&endpoint->waiting, lane, waiting.link);
        lane->waiting.linked = false;
        if (lane->connection->rails[lane->rail].state == RAIL_UP) verbs_lane_advance(lane);
    }
}

/* ---- Asynchronous events ---- */

static void lanes_check(struct verbs_port *port)
{
    struct verbs_endpoint *endpoint = port->endpoint;

    for (uint32_t slot = 0; slot < endpoint->lane_slots; slot++) {
        struct verbs_lane *lane = endpoint->lanes[slot];
        if (!lane || lane->connection->rails[lane->rail].port != port || !lane->qp) continue;
        const uint8_t async = atomic_load_explicit(&lane->async, memory_order_acquire);
        if (atomic_load_explicit(&lane->queue->lost, memory_order_acquire))
            verbs_rail_fail(lane->connection, lane->rail, "completion queue overrun (qp %u)", lane->qp->qp_num);
        else if (async)
            verbs_rail_fail(lane->connection, lane->rail, "%s (event %u, qp %u)",
                            verbs_async_meaning((enum ibv_event_type)(async - 1))->text, async - 1u, lane->qp->qp_num);
        else if (port->down)
            verbs_rail_fail(lane->connection, lane->rail, "%s",
                            atomic_load_explicit(&port->device->removed, memory_order_relaxed)
                                ? "device failed or was removed"
                                : "port is down");
    }
}

void verbs_port_check(struct verbs_port *port)
{
    const uint32_t events = atomic_load_explicit(&port->device->events, memory_order_acquire);

    if (events == port->events_seen) return;
    port->events_seen = events;
    port->down = atomic_load_explicit(&port->device->removed, memory_order_relaxed) ||
                 (atomic_load_explicit(&port->device->ports_down, memory_order_relaxed) >> port->config.port % 32 & 1);
    lanes_check(port);
}

/* ---- Poll and arm ---- */

static void look_at_devices(struct verbs_endpoint *endpoint)
{
    verbs_manager_take_events(endpoint);
    for (uint32_t i = 0; i < endpoint->port_count; i++) verbs_device_take_events(endpoint->ports[i].device);
}

/* All that is told by descriptors, and what goes on with time. */
static void look(struct verbs_endpoint *endpoint)
{
    struct epoll_event events[LOOK_EVENTS];
    /* One system call while there is nothing, however many peers there are. */
    const int count = epoll_wait(endpoint->epoll, events, LOOK_EVENTS, 0);

    endpoint->looked_ns = endpoint->now_ns;
    endpoint->polls = 0;
    for (int i = 0; i < count; i++) {
        if (!events[i].data.ptr) look_at_devices(endpoint);
        /* Those that are still being made look for themselves. */
        struct verbs_connection *connection = events[i].data.ptr;
        if (connection && connection->announced) verbs_stream_advance(connection);
    }
    /* Another endpoint may have read what is ours. */
    for (uint32_t i = 0; i < endpoint->port_count; i++) verbs_port_check(&endpoint->ports[i]);
    for (uint32_t peer = 0; peer < endpoint->base.rank_count; peer++) {
        struct verbs_connection *connection = endpoint->of_peer[peer];
        if (!connection || !connection->announced) continue;
        if (connection->stream.unsent) verbs_stream_advance(connection);
        verbs_connection_advance(connection);
    }
}

static void attend(struct verbs_connection *connection)
{
    verbs_connection_advance(connection);
    verbs_connection_flush(connection);
}

/* Those that are due take turns: whose events there is no room for is the first the next time. */
static size_t attend_all(struct verbs_endpoint *endpoint, struct event *events, size_t max)
{
    struct verbs_connection *last = TAILQ_LAST(&endpoint->attention, verbs_connection_list), *connection = NULL;
    size_t count = 0;

    while (count < max && connection != last && (connection = TAILQ_FIRST(&endpoint->attention))) {
        attend(connection);
        count += verbs_connection_take(connection, events + count, max - count);
        if (connection->dirty && connection->announced) verbs_connection_flush(connection); /* credits */
        TAILQ_REMOVE(&endpoint->attention, connection, attention_link);
        connection->attentive = false;
        if (verbs_connection_due(connection)) verbs_connection_attend(connection);
    }
    return count;
}

size_t verbs_poll(struct endpoint *base, struct event *events, size_t max, uint64_t now_ns)
{
    struct verbs_endpoint *endpoint = verbs_endpoint_of(base);

    endpoint->now_ns = now_ns;
    if (endpoint->armed) {
        for (uint32_t i = 0; i < endpoint->port_count; i++) verbs_queues_disarm(&endpoint->ports[i]);
        endpoint->armed = false;
        endpoint->look = true; /* one of the others may have been what woke us */
    }
    if (endpoint->look || now_ns - endpoint->looked_ns >= LOOK_INTERVAL_NS || ++endpoint->polls >= LOOK_POLLS) {
        endpoint->look = false;
        look(endpoint);
    }
    for (uint32_t i = 0; i < endpoint->port_count; i++) (void)verbs_queues_poll(&endpoint->ports[i]);
    if (!TAILQ_EMPTY(&endpoint->waiting)) verbs_waiting_wake(endpoint);
    return TAILQ_EMPTY(&endpoint->attention) ? 0 : attend_all(endpoint, events, max);
}

/* What has come until now is taken in. False: nothing had. */
static bool arm_queues(struct verbs_endpoint *endpoint)
{
    struct verbs_connection *connection;
    bool any = false;

    for (uint32_t i = 0; i < endpoint->port_count; i++) {
        verbs_queues_disarm(&endpoint->ports[i]);
        any |= !verbs_queues_arm(&endpoint->ports[i]);
    }
    if (!TAILQ_EMPTY(&endpoint->waiting)) verbs_waiting_wake(endpoint);
    TAILQ_FOREACH(connection, &endpoint->attention, attention_link)
    {
        if (connection->announced) verbs_connection_flush(connection);
    }
    return any;
}

weft_status verbs_arm(struct endpoint *base, int *fd)
{
    struct verbs_endpoint *endpoint = verbs_endpoint_of(base);
    struct verbs_connection *connection;
    uint32_t rounds = 0;

    endpoint->armed = true;
    while (arm_queues(endpoint)) {
        if (++rounds == ARM_ROUNDS) return WEFT_AGAIN;
    }
    for (uint32_t i = 0; i < endpoint->port_count; i++) {
        const struct verbs_device *device = endpoint->ports[i].device;
        if (atomic_load_explicit(&device->events, memory_order_acquire) != endpoint->ports[i].events_seen)
            return WEFT_AGAIN;
    }
    TAILQ_FOREACH(connection, &endpoint->attention, attention_link)
    {
        if (verbs_connection_due(connection)) return WEFT_AGAIN;
    }
    *fd = endpoint->epoll;
    return WEFT_OK;
}

/* ---- Made and ended ---- */

static void port_close(struct verbs_port *port)
{
    if (port->listener) (void)rdma_destroy_id(port->listener);
    verbs_queues_close(port);
    if (port->staging) (void)ibv_dereg_mr(port->staging);
    if (port->channel) {
        (void)epoll_ctl(port->endpoint->epoll, EPOLL_CTL_DEL, port->channel->fd, NULL);
        (void)ibv_destroy_comp_channel(port->channel);
    }
    if (port->device) {
        (void)epoll_ctl(port->endpoint->epoll, EPOLL_CTL_DEL, port->device->context->async_fd, NULL);
        verbs_device_close(port->device);
    }
}

static void verbs_endpoint_destroy(struct endpoint *base)
{
    struct verbs_endpoint *endpoint = verbs_endpoint_of(base);

    for (uint32_t i = 0; i < endpoint->port_count; i++) port_close(&endpoint->ports[i]);
    if (endpoint->events) {
        /* Its last events would keep their ids from being freed. */
        verbs_manager_take_events(endpoint);
        rdma_destroy_event_channel(endpoint->events);
    }
    verbs_staging_close(&endpoint->staging);
    free(endpoint->lanes);
    free(endpoint->ranges);
    if (endpoint->epoll >= 0) close(endpoint->epoll);
    free(endpoint);
}

static const struct transport_ops verbs_ops = {
    .name = "verbs",
    .capabilities = 0,
    .endpoint_destroy = verbs_endpoint_destroy,
    .connect = verbs_connect,
    .connect_advance = verbs_connect_advance,
    .disconnect = verbs_disconnect,
    .map = transport_map_none,
    TRANSPORT_LENDS_NOTHING,
    .put = verbs_put,
    .quiesce = verbs_quiesce,
    .poll = verbs_poll,
    .arm = verbs_arm,
    .memory_register = verbs_memory_register,
    .memory_deregister = verbs_memory_deregister,
};

static bool watch(const struct verbs_endpoint *endpoint, int fd)
{
    struct epoll_event event = {.events = EPOLLIN};

    /* Two ports of one device share a descriptor. */
    return fcntl(fd, F_SETFL, O_NONBLOCK) == 0 &&
           (epoll_ctl(endpoint->epoll, EPOLL_CTL_ADD, fd, &event) == 0 || errno == EEXIST);
}

static weft_status port_open(struct verbs_endpoint *endpoint, const struct verbs_rail *config,
                             struct diagnostic *diagnostic)
{
    struct verbs_port *port = &endpoint->ports[endpoint->port_count++];
    struct ibv_port_attr attributes;

    *port = (struct verbs_port){.endpoint = endpoint, .config = *config, .inline_bytes = endpoint->config.inline_bytes};
    LIST_INIT(&port->queues);
    weft_status status = verbs_device_open(config->device, &port->device, diagnostic);
    if (status) return status;
    if (ibv_query_port(port->device->context, (uint8_t)config->port, &attributes) != 0)
        return diagnose(diagnostic, WEFT_UNSUPPORTED, "%s: has no port %u", config->device, config->port);
    port->down = attributes.state != IBV_PORT_ACTIVE;
    port->channel = ibv_create_comp_channel(port->device->context);
    if (!port->channel || !watch(endpoint, port->channel->fd) || !watch(endpoint, port->device->context->async_fd))
        return diagnose(diagnostic, verbs_status_of_errno(errno), "%s: no completion channel: %s", config->device,
                        strerror(errno));
    port->staging =
        ibv_reg_mr(port->device->pd, endpoint->staging.memory, endpoint->staging.bytes, IBV_ACCESS_LOCAL_WRITE);
    if (!port->staging) return verbs_registration_failed(diagnostic, config->device, endpoint->staging.bytes, errno);
    return verbs_listen(port, diagnostic);
}

#define DEFAULT(field, value)                                                                                          \
    if (config->field == 0) config->field = (value)

static void defaults_fill(struct verbs_config *config)
{
    DEFAULT(lanes_per_rail, DEFAULT_LANES_PER_RAIL);
    DEFAULT(depth, DEFAULT_DEPTH);
    DEFAULT(send_depth, DEFAULT_SEND_DEPTH);
    DEFAULT(inline_bytes, DEFAULT_INLINE_BYTES);
    DEFAULT(stripe_bytes, DEFAULT_STRIPE_BYTES);
    DEFAULT(staging_bytes, DEFAULT_STAGING_BYTES);
    DEFAULT(timeout, DEFAULT_TIMEOUT);
    DEFAULT(retry_count, DEFAULT_RETRY_COUNT);
    DEFAULT(linger_ns, DEFAULT_LINGER_NS);
    DEFAULT(reconnect_ns, DEFAULT_RECONNECT_NS);
}

static weft_status config_check(const struct verbs_config *config, struct rendezvous rendezvous,
                                struct diagnostic *diagnostic)
{
    if (config->rank >= config->rank_count || !rendezvous.reach)
        return diagnose(diagnostic, WEFT_INVALID_ARGUMENT, "verbs: rank %u of %u cannot be", config->rank,
                        config->rank_count);
    if (config->rail_count == 0 || config->rail_count > VERBS_MAX_RAILS)
        return diagnose(diagnostic, WEFT_INVALID_ARGUMENT, "verbs: %u devices; from 1 to %u are supported",
                        config->rail_count, VERBS_MAX_RAILS);
    if (config->lanes_per_rail > VERBS_MAX_LANES_PER_RAIL || config->retry_count > 7 || config->timeout > 31)
        return diagnose(diagnostic, WEFT_INVALID_ARGUMENT,
                        "verbs: at most %u queue pairs on a device, 7 retries and a timeout of 31",
                        VERBS_MAX_LANES_PER_RAIL);
    if (config->depth &&
        (config->depth < LEDGER_MIN_DEPTH || config->depth & (config->depth - 1) || config->depth > 16384))
        return diagnose(diagnostic, WEFT_INVALID_ARGUMENT, "verbs: a depth of %u is no power of two from %u to 16384",
                        config->depth, LEDGER_MIN_DEPTH);
    return WEFT_OK;
}

weft_status verbs_endpoint_create(const struct verbs_config *config, struct rendezvous rendezvous,
                                  struct endpoint **endpoint, struct diagnostic *diagnostic)
{
    weft_status status = config_check(config, rendezvous, diagnostic);
    if (status) return status;
    struct verbs_endpoint *made = calloc(1, sizeof *made + config->rank_count * sizeof *made->of_peer);
    if (!made)
        return diagnose(diagnostic, WEFT_OUT_OF_MEMORY, "verbs: no memory for an endpoint among %u ranks",
                        config->rank_count);
    made->base = (struct endpoint){.ops = &verbs_ops, .rank = config->rank, .rank_count = config->rank_count};
    made->config = *config;
    made->config.rails = NULL;
    defaults_fill(&made->config);
    made->rendezvous = rendezvous;
    keyed_derive(config->key, "weft verbs lane", made->proof_key);
    TAILQ_INIT(&made->attention);
    TAILQ_INIT(&made->waiting);
    made->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (made->epoll >= 0) made->events = rdma_create_event_channel();
    if (!made->events || !watch(made, made->events->fd))
        status = diagnose(diagnostic, verbs_status_of_errno(errno),
                          "verbs: rdma_cm cannot be used: %s (module rdma_ucm)", strerror(errno));
    if (status == WEFT_OK) status = verbs_staging_open(&made->staging, made->config.staging_bytes);
    for (uint32_t i = 0; status == WEFT_OK && i < config->rail_count; i++)
        status = port_open(made, &config->rails[i], diagnostic);
    if (status) {
        verbs_endpoint_destroy(&made->base);
        return status;
    }
    *endpoint = &made->base;
    return WEFT_OK;
}
