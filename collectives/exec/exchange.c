/* SPDX-License-Identifier: Apache-2.0 */
#include "collectives/exec/exchange.h"

#include <string.h>

#include "collectives/exec/exec_internal.h"
#include "collectives/plan/shape.h"

/* What a cell carries in the first round of a loan. */
struct offer {
    struct loan input, output;
    double scale;
    uint64_t flags; /* enum offer_flags */
};
_Static_assert(sizeof(struct offer) <= EXCHANGE_BESIDE_BYTES, "an offer comes with its flag");

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

bool exchange_runs(const struct engine *engine, const struct weft_plan *plan)
{
    return engine->config.exchanges && plan->rank_count > 1 && !plan->programs &&
           plan->algorithm == WEFT_ALGORITHM_DIRECT && plan->collective != WEFT_SEND_RECV;
}

weft_status exchange_bind(struct engine *engine, const struct weft_plan *plan, struct exchange_binding *binding)
{
    uint32_t rank = engine->config.rank;
    binding->combines = shape_of(plan->collective)->combines;
    for (uint32_t peer = 0; peer < plan->rank_count; peer++) {
        struct peer *connected;
        weft_status status = peer == rank ? WEFT_OK : peer_get(engine, peer, &connected);
        if (status != WEFT_OK) return status;
        bool sends = message_between(plan, rank, peer), receives = message_between(plan, peer, rank);
        binding->send_places[peer] = sends ? plan_input_place(plan, block_between(plan, rank, peer)) : PLAN_NONE;
        binding->recv_places[peer] = receives ? plan_output_place(plan, block_between(plan, peer, rank)) : PLAN_NONE;
    }
    return WEFT_OK;
}

/* ---- Cells ---- */

/* The cell of the round under way, in a region granted for it. */
static struct exchange_cell *cell_at(const struct peer *peer, uint8_t *region)
{
    uint32_t round = peer->engine->exchange.round;
    uint64_t offset = slots_bytes(&peer->engine->config) + round % EXCHANGE_CELLS * sizeof(struct exchange_cell);
    return (struct exchange_cell *)(void *)(region + offset);
}

static struct exchange_cell *cell_to(const struct peer *peer)
{
    return cell_at(peer, peer->mapped);
}

static struct exchange_cell *cell_from(const struct peer *peer)
{
    return cell_at(peer, peer->connection->granted);
}

/* The flag by which a cell of this operation's round is known. Who has given up says so with `left`. */
static uint64_t flag_of(const struct operation *operation, bool left)
{
    uint32_t check = operation->call.check;
    return (uint64_t)operation->binding->engine->exchange.round << 32 | (left ? ~check : check);
}

/* Release: pairs with cell_arrived() in the peer, which reads the rest of the cell after it. */
static void cell_send(struct exchange_cell *cell, uint64_t flag)
{
    atomic_store_explicit(&cell->flag, flag, memory_order_release);
}

/* WEFT_OK: the peer's cell has come. WEFT_IN_PROGRESS: not yet, or the peer has left the operation. */
static weft_status cell_arrived(const struct operation *operation, const struct peer *peer)
{
    uint32_t round = peer->engine->exchange.round;
    /* Acquire: pairs with cell_send(). */
    uint64_t flag = atomic_load_explicit(&cell_from(peer)->flag, memory_order_acquire);
    if (flag == flag_of(operation, false)) return WEFT_OK;
    uint32_t number = (uint32_t)(flag >> 32);
    if (number == round && flag != flag_of(operation, true)) return WEFT_MISMATCH;
    bool old = round <= EXCHANGE_CELLS ? flag == 0 : number == round - EXCHANGE_CELLS;
    if (!old && number != round) return WEFT_PROTOCOL_ERROR;
    return peer->state == PEER_FAILED ? peer->failure : WEFT_IN_PROGRESS;
}

/* The peers' cells are stored: wake who sleeps, after all of them. */
static void round_wake(const struct engine *engine)
{
    for (const struct peer *peer = engine->first_peer; peer; peer = peer->next)
        if (peer->state == PEER_CONNECTED) connection_wake(peer->connection);
}

static void round_send(const struct operation *operation, bool left)
{
    const struct engine *engine = operation->binding->engine;
    for (const struct peer *peer = engine->first_peer; peer; peer = peer->next)
        if (peer->state == PEER_CONNECTED) cell_send(cell_to(peer), flag_of(operation, left));
    round_wake(engine);
}

/* Has a cell of every peer come? */
static bool round_complete(struct operation *operation)
{
    const struct engine *engine = operation->binding->engine;
    for (const struct peer *peer = engine->first_peer; peer; peer = peer->next) {
        weft_status status = cell_arrived(operation, peer);
        if (status == WEFT_OK) continue;
        uint32_t step = operation->phase == PHASE_RETURNING ? 2 : 1;
        if (status == WEFT_IN_PROGRESS)
            operation->stall = (struct operation_stall){0, step, peer->rank, false};
        else
            operation_break_at(operation, 0, step, peer->rank, status);
        return false;
    }
    return true;
}

/* All peers have to be there before the first cell is stored: a cell is a round's of all. */
static bool all_connected(struct operation *operation)
{
    const struct engine *engine = operation->binding->engine;
    if (engine->connected_count == engine->config.rank_count - 1) return true;
    for (const struct peer *peer = engine->first_peer; peer; peer = peer->next) {
        if (peer->state == PEER_CONNECTED) continue;
        if (peer->state == PEER_FAILED)
            operation_break_at(operation, 0, 0, peer->rank, peer->failure);
        else
            operation->stall = (struct operation_stall){0, 0, peer->rank, true};
        return false;
    }
    return true;
}

/* ---- Small messages: one round ---- */

static bool is_small(const struct operation *operation)
{
    const struct operation_call *call = &operation->call;
    return !call->blocks && call->op != WEFT_PREMUL_SUM && call->count <= EXCHANGE_BYTES / operation->element_bytes;
}

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

static uint8_t *payload_of(struct exchange_cell *cell, size_t bytes)
{
    return bytes <= sizeof cell->beside ? cell->beside : cell->payload;
}

static void contents_send(const struct operation *operation)
{
    const struct engine *engine = operation->binding->engine;
    size_t bytes = message_bytes(operation);
    for (const struct peer *peer = engine->first_peer; peer; peer = peer->next) {
        struct exchange_cell *cell = cell_to(peer);
        uint32_t place = operation->binding->exchange.send_places[peer->rank];
        if (place != PLAN_NONE && bytes > 0) memcpy(payload_of(cell, bytes), input_at(operation, place), bytes);
        cell_send(cell, flag_of(operation, false));
    }
    round_wake(engine);
}

/* What rank @p from sent here, or this rank has for itself. */
static const void *received_from(const struct operation *operation, uint32_t from)
{
    const struct engine *engine = operation->binding->engine;
    if (from == engine->config.rank) return input_at(operation, operation->binding->exchange.send_places[from]);
    return payload_of(cell_from(engine->peers[from]), message_bytes(operation));
}

/* The result, of what has come from everybody. */
static void contents_take(const struct operation *operation)
{
    const struct exchange_binding *binding = &operation->binding->exchange;
    uint32_t rank_count = operation->binding->engine->config.rank_count, source_count = 0;
    const void *sources[EXCHANGE_RANKS];
    void *destination = NULL;
    for (uint32_t from = 0; from < rank_count; from++) {
        if (binding->recv_places[from] == PLAN_NONE) continue;
        sources[source_count++] = received_from(operation, from);
        destination = output_at(operation, binding->recv_places[from]);
        if (!binding->combines && destination != sources[source_count - 1])
            memcpy(destination, sources[source_count - 1], message_bytes(operation));
    }
    if (!binding->combines || source_count == 0) return;
    const struct reduce_call call = {
        .sources = sources,
        .source_count = source_count,
        .destinations = &destination,
        .destination_count = 1,
        .count = operation->call.count,
        .divisor = operation->call.divisor,
    };
    operation->combine(&call);
}

/* ---- Larger ones: two rounds, and work between them ---- */

static void offers_send(struct operation *operation)
{
    const struct engine *engine = operation->binding->engine;
    struct lent offers[EXCHANGE_RANKS];
    operation->offered = loan_offer(operation, offers);
    for (const struct peer *peer = engine->first_peer; peer; peer = peer->next) {
        const struct lent *lent = &offers[peer->rank];
        const struct offer offer = {lent->input_loan, lent->output_loan, operation->call.scale, operation->offered};
        struct exchange_cell *cell = cell_to(peer);
        memcpy(cell->beside, &offer, sizeof offer);
        cell_send(cell, flag_of(operation, false));
    }
    round_wake(engine);
}

/* Everybody's offers have come; all ranks read the same. Are all buffers lent? */
static bool offers_take(struct operation *operation)
{
    struct engine *engine = operation->binding->engine;
    uint64_t all = operation->offered, any = operation->offered;
    for (const struct peer *peer = engine->first_peer; peer; peer = peer->next) {
        struct offer offer;
        memcpy(&offer, cell_from(peer)->beside, sizeof offer);
        engine->exchange.lent[peer->rank] =
            (struct lent){.input_loan = offer.input, .output_loan = offer.output, .scale = offer.scale};
        all &= offer.flags;
        any |= offer.flags;
    }
    loan_divide(operation, any);
    return all & OFFER_LENT;
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
    exchange_end(operation);
    operation->status = WEFT_OK;
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
    if (exchange->serving != operation->ticket) return false;
    bool small = is_small(operation);
    if (!small && !loan_serves(operation)) {
        steps_instead(operation);
        return true;
    }
    if (!all_connected(operation)) return false;
    exchange->current = operation;
    exchange->round++;
    operation->phase = small ? PHASE_EXCHANGING : PHASE_OFFERING;
    if (small)
        contents_send(operation);
    else
        offers_send(operation);
    return true;
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
    if (!all_connected(operation)) return;
    weft_status status = loan_advance(operation, &peer);
    if (status == WEFT_IN_PROGRESS) return;
    if (status != WEFT_OK) {
        operation_break_at(operation, 0, 1, peer, status);
        return;
    }
    operation->binding->engine->exchange.round++;
    operation->phase = PHASE_RETURNING;
    round_send(operation, false);
}

void exchange_advance(struct operation *operation, bool *moved)
{
    if (operation->phase == PHASE_QUEUED) {
        if (!exchange_begin(operation)) return;
        *moved = true;
    }
    if (operation->phase == PHASE_EXCHANGING && round_complete(operation)) {
        if (operation->call.count > 0) contents_take(operation);
        exchange_finish(operation);
        *moved = true;
    }
    if (operation->phase == PHASE_OFFERING && round_complete(operation)) {
        loan_begin(operation);
        *moved = true;
    }
    if (operation->phase == PHASE_WORKING) {
        loan_go_on(operation);
        *moved = true;
    }
    if (operation->phase == PHASE_RETURNING && operation->status == WEFT_IN_PROGRESS && round_complete(operation)) {
        exchange_finish(operation);
        *moved = true;
    }
}

bool engine_exchange_is_due(const struct engine *engine)
{
    const struct operation *operation = engine->exchange.current;
    if (!operation) return false;
    if (operation->phase == PHASE_WORKING) return true;
    for (const struct peer *peer = engine->first_peer; peer; peer = peer->next)
        if (cell_arrived(operation, peer) == WEFT_IN_PROGRESS) return false;
    return true;
}

/* Does the peer still use what this rank has lent? One that is gone does not. */
static bool peer_borrows(const struct operation *operation, const struct peer *peer)
{
    if (peer->state != PEER_CONNECTED) return false;
    uint64_t flag = atomic_load_explicit(&cell_from(peer)->flag, memory_order_acquire); /* with cell_send() */
    return flag != flag_of(operation, false) && flag != flag_of(operation, true);
}

weft_status exchange_abandon(struct operation *operation)
{
    struct engine *engine = operation->binding->engine;
    if (engine->exchange.current != operation) return WEFT_OK;
    bool offered = operation->phase == PHASE_OFFERING && operation->offered & OFFER_LENT;
    if (!offered && operation->phase != PHASE_WORKING && operation->phase != PHASE_RETURNING) return WEFT_OK;
    if (operation->phase != PHASE_RETURNING) {
        /* Who has not read the offer yet is not to take it up. */
        if (offered) round_send(operation, true);
        engine->exchange.round++;
        operation->phase = PHASE_RETURNING;
        round_send(operation, true);
    }
    for (const struct peer *peer = engine->first_peer; peer; peer = peer->next)
        if (peer_borrows(operation, peer)) return WEFT_IN_PROGRESS;
    return WEFT_OK;
}
