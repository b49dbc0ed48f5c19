/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/transport/pairs.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

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
