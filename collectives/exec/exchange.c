/* SPDX-License-Identifier: Apache-2.0 */
#include "collectives/exec/exchange.h"

#include <string.h>

#include "base/fence.h"
#include "collectives/exec/distance.h"
#include "collectives/exec/exec_internal.h"
#include "collectives/exec/stage.h"
#include "collectives/plan/shape.h"

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

bool exchange_runs(const struct engine *engine, const struct weft_plan *plan)
{
    return engine->config.exchanges && plan->rank_count > 1 && !plan->programs &&
           plan->algorithm == WEFT_ALGORITHM_DIRECT && plan->collective != WEFT_SEND_RECV;
}

weft_status exchange_bind(struct engine *engine, const struct weft_plan *plan, struct exchange_binding *binding)
{
    uint32_t rank = engine->config.rank;
    bool meets = shape_of(plan->collective)->blocks == BLOCKS_NONE; /* there is nothing but the flags */
    *binding = (struct exchange_binding){.combines = shape_of(plan->collective)->combines, .own_place = PLAN_NONE};
    for (uint32_t other = 0; other < plan->rank_count; other++) {
        struct peer *peer = NULL; /* of this rank: none */
        weft_status status = other == rank ? WEFT_OK : peer_get(engine, other, &peer);
        if (status != WEFT_OK) return status;
        const bool sends = message_between(plan, rank, other), receives = message_between(plan, other, rank);
        const uint32_t to_place = sends ? plan_input_place(plan, block_between(plan, rank, other)) : PLAN_NONE;
        if (!peer) binding->own_place = to_place;
        if (peer && (sends || meets)) binding->to[binding->to_count++] = (struct exchange_edge){peer, to_place};
        if (receives)
            binding->from[binding->from_count++] =
                (struct exchange_edge){peer, plan_output_place(plan, block_between(plan, other, rank))};
        if (!peer) continue;
        binding->peers |= peer->bit;
        if (sends || meets) binding->receivers |= peer->bit;
        if (receives || meets) binding->senders |= peer->bit;
    }
    return WEFT_OK;
}

/* ---- Cells ---- */

/* Whom the operation sends cells to. */
static rank_set receivers_of(const struct operation *operation)
{
    const struct exchange_binding *binding = &operation->binding->exchange;
    return operation->is_small ? binding->receivers : binding->peers;
}

/* What was stored for the peers is seen by those who sleep, after all of it is stored. */
static void peers_wake(const struct engine *engine, rank_set peers)
{
    fence_full();
    for (const struct peer *peer = engine->first_peer; peer; peer = peer->next)
        if (peers & peer->bit && peer->state == PEER_CONNECTED) connection_wake(peer->connection);
}

/* Take the awaited cells that have come. True: none is awaited any more. */
static bool cells_take(struct operation *operation, bool *moved)
{
    struct engine *engine = operation->binding->engine;
    const rank_set receivers = receivers_of(operation);
    for (struct peer *peer = engine->first_peer; peer && engine->exchange.awaited; peer = peer->next) {
        if (!(engine->exchange.awaited & peer->bit)) continue;
        uint64_t reference = 0;
        weft_status status = cell_come(&peer->lanes, operation->call.check, &reference);
        if (status == WEFT_IN_PROGRESS && peer->state == PEER_FAILED) status = peer->failure;
        if (status == WEFT_IN_PROGRESS) {
            operation->stall = (struct operation_stall){0, 1, peer->rank, false};
        } else if (status != WEFT_OK) {
            operation_break_at(operation, 0, 1, peer->rank, status);
            return false;
        } else {
            cell_take(peer, receivers, reference);
            engine->exchange.awaited &= ~peer->bit;
            *moved = true;
        }
    }
    return !engine->exchange.awaited;
}

/* @p through: as in lane_say(). */
static void say(struct engine *engine, rank_set peers, uint64_t through)
{
    for (struct peer *peer = engine->first_peer; peer; peer = peer->next)
        if (peers & peer->bit && peer->state == PEER_CONNECTED) lane_say(&peer->lanes, through);
    peers_wake(engine, peers);
}

void exchange_say_taken(struct engine *engine, rank_set peers)
{
    if (peers) say(engine, peers, LANE_THROUGH);
}

/* Is the peer done with what was lent to it, at this phase? */
static bool has_returned(const struct operation *operation, struct peer *peer)
{
    const bool pulls = operation->phase == PHASE_PULLING || operation->phase == PHASE_LEAVING;
    return pulls ? lane_is_through(&peer->lanes, peer->lanes.sent) : lane_is_taken(&peer->lanes);
}

/* Are all peers done with what was lent to them? */
static bool loans_returned(struct operation *operation, bool *moved)
{
    struct engine *engine = operation->binding->engine;
    struct exchange *exchange = &engine->exchange;
    for (struct peer *peer = engine->first_peer; peer && exchange->borrowing; peer = peer->next) {
        if (!(exchange->borrowing & peer->bit)) continue;
        if (has_returned(operation, peer)) {
            exchange->borrowing &= ~peer->bit;
            *moved = true;
        } else if (peer->state == PEER_FAILED) {
            operation_break_at(operation, 0, 2, peer->rank, peer->failure);
            return false;
        } else {
            operation->stall = (struct operation_stall){0, 2, peer->rank, false};
        }
    }
    return !exchange->borrowing;
}

/*
 * A peer that is not there, or is to get a cell and has no room for one; or NULL. One that is gone, and gets nothing,
 * may have left a cell: that is seen when it is awaited.
 */
static struct peer *unready_find(const struct engine *engine, rank_set receivers)
{
    for (struct peer *peer = engine->first_peer; peer; peer = peer->next) {
        if (peer->state == PEER_CONNECTING) return peer;
        if (receivers & peer->bit && (peer->state == PEER_FAILED || !lane_has_room(&peer->lanes))) return peer;
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

/* ---- Larger ones ---- */

/* Steps are for a whole message, or for what portions have left of one; not for what they have left of each block. */
static bool may_go_on_by_steps(const struct operation *operation)
{
    if (operation->portion.begin > 0) return shape_of(operation->binding->plan->collective)->blocks == BLOCKS_ONE;
    return !stage_probes(operation);
}

/* What is left is a message of its own. */
static void portions_skip(struct operation *operation)
{
    const uint64_t elements = operation->portion.begin;
    const size_t bytes = elements * operation->element_bytes;
    if (operation->call.send) operation->call.send = (const uint8_t *)operation->call.send + bytes;
    if (operation->call.recv) operation->call.recv = (uint8_t *)operation->call.recv + bytes;
    operation->call.count -= elements;
    operation->portion = (struct portion){0, operation->call.count};
}

static void offers_send(struct operation *operation)
{
    struct engine *engine = operation->binding->engine;
    struct lent offers[EXCHANGE_RANKS];
    operation->offered = loan_offer(operation, offers);
    if (operation->call.steps_when_near && may_go_on_by_steps(operation) && distance_is_near(engine))
        operation->offered |= OFFER_STEPS;
    for (struct peer *peer = engine->first_peer; peer; peer = peer->next) {
        const struct lent *lent = &offers[peer->rank];
        const struct offer offer = {lent->input_loan, lent->output_loan, operation->call.scale, operation->offered};
        struct cell *cell = cell_next(&peer->lanes);
        memcpy(cell->beside, &offer, sizeof offer);
        distance_mark(operation, &peer->lanes);
        cell_send(&peer->lanes, cell, 0, operation->call.check);
    }
    if (operation->offered & OFFER_LENT) engine->exchange.borrowing = operation->binding->exchange.peers;
}

/*
 * Everybody's offers have come; all ranks read the same. Are all buffers lent, and is that the better way? Steps give
 * the same bits.
 */
static bool offers_take(struct operation *operation, bool *steps_are_better)
{
    struct engine *engine = operation->binding->engine;
    uint64_t all = operation->offered, any = operation->offered;
    for (struct peer *peer = engine->first_peer; peer; peer = peer->next) {
        struct offer offer;
        memcpy(&offer, cell_last(&peer->lanes)->beside, sizeof offer);
        engine->exchange.lent[peer->rank] = (struct lent){.input_loan = offer.input,
                                                          .output_loan = offer.output,
                                                          .input_staged = offer.flags & OFFER_INPUT_STAGED,
                                                          .result_staged = offer.flags & OFFER_RESULT_STAGED,
                                                          .scale = offer.scale};
        all &= offer.flags;
        any |= offer.flags;
        distance_look(operation, peer, offer.input.address ? &offer.input : &offer.output);
    }
    loan_divide(operation, any);
    *steps_are_better = any & OFFER_COPIED && all & OFFER_STEPS;
    return all & OFFER_LENT && !*steps_are_better;
}

/* ---- The course of an operation ---- */

static void turn_end(struct engine *engine)
{
    engine->exchange.current = NULL;
    engine->exchange.serving++;
}

void exchange_finish(struct engine *engine)
{
    turn_end(engine);
    for (const struct peer *peer = engine->first_peer; peer; peer = peer->next) cell_fetch(&peer->lanes);
}

/*
 * Its turn has come, and steps are to be run: those of the plan or, near, of one that does better there. All ranks
 * decide so for the same operations.
 */
static void steps_instead(struct operation *operation, bool near)
{
    turn_end(operation->binding->engine);
    portions_skip(operation);
    if (near && operation->binding->near) operation->binding = operation->binding->near;
    operation->phase = PHASE_STEPS;
    operation_begin_steps(operation);
}

static struct small small_of(struct operation *operation)
{
    return (struct small){.binding = operation->binding,
                          .call = &operation->call,
                          .combine = operation->combine,
                          .bytes = operation->call.count * operation->element_bytes};
}

static bool exchange_begin(struct operation *operation)
{
    struct exchange *exchange = &operation->binding->engine->exchange;
    const struct exchange_binding *binding = &operation->binding->exchange;
    if (exchange->left || exchange->serving != operation->ticket) return false;
    exchange->current = operation;
    const bool small = operation->is_small = small_is(&operation->call, operation->element_bytes);
    if (!small && !loan_serves(operation)) {
        steps_instead(operation, false);
        return true;
    }
    if (!all_ready(operation, receivers_of(operation))) return false;
    operation->phase = small ? PHASE_EXCHANGING : PHASE_OFFERING;
    exchange->awaited = small ? binding->senders : binding->peers;
    exchange->referring = exchange->borrowing = 0;
    const struct small contents = small_of(operation);
    if (small)
        small_send(&contents);
    else
        offers_send(operation);
    peers_wake(operation->binding->engine, receivers_of(operation));
    return true;
}

/* All that this rank needs has come. */
static void contents_end(struct operation *operation)
{
    const struct small small = small_of(operation);
    uint32_t peer = PLAN_NONE;
    weft_status status = small_take(&small, &peer);
    if (status != WEFT_OK) {
        operation_break_at(operation, 0, 1, peer, status);
        return;
    }
    exchange_say_taken(operation->binding->engine, small_freed(&small));
    operation->phase = PHASE_RETURNING;
}

static void loan_begin(struct operation *operation)
{
    bool near;
    const bool lent = offers_take(operation, &near);
    if (!lent && !near && operation->portion.begin > 0) { /* what was lent before no longer is */
        operation_break_at(operation, 0, 1, operation->binding->engine->first_peer->rank, WEFT_PROTOCOL_ERROR);
        return;
    }
    if (!lent) {
        steps_instead(operation, near);
        return;
    }
    loan_accept(operation);
    operation->phase = PHASE_WORKING;
}

static void loan_go_on(struct operation *operation)
{
    uint32_t peer = PLAN_NONE;
    if (!all_ready(operation, operation->binding->exchange.peers)) return;
    weft_status status = loan_advance(operation, &peer);
    if (status == WEFT_IN_PROGRESS) return;
    if (status != WEFT_OK) {
        operation_break_at(operation, 0, 1, peer, status);
        return;
    }
    operation->phase = PHASE_RETURNING;
    if (!loan_is_touched(operation)) stage_leave(operation);
    say(operation->binding->engine, operation->binding->exchange.peers, operation->pulls ? 0 : LANE_THROUGH);
}

/* Everybody has made its share. Peers pull this rank's from the stage, or from where the caller wants it. */
static void pull_begin(struct operation *operation)
{
    struct exchange *exchange = &operation->binding->engine->exchange;
    exchange->work = (struct loan_work){0, 0};
    if (!(operation->offered & OFFER_RESULT_STAGED)) exchange->borrowing = operation->binding->exchange.peers;
    operation->phase = PHASE_PULLING;
}

static void pull_go_on(struct operation *operation)
{
    uint32_t peer = PLAN_NONE;
    weft_status status = pull_advance(operation, &peer);
    if (status == WEFT_IN_PROGRESS) return;
    if (status != WEFT_OK) {
        operation_break_at(operation, 0, 2, peer, status);
        return;
    }
    operation->phase = PHASE_LEAVING;
    if (operation->offered & OFFER_RESULT_STAGED) stage_leave(operation);
    exchange_say_taken(operation->binding->engine, operation->binding->exchange.peers);
}

/* All have done with this portion of the message. */
static void portion_end(struct operation *operation)
{
    if (loan_end(operation)) {
        operation->phase = PHASE_QUEUED; /* it is still its turn */
    } else {
        exchange_finish(operation->binding->engine);
        operation->status = WEFT_OK;
    }
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
    if (operation->phase == PHASE_RETURNING && operation->status == WEFT_IN_PROGRESS &&
        loans_returned(operation, moved)) {
        if (operation->pulls)
            pull_begin(operation);
        else
            portion_end(operation);
        *moved = true;
    }
    if (operation->phase == PHASE_PULLING) {
        pull_go_on(operation);
        *moved = true;
    }
    if (operation->phase == PHASE_LEAVING && loans_returned(operation, moved)) {
        portion_end(operation);
        *moved = true;
    }
}

/* Has something come that the operation waits for of this peer? */
static bool peer_is_due(const struct operation *operation, struct peer *peer)
{
    const struct exchange *exchange = &peer->engine->exchange;
    if (peer->state != PEER_CONNECTED) return false;
    if (operation->phase == PHASE_RETURNING || operation->phase == PHASE_LEAVING)
        return exchange->borrowing & peer->bit && has_returned(operation, peer);
    return exchange->awaited & peer->bit && cell_is_there(&peer->lanes);
}

bool engine_exchange_is_due(const struct engine *engine)
{
    const struct operation *operation = engine->exchange.current;
    if (!operation) return false;
    if (operation->phase == PHASE_WORKING || operation->phase == PHASE_PULLING) return true;
    if (operation->phase == PHASE_QUEUED) return !unready_find(engine, receivers_of(operation));
    for (struct peer *peer = engine->first_peer; peer; peer = peer->next)
        if (peer_is_due(operation, peer)) return true;
    return false;
}

/* Does the peer still use what this rank has lent? One that is gone does not. */
static bool peer_borrows(const struct operation *operation, struct peer *peer)
{
    if (!(peer->engine->exchange.borrowing & peer->bit) || peer->state != PEER_CONNECTED) return false;
    return !lane_look(&peer->lanes) && !has_returned(operation, peer);
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
        if (peer_borrows(operation, peer)) return WEFT_IN_PROGRESS;
    return WEFT_OK;
}
