/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Small messages of direct plans: their contents travel in cells, or cells say where to read them. Operations do this
 * in their turn (exchange.c); a caller that waits anyway runs a call as a whole, without an operation. All of that is
 * on the way of a message of a few bytes: between threads of one core every twenty instructions cost a nanosecond.
 */
#include <string.h>

#include "base/relax.h"
#include "collectives/exec/exec_internal.h"

/* From so many bytes on a message that the receiver can load from where it is stays there. Measured: below, waiting
 * for the receiver to be done costs more than the copy. */
#define REFERENCE_BYTES 1024u

bool small_is(const struct operation_call *call, size_t element_bytes)
{
    return !call->blocks && call->op != WEFT_PREMUL_SUM && call->count <= EXCHANGE_BYTES &&
           call->count * element_bytes <= EXCHANGE_BYTES;
}

static uint8_t *payload_of(struct cell *cell, size_t bytes)
{
    return bytes <= sizeof cell->beside ? cell->beside : cell->payload;
}

/*
 * By reference, if the receiver can load it from where it is: half of the lines that go between the caches. The
 * kernel's copy is no way for so little; and a rank that gets nothing back shall not have to wait for the receiver.
 */
static __attribute__((noinline)) bool refer(const struct small *small, const struct peer *peer, const void *contents)
{
    struct loan loan;
    const bool exchanges = small->binding->exchange.senders & peer->bit;
    if (small->call->overwrites || !exchanges) return false;
    if (!connection_lend(peer->connection, contents, small->bytes, &loan) || loan.share == 0) return false;
    memcpy(cell_next(&peer->lanes)->beside, &loan, sizeof loan);
    return true;
}

void small_send(const struct small *small)
{
    const struct exchange_binding *edges = &small->binding->exchange;
    const uint8_t *input = small->call->send;
    const size_t bytes = small->bytes;
    const uint32_t check = small->call->check;
    for (const struct exchange_edge *edge = edges->to; edge < edges->to + edges->to_count; edge++) {
        struct peer *peer = edge->peer;
        const uint8_t *contents = input + edge->place * bytes;
        uint64_t flags = 0;
        if (edge->place == PLAN_NONE) {
            /* nothing but the flag */
        } else if (bytes >= REFERENCE_BYTES && refer(small, peer, contents)) {
            flags = CELL_BY_REFERENCE;
            small->binding->engine->exchange.borrowing |= peer->bit;
        } else {
            memcpy(payload_of(cell_next(&peer->lanes), bytes), contents, bytes);
        }
        cell_send(&peer->lanes, flags, check);
    }
    /* After all of it is stored. */
    for (const struct exchange_edge *edge = edges->to; edge < edges->to + edges->to_count; edge++)
        connection_wake(edge->peer->connection);
}

/* What a peer has said where to find: there, or copied, or NULL; then *status says why. */
static __attribute__((noinline)) const void *referred(const struct peer *peer, size_t bytes, weft_status *status)
{
    struct loan loan;
    memcpy(&loan, cell_last(&peer->lanes)->beside, sizeof loan);
    const void *contents = connection_borrow(peer->connection, &loan, bytes);
    if (contents) return contents;
    uint8_t *bounce = loan_bounce(peer->engine);
    *status = WEFT_OUT_OF_MEMORY;
    if (!bounce) return NULL;
    bounce += (size_t)peer->rank * EXCHANGE_BYTES;
    *status = connection_read(peer->connection, &loan, 0, bounce, bytes);
    return *status == WEFT_OK ? bounce : NULL;
}

weft_status small_take(const struct small *small, uint32_t *culprit)
{
    const struct exchange_binding *edges = &small->binding->exchange;
    const struct operation_call *call = small->call;
    const rank_set referring = small->binding->engine->exchange.referring;
    const size_t bytes = small->bytes;
    const void *sources[EXCHANGE_RANKS];
    void *destination = NULL;
    weft_status status = WEFT_OK;
    if (bytes == 0) return WEFT_OK;
    for (uint32_t i = 0; i < edges->from_count; i++) {
        const struct exchange_edge *edge = &edges->from[i];
        const struct peer *peer = edge->peer;
        const void *source;
        if (!peer)
            source = (const uint8_t *)call->send + edges->own_place * bytes;
        else if (!(referring & peer->bit))
            source = payload_of(cell_last(&peer->lanes), bytes);
        else if (!(source = referred(peer, bytes, &status))) {
            *culprit = peer->rank;
            return status;
        }
        sources[i] = source;
        destination = (uint8_t *)call->recv + edge->place * bytes;
        if (!edges->combines && destination != source) memcpy(destination, source, bytes);
    }
    if (!edges->combines || edges->from_count == 0) return WEFT_OK;
    const struct reduce_call reduce = {
        .sources = sources,
        .source_count = edges->from_count,
        .destinations = &destination,
        .destination_count = 1,
        .count = call->count,
        .divisor = call->divisor,
    };
    small->combine(&reduce);
    return WEFT_OK;
}

rank_set small_freed(const struct small *small)
{
    const struct exchange_binding *edges = &small->binding->exchange;
    return small->binding->engine->exchange.referring | (edges->senders & ~edges->receivers);
}

/* ---- A call as a whole ---- */

static inline bool may_run(struct binding *binding, const struct operation_call *call)
{
    const struct exchange_binding *edges = &binding->exchange;
    const struct engine *engine = binding->engine;
    if (!binding->is_exchange || !exchange_is_free(&engine->exchange) || !engine->idle_operations) return false;
    if (!binding_combine_find(binding, call->dtype, call->op) || !small_is(call, binding->element_bytes)) return false;
    if (engine->connected_count < engine->config.rank_count - 1) return false;
    for (const struct exchange_edge *edge = edges->to; edge < edges->to + edges->to_count; edge++)
        if (!lane_has_room(&edge->peer->lanes)) return false;
    return true;
}

weft_status small_run(struct binding *binding, const struct operation_call *call, struct patience patience,
                      struct operation **operation)
{
    if (!may_run(binding, call)) return WEFT_UNSUPPORTED;
    struct engine *engine = binding->engine;
    struct exchange *exchange = &engine->exchange;
    const struct small small = {binding, call, binding->combine, call->count * binding->element_bytes};
    exchange->awaited = binding->exchange.senders;
    exchange->referring = exchange->borrowing = 0;
    small_send(&small);
    const rank_set receivers = binding->exchange.receivers;
    weft_status status = WEFT_OK;
    for (struct peer *peer = engine->first_peer; peer && status == WEFT_OK; peer = peer->next) {
        if (!(exchange->awaited & peer->bit)) continue;
        while ((status = peer_cell_take(peer, receivers, call->check)) == WEFT_IN_PROGRESS && patience.looks > 0) {
            if (patience.looks-- <= patience.paused_looks) relax();
        }
    }
    uint32_t culprit;
    if (status != WEFT_OK || exchange->borrowing || small_take(&small, &culprit) != WEFT_OK) {
        *operation = operation_resume(binding, call); /* which finds out by itself what is wrong */
        return WEFT_IN_PROGRESS;
    }
    exchange_say_taken(engine, small_freed(&small));
    exchange->tickets++;
    exchange_finish(engine);
    return WEFT_OK;
}
