/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The shortest way of a call: everybody has some bytes for everybody, which fit the line of a cell's flag, or nothing
 * but the flag; and such a call was done before, so that nothing has to be found out first. Between two threads of one
 * core it is the instructions from one flag's arrival to the next one's departure that take the time of a call.
 */
#include "base/fence.h"
#include "base/relax.h"
#include "collectives/exec/exec_internal.h"

bool brief_serves(const struct exchange_binding *edges, size_t bytes)
{
    return bytes <= CELL_BESIDE_BYTES && edges->receivers == edges->peers && edges->senders == edges->peers;
}

bool brief_send(const struct small *small)
{
    const struct exchange_binding *const edges = &small->binding->exchange;
    const struct exchange_edge *const end = edges->to + edges->to_count;
    const uint8_t *const input = small->call->send;
    const uint32_t check = small->call->check;
    const size_t bytes = small->bytes;
    for (const struct exchange_edge *edge = edges->to; edge < end; edge++)
        if (!lane_has_room(&edge->peer->lanes)) return false;
    for (const struct exchange_edge *edge = edges->to; edge < end; edge++) {
        struct lanes *lanes = &edge->peer->lanes;
        struct cell *cell = cell_next(lanes);
        cell_store(cell, input + edge->place * bytes, bytes);
        cell_send(lanes, cell, 0, check);
    }
    return true;
}

/* Take the peer's cell. False: it has not come in time, or is something else. */
static inline bool brief_await(struct lanes *lanes, uint32_t check, struct patience *patience)
{
    const uint32_t number = lanes->come + 1;
    const uint64_t expected = cell_flag(number, check);
    const struct cell *cell = &lanes->from->cells[number % LANE_CELLS];
    /* Acquire: pairs with cell_send(). */
    while (atomic_load_explicit(&cell->flag, memory_order_acquire) != expected) {
        if (patience->looks == 0) return false;
        if (patience->looks-- <= patience->paused_looks) relax();
    }
    lanes->come = number;
    lanes->taken = lanes->sent - 1; /* all but the cell of this call */
    cell_fetch(lanes);
    return true;
}

/* An operation goes on with it, and finds out what has become of the peers from @p edge on. */
static __attribute__((noinline)) weft_status brief_end(const struct small *small, const struct exchange_edge *edge,
                                                       struct operation **operation)
{
    const struct exchange_binding *edges = &small->binding->exchange;
    struct exchange *exchange = &small->binding->engine->exchange;
    exchange->awaited = exchange->borrowing = 0;
    for (; edge < edges->to + edges->to_count; edge++) exchange->awaited |= edge->peer->bit;
    *operation = operation_resume(small->binding, small->call);
    return WEFT_IN_PROGRESS;
}

weft_status brief_receive(const struct small *small, struct patience patience, struct operation **operation)
{
    const struct exchange_binding *const edges = &small->binding->exchange;
    const struct exchange_edge *const end = edges->to + edges->to_count;
    const uint32_t check = small->call->check;
    fence_full();
    for (const struct exchange_edge *edge = edges->to; edge < end; edge++) connection_wake(edge->peer->connection);
    small->binding->engine->exchange.referring = 0; /* it is all in the cells */
    for (const struct exchange_edge *edge = edges->to; edge < end; edge++)
        if (!brief_await(&edge->peer->lanes, check, &patience)) return brief_end(small, edge, operation);
    uint32_t culprit;
    return small_take(small, &culprit);
}
