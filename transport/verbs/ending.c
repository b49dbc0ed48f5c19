/* SPDX-License-Identifier: Apache-2.0 */
/* What a connection has to tell, and how it ends: by failing, and by being asked for quiet. */
#include "base/log.h"
#include "transport/verbs/verbs_internal.h"

void verbs_connection_fail(struct verbs_connection *connection, weft_status status)
{
    if (connection->state >= VERBS_FAILING) return;
    connection->failure = status;
    connection->state = VERBS_FAILING;
    /* From here on nothing lands: what has arrived is what completions tell of. */
    if (connection->lanes) verbs_rails_stop(connection);
    verbs_connection_attend(connection);
}

void verbs_connection_refuse(struct verbs_connection *connection, weft_status status, const char *reason)
{
    /* What failed on this side was said where it did. */
    if (status == WEFT_PROTOCOL_ERROR || status == WEFT_PEER_REFUSED)
        log_warning("verbs peer broke the protocol rank %u peer %u reason \"it %s\"", connection->base.endpoint->rank,
                    connection->base.peer, reason);
    verbs_connection_fail(connection, status);
}

weft_status verbs_quiesce(struct connection *base)
{
    struct verbs_connection *connection = verbs_connection_of(base);
    uint8_t frame[WIRE_FRAME_MAX_BYTES];

    if (!connection->announced) return WEFT_INVALID_STATE;
    if (connection->quiesce != VERBS_NOT_ASKED) return WEFT_OK;
    if (connection->state == VERBS_FAILED) {
        connection->quiesce = VERBS_STOPPING;
    } else if (connection->state == VERBS_FAILING || connection->stream.ended) {
        connection->quiesce = VERBS_STOPPING;
        verbs_rails_stop(connection);
    } else {
        if (!verbs_stream_send(connection, frame, wire_word_encode(WIRE_QUIESCE, frame))) return WEFT_AGAIN;
        connection->quiesce = VERBS_ASKED;
    }
    verbs_connection_attend(connection);
    return WEFT_OK;
}

static void answer_quiet(struct verbs_connection *connection)
{
    uint8_t frame[WIRE_FRAME_MAX_BYTES];

    if (!connection->answer_quiet || !verbs_rails_quiet(connection)) return;
    (void)verbs_stream_send(connection, frame, wire_word_encode(WIRE_QUIET, frame));
    connection->answer_quiet = false;
}

void verbs_connection_advance(struct verbs_connection *connection)
{
    if (connection->state == VERBS_CONNECTED && connection->stream.ended) {
        if (connection->quiesce == VERBS_ASKED) connection->quiesce = VERBS_STOPPING;
        verbs_connection_fail(connection, WEFT_PEER_FAILED);
    }
    /* One that has asked for quiet has no use for its rails but to learn that they are quiet. */
    for (uint32_t i = 0;
         i < connection->rail_count && connection->state == VERBS_CONNECTED && connection->quiesce != VERBS_STOPPING;
         i++)
        verbs_rail_advance(connection, i);
    if (connection->state == VERBS_FAILING) answer_quiet(connection);
}

static struct event event_make(const struct verbs_connection *connection, enum event_kind kind, uint32_t tag)
{
    return (struct event){.kind = (uint8_t)kind, .peer = connection->base.peer, .tag = tag};
}

static size_t paths_down_take(struct verbs_connection *connection, struct event *events, size_t max)
{
    size_t count = 0;

    for (uint32_t i = 0; i < connection->rail_count && count < max; i++) {
        if (!connection->rails[i].path_down) continue;
        connection->rails[i].path_down = false;
        events[count] = event_make(connection, EVENT_PATH_DOWN, 0);
        events[count++].path = (uint8_t)i;
    }
    return count;
}

/* The last events of a connection: nothing else is left to tell. */
static size_t end_take(struct verbs_connection *connection, struct event *events, size_t max)
{
    size_t count = 0;

    if (max > 0 && connection->quiesce == VERBS_STOPPING && verbs_rails_quiet(connection)) {
        connection->quiesce = VERBS_QUIESCED;
        events[count++] = event_make(connection, EVENT_QUIESCED, 0);
    }
    if (count < max && connection->state == VERBS_FAILING && !connection->answer_quiet &&
        verbs_rails_quiet(connection) && !inbox_ready(&connection->inbox)) {
        connection->state = VERBS_FAILED;
        events[count] = event_make(connection, EVENT_FAILED, 0);
        events[count++].status = (uint16_t)connection->failure;
    }
    return count;
}

size_t verbs_connection_take(struct verbs_connection *connection, struct event *events, size_t max)
{
    size_t count = 0;
    uint32_t tag;

    if (!connection->announced || connection->state == VERBS_FAILED) {
        if (connection->announced && connection->quiesce == VERBS_STOPPING) return end_take(connection, events, max);
        return 0;
    }
    while (count < max && outbox_take_done(&connection->outbox, &tag))
        events[count++] = event_make(connection, EVENT_LOCAL_DONE, tag);
    if (connection->failure != WEFT_PROTOCOL_ERROR) {
        while (count < max && inbox_take(&connection->inbox, &tag))
            events[count++] = event_make(connection, EVENT_ARRIVED, tag);
    } else {
        while (inbox_take(&connection->inbox, &tag)) continue; /* its word is not worth passing on */
    }
    if (connection->state == VERBS_CONNECTED) {
        for (uint32_t bits = connection->inbox.told_lanes; bits; bits &= bits - 1) {
            const uint32_t lane = (uint32_t)__builtin_ctz(bits);
            if (inbox_credit_due(&connection->inbox, lane)) connection->dirty |= UINT32_C(1) << lane;
        }
        connection->inbox.told_lanes = 0;
        count += paths_down_take(connection, events + count, max - count);
        if (count < max && outbox_room(&connection->outbox))
            events[count++] = event_make(connection, EVENT_WRITABLE, 0);
    }
    return count + end_take(connection, events + count, max - count);
}

bool verbs_connection_due(const struct verbs_connection *connection)
{
    if (connection->state == VERBS_FAILED) return connection->announced && connection->quiesce == VERBS_STOPPING;
    if (connection->state == VERBS_FAILING || connection->quiesce == VERBS_STOPPING || connection->dirty) return true;
    if (connection->stream.ended) return true;
    if (!connection->announced) return false;
    for (uint32_t i = 0; i < connection->rail_count; i++) {
        const struct verbs_rail_end *rail = &connection->rails[i];
        if (rail->path_down || rail->state == RAIL_DRAINING) return true;
    }
    return connection->outbox.done_head != connection->outbox.done_tail || inbox_ready(&connection->inbox) ||
           outbox_has_room(&connection->outbox);
}
