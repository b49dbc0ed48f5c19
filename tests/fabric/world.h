/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control protocol of all ranks in one thread under a virtual clock: messages travel as bytes over ordered channels
 * with random latencies, ranks start, stop, die and leave when the test says so or at random. Everything follows from
 * the seed.
 */
#ifndef TESTS_FABRIC_WORLD_H
#define TESTS_FABRIC_WORLD_H

#include "base/clock.h"
#include "base/random.h"
#include "fabric/control/protocol.h"

enum { WORLD_RANKS_MAX = 33 };

enum node_state { NODE_WAITING, NODE_RUNNING, NODE_STOPPED, NODE_DEAD, NODE_GONE };

/* What a rank does once it sees a failure. */
enum reaction { STAY, LEAVE, EXIT };

struct parcel {
    struct parcel *next;
    uint64_t arrives_ns;
    bool is_end;
    size_t size;
    uint8_t bytes[MESSAGE_BYTES_MAX];
};

/* From one rank to one of its neighbours. */
struct channel {
    struct parcel *first, **last;
    uint64_t last_arrival_ns;
};

struct node {
    struct world *world;
    enum node_state state;
    enum reaction reaction;
    uint64_t starts_ns, reacts_ns, failed_ns; /* UINT64_MAX: never, not yet */
    uint32_t sends_left;                      /* dies in the middle of sending, after so many more */
    struct protocol protocol;
    struct signature_ring signatures;
    struct channel channels[64];  /* to each neighbour */
    struct channel *incoming[64]; /* from each neighbour */
    uint64_t connects_ns[64];     /* when this end of the connection is opened */
    bool connected[64];
};

struct world {
    uint64_t seed, now_ns, latency_max_ns, keepalive_ns;
    struct random random;
    uint32_t rank_count;
    struct node *nodes[WORLD_RANKS_MAX];
};

/* All ranks start within @p start_spread_ns. */
void world_create(struct world *world, uint64_t seed, uint32_t rank_count, uint64_t latency_max_ns,
                  uint64_t keepalive_ns, uint64_t start_spread_ns);
void world_destroy(struct world *world);
void world_run(struct world *world, uint64_t until_ns);

/* Before the first world_run(). */
void world_never_starts(struct world *world, uint32_t rank);
/* Immediately. The dead say nothing more; what they had sent still arrives. */
void world_kill(struct world *world, uint32_t rank);
void world_leave(struct world *world, uint32_t rank);
void world_stop(struct world *world, uint32_t rank);
void world_continue(struct world *world, uint32_t rank);
void world_post(struct world *world, uint32_t rank, const struct signature *signature);
void world_stalled(struct world *world, uint32_t rank, uint64_t sequence);
#endif
