/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "base/clock.h"
#include "collectives/comm/comm_internal.h"

struct weft_request *request_take(struct weft_comm *comm)
{
    struct weft_request *request = comm->idle_requests;
    if (request)
        comm->idle_requests = request->next;
    else if (!(request = malloc(sizeof *request)))
        return NULL;
    *request = (struct weft_request){.comm = comm};
    return request;
}

void request_give_back(struct weft_request *request)
{
    request->next = request->comm->idle_requests;
    request->comm->idle_requests = request;
}

weft_status request_status(const struct weft_request *request)
{
    return (weft_status)atomic_load_explicit(&request->status, memory_order_acquire);
}

/* Completed: forget the request and return what it came to. */
static weft_status request_end(weft_request **request)
{
    weft_status status = request_status(*request);
    request_give_back(*request);
    *request = NULL;
    return status;
}

/* Without a progress thread the waiting caller is the engine's thread. */
static void request_drive(struct weft_request *request)
{
    struct weft_comm *comm = request->comm;
    struct waiter waiter = waiter_of_caller(comm);
    for (;;) {
        uint64_t now_ns = clock_now_ns();
        bool moved = progress_turn(comm, now_ns);
        if (request_status(request) != WEFT_IN_PROGRESS) return;
        if (moved)
            waiter_busy(&waiter);
        else if (waiter_idle(&waiter, now_ns))
            waiter_sleep(&waiter, -1);
    }
}

weft_status weft_wait(weft_request **request)
{
    if (!request || !*request) return WEFT_INVALID_ARGUMENT;
    struct weft_comm *comm = (*request)->comm;
    if (request_status(*request) == WEFT_IN_PROGRESS) {
        if (comm->progress.running)
            wait_for_completion(&(*request)->status, comm->spin_ns);
        else
            request_drive(*request);
    }
    return request_end(request);
}

weft_status weft_test(weft_request **request)
{
    if (!request || !*request) return WEFT_INVALID_ARGUMENT;
    struct weft_comm *comm = (*request)->comm;
    if (request_status(*request) == WEFT_IN_PROGRESS) {
        if (comm->progress.running) return WEFT_IN_PROGRESS;
        progress_turn(comm, clock_now_ns());
        if (request_status(*request) == WEFT_IN_PROGRESS) return WEFT_IN_PROGRESS;
    }
    return request_end(request);
}

weft_status request_post(struct weft_request *request, weft_request **out)
{
    struct weft_comm *comm = request->comm;
    atomic_store_explicit(&request->status, WEFT_IN_PROGRESS, memory_order_relaxed);
    control_post(comm->control, &request->signature);
    if (comm->progress.running)
        progress_thread_post(comm, request);
    else
        progress_begin(comm, request);
    if (out) {
        *out = request;
        return WEFT_OK;
    }
    return weft_wait(&request);
}
