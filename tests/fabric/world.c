/* SPDX-License-Identifier: Apache-2.0 */
#include "world.h"

#include <stdlib.h>
#include <string.h>

#define NEVER UINT64_MAX

static void channel_add(struct world *world, struct channel *channel, const uint8_t *bytes, size_t size)
{
    struct parcel *parcel = malloc(sizeof *parcel); /* not cleared: it is large */
    parcel->next = NULL;
    parcel->arrives_ns = world->now_ns + random_below(&world->random, world->latency_max_ns + 1);
    if (parcel->arrives_ns < channel->last_arrival_ns) parcel->arrives_ns = channel->last_arrival_ns;
    channel->last_arrival_ns = parcel->arrives_ns;
    parcel->is_end = !bytes;
    parcel->size = size;
    if (bytes) memcpy(parcel->bytes, bytes, size);
    *channel->last = parcel;
    channel->last = &parcel->next;
}

static void channel_drop_first(struct channel *channel)
{
    struct parcel *parcel = channel->first;
    channel->first = parcel->next;
    if (!channel->first) channel->last = &channel->first;
    free(parcel);
}

static void close_channels(struct node *node)
{
    for (uint32_t i = 0; i < node->protocol.neighbour_count; i++)
        if (node->connected[i]) channel_add(node->world, &node->channels[i], NULL, 0);
}

static void send_parcel(void *context, uint32_t neighbour, const struct message *message)
{
    struct node *node = context;
    uint8_t bytes[MESSAGE_BYTES_MAX];
    if (node->state == NODE_DEAD) return;
    if (node->sends_left-- == 0) {
        node->state = NODE_DEAD; /* killed while telling its neighbours: some know, some see only its end */
        close_channels(node);
        return;
    }
    channel_add(node->world, &node->channels[neighbour], bytes, message_encode(message, bytes));
}

void world_create(struct world *world, uint64_t seed, uint32_t rank_count, uint64_t latency_max_ns,
                  uint64_t keepalive_ns, uint64_t start_spread_ns)
{
    *world = (struct world){.seed = seed,
                            .now_ns = NS_PER_S,
                            .latency_max_ns = latency_max_ns,
                            .keepalive_ns = keepalive_ns,
                            .rank_count = rank_count};
    random_seed(&world->random, seed);
    for (uint32_t rank = 0; rank < rank_count; rank++) {
        struct node *node = world->nodes[rank] = calloc(1, sizeof *node);
        node->world = world;
        node->starts_ns = world->now_ns + random_below(&world->random, start_spread_ns + 1);
        node->reacts_ns = node->failed_ns = NEVER;
        node->sends_left = UINT32_MAX;
        struct protocol_outside outside = {.send = send_parcel, .context = node, .signatures = &node->signatures};
        protocol_init(&node->protocol, rank, rank_count, keepalive_ns, &outside, node->starts_ns);
        for (uint32_t i = 0; i < 64; i++) node->channels[i].last = &node->channels[i].first;
    }
    /* Both ends of a connection open after both ranks have started, each in its own time. */
    for (uint32_t rank = 0; rank < rank_count; rank++) {
        struct node *node = world->nodes[rank];
        for (uint32_t i = 0; i < node->protocol.neighbour_count; i++) {
            struct node *other = world->nodes[node->protocol.neighbours[i].rank];
            uint64_t both_ns = other->starts_ns > node->starts_ns ? other->starts_ns : node->starts_ns;
            node->incoming[i] = &other->channels[protocol_neighbour(&other->protocol, rank)];
            node->connects_ns[i] = both_ns + random_below(&world->random, latency_max_ns + 1);
        }
    }
}

void world_destroy(struct world *world)
{
    for (uint32_t rank = 0; rank < world->rank_count; rank++) {
        struct node *node = world->nodes[rank];
        for (uint32_t i = 0; i < 64; i++)
            while (node->channels[i].first) channel_drop_first(&node->channels[i]);
        protocol_free(&node->protocol);
        free(node);
    }
}

/* After anything was done to a rank's protocol. */
static void node_settle(struct node *node)
{
    struct world *world = node->world;
    if (!node->protocol.failed || node->failed_ns != NEVER || node->state == NODE_DEAD) return;
    node->failed_ns = world->now_ns;
    if (node->reaction != STAY)
        node->reacts_ns = world->now_ns + random_below(&world->random, world->latency_max_ns + 1);
}

void world_kill(struct world *world, uint32_t rank)
{
    struct node *node = world->nodes[rank];
    node->state = NODE_DEAD;
    close_channels(node);
}

void world_never_starts(struct world *world, uint32_t rank)
{
    struct node *missing = world->nodes[rank];
    missing->state = NODE_DEAD;
    for (uint32_t i = 0; i < missing->protocol.neighbour_count; i++) {
        struct node *node = world->nodes[missing->protocol.neighbours[i].rank];
        node->connects_ns[protocol_neighbour(&node->protocol, rank)] = NEVER;
    }
}

void world_leave(struct world *world, uint32_t rank)
{
    struct node *node = world->nodes[rank];
    protocol_leave(&node->protocol);
    if (node->state == NODE_DEAD) return;
    node->state = NODE_GONE;
    close_channels(node);
}

void world_stop(struct world *world, uint32_t rank)
{
    world->nodes[rank]->state = NODE_STOPPED;
}

void world_continue(struct world *world, uint32_t rank)
{
    world->nodes[rank]->state = NODE_RUNNING;
}

void world_post(struct world *world, uint32_t rank, const struct signature *signature)
{
    signature_ring_put(&world->nodes[rank]->signatures, signature);
}

void world_stalled(struct world *world, uint32_t rank, uint64_t sequence)
{
    protocol_stalled(&world->nodes[rank]->protocol, sequence);
    node_settle(world->nodes[rank]);
}

/* ---- The next thing that happens ---- */

enum happening { NOTHING, START, CONNECT, ARRIVE, TICK, REACT };

struct next {
    enum happening what;
    uint64_t when_ns;
    struct node *node;
    uint32_t neighbour; /* of node */
    struct channel *channel;
};

static void consider(struct next *next, struct next candidate)
{
    if (candidate.when_ns < next->when_ns) *next = candidate;
}

static void consider_arrivals(struct node *node, struct next *next)
{
    for (uint32_t i = 0; i < node->protocol.neighbour_count; i++) {
        if (!node->connected[i]) {
            consider(next, (struct next){CONNECT, node->connects_ns[i], node, i, NULL});
            continue;
        }
        struct channel *channel = node->incoming[i];
        if (channel->first) consider(next, (struct next){ARRIVE, channel->first->arrives_ns, node, i, channel});
    }
}

static struct next find_next(struct world *world)
{
    struct next next = {.what = NOTHING, .when_ns = NEVER};
    for (uint32_t rank = 0; rank < world->rank_count; rank++) {
        struct node *node = world->nodes[rank];
        if (node->state == NODE_WAITING) consider(&next, (struct next){START, node->starts_ns, node, 0, NULL});
        if (node->state != NODE_RUNNING) continue;
        /* In this order at equal times: what has arrived is heard before silence is judged. */
        consider_arrivals(node, &next);
        consider(&next, (struct next){TICK, protocol_next_ns(&node->protocol), node, 0, NULL});
        consider(&next, (struct next){REACT, node->reacts_ns, node, 0, NULL});
    }
    return next;
}

static void arrive(struct world *world, const struct next *next)
{
    struct parcel *parcel = next->channel->first;
    struct protocol *protocol = &next->node->protocol;
    struct message message;
    struct diagnostic wrong;
    size_t used = 0;
    if (parcel->is_end) {
        protocol_ended(protocol, next->neighbour, NULL);
    } else {
        weft_status status = message_decode(parcel->bytes, parcel->size, world->rank_count, &message, &used, &wrong);
        if (status != WEFT_OK || used != parcel->size) abort();
        protocol_receive(protocol, next->neighbour, &message, world->now_ns);
    }
    channel_drop_first(next->channel);
}

static void happen(struct world *world, const struct next *next)
{
    struct node *node = next->node;
    switch (next->what) {
    case NOTHING:
        return;
    case START:
        node->state = NODE_RUNNING;
        return;
    case CONNECT:
        node->connected[next->neighbour] = true;
        protocol_connected(&node->protocol, next->neighbour, world->now_ns);
        break;
    case ARRIVE:
        arrive(world, next);
        break;
    case TICK:
        protocol_tick(&node->protocol, world->now_ns);
        break;
    case REACT:
        node->reacts_ns = NEVER;
        if (node->reaction == LEAVE) {
            world_leave(world, node->protocol.rank);
        } else {
            node->state = NODE_GONE;
            close_channels(node);
        }
        return;
    }
    node_settle(node);
}

void world_run(struct world *world, uint64_t until_ns)
{
    for (;;) {
        struct next next = find_next(world);
        if (next.what == NOTHING || next.when_ns > until_ns) break;
        if (next.when_ns > world->now_ns) world->now_ns = next.when_ns;
        happen(world, &next);
    }
    world->now_ns = until_ns;
}
