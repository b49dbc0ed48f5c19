/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control protocol of one rank without sockets, threads or clock: events and the time go in, messages come out. The
 * control thread drives it over sockets, the tests under a virtual clock. README.md has the reasoning.
 *
 * Neighbours are known by their index in `neighbours` (ascending ranks).
 */
#ifndef FABRIC_CONTROL_PROTOCOL_H
#define FABRIC_CONTROL_PROTOCOL_H

#include <stdbool.h>
#include <stdint.h>

#include "message.h"
#include "sharing.h"
#include "signature.h"

enum neighbour_state {
    NEIGHBOUR_ABSENT,    /* not connected yet */
    NEIGHBOUR_CONNECTED, /* connected, and nothing heard: may still be a connection that the other side drops */
    NEIGHBOUR_PRESENT,
    NEIGHBOUR_LEFT, /* has said goodbye */
    NEIGHBOUR_LOST  /* has ended without */
};

struct neighbour {
    enum neighbour_state state;
    uint32_t rank;
    uint64_t heard_ns, told_ns; /* when something last came from it, and last went to it as a heartbeat */
    uint64_t keepalive_ns;      /* what it wants to hear from us within; 0: has not said */
    int32_t missing_rank;       /* joining: whom it waits for, or -1 */
    uint32_t rounds_heard;      /* joining: one bit per READY that came */
    /* What it posted in operations that we have not posted yet; ascending by arrival. */
    struct signature *pending;
    uint32_t pending_count, pending_capacity;
    /* After its goodbye. */
    uint64_t begun;
    uint32_t known_count;
    struct signature known[GOODBYE_SIGNATURES];
};

/* Where messages go. `send` must not call back into the protocol. */
struct protocol_outside {
    void (*send)(void *context, uint32_t neighbour, const struct message *message);
    void *context;
    const struct signature_ring *signatures; /* what this rank has posted */
    struct contact *contacts; /* of all ranks, by rank, our own filled in; NULL where there is no network */
};

struct protocol {
    struct protocol_outside outside;
    uint32_t rank, rank_count, neighbour_count;
    struct neighbour *neighbours;
    uint64_t keepalive_ns, ticked_ns;
    uint32_t round, rounds_sent; /* joining: the round waited in; one bit per READY sent */
    bool meeting;                /* rank 0 is still bringing ranks together: nobody can have joined */
    bool joined, failed;
    weft_failure failure; /* meaningful when failed; never changes afterwards */
    uint64_t least_token, most_token; /* of all ranks that READY messages have told of, this one included */
    struct sharing sharing;
    uint64_t *announced;  /* by sequence modulo SIGNATURES_KEPT: the sequence our signature was last sent of */
    uint64_t announced_highest;
};

weft_status protocol_init(struct protocol *protocol, uint32_t rank, uint32_t rank_count, uint64_t keepalive_ns,
                          const struct protocol_outside *outside, uint64_t now_ns);
/* Before anything is connected: what control_config.token says. */
void protocol_tell(struct protocol *protocol, uint64_t token);
void protocol_free(struct protocol *protocol);

/* -1: no neighbour. */
int32_t protocol_neighbour(const struct protocol *protocol, uint32_t rank);

/* `meeting` is over. */
void protocol_met(struct protocol *protocol);

/* A connection to the neighbour is there. Only from NEIGHBOUR_ABSENT, or again from NEIGHBOUR_CONNECTED. */
void protocol_connected(struct protocol *protocol, uint32_t neighbour, uint64_t now_ns);
void protocol_receive(struct protocol *protocol, uint32_t neighbour, const struct message *message, uint64_t now_ns);
/* The connection has ended, everything that came over it having been received; @p wrong: what was wrong with it, or
 * NULL. */
void protocol_ended(struct protocol *protocol, uint32_t neighbour, const struct diagnostic *wrong);

/* Time has passed: heartbeats, silent neighbours, signatures waiting for our own. */
void protocol_tick(struct protocol *protocol, uint64_t now_ns);
/* When protocol_tick() has to be called at the latest. */
uint64_t protocol_next_ns(const struct protocol *protocol);

/* The first failure wins: it is sent to all neighbours; later ones are dropped. */
void protocol_report(struct protocol *protocol, const weft_failure *failure);
void protocol_stalled(struct protocol *protocol, uint64_t sequence);
/* Say goodbye. Whatever happens afterwards has no effect. */
void protocol_leave(struct protocol *protocol);

/* Joining: the rank that this one waits for in the end, as far as it knows. */
uint32_t protocol_missing(const struct protocol *protocol);
#endif
