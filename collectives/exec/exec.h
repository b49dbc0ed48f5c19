/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Run plans. An engine is one rank's staging slots, streams and connections over one endpoint; an operation is one run
 * of a plan on given buffers. Work per call is bounded and no call blocks, sleeps or reads a clock but the one that the
 * engine is given, so the simulator drives the very code that production runs.
 *
 * Threads: one at a time per engine.
 */
#ifndef COLLECTIVES_EXEC_H
#define COLLECTIVES_EXEC_H

#include <stdbool.h>
#include <stdint.h>
#include <weft/types.h>

#include "collectives/plan/plan.h"
#include "transport/core/transport.h"

struct engine;
struct reduce_call;
struct binding;
struct operation;

struct engine_config {
    struct endpoint *endpoint; /* borrowed: outlives the engine */
    uint32_t rank, rank_count;
    uint32_t channel_limit; /* channels of any plan are below this; equal on all ranks */
    uint32_t slot_depth;    /* slots per stream; equal on all ranks */
    uint32_t slot_bytes;    /* a multiple of 64; equal on all ranks */
    /*
     * Direct plans go by the cells and loans of exchange.h. Only where every connection maps, and there are at most
     * EXCHANGE_RANKS ranks; equal on all ranks. These plans have the channels from exchange_channel on to themselves:
     * which of their operations come to use slots is known only when they run.
     */
    bool exchanges;
    uint32_t exchange_channel;
    /* Memory that every peer can map (stage.h), or NULL; and its size, equal on all ranks, whether they have it or not.
     */
    uint8_t *stage;
    size_t stage_bytes;
    /* What distances between caches are timed with (distance.h), in ns; NULL: nothing is known of them. */
    uint64_t (*clock_ns)(void);
    bool shares_processors; /* with other ranks: there are fewer than those of this host */
    uint64_t cache_bytes;   /* of the last-level caches that the ranks have between them; 0: not known */
    uint32_t cache_ranks;   /* those ranks, of this host; 0: not known */
};

enum {
    EXCHANGE_RANKS = 16,
    EXCHANGE_BYTES = 4096, /* largest message that goes with the cells */
};

weft_status engine_create(const struct engine_config *config, struct engine **engine);
/* Ends all connections. Unfinished operations must have been freed. NULL is allowed. */
void engine_destroy(struct engine *engine);

/*
 * How many connections are being made. If there are some, *peer is the highest rank among them; if one has failed,
 * *peer is its rank and *status why.
 */
uint32_t engine_connecting(const struct engine *engine, uint32_t *peer, weft_status *status);

/* Has something come that the exchange under way waits for? To be asked between endpoint_arm() and going to sleep:
 * no event tells of it. */
bool engine_exchange_is_due(const struct engine *engine);

/*
 * May a peer still be at its part of an operation that is complete here, and at what this rank has on its stage? To be
 * asked, with engine_poll() in between, before the engine's end, which looks like a failure to who is not through.
 */
bool engine_is_awaited(struct engine *engine);

/* Connect what is connecting, take in what has arrived, send what was refused. True if anything happened. */
bool engine_poll(struct engine *engine, uint64_t now_ns);

/*
 * A plan made ready for this rank: its program, with its streams found; the plan's channel 0 is the engine's
 * @p first_channel. Owned by the caller; binding_destroy().
 */
weft_status binding_create(struct engine *engine, const struct weft_plan *plan, uint32_t first_channel,
                           struct binding **binding);
/*
 * For a direct plan that goes by cells and loans: @p plan gives the same bits, and where it is steps that are to be run
 * when ranks are near, they are those of @p plan. Borrowed as long as the binding is there.
 */
weft_status binding_follow(struct binding *binding, const struct weft_plan *plan);
void binding_destroy(struct binding *binding);

/* Where every block has a size of its own (all_to_allv): elements for, and from, each rank, and where they lie. */
struct operation_blocks {
    const uint64_t *send_counts, *send_offsets, *recv_counts, *recv_offsets;
};

struct operation_call {
    const void *send;
    void *recv;
    uint64_t count;                        /* elements of a block */
    const struct operation_blocks *blocks; /* or these instead; borrowed until the end */
    weft_dtype dtype;
    weft_op op;
    uint32_t divisor;     /* average: the rank count; else 1 */
    double scale;         /* premultiplied sum: what this rank's input is multiplied by; else not read */
    uint32_t slice_bytes; /* a multiple of 64, at most the engine's slot_bytes */
    uint32_t check;       /* what both ends of every message must agree on: a hash of sequence and signature */
    bool overwrites;      /* outputs are written over inputs that others still need: nothing leaves from an input */
    bool acknowledged;    /* complete only when the peers have taken everything this rank sent */
    /* Between threads of one core steps are faster than the kernel's copies: the plan's, or see binding_follow(). */
    bool steps_when_near;
    /* There, buffers that peers cannot map had better go by the stage; with steps_when_near only what probes does. */
    bool stages_when_near;
    bool stages_when_apart; /* the same between cores, past the caches */
};

/*
 * Begin. Operations of one engine use every stream in the order in which they were started, on all ranks alike.
 * Owner: operation_free(), once operation_advance() has returned anything but WEFT_IN_PROGRESS, or to abandon it.
 */
weft_status operation_start(struct engine *engine, struct binding *binding, const struct operation_call *call,
                            struct operation **operation);

/* How often to look at what is waited for; of these the last after a pause each. */
struct patience {
    uint32_t looks, paused_looks;
};
/* Calls of one kind whose messages are small enough for cells, made ready (small.c). */
struct small {
    struct binding *binding;
    const struct operation_call *call; /* borrowed: check and buffers are set anew for each call */
    void (*combine)(const struct reduce_call *call);
    size_t bytes; /* of a message */
};
/* False: such calls need operations. */
bool small_prepare(struct binding *binding, const struct operation_call *call, struct small *small);
/* Is nothing else under way, and every peer there? Stays so while nothing is done with the engine but small calls. */
bool small_may_run(const struct engine *engine);
/*
 * A call without an operation, on an engine that may run it, in two parts. What has to be noted of it is best noted in
 * between: the peers' part is on its way meanwhile. small_begin() false: there is no room to send; nothing was done.
 * small_end() WEFT_OK: it is complete. WEFT_IN_PROGRESS: *operation is begun, to be gone on with.
 */
bool small_begin(const struct small *small);
weft_status small_end(const struct small *small, struct patience patience, struct operation **operation);

/*
 * Do what can be done. *moved is set to true, and otherwise left alone, if anything was. WEFT_IN_PROGRESS, WEFT_OK;
 * WEFT_MISMATCH: a message of another operation has come where this one's was expected, and nothing of it was read;
 * WEFT_PEER_FAILED and other statuses: a connection that is still needed has failed. operation_stall() tells which.
 * An operation that has failed stays so.
 */
weft_status operation_advance(struct operation *operation, bool *moved);
/* Does it run the steps of its plan, which engine_poll() moves on? Else cells and loans do. */
bool operation_runs_steps(const struct operation *operation);
/*
 * To be called before an operation is freed that is unfinished or has failed: ends this rank's part, tells the peers,
 * and says WEFT_IN_PROGRESS as long as one of them may still get at its buffers, else WEFT_OK. A peer that lives
 * answers once it looks at the operation, so call again, with engine_poll() in between.
 */
weft_status operation_abandon(struct operation *operation);
void operation_free(struct operation *operation);

/* Where an unfinished operation stands: the first track that waits, and for whom. */
struct operation_stall {
    uint32_t track, step; /* PLAN_NONE: nowhere */
    uint32_t peer;        /* PLAN_NONE: nobody */
    bool connecting;      /* the connection is still being made */
};
struct operation_stall operation_stall(const struct operation *operation);
#endif
