/* SPDX-License-Identifier: Apache-2.0 */
#include "transport/verbs/wire.h"

#include <string.h>

#include "base/bytes.h"

#define MAGIC 0x76746677u /* "wftv" */
#define VERSION 1u
#define CARD_FIXED_BYTES 48u
#define CARD_RAIL_BYTES 52u
#define RAIL_FIXED_BYTES 20u
#define RAIL_LANE_BYTES 20u
#define MESSAGE_CREDIT 0x80u

_Static_assert(WIRE_FRAME_HEADER_BYTES + CARD_FIXED_BYTES + VERBS_MAX_RAILS * CARD_RAIL_BYTES <= WIRE_FRAME_MAX_BYTES,
               "a card fits a frame");

static weft_status refuse(weft_status status, const char **reason, const char *why)
{
    *reason = why;
    return status;
}

/* ---- The stream: kind, 0, size of the whole frame, body ---- */

static size_t frame_begin(enum wire_frame_kind kind, size_t size, uint8_t *frame)
{
    frame[0] = (uint8_t)kind;
    frame[1] = 0;
    bytes_put_u16(frame + 2, (uint16_t)size);
    return size;
}

size_t wire_card_encode(const struct wire_card *card, uint8_t frame[WIRE_FRAME_MAX_BYTES])
{
    uint8_t *at = frame + WIRE_FRAME_HEADER_BYTES;

    memset(frame, 0, WIRE_FRAME_MAX_BYTES);
    bytes_put_u32(at, MAGIC);
    bytes_put_u32(at + 4, VERSION);
    bytes_put_u32(at + 8, card->rank);
    bytes_put_u32(at + 12, card->peer);
    bytes_put_u64(at + 16, card->granted_bytes);
    bytes_put_u32(at + 24, card->depth);
    bytes_put_u16(at + 28, card->lanes_per_rail);
    bytes_put_u16(at + 30, card->rail_count);
    memcpy(at + 32, card->nonce, WIRE_NONCE_BYTES);
    at += CARD_FIXED_BYTES;
    for (uint32_t i = 0; i < card->rail_count; i++, at += CARD_RAIL_BYTES) {
        const struct wire_card_rail *rail = &card->rails[i];
        memcpy(at, rail->device, sizeof rail->device);
        memcpy(at + 24, rail->address, sizeof rail->address);
        bytes_put_u64(at + 40, rail->bandwidth);
        bytes_put_u16(at + 48, rail->port);
        at[50] = rail->family;
    }
    return frame_begin(WIRE_CARD, (size_t)(at - frame), frame);
}

size_t wire_rail_encode(const struct wire_rail *rail, uint8_t frame[WIRE_FRAME_MAX_BYTES])
{
    uint8_t *at = frame + WIRE_FRAME_HEADER_BYTES;

    bytes_put_u16(at, rail->rail);
    bytes_put_u16(at + 2, rail->lane_count);
    bytes_put_u32(at + 4, rail->incarnation);
    bytes_put_u64(at + 8, rail->address);
    bytes_put_u32(at + 16, rail->rkey);
    at += RAIL_FIXED_BYTES;
    for (uint32_t i = 0; i < rail->lane_count; i++, at += RAIL_LANE_BYTES) {
        bytes_put_u64(at, rail->credits[i].messages);
        bytes_put_u64(at + 8, rail->credits[i].notes);
        bytes_put_u32(at + 16, rail->credits[i].stripes);
    }
    return frame_begin(rail->kind, (size_t)(at - frame), frame);
}

size_t wire_word_encode(enum wire_frame_kind kind, uint8_t frame[WIRE_FRAME_MAX_BYTES])
{
    return frame_begin(kind, WIRE_FRAME_HEADER_BYTES, frame);
}

weft_status wire_frame_decode(const uint8_t *bytes, size_t size, enum wire_frame_kind *kind, size_t *frame_bytes,
                              const char **reason)
{
    if (size < WIRE_FRAME_HEADER_BYTES) return WEFT_IN_PROGRESS;
    const size_t told = bytes_get_u16(bytes + 2);
    if (bytes[0] < WIRE_CARD || bytes[0] > WIRE_QUIET || bytes[1] != 0)
        return refuse(WEFT_PROTOCOL_ERROR, reason, "sends a frame of an unknown kind");
    if (told < WIRE_FRAME_HEADER_BYTES || told > WIRE_FRAME_MAX_BYTES)
        return refuse(WEFT_PROTOCOL_ERROR, reason, "sends a frame of an impossible size");
    if (size < told) return WEFT_IN_PROGRESS;
    *kind = bytes[0];
    *frame_bytes = told;
    return WEFT_OK;
}

static bool card_rail_decode(const uint8_t *at, struct wire_card_rail *rail)
{
    memcpy(rail->device, at, sizeof rail->device);
    memcpy(rail->address, at + 24, sizeof rail->address);
    rail->bandwidth = bytes_get_u64(at + 40);
    rail->port = bytes_get_u16(at + 48);
    rail->family = at[50];
    if (!memchr(rail->device, '\0', sizeof rail->device)) return false;
    for (const char *name = rail->device; *name; name++) {
        if (*name <= ' ' || *name > '~') return false;
    }
    return (rail->family == 4 || rail->family == 6) && rail->port != 0;
}

weft_status wire_card_decode(const uint8_t *frame, size_t size, struct wire_card *card, const char **reason)
{
    const uint8_t *at = frame + WIRE_FRAME_HEADER_BYTES;
    struct wire_card read = {.rank = 0};

    if (size < WIRE_FRAME_HEADER_BYTES + 8 || bytes_get_u32(at) != MAGIC)
        return refuse(WEFT_PEER_REFUSED, reason, "does not speak this protocol");
    if (bytes_get_u32(at + 4) != VERSION)
        return refuse(WEFT_PEER_REFUSED, reason, "speaks another version of this protocol");
    if (size < WIRE_FRAME_HEADER_BYTES + CARD_FIXED_BYTES)
        return refuse(WEFT_PROTOCOL_ERROR, reason, "sends a card that is too short");
    read.rank = bytes_get_u32(at + 8);
    read.peer = bytes_get_u32(at + 12);
    read.granted_bytes = bytes_get_u64(at + 16);
    read.depth = bytes_get_u32(at + 24);
    read.lanes_per_rail = bytes_get_u16(at + 28);
    read.rail_count = bytes_get_u16(at + 30);
    memcpy(read.nonce, at + 32, WIRE_NONCE_BYTES);
    if (read.rail_count == 0 || read.rail_count > VERBS_MAX_RAILS || read.lanes_per_rail == 0 ||
        read.lanes_per_rail > VERBS_MAX_LANES_PER_RAIL || read.depth < LEDGER_MIN_DEPTH ||
        size != WIRE_FRAME_HEADER_BYTES + CARD_FIXED_BYTES + read.rail_count * CARD_RAIL_BYTES)
        return refuse(WEFT_PROTOCOL_ERROR, reason, "sends a card that cannot be");
    at += CARD_FIXED_BYTES;
    for (uint32_t i = 0; i < read.rail_count; i++, at += CARD_RAIL_BYTES) {
        if (!card_rail_decode(at, &read.rails[i]))
            return refuse(WEFT_PROTOCOL_ERROR, reason, "sends a card with a rail that cannot be");
    }
    *card = read;
    return WEFT_OK;
}

weft_status wire_rail_decode(const uint8_t *frame, size_t size, struct wire_rail *rail, const char **reason)
{
    const uint8_t *at = frame + WIRE_FRAME_HEADER_BYTES;
    struct wire_rail read = {.kind = frame[0]};

    if (size < WIRE_FRAME_HEADER_BYTES + RAIL_FIXED_BYTES)
        return refuse(WEFT_PROTOCOL_ERROR, reason, "says too little of a rail");
    read.rail = bytes_get_u16(at);
    read.lane_count = bytes_get_u16(at + 2);
    read.incarnation = bytes_get_u32(at + 4);
    read.address = bytes_get_u64(at + 8);
    read.rkey = bytes_get_u32(at + 16);
    if (read.rail >= VERBS_MAX_RAILS || read.lane_count == 0 || read.lane_count > VERBS_MAX_LANES_PER_RAIL ||
        size != WIRE_FRAME_HEADER_BYTES + RAIL_FIXED_BYTES + read.lane_count * RAIL_LANE_BYTES)
        return refuse(WEFT_PROTOCOL_ERROR, reason, "speaks of a rail that cannot be");
    at += RAIL_FIXED_BYTES;
    for (uint32_t i = 0; i < read.lane_count; i++, at += RAIL_LANE_BYTES)
        read.credits[i] = (struct ledger_credit){
            .messages = bytes_get_u64(at), .notes = bytes_get_u64(at + 8), .stripes = bytes_get_u32(at + 16)};
    *rail = read;
    return WEFT_OK;
}

/* ---- A lane: kind, lane, parts, notify, tag, stripe or position; or credit, 0, stripes, messages, notes ---- */

void wire_note_encode(const struct ledger_item *item, uint8_t wire[WIRE_MESSAGE_BYTES])
{
    memset(wire, 0, WIRE_MESSAGE_BYTES);
    wire[0] = item->kind;
    wire[1] = item->kind == LEDGER_SYNC ? item->lane : 0;
    wire[2] = item->kind == LEDGER_STRIPED ? item->parts : 0;
    wire[3] = item->kind == LEDGER_STRIPED && item->notify;
    bytes_put_u32(wire + 4, item->tag);
    bytes_put_u64(wire + 8, item->kind == LEDGER_SYNC ? item->position : item->stripe);
}

void wire_credit_encode(const struct ledger_credit *credit, uint8_t wire[WIRE_MESSAGE_BYTES])
{
    bytes_put_u32(wire, MESSAGE_CREDIT);
    bytes_put_u32(wire + 4, credit->stripes);
    bytes_put_u64(wire + 8, credit->messages);
    bytes_put_u64(wire + 16, credit->notes);
}

weft_status wire_message_decode(const uint8_t wire[WIRE_MESSAGE_BYTES], struct wire_message *message,
                                const char **reason)
{
    switch (wire[0]) {
    case MESSAGE_CREDIT:
        *message = (struct wire_message){.is_credit = true,
                                         .credit = {.stripes = bytes_get_u32(wire + 4),
                                                    .messages = bytes_get_u64(wire + 8),
                                                    .notes = bytes_get_u64(wire + 16)}};
        return WEFT_OK;
    case LEDGER_STRIPED:
    case LEDGER_FRAGMENT:
    case LEDGER_SYNC:
        *message = (struct wire_message){.note = {.kind = wire[0],
                                                  .lane = wire[1],
                                                  .parts = wire[2],
                                                  .notify = wire[3] & 1,
                                                  .tag = bytes_get_u32(wire + 4),
                                                  .position = bytes_get_u64(wire + 8),
                                                  .stripe = bytes_get_u32(wire + 8)}};
        return WEFT_OK;
    default:
        return refuse(WEFT_PROTOCOL_ERROR, reason, "sends a message of an unknown kind");
    }
}

/* ---- Private data ---- */

void wire_greeting_encode(const struct wire_greeting *greeting, uint8_t wire[WIRE_GREETING_BYTES])
{
    memset(wire, 0, WIRE_GREETING_BYTES);
    bytes_put_u32(wire, MAGIC);
    bytes_put_u16(wire + 4, VERSION);
    bytes_put_u16(wire + 6, greeting->lane);
    bytes_put_u32(wire + 8, greeting->incarnation);
    memcpy(wire + 12, greeting->nonce, WIRE_NONCE_BYTES);
    memcpy(wire + 28, greeting->proof, sizeof greeting->proof);
}

weft_status wire_greeting_decode(const void *bytes, size_t size, struct wire_greeting *greeting, const char **reason)
{
    const uint8_t *wire = bytes;

    if (!wire || size < WIRE_GREETING_BYTES || bytes_get_u32(wire) != MAGIC || bytes_get_u16(wire + 4) != VERSION)
        return refuse(WEFT_PROTOCOL_ERROR, reason, "does not speak this protocol");
    greeting->lane = bytes_get_u16(wire + 6);
    greeting->incarnation = bytes_get_u32(wire + 8);
    memcpy(greeting->nonce, wire + 12, WIRE_NONCE_BYTES);
    memcpy(greeting->proof, wire + 28, sizeof greeting->proof);
    return WEFT_OK;
}

/* ---- Pairing ---- */

/* Leading bits in which two addresses agree; -1: they are of different families. */
static int addresses_agree(const struct wire_card_rail *a, const struct wire_card_rail *b)
{
    const uint32_t bytes = a->family == 4 ? 4 : 16;

    if (a->family != b->family) return -1;
    for (uint32_t i = 0; i < bytes; i++) {
        const uint8_t differing = a->address[i] ^ b->address[i];
        if (differing) return (int)(8 * i) + __builtin_clz(differing) - 24;
    }
    return (int)(8 * bytes);
}

weft_status wire_pair(const struct wire_card *dialling, const struct wire_card *accepting, struct wire_pairing *pairing)
{
    bool dialling_used[VERBS_MAX_RAILS] = {false}, accepting_used[VERBS_MAX_RAILS] = {false};

    memset(pairing, 0, sizeof *pairing);
    pairing->lanes_per_rail =
        dialling->lanes_per_rail < accepting->lanes_per_rail ? dialling->lanes_per_rail : accepting->lanes_per_rail;
    for (;;) {
        int best = -1;
        uint32_t best_a = 0, best_b = 0;
        for (uint32_t a = 0; a < dialling->rail_count; a++) {
            for (uint32_t b = 0; b < accepting->rail_count; b++) {
                const int agree = addresses_agree(&dialling->rails[a], &accepting->rails[b]);
                if (dialling_used[a] || accepting_used[b] || agree <= best) continue;
                best = agree, best_a = a, best_b = b;
            }
        }
        if (best < 0) return pairing->rail_count ? WEFT_OK : WEFT_LINK_DOWN;
        dialling_used[best_a] = accepting_used[best_b] = true;
        pairing->dialling[pairing->rail_count] = (uint8_t)best_a;
        pairing->accepting[pairing->rail_count++] = (uint8_t)best_b;
    }
}
