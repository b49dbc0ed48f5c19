/* SPDX-License-Identifier: Apache-2.0 */
#ifndef COLLECTIVES_EXEC_INTERNAL_H
#define COLLECTIVES_EXEC_INTERNAL_H

#include "collectives/exec/exchange.h"
#include "collectives/exec/exec.h"
#include "collectives/exec/partition.h"
#include "collectives/plan/shape.h"
#include "collectives/reduce/reduce.h"

/*
 * Tags of notifications: credit bit, channel, slot, check. A credit says that the receiver has given one slot back; it
 * carries no slot number, because slots are given back in order.
 */
#define TAG_CREDIT (UINT32_C(1) << 31)
#define TAG_CHANNEL_SHIFT 24
#define TAG_SLOT_SHIFT 18
#define TAG_CHECK_MASK ((UINT32_C(1) << TAG_SLOT_SHIFT) - 1)

/*
 * One direction of one channel to or from one peer. Slot k of a stream is the k-th slice that it ever carries, at
 * place k % slot_depth; the counters never go back. Operations take turns: each draws a ticket when it starts.
 */
struct stream {
    struct peer *peer;
    uint32_t channel;
    uint64_t position; /* slices put (outgoing) or given back (incoming) */
    uint64_t credited; /* outgoing: slices that the peer has given back */
    uint64_t arrived;  /* incoming: bit s: place s holds an unread slice */
    uint64_t leaving;  /* outgoing, unmapped: bit s: the transport may still read the slice put into place s */
    uint32_t *checks;  /* incoming: per place, the check of the slice there */
    /* For landing.c; incoming. */
    struct operation *landing; /* whose slices may land where they are to go, or NULL */
    uint32_t landing_step;     /* of the program */
    const struct cursor *landing_cursor;
    uint64_t landing_begin; /* position of its first slice */
    void **landed;          /* per place, where the slice goes; NULL: into the slot */
    uint64_t tickets, serving;
    uint64_t way_back_position; /* incoming: position of the channel's outgoing stream at the last credit */
    uint32_t owed;              /* incoming: credits since, which nothing has taken along */
    uint16_t path_hint;         /* outgoing: of the last slice */
};

enum peer_state { PEER_CONNECTING, PEER_CONNECTED, PEER_FAILED };

/* For steady.c: memory that slices for a peer leave from, and that the peer's kernel reads. */
struct steady {
    uint8_t *slots; /* NULL: not needed yet */
    uint8_t *mapped;
    size_t mapped_bytes;
    uint32_t slot_stride; /* bytes */
    uint32_t slices;      /* that left from there, this time */
    uint32_t others;      /* that left from elsewhere since */
    uint32_t near_looks;  /* in a row */
    uint32_t looks_sure;  /* so many are believed */
};

/* A rank this engine is, or was, connected to. */
struct peer {
    struct engine *engine;
    uint32_t rank;
    enum peer_state state;
    weft_status failure;
    struct connection *connection;
    uint8_t *mapped; /* the peer's slots in this process, or NULL: then slices leave from `staging` */
    uint8_t *staging;
    struct steady steady;               /* the same, for connections with steady_bytes */
    struct stream *incoming, *outgoing; /* channel_limit each */
    /* Puts that the transport has refused, in order. Credits and slots bound their number. */
    struct put *refused;
    uint32_t refused_first, refused_count;
    uint32_t leaving_count; /* unmapped: puts accepted whose source the transport has not let go of */
    rank_set bit;           /* for exchange.h: the rank's, and the cells to and from it */
    struct lanes lanes;
    uint32_t near_looks, apart_looks; /* for distance.h */
    uint32_t staged_cell;             /* of that operation, for those in exchange.reading */
    struct peer *next;                /* in the engine's list of peers */
};

struct engine {
    struct engine_config config;
    struct peer **peers; /* by rank; NULL: never needed */
    struct peer *first_peer;
    uint32_t connecting_count, connected_count;
    struct operation *idle_operations; /* to be used again */
    struct exchange exchange;
};

/* The peer, begun to be connected to if it is new. */
weft_status peer_get(struct engine *engine, uint32_t rank, struct peer **peer);
/* True if anything happened. */
bool peer_connect_advance(struct peer *peer, uint64_t now_ns);
void peer_failed(struct peer *peer, weft_status status);
/* Send, or keep for later. A failed peer's puts are dropped: whoever still needs that peer notices by waiting. */
void peer_put(struct peer *peer, const struct put *put);
bool peer_put_refused(struct peer *peer);
/* Is anything that was put not out of this process's hands yet? */
static inline bool peer_unfinished(const struct peer *peer)
{
    return peer->state == PEER_CONNECTED && (peer->refused_count > 0 || peer->leaving_count > 0);
}
/*
 * Give a slot back to the peer that filled it. Nobody but a peer that sends much, or wants to know that everything was
 * taken, waits for that, so it may stay behind for company: the next message this way. But not for half of the slots.
 */
void stream_give_back(struct stream *stream, bool awaited, uint16_t path_hint);
void peer_destroy(struct peer *peer);

/* Had a slice of so many bytes for this peer better leave from steady memory? From then on it has some. */
bool steady_serves(struct peer *peer, size_t bytes);
/* Where a slice is written that goes to slot_offset() @p offset at the peer. */
static inline uint8_t *steady_place(const struct peer *peer, uint64_t offset)
{
    return peer->steady.slots + offset / peer->engine->config.slot_bytes * peer->steady.slot_stride;
}
/* A slice is about to be written there. */
void steady_look(struct peer *peer, uint64_t offset);
void steady_close(struct peer *peer);

/* The peer's next cell has come, in an exchange with these receivers: it is through with all that went before. */
static inline void cell_take(struct peer *peer, rank_set receivers, bool by_reference)
{
    peer->lanes.come++;
    lane_note_taken(&peer->lanes, peer->lanes.sent - (receivers & peer->bit ? 1 : 0));
    if (by_reference) peer->engine->exchange.referring |= peer->bit;
}

/* The slots in a region that one rank grants another; what else is in it comes after them. */
static inline size_t slots_bytes(const struct engine_config *config)
{
    return (size_t)config->channel_limit * config->slot_depth * config->slot_bytes;
}

static inline uint64_t slot_offset(const struct engine_config *config, uint32_t channel, uint64_t position)
{
    return ((uint64_t)channel * config->slot_depth + position % config->slot_depth) * config->slot_bytes;
}

/* One end of a stream that a track uses. */
struct binding_use {
    struct stream *stream;
    uint32_t track;
    uint32_t landing_step; /* incoming: which only copies a slice of it to this rank's output; or PLAN_NONE */
};

struct binding {
    struct engine *engine;
    const struct weft_plan *plan; /* borrowed */
    uint32_t first_channel;
    struct plan_program program;
    struct stream **streams;  /* per operand of the program; NULL where it is no slot */
    struct binding_use *uses; /* each stream end once, ordered by track */
    uint32_t use_count;
    uint32_t *first_use; /* by track, and one more: the end of the last one's */
    /* Of the last operation. */
    weft_dtype dtype;
    weft_op op;
    reduce_function combine; /* NULL: there was none */
    size_t element_bytes;
    struct binding *near; /* whose steps are run if ranks are near; NULL: its own */
    bool outputs_follow;  /* each output waits, by the step that it comes after, for the input it may lie on */
    bool is_exchange;     /* operations go by exchange.h */
    struct exchange_binding exchange;
};

/* Where a track is. */
struct cursor {
    const struct plan_track *track;
    struct slicing slicing;
    uint32_t slice, step, repetition; /* step counts from the track's first */
    bool begun, done;
};

/* How far an operation has come, where it goes by exchange.h. */
enum operation_phase {
    PHASE_STEPS,      /* it does not, or not any more: its tracks run */
    PHASE_QUEUED,     /* others have their turn before it */
    PHASE_EXCHANGING, /* the contents are on their way */
    PHASE_OFFERING,   /* the loans are */
    PHASE_WORKING,    /* all buffers are lent */
    PHASE_RETURNING,  /* this rank has done its part, others may be at theirs */
    PHASE_PULLING,    /* all have, and this rank takes from each what it has made */
    PHASE_LEAVING,    /* it has, and others may be at it, who pull from this rank's own output */
};

/* Elements of each block that are lent and worked on at a time. */
struct portion {
    uint64_t begin, count;
};

struct operation {
    struct binding *binding;
    struct operation_call call;
    struct partition partition;
    reduce_function combine;
    size_t element_bytes;
    bool many_blocks; /* of the message */
    weft_status status;
    enum operation_phase phase;
    struct portion portion;
    bool is_small;        /* its contents go with the cells */
    uint32_t ticket;      /* for its turn among those that do */
    uint32_t offered;     /* by this rank: enum offer_flags */
    bool copied;          /* by the kernel: some buffers are not mapped where they are needed */
    bool swaps;           /* each pair of ranks swaps what they have for each other, for who has it in place */
    bool apart;           /* every rank makes all of its own result, and nothing else */
    bool bypasses_caches; /* results are */
    bool pulls;           /* everybody takes from each what it has made of a share for all */
    uint32_t tracks_left;
    struct operation_stall stall;
    struct cursor *cursors; /* per track */
    uint64_t *tickets;      /* per use */
    uint64_t *ends;         /* per use: an outgoing stream's position when the track had finished */
    uint32_t cursor_capacity, use_capacity;
    struct operation *next; /* while idle */
};

/* Calls of one kind follow each other: look their type and operator up once. False: there is no such combination. */
bool binding_combine_find(struct binding *binding, weft_dtype dtype, weft_op op);
/* An idle operation goes on with a small call that was begun without one. There is an idle one. */
struct operation *operation_resume(struct binding *binding, const struct operation_call *call,
                                   enum operation_phase phase);
/* Run the steps of the plan, after all operations for which this was called before. */
void operation_begin_steps(struct operation *operation);
/* The operation cannot go on, because of what came or does not come from @p peer, a rank. */
void operation_break_at(struct operation *operation, uint32_t track, uint32_t step, uint32_t peer, weft_status status);

/* A premultiplied sum scales a rank's input wherever it is read; slots and outputs hold what has been scaled. */
bool operand_is_scaled(const struct operation *operation, uint32_t operand);
/* Do the step's destinations, which are all alike, hold partial results, of elements other than the caller's? */
bool step_makes_partial(const struct operation *operation, const struct plan_step *step);

/* An operand's slice where a track is, or will be. */
struct operand_slice {
    void *address;
    uint64_t bytes;
    uint32_t check; /* what both ends of its message agree on */
};
struct operand_slice operand_slice_at(const struct operation *operation, const struct cursor *cursor,
                                      const struct plan_step *step, uint32_t operand);

/* landing.c */

/* Which step's slices of @p stream may land, of a track that uses it; or PLAN_NONE. */
uint32_t landing_step(const struct binding *binding, uint32_t track, const struct stream *stream);
/* An operation's track begins to use a stream. */
void landing_begin(struct operation *operation, const struct binding_use *use);
/* An unfinished operation gives up: nothing more lands in its buffers. */
void landing_recall(const struct operation *operation);
/* For connections, see transport.h; @p context: the peer. */
void *landing_place(void *context, const struct put *put);

/* departure.c */

/*
 * The operand from which a slice for a peer whose slots are out of reach can leave as it is, or PLAN_NONE: then it is
 * written to staging. An output is never written again. An input may be, in place, before the transport has read it,
 * unless outputs wait for that; and one that is scaled is not what its peer is to get.
 */
uint32_t step_departure(const struct operation *operation, const struct plan_step *step);
/* Does one of the step's slices, of so many bytes, go to a peer for whom it had better leave from steady memory? */
bool step_is_steady(const struct operation *operation, const struct plan_step *step, size_t bytes);
/*
 * In place: has the transport read what the step is about to write over? Where outputs_follow: the step that it comes
 * after is done for this slice, and maybe for later ones. Else *waits_for is the stream.
 */
bool departure_left(const struct operation *operation, const struct cursor *cursor, const struct plan_step *step,
                    const struct stream **waits_for);
#endif
