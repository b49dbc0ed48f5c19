/* SPDX-License-Identifier: Apache-2.0 */
/* A rendezvous for tests: socket pairs, to ranks that are in one process or that were forked after pairs_fill(). */
#ifndef TESTS_TRANSPORT_PAIRS_H
#define TESTS_TRANSPORT_PAIRS_H

#include <pthread.h>

#include "transport/core/transport.h"

#define PAIRS_MAX_RANKS 8

struct pairs {
    pthread_mutex_t lock;
    bool filled;                               /* no pairs are made any more */
    int fds[PAIRS_MAX_RANKS][PAIRS_MAX_RANKS]; /* [of][to], -1: none waits to be taken */
    struct pairs_rank {
        struct pairs *pairs;
        uint32_t rank;
    } ranks[PAIRS_MAX_RANKS];
};

void pairs_init(struct pairs *pairs);
/* Make all pairs of @p rank_count ranks now; for use before fork(). */
void pairs_fill(struct pairs *pairs, uint32_t rank_count);
/* In a forked rank: close what belongs to the others, so that the end of a rank closes its sockets. */
void pairs_keep(struct pairs *pairs, uint32_t rank);
void pairs_close(struct pairs *pairs);

struct rendezvous pairs_rendezvous(struct pairs *pairs, uint32_t rank);

/* Connect a rank to all others, which do the same in other threads or processes. Gives up after a minute. */
weft_status pairs_connect_all(struct endpoint *endpoint, size_t granted_bytes, struct connection *connections[]);
/* Connect two endpoints of this thread. */
weft_status pairs_connect_two(struct endpoint *a, struct endpoint *b, size_t granted_bytes, struct connection **of_a,
                              struct connection **of_b);
#endif
