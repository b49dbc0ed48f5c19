/* SPDX-License-Identifier: Apache-2.0 */
/* The collectives by their names: what each takes. */
#include "collectives/comm/comm_internal.h"

weft_status weft_all_reduce(weft_comm *comm, const void *send, void *recv, uint64_t count, weft_dtype dtype, weft_op op,
                            const weft_call *options, weft_request **request)
{
    if (!comm) return WEFT_INVALID_ARGUMENT;
    const struct collective_call call = {
        .collective = WEFT_ALL_REDUCE, .send = send, .recv = recv, .count = count, .dtype = dtype, .op = op};
    return call_post(comm, &call, options, request);
}

weft_status weft_reduce(weft_comm *comm, const void *send, void *recv, uint64_t count, weft_dtype dtype, weft_op op,
                        uint32_t root, const weft_call *options, weft_request **request)
{
    if (!comm) return WEFT_INVALID_ARGUMENT;
    const struct collective_call call = {
        .collective = WEFT_REDUCE, .send = send, .recv = recv, .count = count, .dtype = dtype, .op = op, .root = root};
    return call_post(comm, &call, options, request);
}

weft_status weft_reduce_scatter(weft_comm *comm, const void *send, void *recv, uint64_t count, weft_dtype dtype,
                                weft_op op, const weft_call *options, weft_request **request)
{
    if (!comm) return WEFT_INVALID_ARGUMENT;
    const struct collective_call call = {
        .collective = WEFT_REDUCE_SCATTER, .send = send, .recv = recv, .count = count, .dtype = dtype, .op = op};
    return call_post(comm, &call, options, request);
}

weft_status weft_all_gather(weft_comm *comm, const void *send, void *recv, uint64_t count, weft_dtype dtype,
                            const weft_call *options, weft_request **request)
{
    if (!comm) return WEFT_INVALID_ARGUMENT;
    const struct collective_call call = {
        .collective = WEFT_ALL_GATHER, .send = send, .recv = recv, .count = count, .dtype = dtype};
    return call_post(comm, &call, options, request);
}

/* What has a root and combines nothing. */
static weft_status rooted_post(weft_comm *comm, weft_collective collective, const void *send, void *recv,
                               uint64_t count, weft_dtype dtype, uint32_t root, const weft_call *options,
                               weft_request **request)
{
    if (!comm) return WEFT_INVALID_ARGUMENT;
    const struct collective_call call = {
        .collective = collective, .send = send, .recv = recv, .count = count, .dtype = dtype, .root = root};
    return call_post(comm, &call, options, request);
}

weft_status weft_broadcast(weft_comm *comm, const void *send, void *recv, uint64_t count, weft_dtype dtype,
                           uint32_t root, const weft_call *options, weft_request **request)
{
    return rooted_post(comm, WEFT_BROADCAST, send, recv, count, dtype, root, options, request);
}

weft_status weft_gather(weft_comm *comm, const void *send, void *recv, uint64_t count, weft_dtype dtype, uint32_t root,
                        const weft_call *options, weft_request **request)
{
    return rooted_post(comm, WEFT_GATHER, send, recv, count, dtype, root, options, request);
}

weft_status weft_scatter(weft_comm *comm, const void *send, void *recv, uint64_t count, weft_dtype dtype, uint32_t root,
                         const weft_call *options, weft_request **request)
{
    return rooted_post(comm, WEFT_SCATTER, send, recv, count, dtype, root, options, request);
}

weft_status weft_all_to_all(weft_comm *comm, const void *send, void *recv, uint64_t count, weft_dtype dtype,
                            const weft_call *options, weft_request **request)
{
    if (!comm) return WEFT_INVALID_ARGUMENT;
    const struct collective_call call = {
        .collective = WEFT_ALL_TO_ALL, .send = send, .recv = recv, .count = count, .dtype = dtype};
    return call_post(comm, &call, options, request);
}

weft_status weft_all_to_allv(weft_comm *comm, const void *send, const uint64_t *send_counts,
                             const uint64_t *send_offsets, void *recv, const uint64_t *recv_counts,
                             const uint64_t *recv_offsets, weft_dtype dtype, const weft_call *options,
                             weft_request **request)
{
    if (!comm) return WEFT_INVALID_ARGUMENT;
    const struct operation_blocks blocks = {send_counts, send_offsets, recv_counts, recv_offsets};
    const struct collective_call call = {
        .collective = WEFT_ALL_TO_ALLV, .send = send, .recv = recv, .blocks = &blocks, .dtype = dtype};
    return call_post(comm, &call, options, request);
}

weft_status weft_barrier(weft_comm *comm, const weft_call *options, weft_request **request)
{
    if (!comm) return WEFT_INVALID_ARGUMENT;
    const struct collective_call call = {.collective = WEFT_BARRIER};
    return call_post(comm, &call, options, request);
}
