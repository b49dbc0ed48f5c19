/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Direct plans among ranks that share memory, without slots: in rounds. In a round every rank stores one cell at every
 * other, where a flag and what goes with it share a cache line, and is through when it has found a cell of each.
 *
 * Small messages need one round: the cells carry what the ranks have for each other, and each makes its own result of
 * it. Larger ones need two. In the first each lends the others its buffers; then each does its part of the work,
 * loading from and storing to everybody's buffers where they are (loan.c); the second round says that nobody needs a
 * loan any more. If a rank has memory that it cannot lend, its cell says so, all others read it, and all run the steps
 * of the plan instead.
 *
 * Two cells, used in turn, are enough: who begins a round is through with the last one, and that was over only once
 * every peer had begun it, and so had read what it got in the one before.
 *
 * What ranks hold before and after is all this has to know of a collective. Results are the plan's, bit for bit: both
 * combine in the order of ranks. docs/design/exchange.md has the reasons and the cost.
 */
#ifndef COLLECTIVES_EXCHANGE_H
#define COLLECTIVES_EXCHANGE_H

#include <stdalign.h>
#include <stdatomic.h>

#include "collectives/exec/exec.h"

struct operation;

enum {
    EXCHANGE_BESIDE_BYTES = 56, /* of a message that fits the flag's own line */
    EXCHANGE_CELLS = 2,
};

/* Written by one peer, read by the rank whose granted region it lies in. */
struct exchange_cell {
    /* Number of the round (from 1) << 32 | check of the operation. cell_send() releases, cell_arrived() acquires. */
    alignas(64) _Atomic uint64_t flag;
    uint8_t beside[EXCHANGE_BESIDE_BYTES];
    uint8_t payload[EXCHANGE_BYTES];
};

/* What one rank does in exchanges of one plan: places count blocks of a buffer, PLAN_NONE is nothing. */
struct exchange_binding {
    bool combines;                        /* what is received, into one block; else each goes to a place of its own */
    uint32_t send_places[EXCHANGE_RANKS]; /* by peer: in the input; one's own as well */
    uint32_t recv_places[EXCHANGE_RANKS]; /* by sender: in the output */
};

/* A rank's buffers, as this rank gets at them. */
struct lent {
    struct loan input_loan, output_loan;
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
    uint32_t round;            /* the one under way, or the last */
    struct operation *current; /* has begun and is not over, or NULL */
    struct lent lent[EXCHANGE_RANKS];
    struct loan_work work;
    uint8_t *bounce; /* for buffers that are copied from and to; NULL until the first */
};

/* Do operations of the plan go by rounds? Depends on nothing that differs between ranks. */
bool exchange_runs(const struct engine *engine, const struct weft_plan *plan);
/* Prepare this rank's part, with connections to all others. */
weft_status exchange_bind(struct engine *engine, const struct weft_plan *plan, struct exchange_binding *binding);

/* Like operation_advance(), for an operation that has not come to run the steps of its plan. */
void exchange_advance(struct operation *operation, bool *moved);
/* As operation_abandon(). */
weft_status exchange_abandon(struct operation *operation);

/* loan.c */
/* May the operation's buffers be lent, for all that the ranks know together? */
bool loan_serves(const struct operation *operation);
/* What a rank says with its loans, to all others alike. */
enum offer_flags {
    OFFER_LENT = 1,       /* its buffers are lent; else everybody is to run the steps of the plan */
    OFFER_COPIED = 2,     /* the kernel has to copy from and to them */
    OFFER_OVERWRITES = 4, /* its result takes the place of what others may read */
};
/* Lend every peer what it needs of this rank's buffers. Returns enum offer_flags. */
uint32_t loan_offer(const struct operation *operation, struct lent *offers);
/* Decide who does what, by everybody's enum offer_flags together: so all ranks decide alike. */
void loan_divide(struct operation *operation, uint64_t flags);
/* Reach for what the peers have lent, in engine->exchange.lent. */
void loan_accept(struct operation *operation);
/* Go on for a while. WEFT_OK: this rank's part is done. *peer: whose memory could not be got at, with other statuses.
 */
weft_status loan_advance(struct operation *operation, uint32_t *peer);
#endif
