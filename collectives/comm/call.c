/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/diagnostic.h"
#include "base/log.h"
#include "collectives/comm/comm_internal.h"
#include "collectives/plan/shape.h"

/*
 * For every call, so a word at a time: multiply by the golden ratio and fold (Knuth, vol. 3, 6.4), twice, so that each
 * bit of a field reaches all of the result.
 */
static inline uint64_t field_fold(uint64_t hash, uint64_t field)
{
    hash = (hash ^ field) * UINT64_C(0x9e3779b97f4a7c15);
    hash = (hash ^ hash >> 32) * UINT64_C(0x9e3779b97f4a7c15);
    return hash ^ hash >> 29;
}

static uint64_t fields_hash(const uint64_t *fields, size_t count)
{
    uint64_t hash = 0;
    for (size_t i = 0; i < count; i++) hash = field_fold(hash, fields[i]);
    return hash ^ hash >> 32;
}

/* Ranks that choose differently must not exchange data; so the choice is part of what they compare. */
static uint32_t choice_hash(const struct weft_comm *comm, const struct select_choice *choice)
{
    uint64_t fields[] = {
        (uint64_t)choice->algorithm << 32 | choice->channel_units,
        (uint64_t)choice->slice_bytes << 32 | comm->slot_bytes,
        choice->near,
        (uint64_t)choice->canonical << 32 | comm->slot_depth,
        cost_model_hash(comm->model), /* measured figures are a file's: ranks that read others hear of it first */
        comm->topology.book ? comm->topology.book->hash : 0,
        comm->tuning ? comm->tuning->hash : 0,
    };
    return (uint32_t)fields_hash(fields, sizeof fields / sizeof fields[0]);
}

/* Of all but the sequence. */
static uint64_t signature_hash(const struct signature *signature)
{
    const uint64_t fields[] = {
        signature->count,
        (uint64_t)signature->root << 32 | signature->plan,
        (uint64_t)signature->collective << 24 | (uint64_t)signature->dtype << 16 | (uint64_t)signature->op << 8 |
            signature->algorithm,
    };
    return fields_hash(fields, sizeof fields / sizeof fields[0]);
}

weft_algorithm comm_preferred(const struct weft_comm *comm, weft_collective collective)
{
    const struct plan_generator *generator = plan_generator_find(collective, comm->algorithm);
    bool arranged = comm_layout(comm, collective, comm->algorithm) != NULL;
    bool serves = generator && plan_generator_serves(generator, comm->identity.rank_count, arranged);
    return serves ? comm->algorithm : WEFT_ALGORITHM_AUTO;
}

/* Which message between the two ranks is it? Both count for themselves, so both ends say the same. */
static weft_status pair_sequence(struct weft_comm *comm, const struct collective_call *call, uint64_t *sequence)
{
    uint32_t ranks = comm->identity.rank_count;
    if (!comm->pair_sequences) comm->pair_sequences = calloc(2 * (size_t)ranks, sizeof *comm->pair_sequences);
    if (!comm->pair_sequences) return WEFT_OUT_OF_MEMORY;
    *sequence = ++comm->pair_sequences[call->receives ? ranks + call->root : call->peer];
    return WEFT_OK;
}

/* Is it of such calls, but for their options and buffers? */
static inline bool memo_matches(const struct call_memo *memo, const struct collective_call *call)
{
    const struct signature *signature = &memo->signature;
    return memo->used && signature->count == call->count && signature->root == call->root && memo->peer == call->peer &&
           signature->collective == call->collective && signature->dtype == call->dtype && signature->op == call->op;
}

/* The two places where such calls' memo may be. */
static inline struct call_memo *memo_places(struct weft_comm *comm, const struct collective_call *call)
{
    uint64_t key = (call->count ^ (uint64_t)call->collective << 3 ^ call->root) * UINT64_C(0x9e3779b97f4a7c15);
    return &comm->memos[key >> 32 & (CALL_MEMOS - 2)];
}

/* NULL: there is none. */
static inline struct call_memo *memo_find(struct weft_comm *comm, const struct collective_call *call)
{
    struct call_memo *places = memo_places(comm, call);
    if (memo_matches(&places[0], call)) return &places[0];
    return memo_matches(&places[1], call) ? &places[1] : NULL;
}

/* Those that a memo depends on. The scale is a call's own. */
static inline bool memo_has_options(const struct call_memo *memo, const weft_call *options)
{
    return options->size == sizeof *options && memo->wanted == options->algorithm &&
           memo->wants_canonical == options->canonical;
}

/* What the executor needs to know, but for the check and the buffers. */
static struct operation_call call_of(const struct weft_comm *comm, const struct collective_call *call,
                                     const struct select_choice *choice)
{
    return (struct operation_call){
        .count = call->count,
        .dtype = call->dtype,
        .op = call->op,
        .divisor = call->op == WEFT_AVG ? comm->identity.rank_count : 1,
        .slice_bytes = choice->slice_bytes,
        .stages_when_near = choice->stages_when_near,
        .stages_when_apart = choice->stages_when_apart,
        /* Steps multiply what they send, and loans what they add: that may be rounded differently. */
        .steps_when_near = choice->steps_when_near && call->op != WEFT_PREMUL_SUM,
        /*
         * In a collective who only sends is done when all has left: whoever comes across it in another operation
         * tells everybody. Exchanges never would, for they look into no slot; and of a message only two ranks know, so
         * both have to be there still.
         */
        .acknowledged = shape_of(call->collective)->rooted && (comm->exchanges || call->collective == WEFT_SEND_RECV),
    };
}

static weft_status memo_make(struct weft_comm *comm, const struct collective_call *call, const weft_call *options,
                             struct call_memo *memo, struct diagnostic *diagnostic)
{
    const weft_algorithm wanted = options->algorithm;
    const weft_algorithm forced = wanted != WEFT_ALGORITHM_AUTO ? wanted : comm_preferred(comm, call->collective);
    const bool canonical = (options->canonical || comm->canonical) && shape_of(call->collective)->combines;
    const struct select_request request = {
        .collective = call->collective,
        .rank_count = comm->identity.rank_count,
        .links = canonical ? NULL : comm_links(comm), /* its order of combination is no layout's */
        .bytes = call->count * weft_dtype_size(call->dtype),
        .forced = forced,
        .channel_units = call->collective == WEFT_SEND_RECV ? 1 : comm->channel_units,
        .slice_bytes = comm->slice_bytes,
        .exchange_bytes = comm->exchanges ? EXCHANGE_BYTES : 0,
        .copies = comm->copies,
        .canonical = canonical,
        .crowd = comm->crowd,
    };
    struct select_choice choice;
    weft_status status = select_plan(comm->model, &request, &choice);
    if (status != WEFT_OK) return call_check_failed_choice(comm, call, forced, canonical, status, diagnostic);
    *memo = (struct call_memo){
        .used = true, .wanted = wanted, .wants_canonical = options->canonical, .peer = call->peer, .choice = choice};
    memo->signature = (struct signature){
        .count = call->count,
        .root = call->root,
        .plan = choice_hash(comm, &choice),
        .collective = (uint8_t)call->collective,
        .dtype = (uint8_t)call->dtype,
        .op = (uint8_t)call->op,
        .algorithm = (uint8_t)forced,
    };
    memo->hash = signature_hash(&memo->signature);
    memo->operation = call_of(comm, call, &choice);
    memo->is_quick = quick_serves(comm, memo);
    memo->is_rooted = shape_of(call->collective)->rooted && call->collective != WEFT_SEND_RECV;
    memo->payload_bytes = request.bytes;
    return WEFT_OK;
}

/* Do the buffers fit? Known without looking where they are those of the last call of the kind. */
static weft_status memo_check_buffers(const struct weft_comm *comm, const struct collective_call *call,
                                      struct call_memo *memo, struct diagnostic *diagnostic)
{
    struct operation_call *operation = &memo->operation;
    if (memo->checked && operation->send == call->send && operation->recv == call->recv) return WEFT_OK;
    bool in_place;
    weft_status status = call_check_buffers(comm, call, &in_place, diagnostic);
    memo->checked = status == WEFT_OK && call->collective != WEFT_ALL_TO_ALLV;
    if (status != WEFT_OK) return status;
    const struct shape *shape = shape_of(call->collective);
    operation->send = call->send;
    operation->recv = call->recv;
    /* What is only copied is the same again where it came from. */
    operation->overwrites = in_place && (shape->combines || shape->blocks == BLOCKS_PER_PAIR);
    return WEFT_OK;
}

/* What is to be done for a call, from the memos where they have it. */
static weft_status call_settle(struct weft_comm *comm, const struct collective_call *call, const weft_call *options,
                               struct call_memo **settled, struct diagnostic *diagnostic)
{
    struct call_memo *memo = memo_find(comm, call);
    const bool serves = memo && memo_has_options(memo, options);
    if (!memo) memo = &memo_places(comm, call)[comm->memos_made++ % 2]; /* anew in turns */
    *settled = memo;
    if (!serves) {
        weft_status status = memo_make(comm, call, options, memo, diagnostic);
        if (status != WEFT_OK) return status;
    }
    memo->operation.scale = options->scale;
    return memo_check_buffers(comm, call, memo, diagnostic);
}

/*
 * What the ranks have to agree on. A message between two is no part of the sequence that all ranks count; what both
 * ends agree on is then number, size and type, and its request's signature is for people: its root is the other rank.
 */
static weft_status call_sign(struct weft_comm *comm, const struct collective_call *call, struct call_memo *memo)
{
    struct signature *signature = &memo->signature;
    bool pair = call->collective == WEFT_SEND_RECV;
    uint64_t sequence = 0;
    weft_status status = pair ? pair_sequence(comm, call, &sequence) : WEFT_OK;
    if (status != WEFT_OK) return status;
    if (!pair) signature->sequence = sequence = ++comm->sequence;
    if (memo->is_rooted) atomic_store_explicit(&comm->rooted_sequence, sequence, memory_order_relaxed);
    memo->operation.check = (uint32_t)(memo->hash + sequence); /* the hash is spread already */
    return WEFT_OK;
}

static uint64_t call_payload_bytes(const struct weft_comm *comm, const struct collective_call *call)
{
    uint64_t elements = call->count;
    for (uint32_t i = 0; call->collective == WEFT_ALL_TO_ALLV && i < comm->identity.rank_count; i++)
        elements += call->blocks->send_counts[i];
    return elements * weft_dtype_size(call->dtype);
}

/* From a request that has been reserved. */
static struct weft_request *request_make(struct weft_comm *comm, const struct collective_call *call,
                                         const struct call_memo *memo, uint64_t deadline_ns)
{
    struct weft_request *request = request_take(comm);
    request->signature = memo->signature;
    if (call->collective == WEFT_SEND_RECV) request->signature.root = call->receives ? call->root : call->peer;
    request->choice = memo->choice;
    request->root = call->root;
    request->peer = call->peer;
    request->receives = call->receives;
    if (call->blocks) request->blocks = *call->blocks;
    request->call = memo->operation;
    if (call->collective == WEFT_ALL_TO_ALLV) request->call.blocks = &request->blocks;
    request->payload_bytes = call_payload_bytes(comm, call);
    call_extent(comm, call, &request->send_bytes, &request->recv_bytes);
    request->posted_ns = clock_now_ns();
    request->deadline_ns = clock_after_ns(request->posted_ns, deadline_ns);
    return request;
}

static uint64_t deadline_of(const struct weft_comm *comm, const weft_call *options)
{
    return options->deadline_ns ? options->deadline_ns : comm->deadline_ns;
}

static weft_status failure_of(const struct weft_comm *comm)
{
    weft_failure failure = {.size = sizeof failure};
    control_failure(comm->control, &failure);
    return failure.status;
}

/* Of an operation that has begun, or NULL. */
static weft_status request_post(struct weft_request *request, struct operation *begun, weft_request **out)
{
    request->operation = begun;
    if (request->comm->grouping) {
        group_add(request->comm, request);
        return WEFT_OK;
    }
    request_begin(request);
    if (!out) return weft_wait(&request);
    *out = request;
    return WEFT_OK;
}

/* Any call. */
static __attribute__((noinline)) weft_status call_post_anew(struct weft_comm *comm, const struct collective_call *call,
                                                            const weft_call *options, weft_request **out)
{
    struct diagnostic why; /* filled by whatever refuses */
    struct call_memo *memo;
    weft_status status = call_check_arguments(comm, call, options, out, &why);
    if (status == WEFT_OK) status = call_settle(comm, call, options, &memo, &why);
    if (status != WEFT_OK) {
        log_error("comm %02x%02x rank %u %s refused: %s", comm->identity.job[0], comm->identity.job[1],
                  comm->identity.rank, weft_collective_name(call->collective), why.text);
        return status;
    }
    if (control_failed(comm->control)) return failure_of(comm);
    if (!request_reserve(comm)) return WEFT_OUT_OF_MEMORY; /* before a number is taken, which the others count too */
    status = call_sign(comm, call, memo);
    if (status != WEFT_OK) return status;
    struct operation *begun = NULL;
    if (!out && memo->is_quick && quick_is_free(comm) && quick_run(comm, memo, &begun)) return WEFT_OK;
    return request_post(request_make(comm, call, memo, deadline_of(comm, options)), begun, out);
}

/* A call that needs no more to be looked at. */
static weft_status call_repeat(struct weft_comm *comm, const struct collective_call *call, struct call_memo *memo,
                               const weft_call *options)
{
    struct operation *begun = NULL;
    if (control_failed(comm->control)) return failure_of(comm);
    weft_status status = call_sign(comm, call, memo);
    if (status != WEFT_OK) return status;
    if (quick_run(comm, memo, &begun)) return WEFT_OK;
    return request_post(request_make(comm, call, memo, deadline_of(comm, options)), begun, NULL);
}

weft_status call_post(struct weft_comm *comm, const struct collective_call *call, const weft_call *options,
                      weft_request **out)
{
    static const weft_call defaults = {.size = sizeof defaults, .scale = NAN}; /* who multiplies has to say by what */
    struct call_memo *memo = memo_find(comm, call);
    if (!options) options = &defaults;
    if (memo && comm->calm && memo->is_small && memo->checked && !out && memo_has_options(memo, options) &&
        memo->operation.send == call->send && memo->operation.recv == call->recv)
        return call_repeat(comm, call, memo, options);
    return call_post_anew(comm, call, options, out);
}
