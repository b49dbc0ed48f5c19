/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "collectives/exec/exec_internal.h"

static size_t granted_bytes(const struct engine_config *config)
{
    return slots_bytes(config) + (config->exchanges ? sizeof(struct lane) : 0);
}

/* Most puts that can wait: a slice and a credit for every slot. */
static uint32_t refused_capacity(const struct engine_config *config)
{
    return 2 * config->channel_limit * config->slot_depth;
}

static void streams_init(struct peer *peer, struct stream *streams, uint32_t *checks, void **landed)
{
    const struct engine_config *config = &peer->engine->config;
    for (uint32_t channel = 0; channel < config->channel_limit; channel++)
        streams[channel] = (struct stream){
            .peer = peer,
            .channel = channel,
            .checks = checks ? checks + (size_t)channel * config->slot_depth : NULL,
            .landed = landed ? landed + (size_t)channel * config->slot_depth : NULL,
        };
}

static weft_status peer_create(struct engine *engine, uint32_t rank, struct peer **peer)
{
    const struct engine_config *config = &engine->config;
    struct peer *made = calloc(1, sizeof *made);
    if (!made) return WEFT_OUT_OF_MEMORY;
    made->engine = engine;
    made->rank = rank;
    if (config->exchanges) made->bit = (rank_set)1 << rank;
    made->incoming = calloc(config->channel_limit, sizeof *made->incoming);
    made->outgoing = calloc(config->channel_limit, sizeof *made->outgoing);
    made->refused = calloc(refused_capacity(config), sizeof *made->refused);
    uint32_t *checks = calloc((size_t)config->channel_limit * config->slot_depth, sizeof *checks);
    void **landed = calloc((size_t)config->channel_limit * config->slot_depth, sizeof *landed);
    weft_status status = WEFT_OUT_OF_MEMORY;
    if (!made->incoming || !made->outgoing || !made->refused || !checks || !landed) goto free_made;
    streams_init(made, made->incoming, checks, landed);
    streams_init(made, made->outgoing, NULL, NULL);
    status = endpoint_connect(config->endpoint, rank, granted_bytes(config), &made->connection);
    if (status != WEFT_OK) goto free_made;
    made->connection->land = landing_place;
    made->connection->land_context = made;
    *peer = made;
    return WEFT_OK;

free_made:
    free(landed);
    free(checks);
    free(made->incoming);
    free(made->outgoing);
    free(made->refused);
    free(made);
    return status;
}

weft_status peer_get(struct engine *engine, uint32_t rank, struct peer **peer)
{
    if (!engine->peers[rank]) {
        struct peer *made;
        weft_status status = peer_create(engine, rank, &made);
        if (status != WEFT_OK) return status;
        made->next = engine->first_peer;
        engine->first_peer = made;
        engine->peers[rank] = made;
        engine->connecting_count++;
    }
    *peer = engine->peers[rank];
    return WEFT_OK;
}

/* Slices for a peer whose slots are out of reach leave from memory of ours, laid out alike; pages come when touched. */
static weft_status staging_create(struct peer *peer)
{
    void *staging = mmap(NULL, slots_bytes(&peer->engine->config), PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (staging == MAP_FAILED) return WEFT_OUT_OF_MEMORY;
    peer->staging = staging;
    return WEFT_OK;
}

bool peer_connect_advance(struct peer *peer, uint64_t now_ns)
{
    weft_status status = connection_advance(peer->connection, now_ns);
    if (status == WEFT_IN_PROGRESS) return false;
    peer->engine->connecting_count--;
    if (status == WEFT_OK && peer->connection->remote_bytes != granted_bytes(&peer->engine->config))
        status = WEFT_PROTOCOL_ERROR; /* the ranks are configured differently */
    if (status == WEFT_OK) {
        peer->mapped = connection_map(peer->connection);
        if (!peer->mapped) status = peer->engine->config.exchanges ? WEFT_UNSUPPORTED : staging_create(peer);
    }
    if (status == WEFT_OK) {
        peer->state = PEER_CONNECTED;
        if (peer->engine->config.exchanges) {
            size_t offset = slots_bytes(&peer->engine->config);
            peer->lanes.to = (struct lane *)(void *)(peer->mapped + offset);
            peer->lanes.from = (struct lane *)(void *)(peer->connection->granted + offset);
        }
        peer->engine->connected_count++;
    } else {
        peer->state = PEER_FAILED;
        peer->failure = status;
    }
    return true;
}

void peer_failed(struct peer *peer, weft_status status)
{
    if (peer->state == PEER_FAILED) return;
    if (peer->state == PEER_CONNECTING) peer->engine->connecting_count--;
    if (peer->state == PEER_CONNECTED) peer->engine->connected_count--;
    peer->state = PEER_FAILED;
    peer->failure = status;
    peer->refused_count = 0;
}

void peer_put(struct peer *peer, const struct put *put)
{
    if (peer->state != PEER_CONNECTED) return;
    struct put sent = *put;
    if (!peer->mapped) {
        /* An operation is not complete before all has left, so until then somebody polls. */
        sent.flags |= PUT_MORE;
        if (!(put->flags & PUT_LAZY)) {
            sent.flags |= PUT_LOCAL_DONE;
            peer->leaving_count++;
        }
    }
    if (peer->refused_count == 0 && connection_put(peer->connection, &sent, 1) == 1) return;
    uint32_t capacity = refused_capacity(&peer->engine->config);
    peer->refused[(peer->refused_first + peer->refused_count) % capacity] = sent;
    peer->refused_count++;
}

bool peer_put_refused(struct peer *peer)
{
    bool moved = false;
    while (peer->refused_count > 0 && connection_put(peer->connection, &peer->refused[peer->refused_first], 1) == 1) {
        peer->refused_first = (peer->refused_first + 1) % refused_capacity(&peer->engine->config);
        peer->refused_count--;
        moved = true;
    }
    return moved;
}

/* Does the credit for this slot leave behind others that have not left yet, so many that the peer may come to wait? */
static bool credit_is_due(struct stream *stream, uint16_t path_hint)
{
    const struct stream *way_back = &stream->peer->outgoing[stream->channel];
    if (way_back->position != stream->way_back_position && way_back->path_hint == path_hint) stream->owed = 0;
    stream->way_back_position = way_back->position;
    if (++stream->owed < stream->peer->engine->config.slot_depth / 2) return false;
    stream->owed = 0;
    return true;
}

void stream_give_back(struct stream *stream, bool awaited, uint16_t path_hint)
{
    const uint32_t depth = stream->peer->engine->config.slot_depth;
    const bool lazy = !credit_is_due(stream, path_hint) && !awaited;
    const struct put put = {
        .flags = lazy ? PUT_NOTIFY | PUT_LAZY : PUT_NOTIFY,
        .path_hint = path_hint,
        .tag = TAG_CREDIT | stream->channel << TAG_CHANNEL_SHIFT,
    };
    stream->arrived &= ~(UINT64_C(1) << stream->position % depth);
    stream->landed[stream->position % depth] = NULL;
    stream->position++;
    peer_put(stream->peer, &put);
}

void peer_destroy(struct peer *peer)
{
    connection_disconnect(peer->connection);
    if (peer->staging) munmap(peer->staging, slots_bytes(&peer->engine->config));
    steady_close(peer);
    free(peer->incoming[0].landed);
    free(peer->incoming[0].checks);
    free(peer->incoming);
    free(peer->outgoing);
    free(peer->refused);
    free(peer);
}
