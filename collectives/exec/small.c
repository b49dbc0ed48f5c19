/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Small messages of direct plans: their contents travel in cells, or cells say where to read them. Operations do this
 * in their turn (exchange.c); a caller that waits anyway runs a call as a whole, without an operation. All of that is
 * on the way of a message of a few bytes: between threads of one core every twenty instructions cost a nanosecond.
 */
#include <string.h>

#include "base/fence.h"
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

/*
 * By reference, if the receiver can load it from where it is: half of the lines that go between the caches. The
 * kernel's copy is no way for so little; and a rank that gets nothing back shall not have to wait for the receiver.
 */
static __attribute__((noinline)) bool refer(const struct small *small, const struct peer *peer, const void *contents,
                                            struct cell *cell)
{
    struct loan loan;
    const bool exchanges = small->binding->exchange.senders & peer->bit;
    if (small->call->overwrites || !exchanges) return false;
    if (!connection_lend(peer->connection, contents, small->bytes, &loan) || loan.share == 0) return false;
    memcpy(cell->beside, &loan, sizeof loan);
    return true;
}

void small_send(const struct small *small)
{
    const uint32_t to_count = small->binding->exchange.to_count;
    const struct exchange_edge *const to = small->binding->exchange.to;
    const uint8_t *const input = small->call->send;
    const size_t bytes = small->bytes;
    const uint32_t check = small->call->check;
    for (uint32_t i = 0; i < to_count; i++) {
        struct peer *peer = to[i].peer;
        const uint32_t place = to[i].place;
        struct cell *cell = cell_next(&peer->lanes);
        uint64_t flags = 0;
        if (place == PLAN_NONE) {
            /* nothing but the flag */
        } else if (bytes >= REFERENCE_BYTES && refer(small, peer, input + place * bytes, cell)) {
            flags = CELL_BY_REFERENCE;
            small->binding->engine->exchange.borrowing |= peer->bit;
        } else {
            cell_store(cell, input + place * bytes, bytes);
        }
        cell_send(&peer->lanes, cell, flags, check);
    }
    fence_full();
    for (uint32_t i = 0; i < to_count; i++) connection_wake(to[i].peer->connection);
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

/* What came for an edge, or NULL; then *status says why. */
static inline const void *contents_of(const struct small *small, const struct exchange_edge *edge, rank_set referring,
                                      weft_status *status)
{
    const struct peer *peer = edge->peer;
    if (!peer) return (const uint8_t *)small->call->send + small->binding->exchange.own_place * small->bytes;
    if (!(referring & peer->bit)) return cell_contents(cell_last(&peer->lanes), small->bytes);
    return referred(peer, small->bytes, status);
}

/* The result of what came, in the order of ranks. */
static weft_status contents_combine(const struct small *small, uint32_t *culprit)
{
    const uint32_t from_count = small->binding->exchange.from_count;
    const struct exchange_edge *const from = small->binding->exchange.from;
    const struct operation_call *call = small->call;
    const rank_set referring = small->binding->engine->exchange.referring;
    const void *sources[EXCHANGE_RANKS];
    void *destination = (uint8_t *)call->recv + from[0].place * small->bytes;
    weft_status status = WEFT_OK;
    for (uint32_t i = 0; i < from_count; i++) {
        sources[i] = contents_of(small, &from[i], referring, &status);
        if (sources[i]) continue;
        *culprit = from[i].peer->rank;
        return status;
    }
    const struct reduce_call reduce = {
        .sources = sources,
        .source_count = from_count,
        .destinations = &destination,
        .destination_count = 1,
        .count = call->count,
        .divisor = call->divisor,
    };
    small->combine(&reduce);
    return WEFT_OK;
}

static weft_status contents_copy(const struct small *small, uint32_t *culprit)
{
    const struct exchange_binding *edges = &small->binding->exchange;
    const rank_set referring = small->binding->engine->exchange.referring;
    weft_status status = WEFT_OK;
    for (uint32_t i = 0; i < edges->from_count; i++) {
        const struct exchange_edge *edge = &edges->from[i];
        uint8_t *destination = (uint8_t *)small->call->recv + edge->place * small->bytes;
        const void *source = contents_of(small, edge, referring, &status);
        if (!source) {
            *culprit = edge->peer->rank;
            return status;
        }
        if (destination != source) memcpy(destination, source, small->bytes);
    }
    return WEFT_OK;
}

weft_status small_take(const struct small *small, uint32_t *culprit)
{
    if (small->bytes == 0 || small->binding->exchange.from_count == 0) return WEFT_OK;
    return small->binding->exchange.combines ? contents_combine(small, culprit) : contents_copy(small, culprit);
}

rank_set small_freed(const struct small *small)
{
    const struct exchange_binding *edges = &small->binding->exchange;
    return small->binding->engine->exchange.referring | (edges->senders & ~edges->receivers);
}

/* ---- A call as a whole ---- */

bool small_prepare(struct binding *binding, const struct operation_call *call, struct small *small)
{
    if (!binding->is_exchange || !binding_combine_find(binding, call->dtype, call->op) ||
        !small_is(call, binding->element_bytes))
        return false;
    const size_t bytes = call->count * binding->element_bytes;
    *small = (struct small){binding, call, binding->combine, bytes, brief_serves(&binding->exchange, bytes)};
    return true;
}

static bool may_run(const struct engine *engine, const struct exchange_binding *edges)
{
    if (!exchange_is_free(&engine->exchange) || !engine->idle_operations) return false;
    if (engine->connected_count < engine->config.rank_count - 1) return false;
    for (uint32_t i = 0; i < edges->to_count; i++)
        if (!lane_has_room(&edges->to[i].peer->lanes)) return false;
    return true;
}

/* Take the cell of a sender. WEFT_IN_PROGRESS: it has not come in time. */
static inline weft_status cell_await(const struct small *small, struct peer *peer, struct patience *patience)
{
    weft_status status;
    while ((status = peer_cell_take(peer, small->binding->exchange.receivers, small->call->check)) != WEFT_OK) {
        if (status != WEFT_IN_PROGRESS || patience->looks == 0) return status;
        if (patience->looks-- <= patience->paused_looks) relax();
    }
    return WEFT_OK;
}

weft_status small_run(const struct small *small, struct patience patience, struct operation **operation)
{
    struct engine *engine = small->binding->engine;
    struct exchange *exchange = &engine->exchange;
    const struct exchange_binding *edges = &small->binding->exchange;
    uint32_t culprit;
    if (!may_run(engine, edges)) return WEFT_UNSUPPORTED;
    exchange->awaited = edges->senders;
    exchange->referring = exchange->borrowing = 0;
    small_send(small);
    weft_status status = WEFT_OK;
    for (struct peer *peer = engine->first_peer; peer && status == WEFT_OK; peer = peer->next)
        if (edges->senders & peer->bit) status = cell_await(small, peer, &patience);
    if (status != WEFT_OK || exchange->borrowing || small_take(small, &culprit) != WEFT_OK) {
        *operation = operation_resume(small->binding, small->call); /* which finds out by itself what is wrong */
        return WEFT_IN_PROGRESS;
    }
    exchange_say_taken(engine, small_freed(small));
    for (uint32_t i = 0; i < edges->to_count; i++) cell_fetch(&edges->to[i].peer->lanes);
    return WEFT_OK;
}
