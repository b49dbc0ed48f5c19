/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Small messages of direct plans: their contents travel in cells, or cells say where to read them. Operations do this
 * in their turn (exchange.c); a caller that waits anyway runs a call as a whole, without an operation. Between two
 * threads of one core it is the instructions from one flag's arrival to the next one's departure that take the time of
 * a call.
 */
#include <string.h>

#include "base/fence.h"
#include "base/relax.h"
#include "collectives/exec/distance.h"
#include "collectives/exec/exec_internal.h"

/* From so many bytes on a message that the receiver can load from where it is stays there. Measured: below, waiting
 * for the receiver to be done costs more than the copy. */
#define REFERENCE_BYTES 1024u
/* The same where ranks share processors: there whoever waits has to be scheduled once more. */
#define SHARED_REFERENCE_BYTES 3072u

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
    if (small->bytes < SHARED_REFERENCE_BYTES && small->binding->engine->config.shares_processors) return false;
    if (!connection_lend(peer->connection, contents, small->bytes, &loan) || loan.share == 0) return false;
    memcpy(cell->beside, &loan, sizeof loan);
    return true;
}

/* Contents of many lines: near or far, it makes a difference how they are stored. */
static __attribute__((noinline)) void lines_store(const struct small *small, const struct peer *peer, struct cell *cell,
                                                  const void *contents)
{
    distance_mark_small(peer);
    reduce_copy(small->combine, cell->payload, contents, small->call->count, distance_is_apart(peer));
}

void small_send(const struct small *small)
{
    const struct exchange_edge *const to = small->binding->exchange.to;
    const uint32_t to_count = small->binding->exchange.to_count;
    const uint8_t *const input = small->call->send;
    const uint32_t check = small->call->check;
    const size_t bytes = small->bytes;
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
        } else if (bytes >= DISTANCE_BYTES) {
            lines_store(small, peer, cell, input + place * bytes);
        } else {
            cell_store(cell, input + place * bytes, bytes);
        }
        cell_send(&peer->lanes, cell, flags, check);
    }
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
    struct peer *peer = edge->peer;
    if (!peer) return (const uint8_t *)small->call->send + small->binding->exchange.own_place * small->bytes;
    if (referring & peer->bit) return referred(peer, small->bytes, status);
    if (small->bytes >= DISTANCE_BYTES) distance_look_small(peer);
    return cell_contents(cell_last(&peer->lanes), small->bytes);
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
    *small = (struct small){binding, call, binding->combine, bytes};
    return true;
}

bool small_may_run(const struct engine *engine)
{
    return exchange_is_free(&engine->exchange) && engine->idle_operations &&
           engine->connected_count == engine->config.rank_count - 1;
}

bool small_begin(const struct small *small)
{
    const struct exchange_edge *const to = small->binding->exchange.to;
    const uint32_t to_count = small->binding->exchange.to_count;
    struct exchange *exchange = &small->binding->engine->exchange;
    for (uint32_t i = 0; i < to_count; i++)
        if (!lane_has_room(&to[i].peer->lanes)) return false;
    exchange->referring = exchange->borrowing = 0;
    small_send(small);
    return true;
}

/* Take the sender's cell. False: it has not come in time, or is something else. */
static inline bool cell_await(struct peer *peer, rank_set receivers, uint32_t check, struct patience *patience)
{
    struct lanes *lanes = &peer->lanes;
    const uint32_t number = lanes->come + 1;
    const uint64_t expected = cell_flag(number, check);
    const struct cell *cell = &lanes->from->cells[number % LANE_CELLS];
    uint64_t flag;
    /* Acquire: pairs with cell_send(). */
    while (((flag = atomic_load_explicit(&cell->flag, memory_order_acquire)) & ~CELL_BY_REFERENCE) != expected) {
        if (patience->looks == 0) return false;
        if (patience->looks-- <= patience->paused_looks) relax();
    }
    cell_take(peer, receivers, flag & CELL_BY_REFERENCE);
    return true;
}

/* Wait until the peers are done with what they were told where to read. False: some are not in time. */
static bool contents_await(struct engine *engine, struct patience *patience)
{
    struct exchange *exchange = &engine->exchange;
    for (struct peer *peer = engine->first_peer; exchange->borrowing; peer = peer->next) {
        if (!(exchange->borrowing & peer->bit)) continue;
        while (!lane_is_taken(&peer->lanes)) {
            if (patience->looks == 0) return false;
            if (patience->looks-- <= patience->paused_looks) relax();
        }
        exchange->borrowing &= ~peer->bit;
    }
    return true;
}

static __attribute__((noinline)) weft_status go_on(const struct small *small, enum operation_phase phase,
                                                   rank_set awaited, struct operation **operation)
{
    small->binding->engine->exchange.awaited = awaited;
    *operation = operation_resume(small->binding, small->call, phase);
    return WEFT_IN_PROGRESS;
}

weft_status small_end(const struct small *small, struct patience patience, struct operation **operation)
{
    struct engine *const engine = small->binding->engine;
    const struct exchange_binding *const edges = &small->binding->exchange;
    const uint32_t check = small->call->check;
    rank_set awaited = edges->senders;
    uint32_t culprit;
    fence_full();
    for (uint32_t i = 0; i < edges->to_count; i++) connection_wake(edges->to[i].peer->connection);
    for (struct peer *peer = engine->first_peer; peer; peer = peer->next) {
        if (!(awaited & peer->bit)) continue;
        if (!cell_await(peer, edges->receivers, check, &patience))
            return go_on(small, PHASE_EXCHANGING, awaited, operation);
        awaited &= ~peer->bit;
        cell_fetch(&peer->lanes); /* while there is time: before what came is looked at */
    }
    if (small_take(small, &culprit) != WEFT_OK) /* again, to say whose could not be got */
        return go_on(small, PHASE_EXCHANGING, 0, operation);
    const rank_set freed = small_freed(small);
    if (freed) exchange_say_taken(engine, freed);
    if (engine->exchange.borrowing && !contents_await(engine, &patience))
        return go_on(small, PHASE_RETURNING, 0, operation);
    return WEFT_OK;
}
