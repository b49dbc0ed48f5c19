/* SPDX-License-Identifier: Apache-2.0 */
#include "collectives/exec/exchange.h"

#include <string.h>

#include "collectives/exec/distance.h"
#include "collectives/exec/exec_internal.h"
#include "collectives/plan/shape.h"

/* From so many bytes on a message that the receiver can load from where it is stays there. Measured: below, waiting
 * for the receiver to be done costs more than the copy. */
#define REFERENCE_BYTES 1024u

/* What a cell carries of a loan. */
struct offer {
    struct loan input, output;
    double scale;
    uint64_t flags; /* enum offer_flags */
};
_Static_assert(sizeof(struct offer) <= CELL_BESIDE_BYTES, "an offer comes with its flag");

/* The block of which @p from has the contents, and @p to is to get them; there may be no such block. */
static uint32_t block_between(const struct weft_plan *plan, uint32_t from, uint32_t to)
{
    const struct shape *shape = shape_of(plan->collective);
    if (shape->blocks == BLOCKS_PER_PAIR) return from * plan->rank_count + to;
    if (shape->blocks == BLOCKS_PER_RANK) return shape->output == HOLDER_OWNER ? to : from;
    return 0;
}

static bool message_between(const struct weft_plan *plan, uint32_t from, uint32_t to)
{
    uint32_t block = block_between(plan, from, to);
    return shape_of(plan->collective)->blocks != BLOCKS_NONE && plan_has_input(plan, from, block) &&
           plan_has_output(plan, to, block);
}

static rank_set rank_bit(uint32_t rank)
{
    return (rank_set)1 << rank;
}

bool exchange_runs(const struct engine *engine, const struct weft_plan *plan)
{
    return engine->config.exchanges && plan->rank_count > 1 && !plan->programs &&
           plan->algorithm == WEFT_ALGORITHM_DIRECT && plan->collective != WEFT_SEND_RECV;
}

weft_status exchange_bind(struct engine *engine, const struct weft_plan *plan, struct exchange_binding *binding)
{
    uint32_t rank = engine->config.rank;
    bool meets = shape_of(plan->collective)->blocks == BLOCKS_NONE; /* there is nothing but the flags */
    binding->combines = shape_of(plan->collective)->combines;
    binding->peers = binding->receivers = binding->senders = 0;
    for (uint32_t peer = 0; peer < plan->rank_count; peer++) {
        struct peer *connected;
        weft_status status = peer == rank ? WEFT_OK : peer_get(engine, peer, &connected);
        if (status != WEFT_OK) return status;
        bool sends = message_between(plan, rank, peer), receives = message_between(plan, peer, rank);
        binding->send_places[peer] = sends ? plan_input_place(plan, block_between(plan, rank, peer)) : PLAN_NONE;
        binding->recv_places[peer] = receives ? plan_output_place(plan, block_between(plan, peer, rank)) : PLAN_NONE;
        if (peer == rank) continue;
        binding->peers |= rank_bit(peer);
        if (sends || meets) binding->receivers |= rank_bit(peer);
        if (receives || meets) binding->senders |= rank_bit(peer);
    }
    return WEFT_OK;
}

/* ---- Cells ---- */

static bool is_small(const struct operation *operation)
{
    const struct operation_call *call = &operation->call;
    return !call->blocks && call->op != WEFT_PREMUL_SUM && call->count <= EXCHANGE_BYTES &&
           call->count * operation->element_bytes <= EXCHANGE_BYTES;
}

/* Whom the operation sends cells to. */
static rank_set receivers_of(const struct operation *operation)
{
    const struct exchange_binding *binding = &operation->binding->exchange;
    return operation->is_small ? binding->receivers : binding->peers;
}

/* What was stored for the peers is seen by those who sleep, after all of it is stored. */
static void peers_wake(const struct engine *engine, rank_set peers)
{
    for (const struct peer *peer = engine->first_peer; peer; peer = peer->next)
        if (peers & peer->bit && peer->state == PEER_CONNECTED) connection_wake(peer->connection);
}

/* Take the awaited cells that have come. True: none is awaited any more. */
static bool cells_take(struct operation *operation, bool *moved)
{
    struct engine *engine = operation->binding->engine;
    struct exchange *exchange = &engine->exchange;
    for (struct peer *peer = engine->first_peer; peer && exchange->awaited; peer = peer->next) {
        if (!(exchange->awaited & peer->bit)) continue;
        uint64_t reference;
        weft_status status = cell_come(&peer->lanes, operation->call.check, &reference);
        if (status == WEFT_IN_PROGRESS && peer->state == PEER_FAILED) status = peer->failure;
        if (status == WEFT_IN_PROGRESS) {
            operation->stall = (struct operation_stall){0, 1, peer->rank, false};
        } else if (status != WEFT_OK) {
            operation_break_at(operation, 0, 1, peer->rank, status);
            return false;
        } else {
            /* The peer is through with all that went before this operation. */
            uint32_t sent_here = receivers_of(operation) & peer->bit ? 1 : 0;
            lane_note_taken(&peer->lanes, peer->lanes.sent - sent_here);
            if (reference) exchange->referring |= peer->bit;
            exchange->awaited &= ~peer->bit;
            *moved = true;
        }
    }
    return !exchange->awaited;
}

/* This rank is done with what the peers have sent, and lent. */
static void say_taken(struct engine *engine, rank_set peers)
{
    if (!peers) return;
    for (struct peer *peer = engine->first_peer; peer; peer = peer->next)
        if (peers & peer->bit && peer->state == PEER_CONNECTED) lane_say(&peer->lanes);
    peers_wake(engine, peers);
}

/* Are all peers done with what was lent to them? */
static bool loans_returned(struct operation *operation)
{
    struct engine *engine = operation->binding->engine;
    struct exchange *exchange = &engine->exchange;
    for (struct peer *peer = engine->first_peer; peer && exchange->borrowing; peer = peer->next) {
        if (!(exchange->borrowing & peer->bit)) continue;
        if (lane_is_taken(&peer->lanes)) {
            exchange->borrowing &= ~peer->bit;
        } else if (peer->state == PEER_FAILED) {
            operation_break_at(operation, 0, 2, peer->rank, peer->failure);
            return false;
        } else {
            operation->stall = (struct operation_stall){0, 2, peer->rank, false};
        }
    }
    return !exchange->borrowing;
}

/* A peer that is not there, or is to get a cell and has no room for one; or NULL. */
static struct peer *unready_find(const struct engine *engine, rank_set receivers)
{
    for (struct peer *peer = engine->first_peer; peer; peer = peer->next) {
        if (peer->state != PEER_CONNECTED) return peer;
        if (receivers & peer->bit && !lane_has_room(&peer->lanes)) return peer;
    }
    return NULL;
}

/* A message goes to all or to none. */
static bool all_ready(struct operation *operation, rank_set receivers)
{
    const struct peer *peer = unready_find(operation->binding->engine, receivers);
    if (!peer) return true;
    if (peer->state == PEER_FAILED)
        operation_break_at(operation, 0, 0, peer->rank, peer->failure);
    else
        operation->stall = (struct operation_stall){0, 0, peer->rank, peer->state == PEER_CONNECTING};
    return false;
}

/* ---- Small messages ---- */

static size_t message_bytes(const struct operation *operation)
{
    return operation->call.count * operation->element_bytes;
}

static const uint8_t *input_at(const struct operation *operation, uint32_t place)
{
    return (const uint8_t *)operation->call.send + place * message_bytes(operation);
}

static uint8_t *output_at(const struct operation *operation, uint32_t place)
{
    return (uint8_t *)operation->call.recv + place * message_bytes(operation);
}

static uint8_t *payload_of(struct cell *cell, size_t bytes)
{
    return bytes <= sizeof cell->beside ? cell->beside : cell->payload;
}

/*
 * By reference, if the receiver can load it from where it is: half of the lines that go between the caches. The
 * kernel's copy is no way for so little; and a rank that gets nothing back shall not have to wait for the receiver.
 */
static bool refer(const struct operation *operation, const struct peer *peer, const void *contents, struct cell *cell)
{
    struct loan loan;
    size_t bytes = message_bytes(operation);
    bool exchanges = operation->binding->exchange.senders & peer->bit;
    if (bytes < REFERENCE_BYTES || operation->call.overwrites || !exchanges) return false;
    if (!connection_lend(peer->connection, contents, bytes, &loan) || loan.share == 0) return false;
    memcpy(cell->beside, &loan, sizeof loan);
    return true;
}

static void contents_send(const struct operation *operation)
{
    struct engine *engine = operation->binding->engine;
    const struct exchange_binding *binding = &operation->binding->exchange;
    size_t bytes = message_bytes(operation);
    for (struct peer *peer = engine->first_peer; peer; peer = peer->next) {
        if (!(binding->receivers & peer->bit)) continue;
        uint32_t place = binding->send_places[peer->rank];
        struct cell *cell = cell_next(&peer->lanes);
        uint64_t flags = 0;
        if (place == PLAN_NONE || bytes == 0) {
            /* nothing but the flag */
        } else if (refer(operation, peer, input_at(operation, place), cell)) {
            flags = CELL_BY_REFERENCE;
            engine->exchange.borrowing |= peer->bit;
        } else {
            memcpy(payload_of(cell, bytes), input_at(operation, place), bytes);
        }
        cell_send(&peer->lanes, flags, operation->call.check);
    }
    peers_wake(engine, binding->receivers);
}

/* What a peer has said where to find: there, or copied, or NULL; then *status says why. */
static const void *referred(const struct operation *operation, const struct peer *peer, weft_status *status)
{
    struct loan loan;
    memcpy(&loan, cell_last(&peer->lanes)->beside, sizeof loan);
    const void *contents = connection_borrow(peer->connection, &loan, message_bytes(operation));
    if (contents) return contents;
    uint8_t *bounce = loan_bounce(peer->engine);
    *status = WEFT_OUT_OF_MEMORY;
    if (!bounce) return NULL;
    bounce += (size_t)peer->rank * EXCHANGE_BYTES;
    *status = connection_read(peer->connection, &loan, 0, bounce, message_bytes(operation));
    return *status == WEFT_OK ? bounce : NULL;
}

/* What rank @p from sent here, or this rank has for itself. */
static const void *received_from(struct operation *operation, uint32_t from)
{
    const struct engine *engine = operation->binding->engine;
    if (from == engine->config.rank) return input_at(operation, operation->binding->exchange.send_places[from]);
    const struct peer *peer = engine->peers[from];
    if (!(engine->exchange.referring & rank_bit(from)))
        return payload_of(cell_last(&peer->lanes), message_bytes(operation));
    weft_status status;
    const void *contents = referred(operation, peer, &status);
    if (!contents) operation_break_at(operation, 0, 1, from, status);
    return contents;
}

/* The result, of what has come from everybody. False: some of it could not be got. */
static bool contents_take(struct operation *operation)
{
    const struct exchange_binding *binding = &operation->binding->exchange;
    uint32_t rank_count = operation->binding->engine->config.rank_count, source_count = 0;
    const void *sources[EXCHANGE_RANKS];
    void *destination = NULL;
    for (uint32_t from = 0; from < rank_count; from++) {
        if (binding->recv_places[from] == PLAN_NONE) continue;
        const void *source = received_from(operation, from);
        if (!source) return false;
        sources[source_count++] = source;
        destination = output_at(operation, binding->recv_places[from]);
        if (!binding->combines && destination != source) memcpy(destination, source, message_bytes(operation));
    }
    if (!binding->combines || source_count == 0) return true;
    const struct reduce_call call = {
        .sources = sources,
        .source_count = source_count,
        .destinations = &destination,
        .destination_count = 1,
        .count = operation->call.count,
        .divisor = operation->call.divisor,
    };
    operation->combine(&call);
    return true;
}

/* ---- Larger ones ---- */

static void offers_send(struct operation *operation)
{
    struct engine *engine = operation->binding->engine;
    struct lent offers[EXCHANGE_RANKS];
    operation->offered = loan_offer(operation, offers);
    if (operation->call.steps_when_near && distance_is_near(engine)) operation->offered |= OFFER_STEPS;
    for (struct peer *peer = engine->first_peer; peer; peer = peer->next) {
        const struct lent *lent = &offers[peer->rank];
        const struct offer offer = {lent->input_loan, lent->output_loan, operation->call.scale, operation->offered};
        memcpy(cell_next(&peer->lanes)->beside, &offer, sizeof offer);
        distance_mark(operation, &peer->lanes);
        cell_send(&peer->lanes, 0, operation->call.check);
    }
    if (operation->offered & OFFER_LENT) engine->exchange.borrowing = operation->binding->exchange.peers;
    peers_wake(engine, operation->binding->exchange.peers);
}

/*
 * Everybody's offers have come; all ranks read the same. Are all buffers lent, and is that the better way? Steps give
 * the same bits.
 */
static bool offers_take(struct operation *operation)
{
    struct engine *engine = operation->binding->engine;
    uint64_t all = operation->offered, any = operation->offered;
    for (struct peer *peer = engine->first_peer; peer; peer = peer->next) {
        struct offer offer;
        memcpy(&offer, cell_last(&peer->lanes)->beside, sizeof offer);
        engine->exchange.lent[peer->rank] =
            (struct lent){.input_loan = offer.input, .output_loan = offer.output, .scale = offer.scale};
        all &= offer.flags;
        any |= offer.flags;
        distance_look(operation, peer, offer.input.address ? &offer.input : &offer.output);
    }
    loan_divide(operation, any);
    const bool steps_are_better = any & OFFER_COPIED && all & OFFER_STEPS;
    return all & OFFER_LENT && !steps_are_better;
}

/* ---- The course of an operation ---- */

static void exchange_end(struct operation *operation)
{
    struct exchange *exchange = &operation->binding->engine->exchange;
    exchange->current = NULL;
    exchange->serving++;
}

static void exchange_finish(struct operation *operation)
{
    const struct engine *engine = operation->binding->engine;
    exchange_end(operation);
    operation->status = WEFT_OK;
    for (const struct peer *peer = engine->first_peer; peer; peer = peer->next) cell_fetch(&peer->lanes);
}

/* Its turn has come, and the steps of the plan are to be run. All ranks decide so for the same operations. */
static void steps_instead(struct operation *operation)
{
    exchange_end(operation);
    operation->phase = PHASE_STEPS;
    operation_begin_steps(operation);
}

static bool exchange_begin(struct operation *operation)
{
    struct exchange *exchange = &operation->binding->engine->exchange;
    const struct exchange_binding *binding = &operation->binding->exchange;
    if (exchange->left || exchange->serving != operation->ticket) return false;
    exchange->current = operation;
    const bool small = operation->is_small = is_small(operation);
    if (!small && !loan_serves(operation)) {
        steps_instead(operation);
        return true;
    }
    if (!all_ready(operation, receivers_of(operation))) return false;
    operation->phase = small ? PHASE_EXCHANGING : PHASE_OFFERING;
    exchange->awaited = small ? binding->senders : binding->peers;
    exchange->referring = exchange->borrowing = 0;
    if (small)
        contents_send(operation);
    else
        offers_send(operation);
    return true;
}

/* All that this rank needs has come. */
static void contents_end(struct operation *operation)
{
    struct engine *engine = operation->binding->engine;
    const struct exchange_binding *binding = &operation->binding->exchange;
    if (operation->call.count > 0 && !contents_take(operation)) return;
    /* Whoever gets nothing from here hears in no other way that there is room again. */
    say_taken(engine, engine->exchange.referring | (binding->senders & ~binding->receivers));
    operation->phase = PHASE_RETURNING;
}

static void loan_begin(struct operation *operation)
{
    if (!offers_take(operation)) {
        steps_instead(operation);
        return;
    }
    loan_accept(operation);
    operation->phase = PHASE_WORKING;
}

static void loan_go_on(struct operation *operation)
{
    uint32_t peer = PLAN_NONE;
    if (!all_ready(operation, 0)) return;
    weft_status status = loan_advance(operation, &peer);
    if (status == WEFT_IN_PROGRESS) return;
    if (status != WEFT_OK) {
        operation_break_at(operation, 0, 1, peer, status);
        return;
    }
    operation->phase = PHASE_RETURNING;
    say_taken(operation->binding->engine, operation->binding->exchange.peers);
}

void exchange_advance(struct operation *operation, bool *moved)
{
    if (operation->phase == PHASE_QUEUED) {
        if (!exchange_begin(operation)) return;
        *moved = true;
    }
    if (operation->phase == PHASE_EXCHANGING && cells_take(operation, moved)) contents_end(operation);
    if (operation->phase == PHASE_OFFERING && cells_take(operation, moved)) loan_begin(operation);
    if (operation->phase == PHASE_WORKING) {
        loan_go_on(operation);
        *moved = true;
    }
    if (operation->phase == PHASE_RETURNING && operation->status == WEFT_IN_PROGRESS && loans_returned(operation)) {
        exchange_finish(operation);
        *moved = true;
    }
}

/* Has something come that the operation waits for of this peer? */
static bool peer_is_due(const struct operation *operation, struct peer *peer)
{
    const struct exchange *exchange = &peer->engine->exchange;
    if (peer->state != PEER_CONNECTED) return false;
    if (operation->phase == PHASE_RETURNING) return exchange->borrowing & peer->bit && lane_is_taken(&peer->lanes);
    return exchange->awaited & peer->bit && cell_is_there(&peer->lanes);
}

bool engine_exchange_is_due(const struct engine *engine)
{
    const struct operation *operation = engine->exchange.current;
    if (!operation) return false;
    if (operation->phase == PHASE_WORKING) return true;
    if (operation->phase == PHASE_QUEUED) return !unready_find(engine, receivers_of(operation));
    for (struct peer *peer = engine->first_peer; peer; peer = peer->next)
        if (peer_is_due(operation, peer)) return true;
    return false;
}

/* Does the peer still use what this rank has lent? One that is gone does not. */
static bool peer_borrows(struct peer *peer)
{
    if (!(peer->engine->exchange.borrowing & peer->bit) || peer->state != PEER_CONNECTED) return false;
    return !lane_look(&peer->lanes) && !lane_is_taken(&peer->lanes);
}

/* Nobody is to take up what this rank has sent, and nobody has to wait for it any more. */
static void exchange_leave(struct operation *operation)
{
    struct engine *engine = operation->binding->engine;
    engine->exchange.left = true;
    for (struct peer *peer = engine->first_peer; peer; peer = peer->next) {
        if (peer->state != PEER_CONNECTED) continue;
        if (engine->exchange.borrowing & peer->bit) cell_spoil(&peer->lanes, operation->call.check);
        lane_leave(&peer->lanes);
    }
    peers_wake(engine, operation->binding->exchange.peers);
}

weft_status exchange_abandon(struct operation *operation)
{
    struct engine *engine = operation->binding->engine;
    if (engine->exchange.current != operation) return WEFT_OK;
    if (operation->phase == PHASE_QUEUED) engine->exchange.borrowing = 0;
    if (!engine->exchange.left) exchange_leave(operation);
    for (struct peer *peer = engine->first_peer; peer; peer = peer->next)
        if (peer_borrows(peer)) return WEFT_IN_PROGRESS;
    return WEFT_OK;
}
