/* SPDX-License-Identifier: Apache-2.0 */
#include "message.h"

#include <string.h>
#include <sys/socket.h>

#include "base/bytes.h"

enum {
    HEADER_BYTES = 8, /* magic u16, version u8, kind u8, body bytes u32 */
    HEADER_MAGIC = 0x7765,
    HEADER_VERSION = 1,
    SIGNATURE_BYTES = 28,
    SHARE_HEADER_BYTES = 20,
    CONTACT_BYTES = 40, /* rank u32, host, address, family u16 (4, 6 or 0), port u16 */
};

/* Both directions walk a body field by field in the same order, so that encoder and decoder can be read side by side.
 */
struct writer {
    uint8_t *at;
};
struct reader {
    const uint8_t *at;
    const char *wrong; /* the first thing found wrong, or NULL */
};

static void put_u32(struct writer *writer, uint32_t value)
{
    bytes_put_u32(writer->at, value);
    writer->at += 4;
}
static void put_u64(struct writer *writer, uint64_t value)
{
    bytes_put_u64(writer->at, value);
    writer->at += 8;
}
static uint32_t get_u32(struct reader *reader)
{
    reader->at += 4;
    return bytes_get_u32(reader->at - 4);
}
static uint64_t get_u64(struct reader *reader)
{
    reader->at += 8;
    return bytes_get_u64(reader->at - 8);
}

/* Field of @p size bytes, zero-filled: nothing of our memory behind the terminator travels. */
static void put_text(struct writer *writer, const char *text, size_t size)
{
    size_t length = strnlen(text, size - 1);
    memset(writer->at, 0, size);
    memcpy(writer->at, text, length);
    writer->at += size;
}

static void get_text(struct reader *reader, char *text, size_t size)
{
    memcpy(text, reader->at, size);
    reader->at += size;
    if (text[size - 1] != 0) reader->wrong = "a text without an end";
    text[size - 1] = 0;
    /* It ends up on somebody's terminal. */
    char *at = text;
    for (; *at; at++)
        if ((unsigned char)*at < ' ' || *at == 0x7f) *at = '?';
    memset(at, 0, (size_t)(text + size - at));
}

static int32_t get_rank(struct reader *reader, uint32_t rank_count)
{
    int32_t rank = (int32_t)get_u32(reader);
    if (rank < -1 || (rank >= 0 && (uint32_t)rank >= rank_count)) reader->wrong = "a rank that does not exist";
    return rank;
}

static void put_signature(struct writer *writer, const struct signature *signature)
{
    put_u64(writer, signature->sequence);
    put_u64(writer, signature->count);
    put_u32(writer, signature->root);
    put_u32(writer, signature->plan);
    put_u32(writer, (uint32_t)signature->collective | (uint32_t)signature->dtype << 8 | (uint32_t)signature->op << 16 |
                        (uint32_t)signature->algorithm << 24);
}

static void get_signature(struct reader *reader, struct signature *signature)
{
    signature->sequence = get_u64(reader);
    signature->count = get_u64(reader);
    signature->root = get_u32(reader);
    signature->plan = get_u32(reader);
    uint32_t words = get_u32(reader);
    signature->collective = (uint8_t)words;
    signature->dtype = (uint8_t)(words >> 8);
    signature->op = (uint8_t)(words >> 16);
    signature->algorithm = (uint8_t)(words >> 24);
    if (signature->sequence == 0) reader->wrong = "an operation numbered 0";
}

static void put_failure(struct writer *writer, const weft_failure *failure)
{
    put_u32(writer, (uint32_t)failure->status);
    put_u32(writer, (uint32_t)failure->rank);
    put_u32(writer, (uint32_t)failure->other_rank);
    put_u32(writer, (uint32_t)failure->reporter_rank);
    put_u64(writer, failure->sequence);
    put_u32(writer, (uint32_t)failure->track);
    put_u32(writer, (uint32_t)failure->step);
    put_text(writer, failure->operation, sizeof failure->operation);
    put_text(writer, failure->other_operation, sizeof failure->other_operation);
    put_text(writer, failure->device, sizeof failure->device);
    put_text(writer, failure->message, sizeof failure->message);
}

static void get_failure(struct reader *reader, uint32_t rank_count, weft_failure *failure)
{
    uint32_t status = get_u32(reader);
    /* A later release may know more statuses of a group; what is none of a failure's groups was never sent by weft. */
    if (status < 100 || status >= 600) reader->wrong = "a failure without a status";
    failure->status = (weft_status)status;
    failure->rank = get_rank(reader, rank_count);
    failure->other_rank = get_rank(reader, rank_count);
    failure->reporter_rank = get_rank(reader, rank_count);
    failure->sequence = get_u64(reader);
    failure->track = (int32_t)get_u32(reader);
    failure->step = (int32_t)get_u32(reader);
    get_text(reader, failure->operation, sizeof failure->operation);
    get_text(reader, failure->other_operation, sizeof failure->other_operation);
    get_text(reader, failure->device, sizeof failure->device);
    get_text(reader, failure->message, sizeof failure->message);
}

static void put_bytes(struct writer *writer, const uint8_t *bytes, size_t size)
{
    memcpy(writer->at, bytes, size);
    writer->at += size;
}

static void get_bytes(struct reader *reader, uint8_t *bytes, size_t size)
{
    memcpy(bytes, reader->at, size);
    reader->at += size;
}

static void put_contact(struct writer *writer, uint32_t rank, const struct contact *contact)
{
    uint32_t family = contact->data.family == AF_INET ? 4 : contact->data.family == AF_INET6 ? 6 : 0;
    put_u32(writer, rank);
    put_bytes(writer, contact->host, sizeof contact->host);
    put_bytes(writer, contact->data.bytes, sizeof contact->data.bytes);
    put_u32(writer, family | (uint32_t)contact->features << 8 | (uint32_t)contact->data.port << 16);
}

static void get_contact(struct reader *reader, uint32_t rank_count, uint32_t *rank, struct contact *contact)
{
    *rank = get_u32(reader);
    if (*rank >= rank_count) reader->wrong = "a rank that does not exist";
    get_bytes(reader, contact->host, sizeof contact->host);
    get_bytes(reader, contact->data.bytes, sizeof contact->data.bytes);
    uint32_t words = get_u32(reader), family = words & 0xff;
    contact->data.family = family == 4 ? AF_INET : family == 6 ? AF_INET6 : AF_UNSPEC;
    contact->features = (uint8_t)(words >> 8);
    contact->data.port = (uint16_t)(words >> 16);
    if ((family != 4 && family != 6) || contact->data.port == 0) reader->wrong = "an address that is none";
}

static size_t body_bytes(uint8_t kind)
{
    static const weft_failure *const failure;
    switch (kind) {
    case MESSAGE_HEARTBEAT:
        return 12;
    case MESSAGE_READY:
        return 20;
    case MESSAGE_FAILURE:
        return 32 + sizeof failure->operation + sizeof failure->other_operation + sizeof failure->device +
               sizeof failure->message;
    case MESSAGE_SIGNATURE:
        return SIGNATURE_BYTES;
    case MESSAGE_GOODBYE:
        return 12 + GOODBYE_SIGNATURES * SIGNATURE_BYTES;
    case MESSAGE_CONTACT:
        return 4 + MESSAGE_CONTACTS * CONTACT_BYTES;
    case MESSAGE_SHARE:
        return SHARE_HEADER_BYTES + MESSAGE_SHARE_BYTES;
    default:
        return 0;
    }
}

size_t message_encode(const struct message *message, uint8_t bytes[MESSAGE_BYTES_MAX])
{
    size_t body = body_bytes((uint8_t)message->kind);
    bytes_put_u16(bytes, HEADER_MAGIC);
    bytes[2] = HEADER_VERSION;
    bytes[3] = (uint8_t)message->kind;
    bytes_put_u32(bytes + 4, (uint32_t)body);
    struct writer writer = {bytes + HEADER_BYTES};
    switch (message->kind) {
    case MESSAGE_HEARTBEAT:
        put_u64(&writer, message->heartbeat.keepalive_ns);
        put_u32(&writer, (uint32_t)message->heartbeat.missing_rank);
        break;
    case MESSAGE_READY:
        put_u32(&writer, message->round);
        put_u64(&writer, message->least_token);
        put_u64(&writer, message->most_token);
        break;
    case MESSAGE_FAILURE:
        put_failure(&writer, &message->failure);
        break;
    case MESSAGE_SIGNATURE:
        put_signature(&writer, &message->signature);
        break;
    case MESSAGE_GOODBYE:
        put_u64(&writer, message->goodbye.begun);
        put_u32(&writer, message->goodbye.known_count);
        memset(writer.at, 0, (size_t)GOODBYE_SIGNATURES * SIGNATURE_BYTES);
        for (uint32_t i = 0; i < message->goodbye.known_count; i++) put_signature(&writer, &message->goodbye.known[i]);
        break;
    case MESSAGE_CONTACT:
        memset(writer.at, 0, body);
        put_u32(&writer, message->contacts.count);
        for (uint32_t i = 0; i < message->contacts.count; i++)
            put_contact(&writer, message->contacts.entries[i].rank, &message->contacts.entries[i].contact);
        break;
    case MESSAGE_SHARE:
        memset(writer.at, 0, body);
        put_u32(&writer, message->share.number);
        put_u32(&writer, message->share.source);
        put_u32(&writer, message->share.total);
        put_u32(&writer, message->share.offset);
        put_u32(&writer, message->share.count);
        put_bytes(&writer, message->share.bytes, message->share.count);
        break;
    case MESSAGE_KIND_END:
        break;
    }
    return HEADER_BYTES + body;
}

static void get_goodbye(struct reader *reader, struct message *message)
{
    message->goodbye.begun = get_u64(reader);
    message->goodbye.known_count = get_u32(reader);
    if (message->goodbye.known_count > GOODBYE_SIGNATURES || message->goodbye.known_count > message->goodbye.begun) {
        reader->wrong = "more operations than there can be";
        return;
    }
    for (uint32_t i = 0; i < message->goodbye.known_count; i++) get_signature(reader, &message->goodbye.known[i]);
}

static void get_contacts(struct reader *reader, uint32_t rank_count, struct message *message)
{
    message->contacts.count = get_u32(reader);
    if (message->contacts.count == 0 || message->contacts.count > MESSAGE_CONTACTS) {
        reader->wrong = "more contacts than there can be";
        return;
    }
    for (uint32_t i = 0; i < message->contacts.count; i++)
        get_contact(reader, rank_count, &message->contacts.entries[i].rank, &message->contacts.entries[i].contact);
}

/* Every piece but the last is full, so that there is one way to say a thing. */
static void get_share(struct reader *reader, uint32_t rank_count, struct message *message)
{
    message->share.number = get_u32(reader);
    message->share.source = get_u32(reader);
    message->share.total = get_u32(reader);
    message->share.offset = get_u32(reader);
    message->share.count = get_u32(reader);
    uint32_t left = message->share.total - message->share.offset;
    if (message->share.source >= rank_count)
        reader->wrong = "a rank that does not exist";
    else if (message->share.total > CONTROL_SHARE_BYTES_MAX || message->share.offset > message->share.total ||
             message->share.count != (left < MESSAGE_SHARE_BYTES ? left : MESSAGE_SHARE_BYTES))
        reader->wrong = "a piece of a length that none has";
    else
        get_bytes(reader, message->share.bytes, message->share.count);
}

weft_status message_decode(const uint8_t *bytes, size_t size, uint32_t rank_count, struct message *message,
                           size_t *used, struct diagnostic *diagnostic)
{
    if (size < HEADER_BYTES) return WEFT_IN_PROGRESS;
    if (bytes_get_u16(bytes) != HEADER_MAGIC)
        return diagnose(diagnostic, WEFT_PROTOCOL_ERROR, "bytes that are no control message");
    if (bytes[2] != HEADER_VERSION)
        return diagnose(diagnostic, WEFT_PROTOCOL_ERROR, "a control message of version %u, not %d", bytes[2],
                        HEADER_VERSION);
    size_t body = body_bytes(bytes[3]);
    if (body == 0) return diagnose(diagnostic, WEFT_PROTOCOL_ERROR, "a control message of unknown kind %u", bytes[3]);
    if (bytes_get_u32(bytes + 4) != body)
        return diagnose(diagnostic, WEFT_PROTOCOL_ERROR, "a control message of kind %u with %u bytes, not %zu",
                        bytes[3], bytes_get_u32(bytes + 4), body);
    if (size < HEADER_BYTES + body) return WEFT_IN_PROGRESS;

    struct reader reader = {bytes + HEADER_BYTES, NULL};
    memset(message, 0, sizeof *message);
    message->kind = (enum message_kind)bytes[3];
    switch (message->kind) {
    case MESSAGE_HEARTBEAT:
        message->heartbeat.keepalive_ns = get_u64(&reader);
        message->heartbeat.missing_rank = get_rank(&reader, rank_count);
        if (message->heartbeat.keepalive_ns == 0) reader.wrong = "a keepalive of 0";
        break;
    case MESSAGE_READY:
        message->round = get_u32(&reader);
        message->least_token = get_u64(&reader);
        message->most_token = get_u64(&reader);
        if (message->round >= 32 || UINT32_C(1) << message->round >= rank_count) reader.wrong = "a round of no join";
        if (message->least_token > message->most_token) reader.wrong = "a least token above the most";
        break;
    case MESSAGE_FAILURE:
        message->failure.size = sizeof message->failure;
        get_failure(&reader, rank_count, &message->failure);
        break;
    case MESSAGE_SIGNATURE:
        get_signature(&reader, &message->signature);
        break;
    case MESSAGE_GOODBYE:
        get_goodbye(&reader, message);
        break;
    case MESSAGE_CONTACT:
        get_contacts(&reader, rank_count, message);
        break;
    case MESSAGE_SHARE:
        get_share(&reader, rank_count, message);
        break;
    case MESSAGE_KIND_END:
        break;
    }
    if (reader.wrong) return diagnose(diagnostic, WEFT_PROTOCOL_ERROR, "a control message with %s", reader.wrong);
    *used = HEADER_BYTES + body;
    return WEFT_OK;
}
