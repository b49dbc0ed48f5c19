/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/transport/pairs.h"

#include <sched.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"

#define CONNECT_PATIENCE_NS (60 * NS_PER_S)

static void pair_make(struct pairs *pairs, uint32_t a, uint32_t b)
{
    int fds[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) < 0) abort();
    pairs->fds[a][b] = fds[0];
    pairs->fds[b][a] = fds[1];
}

void pairs_init(struct pairs *pairs)
{
    *pairs = (struct pairs){.lock = PTHREAD_MUTEX_INITIALIZER};
    for (uint32_t of = 0; of < PAIRS_MAX_RANKS; of++) {
        pairs->ranks[of] = (struct pairs_rank){pairs, of};
        for (uint32_t to = 0; to < PAIRS_MAX_RANKS; to++) pairs->fds[of][to] = -1;
    }
}

void pairs_fill(struct pairs *pairs, uint32_t rank_count)
{
    for (uint32_t a = 0; a < rank_count; a++) {
        for (uint32_t b = a + 1; b < rank_count; b++) pair_make(pairs, a, b);
    }
    pairs->filled = true;
}

static void pair_end_close(struct pairs *pairs, uint32_t of, uint32_t to)
{
    if (pairs->fds[of][to] >= 0) close(pairs->fds[of][to]);
    pairs->fds[of][to] = -1;
}

void pairs_keep(struct pairs *pairs, uint32_t rank)
{
    for (uint32_t of = 0; of < PAIRS_MAX_RANKS; of++) {
        for (uint32_t to = 0; of != rank && to < PAIRS_MAX_RANKS; to++) pair_end_close(pairs, of, to);
    }
}

void pairs_close(struct pairs *pairs)
{
    pairs_keep(pairs, PAIRS_MAX_RANKS);
}

static weft_status pairs_reach(void *context, uint32_t peer, int *fd)
{
    const struct pairs_rank *self = context;
    struct pairs *pairs = self->pairs;

    pthread_mutex_lock(&pairs->lock);
    if (pairs->fds[self->rank][peer] < 0) {
        if (pairs->filled) abort();
        pair_end_close(pairs, peer, self->rank); /* the other end of a pair that was given up */
        pair_make(pairs, self->rank, peer);
    }
    *fd = pairs->fds[self->rank][peer];
    pairs->fds[self->rank][peer] = -1;
    pthread_mutex_unlock(&pairs->lock);
    return WEFT_OK;
}

struct rendezvous pairs_rendezvous(struct pairs *pairs, uint32_t rank)
{
    return (struct rendezvous){pairs_reach, &pairs->ranks[rank]};
}

weft_status pairs_connect_all(struct endpoint *endpoint, size_t granted_bytes, struct connection *connections[])
{
    const uint64_t give_up_ns = clock_now_ns() + CONNECT_PATIENCE_NS;
    weft_status status = WEFT_OK;
    uint32_t open;

    for (uint32_t peer = 0; peer < endpoint->rank_count; peer++) {
        connections[peer] = NULL;
        if (peer != endpoint->rank) status = endpoint_connect(endpoint, peer, granted_bytes, &connections[peer]);
        if (status) return status;
    }
    do {
        open = 1;
        for (uint32_t peer = 0; peer < endpoint->rank_count; peer++) {
            if (!connections[peer]) continue;
            status = connection_advance(connections[peer], clock_now_ns());
            if (status > WEFT_IN_PROGRESS) return status;
            open += status == WEFT_OK;
        }
        if (clock_now_ns() > give_up_ns) return WEFT_DEADLINE_EXCEEDED;
        sched_yield();
    } while (open < endpoint->rank_count);
    return WEFT_OK;
}

weft_status pairs_connect_two(struct endpoint *a, struct endpoint *b, size_t granted_bytes, struct connection **of_a,
                              struct connection **of_b)
{
    weft_status status = endpoint_connect(a, b->rank, granted_bytes, of_a);
    if (status) return status;
    status = endpoint_connect(b, a->rank, granted_bytes, of_b);
    if (status) return status;
    for (int i = 0; i < 100; i++) {
        const weft_status a_status = connection_advance(*of_a, 0), b_status = connection_advance(*of_b, 0);
        if (a_status == WEFT_OK && b_status == WEFT_OK) return WEFT_OK;
        if (a_status > WEFT_IN_PROGRESS) return a_status;
        if (b_status > WEFT_IN_PROGRESS) return b_status;
    }
    return WEFT_DEADLINE_EXCEEDED;
}
