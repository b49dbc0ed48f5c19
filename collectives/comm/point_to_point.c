/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages from one rank to one other. They have a channel of their own: collectives use theirs in an order that all
 * ranks share, and of these only two ranks know. On it the k-th message sent is the k-th received.
 */
#include <string.h>

#include "collectives/comm/comm_internal.h"

weft_status weft_send(weft_comm *comm, const void *send, uint64_t count, weft_dtype dtype, uint32_t peer,
                      const weft_call *options, weft_request **request)
{
    if (!comm) return WEFT_INVALID_ARGUMENT;
    const struct collective_call call = {.collective = WEFT_SEND_RECV,
                                         .send = send,
                                         .count = count,
                                         .dtype = dtype,
                                         .root = comm->identity.rank,
                                         .peer = peer};
    return call_post(comm, &call, options, request);
}

weft_status weft_recv(weft_comm *comm, void *recv, uint64_t count, weft_dtype dtype, uint32_t peer,
                      const weft_call *options, weft_request **request)
{
    if (!comm) return WEFT_INVALID_ARGUMENT;
    const struct collective_call call = {.collective = WEFT_SEND_RECV,
                                         .recv = recv,
                                         .count = count,
                                         .dtype = dtype,
                                         .root = peer,
                                         .peer = comm->identity.rank,
                                         .receives = true};
    return call_post(comm, &call, options, request);
}

/* The receiver copies: both buffers are known once it is there. Senders wait in the order in which they were posted. */
weft_status self_advance(struct weft_comm *comm, struct weft_request *request, bool *moved)
{
    if (!request->receives) return request->taken ? WEFT_OK : WEFT_IN_PROGRESS;
    struct weft_request *sender = comm->active_first;
    while (sender && !(request_is_to_self(sender) && !sender->receives && !sender->taken)) sender = sender->next;
    if (!sender) return WEFT_IN_PROGRESS;
    if (sender->call.check != request->call.check) return WEFT_MISMATCH;
    if (request->payload_bytes > 0) memcpy(request->call.recv, sender->call.send, request->payload_bytes);
    sender->taken = *moved = true;
    return WEFT_OK;
}
