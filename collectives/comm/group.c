/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Groups: calls that are begun together, so that none of them waits for one that has not been made yet, and that one
 * request stands for.
 */
#include "base/clock.h"
#include "collectives/comm/comm_internal.h"

weft_status weft_group_start(weft_comm *comm)
{
    if (!comm) return WEFT_INVALID_ARGUMENT;
    if (comm->grouping) return WEFT_INVALID_STATE;
    comm->grouping = true;
    comm->calm = false;
    return WEFT_OK;
}

void group_add(struct weft_comm *comm, struct weft_request *request)
{
    if (comm->group_last)
        comm->group_last->group_next = request;
    else
        comm->group_first = request;
    comm->group_last = request;
}

/* Collectives are numbered as they are called, and begun in that order here, on every rank alike. */
weft_status weft_group_end(weft_comm *comm, weft_request **request)
{
    if (!comm) return WEFT_INVALID_ARGUMENT;
    if (!comm->grouping) return WEFT_INVALID_STATE;
    if (!request_reserve(comm)) return WEFT_OUT_OF_MEMORY; /* the group stays open */
    struct weft_request *group = request_take(comm);
    group->group = true;
    group->members = comm->group_first;
    comm->grouping = false;
    comm->group_first = comm->group_last = NULL;
    uint64_t now_ns = clock_now_ns();
    for (struct weft_request *member = group->members; member; member = member->group_next) {
        member->deadline_ns = clock_after_ns(member->deadline_ns, now_ns - member->posted_ns);
        member->posted_ns = now_ns;
        request_begin(member);
    }
    if (!request) return weft_wait(&group);
    *request = group;
    return WEFT_OK;
}
