/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What control.c (the calls of control.h), meeting.c (how sockets come to be), reception.c (who is where) and
 * connection.c (messages to neighbours) share. Everything here is guarded by the engine's lock unless it says
 * otherwise.
 */
#ifndef FABRIC_CONTROL_INTERNAL_H
#define FABRIC_CONTROL_INTERNAL_H

#include "engine.h"
#include "protocol.h"
#include "stream.h"

enum {
    GUESTS_MAX = 128,
    LANES_WAITING_MAX = 16, /* TCP sockets to one peer that nobody has taken yet */
};

/* How long a neighbour whose socket is full may keep the others waiting for a failure or a goodbye. */
#define FLUSH_LIMIT_NS (100 * NS_PER_MS)

/* The socket to one control neighbour. */
struct connection {
    struct control *control;
    uint32_t neighbour; /* index */
    struct stream stream;
};

/* One who has been accepted and has not said yet, or not proved, who he is. */
struct guest {
    struct control *control;
    struct handshake handshake; /* link.fd -1: free */
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

/* Sockets for a transport to one peer, waiting to be taken by control_reach() or control_reach_tcp(). */
struct reach {
    struct arrival {
        struct arrival *next;
        int fd;
    } * first;
    weft_status refused; /* WEFT_OK: has not been */
    bool dialling;
    int cause; /* why the last attempt came to nothing, an errno; 0: none did */
};

/* Where we listen. */
struct door {
    struct control *control;
    int fd; /* -1: closed */
    engine_watch watch;
    uint64_t again_ns; /* 0, or when to accept again after there were no descriptors */
};
enum { DOOR_UNIX, DOOR_NETWORK, DOOR_MEETING, DOOR_COUNT };

/* At rank 0: a rank that wants to know where its neighbours are. */
struct visitor {
    struct control *control;
    uint32_t rank;
    bool told, served; /* where its neighbours are; and has said thank you */
    struct stream stream;
};

/* How ranks of several hosts find each other; reception.c. */
struct reception {
    struct stream stream;      /* elsewhere than at rank 0: to rank 0 */
    int32_t missing_rank;      /* whom rank 0 says we wait for, or -1 */
    bool served;               /* all neighbours' contacts are known */
    bool over;                 /* rank 0 has served everybody */
    bool failure_told;         /* to whoever is connected here */
    int cause;                 /* why rank 0 was not reached last, an errno */
    struct visitor **visitors; /* at rank 0, by rank; NULL: has not come */
    uint32_t served_count;     /* ranks that know where their neighbours are */
    uint64_t told_missing_ns;
};

struct control {
    struct engine_member member;
    struct identity identity;
    struct signature_ring signatures; /* no lock: see signature.h */
    struct protocol protocol;
    struct connection *connections; /* as protocol.neighbours */
    struct reach *reaches;          /* Unix sockets, by rank; then TCP sockets, by rank */
    struct contact *contacts;       /* by rank; NULL: all ranks are on this host, and have no TCP sockets */
    struct reception reception;
    struct dial *dials;
    struct guest guests[GUESTS_MAX];
    struct door doors[DOOR_COUNT];
    uint32_t gather;         /* number of the next one */
    bool forgotten;          /* in a child of fork(): nothing is ours any more */
    uint64_t flush_until_ns; /* 0, or when a failure is published even to a neighbour that does not read */
    pthread_cond_t changed;  /* joined, failed, or nothing unsent any more */
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
/* Takes @p link over. False: out of memory or descriptors; it is closed. */
bool connection_open(struct connection *connection, const struct link *link, uint64_t now_ns);
/* Is anything still waiting for a neighbour to read? The control thread sends it as soon as there is room. */
bool connections_unsent(const struct control *control);

/* ---- meeting.c ---- */
/* Begin to accept, and to dial the control neighbours of higher rank whose contacts are known. */
weft_status meeting_begin(struct control *control);
weft_status meeting_dial(struct control *control, uint32_t peer, enum bootstrap_role role, uint64_t not_before_ns);
struct reach *meeting_reach(struct control *control, uint32_t peer, enum bootstrap_role role);
/* Somebody of this job cannot take part: as long as ranks are joining that ends the job for everyone. */
void meeting_refuse(struct control *control, int32_t peer, const struct diagnostic *why);
/* Accept no more, and close. */
void meeting_close_door(struct door *door);
void meeting_tick(struct control *control, uint64_t now_ns);
uint64_t meeting_next_ns(const struct control *control);
/* Close everything that is not a control connection. */
void meeting_end(struct control *control);

/* ---- reception.c ---- */
/* WEFT_OUT_OF_MEMORY. Nothing to do where all ranks are on one host. */
weft_status reception_begin(struct control *control);
/* At rank 0: @p peer has come. Takes @p link over. */
void reception_admit(struct control *control, uint32_t peer, const struct link *link, uint64_t now_ns);
/* Elsewhere: we have come to rank 0. Takes @p link over. */
void reception_attend(struct control *control, const struct link *link, uint64_t now_ns);
/* Tell a failure to those who have no control connections yet. */
void reception_fail(struct control *control);
void reception_tick(struct control *control, uint64_t now_ns);
uint64_t reception_next_ns(const struct control *control);
/* Whom we wait for, or -1 where that is no longer a matter of finding each other. */
int32_t reception_missing(const struct control *control);
void reception_end(struct control *control);
#endif
