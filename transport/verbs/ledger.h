/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bookkeeping of a connection's lanes, without a device: what to send next and on which lane, what has arrived and
 * may be told, and what to send again when a lane is lost. Nothing here calls anything;
 * tests/transport/verbs_ledger_test.c runs it in virtual time.
 *
 * A lane is a reliable connected queue pair: what is posted on it arrives in order and once, or the lane fails. Lanes
 * lie on rails (a device at each end), `lanes_per_rail` on each, rail 0's first.
 *
 * Items. A put becomes a write (LEDGER_WRITE), or one with its tag as immediate data (LEDGER_NOTIFY). A large one is
 * striped: writes on one lane of each rail, each followed there by a LEDGER_FRAGMENT message, and on the lane of its
 * path a LEDGER_STRIPED message, which has arrived once all its fragments have. What arrives on a lane is told in its
 * order, so the order within a path is that of its lane.
 *
 * Credits. Messages (all but writes) take a receive each, which the peer posts again when it polls; notes
 * (LEDGER_NOTIFY, LEDGER_STRIPED, LEDGER_SYNC) also take a place in the peer's queue of what is to be told. The peer
 * says how many of each it has seen off (struct ledger_credit), each time these are a quarter of the depth; the
 * receives that take this are LEDGER_RESERVE more. A fragment is a message but no note, and never waits for one:
 * whatever a note waits for can always be sent.
 *
 * Failure of a lane. Both ends stop it; each says how many messages it has received, after which none can come. What
 * the peer has not received goes to another lane, behind a LEDGER_SYNC that holds back what follows until everything
 * the peer has received of the lost lane has been told. Counts go on over the life of the connection, so a lane that
 * comes back continues where it was.
 */
#ifndef TRANSPORT_VERBS_LEDGER_H
#define TRANSPORT_VERBS_LEDGER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <weft/types.h>

#include "transport/core/transport.h"

#define LEDGER_MAX_RAILS 8u
#define LEDGER_MAX_LANES 32u
#define LEDGER_STRIPES 64u        /* striped puts on their way; a power of two */
#define LEDGER_DONE_ENTRIES 1024u /* a power of two */
/* Credits are told each quarter, of three counts: so many at most are on their way. */
#define LEDGER_RESERVE 12u
#define LEDGER_MIN_DEPTH 8u

enum ledger_kind {
    LEDGER_WRITE,
    LEDGER_NOTIFY,
    LEDGER_STRIPED,
    LEDGER_FRAGMENT,
    LEDGER_SYNC,
};

/* One work request, before and after it is posted. */
struct ledger_item {
    TAILQ_ENTRY(ledger_item) link;
    const uint8_t *source;
    void *staged; /* the caller's: what holds `source` where that is a copy */
    uint64_t remote_offset;
    uint64_t message;  /* its number among the lane's, once posted; 0: none */
    uint64_t position; /* LEDGER_SYNC: how many notes of `lane` come first */
    uint32_t bytes, tag;
    uint32_t posting; /* the caller's number of the work request */
    uint32_t stripe;  /* number of the striped put; with `striped` */
    uint8_t kind;
    uint8_t lane;  /* LEDGER_SYNC */
    uint8_t parts; /* LEDGER_STRIPED: fragments on other lanes */
    bool striped, loose, done_due;
    bool notify; /* LEDGER_STRIPED */
};
TAILQ_HEAD(ledger_items, ledger_item);

struct ledger_config {
    uint32_t rail_count, lanes_per_rail;
    uint32_t depth, peer_depth;           /* notes of a lane that the own side, the peer holds */
    uint32_t queue_limit;                 /* puts of a lane that wait to be posted */
    uint32_t send_depth;                  /* work requests of a lane that are posted */
    uint32_t stripe_bytes;                /* puts from this size on are striped; 0: none */
    double rail_weight[LEDGER_MAX_RAILS]; /* in proportion to which bytes are shared */
};

/* ---- Sending ---- */

enum ledger_lane_state { LEDGER_UP, LEDGER_STOPPED, LEDGER_LOST };

struct outbox_lane {
    struct ledger_items ordered, loose, posted;
    uint32_t queued; /* in `ordered` */
    uint8_t state;
    uint64_t messages, notes;                   /* posted */
    uint64_t messages_returned, notes_returned; /* of which the peer has seen off */
};

struct outbox_stripe {
    uint32_t tag, pending;
    bool local_done;
};

struct outbox {
    struct ledger_config config;
    uint32_t lane_count;
    uint8_t home[LEDGER_MAX_LANES]; /* lane of each path, modulo the number of lanes */
    bool refused;                   /* something, since outbox_room() last said so */
    struct outbox_lane lanes[LEDGER_MAX_LANES];
    struct ledger_items free;
    uint32_t free_count;
    struct ledger_item *items;
    uint32_t stripe_next, stripes_returned;
    struct outbox_stripe stripes[LEDGER_STRIPES];
    uint32_t done_head, done_tail, done_reserved;
    uint32_t done_tags[LEDGER_DONE_ENTRIES];
};

/* WEFT_OUT_OF_MEMORY. All lanes are up. */
weft_status outbox_open(struct outbox *outbox, const struct ledger_config *config);
void outbox_close(struct outbox *outbox);

/* The lane that puts of this path are queued at. */
uint32_t outbox_home(const struct outbox *outbox, uint16_t path_hint);
/* Queue a put that fits the region. False: no room. *touched gains the lanes that have something new to post. */
bool outbox_put(struct outbox *outbox, const struct put *put, uint32_t *touched);
/* Is there room again after a refusal? The second says so once. */
bool outbox_has_room(const struct outbox *outbox);
bool outbox_room(struct outbox *outbox);

/* What the lane may post next, or NULL. */
struct ledger_item *outbox_head(struct outbox *outbox, uint32_t lane);
/*
 * The head is posted as work request @p posting, its first @p bytes only if they are fewer than all: then a copy of it
 * stands for these, a write. Returns what was posted, or NULL when there is no memory for a copy.
 */
struct ledger_item *outbox_post(struct outbox *outbox, uint32_t lane, struct ledger_item *head, uint32_t bytes,
                                uint32_t posting);
/* The source of a posted item has been copied: the caller's may change. */
void outbox_copied(struct outbox *outbox, struct ledger_item *item);
/* Called for each item that will not be looked at again, with its `staged`. */
typedef void (*outbox_release)(void *context, struct ledger_item *item);
/* Work request @p posting and all before it are complete. */
void outbox_completed(struct outbox *outbox, uint32_t lane, uint32_t posting, outbox_release release, void *context);
/* What the peer has seen off, as it says. WEFT_PROTOCOL_ERROR: it cannot be. */
weft_status outbox_credit(struct outbox *outbox, uint32_t lane, uint64_t messages, uint64_t notes, uint32_t stripes);
/* A tag that EVENT_LOCAL_DONE is due for. */
bool outbox_take_done(struct outbox *outbox, uint32_t *tag);
/* Nothing waits, and nothing is posted and not complete. */
bool outbox_idle(const struct outbox *outbox);

/* Post nothing on this lane any more. */
void outbox_lane_stop(struct outbox *outbox, uint32_t lane);
/*
 * The lane is quiet, and the peer has received @p messages of it: give the others to a lane that is up, which *to
 * names. WEFT_PROTOCOL_ERROR: it cannot have. WEFT_LINK_DOWN: no lane is up.
 */
weft_status outbox_lane_lose(struct outbox *outbox, uint32_t lane, uint64_t messages, outbox_release release,
                             void *context, uint32_t *to);
/* A lost lane has a new queue pair. */
void outbox_lane_restore(struct outbox *outbox, uint32_t lane);
/* Give back everything, posted or not. */
void outbox_drop(struct outbox *outbox, outbox_release release, void *context);

/* ---- Receiving ---- */

struct ledger_note {
    uint64_t position; /* LEDGER_SYNC */
    uint32_t tag, stripe;
    uint8_t kind, lane, parts;
    bool notify;
};

struct inbox_lane {
    uint32_t head, tail;                /* of notes, counting up */
    uint64_t messages, notes;           /* received; told */
    uint64_t messages_told, notes_told; /* of which the peer knows */
    struct ledger_note *queue;          /* depth, a power of two */
};

struct inbox_stripe {
    uint8_t arrived;
    bool told;
};

struct inbox {
    uint32_t lane_count, depth;
    uint32_t occupied;   /* lanes with notes in their queues, a bit each */
    uint32_t told_lanes; /* lanes of which something was told since the user cleared it */
    uint32_t next_lane;
    uint32_t stripes_told, stripes_told_peer; /* all before it are told */
    struct inbox_lane lanes[LEDGER_MAX_LANES];
    struct inbox_stripe stripes[LEDGER_STRIPES];
    struct ledger_note *notes;
};

weft_status inbox_open(struct inbox *inbox, const struct ledger_config *config);
void inbox_close(struct inbox *inbox);

/* A message has come. WEFT_PROTOCOL_ERROR: no correct peer sends it. */
weft_status inbox_receive(struct inbox *inbox, uint32_t lane, const struct ledger_note *note);
/* The next tag to tell, lanes taking turns. False: none for now. */
bool inbox_take(struct inbox *inbox, uint32_t *tag);
/* Is there one? */
bool inbox_ready(const struct inbox *inbox);

struct ledger_credit {
    uint64_t messages, notes;
    uint32_t stripes;
};
/* Is it time to tell the peer? */
bool inbox_credit_due(const struct inbox *inbox, uint32_t lane);
/* What to tell; it counts as told. */
struct ledger_credit inbox_credit_take(struct inbox *inbox, uint32_t lane);
#endif
