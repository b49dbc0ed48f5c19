/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a peer says beside its puts over RDMA. The first byte says where: over the stream (frames), over lanes (messages
 * of a byte for the lane and 24 for the message, which also go through the ledger), or in rdma_cm's private data.
 */
#include <string.h>

#include "tests/fuzz/target.h"
#include "transport/verbs/wire.h"

static void card_try(const uint8_t *frame, size_t size)
{
    struct wire_card card = {.rank = 0x12345678}, other;
    struct wire_pairing pairing;
    const char *reason = NULL;
    uint8_t again[WIRE_FRAME_MAX_BYTES];

    const weft_status status = wire_card_decode(frame, size, &card, &reason);
    PROMISE(status == WEFT_OK || status == WEFT_PEER_REFUSED || status == WEFT_PROTOCOL_ERROR);
    PROMISE((status == WEFT_OK) == (reason == NULL));
    if (status) {
        PROMISE(card.rank == 0x12345678);
        return;
    }
    PROMISE(card.rail_count >= 1 && card.rail_count <= VERBS_MAX_RAILS);
    PROMISE(card.lanes_per_rail >= 1 && card.lanes_per_rail <= VERBS_MAX_LANES_PER_RAIL);
    for (uint32_t i = 0; i < card.rail_count; i++) PROMISE(strlen(card.rails[i].device) < sizeof card.rails[i].device);
    PROMISE(wire_card_encode(&card, again) == size);
    PROMISE(wire_card_decode(again, size, &other, &reason) == WEFT_OK);
    PROMISE(wire_pair(&card, &other, &pairing) == WEFT_OK && pairing.rail_count == card.rail_count);
}

static void rail_try(const uint8_t *frame, size_t size)
{
    struct wire_rail rail = {.rkey = 0x12345678};
    const char *reason = NULL;
    uint8_t again[WIRE_FRAME_MAX_BYTES];

    if (wire_rail_decode(frame, size, &rail, &reason) != WEFT_OK) {
        PROMISE(reason && rail.rkey == 0x12345678);
        return;
    }
    PROMISE(rail.rail < VERBS_MAX_RAILS && rail.lane_count >= 1 && rail.lane_count <= VERBS_MAX_LANES_PER_RAIL);
    PROMISE(wire_rail_encode(&rail, again) == size && memcmp(again, frame, size) == 0);
}

static void stream_try(const uint8_t *bytes, size_t size)
{
    for (size_t at = 0; at < size;) {
        enum wire_frame_kind kind;
        const char *reason = NULL;
        size_t frame_bytes = 0;
        const weft_status status = wire_frame_decode(bytes + at, size - at, &kind, &frame_bytes, &reason);
        PROMISE((status == WEFT_PROTOCOL_ERROR) == (reason != NULL));
        if (status) return;
        PROMISE(frame_bytes >= WIRE_FRAME_HEADER_BYTES && frame_bytes <= size - at);
        if (kind == WIRE_CARD) card_try(bytes + at, frame_bytes);
        if (kind == WIRE_READY || kind == WIRE_DOWN) rail_try(bytes + at, frame_bytes);
        at += frame_bytes;
    }
}

static void lanes_try(const uint8_t *bytes, size_t size)
{
    static const struct ledger_config config = {.rail_count = 2,
                                                .lanes_per_rail = 2,
                                                .depth = 8,
                                                .peer_depth = 8,
                                                .queue_limit = 8,
                                                .send_depth = 8,
                                                .rail_weight = {1, 1}};
    struct outbox outbox;
    struct inbox inbox;
    uint32_t tag;

    if (outbox_open(&outbox, &config) != WEFT_OK) return;
    if (inbox_open(&inbox, &config) == WEFT_OK) {
        for (; size > WIRE_MESSAGE_BYTES; bytes += 1 + WIRE_MESSAGE_BYTES, size -= 1 + WIRE_MESSAGE_BYTES) {
            struct wire_message message = {.note = {.kind = LEDGER_NOTIFY}};
            const uint32_t lane = bytes[0] % 4;
            const char *reason = NULL;
            if (bytes[0] & 0x80 || wire_message_decode(bytes + 1, &message, &reason) == WEFT_OK) {
                if (message.is_credit)
                    (void)outbox_credit(&outbox, lane, message.credit.messages, message.credit.notes,
                                        message.credit.stripes);
                else
                    (void)inbox_receive(&inbox, lane, &message.note);
            } else {
                PROMISE(reason != NULL);
            }
            if (bytes[0] & 0x40) (void)inbox_take(&inbox, &tag);
            if (inbox_credit_due(&inbox, lane)) (void)inbox_credit_take(&inbox, lane);
        }
        inbox_close(&inbox);
    }
    outbox_close(&outbox);
}

static void greeting_try(const uint8_t *bytes, size_t size)
{
    struct wire_greeting greeting;
    const char *reason = NULL;
    uint8_t again[WIRE_GREETING_BYTES];

    if (wire_greeting_decode(size ? bytes : NULL, size, &greeting, &reason) != WEFT_OK) {
        PROMISE(reason != NULL);
        return;
    }
    PROMISE(size >= WIRE_GREETING_BYTES);
    wire_greeting_encode(&greeting, again);
    PROMISE(memcmp(again, bytes, 44) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    if (size == 0) return 0;
    if (bytes[0] % 3 == 0) stream_try(bytes + 1, size - 1);
    if (bytes[0] % 3 == 1) lanes_try(bytes + 1, size - 1);
    if (bytes[0] % 3 == 2) greeting_try(bytes + 1, size - 1);
    return 0;
}
