/* SPDX-License-Identifier: Apache-2.0 */
/* Two queue pairs of two hosts, connected through rdma_cm, each with a registered buffer: where the tests of this
 * folder start. All by one thread. */
#ifndef TESTS_MOCKVERBS_PAIR_H
#define TESTS_MOCKVERBS_PAIR_H

#include <rdma/rdma_cma.h>
#include <stdint.h>

#include "tests/mockverbs/mockverbs.h"

#define PAIR_BYTES 4096u
#define PAIR_DEPTH 8u

struct pair_end {
    struct rdma_event_channel *cm;
    struct rdma_cm_id *id;
    struct ibv_pd *pd;
    struct ibv_comp_channel *channel;
    struct ibv_cq *send_cq, *recv_cq;
    struct ibv_qp *qp;
    struct ibv_mr *mr;
    uint8_t buffer[PAIR_BYTES];
};
struct pair {
    struct pair_end a, b; /* a connects, b listens */
    struct rdma_cm_id *listener;
};
struct pair_options {
    const char *to;       /* address; NULL: "10.0.0.2" */
    uint32_t cq_capacity; /* of each queue; 0: 64 */
    uint8_t rnr_retry;    /* of a's sends */
    int b_access;         /* of b's region; 0: local and remote write */
};

/* On devices of mockverbs_hosts_add(); receives are not posted. */
void pair_open(struct pair *pair, const struct pair_options *options);
void pair_close(struct pair *pair);
/* A cmocka teardown. */
int pair_nothing_left(void **state);

/* The next event of a channel, which has to be of this type; it is acknowledged. Returns its status. */
int pair_expect(struct rdma_event_channel *channel, enum rdma_cm_event_type type);
/* Fetch one asynchronous event, acknowledge it, and return its type; -1 where there is none. */
int pair_async(struct ibv_context *context);

/* Post a write of @p bytes from the start of a's buffer to b's at @p offset; an errno. */
int pair_write(struct pair *pair, uint32_t bytes, uint32_t offset, unsigned int flags);
/* The same with immediate data. */
int pair_notify(struct pair *pair, uint32_t bytes, uint32_t offset, uint32_t immediate, unsigned int flags);
int pair_receive(struct pair_end *end, uint32_t count);
#endif
