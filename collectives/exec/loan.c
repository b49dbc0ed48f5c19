/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The work of a direct plan on buffers that everybody has lent everybody. Each rank runs its tasks: for a part of a
 * block, combine (or copy) the inputs of those who have it into the outputs of those who are to get it, each source
 * read once and each destination written once. Parts of different ranks do not overlap, so nobody waits in between.
 */
#include <stdlib.h>
#include <string.h>

#include "collectives/exec/exec_internal.h"
#include "collectives/exec/stage.h"
#include "collectives/exec/task.h"

/* Done per call of operation_advance(), counted in bytes of a task: long enough to cost nothing, short enough to look
 * at failures and at other operations. */
#define TURN_BYTES (1u << 20)
/* Of buffers that are out of reach, at a time: all sources of a piece stay in a second-level cache. */
#define BOUNCE_BYTES (512u << 10)
#define BOUNCE_LEAST_BYTES (16u << 10)

/* Most that a rank reads to make its result alone; and least that it does for others. */
#define APART_BYTES (32u << 10)

bool loan_serves(const struct operation *operation)
{
    const struct engine *engine = operation->binding->engine;
    return !operation->call.blocks && engine->config.endpoint->ops->capabilities & TRANSPORT_LENDS;
}

/* Do others write a rank's output? Else each makes its own of what they have lent it. */
static bool others_write(const struct shape *shape)
{
    return shape->output == HOLDER_ROOT || (shape->blocks == BLOCKS_ONE && shape->combines);
}

/* Where somebody stages: does everybody pull what each has made a share of? Else who gets a result makes all of it. */
static bool may_pull(const struct shape *shape)
{
    return shape->output == HOLDER_ALL && shape->blocks == BLOCKS_ONE && shape->combines;
}

/* Can no peer map this? */
static bool is_out_of_reach(const struct engine *engine, const void *buffer, size_t bytes)
{
    struct loan loan;
    const struct peer *peer = engine->first_peer;
    if (!connection_lend(peer->connection, buffer, bytes, &loan) || loan.share != 0) return false;
    return !connection_borrow(peer->connection, &loan, 1); /* of a thread of this process: as it is of the peer's */
}

/*
 * Each of the kernel's copies costs microseconds before the first byte, and two ranks that copy from and to each other
 * at once wait for one another's page tables. So small messages are worth combining several times over. What is only
 * copied is read once by everybody in any case, and everybody has a part of it to copy for others once that is large;
 * but from a stage everybody takes it alone, and so does a root, whom nobody then has to wait for.
 */
static bool may_go_apart(const struct operation *operation, bool staged)
{
    const struct shape *shape = shape_here(operation);
    const uint64_t bytes = operation->call.count * operation->element_bytes;
    const uint64_t others = operation->binding->plan->rank_count - 1;
    if (staged && !may_pull(shape) && (shape->blocks == BLOCKS_ONE || shape->output == HOLDER_ROOT)) return true;
    if (shape->blocks != BLOCKS_ONE) return false;
    return shape->combines ? bytes * others <= APART_BYTES : bytes <= APART_BYTES * others;
}

/* What a rank lends: its own buffers, or the stage for them. */
struct buffers {
    const void *input;
    void *output;
    size_t input_bytes, output_bytes; /* 0: it has none */
};

/* Put on the stage what is better there. Returns which, as enum offer_flags. */
static uint32_t buffers_stage(struct operation *operation, struct buffers *buffers)
{
    const struct engine *engine = operation->binding->engine;
    const struct weft_plan *plan = operation->binding->plan;
    const struct shape *shape = shape_here(operation);
    uint32_t flags = 0;
    if (!stage_serves(operation)) return 0;
    operation->portion.count = stage_portion(operation);
    const size_t bytes = operation->portion.count * operation->element_bytes;
    const bool is_read = shape->output != HOLDER_ROOT || engine->config.rank != plan->root;
    if (buffers->input_bytes && is_read && is_out_of_reach(engine, buffers->input, buffers->input_bytes)) {
        const struct share nothing = {operation->portion.begin, operation->portion.begin};
        const bool has_own = may_pull(shape) && !may_go_apart(operation, true);
        buffers->input = stage_input(operation, places_of(plan, shape->input),
                                     has_own ? task_share(operation, engine->config.rank) : nothing);
        buffers->input_bytes = places_of(plan, shape->input) * bytes;
        flags |= OFFER_INPUT_STAGED;
    }
    if (may_pull(shape) && is_out_of_reach(engine, buffers->output, buffers->output_bytes)) {
        buffers->output = stage_result(operation);
        buffers->output_bytes = stage_result_bytes(operation);
        flags |= OFFER_RESULT_STAGED;
    }
    return flags;
}

static struct buffers buffers_of(const struct operation *operation)
{
    const struct weft_plan *plan = operation->binding->plan;
    const struct shape *shape = shape_here(operation);
    const uint32_t rank = operation->binding->engine->config.rank;
    const size_t block_bytes = operation->call.count * operation->element_bytes;
    return (struct buffers){
        .input = operation->call.send,
        .output = operation->call.recv,
        .input_bytes = holder_is(plan, shape->input, rank) ? places_of(plan, shape->input) * block_bytes : 0,
        .output_bytes = holder_is(plan, shape->output, rank) ? places_of(plan, shape->output) * block_bytes : 0,
    };
}

uint32_t loan_offer(struct operation *operation, struct lent *offers)
{
    const struct engine *engine = operation->binding->engine;
    const struct shape *shape = shape_here(operation);
    struct buffers buffers = buffers_of(operation);
    const uint32_t staged = buffers_stage(operation, &buffers);
    const bool overwrites = operation->call.overwrites && !(staged & OFFER_INPUT_STAGED);
    uint32_t flags = OFFER_LENT | staged;
    if (overwrites && (shape->output == HOLDER_ALL || shape->blocks == BLOCKS_PER_PAIR)) flags |= OFFER_OVERWRITES;
    for (const struct peer *peer = engine->first_peer; peer; peer = peer->next) {
        struct lent *offer = &offers[peer->rank];
        const bool input = buffers.input_bytes > 0, output = buffers.output_bytes > 0;
        *offer = (struct lent){0};
        if (input && !connection_lend(peer->connection, buffers.input, buffers.input_bytes, &offer->input_loan))
            flags &= ~(uint32_t)OFFER_LENT;
        if (output && !connection_lend(peer->connection, buffers.output, buffers.output_bytes, &offer->output_loan))
            flags &= ~(uint32_t)OFFER_LENT;
        if ((input && offer->input_loan.share == 0) || (output && offer->output_loan.share == 0)) flags |= OFFER_COPIED;
    }
    return flags;
}

void loan_divide(struct operation *operation, uint64_t flags)
{
    const struct shape *shape = shape_here(operation);
    const bool staged = flags & OFFER_STAGED, copied = flags & OFFER_COPIED;
    const bool probes = copied && stage_probes(operation);
    if (staged || probes)
        operation->portion.count = stage_portion(operation);
    else
        operation->portion.count = operation->call.count - operation->portion.begin;
    operation->swaps = flags & OFFER_OVERWRITES && shape->blocks == BLOCKS_PER_PAIR;
    operation->copied = copied;
    operation->apart = (copied || staged) && !(flags & OFFER_OVERWRITES) && may_go_apart(operation, staged);
    operation->pulls = staged && may_pull(shape) && !operation->apart;
}

bool loan_is_touched(const struct operation *operation)
{
    const struct shape *shape = shape_here(operation);
    const struct weft_plan *plan = operation->binding->plan;
    const uint32_t rank = operation->binding->engine->config.rank;
    const bool is_read = !operation->apart || shape->output != HOLDER_ROOT || rank != plan->root;
    if (holder_is(plan, shape->input, rank) && is_read && !(operation->offered & OFFER_INPUT_STAGED)) return true;
    if (operation->swaps) return true;
    return !operation->apart && (shape->blocks == BLOCKS_ONE || others_write(shape));
}

void loan_accept(struct operation *operation)
{
    struct engine *engine = operation->binding->engine;
    const struct weft_plan *plan = operation->binding->plan;
    const struct shape *shape = shape_here(operation);
    const size_t block_bytes = operation->call.count * operation->element_bytes;
    const size_t portion_bytes = operation->portion.count * operation->element_bytes;
    const size_t result_bytes = stage_result_bytes(operation);
    const uint64_t inputs = places_of(plan, shape->input), outputs = places_of(plan, shape->output);
    for (const struct peer *peer = engine->first_peer; peer; peer = peer->next) {
        struct lent *lent = &engine->exchange.lent[peer->rank];
        if (holder_is(plan, shape->input, peer->rank))
            lent->input = connection_borrow(peer->connection, &lent->input_loan,
                                            inputs * (lent->input_staged ? portion_bytes : block_bytes));
        if (holder_is(plan, shape->output, peer->rank))
            lent->output = connection_borrow(peer->connection, &lent->output_loan,
                                             lent->result_staged ? result_bytes : outputs * block_bytes);
    }
    engine->exchange.lent[engine->config.rank] = (struct lent){
        .input = (uint8_t *)(uintptr_t)operation->call.send,
        .output = operation->call.recv,
        .scale = operation->call.scale,
    };
    engine->exchange.work = (struct loan_work){0, 0};
    const bool in_place = operation->call.overwrites;
    const uint64_t places = inputs + (in_place ? 0 : outputs);
    operation->bypasses_caches =
        places * block_bytes * plan->rank_count >= reduce_streaming_bytes(engine->config.cache_bytes, in_place);
}

/* ---- A piece of a task ---- */

struct piece {
    const struct operation *operation;
    const struct task *task;
    uint64_t begin;
    size_t count; /* elements */
    const void *sources[EXCHANGE_RANKS];
    double scales[EXCHANGE_RANKS];
    void *destinations[EXCHANGE_RANKS];
    uint32_t source_count, destination_count;
    uint32_t distant[EXCHANGE_RANKS], distant_count; /* receivers whose output has to be copied to */
    bool is_staged;                                  /* a destination is on the stage */
    uint32_t peer;                                   /* the last one whose memory was got at by copying */
};

static size_t piece_bytes(const struct piece *piece)
{
    return piece->count * piece->operation->element_bytes;
}

/* In what is lent: of all blocks, or of a portion of each. */
static uint64_t place_offset(const struct piece *piece, uint32_t place, bool staged)
{
    const struct operation *operation = piece->operation;
    const struct portion *portion = &operation->portion;
    const uint64_t element =
        staged ? place * portion->count + piece->begin - portion->begin : place * operation->call.count + piece->begin;
    return element * operation->element_bytes;
}

static uint64_t input_offset(const struct piece *piece, const struct lent *lent)
{
    uint32_t place = plan_input_place(piece->operation->binding->plan, piece->task->block);
    return place_offset(piece, place, lent->input_staged);
}

static uint64_t output_offset(const struct piece *piece)
{
    uint32_t place = plan_output_place(piece->operation->binding->plan, piece->task->block);
    return place_offset(piece, place, false);
}

static struct connection *connection_to(const struct operation *operation, uint32_t rank)
{
    return operation->binding->engine->peers[rank]->connection;
}

/* Is the result what the one source holds, unchanged? */
static bool is_copy(const struct piece *piece)
{
    const struct operation_call *call = &piece->operation->call;
    return !shape_here(piece->operation)->combines ||
           (piece->source_count == 1 && call->divisor <= 1 && call->op != WEFT_PREMUL_SUM);
}

static bool receives(const struct piece *piece, uint32_t rank)
{
    return (piece->task->only == PLAN_NONE || piece->task->only == rank) && piece->task->except != rank &&
           plan_has_output(piece->operation->binding->plan, rank, piece->task->block);
}

static void destinations_find(struct piece *piece)
{
    const struct engine *engine = piece->operation->binding->engine;
    for (uint32_t rank = 0; rank < engine->config.rank_count; rank++) {
        if (!receives(piece, rank)) continue;
        const struct lent *lent = &engine->exchange.lent[rank];
        if (lent->output)
            piece->destinations[piece->destination_count++] = lent->output + output_offset(piece);
        else
            piece->distant[piece->distant_count++] = rank;
    }
    piece->is_staged = piece->operation->pulls && piece->operation->offered & OFFER_RESULT_STAGED;
    if (piece->is_staged) {
        uint8_t *result = stage_result(piece->operation);
        result += (piece->begin - piece->task->begin) * piece->operation->element_bytes;
        piece->destinations[piece->destination_count++] = result;
    }
}

/*
 * Where a source that is out of reach is copied to: into this rank's own result, where that is free and the first such
 * source, or all of it, is to go there: so it takes no more of the cache than the result does.
 */
static void *landing(const struct piece *piece, bool first)
{
    const struct operation *operation = piece->operation;
    const struct engine *engine = operation->binding->engine;
    const struct lent *own = &engine->exchange.lent[engine->config.rank];
    const bool is_free = !shape_here(operation)->combines || !operation->call.overwrites;
    if (first && is_free && receives(piece, engine->config.rank)) return own->output + output_offset(piece);
    return engine->exchange.bounce + piece->source_count * piece_bytes(piece);
}

static weft_status sources_find(struct piece *piece)
{
    const struct operation *operation = piece->operation;
    const struct engine *engine = operation->binding->engine;
    bool landed = false;
    for (uint32_t rank = 0; rank < engine->config.rank_count; rank++) {
        if (!plan_has_input(operation->binding->plan, rank, piece->task->block)) continue;
        const struct lent *lent = &engine->exchange.lent[rank];
        const void *source = lent->input ? lent->input + input_offset(piece, lent) : landing(piece, !landed);
        if (!lent->input) {
            landed = true;
            piece->peer = rank;
            weft_status status =
                connection_read(connection_to(operation, rank), &lent->input_loan, input_offset(piece, lent),
                                (void *)(uintptr_t)source, piece_bytes(piece));
            if (status != WEFT_OK) return status;
        }
        piece->scales[piece->source_count] = lent->scale;
        piece->sources[piece->source_count++] = source;
    }
    return WEFT_OK;
}

static void piece_combine(struct piece *piece)
{
    const struct operation *operation = piece->operation;
    const struct operation_call *call = &operation->call;
    if (is_copy(piece)) { /* where it is already, it need not be copied to */
        uint32_t kept = 0;
        for (uint32_t i = 0; i < piece->destination_count; i++)
            if (piece->destinations[i] != piece->sources[0]) piece->destinations[kept++] = piece->destinations[i];
        piece->destination_count = kept;
    } else if (piece->destination_count == 0) {
        piece->destinations[piece->destination_count++] =
            operation->binding->engine->exchange.bounce + piece->source_count * piece_bytes(piece);
    }
    if (piece->destination_count == 0) return;
    const struct reduce_call reduce = {
        .sources = piece->sources,
        .source_count = piece->source_count,
        .destinations = piece->destinations,
        .destination_count = piece->destination_count,
        .count = piece->count,
        .divisor = shape_here(operation)->combines ? call->divisor : 1,
        .streaming = operation->bypasses_caches && piece->distant_count == 0 && !piece->is_staged,
        .scales = call->op == WEFT_PREMUL_SUM ? piece->scales : NULL,
    };
    operation->combine(&reduce);
}

/* Hand the result to those whose output is out of reach. */
static weft_status results_write(struct piece *piece)
{
    const struct operation *operation = piece->operation;
    const void *result = is_copy(piece) ? piece->sources[0] : piece->destinations[0];
    for (uint32_t i = 0; i < piece->distant_count; i++) {
        piece->peer = piece->distant[i];
        const struct lent *lent = &operation->binding->engine->exchange.lent[piece->peer];
        weft_status status = connection_write(connection_to(operation, piece->peer), &lent->output_loan,
                                              output_offset(piece), result, piece_bytes(piece));
        if (status != WEFT_OK) return status;
    }
    return WEFT_OK;
}

/*
 * Take what the peer has for this rank, give it what this rank has for it, and only then keep what was taken: each may
 * take the other's place.
 */
static weft_status piece_swap(struct piece *piece)
{
    const struct operation *operation = piece->operation;
    const struct exchange *exchange = &operation->binding->engine->exchange;
    const uint32_t rank = operation->binding->engine->config.rank;
    const uint32_t owner = piece->task->block / operation->binding->plan->rank_count;
    const uint8_t *given = (const uint8_t *)operation->call.send + place_offset(piece, owner, false);
    uint8_t *kept = (uint8_t *)operation->call.recv + place_offset(piece, owner, false);
    if (owner == rank) {
        if (kept != given) memcpy(kept, given, piece_bytes(piece));
        return WEFT_OK;
    }
    const struct lent *lent = &exchange->lent[owner];
    struct connection *connection = connection_to(operation, owner);
    piece->peer = owner;
    weft_status status = connection_read(connection, &lent->input_loan, place_offset(piece, rank, lent->input_staged),
                                         exchange->bounce, piece_bytes(piece));
    if (status == WEFT_OK)
        status = connection_write(connection, &lent->output_loan, place_offset(piece, rank, false), given,
                                  piece_bytes(piece));
    if (status == WEFT_OK) memcpy(kept, exchange->bounce, piece_bytes(piece));
    return status;
}

static weft_status piece_make(struct piece *piece)
{
    if (piece->operation->swaps) return piece_swap(piece);
    destinations_find(piece);
    weft_status status = sources_find(piece);
    if (status != WEFT_OK) return status;
    piece_combine(piece);
    return results_write(piece);
}

static bool anybody_distant(const struct operation *operation)
{
    const struct engine *engine = operation->binding->engine;
    const struct weft_plan *plan = operation->binding->plan;
    const struct shape *shape = shape_here(operation);
    for (const struct peer *peer = engine->first_peer; peer; peer = peer->next) {
        const struct lent *lent = &engine->exchange.lent[peer->rank];
        if (!lent->input && holder_is(plan, shape->input, peer->rank)) return true;
        if (!lent->output && holder_is(plan, shape->output, peer->rank)) return true;
    }
    return false;
}

/* Bytes of it for a rank. */
static size_t bounce_share(const struct engine *engine)
{
    size_t share = BOUNCE_BYTES / engine->config.rank_count / 4096 * 4096;
    return share > BOUNCE_LEAST_BYTES ? share : BOUNCE_LEAST_BYTES;
}

uint8_t *loan_bounce(struct engine *engine)
{
    _Static_assert(BOUNCE_LEAST_BYTES >= EXCHANGE_BYTES, "what one rank sends fits its share");
    struct exchange *exchange = &engine->exchange;
    if (!exchange->bounce)
        exchange->bounce = aligned_alloc(4096, (engine->config.rank_count + 1) * bounce_share(engine));
    return exchange->bounce;
}

/* Most bytes of a piece: bounded by what the bounce buffer holds where that may be needed. */
static weft_status piece_limit(const struct operation *operation, size_t *bytes)
{
    struct engine *engine = operation->binding->engine;
    *bytes = TURN_BYTES;
    const bool combines_distant = shape_here(operation)->combines && anybody_distant(operation);
    if (!combines_distant && !operation->swaps) return WEFT_OK;
    *bytes = bounce_share(engine);
    return loan_bounce(engine) ? WEFT_OK : WEFT_OUT_OF_MEMORY;
}

weft_status loan_advance(struct operation *operation, uint32_t *peer)
{
    struct loan_work *work = &operation->binding->engine->exchange.work;
    size_t limit;
    weft_status status = piece_limit(operation, &limit);
    const uint32_t tasks = task_count(operation);
    for (size_t budget = TURN_BYTES; status == WEFT_OK && work->task < tasks && budget > 0;) {
        const struct task task = task_at(operation, work->task);
        struct piece piece = {.operation = operation, .task = &task, .begin = task.begin + work->done};
        uint64_t left = task.end - piece.begin;
        piece.count = left < limit / operation->element_bytes ? left : limit / operation->element_bytes;
        if (piece.count > 0) {
            status = piece_make(&piece);
            *peer = piece.peer;
        }
        work->done += piece.count;
        if (work->done == task.end - task.begin) *work = (struct loan_work){work->task + 1, 0};
        budget -= piece_bytes(&piece) < budget ? piece_bytes(&piece) : budget;
    }
    if (status != WEFT_OK) return status;
    return work->task < tasks ? WEFT_IN_PROGRESS : WEFT_OK;
}

bool loan_end(struct operation *operation)
{
    struct portion *portion = &operation->portion;
    portion->begin += portion->count;
    return portion->begin < operation->call.count;
}
