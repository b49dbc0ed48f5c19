/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "base/clock.h"
#include "collectives/comm/comm_internal.h"

bool request_reserve(struct weft_comm *comm)
{
    if (comm->idle_requests) return true;
    struct weft_request *request = malloc(sizeof *request);
    if (!request) return false;
    request->next = NULL;
    request->made_next = comm->made_requests;
    comm->idle_requests = comm->made_requests = request;
    return true;
}

struct weft_request *request_take(struct weft_comm *comm)
{
    struct weft_request *request = comm->idle_requests;
    comm->calm = false;
    comm->idle_requests = request->next;
    *request = (struct weft_request){.comm = comm, .made_next = request->made_next};
    return request;
}

void request_give_back(struct weft_request *request)
{
    request->next = request->comm->idle_requests;
    request->comm->idle_requests = request;
}

void requests_free(struct weft_comm *comm)
{
    while (comm->made_requests) {
        struct weft_request *request = comm->made_requests;
        comm->made_requests = request->made_next;
        free(request);
    }
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

/* A group is complete when all its members are, and fails with the first that did. */
static weft_status members_status(const struct weft_request *group)
{
    weft_status status = WEFT_OK;
    for (const struct weft_request *member = group->members; member; member = member->group_next) {
        weft_status of_member = request_status(member);
        if (of_member == WEFT_IN_PROGRESS) return WEFT_IN_PROGRESS;
        if (status == WEFT_OK) status = of_member;
    }
    return status;
}

static weft_status group_wait(weft_request **request)
{
    weft_status status = WEFT_OK;
    while ((*request)->members) {
        struct weft_request *member = (*request)->members;
        (*request)->members = member->group_next;
        weft_status of_member = weft_wait(&member);
        if (status == WEFT_OK) status = of_member;
    }
    request_give_back(*request);
    *request = NULL;
    return status;
}

static weft_status group_test(weft_request **request)
{
    struct weft_comm *comm = (*request)->comm;
    if (members_status(*request) == WEFT_IN_PROGRESS && !comm->progress.running) progress_turn(comm, clock_now_ns());
    return members_status(*request) == WEFT_IN_PROGRESS ? WEFT_IN_PROGRESS : group_wait(request);
}

weft_status weft_wait(weft_request **request)
{
    if (!request || !*request) return WEFT_INVALID_ARGUMENT;
    if ((*request)->group) return group_wait(request);
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
    if ((*request)->group) return group_test(request);
    struct weft_comm *comm = (*request)->comm;
    if (request_status(*request) == WEFT_IN_PROGRESS) {
        if (comm->progress.running) return WEFT_IN_PROGRESS;
        progress_turn(comm, clock_now_ns());
        if (request_status(*request) == WEFT_IN_PROGRESS) return WEFT_IN_PROGRESS;
    }
    return request_end(request);
}

void request_begin(struct weft_request *request)
{
    struct weft_comm *comm = request->comm;
    atomic_store_explicit(&request->status, WEFT_IN_PROGRESS, memory_order_relaxed);
    if (request->operation) { /* it is under way already */
        progress_adopt(comm, request);
        return;
    }
    if (request->signature.sequence > 0) control_post(comm->control, &request->signature);
    if (comm->progress.running)
        progress_thread_post(comm, request);
    else
        progress_begin(comm, request);
}
