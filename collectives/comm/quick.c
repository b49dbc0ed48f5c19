/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blocking calls between ranks that share memory: run on the caller's stack, without a request and, where each rank has
 * a core, without a clock or a system call. If the peers are not there within some looks the operation, begun as it is,
 * becomes a request like any other, with a deadline and everything else that waiting needs.
 *
 * Who calls without waiting, or with a progress thread, takes the long way and does the same exchange: ranks need not
 * agree on that.
 */
#include "base/relax.h"
#include "collectives/comm/comm_internal.h"

/* Looks at which nothing moves before the long way: some microseconds, as many as a peer needs that is on its way. */
#define LOOKS 200u
/* Of them, after a pause each: a peer that comes at the same time is there after the others. */
#define PAUSED_LOOKS 136u
/* Ranks that share a core must not spin: each would keep the others from what it waits for. After as many looks, with
 * a yield between them, all that share the core have had their turn, and it is somebody else who is late. */
#define CROWDED_LOOKS 8u

bool quick_serves(const struct weft_comm *comm, const struct call_memo *memo)
{
    return comm->exchanges && memo->choice.algorithm == WEFT_ALGORITHM_DIRECT &&
           memo->signature.collective != WEFT_SEND_RECV && memo->signature.collective != WEFT_ALL_TO_ALLV &&
           !comm->progress.running;
}

/* The counters have one writer, the engine's thread, so adding needs no locked instruction. */
static void count_operation(struct weft_comm *comm, uint64_t bytes)
{
    uint64_t operations = atomic_load_explicit(&comm->operations, memory_order_relaxed);
    uint64_t payload_bytes = atomic_load_explicit(&comm->payload_bytes, memory_order_relaxed);
    atomic_store_explicit(&comm->operations, operations + 1, memory_order_relaxed);
    atomic_store_explicit(&comm->payload_bytes, payload_bytes + bytes, memory_order_relaxed);
}

static weft_status binding_find(struct weft_comm *comm, struct call_memo *memo)
{
    const struct plan_key key = {memo->choice.algorithm, memo->choice.channel_units, memo->signature.root, memo->peer,
                                 memo->choice.canonical, memo->choice.near};
    weft_status status = comm_plan(comm, (weft_collective)memo->signature.collective, &key, &memo->binding);
    memo->is_small = status == WEFT_OK && small_prepare(memo->binding, &memo->operation, &memo->small);
    return status;
}

static weft_status operation_run(struct operation *operation, struct patience patience)
{
    weft_status status = WEFT_IN_PROGRESS;
    while (patience.looks > 0 && status == WEFT_IN_PROGRESS) {
        bool moved = false;
        status = operation_advance(operation, &moved);
        if (moved) continue;
        if (operation_runs_steps(operation)) break; /* which notifications move on; here nobody takes any */
        if (patience.looks-- <= patience.paused_looks) relax();
    }
    return status;
}

/* The same, giving the core away between the looks. */
static weft_status operation_run_crowded(struct weft_comm *comm, struct operation *operation)
{
    struct waiter waiter = waiter_of_caller(comm);
    weft_status status = WEFT_IN_PROGRESS;
    for (uint32_t looks = 0; looks < CROWDED_LOOKS && status == WEFT_IN_PROGRESS;) {
        bool moved = false;
        status = operation_advance(operation, &moved);
        if (moved) {
            waiter_busy(&waiter);
            continue;
        }
        if (operation_runs_steps(operation) || waiter_idle(&waiter, clock_now_ns())) break;
        looks++;
    }
    return status;
}

/* What is more than one look at cells, or could not be done as such. @p begun may be NULL. */
static __attribute__((noinline)) bool quick_operation(struct weft_comm *comm, struct call_memo *memo,
                                                      struct patience patience, struct operation **begun)
{
    struct operation *operation = *begun;
    if (!operation && operation_start(comm->engine, memo->binding, &memo->operation, &operation) != WEFT_OK)
        return false;
    weft_status status =
        comm->spin_ns > 0 ? operation_run(operation, patience) : operation_run_crowded(comm, operation);
    if (status != WEFT_OK) {
        *begun = operation;
        return false;
    }
    *begun = NULL;
    operation_free(operation);
    count_operation(comm, memo->payload_bytes);
    return true;
}

bool quick_run(struct weft_comm *comm, struct call_memo *memo, struct operation **begun)
{
    const struct patience patience = {comm->spin_ns > 0 ? LOOKS : 1, PAUSED_LOOKS};
    if (!memo->binding && binding_find(comm, memo) != WEFT_OK) return false;
    comm->calm = comm->calm || small_may_run(comm->engine);
    const bool sent = memo->is_small && comm->calm && small_begin(&memo->small);
    control_post(comm->control, &memo->signature);
    if (!sent || small_end(&memo->small, patience, begun) != WEFT_OK)
        return quick_operation(comm, memo, patience, begun);
    count_operation(comm, memo->payload_bytes);
    return true;
}
