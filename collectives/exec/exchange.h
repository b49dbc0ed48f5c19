/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Direct plans among ranks that share memory, without slots: every rank stores a cell (cell.h) at each peer that it has
 * something for, and waits for one of each peer that has something for it.
 *
 * Small messages need no more: the cells carry what the ranks have for each other, or say where to read it if the
 * receiver can; then each makes its own result of it. For larger ones all ranks send each other offers, which lend each
 * other their buffers; then each does its part of the work, loading from and storing to everybody's buffers where they
 * are (loan.c), and says so; and all wait until nobody needs what they have lent of their own. If a rank has memory
 * that it cannot lend, its offer says so, all others read it, and all run the steps of the plan instead.
 *
 * What ranks hold before and after is all this has to know of a collective. Results are the plan's, bit for bit: both
 * combine in the order of ranks. docs/design/exchange.md has the reasons and the cost.
 */
#ifndef COLLECTIVES_EXCHANGE_H
#define COLLECTIVES_EXCHANGE_H

#include "collectives/exec/cell.h"
#include "collectives/exec/exec.h"
#include "collectives/reduce/reduce.h"

struct operation;
struct peer;

/* Some of the ranks: bit r is rank r. */
typedef uint32_t rank_set;
_Static_assert(EXCHANGE_RANKS <= 32, "a set has a bit for each rank");

/* A message of a direct plan. */
struct exchange_edge {
    struct peer *peer; /* NULL: this rank itself */
    uint32_t place;    /* of the block in this rank's input (to) or output (from); PLAN_NONE: there is but a flag */
};

/* What one rank does in exchanges of one plan. */
struct exchange_binding {
    bool combines;                      /* what is received, into one block; else each goes to a place of its own */
    rank_set peers, receivers, senders; /* all, those that get something of this rank, those that it gets some of */
    uint32_t to_count, from_count;
    uint32_t own_place;                        /* of what this rank has for itself, in its input */
    struct exchange_edge to[EXCHANGE_RANKS];   /* its receivers */
    struct exchange_edge from[EXCHANGE_RANKS]; /* whom it gets contents from, itself too, in the order of ranks */
};

/* A rank's buffers, as this rank gets at them. */
struct lent {
    struct loan input_loan, output_loan;
    bool input_staged;       /* the loan is of a portion of each block, not of all blocks */
    bool result_staged;      /* the output's is of what this rank makes for all, where they pull it */
    uint8_t *input, *output; /* to load from and store to, or NULL: by connection_read() and connection_write() */
    double scale;
};

/* Where this rank is in its part of the work. */
struct loan_work {
    uint32_t task;
    uint64_t done; /* elements of it */
};

/* An engine's part. */
struct exchange {
    uint32_t tickets, serving; /* drawn by operations when they start; the one whose turn it is */
    struct operation *current; /* whose turn has come and is not over, or NULL */
    rank_set awaited;          /* peers whose cells have yet to come */
    rank_set referring;        /* peers whose cells said where to read */
    rank_set borrowing;        /* peers that may get at this rank's buffers */
    bool left;                 /* an operation was abandoned: none begins any more */
    struct lent lent[EXCHANGE_RANKS];
    struct loan_work work;
    bool stage_turn;  /* which of its two places on the stage the next input gets */
    rank_set reading; /* peers that may still be at the last operation that this rank left without waiting for them */
    uint8_t *bounce;  /* for buffers that are copied from and to; NULL until the first */
};

/* Do operations of the plan go by cells and loans? Depends on nothing that differs between ranks. */
bool exchange_runs(const struct engine *engine, const struct weft_plan *plan);
/* Prepare this rank's part, with connections to all others. */
weft_status exchange_bind(struct engine *engine, const struct weft_plan *plan, struct exchange_binding *binding);

/* Like operation_advance(), for an operation that has not come to run the steps of its plan. */
void exchange_advance(struct operation *operation, bool *moved);
/* As operation_abandon(). */
weft_status exchange_abandon(struct operation *operation);

/* May an exchange begin at once? */
static inline bool exchange_is_free(const struct exchange *exchange)
{
    return !exchange->left && exchange->serving == exchange->tickets;
}
/* This rank is done with what the peers have sent, and lent. */
void exchange_say_taken(struct engine *engine, rank_set peers);
/* The exchange whose turn it is is over. */
void exchange_finish(struct engine *engine);

/* small.c */
bool small_is(const struct operation_call *call, size_t element_bytes);
/* Send everybody what this rank has for them; there is room. Who may be asleep is not woken. */
void small_send(const struct small *small);
/* Make the result of what has come from everybody. With other statuses than WEFT_OK, *peer's could not be got. */
weft_status small_take(const struct small *small, uint32_t *peer);
/* Who is to hear that this rank is done with what came: nothing else tells those who get nothing from here. */
rank_set small_freed(const struct small *small);

/* loan.c */
/* Room for EXCHANGE_BYTES of every rank, for what cannot be loaded from where it is; NULL: no memory. */
uint8_t *loan_bounce(struct engine *engine);
/* Will peers get at this rank's own buffers, or does it wait for them to go on? */
bool loan_is_touched(const struct operation *operation);
/* May the operation's buffers be lent, for all that the ranks know together? */
bool loan_serves(const struct operation *operation);
/* What a rank says with its loans, to all others alike. */
enum offer_flags {
    OFFER_LENT = 1,           /* its buffers are lent; else everybody is to run the steps of the plan */
    OFFER_COPIED = 2,         /* the kernel has to copy from and to them */
    OFFER_OVERWRITES = 4,     /* its result takes the place of what others may read */
    OFFER_STEPS = 8,          /* the plan's steps are better than copies, as far as it knows */
    OFFER_INPUT_STAGED = 16,  /* lent is what this portion has on the stage (stage.h), or comes to have there */
    OFFER_RESULT_STAGED = 32, /* and its part of the result comes to be there, for all others to pull */
    OFFER_STAGED = OFFER_INPUT_STAGED | OFFER_RESULT_STAGED,
};
/* Lend every peer what it needs of this rank's buffers. Returns enum offer_flags. */
uint32_t loan_offer(struct operation *operation, struct lent *offers);
/* Decide who does what, by everybody's enum offer_flags together: so all ranks decide alike. */
void loan_divide(struct operation *operation, uint64_t flags);
/* Reach for what the peers have lent, in engine->exchange.lent. */
void loan_accept(struct operation *operation);
/* Go on for a while. WEFT_OK: this rank's part is done. *peer: whose memory could not be got at, with other statuses.
 */
weft_status loan_advance(struct operation *operation, uint32_t *peer);
/* All have done their parts. True: of this portion; go on with offers for the next. */
bool loan_end(struct operation *operation);

/* pull.c */
/* Like loan_advance(), once all have done their parts: take from each what it has made. */
weft_status pull_advance(struct operation *operation, uint32_t *peer);
#endif
