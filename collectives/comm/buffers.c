/* SPDX-License-Identifier: Apache-2.0 */
/* Does the caller's memory fit the call? Sizes that no memory has, misaligned or missing buffers, overlaps. */
#include "base/bytes.h"
#include "base/diagnostic.h"
#include "collectives/comm/comm_internal.h"
#include "collectives/plan/shape.h"

/* A buffer of this rank; `used` is false where it has none, and then nothing else is looked at. */
struct span {
    uintptr_t begin;
    size_t bytes;
    bool used;
};

/* How many blocks this rank's side of the call holds. */
static uint64_t side_blocks(const struct weft_comm *comm, const struct collective_call *call, bool input)
{
    const struct shape *shape = shape_of(call->collective);
    enum shape_holder holder = input ? shape->input : shape->output;
    uint32_t rank = comm->identity.rank;
    if (call->collective == WEFT_SEND_RECV) return input != call->receives;
    if (holder == HOLDER_NOBODY) return 0;
    if (holder == HOLDER_ROOT && rank != call->root) return 0;
    bool single = shape->blocks == BLOCKS_ONE || (shape->blocks == BLOCKS_PER_RANK && holder == HOLDER_OWNER);
    return single ? 1 : comm->identity.rank_count;
}

/* Elements up to the end of the last block, for blocks of sizes of their own. False: more than can be. */
static bool extent(const uint64_t *counts, const uint64_t *offsets, uint32_t ranks, uint64_t *elements)
{
    *elements = 0;
    for (uint32_t i = 0; i < ranks; i++) {
        uint64_t end;
        if (__builtin_add_overflow(counts[i], offsets[i], &end)) return false;
        if (counts[i] > 0 && end > *elements) *elements = end;
    }
    return true;
}

static bool side_span(const struct weft_comm *comm, const struct collective_call *call, bool input, struct span *span)
{
    size_t element = weft_dtype_size(call->dtype);
    uint64_t elements;
    if (call->collective == WEFT_ALL_TO_ALLV) {
        const struct operation_blocks *blocks = call->blocks;
        if (!extent(input ? blocks->send_counts : blocks->recv_counts,
                    input ? blocks->send_offsets : blocks->recv_offsets, comm->identity.rank_count, &elements))
            return false;
    } else if (__builtin_mul_overflow(call->count, side_blocks(comm, call, input), &elements)) {
        return false;
    }
    const void *buffer = input ? call->send : call->recv;
    *span = (struct span){.begin = (uintptr_t)buffer, .used = elements > 0};
    return size_multiply(elements, element, &span->bytes) && span->bytes <= PTRDIFF_MAX;
}

static weft_status span_check(const struct collective_call *call, const struct span *span, const char *name,
                              struct diagnostic *diagnostic)
{
    if (!span->used) return WEFT_OK;
    if (span->begin == 0)
        return diagnose(diagnostic, WEFT_INVALID_ARGUMENT, "%s is NULL; expected %zu bytes", name, span->bytes);
    if (span->begin % weft_dtype_size(call->dtype) != 0)
        return diagnose(diagnostic, WEFT_INVALID_ARGUMENT, "%s at 0x%zx is not aligned to an element of %s", name,
                        (size_t)span->begin, weft_dtype_name(call->dtype));
    return WEFT_OK;
}

/*
 * In place the buffers are one; where one side is a single block of the other, it is the one at this rank's place
 * there. What two ranks exchange in place has to be of one size both ways.
 */
static bool spans_are_one(const struct weft_comm *comm, const struct collective_call *call, const struct span *send,
                          const struct span *recv)
{
    const struct shape *shape = shape_of(call->collective);
    size_t block = (size_t)call->count * weft_dtype_size(call->dtype), own = block * comm->identity.rank;
    if (call->collective == WEFT_ALL_TO_ALLV) {
        for (uint32_t i = 0; i < comm->identity.rank_count; i++)
            if (call->blocks->send_counts[i] != call->blocks->recv_counts[i] ||
                call->blocks->send_offsets[i] != call->blocks->recv_offsets[i])
                return false;
    }
    bool per_rank = shape->blocks == BLOCKS_PER_RANK;
    uintptr_t send_begin = send->begin - (per_rank && shape->input == HOLDER_OWNER ? own : 0);
    uintptr_t recv_begin = recv->begin - (per_rank && shape->output == HOLDER_OWNER ? own : 0);
    return send_begin == recv_begin;
}

void call_extent(const struct weft_comm *comm, const struct collective_call *call, size_t *send_bytes,
                 size_t *recv_bytes)
{
    struct span send = {.used = false}, recv = {.used = false};
    *send_bytes = *recv_bytes = 0;
    if (shape_of(call->collective)->blocks == BLOCKS_NONE) return;
    if (side_span(comm, call, true, &send) && send.used) *send_bytes = send.bytes;
    if (side_span(comm, call, false, &recv) && recv.used) *recv_bytes = recv.bytes;
}

weft_status call_check_buffers(const struct weft_comm *comm, const struct collective_call *call, bool *in_place,
                               struct diagnostic *diagnostic)
{
    struct span send, recv;
    *in_place = false;
    if (shape_of(call->collective)->blocks == BLOCKS_NONE) return WEFT_OK;
    if (!side_span(comm, call, true, &send) || !side_span(comm, call, false, &recv))
        return diagnose(diagnostic, WEFT_INVALID_ARGUMENT, "a count asks for more bytes than memory can have");
    weft_status status = span_check(call, &send, "send", diagnostic);
    if (status == WEFT_OK) status = span_check(call, &recv, "recv", diagnostic);
    if (status != WEFT_OK) return status;
    if (!send.used || !recv.used) return WEFT_OK;
    *in_place = spans_are_one(comm, call, &send, &recv);
    bool overlap = send.begin < recv.begin + recv.bytes && recv.begin < send.begin + send.bytes;
    if (!overlap || *in_place) return WEFT_OK;
    return diagnose(diagnostic, WEFT_INVALID_ARGUMENT,
                    "send, %zu bytes at 0x%zx, and recv, %zu at 0x%zx, overlap and are not in place", send.bytes,
                    (size_t)send.begin, recv.bytes, (size_t)recv.begin);
}
