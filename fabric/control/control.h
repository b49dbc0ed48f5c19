/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Liveness: who is alive, what has failed, and whether the ranks agree on what they are doing.
 *
 * One control thread per process sleeps in epoll with signals blocked and owns the control connections of all the
 * process's communicators. Each rank is joined to the ranks at plus and minus each power of two: the control graph.
 * The thread never touches payload, so a rank that computes for a minute outside weft is alive.
 *
 * A failure is written to every neighbour before anybody on this rank can see it; so whoever leaves because of a
 * failure has told its neighbours the cause before they see it leave.
 */
#ifndef FABRIC_CONTROL_H
#define FABRIC_CONTROL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <weft/weft.h>

#include "base/diagnostic.h"
#include "fabric/bootstrap/bootstrap.h"

/* What a rank called. Two ranks agree on an operation when all fields are equal. */
struct signature {
    uint64_t sequence; /* from 1, per communicator */
    uint64_t count;
    uint32_t root;
    uint32_t
        plan; /* hash of algorithm, channels, slots and slice size in use: ranks configured differently differ here */
    uint8_t collective, dtype, op, algorithm; /* algorithm: as forced by the caller; 0 when not */
};
/* "all_reduce count 1024 dtype float32 op sum algorithm auto plan 1a2b3c4d"; fields a collective has no use for are
 * left out. */
void signature_text(const struct signature *signature, char text[128]);

struct control;

enum control_features {
    CONTROL_RDMA = 1, /* it has RDMA devices and what it takes to use them */
};

struct control_config {
    struct identity identity;
    uint64_t deadline_ns;  /* for joining, from now */
    uint64_t keepalive_ns; /* a neighbour silent for so long counts as failed */
    const char *host_id;   /* what ranks of one host have in common; NULL: WEFT_HOST_ID, or what the kernel says */
    uint8_t features;      /* enum control_features of this rank, for all others to know */
    uint64_t token;        /* for all ranks to know the least and the most of: control_tokens() */
    bool network;          /* also give ranks of one host TCP sockets to each other; implied by an id with an address */
};

/* Blocks until this rank is connected to all its control neighbours. On error the diagnostic names the missing rank. */
weft_status control_join(const struct control_config *config, struct control **control, struct diagnostic *diagnostic);

/*
 * Say goodbye, with the number of operations begun, and free. Neighbours that later stall in a later operation fail it
 * with WEFT_PEER_FAILED, naming this rank as having left. NULL is allowed. Returns in bounded time (100 ms).
 */
void control_leave(struct control *control);

/* Has anything failed on any rank? One acquire load: cheap enough for a polling loop. */
bool control_failed(const struct control *control);
/* The first failure, the same on every rank that was told; status WEFT_OK while there is none. Thread: any. */
void control_failure(const struct control *control, weft_failure *failure);
/* Readable once something has failed: for sleeping beside a transport's descriptor. Owned by the control. */
int control_wake_descriptor(const struct control *control);

/*
 * Fail this communicator on all ranks; the first failure wins and later ones are dropped. On return the neighbours have
 * been written to and control_failed() is true. Thread: any.
 */
void control_report(struct control *control, const weft_failure *failure);

/*
 * Remember what this rank posted. Called for every operation, in order, so it is a store into a ring of the last 4096
 * that differ: no lock, no system call. Thread: the poster.
 */
void control_post(struct control *control, const struct signature *signature);

/*
 * The operation @p sequence has made no progress for a while (or has seen data of another signature): compare
 * signatures with the neighbours. They answer once they have posted that sequence themselves. A disagreement becomes a
 * WEFT_MISMATCH failure on all ranks; a neighbour that left before it posted becomes WEFT_PEER_FAILED.
 * Cheap to call again. Thread: the poster or its progress thread.
 */
void control_stalled(struct control *control, uint64_t sequence);

/*
 * struct rendezvous' reach (transport/core/transport.h): @p context is the control. The lower rank dials, the higher
 * one is given what the control thread accepted. Never blocks. Thread: the poster or its progress thread.
 */
weft_status control_reach(void *context, uint32_t peer, int *fd);

/*
 * The same with TCP sockets, of which a pair may have several: each WEFT_OK gives another one. WEFT_UNSUPPORTED: the
 * ranks have no network between them (control_config.network).
 */
weft_status control_reach_tcp(void *context, uint32_t peer, int *fd);

/* Can @p peer be reached over control_reach(), which is by Unix sockets? The same at both ends. Thread: any. */
bool control_same_host(const struct control *control, uint32_t peer);

/* first[rank]: the lowest rank that is on the same host; room for all ranks. The same on every rank. False when out of
 * memory. Thread: any. */
bool control_hosts(const struct control *control, uint32_t *first);

/* What @p peer, or this rank itself, has told of itself; 0 where ranks have no network between them. Thread: any. */
uint8_t control_features(const struct control *control, uint32_t peer);

/* The least and the most of all ranks' tokens: are they alike? Costs no message. Thread: any. */
void control_tokens(const struct control *control, uint64_t *least, uint64_t *most);

/* Of one rank's share in a gather. */
#define CONTROL_SHARE_BYTES_MAX (UINT32_C(16) << 20)

/*
 * Some ranks give bytes, all ranks get them: sharing.h says how. Every rank calls it, in the same order of gathers,
 * with the same @p is_source (NULL: all give); @p bytes are this rank's, read if it gives and during the call alone.
 * Blocks until all has come, which says nothing of other ranks having it. What has come is control_share()'s.
 * Errors, each reported to all ranks as a failure of the communicator: WEFT_DEADLINE_EXCEEDED, naming the first rank
 * whose bytes have not come; WEFT_RESOURCE_LIMIT (too many bytes); what the communicator has failed with.
 * Thread: one at a time, not beside control_leave().
 */
weft_status control_gather(struct control *control, const void *bytes, size_t size,
                           bool (*is_source)(const void *context, uint32_t rank), const void *context,
                           uint64_t deadline_ns, struct diagnostic *diagnostic);
/* What @p source gave to the last gather; the control's, until the next one. NULL where it gave nothing. */
const uint8_t *control_share(const struct control *control, uint32_t source, size_t *size);

/* Where @p rank listens, as control_address_text(). Thread: any. */
void control_contact_text(const struct control *control, uint32_t rank, char text[64]);

/* Why @p peer could not be reached last, by either kind of socket: an errno; 0: not known. Thread: any. */
int control_reach_cause(const struct control *control, uint32_t peer);

/* Where this rank listens, such as "10.0.0.1:40001"; "Unix sockets only" where there is no network. Thread: any. */
void control_address_text(const struct control *control, char text[64]);

/* Neighbours of @p rank among @p rank_count in ascending order, at most 64; returns how many. Pure. */
uint32_t control_neighbours(uint32_t rank, uint32_t rank_count, uint32_t neighbours[64]);
#endif
