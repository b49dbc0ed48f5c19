/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the two ends of a connection say to each other beside puts: over the stream (frames), over a lane (messages),
 * and in rdma_cm's private data (greetings). All fields are little-endian. Nothing here reads or writes anything but
 * its arguments. Decoders give WEFT_PROTOCOL_ERROR for what no correct peer says, with *reason, the end of a sentence
 * about it, and leave their result untouched.
 */
#ifndef TRANSPORT_VERBS_WIRE_H
#define TRANSPORT_VERBS_WIRE_H

#include <stddef.h>
#include <stdint.h>
#include <weft/types.h>

#include "transport/verbs/ledger.h"
#include "transport/verbs/verbs.h"

#define WIRE_NONCE_BYTES 16u

/* ---- The stream ---- */

#define WIRE_FRAME_HEADER_BYTES 4u
#define WIRE_FRAME_MAX_BYTES 576u

enum wire_frame_kind {
    WIRE_CARD = 0x51,
    WIRE_READY,   /* this rail's lanes are connected, and this is where to write to */
    WIRE_DOWN,    /* this rail's lanes are quiet, and this is what I have received of them */
    WIRE_QUIESCE, /* write nothing more, and say when that is so */
    WIRE_QUIET,   /* nothing more will be written */
};

struct wire_card_rail {
    char device[24]; /* for messages; cut off, with a terminator */
    uint8_t family;  /* 4 or 6 */
    uint8_t address[16];
    uint16_t port; /* of the listener */
    uint64_t bandwidth;
};

/* Who one is, and where one's rails are. */
struct wire_card {
    uint32_t rank, peer;
    uint64_t granted_bytes;
    uint32_t depth;
    uint16_t lanes_per_rail, rail_count;
    uint8_t nonce[WIRE_NONCE_BYTES];
    struct wire_card_rail rails[VERBS_MAX_RAILS];
};

/* A rail's end, as WIRE_READY and WIRE_DOWN tell it. */
struct wire_rail {
    uint8_t kind;
    uint16_t rail, lane_count;
    uint32_t incarnation;
    uint64_t address; /* of the granted region */
    uint32_t rkey;
    struct ledger_credit credits[VERBS_MAX_LANES_PER_RAIL]; /* of its lanes; `messages` are those received */
};

/* Each writes a whole frame and returns its size. */
size_t wire_card_encode(const struct wire_card *card, uint8_t frame[WIRE_FRAME_MAX_BYTES]);
size_t wire_rail_encode(const struct wire_rail *rail, uint8_t frame[WIRE_FRAME_MAX_BYTES]);
size_t wire_word_encode(enum wire_frame_kind kind, uint8_t frame[WIRE_FRAME_MAX_BYTES]);

/* The frame at the start of @p bytes: its kind and size. WEFT_IN_PROGRESS: not all of it is there. */
weft_status wire_frame_decode(const uint8_t *bytes, size_t size, enum wire_frame_kind *kind, size_t *frame_bytes,
                              const char **reason);
/* WEFT_PEER_REFUSED: another version of this protocol, or none. */
weft_status wire_card_decode(const uint8_t *frame, size_t size, struct wire_card *card, const char **reason);
weft_status wire_rail_decode(const uint8_t *frame, size_t size, struct wire_rail *rail, const char **reason);

/* ---- A lane ---- */

#define WIRE_MESSAGE_BYTES 24u

/* A note that is not carried by immediate data, or a credit. */
struct wire_message {
    bool is_credit;
    struct ledger_note note;
    struct ledger_credit credit;
};
void wire_note_encode(const struct ledger_item *item, uint8_t wire[WIRE_MESSAGE_BYTES]);
void wire_credit_encode(const struct ledger_credit *credit, uint8_t wire[WIRE_MESSAGE_BYTES]);
weft_status wire_message_decode(const uint8_t wire[WIRE_MESSAGE_BYTES], struct wire_message *message,
                                const char **reason);

/* ---- Private data ---- */

#define WIRE_GREETING_BYTES 48u /* of at most 56 */

/* Which queue pair this is, and the proof of who asks (or answers). */
struct wire_greeting {
    uint16_t lane;
    uint32_t incarnation;
    uint8_t nonce[WIRE_NONCE_BYTES]; /* of the side that is asked */
    uint8_t proof[16];
};
void wire_greeting_encode(const struct wire_greeting *greeting, uint8_t wire[WIRE_GREETING_BYTES]);
/* What follows in @p size bytes is padding. */
weft_status wire_greeting_decode(const void *wire, size_t size, struct wire_greeting *greeting, const char **reason);

/* ---- Both ends come to the same conclusion ---- */

struct wire_pairing {
    uint32_t rail_count, lanes_per_rail;
    uint8_t dialling[VERBS_MAX_RAILS], accepting[VERBS_MAX_RAILS]; /* indices into the cards' rails */
};
/* Join the rails of two cards, those with addresses closest to each other first. WEFT_LINK_DOWN: none can be. */
weft_status wire_pair(const struct wire_card *dialling, const struct wire_card *accepting,
                      struct wire_pairing *pairing);
#endif
