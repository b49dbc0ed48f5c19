/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a rail: joined, up, taken out, joined again.
 *
 * Either end takes a rail out when its device or a queue pair on it fails, or because the peer has. Its queue pairs go
 * to the error state, in which a device lets no more packets in; when the completions of all that was posted have come,
 * WIRE_DOWN says how many messages were received on each lane. Only with both ends' word is anything sent again on
 * another rail: so no byte can come late over the lost one, and none is missing or told twice. The dialling side tries
 * to join it again from time to time, as another incarnation, by whose number late words are recognised.
 */
#include <stdarg.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/log.h"
#include "transport/verbs/verbs_internal.h"

#define JOIN_PATIENCE_NS (15 * NS_PER_S)
/* For completions that do not come, of a device that is gone. */
#define DRAIN_PATIENCE_NS (200 * NS_PER_MS)

static struct verbs_lane *rail_lane(struct verbs_connection *connection, uint32_t rail, uint32_t i)
{
    return &connection->lanes[rail * connection->lanes_per_rail + i];
}

static void state_enter(struct verbs_connection *connection, struct verbs_rail_end *rail, enum verbs_rail_state state)
{
    rail->state = (uint8_t)state;
    rail->since_ns = verbs_endpoint_of_connection(connection)->now_ns;
    verbs_connection_attend(connection);
}

static uint64_t state_age_ns(const struct verbs_connection *connection, const struct verbs_rail_end *rail)
{
    return verbs_endpoint_of_connection(connection)->now_ns - rail->since_ns;
}

static void say(struct verbs_connection *connection, uint32_t index, enum wire_frame_kind kind)
{
    struct verbs_rail_end *rail = &connection->rails[index];
    struct wire_rail said = {.kind = (uint8_t)kind,
                             .rail = (uint16_t)index,
                             .lane_count = (uint16_t)connection->lanes_per_rail,
                             .incarnation = rail->incarnation,
                             .address = (uintptr_t)connection->base.granted,
                             .rkey = kind == WIRE_READY ? rail->region->rkey : 0};
    uint8_t frame[WIRE_FRAME_MAX_BYTES];

    for (uint32_t i = 0; i < connection->lanes_per_rail; i++)
        said.credits[i] = inbox_credit_take(&connection->inbox, rail_lane(connection, index, i)->index);
    if (!verbs_stream_send(connection, frame, wire_rail_encode(&said, frame)) && !connection->stream.ended)
        verbs_connection_refuse(connection, WEFT_PROTOCOL_ERROR, "reads nothing of what it is told");
}

void verbs_rail_join(struct verbs_rail_end *rail, struct verbs_connection *connection)
{
    const uint32_t index = (uint32_t)(rail - connection->rails);

    rail->peer_ready = rail->peer_down = false;
    rail->reason[0] = '\0';
    rail->noted |= rail->incarnation == 0;
    state_enter(connection, rail, RAIL_JOINING);
    if (!verbs_dials(connection)) return;
    for (uint32_t i = 0; i < connection->lanes_per_rail && rail->state == RAIL_JOINING; i++) {
        if (!verbs_lane_dial(rail_lane(connection, index, i)))
            verbs_rail_fail(connection, index, "cannot begin to connect: %m");
    }
}

void verbs_rail_fail(struct verbs_connection *connection, uint32_t index, const char *format, ...)
{
    struct verbs_rail_end *rail = &connection->rails[index];
    va_list arguments;

    if (rail->state >= RAIL_DRAINING) return;
    va_start(arguments, format);
    (void)vsnprintf(rail->reason, sizeof rail->reason, format, arguments);
    va_end(arguments);
    for (uint32_t i = 0; i < connection->lanes_per_rail; i++) verbs_lane_stop(rail_lane(connection, index, i));
    state_enter(connection, rail, RAIL_DRAINING);
}

static void advance_joining(struct verbs_connection *connection, uint32_t index)
{
    struct verbs_rail_end *rail = &connection->rails[index];

    for (uint32_t i = 0; i < connection->lanes_per_rail; i++) {
        if (rail_lane(connection, index, i)->established) continue;
        if (verbs_dials(connection) && state_age_ns(connection, rail) > JOIN_PATIENCE_NS)
            verbs_rail_fail(connection, index, "not connected within %u s", (unsigned)(JOIN_PATIENCE_NS / NS_PER_S));
        return;
    }
    /* Now that both have proved who they are. */
    say(connection, index, WIRE_READY);
    state_enter(connection, rail, RAIL_READY);
}

static void advance_ready(struct verbs_connection *connection, uint32_t index)
{
    struct verbs_rail_end *rail = &connection->rails[index];

    if (!rail->peer_ready) return;
    rail->remote_address = rail->peer.address;
    rail->rkey = rail->peer.rkey;
    for (uint32_t i = 0; i < connection->lanes_per_rail; i++) {
        const uint32_t lane = rail_lane(connection, index, i)->index;
        const struct ledger_credit *credit = &rail->peer.credits[i];
        const weft_status status =
            outbox_credit(&connection->outbox, lane, credit->messages, credit->notes, credit->stripes);
        if (status) {
            verbs_connection_refuse(connection, status, "has seen what was never sent");
            return;
        }
        if (connection->state == VERBS_CONNECTED) outbox_lane_restore(&connection->outbox, lane);
        connection->dirty |= UINT32_C(1) << lane;
    }
    rail->noted = true;
    state_enter(connection, rail, RAIL_UP);
    if (rail->incarnation > 0)
        log_warning("verbs rail is back rank %u peer %u device %s port %u", connection->base.endpoint->rank,
                    connection->base.peer, rail->port->config.device, rail->port->config.port);
}

static void advance_draining(struct verbs_connection *connection, uint32_t index)
{
    struct verbs_rail_end *rail = &connection->rails[index];
    bool quiet = true;

    for (uint32_t i = 0; i < connection->lanes_per_rail; i++)
        quiet &= verbs_lane_quiet(rail_lane(connection, index, i));
    if (!quiet && state_age_ns(connection, rail) < DRAIN_PATIENCE_NS) return;
    for (uint32_t i = 0; i < connection->lanes_per_rail; i++) verbs_lane_destroy(rail_lane(connection, index, i));
    say(connection, index, WIRE_DOWN);
    state_enter(connection, rail, RAIL_QUIET);
}

/* What the peer has not received goes to other rails. */
static weft_status hand_over(struct verbs_connection *connection, uint32_t index)
{
    struct verbs_endpoint *endpoint = verbs_endpoint_of_connection(connection);
    const struct verbs_rail_end *rail = &connection->rails[index];

    for (uint32_t i = 0; i < connection->lanes_per_rail; i++) {
        const uint32_t lane = rail_lane(connection, index, i)->index;
        const struct ledger_credit *credit = &rail->peer.credits[i];
        uint32_t to = 0;
        if (connection->outbox.lanes[lane].state == LEDGER_LOST) continue; /* before: it never came back */
        weft_status status = outbox_credit(&connection->outbox, lane, credit->messages, credit->notes, credit->stripes);
        if (status == WEFT_OK)
            status = outbox_lane_lose(&connection->outbox, lane, credit->messages, verbs_item_release, endpoint, &to);
        if (status) return status;
        connection->dirty |= UINT32_C(1) << to;
    }
    return WEFT_OK;
}

static void advance_quiet(struct verbs_connection *connection, uint32_t index)
{
    struct verbs_rail_end *rail = &connection->rails[index];

    if (!rail->peer_down) return;
    state_enter(connection, rail, RAIL_DOWN);
    if (rail->noted)
        log_warning("verbs rail lost rank %u peer %u device %s port %u peer device %s reason \"%s\"",
                    connection->base.endpoint->rank, connection->base.peer, rail->port->config.device,
                    rail->port->config.port, rail->peer_card.device, rail->reason);
    if (connection->state != VERBS_CONNECTED) return;
    const weft_status status = hand_over(connection, index);
    if (status == WEFT_OK) {
        rail->path_down = rail->noted;
        rail->noted = false; /* attempts to get it back that fail are not worth a word */
    } else if (status == WEFT_LINK_DOWN) {
        log_error("verbs no rail left rank %u peer %u", connection->base.endpoint->rank, connection->base.peer);
        verbs_connection_fail(connection, WEFT_LINK_DOWN);
    } else {
        verbs_connection_refuse(connection, status, "has received what was never sent");
    }
}

static void advance_down(struct verbs_connection *connection, uint32_t index)
{
    struct verbs_rail_end *rail = &connection->rails[index];
    const struct verbs_config *config = &verbs_endpoint_of_connection(connection)->config;

    if (connection->state != VERBS_CONNECTED || !verbs_dials(connection) || rail->port->down ||
        state_age_ns(connection, rail) < config->reconnect_ns)
        return;
    rail->incarnation++;
    verbs_rail_join(rail, connection);
}

void verbs_rail_advance(struct verbs_connection *connection, uint32_t index)
{
    static void (*const advances[])(struct verbs_connection *, uint32_t) = {
        [RAIL_JOINING] = advance_joining,   [RAIL_READY] = advance_ready, [RAIL_UP] = NULL,
        [RAIL_DRAINING] = advance_draining, [RAIL_QUIET] = advance_quiet, [RAIL_DOWN] = advance_down,
    };
    uint8_t before;

    do { /* as far as it goes */
        before = connection->rails[index].state;
        if (advances[before]) advances[before](connection, index);
    } while (connection->rails[index].state != before && connection->state < VERBS_FAILING);
}

weft_status verbs_rail_told(struct verbs_connection *connection, const struct wire_rail *said, const char **reason)
{
    struct verbs_rail_end *rail = &connection->rails[said->rail];

    if (said->rail >= connection->rail_count || said->lane_count != connection->lanes_per_rail) {
        *reason = "speaks of a rail that is none";
        return WEFT_PROTOCOL_ERROR;
    }
    if ((int32_t)(said->incarnation - rail->incarnation) < 0) return WEFT_OK; /* of one that is over */
    if (said->incarnation != rail->incarnation) {
        /* It tried to join the rail again, and gave up before a word of it came here. */
        if (said->kind != WIRE_DOWN || verbs_dials(connection) || rail->state != RAIL_DOWN) {
            *reason = "is ahead of what was agreed on";
            return WEFT_PROTOCOL_ERROR;
        }
        rail->incarnation = said->incarnation;
        say(connection, said->rail, WIRE_DOWN);
        return WEFT_OK;
    }
    rail->peer = *said;
    if (said->kind == WIRE_READY) {
        rail->peer_ready = true;
    } else {
        rail->peer_down = true;
        (void)verbs_queues_poll(rail->port); /* what this side's device says of it comes first */
        verbs_rail_fail(connection, said->rail, "the peer took it out");
    }
    verbs_rail_advance(connection, said->rail);
    return WEFT_OK;
}

void verbs_rails_settle(struct verbs_connection *connection)
{
    for (uint32_t rail = 0; rail < connection->rail_count; rail++) {
        if (connection->rails[rail].state == RAIL_UP) continue;
        for (uint32_t i = 0; i < connection->lanes_per_rail; i++)
            outbox_lane_stop(&connection->outbox, rail_lane(connection, rail, i)->index);
    }
    for (uint32_t rail = 0; rail < connection->rail_count; rail++) {
        if (connection->rails[rail].state != RAIL_UP) (void)hand_over(connection, rail);
    }
}

void verbs_rails_stop(struct verbs_connection *connection)
{
    for (uint32_t rail = 0; rail < connection->rail_count; rail++) {
        if (connection->rails[rail].state >= RAIL_DRAINING) continue;
        for (uint32_t i = 0; i < connection->lanes_per_rail; i++) verbs_lane_stop(rail_lane(connection, rail, i));
        state_enter(connection, &connection->rails[rail], RAIL_DRAINING);
    }
}

bool verbs_rails_quiet(const struct verbs_connection *connection)
{
    for (uint32_t rail = 0; rail < connection->rail_count; rail++) {
        if (connection->rails[rail].state == RAIL_DRAINING &&
            state_age_ns(connection, &connection->rails[rail]) >= DRAIN_PATIENCE_NS)
            continue;
        for (uint32_t i = 0; i < connection->lanes_per_rail; i++) {
            if (!verbs_lane_quiet(&connection->lanes[rail * connection->lanes_per_rail + i])) return false;
        }
    }
    return true;
}

void verbs_rails_close(struct verbs_connection *connection)
{
    for (uint32_t i = 0; connection->lanes && i < connection->rail_count * connection->lanes_per_rail; i++)
        verbs_lane_destroy(&connection->lanes[i]);
    for (uint32_t rail = 0; rail < connection->rail_count; rail++) {
        if (connection->rails[rail].region) (void)ibv_dereg_mr(connection->rails[rail].region);
        if (connection->rails[rail].messages) (void)ibv_dereg_mr(connection->rails[rail].messages);
        connection->rails[rail].region = connection->rails[rail].messages = NULL;
    }
}
