/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "transport/core/conformance.h"

#define TRAFFIC_EVENTS 16
/* The last bytes of a slot are never sent, and have to stay zero. */
#define GUARD_BYTES 64
#define MESSAGE_MAX_BYTES (TRAFFIC_SLOT_BYTES - GUARD_BYTES)
/* A tag is (message << 1 | is an answer). */
#define ANSWER 1u

/* One message, the same for sender and receiver. */
struct message {
    uint32_t bytes, cut; /* sent as two puts, cut there, when cut > 0; only the second one notifies */
    uint16_t path;
    bool through_map, local_done;
    uint64_t pattern;
};

struct exchange {
    struct connection *connection; /* NULL: oneself */
    bool gone;
    uint32_t sent, answered;              /* of ours */
    uint32_t received, replied;           /* of the peer's, and answers to them accepted by put() */
    bool busy[TRAFFIC_SLOTS];             /* ours, until answered */
    bool cut_sent;                        /* the first half of message `sent` is on its way */
    bool owed[TRAFFIC_SLOTS];             /* an answer to what came in this slot */
    uint32_t next_in_slot[TRAFFIC_SLOTS]; /* the message that has to come next */
    bool done_owed;                       /* EVENT_LOCAL_DONE of the last message sent; the next one waits for it */
    uint8_t source[TRAFFIC_SLOTS][MESSAGE_MAX_BYTES];
};

struct traffic {
    struct traffic_config config;
    char reason[256];
    struct exchange exchanges[];
};

struct traffic *traffic_create(const struct traffic_config *config)
{
    const uint32_t rank_count = config->endpoint->rank_count;
    struct traffic *traffic = calloc(1, sizeof *traffic + rank_count * sizeof traffic->exchanges[0]);

    if (!traffic) return NULL;
    traffic->config = *config;
    for (uint32_t peer = 0; peer < rank_count; peer++) {
        struct exchange *exchange = &traffic->exchanges[peer];
        exchange->connection = peer == config->endpoint->rank ? NULL : config->connections[peer];
        for (uint32_t slot = 0; slot < TRAFFIC_SLOTS; slot++) exchange->next_in_slot[slot] = slot;
    }
    return traffic;
}

void traffic_destroy(struct traffic *traffic)
{
    free(traffic);
}

const char *traffic_reason(const struct traffic *traffic)
{
    return traffic->reason;
}

__attribute__((format(printf, 2, 3))) static weft_status fail(struct traffic *traffic, const char *format, ...)
{
    va_list arguments;
    char what[160];

    va_start(arguments, format);
    vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    snprintf(traffic->reason, sizeof traffic->reason, "rank %u (seed %llu): %s", traffic->config.endpoint->rank,
             (unsigned long long)traffic->config.seed, what);
    return WEFT_PROTOCOL_ERROR;
}

static struct message message_make(const struct traffic *traffic, uint32_t from, uint32_t to, uint32_t index)
{
    const uint64_t key[4] = {traffic->config.seed, from, to, index};
    struct random random;
    struct message message;

    random_seed(&random, bytes_hash(BYTES_HASH_START, key, sizeof key));
    /* Mostly small, as messages are, and now and then none at all or a full slot. */
    message.bytes = (uint32_t)random_below(&random, random_below(&random, 4) ? 65 : MESSAGE_MAX_BYTES + 1);
    message.cut =
        random_below(&random, 4) || message.bytes < 2 ? 0 : 1 + (uint32_t)random_below(&random, message.bytes - 1);
    message.path = (uint16_t)random_below(&random, traffic->config.path_count);
    message.through_map = random_below(&random, 2);
    message.local_done = random_below(&random, 4) == 0;
    message.pattern = random_next(&random);
    return message;
}

static uint8_t message_byte(const struct message *message, uint32_t at)
{
    return (uint8_t)(message->pattern >> (at % 8 * 8)) ^ (uint8_t)(at * 31);
}

static bool offer(struct exchange *exchange, const struct put *put)
{
    return connection_put(exchange->connection, put, 1) == 1;
}

/* Message number exchange->sent, or the rest of it. False: refused for now. */
static bool send_message(struct traffic *traffic, uint32_t peer)
{
    struct exchange *exchange = &traffic->exchanges[peer];
    const uint32_t slot = exchange->sent % TRAFFIC_SLOTS;
    const struct message message = message_make(traffic, traffic->config.endpoint->rank, peer, exchange->sent);
    uint8_t *map = message.through_map ? connection_map(exchange->connection) : NULL;
    uint8_t *source = exchange->source[slot];
    struct put put = {.source = source,
                      .remote_offset = (uint64_t)slot * TRAFFIC_SLOT_BYTES,
                      .bytes = message.bytes,
                      .tag = exchange->sent << 1,
                      .path_hint = message.path,
                      .flags = PUT_NOTIFY};

    if (!exchange->cut_sent) {
        for (uint32_t i = 0; i < message.bytes; i++) source[i] = message_byte(&message, i);
    }
    if (map) {
        memcpy(map + put.remote_offset, source, message.bytes);
        put.source = NULL;
        put.bytes = 0;
    } else if (message.cut) {
        if (!exchange->cut_sent) {
            struct put first = put;
            first.bytes = message.cut;
            first.flags = 0;
            if (!offer(exchange, &first)) return false;
            exchange->cut_sent = true;
        }
        put.source = source + message.cut;
        put.remote_offset += message.cut;
        put.bytes -= message.cut;
    }
    if (message.local_done) put.flags |= PUT_LOCAL_DONE;
    if (!offer(exchange, &put)) return false;

    exchange->cut_sent = false;
    exchange->busy[slot] = true;
    exchange->done_owed = message.local_done;
    exchange->sent++;
    return true;
}

static bool reply(struct exchange *exchange, uint32_t slot)
{
    const uint32_t index = exchange->next_in_slot[slot];
    /* An answer takes the path of its slot, whatever the message took. */
    const struct put put = {.tag = index << 1 | ANSWER, .path_hint = (uint16_t)slot, .flags = PUT_NOTIFY};

    if (!offer(exchange, &put)) return false;
    exchange->owed[slot] = false;
    exchange->next_in_slot[slot] += TRAFFIC_SLOTS;
    exchange->replied++;
    return true;
}

static weft_status take_message(struct traffic *traffic, uint32_t peer, uint32_t index)
{
    struct exchange *exchange = &traffic->exchanges[peer];
    const uint32_t slot = index % TRAFFIC_SLOTS;

    if (exchange->owed[slot] || index != exchange->next_in_slot[slot] || index >= traffic->config.messages)
        return fail(traffic, "message %u of peer %u came out of turn", index, peer);

    const struct message message = message_make(traffic, peer, traffic->config.endpoint->rank, index);
    uint8_t *bytes = exchange->connection->granted + (size_t)slot * TRAFFIC_SLOT_BYTES;
    for (uint32_t i = 0; i < message.bytes; i++) {
        if (bytes[i] != message_byte(&message, i))
            return fail(traffic, "message %u of peer %u: byte %u of %u is wrong", index, peer, i, message.bytes);
    }
    for (uint32_t i = MESSAGE_MAX_BYTES; i < TRAFFIC_SLOT_BYTES; i++) {
        if (bytes[i]) return fail(traffic, "message %u of peer %u wrote outside", index, peer);
    }
    memset(bytes, 0xee, message.bytes); /* so that bytes that come late are noticed */
    exchange->owed[slot] = true;
    exchange->received++;
    return WEFT_OK;
}

static weft_status take_answer(struct traffic *traffic, uint32_t peer, uint32_t index)
{
    struct exchange *exchange = &traffic->exchanges[peer];
    const uint32_t slot = index % TRAFFIC_SLOTS;

    if (index >= exchange->sent || !exchange->busy[slot] || exchange->sent - index > TRAFFIC_SLOTS)
        return fail(traffic, "peer %u answers message %u, which does not wait for it", peer, index);
    exchange->busy[slot] = false;
    exchange->answered++;
    return WEFT_OK;
}

static weft_status take_done(struct traffic *traffic, uint32_t peer, uint32_t index)
{
    struct exchange *exchange = &traffic->exchanges[peer];
    const uint32_t slot = index % TRAFFIC_SLOTS;

    if (!exchange->done_owed || index + 1 != exchange->sent)
        return fail(traffic, "peer %u: local_done of message %u, which is not owed", peer, index);
    exchange->done_owed = false;
    memset(exchange->source[slot], 0xdd, MESSAGE_MAX_BYTES); /* the source is ours again */
    return WEFT_OK;
}

static bool exchange_is_over(const struct traffic *traffic, const struct exchange *exchange)
{
    const uint32_t messages = traffic->config.messages;

    return exchange->answered == messages && exchange->replied == messages && !exchange->done_owed;
}

static weft_status take_event(struct traffic *traffic, const struct event *event)
{
    switch ((enum event_kind)event->kind) {
    case EVENT_ARRIVED:
        if (event->tag & ANSWER) return take_answer(traffic, event->peer, event->tag >> 1);
        return take_message(traffic, event->peer, event->tag >> 1);
    case EVENT_LOCAL_DONE:
        return take_done(traffic, event->peer, event->tag >> 1);
    case EVENT_WRITABLE:
    case EVENT_PATH_DOWN:
        return WEFT_OK;
    case EVENT_FAILED:
        if (traffic->exchanges[event->peer].gone) return fail(traffic, "peer %u failed twice", event->peer);
        traffic->exchanges[event->peer].gone = true;
        if (exchange_is_over(traffic, &traffic->exchanges[event->peer])) return WEFT_OK;
        return fail(traffic, "peer %u failed with status %u", event->peer, event->status);
    default:
        return fail(traffic, "peer %u: event %u was not asked for", event->peer, event->kind);
    }
}

static bool advance_exchange(struct traffic *traffic, uint32_t peer)
{
    struct exchange *exchange = &traffic->exchanges[peer];
    bool progress = false;

    if (exchange->gone) return false;
    for (uint32_t slot = 0; slot < TRAFFIC_SLOTS; slot++) {
        if (exchange->owed[slot]) progress |= reply(exchange, slot);
    }
    while (exchange->sent < traffic->config.messages && !exchange->busy[exchange->sent % TRAFFIC_SLOTS] &&
           !exchange->done_owed) {
        if (!send_message(traffic, peer)) break;
        progress = true;
    }
    return progress;
}

weft_status traffic_step(struct traffic *traffic, uint64_t now_ns, bool *progress)
{
    const struct endpoint *endpoint = traffic->config.endpoint;
    struct event events[TRAFFIC_EVENTS];
    bool over = true;

    const size_t count = endpoint_poll(traffic->config.endpoint, events, TRAFFIC_EVENTS, now_ns);
    *progress = count > 0;
    for (size_t i = 0; i < count; i++) {
        if (events[i].peer >= endpoint->rank_count || !traffic->exchanges[events[i].peer].connection)
            return fail(traffic, "event of peer %u, which is none", events[i].peer);
        const weft_status status = take_event(traffic, &events[i]);
        if (status) return status;
    }
    for (uint32_t peer = 0; peer < endpoint->rank_count; peer++) {
        if (!traffic->exchanges[peer].connection) continue;
        *progress |= advance_exchange(traffic, peer);
        over &= exchange_is_over(traffic, &traffic->exchanges[peer]);
    }
    return over ? WEFT_OK : WEFT_IN_PROGRESS;
}
