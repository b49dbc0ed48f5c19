/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many ranks join in one thread: what is sent in one round arrives in the next, so that the number of rounds is the
 * length of the longest chain of messages that wait for each other.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "fabric/control/protocol.h"

struct parcel {
    uint32_t from, to;
    struct message message;
};

struct mail {
    struct parcel *parcels;
    size_t count, capacity;
};

struct world;
struct node {
    struct world *world;
    struct protocol protocol;
    struct contact *contacts;
    size_t sent_bytes;
};

struct world {
    uint32_t rank_count;
    struct node *nodes;
    struct mail now, next;
};

static void send_later(void *context, uint32_t neighbour, const struct message *message)
{
    struct node *node = context;
    struct mail *mail = &node->world->next;
    uint8_t bytes[MESSAGE_BYTES_MAX];
    if (mail->count == mail->capacity) {
        mail->capacity = mail->capacity ? 2 * mail->capacity : 1024;
        mail->parcels = realloc(mail->parcels, mail->capacity * sizeof *mail->parcels);
        assert_non_null(mail->parcels);
    }
    mail->parcels[mail->count++] =
        (struct parcel){node->protocol.rank, node->protocol.neighbours[neighbour].rank, *message};
    node->sent_bytes += message_encode(message, bytes);
}

/* A different one for each rank. */
static struct contact contact_of(uint32_t rank)
{
    struct contact contact = {.data = {.family = AF_INET6, .port = (uint16_t)(1 + rank % 65535)}};
    bytes_put_u32(contact.host, rank / 8);
    bytes_put_u32(contact.data.bytes, rank);
    return contact;
}

static void world_create(struct world *world, uint32_t rank_count)
{
    static const struct signature_ring nothing_posted;
    *world = (struct world){.rank_count = rank_count, .nodes = calloc(rank_count, sizeof *world->nodes)};
    assert_non_null(world->nodes);
    for (uint32_t rank = 0; rank < rank_count; rank++) {
        struct node *node = &world->nodes[rank];
        node->world = world;
        node->contacts = calloc(rank_count, sizeof *node->contacts);
        assert_non_null(node->contacts);
        node->contacts[rank] = contact_of(rank);
        struct protocol_outside outside = {
            .send = send_later, .context = node, .signatures = &nothing_posted, .contacts = node->contacts};
        assert_int_equal(protocol_init(&node->protocol, rank, rank_count, NS_PER_S, &outside, 1), WEFT_OK);
    }
    for (uint32_t rank = 0; rank < rank_count; rank++)
        for (uint32_t i = 0; i < world->nodes[rank].protocol.neighbour_count; i++)
            protocol_connected(&world->nodes[rank].protocol, i, 1);
}

static uint32_t world_joined(const struct world *world)
{
    uint32_t joined = 0;
    for (uint32_t rank = 0; rank < world->rank_count; rank++) joined += world->nodes[rank].protocol.joined;
    return joined;
}

static void world_round(struct world *world)
{
    struct mail arrived = world->next;
    world->next = world->now;
    world->next.count = 0;
    world->now = arrived;
    for (size_t i = 0; i < arrived.count; i++) {
        struct protocol *protocol = &world->nodes[arrived.parcels[i].to].protocol;
        protocol_receive(protocol, (uint32_t)protocol_neighbour(protocol, arrived.parcels[i].from),
                         &arrived.parcels[i].message, 1);
    }
}

static void world_destroy(struct world *world)
{
    for (uint32_t rank = 0; rank < world->rank_count; rank++) {
        protocol_free(&world->nodes[rank].protocol);
        free(world->nodes[rank].contacts);
    }
    free(world->nodes);
    free(world->now.parcels);
    free(world->next.parcels);
}

static uint32_t log2_up(uint32_t value)
{
    uint32_t bits = 0;
    while (UINT32_C(1) << bits < value) bits++;
    return bits;
}

static void joining_takes_logarithmically_many_rounds(void **state)
{
    (void)state;
    static const uint32_t counts[] = {2, 3, 5, 33, 64, 1000, 1024};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        struct world world;
        uint32_t rounds = 0;
        size_t most_bytes = 0;
        world_create(&world, counts[i]);
        for (; world_joined(&world) < counts[i] && rounds < 100; rounds++) world_round(&world);
        assert_int_equal(world_joined(&world), counts[i]);
        /* One to hear of each other, and one for each doubling. */
        assert_in_range(rounds, log2_up(counts[i]), log2_up(counts[i]) + 1);
        for (uint32_t rank = 0; rank < counts[i]; rank++) {
            if (world.nodes[rank].sent_bytes > most_bytes) most_bytes = world.nodes[rank].sent_bytes;
            for (uint32_t peer = 0; peer < counts[i]; peer++) {
                struct contact contact = contact_of(peer);
                if (memcmp(&world.nodes[rank].contacts[peer], &contact, sizeof contact) != 0)
                    fail_msg("rank %u of %u does not know where rank %u is", rank, counts[i], peer);
            }
        }
        printf("%u ranks: %u rounds, at most %zu bytes from each\n", counts[i], rounds, most_bytes);
        world_destroy(&world);
    }
}

/* As long as rank 0 has not served everybody nobody has joined, so nobody comes for the next communicator. */
static void nobody_joins_while_rank_0_is_meeting(void **state)
{
    (void)state;
    struct world world;
    world_create(&world, 16);
    world.nodes[0].protocol.meeting = true;
    for (int rounds = 0; rounds < 20; rounds++) world_round(&world);
    assert_int_equal(world_joined(&world), 0);
    protocol_met(&world.nodes[0].protocol);
    for (int rounds = 0; rounds < 5; rounds++) world_round(&world);
    assert_int_equal(world_joined(&world), 16);
    world_destroy(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(joining_takes_logarithmically_many_rounds),
        cmocka_unit_test(nobody_joins_while_rank_0_is_meeting),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
