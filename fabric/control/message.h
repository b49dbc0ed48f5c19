/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What control neighbours say to each other, and its form on the wire: an 8-byte header (magic, version, kind, length
 * of the rest) and a body of a size fixed by its kind. Little-endian, no padding. Pure: bytes in, structure out.
 */
#ifndef FABRIC_CONTROL_MESSAGE_H
#define FABRIC_CONTROL_MESSAGE_H

#include <stddef.h>
#include <stdint.h>
#include <weft/weft.h>

#include "base/diagnostic.h"
#include "control.h"

enum {
    GOODBYE_SIGNATURES = 16, /* how many of its last operations a leaving rank tells */
    MESSAGE_CONTACTS = 24,   /* how many ranks' contacts travel in one message */
    MESSAGE_SHARE_BYTES = 960,
    MESSAGE_BYTES_MAX = 1024,
};

enum message_kind {
    MESSAGE_HEARTBEAT = 1, /* the first one on a connection says that the sender considers it established */
    MESSAGE_READY,         /* joining: all ranks up to 2^round before the sender have arrived, with such tokens */
    MESSAGE_FAILURE,       /* the first failure the sender knows of */
    MESSAGE_SIGNATURE,     /* what the sender posted, in an operation that some rank does not get on with */
    MESSAGE_GOODBYE,       /* the sender leaves without a failure of its own; nothing follows */
    MESSAGE_CONTACT,       /* where ranks can be reached */
    MESSAGE_SHARE,         /* a piece of what a rank gives to a gather */
    MESSAGE_KIND_END
};

struct message {
    enum message_kind kind;
    union {
        struct {
            uint64_t keepalive_ns; /* the sender needs to hear something within this time */
            int32_t missing_rank;  /* joining: the rank the sender waits for in the end, or -1 */
        } heartbeat;
        struct {
            uint32_t round;
            uint64_t least_token, most_token;
        };
        weft_failure failure;
        struct signature signature;
        struct {
            uint64_t begun;       /* operations the sender has posted */
            uint32_t known_count; /* of `known`: the last ones, ascending, ending with number `begun` */
            struct signature known[GOODBYE_SIGNATURES];
        } goodbye;
        struct {
            uint32_t count;
            struct {
                uint32_t rank;
                struct contact contact;
            } entries[MESSAGE_CONTACTS];
        } contacts;
        struct {
            uint32_t number, source; /* which gather, and whose bytes */
            uint32_t total, offset, count;
            uint8_t bytes[MESSAGE_SHARE_BYTES];
        } share;
    };
};

/* Returns the bytes written, at most MESSAGE_BYTES_MAX. */
size_t message_encode(const struct message *message, uint8_t bytes[MESSAGE_BYTES_MAX]);

/*
 * Take the first message out of @p bytes, which come from a peer among @p rank_count ranks. WEFT_OK: *used bytes of it.
 * WEFT_IN_PROGRESS: there are too few bytes. WEFT_PROTOCOL_ERROR with what is wrong: no correct peer sends this.
 */
weft_status message_decode(const uint8_t *bytes, size_t size, uint32_t rank_count, struct message *message,
                           size_t *used, struct diagnostic *diagnostic);
#endif
