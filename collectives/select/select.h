/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Price the plans that could serve a call, and pick the cheapest. Pure: equal arguments give equal choices on every
 * rank, so nothing has to be agreed.
 *
 * The price is alpha-beta: messages one after another, each at alpha, plus the bytes that the busiest rank moves, at
 * beta; for direct plans that go by cells and loans, rounds of cells and what the kernel copies. Figures carry their
 * unit and source, below. docs/design/selection.md has the terms, and how far off they are.
 */
#ifndef COLLECTIVES_SELECT_H
#define COLLECTIVES_SELECT_H

#include <stdbool.h>
#include <stdint.h>
#include <weft/types.h>

struct tuning; /* tuning.h */

enum { FEW_RANKS = 4 };

struct cost_model {
    double message_ns;   /* alpha: from put to the next step at the receiver, empty slice */
    double byte_ns;      /* beta: one pass of combining or copying a byte from slot to slot */
    double lone_byte_ns; /* the same where a chunk is one slice, so that no two passes overlap; 0: as byte_ns */
    double step_ns;      /* overhead of one step at the rank that runs it */
    double switch_ns;    /* where ranks share a processor: from one that waits to the next */
    /* Direct plans that go by cells and loans (exec/exchange.h). round_ns 0: there are none. */
    double round_ns;             /* a round of two ranks, the call included */
    double cell_ns;              /* each further rank's cell in it */
    double cell_byte_ns;         /* a byte into a cell and out of it */
    double copy_ns;              /* one copy by the kernel, whatever its size */
    double copy_byte_ns;         /* a byte that the kernel copies and that is combined */
    bool joins;                  /* what a step combines goes on in the same pass; else it is sent after it has come */
    double doubt;                /* by how much, of one, the figures may be wrong */
    uint32_t slice_bytes;        /* best size of a slice in flight */
    uint32_t slot_depth;         /* how many of them keep a sender busy */
    uint32_t few_slot_depth;     /* the same where no more than FEW_RANKS ranks need room for them; 0: as many */
    const char *source;          /* how the figures were got */
    const struct tuning *tuning; /* measured choices, which go before the model's; NULL: none */
};

extern const struct cost_model cost_model_shm;   /* ranks of one host over shared memory */
extern const struct cost_model cost_model_verbs; /* all ranks of different hosts are reached over RDMA */
extern const struct cost_model cost_model_tcp;   /* some ranks are reached over TCP */

/* The groups that hierarchical plans go by: hosts, caches. */
struct select_groups {
    uint32_t count, largest; /* groups, and ranks of the largest; 0: consecutive ranks, about as many as groups */
    uint32_t levels;         /* of groups within groups; 0 as 1 */
    const struct cost_model *within; /* what a message between ranks of one group costs; NULL: what any costs */
};

/*
 * What the links of a topology add, once ranks know where they are on one: plans made for it, and how long its busiest
 * link takes for a byte. A model's own figure for a byte is what a rank can do; the slower of the two counts.
 */
struct select_links {
    double byte_ns[WEFT_COLLECTIVE_COUNT][WEFT_ALGORITHM_COUNT];    /* for each of select_request.bytes; 0: not known */
    uint32_t messages[WEFT_COLLECTIVE_COUNT][WEFT_ALGORITHM_COUNT]; /* one after another; 0: as for ranks in order */
    bool arranged[WEFT_COLLECTIVE_COUNT][WEFT_ALGORITHM_COUNT];     /* by rings or trees of the topology */
    struct select_groups groups;
};

struct select_request {
    weft_collective collective;
    uint32_t rank_count;
    uint64_t bytes;          /* of the message */
    weft_algorithm forced;   /* or WEFT_ALGORITHM_AUTO */
    uint32_t channel_units;  /* forced; 0: the model's choice */
    uint32_t slice_bytes;    /* forced; 0: the model's choice */
    uint64_t exchange_bytes; /* direct plans go by exchange.h, messages up to here in its cells; 0: they do not */
    bool copies;             /* and the kernel may copy larger ones; else only registered buffers are lent */
    bool canonical;          /* of plans whose results are, only; where ranks combine */
    double crowd;            /* ranks that share a processor; up to 1: each has one */
    /* NULL: nothing is known of where ranks are. */
    const struct select_links *links;
};

struct select_choice {
    weft_algorithm algorithm;
    uint32_t channel_units;
    uint32_t slice_bytes;
    bool canonical;
    bool steps_when_near;   /* direct plans: between threads of one core, steps are better than the kernel's copies: */
    weft_algorithm near;    /* those of this one's plan, which gives the same bits; WEFT_ALGORITHM_AUTO: its own */
    bool stages_when_near;  /* or buffers by the stage (exec/stage.h) */
    bool stages_when_apart; /* the same between cores, past the caches */
    double predicted_ns[WEFT_ALGORITHM_COUNT]; /* by algorithm; 0: not a candidate */
};

/*
 * WEFT_UNSUPPORTED: the forced algorithm has no generator for this collective. WEFT_INVALID_ARGUMENT: it has, but not
 * for canonical results.
 */
weft_status select_plan(const struct cost_model *model, const struct select_request *request,
                        struct select_choice *choice);

/* Slices in flight per stream. */
uint32_t cost_model_slot_depth(const struct cost_model *model, uint32_t rank_count);

/* Of all figures that choices depend on, for ranks to compare; not of the tuning. */
uint64_t cost_model_hash(const struct cost_model *model);
#endif
