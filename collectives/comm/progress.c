/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "collectives/comm/comm_internal.h"

/* Without progress for so long, ranks compare what they have called. */
#define STALL_NS (100 * NS_PER_MS)
/*
 * Who only sends is through before anybody has looked at what it sent. So what turns out not to be this operation's, or
 * what nobody takes, may be left from one of so many before it, in which every rank believed that it only had to send.
 */
#define DISAGREED_BEFORE 64u
/* So long the control thread has to say why a connection broke, before the broken connection itself is the failure. */
#define VERDICT_NS (500 * NS_PER_MS)

static void request_finish(struct weft_comm *comm, struct weft_request *request, weft_status status)
{
    if (request->operation) operation_free(request->operation);
    request->operation = NULL;
    comm_memory_release(comm, request);
    /* Up to date before the request completes, so that whoever waited for it reads figures that include it. */
    uint64_t now_ns = clock_now_ns();
    atomic_fetch_add_explicit(&comm->busy_ns, now_ns - comm->busy_since_ns, memory_order_relaxed);
    comm->busy_since_ns = now_ns;
    if (status == WEFT_OK) {
        atomic_fetch_add_explicit(&comm->operations, 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&comm->payload_bytes, request->payload_bytes, memory_order_relaxed);
    }
    /* Release pairs with request_status(): the results are visible before the status. */
    atomic_store_explicit(&request->status, (uint32_t)status, memory_order_release);
    if (comm->progress.running) wake_completion(&request->status);
}

/* Where a request stands. A message to oneself is nowhere in a plan. */
static struct operation_stall request_stall(const struct weft_request *request)
{
    if (request->operation) return operation_stall(request->operation);
    uint32_t peer = request_is_to_self(request) ? request->peer : PLAN_NONE;
    return (struct operation_stall){PLAN_NONE, PLAN_NONE, peer, false};
}

/* Tell the control thread, and through it every rank, what is wrong with this request. */
static void request_report(struct weft_comm *comm, const struct weft_request *request, weft_status status,
                           int32_t culprit, int32_t other, const char *message)
{
    weft_failure failure = {
        .size = sizeof failure,
        .status = status,
        .rank = culprit,
        .other_rank = other,
        .reporter_rank = (int32_t)comm->identity.rank,
        .sequence = request->signature.sequence,
        .track = -1,
        .step = -1,
    };
    if (request->operation) {
        struct operation_stall stall = request_stall(request);
        failure.track = (int32_t)stall.track;
        failure.step = (int32_t)stall.step;
    }
    signature_text(&request->signature, failure.operation);
    snprintf(failure.device, sizeof failure.device, "%s", comm->endpoint->ops->name);
    snprintf(failure.message, sizeof failure.message, "%s", message);
    log_error("comm %02x%02x rank %u seq %llu track %d step %d status %s culprit %d: %s", comm->identity.job[0],
              comm->identity.job[1], comm->identity.rank, (unsigned long long)failure.sequence, failure.track,
              failure.step, weft_status_name(status), culprit, message);
    control_report(comm->control, &failure);
}

void progress_begin(struct weft_comm *comm, struct weft_request *request)
{
    struct binding *binding = NULL;
    bool runs = !control_failed(comm->control) && !request_is_to_self(request);
    const struct plan_key key = {request->choice.algorithm, request->choice.channel_units, request->root, request->peer,
                                 request->choice.canonical, request->choice.near};
    weft_collective collective = (weft_collective)request->signature.collective;
    weft_status status = runs ? comm_plan(comm, collective, &key, &binding) : WEFT_OK;
    if (status == WEFT_OK && runs) {
        comm_memory_hold(comm, request);
        status = operation_start(comm->engine, binding, &request->call, &request->operation);
    }
    /* What it sends first leaves with the first poll. How it stands is looked at after that one. */
    bool moved = false;
    if (status == WEFT_OK && runs) (void)operation_advance(request->operation, &moved);
    if (status != WEFT_OK) {
        char message[256];
        snprintf(message, sizeof message, "rank %u could not begin operation %llu: %s", comm->identity.rank,
                 (unsigned long long)request->signature.sequence, weft_status_text(status));
        request_report(comm, request, status, (int32_t)comm->identity.rank, -1, message);
    }
    progress_adopt(comm, request);
}

void progress_adopt(struct weft_comm *comm, struct weft_request *request)
{
    request->next = NULL;
    if (comm->active_last) {
        comm->active_last->next = request;
    } else {
        comm->active_first = request;
        comm->busy_since_ns = comm->moved_ns = request->posted_ns;
    }
    comm->active_last = request;
}

/* Compare what ranks have called, the oldest first: whatever ranks disagreed on first is what they are told of. */
static void request_compare(struct weft_comm *comm, uint64_t sequence)
{
    uint64_t rooted_last = atomic_load_explicit(&comm->rooted_sequence, memory_order_relaxed);
    bool rooted = rooted_last > 0 && rooted_last + DISAGREED_BEFORE > sequence;
    uint64_t before = !rooted ? 0 : sequence > DISAGREED_BEFORE ? DISAGREED_BEFORE : sequence - 1;
    for (uint64_t compared = sequence - before; compared <= sequence; compared++)
        control_stalled(comm->control, compared);
}

/* The operation has stopped for good. Why it did is for the control thread to say, if it does so soon. */
static void request_broken(struct weft_comm *comm, struct weft_request *request, weft_status status, uint64_t now_ns)
{
    struct operation_stall stall = request_stall(request);
    bool pair = request->signature.collective == WEFT_SEND_RECV;
    if (request->broken_since_ns == 0) {
        request->broken_since_ns = now_ns;
        if (!pair) request_compare(comm, request->signature.sequence);
    }
    if (now_ns - request->broken_since_ns < VERDICT_NS && !(pair && status == WEFT_MISMATCH)) return;
    char message[256];
    int32_t culprit = (int32_t)stall.peer, other = -1;
    if (status == WEFT_MISMATCH && (pair || request->signature.collective == WEFT_ALL_TO_ALLV)) {
        /* Sizes between two ranks are no part of the signatures that all ranks compare. */
        culprit = (int32_t)comm->identity.rank;
        other = (int32_t)stall.peer;
        snprintf(message, sizeof message, "rank %u sent another %s than rank %u receives from it", stall.peer,
                 pair ? "count or type" : "count", comm->identity.rank);
    } else if (status == WEFT_MISMATCH) {
        status = WEFT_PROTOCOL_ERROR;
        snprintf(message, sizeof message, "rank %u sent data of another operation than the one it says it called",
                 stall.peer);
    } else {
        snprintf(message, sizeof message, "connection to rank %u over %s failed: %s", stall.peer,
                 comm->endpoint->ops->name, weft_status_text(status));
    }
    request_report(comm, request, status, culprit, other, message);
}

static void request_late(struct weft_comm *comm, const struct weft_request *request)
{
    struct operation_stall stall = request_stall(request);
    double waited_s = (double)(request->deadline_ns - request->posted_ns) / (double)NS_PER_S;
    char message[256];
    if (stall.peer == PLAN_NONE)
        snprintf(message, sizeof message, "not complete after %.3g s", waited_s);
    else
        snprintf(message, sizeof message,
                 "rank %u waited %.3g s for rank %u%s; raise WEFT_DEADLINE if that is not long", comm->identity.rank,
                 waited_s, stall.peer, stall.connecting ? " to connect" : "");
    request_report(comm, request, WEFT_DEADLINE_EXCEEDED, stall.peer == PLAN_NONE ? -1 : (int32_t)stall.peer, -1,
                   message);
}

/* Advance every active request once, in the order of posting, and finish those that are complete. */
static bool active_advance(struct weft_comm *comm, uint64_t now_ns)
{
    bool moved = false;
    struct weft_request **link = &comm->active_first, *last = NULL;
    while (*link) {
        struct weft_request *request = *link;
        weft_status status = request_is_to_self(request) ? self_advance(comm, request, &moved)
                                                         : operation_advance(request->operation, &moved);
        if (status == WEFT_OK) {
            *link = request->next;
            request_finish(comm, request, WEFT_OK);
            moved = true;
            continue;
        }
        if (status != WEFT_IN_PROGRESS) request_broken(comm, request, status, now_ns);
        last = request;
        link = &request->next;
    }
    comm->active_last = last;
    return moved;
}

/* May a peer still be at the buffers that this rank has lent it? Nobody is waited for longer than that. */
bool request_is_lent(struct weft_comm *comm, struct weft_request *request, uint64_t now_ns)
{
    if (comm->ending_since_ns == 0) comm->ending_since_ns = now_ns;
    return request->operation && operation_abandon(request->operation) == WEFT_IN_PROGRESS &&
           now_ns - comm->ending_since_ns < COMM_LINGER_NS;
}

static bool active_fail(struct weft_comm *comm, uint64_t now_ns)
{
    weft_failure failure = {.size = sizeof failure};
    control_failure(comm->control, &failure);
    bool moved = false;
    struct weft_request **link = &comm->active_first, *last = NULL;
    while (*link) {
        struct weft_request *request = *link;
        if (request_is_lent(comm, request, now_ns)) {
            last = request;
            link = &request->next;
            continue;
        }
        *link = request->next;
        request_finish(comm, request, failure.status);
        moved = true;
    }
    comm->active_last = last;
    return moved;
}

/* Nothing moves: has it been so for long, or too long? Deadlines of requests behind the first come with their turn. */
static void active_stalled(struct weft_comm *comm, uint64_t now_ns)
{
    struct weft_request *first = comm->active_first, *numbered = first;
    while (numbered && numbered->signature.sequence == 0) numbered = numbered->next;
    if (numbered && now_ns - comm->moved_ns >= STALL_NS && now_ns - comm->compared_ns >= STALL_NS) {
        comm->compared_ns = now_ns;
        request_compare(comm, numbered->signature.sequence);
    }
    if (now_ns >= first->deadline_ns && first->broken_since_ns == 0) request_late(comm, first);
}

bool progress_turn(struct weft_comm *comm, uint64_t now_ns)
{
    bool moved = engine_poll(comm->engine, now_ns);
    if (!comm->active_first) return moved;
    if (control_failed(comm->control)) return active_fail(comm, now_ns) || moved;
    moved |= active_advance(comm, now_ns);
    if (comm->active_first && !moved) active_stalled(comm, now_ns);
    if (moved) comm->moved_ns = now_ns;
    return moved;
}
