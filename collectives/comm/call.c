/* SPDX-License-Identifier: Apache-2.0 */
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "collectives/comm/comm_internal.h"
#include "collectives/plan/shape.h"

/*
 * For every call, so a word at a time: multiply by the golden ratio and fold (Knuth, vol. 3, 6.4), twice, so that each
 * bit of a field reaches all of the result.
 */
static uint32_t fields_hash(const uint64_t *fields, size_t count)
{
    uint64_t hash = 0;
    for (size_t i = 0; i < count; i++) {
        hash = (hash ^ fields[i]) * UINT64_C(0x9e3779b97f4a7c15);
        hash = (hash ^ hash >> 32) * UINT64_C(0x9e3779b97f4a7c15);
        hash ^= hash >> 29;
    }
    return (uint32_t)(hash ^ hash >> 32);
}

/* Ranks that choose differently must not exchange data; so the choice is part of what they compare. */
static uint32_t choice_hash(const struct weft_comm *comm, const struct select_choice *choice)
{
    uint64_t fields[] = {
        (uint64_t)choice->algorithm << 32 | choice->channel_units,
        (uint64_t)choice->slice_bytes << 32 | comm->slot_bytes,
        comm->slot_depth,
        0,
        0,
    };
    /* Measured figures are a file's: ranks that read different ones are to hear of it before their choices part. */
    memcpy(&fields[3], &comm->model->message_ns, sizeof fields[3]);
    memcpy(&fields[4], &comm->model->byte_ns, sizeof fields[4]);
    return fields_hash(fields, sizeof fields / sizeof fields[0]);
}

static uint32_t signature_check(const struct signature *signature)
{
    const uint64_t fields[] = {
        signature->sequence,
        signature->count,
        (uint64_t)signature->root << 32 | signature->plan,
        (uint64_t)signature->collective << 24 | (uint64_t)signature->dtype << 16 | (uint64_t)signature->op << 8 |
            signature->algorithm,
    };
    return fields_hash(fields, sizeof fields / sizeof fields[0]);
}

/* Can the type be multiplied by the scale as it is, but for rounding to float32? NaN is outside of all of it. */
static bool scale_fits(weft_dtype dtype, double scale)
{
    double bound = 2.0 * (double)(UINT64_C(1) << (weft_dtype_size(dtype) * 8 - 1));
    switch (dtype) {
    case WEFT_FLOAT64:
        return isfinite(scale);
    case WEFT_INT8:
    case WEFT_INT32:
    case WEFT_INT64:
        return scale >= -bound / 2 && scale < bound / 2 && scale == (double)(int64_t)scale;
    case WEFT_UINT8:
    case WEFT_UINT32:
    case WEFT_UINT64:
        return scale >= 0 && scale < bound && scale == (double)(uint64_t)scale;
    default:
        return scale >= -FLT_MAX && scale <= FLT_MAX;
    }
}

weft_algorithm comm_preferred(const struct weft_comm *comm, weft_collective collective)
{
    const struct plan_generator *generator = plan_generator_find(collective, comm->algorithm);
    bool serves = generator && plan_generator_serves(generator, comm->identity.rank_count, false);
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

/*
 * What the ranks have to agree on. A message between two is no part of the sequence that all ranks count; what both
 * ends agree on is then number, size and type, and the signature is for people: its root is the other rank.
 */
static weft_status call_sign(struct weft_comm *comm, const struct collective_call *call, struct weft_request *request,
                             weft_algorithm forced)
{
    bool pair = call->collective == WEFT_SEND_RECV;
    struct signature signature = {
        .count = call->count,
        .root = call->root,
        .plan = choice_hash(comm, &request->choice),
        .collective = (uint8_t)call->collective,
        .dtype = (uint8_t)call->dtype,
        .op = (uint8_t)call->op,
        .algorithm = (uint8_t)forced,
    };
    weft_status status = WEFT_OK;
    if (pair)
        status = pair_sequence(comm, call, &signature.sequence);
    else
        signature.sequence = ++comm->sequence;
    request->call.check = signature_check(&signature);
    request->signature = signature;
    if (pair) request->signature.sequence = 0;
    if (pair) request->signature.root = call->receives ? call->root : call->peer;
    return status;
}

static uint64_t call_payload_bytes(const struct weft_comm *comm, const struct collective_call *call)
{
    uint64_t elements = call->count;
    for (uint32_t i = 0; call->collective == WEFT_ALL_TO_ALLV && i < comm->identity.rank_count; i++)
        elements += call->blocks.send_counts[i];
    return elements * weft_dtype_size(call->dtype);
}

/* The request's call, but for its check. */
static void call_fill(const struct weft_comm *comm, const struct collective_call *call, const weft_call *options,
                      bool in_place, struct weft_request *request)
{
    const struct shape *shape = shape_of(call->collective);
    request->root = call->root;
    request->peer = call->peer;
    request->receives = call->receives;
    request->blocks = call->blocks;
    request->payload_bytes = call_payload_bytes(comm, call);
    call_extent(comm, call, &request->send_bytes, &request->recv_bytes);
    request->call = (struct operation_call){
        .send = call->send,
        .recv = call->recv,
        .count = call->count,
        .blocks = call->collective == WEFT_ALL_TO_ALLV ? &request->blocks : NULL,
        .dtype = call->dtype,
        .op = call->op,
        .divisor = call->op == WEFT_AVG ? comm->identity.rank_count : 1,
        .scale = options->scale,
        .slice_bytes = request->choice.slice_bytes,
        /* What is only copied is the same again where it came from. */
        .overwrites = in_place && (shape->combines || shape->blocks == BLOCKS_PER_PAIR),
        /* Who only sends hears of nobody but through its slots coming back. */
        .acknowledged = shape->rooted,
    };
}

static weft_status options_check(const struct collective_call *call, const weft_call *options)
{
    if (options->size != sizeof *options || (unsigned)options->algorithm >= WEFT_ALGORITHM_COUNT)
        return WEFT_INVALID_ARGUMENT;
    if (call->op == WEFT_PREMUL_SUM && !scale_fits(call->dtype, options->scale)) return WEFT_INVALID_ARGUMENT;
    return WEFT_OK;
}

weft_status call_post(struct weft_comm *comm, const struct collective_call *call, const weft_call *options,
                      weft_request **out)
{
    static const weft_call defaults = {.size = sizeof defaults, .scale = NAN}; /* who multiplies has to say by what */
    if (!options) options = &defaults;
    bool in_place;
    weft_status status = call_check_buffers(comm, call, &in_place);
    if (status == WEFT_OK) status = options_check(call, options);
    if (status == WEFT_OK && comm->grouping && out) status = WEFT_INVALID_ARGUMENT; /* the group has the request */
    if (status != WEFT_OK) return status;
    if (control_failed(comm->control)) {
        weft_failure failure = {.size = sizeof failure};
        control_failure(comm->control, &failure);
        return failure.status;
    }
    const struct select_request request_for_plan = {
        .collective = call->collective,
        .rank_count = comm->identity.rank_count,
        .bytes = call->count * weft_dtype_size(call->dtype),
        .forced =
            options->algorithm != WEFT_ALGORITHM_AUTO ? options->algorithm : comm_preferred(comm, call->collective),
        .channel_units = call->collective == WEFT_SEND_RECV ? 1 : comm->channel_units,
        .slice_bytes = comm->slice_bytes,
        .exchange_bytes = comm->exchanges ? EXCHANGE_BYTES : 0,
    };
    struct select_choice choice;
    status = select_plan(comm->model, &request_for_plan, &choice);
    if (status != WEFT_OK) return status;
    struct weft_request *request = request_take(comm);
    if (!request) return WEFT_OUT_OF_MEMORY;
    request->choice = choice;
    call_fill(comm, call, options, in_place, request);
    status = call_sign(comm, call, request, request_for_plan.forced);
    if (status != WEFT_OK) {
        request_give_back(request);
        return status;
    }
    request->posted_ns = clock_now_ns();
    request->deadline_ns = request->posted_ns + (options->deadline_ns ? options->deadline_ns : comm->deadline_ns);
    if (comm->grouping) {
        group_add(comm, request);
        return WEFT_OK;
    }
    request_begin(request);
    if (!out) return weft_wait(&request);
    *out = request;
    return WEFT_OK;
}
