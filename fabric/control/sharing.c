/* SPDX-License-Identifier: Apache-2.0 */
#include "sharing.h"

#include <stdlib.h>
#include <string.h>

#include "protocol_internal.h"

/* How far @p rank comes after @p source. */
static uint32_t distance_after(const struct protocol *protocol, uint32_t source, uint32_t rank)
{
    return (rank + protocol->rank_count - source) % protocol->rank_count;
}

/* Whom a rank at this distance, not 0, has it from: who is so many ranks before it. */
static uint32_t step_before(uint32_t distance)
{
    return UINT32_C(1) << (31 - __builtin_clz(distance));
}

static struct share *share_at(struct sharing *sharing, uint32_t number, uint32_t source, uint32_t rank_count)
{
    struct share **gather = &sharing->gathers[number % SHARING_AHEAD];
    if (!*gather) *gather = calloc(rank_count, sizeof **gather);
    return *gather ? &(*gather)[source] : NULL;
}

/* One piece to all who have it from us. */
static void piece_send(struct protocol *protocol, const struct message *message)
{
    uint32_t count = protocol->rank_count;
    uint32_t distance = distance_after(protocol, message->share.source, protocol->rank);
    for (uint64_t step = distance ? 2 * (uint64_t)step_before(distance) : 1; distance + step < count; step *= 2) {
        uint32_t ahead = (uint32_t)((protocol->rank + step) % count);
        protocol_send(protocol, (uint32_t)protocol_neighbour(protocol, ahead), message);
    }
}

/* The bytes from @p offset on, up to what has come, in pieces. A share without bytes is one piece too. */
static void pieces_send(struct protocol *protocol, uint32_t number, uint32_t source, const struct share *share)
{
    uint32_t offset = 0;
    do {
        struct message message = {.kind = MESSAGE_SHARE,
                                  .share = {.number = number, .source = source, .total = share->total}};
        uint32_t left = share->filled - offset;
        message.share.offset = offset;
        message.share.count = left < MESSAGE_SHARE_BYTES ? left : MESSAGE_SHARE_BYTES;
        if (message.share.count) memcpy(message.share.bytes, share->bytes + offset, message.share.count);
        piece_send(protocol, &message);
        offset += message.share.count;
    } while (offset < share->filled);
}

static bool share_begin(struct sharing *sharing, struct share *share, uint32_t total)
{
    share->bytes = total ? malloc(total) : NULL;
    if (total && !share->bytes) return false;
    share->total = total;
    share->begun = true;
    sharing->bytes += total;
    return true;
}

const char *sharing_receive(struct protocol *protocol, uint32_t neighbour, const struct message *message)
{
    struct sharing *sharing = &protocol->sharing;
    uint32_t number = message->share.number, source = message->share.source;
    uint32_t distance = distance_after(protocol, source, protocol->rank);
    uint32_t from = protocol->neighbours[neighbour].rank;
    if (number < sharing->first || number - sharing->first >= SHARING_AHEAD) return "a piece of a gather that is not";
    if (distance == 0 || distance_after(protocol, source, from) + step_before(distance) != distance)
        return "a piece that is another rank's to send";
    struct share *share = share_at(sharing, number, source, protocol->rank_count);
    if (!share) return "a piece that there is no memory for";
    if (!share->begun) {
        if (sharing->bytes + message->share.total > SHARING_BYTES_MAX) return "more than ranks may give";
        if (message->share.offset != 0) return "a piece without those before it";
        if (!share_begin(sharing, share, message->share.total)) return "a piece that there is no memory for";
    } else if (message->share.total != share->total || message->share.offset != share->filled ||
               message->share.count == 0) {
        return "a piece that does not follow the one before";
    }
    if (message->share.count) memcpy(share->bytes + share->filled, message->share.bytes, message->share.count);
    share->filled += message->share.count;
    if (protocol->joined) piece_send(protocol, message);
    return NULL;
}

void sharing_joined(struct protocol *protocol)
{
    struct sharing *sharing = &protocol->sharing;
    for (uint32_t number = sharing->first; number < sharing->first + SHARING_AHEAD; number++) {
        const struct share *gather = sharing->gathers[number % SHARING_AHEAD];
        for (uint32_t source = 0; gather && source < protocol->rank_count; source++)
            if (gather[source].begun) pieces_send(protocol, number, source, &gather[source]);
    }
}

weft_status sharing_give(struct protocol *protocol, uint32_t number, const void *bytes, uint32_t size)
{
    struct sharing *sharing = &protocol->sharing;
    struct share *share = share_at(sharing, number, protocol->rank, protocol->rank_count);
    if (!share || !share_begin(sharing, share, size)) return WEFT_OUT_OF_MEMORY;
    if (size) memcpy(share->bytes, bytes, size);
    share->filled = size;
    pieces_send(protocol, number, protocol->rank, share);
    return WEFT_OK;
}

const struct share *sharing_complete(const struct protocol *protocol, uint32_t number, uint32_t source)
{
    const struct share *gather = protocol->sharing.gathers[number % SHARING_AHEAD];
    return gather && gather[source].begun && gather[source].filled == gather[source].total ? &gather[source] : NULL;
}

static void gather_free(struct protocol *protocol, uint32_t number)
{
    struct share *gather = protocol->sharing.gathers[number % SHARING_AHEAD];
    for (uint32_t source = 0; gather && source < protocol->rank_count; source++) {
        protocol->sharing.bytes -= gather[source].total;
        free(gather[source].bytes);
    }
    free(gather);
    protocol->sharing.gathers[number % SHARING_AHEAD] = NULL;
}

void sharing_forget(struct protocol *protocol, uint32_t number)
{
    for (; protocol->sharing.first < number; protocol->sharing.first++) gather_free(protocol, protocol->sharing.first);
}

void sharing_free(struct protocol *protocol)
{
    for (uint32_t i = 0; i < SHARING_AHEAD; i++) gather_free(protocol, i);
}
