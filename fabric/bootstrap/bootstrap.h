/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How ranks find each other before anything else exists: who we are, where others listen, and the first exchange on a
 * fresh socket that proves both ends belong to the same job.
 *
 * On one host ranks listen on Unix sockets in the abstract name space (nothing to clean up) whose names derive from the
 * job's public part and the rank; the kernel vouches for the other side's user (SO_PEERCRED); the first record of both
 * sides carries job, ranks, role, world size and protocol version, and the job's secret.
 */
#ifndef FABRIC_BOOTSTRAP_H
#define FABRIC_BOOTSTRAP_H

#include <stdint.h>
#include <weft/weft.h>

#include "base/diagnostic.h"

struct identity {
    uint8_t job[16]; /* public */
    uint8_t key[32]; /* secret */
    uint32_t rank, rank_count;
};

/* Purpose of a connection. */
enum bootstrap_role { ROLE_CONTROL = 1, ROLE_TRANSPORT = 2 };

/* Take a unique id apart. WEFT_INVALID_ARGUMENT for 128 bytes that weft_unique_id_create() did not make. */
weft_status bootstrap_identity(const weft_unique_id *id, uint32_t rank, uint32_t rank_count, struct identity *identity,
                               struct diagnostic *diagnostic);

/*
 * Identity from the environment: WEFT_ID_FD (a descriptor with 128 bytes, handed down by weft_local_run()) with RANK and
 * WORLD_SIZE. Without RANK: rank 0 of 1 with a fresh id. The descriptor can be read by every communicator the process makes.
 */
weft_status bootstrap_from_environment(weft_unique_id *id, uint32_t *rank, uint32_t *rank_count,
                                       struct diagnostic *diagnostic);

/* Listen as @p identity's rank. Non-blocking, close-on-exec. WEFT_INVALID_ARGUMENT: that rank is already there. */
weft_status bootstrap_listen(const struct identity *identity, int *fd, struct diagnostic *diagnostic);

/*
 * One handshake, as a state machine that never blocks. Dialling: WEFT_IN_PROGRESS also while the peer does not listen
 * yet. Accepting: peer and role are filled in at the end. On WEFT_OK the socket is non-blocking and is the caller's.
 */
struct handshake {
    const struct identity *identity;
    int fd;
    bool dialling;
    uint32_t peer;
    enum bootstrap_role role;
    uint8_t state;
    uint16_t filled, sent;
    uint8_t record[128], nonce[16];
};
void handshake_dial(struct handshake *handshake, const struct identity *identity, uint32_t peer,
                    enum bootstrap_role role);
/* Takes the accepted @p fd over. */
void handshake_accept(struct handshake *handshake, const struct identity *identity, int fd);
/* WEFT_IN_PROGRESS, WEFT_OK, or WEFT_PEER_REFUSED with a sentence. After anything but WEFT_IN_PROGRESS it is over. */
weft_status handshake_advance(struct handshake *handshake, struct diagnostic *diagnostic);
/* Give up at any point. */
void handshake_abandon(struct handshake *handshake);
#endif
