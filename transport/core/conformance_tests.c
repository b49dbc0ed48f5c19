/* SPDX-License-Identifier: Apache-2.0 */
/* One test for each rule of transport.h. */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "transport/core/conformance.h"
#include "transport/core/conformance_scene.h"

typedef enum conformance_result result;

static bool bytes_are(const uint8_t *bytes, uint8_t value, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (bytes[i] != value) return false;
    }
    return true;
}

/* Connections */

static result connect_refuses_what_cannot_be(struct scene *scene)
{
    struct connection *connection;

    REQUIRE_DONE(scene_open_connected(scene, 2, 64));
    REQUIRE(endpoint_connect(scene->endpoints[0], 0, 64, &connection) == WEFT_INVALID_ARGUMENT);
    REQUIRE(endpoint_connect(scene->endpoints[0], 2, 64, &connection) == WEFT_INVALID_ARGUMENT);
    REQUIRE(endpoint_connect(scene->endpoints[0], UINT32_MAX, 64, &connection) == WEFT_INVALID_ARGUMENT);
    REQUIRE(endpoint_connect(scene->endpoints[0], 1, 64, &connection) == WEFT_INVALID_ARGUMENT);
    return CONFORMANCE_PASSED;
}

static result each_side_grants_zeroed_memory_of_its_own_size(struct scene *scene)
{
    REQUIRE_DONE(scene_open(scene, 2));
    REQUIRE_DONE(scene_connect(scene, 0, 1, 100000, 24));
    const struct connection *of_0 = scene->connections[0][1], *of_1 = scene->connections[1][0];
    REQUIRE(of_0->granted_bytes == 100000 && of_0->remote_bytes == 24 && of_0->peer == 1);
    REQUIRE(of_1->granted_bytes == 24 && of_1->remote_bytes == 100000 && of_1->peer == 0);
    REQUIRE(of_0->endpoint->rank == 0 && of_1->endpoint->rank == 1);
    REQUIRE((uintptr_t)of_0->granted % 64 == 0 && (uintptr_t)of_1->granted % 64 == 0);
    REQUIRE(bytes_are(of_0->granted, 0, 100000) && bytes_are(of_1->granted, 0, 24));
    return CONFORMANCE_PASSED;
}

static result a_connection_ends_in_any_state(struct scene *scene)
{
    REQUIRE_DONE(scene_open(scene, 3));
    /* Asked for by one side only. */
    REQUIRE(endpoint_connect(scene->endpoints[0], 1, 64, &scene->connections[0][1]) == WEFT_OK);
    REQUIRE(connection_advance(scene->connections[0][1], 0) == WEFT_IN_PROGRESS);
    REQUIRE(connection_put(scene->connections[0][1], &(struct put){.flags = PUT_NOTIFY}, 1) == 0);
    REQUIRE_DONE(scene_settle(scene));
    scene_disconnect(scene, 0, 1);
    /* Not even advanced. */
    REQUIRE(endpoint_connect(scene->endpoints[0], 2, 64, &scene->connections[0][2]) == WEFT_OK);
    scene_disconnect(scene, 0, 2);
    REQUIRE_DONE(scene_connect(scene, 1, 2, 64, 64));
    return CONFORMANCE_PASSED;
}

static result no_event_comes_before_one_knows_to_be_connected(struct scene *scene)
{
    const struct put put = {.tag = 5, .flags = PUT_NOTIFY};
    struct connection *of_0, *of_1;
    weft_status status_0 = WEFT_IN_PROGRESS, status_1 = WEFT_IN_PROGRESS;

    REQUIRE_DONE(scene_open(scene, 2));
    REQUIRE(endpoint_connect(scene->endpoints[0], 1, 64, &scene->connections[0][1]) == WEFT_OK);
    REQUIRE(endpoint_connect(scene->endpoints[1], 0, 64, &scene->connections[1][0]) == WEFT_OK);
    of_0 = scene->connections[0][1], of_1 = scene->connections[1][0];
    for (uint32_t i = 0; status_0 == WEFT_IN_PROGRESS && i < SCENE_EVENTS; i++) {
        status_0 = connection_advance(of_0, 0);
        /* Rank 1 does no more than rank 0 needs. */
        if (status_0 == WEFT_IN_PROGRESS) status_1 = connection_advance(of_1, 0);
        (void)scene->backend->pass(scene->backend->context);
    }
    REQUIRE(status_0 == WEFT_OK);
    REQUIRE_DONE(scene_put(scene, 0, 1, &put));
    REQUIRE_DONE(scene_settle(scene));
    REQUIRE(scene_count(scene, 1, EVENT_ARRIVED, 0) == (status_1 == WEFT_OK));
    while (status_1 == WEFT_IN_PROGRESS) status_1 = connection_advance(of_1, 0);
    REQUIRE(status_1 == WEFT_OK);
    REQUIRE_DONE(scene_wait(scene, 1, EVENT_ARRIVED, 0, 1));
    return CONFORMANCE_PASSED;
}

/* Bytes and notifications */

static result bytes_are_there_when_notified(struct scene *scene)
{
    enum { BYTES = 40000 };

    REQUIRE_DONE(scene_open_connected(scene, 2, BYTES));
    const uint8_t *granted = scene->connections[1][0]->granted;
    for (uint32_t i = 0; i < 20; i++) {
        const uint32_t bytes = 1 + (uint32_t)random_below(&scene->random, BYTES);
        const uint32_t offset = (uint32_t)random_below(&scene->random, BYTES - bytes + 1);
        const uint8_t *source = scene->source + random_below(&scene->random, SCENE_BYTES - bytes);
        REQUIRE_DONE(scene_put(
            scene, 0, 1,
            &(struct put){.source = source, .remote_offset = offset, .bytes = bytes, .tag = i, .flags = PUT_NOTIFY}));
        REQUIRE_DONE(scene_wait(scene, 1, EVENT_ARRIVED, 0, i + 1));
        REQUIRE(scene_event(scene, 1, EVENT_ARRIVED, 0, i)->tag == i);
        REQUIRE(memcmp(granted + offset, source, bytes) == 0);
    }
    return CONFORMANCE_PASSED;
}

static result a_notification_follows_all_earlier_puts_of_its_path(struct scene *scene)
{
    enum { PARTS = 50, PART_BYTES = 700 };

    REQUIRE_DONE(scene_open_connected(scene, 2, PARTS * PART_BYTES));
    for (uint32_t i = 0; i < PARTS; i++) {
        const struct put put = {.source = scene->source + i * PART_BYTES,
                                .remote_offset = (uint64_t)i * PART_BYTES,
                                .bytes = PART_BYTES,
                                .path_hint = 3,
                                .flags = i == PARTS - 1 ? PUT_NOTIFY : 0};
        REQUIRE_DONE(scene_put(scene, 0, 1, &put));
    }
    REQUIRE_DONE(scene_wait(scene, 1, EVENT_ARRIVED, 0, 1));
    REQUIRE(memcmp(scene->connections[1][0]->granted, scene->source, PARTS * PART_BYTES) == 0);
    REQUIRE_DONE(scene_settle(scene));
    REQUIRE(scene_count(scene, 1, EVENT_ARRIVED, 0) == 1);
    return CONFORMANCE_PASSED;
}

static result order_holds_within_a_path(struct scene *scene)
{
    enum { COUNT = 600, PATHS = 5 };
    uint32_t last[PATHS] = {0};

    REQUIRE_DONE(scene_open_connected(scene, 2, 64));
    for (uint32_t i = 1; i <= COUNT; i++) {
        const uint16_t path = (uint16_t)random_below(&scene->random, PATHS);
        REQUIRE_DONE(
            scene_put(scene, 0, 1, &(struct put){.tag = i << 8 | path, .path_hint = path, .flags = PUT_NOTIFY}));
    }
    REQUIRE_DONE(scene_wait(scene, 1, EVENT_ARRIVED, 0, COUNT));
    for (uint32_t i = 0; i < COUNT; i++) {
        const uint32_t tag = scene_event(scene, 1, EVENT_ARRIVED, 0, i)->tag;
        REQUIRE((tag & 0xff) < PATHS && tag >> 8 > last[tag & 0xff]);
        last[tag & 0xff] = tag >> 8;
    }
    return CONFORMANCE_PASSED;
}

static result each_notifying_put_arrives_exactly_once(struct scene *scene)
{
    enum { COUNT = 1800 }; /* more than twice round any queue */
    static bool seen[COUNT];

    memset(seen, 0, sizeof seen);
    REQUIRE_DONE(scene_open_connected(scene, 2, 64));
    for (uint32_t i = 0; i < COUNT; i++) {
        const struct put put = {.source = scene->source + i,
                                .bytes = i % 9,
                                .tag = i,
                                .path_hint = (uint16_t)(i % 4),
                                .flags = i % 3 ? PUT_NOTIFY : 0};
        REQUIRE_DONE(scene_put(scene, 0, 1, &put));
    }
    REQUIRE_DONE(scene_wait(scene, 1, EVENT_ARRIVED, 0, COUNT / 3 * 2));
    REQUIRE_DONE(scene_settle(scene));
    REQUIRE(scene_count(scene, 1, EVENT_ARRIVED, 0) == COUNT / 3 * 2);
    for (size_t i = 0; i < scene->event_count[1]; i++) {
        if (scene->events[1][i].kind != EVENT_ARRIVED) continue;
        const uint32_t tag = scene->events[1][i].tag;
        REQUIRE(tag < COUNT && tag % 3 && !seen[tag]);
        seen[tag] = true;
    }
    return CONFORMANCE_PASSED;
}

static result tags_carry_all_32_bits(struct scene *scene)
{
    static const uint32_t tags[] = {0, 1, UINT32_MAX, 0x80000000u, 0x7fffffffu, 0xdeadbeefu};
    enum { COUNT = sizeof tags / sizeof tags[0] };

    REQUIRE_DONE(scene_open_connected(scene, 2, 64));
    for (uint32_t i = 0; i < COUNT; i++)
        REQUIRE_DONE(scene_put(scene, 0, 1, &(struct put){.tag = tags[i], .flags = PUT_NOTIFY | PUT_LOCAL_DONE}));
    REQUIRE_DONE(scene_wait(scene, 1, EVENT_ARRIVED, 0, COUNT));
    REQUIRE_DONE(scene_wait(scene, 0, EVENT_LOCAL_DONE, 1, COUNT));
    for (uint32_t i = 0; i < COUNT; i++) {
        REQUIRE(scene_event(scene, 1, EVENT_ARRIVED, 0, i)->tag == tags[i]);
        REQUIRE(scene_event(scene, 0, EVENT_LOCAL_DONE, 1, i)->tag == tags[i]);
    }
    return CONFORMANCE_PASSED;
}

static result local_done_comes_once_and_frees_the_source(struct scene *scene)
{
    enum { COUNT = 40, BYTES = 512 };
    uint8_t source[BYTES];

    REQUIRE_DONE(scene_open_connected(scene, 2, COUNT * BYTES));
    for (uint32_t i = 0; i < COUNT; i++) {
        memset(source, (int)(i + 1), BYTES);
        const struct put put = {
            .source = source, .remote_offset = (uint64_t)i * BYTES, .bytes = BYTES, .tag = i, .flags = PUT_LOCAL_DONE};
        REQUIRE_DONE(scene_put(scene, 0, 1, &put));
        REQUIRE_DONE(scene_wait(scene, 0, EVENT_LOCAL_DONE, 1, i + 1));
        REQUIRE(scene_event(scene, 0, EVENT_LOCAL_DONE, 1, i)->tag == i);
    }
    memset(source, 0xff, BYTES);
    REQUIRE_DONE(scene_put(scene, 0, 1, &(struct put){.flags = PUT_NOTIFY}));
    REQUIRE_DONE(scene_wait(scene, 1, EVENT_ARRIVED, 0, 1));
    for (uint32_t i = 0; i < COUNT; i++)
        REQUIRE(bytes_are(scene->connections[1][0]->granted + i * BYTES, (uint8_t)(i + 1), BYTES));
    REQUIRE_DONE(scene_settle(scene));
    REQUIRE(scene_count(scene, 0, EVENT_LOCAL_DONE, 1) == COUNT);
    return CONFORMANCE_PASSED;
}

static result a_put_outside_the_region_writes_nothing(struct scene *scene)
{
    enum { BYTES = 1000 };
    static const struct {
        uint64_t offset;
        uint32_t bytes;
    } outside[] = {{BYTES, 1},          {0, BYTES + 1},  {BYTES - 1, 2},  {BYTES + 1, 0},         {UINT64_MAX, 1},
                   {UINT64_MAX - 3, 8}, {UINT64_MAX, 0}, {0, UINT32_MAX}, {(uint64_t)1 << 63, 16}};

    REQUIRE_DONE(scene_open_connected(scene, 2, BYTES));
    for (size_t i = 0; i < sizeof outside / sizeof outside[0]; i++) {
        const struct put put = {.source = scene->source,
                                .remote_offset = outside[i].offset,
                                .bytes = outside[i].bytes,
                                .flags = PUT_NOTIFY | PUT_LOCAL_DONE};
        REQUIRE(connection_put(scene->connections[0][1], &put, 1) == 0);
    }
    REQUIRE(connection_put(scene->connections[0][1], &(struct put){.bytes = 8, .flags = PUT_NOTIFY}, 1) == 0);
    REQUIRE_DONE(scene_settle(scene));
    REQUIRE(scene->event_count[0] == 0 && scene->event_count[1] == 0);
    REQUIRE(bytes_are(scene->connections[1][0]->granted, 0, BYTES));
    /* Up to the last byte is inside, and the connection is as good as before. */
    const struct put last = {.source = scene->source, .remote_offset = BYTES - 1, .bytes = 1, .flags = PUT_NOTIFY};
    REQUIRE_DONE(scene_put(scene, 0, 1, &last));
    REQUIRE_DONE(scene_wait(scene, 1, EVENT_ARRIVED, 0, 1));
    REQUIRE(scene->connections[1][0]->granted[BYTES - 1] == scene->source[0]);
    return CONFORMANCE_PASSED;
}

static result after_a_refusal_writable_comes(struct scene *scene)
{
    struct put puts[64];
    size_t accepted = 0, now;

    for (uint32_t i = 0; i < 64; i++) puts[i] = (struct put){.tag = i, .flags = PUT_NOTIFY};
    REQUIRE_DONE(scene_open_connected(scene, 2, 64));
    do { /* nobody polls, so this has to end */
        now = connection_put(scene->connections[0][1], puts, 64);
        accepted += now;
        REQUIRE(now <= 64 && accepted < SCENE_EVENTS);
    } while (now == 64);
    REQUIRE_DONE(scene_wait(scene, 0, EVENT_WRITABLE, 1, 1));
    REQUIRE_DONE(scene_wait(scene, 1, EVENT_ARRIVED, 0, accepted));
    REQUIRE_DONE(scene_settle(scene));
    REQUIRE(scene_count(scene, 1, EVENT_ARRIVED, 0) == accepted);
    REQUIRE(scene_count(scene, 0, EVENT_WRITABLE, 1) == 1);
    REQUIRE_DONE(scene_put(scene, 0, 1, puts));
    return CONFORMANCE_PASSED;
}

static result both_directions_and_all_peers_are_apart(struct scene *scene)
{
    enum { RANKS = 4, COUNT = 100 };

    REQUIRE_DONE(scene_open_connected(scene, RANKS, COUNT * 4));
    for (uint32_t i = 0; i < COUNT; i++) {
        for (uint32_t of = 0; of < RANKS; of++) {
            for (uint32_t to = 0; to < RANKS; to++) {
                const struct put put = {.source = scene->source + (of * RANKS + to) * COUNT * 4 + i * 4,
                                        .remote_offset = (uint64_t)i * 4,
                                        .bytes = 4,
                                        .tag = i,
                                        .flags = PUT_NOTIFY};
                if (of != to) REQUIRE_DONE(scene_put(scene, of, to, &put));
            }
        }
    }
    for (uint32_t of = 0; of < RANKS; of++) {
        for (uint32_t to = 0; to < RANKS; to++) {
            if (of == to) continue;
            REQUIRE_DONE(scene_wait(scene, to, EVENT_ARRIVED, of, COUNT));
            REQUIRE(memcmp(scene->connections[to][of]->granted, scene->source + (of * RANKS + to) * COUNT * 4,
                           COUNT * 4) == 0);
        }
    }
    return CONFORMANCE_PASSED;
}

static result a_busy_peer_does_not_keep_out_the_others(struct scene *scene)
{
    const struct put put = {.flags = PUT_NOTIFY};
    const struct put lone = {.flags = PUT_NOTIFY | PUT_LOCAL_DONE};
    const uint32_t busy = 1 + (uint32_t)random_below(&scene->random, 2), quiet = 3 - busy;

    scene->poll_max = 4;
    REQUIRE_DONE(scene_open_connected(scene, 3, 64));
    while (connection_put(scene->connections[busy][0], &put, 1)) continue;
    scene->idle[0] = true;
    REQUIRE_DONE(scene_put(scene, quiet, 0, &lone));
    REQUIRE_DONE(scene_wait(scene, quiet, EVENT_LOCAL_DONE, 0, 1));
    scene->idle[0] = false;
    /* It may still be on its way, but not for as long as this takes. */
    for (uint32_t i = 0; i < 1000 && scene_count(scene, 0, EVENT_ARRIVED, quiet) == 0; i++) {
        for (uint32_t k = 0; k < 8; k++) (void)connection_put(scene->connections[busy][0], &put, 1);
        REQUIRE_DONE(scene_poll(scene));
        (void)scene->backend->pass(scene->backend->context);
    }
    REQUIRE(scene_count(scene, 0, EVENT_ARRIVED, quiet) == 1);
    return CONFORMANCE_PASSED;
}

static result a_map_reaches_the_granted_region(struct scene *scene)
{
    REQUIRE_DONE(scene_open_connected(scene, 2, 4096));
    const bool maps = scene->endpoints[0]->ops->capabilities & TRANSPORT_MAPS;
    uint8_t *map = connection_map(scene->connections[0][1]);
    REQUIRE(maps == (map != NULL));
    if (!map) return CONFORMANCE_PASSED;
    memcpy(map, scene->source, 4096);
    REQUIRE_DONE(scene_put(scene, 0, 1, &(struct put){.flags = PUT_NOTIFY}));
    REQUIRE_DONE(scene_wait(scene, 1, EVENT_ARRIVED, 0, 1));
    REQUIRE(memcmp(scene->connections[1][0]->granted, scene->source, 4096) == 0);
    return CONFORMANCE_PASSED;
}

/* Ends */

static result a_disconnect_fails_the_peer_once_and_nobody_else(struct scene *scene)
{
    const struct put put = {.source = scene->source, .bytes = 8, .flags = PUT_NOTIFY};

    REQUIRE_DONE(scene_open_connected(scene, 3, 64));
    scene_disconnect(scene, 0, 1);
    REQUIRE_DONE(scene_wait(scene, 1, EVENT_FAILED, 0, 1));
    REQUIRE(scene_event(scene, 1, EVENT_FAILED, 0, 0)->status == WEFT_PEER_FAILED);
    REQUIRE(connection_put(scene->connections[1][0], &put, 1) == 0);
    REQUIRE_DONE(scene_settle(scene));
    REQUIRE(connection_put(scene->connections[1][0], &put, 1) == 0);
    REQUIRE(scene_count(scene, 1, EVENT_FAILED, 0) == 1 && scene_count(scene, 1, EVENT_WRITABLE, 0) == 0);
    REQUIRE(scene->event_count[0] == 0 && scene->event_count[2] == 0);
    REQUIRE_DONE(scene_put(scene, 0, 2, &put));
    REQUIRE_DONE(scene_put(scene, 1, 2, &put));
    REQUIRE_DONE(scene_put(scene, 2, 1, &put));
    REQUIRE_DONE(scene_wait(scene, 2, EVENT_ARRIVED, 0, 1));
    REQUIRE_DONE(scene_wait(scene, 2, EVENT_ARRIVED, 1, 1));
    REQUIRE_DONE(scene_wait(scene, 1, EVENT_ARRIVED, 2, 1));
    return CONFORMANCE_PASSED;
}

static result what_had_arrived_comes_before_the_failure(struct scene *scene)
{
    enum { COUNT = 20 };

    REQUIRE_DONE(scene_open_connected(scene, 2, 64));
    for (uint32_t i = 0; i < COUNT; i++)
        REQUIRE_DONE(scene_put(scene, 0, 1, &(struct put){.tag = i, .flags = PUT_NOTIFY}));
    /* It arrives, and is not taken. */
    scene->idle[1] = true;
    REQUIRE_DONE(scene_settle(scene));
    scene->idle[1] = false;
    scene_disconnect(scene, 0, 1);
    REQUIRE_DONE(scene_wait(scene, 1, EVENT_FAILED, 0, 1));
    REQUIRE(scene_count(scene, 1, EVENT_ARRIVED, 0) == COUNT);
    REQUIRE(scene->events[1][scene->event_count[1] - 1].kind == EVENT_FAILED);
    return CONFORMANCE_PASSED;
}

static result a_pair_can_connect_again(struct scene *scene)
{
    const struct put put = {.source = scene->source, .bytes = 64, .tag = 7, .flags = PUT_NOTIFY};

    REQUIRE_DONE(scene_open_connected(scene, 2, 64));
    REQUIRE_DONE(scene_put(scene, 0, 1, &put));
    REQUIRE_DONE(scene_put(scene, 1, 0, &put));
    scene_disconnect(scene, 0, 1);
    scene_disconnect(scene, 1, 0);
    REQUIRE_DONE(scene_settle(scene));
    const size_t before = scene->event_count[0] + scene->event_count[1];
    REQUIRE_DONE(scene_connect(scene, 0, 1, 64, 64));
    REQUIRE_DONE(scene_settle(scene));
    REQUIRE(scene->event_count[0] + scene->event_count[1] == before);
    REQUIRE(bytes_are(scene->connections[0][1]->granted, 0, 64));
    REQUIRE(bytes_are(scene->connections[1][0]->granted, 0, 64));
    REQUIRE_DONE(scene_put(scene, 0, 1, &put));
    REQUIRE_DONE(scene_wait(scene, 1, EVENT_ARRIVED, 0, 1));
    return CONFORMANCE_PASSED;
}

static result nothing_lands_after_quiesced(struct scene *scene)
{
    const struct put put = {.source = scene->source, .bytes = 64, .flags = PUT_NOTIFY};

    REQUIRE_DONE(scene_open_connected(scene, 2, 64));
    for (uint32_t i = 0; i < 10; i++) REQUIRE_DONE(scene_put(scene, 1, 0, &put));
    const weft_status status = connection_quiesce(scene->connections[0][1]);
    if (status == WEFT_UNSUPPORTED) return CONFORMANCE_SKIPPED;
    REQUIRE(status == WEFT_OK);
    REQUIRE(connection_quiesce(scene->connections[0][1]) == WEFT_OK); /* asking twice is asking once */
    REQUIRE(connection_put(scene->connections[0][1], &put, 1) == 0);
    /* The peer goes on until it is told. */
    for (uint32_t i = 0; i < SCENE_EVENTS && scene_count(scene, 1, EVENT_FAILED, 0) == 0; i++) {
        (void)connection_put(scene->connections[1][0], &put, 1);
        REQUIRE_DONE(scene_poll(scene));
        (void)scene->backend->pass(scene->backend->context);
    }
    REQUIRE(scene_count(scene, 1, EVENT_FAILED, 0) == 1);
    REQUIRE_DONE(scene_wait(scene, 0, EVENT_QUIESCED, 1, 1));
    REQUIRE(scene_event(scene, 1, EVENT_FAILED, 0, 0)->status == WEFT_LINK_DOWN);
    memset(scene->connections[0][1]->granted, 0, 64);
    REQUIRE(connection_put(scene->connections[1][0], &put, 1) == 0);
    REQUIRE_DONE(scene_settle(scene));
    REQUIRE(bytes_are(scene->connections[0][1]->granted, 0, 64));
    REQUIRE(scene_count(scene, 0, EVENT_QUIESCED, 1) == 1 && scene_count(scene, 1, EVENT_FAILED, 0) == 1);
    return CONFORMANCE_PASSED;
}

static result a_peer_that_is_gone_is_quiet(struct scene *scene)
{
    REQUIRE_DONE(scene_open_connected(scene, 2, 64));
    scene_disconnect(scene, 1, 0);
    const weft_status status = connection_quiesce(scene->connections[0][1]);
    if (status == WEFT_UNSUPPORTED) return CONFORMANCE_SKIPPED;
    REQUIRE(status == WEFT_OK);
    REQUIRE_DONE(scene_wait(scene, 0, EVENT_QUIESCED, 1, 1));
    REQUIRE_DONE(scene_wait(scene, 0, EVENT_FAILED, 1, 1));
    return CONFORMANCE_PASSED;
}

static result a_death_fails_its_connections_only(struct scene *scene)
{
    const struct put put = {.source = scene->source, .bytes = 8, .flags = PUT_NOTIFY};

    if (!scene->backend->kill) return CONFORMANCE_SKIPPED;
    REQUIRE_DONE(scene_open_connected(scene, 4, 64));
    scene->backend->kill(scene->backend->context, 2);
    scene->dead[2] = true;
    for (uint32_t rank = 0; rank < 4; rank++) {
        if (rank == 2) continue;
        REQUIRE_DONE(scene_wait(scene, rank, EVENT_FAILED, 2, 1));
        REQUIRE(scene_event(scene, rank, EVENT_FAILED, 2, 0)->status == WEFT_PEER_FAILED);
        REQUIRE(connection_put(scene->connections[rank][2], &put, 1) == 0);
    }
    REQUIRE_DONE(scene_put(scene, 3, 0, &put));
    REQUIRE_DONE(scene_wait(scene, 0, EVENT_ARRIVED, 3, 1));
    REQUIRE_DONE(scene_settle(scene));
    for (uint32_t rank = 0; rank < 4; rank++) {
        for (uint32_t peer = 0; peer < 4 && rank != 2; peer++)
            REQUIRE(scene_count(scene, rank, EVENT_FAILED, peer) == (peer == 2));
    }
    return CONFORMANCE_PASSED;
}

/* Sleep */

static bool readable(int fd, int timeout_ms)
{
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};

    return poll(&poll_fd, 1, timeout_ms) == 1;
}

static result an_armed_endpoint_wakes_for_each_event(struct scene *scene)
{
    const struct put put = {.flags = PUT_NOTIFY};
    int fd;

    REQUIRE_DONE(scene_open_connected(scene, 3, 64));
    if (endpoint_arm(scene->endpoints[0], &fd) == WEFT_UNSUPPORTED) return CONFORMANCE_SKIPPED;
    REQUIRE(!readable(fd, 0));
    REQUIRE_DONE(scene_put(scene, 1, 0, &put));
    REQUIRE(readable(fd, 5000));
    REQUIRE(endpoint_arm(scene->endpoints[0], &fd) == WEFT_AGAIN);
    REQUIRE_DONE(scene_wait(scene, 0, EVENT_ARRIVED, 1, 1));

    /* Room for a put that was refused. While a kernel still moves bytes on there may be some again at once. */
    struct event event;
    weft_status armed = WEFT_AGAIN;
    for (uint32_t tries = 0; armed == WEFT_AGAIN && tries < 100000; tries++) {
        (void)endpoint_poll(scene->endpoints[0], &event, 1, 0);
        while (connection_put(scene->connections[0][1], &put, 1)) continue;
        armed = endpoint_arm(scene->endpoints[0], &fd);
    }
    REQUIRE(armed == WEFT_OK);
    for (uint32_t i = 0; i < SCENE_EVENTS; i++) (void)endpoint_poll(scene->endpoints[1], &event, 1, 0);
    REQUIRE(readable(fd, 5000));
    REQUIRE_DONE(scene_wait(scene, 0, EVENT_WRITABLE, 1, 1));

    /* The end of a peer, and sleep goes on working for the others. */
    REQUIRE(endpoint_arm(scene->endpoints[0], &fd) == WEFT_OK);
    REQUIRE(!readable(fd, 0));
    scene_disconnect(scene, 1, 0);
    REQUIRE(readable(fd, 5000));
    REQUIRE_DONE(scene_wait(scene, 0, EVENT_FAILED, 1, 1));
    REQUIRE(endpoint_arm(scene->endpoints[0], &fd) == WEFT_OK);
    REQUIRE(!readable(fd, 0));
    REQUIRE_DONE(scene_put(scene, 2, 0, &put));
    REQUIRE(readable(fd, 5000));
    REQUIRE_DONE(scene_wait(scene, 0, EVENT_ARRIVED, 2, 1));
    return CONFORMANCE_PASSED;
}

/* All of it at once */

static result random_traffic_arrives_whole(struct scene *scene)
{
    struct traffic *traffic[CONFORMANCE_MAX_RANKS] = {NULL};
    const uint32_t rank_count = 2 + (uint32_t)random_below(&scene->random, 3);
    const uint64_t seed = random_next(&scene->random);
    enum conformance_result outcome = CONFORMANCE_FAILED;
    uint32_t done = 0;

    if (!scene_open_connected(scene, rank_count, TRAFFIC_REGION_BYTES)) return CONFORMANCE_FAILED;
    for (uint32_t rank = 0; rank < rank_count; rank++) {
        traffic[rank] = traffic_create(&(struct traffic_config){.endpoint = scene->endpoints[rank],
                                                                .connections = scene->connections[rank],
                                                                .seed = seed,
                                                                .messages = 40,
                                                                .path_count = 3});
        if (!traffic[rank]) goto destroy;
    }
    while (done < rank_count) {
        bool any = false;
        done = 0;
        for (uint32_t rank = 0; rank < rank_count; rank++) {
            bool progress;
            const weft_status status =
                traffic_step(traffic[rank], scene->backend->now_ns(scene->backend->context), &progress);
            if (status > WEFT_IN_PROGRESS) {
                snprintf(scene->reason, sizeof scene->reason, "%s", traffic_reason(traffic[rank]));
                goto destroy;
            }
            done += status == WEFT_OK;
            any |= progress;
        }
        if (!any && done < rank_count && !scene->backend->pass(scene->backend->context)) {
            snprintf(scene->reason, sizeof scene->reason, "%u of %u ranks wait for ever", rank_count - done,
                     rank_count);
            goto destroy;
        }
    }
    outcome = CONFORMANCE_PASSED;
destroy:
    for (uint32_t rank = 0; rank < rank_count; rank++) traffic_destroy(traffic[rank]);
    return outcome;
}

#define TEST(function)                                                                                                 \
    {                                                                                                                  \
#function, function                                                                                            \
    }
const struct conformance_test conformance_tests[] = {
    TEST(connect_refuses_what_cannot_be),
    TEST(each_side_grants_zeroed_memory_of_its_own_size),
    TEST(a_connection_ends_in_any_state),
    TEST(no_event_comes_before_one_knows_to_be_connected),
    TEST(bytes_are_there_when_notified),
    TEST(a_notification_follows_all_earlier_puts_of_its_path),
    TEST(order_holds_within_a_path),
    TEST(each_notifying_put_arrives_exactly_once),
    TEST(tags_carry_all_32_bits),
    TEST(local_done_comes_once_and_frees_the_source),
    TEST(a_put_outside_the_region_writes_nothing),
    TEST(after_a_refusal_writable_comes),
    TEST(both_directions_and_all_peers_are_apart),
    TEST(a_busy_peer_does_not_keep_out_the_others),
    TEST(a_map_reaches_the_granted_region),
    TEST(a_disconnect_fails_the_peer_once_and_nobody_else),
    TEST(what_had_arrived_comes_before_the_failure),
    TEST(a_pair_can_connect_again),
    TEST(nothing_lands_after_quiesced),
    TEST(a_peer_that_is_gone_is_quiet),
    TEST(a_death_fails_its_connections_only),
    TEST(an_armed_endpoint_wakes_for_each_event),
    TEST(what_lends_nothing_rejects),
    TEST(a_loan_reaches_the_lenders_memory),
    TEST(memory_in_a_share_can_be_mapped_until_it_is_unshared),
    TEST(memory_that_may_shrink_is_not_shared),
    TEST(what_is_no_loan_is_refused),
    TEST(a_peer_that_is_gone_lends_nothing),
    TEST(random_traffic_arrives_whole),
};
const size_t conformance_test_count = sizeof conformance_tests / sizeof conformance_tests[0];
