/* SPDX-License-Identifier: Apache-2.0 */
/* Connections: made over a stream, joined by rails, used, and ended. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/random.h"
#include "transport/verbs/verbs_internal.h"

/* Registration takes whole pages; a grant of nothing has an address too. */
static size_t mapped_bytes(size_t bytes)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);

    return bytes ? (bytes + page - 1) & ~(page - 1) : page;
}

static uint8_t *pages_map(size_t bytes)
{
    void *pages = mmap(NULL, mapped_bytes(bytes), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    return pages == MAP_FAILED ? NULL : pages;
}

bool verbs_dials(const struct verbs_connection *connection)
{
    return connection->base.endpoint->rank < connection->base.peer;
}

static void card_make(struct verbs_connection *connection)
{
    const struct verbs_endpoint *endpoint = verbs_endpoint_of_connection(connection);
    struct wire_card *card = &connection->own;

    card->rank = endpoint->base.rank;
    card->peer = connection->base.peer;
    card->granted_bytes = connection->base.granted_bytes;
    card->depth = endpoint->config.depth;
    card->lanes_per_rail = (uint16_t)endpoint->config.lanes_per_rail;
    card->rail_count = (uint16_t)endpoint->port_count;
    for (uint32_t i = 0; i < endpoint->port_count; i++) {
        const struct verbs_port *port = &endpoint->ports[i];
        struct wire_card_rail *rail = &card->rails[i];
        const struct sockaddr_storage *address = &port->config.address;
        (void)snprintf(rail->device, sizeof rail->device, "%s", port->config.device);
        rail->family = address->ss_family == AF_INET ? 4 : 6;
        if (rail->family == 4)
            memcpy(rail->address, &((const struct sockaddr_in *)address)->sin_addr, 4);
        else
            memcpy(rail->address, &((const struct sockaddr_in6 *)address)->sin6_addr, 16);
        rail->port = port->listen_port;
        rail->bandwidth = (uint64_t)port->config.bandwidth;
    }
}

weft_status verbs_connect(struct endpoint *base, uint32_t peer, size_t granted_bytes, struct connection **connection)
{
    struct verbs_endpoint *endpoint = verbs_endpoint_of(base);

    if (peer >= base->rank_count || peer == base->rank || endpoint->of_peer[peer] || granted_bytes > SIZE_MAX / 4)
        return WEFT_INVALID_ARGUMENT;
    struct verbs_connection *made = calloc(1, sizeof *made);
    if (!made) return WEFT_OUT_OF_MEMORY;
    made->base = (struct connection){
        .endpoint = base, .peer = peer, .granted = pages_map(granted_bytes), .granted_bytes = granted_bytes};
    if (!made->base.granted) {
        free(made);
        return WEFT_OUT_OF_MEMORY;
    }
    const weft_status status = verbs_ranges_add(endpoint, made);
    if (status) {
        (void)munmap(made->base.granted, mapped_bytes(granted_bytes));
        free(made);
        return status;
    }
    made->stream.fd = -1;
    card_make(made);
    endpoint->of_peer[peer] = made;
    *connection = &made->base;
    return WEFT_OK;
}

/* ---- From the cards on ---- */

static weft_status rail_register(struct verbs_connection *connection, struct verbs_rail_end *rail)
{
    const struct verbs_device *device = rail->port->device;
    const size_t granted = mapped_bytes(connection->base.granted_bytes);
    struct diagnostic diagnostic;
    size_t bytes = granted;

    /* Without relaxed ordering: what is notified has to be there. */
    rail->region =
        ibv_reg_mr(device->pd, connection->base.granted, granted, IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE);
    if (rail->region) {
        bytes = connection->message_bytes;
        rail->messages = ibv_reg_mr(device->pd, connection->message_buffers, bytes, IBV_ACCESS_LOCAL_WRITE);
        if (rail->messages) return WEFT_OK;
    }
    const weft_status status = verbs_registration_failed(&diagnostic, device->name, bytes, errno);
    log_error("verbs rank %u peer %u: %s", connection->base.endpoint->rank, connection->base.peer, diagnostic.text);
    return status;
}

static weft_status rails_make(struct verbs_connection *connection, const struct wire_pairing *pairing)
{
    struct verbs_endpoint *endpoint = verbs_endpoint_of_connection(connection);
    struct ledger_config *config = &connection->ledger_config;
    const bool dials = verbs_dials(connection);

    connection->rail_count = config->rail_count = pairing->rail_count;
    connection->lanes_per_rail = config->lanes_per_rail = pairing->lanes_per_rail;
    config->depth = endpoint->config.depth;
    config->peer_depth = connection->card.depth;
    config->queue_limit = config->send_depth = endpoint->config.send_depth;
    config->stripe_bytes = endpoint->config.stripe_bytes;
    for (uint32_t i = 0; i < pairing->rail_count; i++) {
        struct verbs_rail_end *rail = &connection->rails[i];
        const uint32_t own = dials ? pairing->dialling[i] : pairing->accepting[i];
        const double other =
            (double)connection->card.rails[dials ? pairing->accepting[i] : pairing->dialling[i]].bandwidth;
        *rail = (struct verbs_rail_end){.port = &endpoint->ports[own]};
        rail->peer_card = connection->card.rails[dials ? pairing->accepting[i] : pairing->dialling[i]];
        const double mine = rail->port->config.bandwidth;
        config->rail_weight[i] = mine > 0 && other > 0 ? (mine < other ? mine : other) : 1;
    }
    const uint32_t count = connection->rail_count * connection->lanes_per_rail;
    connection->lanes = calloc(count, sizeof *connection->lanes);
    connection->message_bytes =
        (size_t)count * (config->depth + LEDGER_RESERVE + config->send_depth + VERBS_EXTRA_SENDS) * WIRE_MESSAGE_BYTES;
    connection->message_bytes = mapped_bytes(connection->message_bytes);
    connection->message_buffers = pages_map(connection->message_bytes);
    if (!connection->lanes || !connection->message_buffers || outbox_open(&connection->outbox, config) != WEFT_OK ||
        inbox_open(&connection->inbox, config) != WEFT_OK)
        return WEFT_OUT_OF_MEMORY;
    for (uint32_t i = 0; i < count; i++) {
        connection->lanes[i].connection = connection;
        connection->lanes[i].index = (uint8_t)i;
        connection->lanes[i].rail = (uint8_t)(i / connection->lanes_per_rail);
    }
    return verbs_lanes_register(endpoint, connection->lanes, count);
}

/* The rails of the two cards are known: register and join them. */
static weft_status join(struct verbs_connection *connection)
{
    const bool dials = verbs_dials(connection);
    struct wire_pairing pairing;

    weft_status status =
        wire_pair(dials ? &connection->own : &connection->card, dials ? &connection->card : &connection->own, &pairing);
    if (status == WEFT_LINK_DOWN)
        log_warning("verbs no common address family rank %u peer %u", connection->base.endpoint->rank,
                    connection->base.peer);
    if (status == WEFT_OK) status = rails_make(connection, &pairing);
    for (uint32_t i = 0; status == WEFT_OK && i < connection->rail_count; i++)
        status = rail_register(connection, &connection->rails[i]);
    if (status) return status;
    connection->state = VERBS_JOINING;
    for (uint32_t i = 0; i < connection->rail_count; i++) verbs_rail_join(&connection->rails[i], connection);
    return WEFT_OK;
}

static weft_status card_send(struct verbs_connection *connection)
{
    uint8_t frame[WIRE_FRAME_MAX_BYTES];

    return verbs_stream_send(connection, frame, wire_card_encode(&connection->own, frame)) ? WEFT_OK : WEFT_PEER_FAILED;
}

static weft_status card_take(struct verbs_connection *connection, const uint8_t *frame, size_t bytes,
                             const char **reason)
{
    weft_status status = wire_card_decode(frame, bytes, &connection->card, reason);

    if (status) return status;
    if (connection->card.rank != connection->base.peer || connection->card.peer != connection->base.endpoint->rank) {
        *reason = "is another rank, or takes us for another";
        return WEFT_PROTOCOL_ERROR;
    }
    connection->base.remote_bytes = connection->card.granted_bytes;
    if (!verbs_dials(connection)) status = card_send(connection);
    if (status == WEFT_OK) status = join(connection);
    *reason = "cannot be joined";
    return status;
}

weft_status verbs_frame_take(struct verbs_connection *connection, enum wire_frame_kind kind, const uint8_t *frame,
                             size_t bytes, const char **reason)
{
    const bool joined = connection->state == VERBS_JOINING || connection->state == VERBS_CONNECTED;
    struct wire_rail rail;
    weft_status status;

    switch (kind) {
    case WIRE_CARD:
        if (connection->state != VERBS_GREETING) break;
        return card_take(connection, frame, bytes, reason);
    case WIRE_READY:
    case WIRE_DOWN:
        if (connection->state >= VERBS_FAILING) return WEFT_OK;
        if (!joined) break;
        status = wire_rail_decode(frame, bytes, &rail, reason);
        return status == WEFT_OK ? verbs_rail_told(connection, &rail, reason) : status;
    case WIRE_QUIESCE:
        if (!joined) return WEFT_OK;
        connection->answer_quiet = true;
        verbs_connection_fail(connection, WEFT_LINK_DOWN);
        return WEFT_OK;
    case WIRE_QUIET:
        if (connection->quiesce != VERBS_ASKED) break;
        connection->quiesce = VERBS_STOPPING;
        verbs_rails_stop(connection);
        return WEFT_OK;
    }
    *reason = "says something out of turn";
    return WEFT_PROTOCOL_ERROR;
}

/* ---- connect_advance() ---- */

static void attempt_end(struct verbs_connection *connection)
{
    struct verbs_endpoint *endpoint = verbs_endpoint_of_connection(connection);

    verbs_rails_close(connection);
    if (connection->lanes) {
        verbs_lanes_forget(endpoint, connection->lanes, connection->rail_count * connection->lanes_per_rail);
        if (connection->outbox.items) outbox_drop(&connection->outbox, verbs_item_release, endpoint);
        outbox_close(&connection->outbox);
        inbox_close(&connection->inbox);
    }
    free(connection->lanes);
    connection->lanes = NULL;
    if (connection->message_buffers) (void)munmap(connection->message_buffers, connection->message_bytes);
    connection->message_buffers = NULL;
    connection->rail_count = connection->dirty = 0;
    verbs_stream_close(connection);
}

static weft_status reach(struct verbs_connection *connection)
{
    const struct verbs_endpoint *endpoint = verbs_endpoint_of_connection(connection);
    int fd;

    weft_status status = endpoint->rendezvous.reach(endpoint->rendezvous.context, connection->base.peer, &fd);
    if (status == WEFT_OK) status = verbs_stream_open(connection, fd);
    if (status == WEFT_OK) status = random_secret(connection->own.nonce, sizeof connection->own.nonce);
    if (status) return status;
    connection->state = VERBS_GREETING;
    return verbs_dials(connection) ? card_send(connection) : WEFT_OK;
}

/* All rails are up or have been given up: is one left? */
static void check_joined(struct verbs_connection *connection)
{
    uint32_t up = 0;

    for (uint32_t i = 0; i < connection->rail_count; i++) {
        verbs_rail_advance(connection, i);
        if (connection->state != VERBS_JOINING) return;
        if (connection->rails[i].state != RAIL_UP && connection->rails[i].state != RAIL_DOWN) return;
        up += connection->rails[i].state == RAIL_UP;
    }
    if (up == 0) {
        verbs_connection_fail(connection, WEFT_LINK_DOWN);
        return;
    }
    connection->state = VERBS_CONNECTED;
    verbs_rails_settle(connection);
}

static weft_status advance(struct verbs_connection *connection)
{
    if (connection->state == VERBS_REACHING) {
        const weft_status status = reach(connection);
        if (status) return status;
    }
    verbs_stream_advance(connection);
    if (connection->state == VERBS_JOINING) check_joined(connection);
    if (connection->state == VERBS_CONNECTED) return WEFT_OK;
    if (connection->state >= VERBS_FAILING) return connection->failure;
    if (!connection->stream.ended) return WEFT_IN_PROGRESS;
    if (verbs_dials(connection)) return WEFT_PEER_FAILED;
    attempt_end(connection); /* the peer has given this attempt up; another may follow */
    connection->state = VERBS_REACHING;
    return WEFT_IN_PROGRESS;
}

weft_status verbs_connect_advance(struct connection *base, uint64_t now_ns)
{
    struct verbs_connection *connection = verbs_connection_of(base);
    struct verbs_endpoint *endpoint = verbs_endpoint_of(base->endpoint);

    if (connection->announced) return connection->state == VERBS_FAILED ? connection->failure : WEFT_OK;
    if (connection->state == VERBS_FAILED) return connection->failure;
    endpoint->now_ns = now_ns;
    verbs_manager_take_events(endpoint);
    for (uint32_t i = 0; i < endpoint->port_count; i++) {
        verbs_device_take_events(endpoint->ports[i].device);
        verbs_port_check(&endpoint->ports[i]);
        (void)verbs_queues_poll(&endpoint->ports[i]);
    }
    const weft_status status = advance(connection);
    if (status == WEFT_IN_PROGRESS) return status;
    if (status == WEFT_OK) {
        connection->announced = true;
        verbs_connection_attend(connection);
        return status;
    }
    attempt_end(connection); /* which tells the peer */
    connection->failure = status;
    connection->state = VERBS_FAILED;
    return status;
}

/* ---- Use ---- */

/* What is complete makes room for what is queued; so only the peer, who does not poll, can keep a put out for long. */
static bool make_room(struct verbs_connection *connection, uint32_t *touched)
{
    struct verbs_endpoint *endpoint = verbs_endpoint_of_connection(connection);
    bool any = false;

    for (uint32_t i = 0; i < endpoint->port_count; i++) any |= verbs_queues_poll(&endpoint->ports[i]);
    connection->dirty |= *touched;
    *touched = 0;
    verbs_connection_flush(connection);
    return any && connection->state == VERBS_CONNECTED;
}

size_t verbs_put(struct connection *base, const struct put *puts, size_t count)
{
    struct verbs_connection *connection = verbs_connection_of(base);
    uint32_t touched = 0;
    size_t accepted = 0;
    bool urgent = false;

    if (connection->state != VERBS_CONNECTED || !connection->announced || connection->quiesce != VERBS_NOT_ASKED)
        return 0;
    while (accepted < count) {
        const struct put *put = &puts[accepted];
        if (!transport_put_fits(base, put)) break;
        if (!outbox_put(&connection->outbox, put, &touched) &&
            !(make_room(connection, &touched) && outbox_put(&connection->outbox, put, &touched)))
            break;
        urgent |= !(put->flags & PUT_MORE);
        accepted++;
    }
    if (accepted == 0) return 0;
    connection->dirty |= touched;
    if (urgent) verbs_connection_flush(connection);
    verbs_connection_attend(connection);
    return accepted;
}

void verbs_connection_flush(struct verbs_connection *connection)
{
    while (connection->dirty) {
        const uint32_t lane = (uint32_t)__builtin_ctz(connection->dirty);
        connection->dirty &= connection->dirty - 1;
        if (connection->rails[connection->lanes[lane].rail].state == RAIL_UP)
            verbs_lane_advance(&connection->lanes[lane]);
    }
}

/* Wait for what was accepted to arrive: then nothing is lost. Others' events go on being taken in. */
static void linger(struct verbs_connection *connection)
{
    struct verbs_endpoint *endpoint = verbs_endpoint_of_connection(connection);
    const uint64_t until_ns = clock_now_ns() + endpoint->config.linger_ns;

    while (connection->state == VERBS_CONNECTED && !outbox_idle(&connection->outbox)) {
        verbs_connection_flush(connection);
        for (uint32_t i = 0; i < connection->rail_count * connection->lanes_per_rail; i++)
            if (connection->rails[connection->lanes[i].rail].state == RAIL_UP) verbs_lane_mark(&connection->lanes[i]);
        for (uint32_t i = 0; i < endpoint->port_count; i++) (void)verbs_queues_poll(&endpoint->ports[i]);
        verbs_stream_advance(connection);
        for (uint32_t i = 0; i < connection->rail_count && connection->state == VERBS_CONNECTED; i++)
            verbs_rail_advance(connection, i);
        if (connection->stream.ended || clock_now_ns() >= until_ns) return;
    }
}

void verbs_disconnect(struct connection *base)
{
    struct verbs_connection *connection = verbs_connection_of(base);
    struct verbs_endpoint *endpoint = verbs_endpoint_of(base->endpoint);

    if (connection->announced && connection->quiesce == VERBS_NOT_ASKED) linger(connection);
    verbs_stream_close(connection); /* which tells the peer */
    attempt_end(connection);
    verbs_ranges_remove(endpoint, connection);
    if (connection->attentive) TAILQ_REMOVE(&endpoint->attention, connection, attention_link);
    (void)munmap(base->granted, mapped_bytes(base->granted_bytes));
    endpoint->of_peer[base->peer] = NULL;
    free(connection);
}
