/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "base/log.h"
#include "collectives/exec/exec_internal.h"

/* Events taken per call: enough for a burst, few enough to look at the operations soon. */
#define EVENTS_PER_POLL 32u

weft_status engine_create(const struct engine_config *config, struct engine **engine)
{
    if (config->channel_limit == 0 || config->channel_limit > PLAN_MAX_CHANNELS || config->slot_depth < 2 ||
        config->slot_depth > PLAN_MAX_SLOT_DEPTH || config->slot_bytes == 0 || config->slot_bytes % 64 != 0 ||
        config->rank >= config->rank_count || (config->exchanges && config->rank_count > EXCHANGE_RANKS))
        return WEFT_INVALID_ARGUMENT;
    struct engine *made = calloc(1, sizeof *made);
    if (!made) return WEFT_OUT_OF_MEMORY;
    made->config = *config;
    made->peers = calloc(config->rank_count, sizeof *made->peers);
    if (!made->peers) {
        free(made);
        return WEFT_OUT_OF_MEMORY;
    }
    *engine = made;
    return WEFT_OK;
}

void engine_destroy(struct engine *engine)
{
    if (!engine) return;
    while (engine->first_peer) {
        struct peer *peer = engine->first_peer;
        engine->first_peer = peer->next;
        peer_destroy(peer);
    }
    while (engine->idle_operations) {
        struct operation *operation = engine->idle_operations;
        engine->idle_operations = operation->next;
        free(operation->cursors);
        free(operation->tickets);
        free(operation->ends);
        free(operation);
    }
    free(engine->exchange.bounce);
    free(engine->peers);
    free(engine);
}

/* What a notification says has come from another process: nothing in it is taken on trust. */
static bool tag_accept(struct peer *peer, uint32_t tag, bool landed)
{
    const struct engine_config *config = &peer->engine->config;
    uint32_t channel = tag >> TAG_CHANNEL_SHIFT & 0x7f;
    if (channel >= config->channel_limit) return false;
    if (tag & TAG_CREDIT) {
        struct stream *stream = &peer->outgoing[channel];
        if (stream->credited == stream->position) return false;
        stream->credited++;
        return true;
    }
    uint32_t slot = tag >> TAG_SLOT_SHIFT & 0x3f;
    struct stream *stream = &peer->incoming[channel];
    if (slot >= config->slot_depth || stream->arrived >> slot & 1) return false;
    /* Said twice, while the first is still on its way to a place that is the caller's once this slice counts. */
    if (stream->landed[slot] && !landed) return false;
    stream->arrived |= UINT64_C(1) << slot;
    stream->checks[slot] = tag & TAG_CHECK_MASK;
    return true;
}

/* A tag of our own comes back. */
static void stream_left(struct peer *peer, uint32_t tag)
{
    const uint32_t channel = tag >> TAG_CHANNEL_SHIFT & 0x7f, slot = tag >> TAG_SLOT_SHIFT & 0x3f;
    peer->outgoing[channel].leaving &= ~(UINT64_C(1) << slot);
}

static void event_take(struct engine *engine, const struct event *event)
{
    struct peer *peer = event->peer < engine->config.rank_count ? engine->peers[event->peer] : NULL;
    if (!peer) return;
    switch (event->kind) {
    case EVENT_ARRIVED:
    case EVENT_LANDED:
        if (peer->state != PEER_CONNECTED || tag_accept(peer, event->tag, event->kind == EVENT_LANDED)) break;
        log_error("rank %u peer %u unexpected notification 0x%08x", engine->config.rank, peer->rank, event->tag);
        peer_failed(peer, WEFT_PROTOCOL_ERROR);
        break;
    case EVENT_LOCAL_DONE:
        if (peer->leaving_count > 0) peer->leaving_count--;
        if (!(event->tag & TAG_CREDIT)) stream_left(peer, event->tag);
        break;
    case EVENT_WRITABLE:
        peer_put_refused(peer);
        break;
    case EVENT_FAILED:
        peer_failed(peer, (weft_status)event->status);
        break;
    default: /* lost paths and quiescing are the transport's to handle */
        break;
    }
}

uint32_t engine_connecting(const struct engine *engine, uint32_t *rank, weft_status *status)
{
    bool found = false;
    *status = WEFT_OK;
    for (const struct peer *peer = engine->first_peer; peer; peer = peer->next) {
        if (peer->state == PEER_CONNECTED || (peer->state == PEER_CONNECTING && *status != WEFT_OK)) continue;
        if (peer->state == PEER_FAILED || !found || peer->rank > *rank) *rank = peer->rank;
        if (peer->state == PEER_FAILED) *status = peer->failure;
        found = true;
    }
    return engine->connecting_count;
}

bool engine_poll(struct engine *engine, uint64_t now_ns)
{
    bool moved = false;
    if (engine->connecting_count > 0)
        for (struct peer *peer = engine->first_peer; peer; peer = peer->next)
            if (peer->state == PEER_CONNECTING) moved |= peer_connect_advance(peer, now_ns);

    struct event events[EVENTS_PER_POLL];
    size_t count = endpoint_poll(engine->config.endpoint, events, EVENTS_PER_POLL, now_ns);
    for (size_t i = 0; i < count; i++) event_take(engine, &events[i]);
    return moved || count > 0;
}
