/* SPDX-License-Identifier: Apache-2.0 */
#include <float.h>
#include <math.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "collectives/comm/comm_internal.h"

/* What every collective has in common, filled in by each. */
struct collective_call {
    weft_collective collective;
    const void *send;
    void *recv;
    uint64_t count;
    weft_dtype dtype;
    weft_op op;
    uint32_t root;
};

static weft_status buffers_check(const struct collective_call *call, bool reads_send)
{
    size_t element = weft_dtype_size(call->dtype);
    size_t bytes;
    if (element == 0 || !size_multiply(call->count, element, &bytes) || bytes > PTRDIFF_MAX)
        return WEFT_INVALID_ARGUMENT;
    if (bytes == 0) return WEFT_OK;
    if (!call->recv || (reads_send && !call->send)) return WEFT_INVALID_ARGUMENT;
    if ((uintptr_t)call->recv % element != 0 || (uintptr_t)call->send % element != 0) return WEFT_INVALID_ARGUMENT;
    if (!reads_send || call->send == call->recv) return WEFT_OK;
    uintptr_t send = (uintptr_t)call->send, recv = (uintptr_t)call->recv;
    bool overlap = send < recv + bytes && recv < send + bytes;
    return overlap ? WEFT_INVALID_ARGUMENT : WEFT_OK;
}

/* Ranks that choose differently must not exchange data; so the choice is part of what they compare. */
static uint32_t choice_hash(const struct weft_comm *comm, const struct select_choice *choice)
{
    const uint32_t fields[] = {(uint32_t)choice->algorithm, choice->channel_units, choice->slice_bytes,
                               comm->slot_depth, comm->slot_bytes};
    uint64_t hash = bytes_hash(BYTES_HASH_START, fields, sizeof fields);
    return (uint32_t)(hash ^ hash >> 32);
}

static uint32_t signature_check(const struct signature *signature)
{
    const uint64_t fields[] = {
        signature->sequence,
        signature->count,
        signature->root,
        signature->plan,
        (uint64_t)signature->collective << 24 | (uint64_t)signature->dtype << 16 | (uint64_t)signature->op << 8 |
            signature->algorithm,
    };
    uint64_t hash = bytes_hash(BYTES_HASH_START, fields, sizeof fields);
    return (uint32_t)(hash ^ hash >> 32);
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

/* Sign, choose and post. The arguments have been checked. */
static weft_status call_post(struct weft_comm *comm, const struct collective_call *call, const weft_call *options,
                             weft_request **out)
{
    static const weft_call defaults = {.size = sizeof defaults, .scale = NAN}; /* who multiplies has to say by what */
    if (!options) options = &defaults;
    if (options->size != sizeof *options || (unsigned)options->algorithm >= WEFT_ALGORITHM_COUNT)
        return WEFT_INVALID_ARGUMENT;
    if (call->op == WEFT_PREMUL_SUM && !scale_fits(call->dtype, options->scale)) return WEFT_INVALID_ARGUMENT;
    if (control_failed(comm->control)) {
        weft_failure failure = {.size = sizeof failure};
        control_failure(comm->control, &failure);
        return failure.status;
    }
    const struct select_request request_for_plan = {
        .collective = call->collective,
        .rank_count = comm->identity.rank_count,
        .bytes = call->count * weft_dtype_size(call->dtype),
        .forced = options->algorithm != WEFT_ALGORITHM_AUTO ? options->algorithm : comm->algorithm,
        .channel_units = comm->channel_units,
        .slice_bytes = comm->slice_bytes,
    };
    struct select_choice choice;
    weft_status status = select_plan(comm->model, &request_for_plan, &choice);
    if (status != WEFT_OK) return status;
    struct weft_request *request = request_take(comm);
    if (!request) return WEFT_OUT_OF_MEMORY;
    request->choice = choice;
    request->signature = (struct signature){
        .sequence = ++comm->sequence,
        .count = call->count,
        .root = call->root,
        .plan = choice_hash(comm, &choice),
        .collective = (uint8_t)call->collective,
        .dtype = (uint8_t)call->dtype,
        .op = (uint8_t)call->op,
        .algorithm = (uint8_t)request_for_plan.forced,
    };
    request->call = (struct operation_call){
        .send = call->send,
        .recv = call->recv,
        .count = call->count,
        .dtype = call->dtype,
        .op = call->op,
        .divisor = call->op == WEFT_AVG ? comm->identity.rank_count : 1,
        .scale = options->scale,
        .slice_bytes = choice.slice_bytes,
        .check = signature_check(&request->signature),
        .overwrites = call->send == call->recv,
        /* A root hears of nobody but through its slots coming back. */
        .acknowledged = call->collective == WEFT_BROADCAST,
    };
    request->posted_ns = clock_now_ns();
    uint64_t deadline_ns = options->deadline_ns ? options->deadline_ns : comm->deadline_ns;
    request->deadline_ns = request->posted_ns + deadline_ns;
    return request_post(request, out);
}

weft_status weft_all_reduce(weft_comm *comm, const void *send, void *recv, uint64_t count, weft_dtype dtype, weft_op op,
                            const weft_call *options, weft_request **request)
{
    if (!comm || (unsigned)op >= WEFT_OP_COUNT) return WEFT_INVALID_ARGUMENT;
    const struct collective_call call = {
        .collective = WEFT_ALL_REDUCE, .send = send, .recv = recv, .count = count, .dtype = dtype, .op = op};
    weft_status status = buffers_check(&call, true);
    return status == WEFT_OK ? call_post(comm, &call, options, request) : status;
}

weft_status weft_broadcast(weft_comm *comm, const void *send, void *recv, uint64_t count, weft_dtype dtype,
                           uint32_t root, const weft_call *options, weft_request **request)
{
    if (!comm || root >= comm->identity.rank_count) return WEFT_INVALID_ARGUMENT;
    const struct collective_call call = {
        .collective = WEFT_BROADCAST, .send = send, .recv = recv, .count = count, .dtype = dtype, .root = root};
    weft_status status = buffers_check(&call, comm->identity.rank == root);
    return status == WEFT_OK ? call_post(comm, &call, options, request) : status;
}

weft_status weft_barrier(weft_comm *comm, const weft_call *options, weft_request **request)
{
    if (!comm) return WEFT_INVALID_ARGUMENT;
    const struct collective_call call = {.collective = WEFT_BARRIER};
    return call_post(comm, &call, options, request);
}
