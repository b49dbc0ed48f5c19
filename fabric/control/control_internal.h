/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What control.c (the calls of control.h), meeting.c (how sockets come to be) and connection.c (messages over them)
 * share. Everything here is guarded by the engine's lock unless it says otherwise.
 */
#ifndef FABRIC_CONTROL_INTERNAL_H
#define FABRIC_CONTROL_INTERNAL_H

#include "engine.h"
#include "protocol.h"

enum { GUESTS_MAX = 128 };

/* How long a neighbour whose socket is full may keep the others waiting for a failure or a goodbye. */
#define FLUSH_LIMIT_NS (100 * NS_PER_MS)

/* The socket to one control neighbour. */
struct connection {
    struct control *control;
    uint32_t neighbour; /* index */
    int fd;             /* -1: none */
    engine_watch watch;
    bool broken; /* writing has failed; what can still be read comes first, then its end */
    uint32_t filled;
    uint8_t received[MESSAGE_BYTES_MAX];
    uint8_t *unsent; /* whole messages behind the first, of which a part may have gone */
    size_t unsent_bytes, unsent_capacity;
};

/* One who has been accepted and has not said yet, or not proved, who he is. */
struct guest {
    struct control *control;
    struct handshake handshake; /* fd -1: free */
    engine_watch watch;
    uint64_t until_ns;
};

/* A connection on its way, tried until it succeeds or is refused. */
struct dial {
    struct dial *next;
    struct control *control;
    struct handshake handshake;
    engine_watch watch;
    uint64_t retry_ns, interval_ns; /* while nobody listens there */
};

/* A connection for a transport, waiting to be taken by control_reach(). */
struct reach {
    int fd;
    weft_status refused; /* WEFT_OK: has not been */
    bool dialling;
};

struct control {
    struct engine_member member;
    struct identity identity;
    struct signature_ring signatures; /* no lock: see signature.h */
    struct protocol protocol;
    struct connection *connections; /* as protocol.neighbours */
    struct reach *reaches;          /* by rank */
    struct dial *dials;
    struct guest guests[GUESTS_MAX];
    int listener;
    engine_watch listener_watch;
    uint64_t listen_again_ns; /* 0, or when to accept again after there were no descriptors */
    bool forgotten;           /* in a child of fork(): nothing is ours any more */
    uint64_t flush_until_ns;  /* 0, or when a failure is published even to a neighbour that does not read */
    pthread_cond_t changed;   /* joined, failed, or nothing unsent any more */
    int wake_fd;
    _Atomic uint64_t stalled; /* the latest operation control_stalled() was called for; no lock */
    _Atomic bool failed;      /* release in control_settle(), acquire in control_failed(); no lock */
};

/*
 * After anything was done to the protocol or sent: make known what has come of it. A failure once it has been written
 * to the neighbours, or FLUSH_LIMIT_NS have passed. Wakes whoever waits for `changed`.
 */
void control_settle(struct control *control);

/* ---- connection.c ---- */
/* Takes @p fd over. False: out of memory or descriptors; it is closed. */
bool connection_open(struct connection *connection, int fd, uint64_t now_ns);
void connection_close(struct connection *connection);
void connection_send(struct connection *connection, const struct message *message);
/* Is anything still waiting for a neighbour to read? The control thread sends it as soon as there is room. */
bool connections_unsent(const struct control *control);

/* ---- meeting.c ---- */
/* Begin to accept, and to dial the control neighbours of higher rank. */
weft_status meeting_begin(struct control *control);
weft_status meeting_dial(struct control *control, uint32_t peer, enum bootstrap_role role, uint64_t not_before_ns);
void meeting_tick(struct control *control, uint64_t now_ns);
uint64_t meeting_next_ns(const struct control *control);
/* Close everything that is not a control connection. */
void meeting_end(struct control *control);
#endif
