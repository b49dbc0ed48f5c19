/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How ranks find each other before anything else exists: who we are, where others listen, and the first exchange on a
 * fresh socket that proves both ends belong to the same job.
 *
 * On one host ranks listen on Unix sockets in the abstract name space (nothing to clean up) whose names derive from the
 * job and the rank through the job's key, so that nobody else can take a name first; the kernel vouches for the other
 * side's user (SO_PEERCRED); the first records of both sides carry job, ranks, role, world size, protocol version and a
 * nonce, and are followed by a proof over both records that only a holder of the job's key can make.
 */
#ifndef FABRIC_BOOTSTRAP_H
#define FABRIC_BOOTSTRAP_H

#include <stdbool.h>
#include <stdint.h>
#include <weft/weft.h>

#include "base/diagnostic.h"
#include "link.h"

/* Where somebody listens. */
struct tcp_address {
    int family; /* AF_INET, AF_INET6, or AF_UNSPEC: nowhere */
    uint16_t port;
    uint8_t bytes[16]; /* in network order; of AF_INET the first four */
};

struct identity {
    uint8_t job[16]; /* public */
    uint8_t key[32]; /* secret */
    uint32_t rank, rank_count;
    struct tcp_address meeting; /* where rank 0 expects the others; AF_UNSPEC: all ranks are on this host */
};

/* Where a rank can be reached. */
struct contact {
    uint8_t host[16];        /* equal where ranks can connect by Unix sockets */
    struct tcp_address data; /* AF_UNSPEC: there only */
    uint8_t features;        /* what it can do that not all can: control.h */
};

/* Purpose of a connection, which decides what it goes over. */
enum bootstrap_role {
    ROLE_CONTROL = 1, /* a Unix socket, or TLS */
    ROLE_TRANSPORT,   /* a Unix socket */
    ROLE_MEETING,     /* TLS, to rank 0 */
    ROLE_LANE,        /* TCP */
};

/* Take a unique id apart. WEFT_INVALID_ARGUMENT for 128 bytes that weft_unique_id_create() did not make. */
weft_status bootstrap_identity(const weft_unique_id *id, uint32_t rank, uint32_t rank_count, struct identity *identity,
                               struct diagnostic *diagnostic);

/* What a unique id says. */
struct unique_id_parts {
    uint8_t job[16], key[32];
    int family; /* of the address at which rank 0 expects the others; AF_UNSPEC: all ranks are on one host */
    uint8_t address[16];
    uint16_t port;
};
/*
 * The id of a job whose ranks were handed its parts instead of an id: rank 0 then listens at the address itself.
 * WEFT_INVALID_ARGUMENT: a family that is none of the three, or an address without a port. Thread: any.
 */
weft_status unique_id_make(const struct unique_id_parts *parts, weft_unique_id *id);

/* The same, for ranks of one host. */
void bootstrap_id_make(const uint8_t job[16], const uint8_t key[32], weft_unique_id *id);

/* A fresh id for ranks of one host: nothing listens on the network for it. WEFT_SYSTEM_ERROR: no random bytes. */
weft_status bootstrap_id_create_local(weft_unique_id *id);

/*
 * The id that weft_local_run() handed down by descriptor. WEFT_INVALID_ARGUMENT: WEFT_ID_FD names none. Thread: any,
 * as often as wanted.
 */
weft_status bootstrap_id_inherited(weft_unique_id *id, struct diagnostic *diagnostic);

/*
 * An id serves one communicator: turn it into the one of the process's communicator number @p generation, from 0.
 * Nobody who lacks the first id's key can tell that they belong together.
 */
void bootstrap_id_derive(weft_unique_id *id, uint64_t generation);

/*
 * Where the ranks of a part of a communicator meet. Bytes that may be seen by anybody: the part's key derives from them
 * and the whole's key.
 */
enum { SPLIT_PLACE_BYTES = 40 };
/* At the part's rank 0: a fresh job, and a listening socket where the whole has a network. WEFT_SYSTEM_ERROR, ... */
weft_status bootstrap_split_open(const struct identity *whole, uint8_t place[SPLIT_PLACE_BYTES],
                                 struct diagnostic *diagnostic);
/* The id of the part. WEFT_INVALID_ARGUMENT: no such place. */
weft_status bootstrap_split_id(const struct identity *whole, const uint8_t place[SPLIT_PLACE_BYTES],
                               weft_unique_id *id);

/* Listen as @p identity's rank. Non-blocking, close-on-exec. WEFT_INVALID_ARGUMENT: that rank is already there. */
weft_status bootstrap_listen(const struct identity *identity, int *fd, struct diagnostic *diagnostic);

/*
 * Listen where rank 0 expects the others: take over what weft_unique_id_create() has left for this job, or bind the
 * address. WEFT_AGAIN: it is taken. WEFT_INVALID_ARGUMENT: it is no address of this host.
 */
weft_status bootstrap_meeting_listen(const struct identity *identity, int *fd, struct diagnostic *diagnostic);

enum {
    HANDSHAKE_RECORD_BYTES = 88,
    HANDSHAKE_PROOF_BYTES = 32,
};

/*
 * One handshake, as a state machine that never blocks. On WEFT_OK `link` is connected and the caller's; accepting,
 * `peer` and `role` say who came and what for. No byte behind the handshake has been read.
 * While dialling, `link.fd` is -1 whenever the peer does not listen (yet, or no longer), and `cause` may say why:
 * advance again after a while. With a descriptor, advance when it is readable or writable.
 */
struct handshake {
    const struct identity *identity;
    struct link link;
    struct tcp_address at; /* dialling: AF_UNSPEC: the peer's Unix socket */
    bool dialling, network;
    int cause; /* errno of the last attempt that led nowhere, or 0 */
    uint32_t peer;
    enum bootstrap_role role;
    uint8_t state;
    uint16_t filled, sent;                 /* bytes of the message being received, being sent */
    uint8_t hello[HANDSHAKE_RECORD_BYTES]; /* the dialling side's record */
    uint8_t reply[HANDSHAKE_RECORD_BYTES]; /* the accepting side's record */
    uint8_t proof[HANDSHAKE_PROOF_BYTES];  /* the dialling side's proof, which ends the exchange */
};
void handshake_dial(struct handshake *handshake, const struct identity *identity, uint32_t peer,
                    enum bootstrap_role role, const struct tcp_address *at);
/* Takes the accepted @p fd over; @p network: it is a TCP socket, on which TLS may be spoken, and anyone may be. */
void handshake_accept(struct handshake *handshake, const struct identity *identity, int fd, bool network);
/*
 * WEFT_IN_PROGRESS or WEFT_OK; else, with a sentence, the socket is closed and the handshake over:
 * WEFT_PEER_REFUSED (a rank of this job that cannot take part, or whoever listens at the peer's address is not that
 * rank), WEFT_PROTOCOL_ERROR (accepting: a stranger, who may be forgotten), WEFT_RESOURCE_LIMIT, WEFT_SYSTEM_ERROR.
 */
weft_status handshake_advance(struct handshake *handshake, struct diagnostic *diagnostic);
/* Give up at any point. */
void handshake_abandon(struct handshake *handshake);
#endif
