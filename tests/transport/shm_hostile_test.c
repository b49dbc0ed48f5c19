/* SPDX-License-Identifier: Apache-2.0 */
/* Peers that lie, on the socket and in shared memory. Rank 0 is the transport; rank 1 is played here, by hand. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/transport/shm_stage.h"

/* The victim refuses, and goes on refusing, and the liar's socket ends. */
static void expect_refusal(struct stage *stage, weft_status expected)
{
    char rest[256];

    assert_int_equal(connection_advance(stage->connection, 0), expected);
    assert_int_equal(connection_advance(stage->connection, 0), expected);
    assert_int_equal(connection_put(stage->connection, &(struct put){.flags = PUT_NOTIFY}, 1), 0);
    assert_int_equal(connection_quiesce(stage->connection), WEFT_INVALID_STATE);
    ssize_t received;
    do received = recv(stage->liar, rest, sizeof rest, MSG_DONTWAIT);
    while (received > 0);
    assert_true(received == 0 || errno == ECONNRESET);
}

static void greeting_is_refused(const struct shm_header *header, size_t bytes, int seals, weft_status expected)
{
    struct stage stage;

    stage_open(&stage);
    const int memory = stage_memory(header, bytes, seals);
    stage_send(&stage, header, sizeof *header, &memory, 1);
    expect_refusal(&stage, expected);
    stage_close(&stage);
}

static void a_header_that_is_not_ours_is_refused(void **state)
{
    struct shm_header header;

    (void)state;
    header = stage_header(), header.magic++;
    greeting_is_refused(&header, SEGMENT_BYTES, SEALS, WEFT_PEER_REFUSED);
    header = stage_header(), header.ring_entries *= 2;
    greeting_is_refused(&header, SEGMENT_BYTES, SEALS, WEFT_PEER_REFUSED);
    header = stage_header(), header.region_offset = 0;
    greeting_is_refused(&header, SEGMENT_BYTES, SEALS, WEFT_PEER_REFUSED);
    header = stage_header(), header.rank = 2;
    greeting_is_refused(&header, SEGMENT_BYTES, SEALS, WEFT_PROTOCOL_ERROR);
    header = stage_header(), header.peer = 1;
    greeting_is_refused(&header, SEGMENT_BYTES, SEALS, WEFT_PROTOCOL_ERROR);
}

static void memory_of_another_size_is_refused(void **state)
{
    struct shm_header header = stage_header();

    (void)state;
    greeting_is_refused(&header, SHM_REGION_OFFSET, SEALS, WEFT_PROTOCOL_ERROR);
    greeting_is_refused(&header, SEGMENT_BYTES - 1, SEALS, WEFT_PROTOCOL_ERROR);
    greeting_is_refused(&header, 2 * SEGMENT_BYTES, SEALS, WEFT_PROTOCOL_ERROR);
    header.granted_bytes = (uint64_t)1 << 40;
    greeting_is_refused(&header, SEGMENT_BYTES, SEALS, WEFT_PROTOCOL_ERROR);
    static const uint64_t impossible[] = {UINT64_MAX, UINT64_MAX - SHM_REGION_OFFSET, INT64_MAX, (uint64_t)1 << 63};
    for (size_t i = 0; i < sizeof impossible / sizeof impossible[0]; i++) {
        header.granted_bytes = impossible[i];
        greeting_is_refused(&header, SEGMENT_BYTES, SEALS, WEFT_PROTOCOL_ERROR);
    }
}

static void memory_that_could_shrink_is_refused(void **state)
{
    const struct shm_header header = stage_header();

    (void)state;
    greeting_is_refused(&header, SEGMENT_BYTES, 0, WEFT_PROTOCOL_ERROR);
    greeting_is_refused(&header, SEGMENT_BYTES, F_SEAL_GROW, WEFT_PROTOCOL_ERROR);
    greeting_is_refused(&header, SEGMENT_BYTES, F_SEAL_SHRINK, WEFT_PROTOCOL_ERROR);
}

static void memory_that_cannot_be_written_is_refused(void **state)
{
    const struct shm_header header = stage_header();
    struct stage stage;
    char path[64];

    (void)state;
    greeting_is_refused(&header, SEGMENT_BYTES, SEALS | F_SEAL_WRITE, WEFT_PROTOCOL_ERROR);
    greeting_is_refused(&header, SEGMENT_BYTES, SEALS | F_SEAL_FUTURE_WRITE, WEFT_PROTOCOL_ERROR);
    stage_open(&stage);
    const int memory = stage_memory(&header, SEGMENT_BYTES, SEALS);
    snprintf(path, sizeof path, "/proc/self/fd/%d", memory);
    const int read_only = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(read_only >= 0);
    close(memory);
    stage_send(&stage, &header, sizeof header, &read_only, 1);
    expect_refusal(&stage, WEFT_PROTOCOL_ERROR);
    stage_close(&stage);
}

static void what_is_no_memory_is_refused(void **state)
{
    const struct shm_header header = stage_header();

    (void)state;
    for (int kind = 0; kind < 3; kind++) {
        struct stage stage;
        int fds[2] = {-1, -1};
        stage_open(&stage);
        if (kind == 0) fds[0] = eventfd(0, EFD_CLOEXEC);
        if (kind == 1) fds[0] = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
        if (kind == 2) fds[0] = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(fds[0] >= 0);
        stage_send(&stage, &header, sizeof header, fds, 1);
        expect_refusal(&stage, WEFT_PROTOCOL_ERROR);
        stage_close(&stage);
    }
}

static void another_header_in_the_memory_is_refused(void **state)
{
    const struct shm_header header = stage_header();
    struct shm_header other = header;
    struct stage stage;

    (void)state;
    other.granted_bytes++;
    stage_open(&stage);
    const int memory = stage_memory(&other, SEGMENT_BYTES, SEALS);
    stage_send(&stage, &header, sizeof header, &memory, 1);
    expect_refusal(&stage, WEFT_PROTOCOL_ERROR);
    stage_close(&stage);
}

static void no_segment_or_too_many_are_refused(void **state)
{
    const struct shm_header header = stage_header();
    static const size_t counts[] = {0, 2, 4, 8};

    (void)state;
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        struct stage stage;
        int memory[8];
        stage_open(&stage);
        for (size_t k = 0; k < counts[i]; k++) memory[k] = stage_memory(&header, SEGMENT_BYTES, SEALS);
        stage_send(&stage, &header, sizeof header, memory, counts[i]);
        expect_refusal(&stage, WEFT_PROTOCOL_ERROR);
        stage_close(&stage);
    }
}

static void a_peer_that_leaves_while_connecting_has_failed(void **state)
{
    const struct shm_header header = stage_header();

    (void)state;
    for (size_t bytes = 0; bytes <= sizeof header; bytes += 8) {
        struct stage stage;
        stage_open(&stage);
        if (bytes) {
            const int memory = stage_memory(&header, SEGMENT_BYTES, SEALS);
            stage_send(&stage, &header, bytes, &memory, 1);
            assert_int_equal(connection_advance(stage.connection, 0), WEFT_IN_PROGRESS);
        }
        close(stage.liar);
        stage.liar = -1;
        const weft_status status = connection_advance(stage.connection, 0);
        assert_int_equal(status, WEFT_PEER_FAILED);
        stage_close(&stage);
    }
}

static void a_connection_over_anything_but_a_unix_socket_is_unsupported(void **state)
{
    struct pairs pairs;
    struct endpoint *endpoint;
    struct connection *connection;
    const size_t before = stage_descriptor_count();

    (void)state;
    pairs_init(&pairs);
    assert_int_equal(shm_endpoint_create(&(struct shm_config){.rank = 0, .rank_count = 2}, pairs_rendezvous(&pairs, 0),
                                         &endpoint, NULL),
                     WEFT_OK);
    pairs.fds[0][1] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (pairs.fds[0][1] < 0) pairs.fds[0][1] = eventfd(0, EFD_CLOEXEC);
    assert_int_equal(endpoint_connect(endpoint, 1, 64, &connection), WEFT_OK);
    assert_int_equal(connection_advance(connection, 0), WEFT_UNSUPPORTED);
    connection_disconnect(connection);
    endpoint_destroy(endpoint);
    assert_int_equal(stage_descriptor_count(), before);
}

static void a_greeting_may_come_in_pieces(void **state)
{
    struct stage stage;

    (void)state;
    stage_open(&stage);
    stage_connect(&stage, true, SHM_READY);
    stage_close(&stage);
}

static void anything_but_ready_is_refused(void **state)
{
    const struct shm_header header = stage_header();
    struct stage stage;

    (void)state;
    stage_open(&stage);
    const int memory = stage_memory(&header, SEGMENT_BYTES, SEALS);
    stage_send(&stage, &header, sizeof header, &memory, 1);
    assert_int_equal(connection_advance(stage.connection, 0), WEFT_IN_PROGRESS);
    assert_int_equal(send(stage.liar, "w", 1, 0), 1);
    expect_refusal(&stage, WEFT_PROTOCOL_ERROR);
    stage_close(&stage);
}

static void a_notification_out_of_sequence_fails_the_connection(void **state)
{
    static const uint32_t sequences[] = {0, 1, 3, SHM_RING_ENTRIES + 1, UINT32_MAX};

    (void)state;
    for (size_t i = 0; i < sizeof sequences / sizeof sequences[0]; i++) {
        struct stage stage;
        struct event event;
        stage_open(&stage);
        stage_connect(&stage, false, SHM_READY);
        /* One good one, which is delivered; then another that is not the next. */
        atomic_store(&stage.victims->ring[0], (uint64_t)1 << 32 | 5);
        assert_int_equal(endpoint_poll(stage.victim, &event, 1, 0), 1);
        assert_true(event.kind == EVENT_ARRIVED && event.peer == 1 && event.tag == 5);
        atomic_store(&stage.victims->ring[1], (uint64_t)sequences[i] << 32 | 1);
        stage_expect_failure(&stage, WEFT_PROTOCOL_ERROR);
        stage_close(&stage);
    }
}

static void progress_that_cannot_be_fails_the_connection(void **state)
{
    static const uint64_t told[] = {SHM_RING_ENTRIES + 1, UINT64_MAX, (uint64_t)1 << 63};
    const struct put put = {.flags = PUT_NOTIFY};

    (void)state;
    for (size_t i = 0; i < sizeof told / sizeof told[0]; i++) {
        struct stage stage;
        stage_open(&stage);
        stage_connect(&stage, false, SHM_READY);
        for (uint32_t k = 0; k < SHM_RING_ENTRIES; k++) assert_int_equal(connection_put(stage.connection, &put, 1), 1);
        atomic_store(&stage.own->consumed, told[i]);
        assert_int_equal(connection_put(stage.connection, &put, 1), 0);
        stage_expect_failure(&stage, WEFT_PROTOCOL_ERROR);
        stage_close(&stage);
    }
}

static void progress_that_goes_back_fails_the_connection(void **state)
{
    const struct put put = {.flags = PUT_NOTIFY};
    struct stage stage;

    (void)state;
    stage_open(&stage);
    stage_connect(&stage, false, SHM_READY);
    for (uint32_t k = 0; k < SHM_RING_ENTRIES; k++) assert_int_equal(connection_put(stage.connection, &put, 1), 1);
    atomic_store(&stage.own->consumed, 2);
    for (uint32_t k = 0; k < 2; k++) assert_int_equal(connection_put(stage.connection, &put, 1), 1);
    atomic_store(&stage.own->consumed, 1);
    assert_int_equal(connection_put(stage.connection, &put, 1), 0);
    stage_expect_failure(&stage, WEFT_PROTOCOL_ERROR);
    stage_close(&stage);
}

static void a_message_that_is_none_fails_the_connection(void **state)
{
    static const char messages[] = {'x', 0, (char)0xff, SHM_READY, SHM_QUIET /* not asked for */};

    (void)state;
    for (size_t i = 0; i < sizeof messages; i++) {
        struct stage stage;
        stage_open(&stage);
        stage_connect(&stage, false, SHM_READY);
        assert_int_equal(send(stage.liar, &messages[i], 1, 0), 1);
        stage_expect_failure(&stage, WEFT_PROTOCOL_ERROR);
        stage_close(&stage);
    }
}

static void a_flood_of_wake_ups_blocks_nobody(void **state)
{
    const struct put put = {.flags = PUT_NOTIFY};
    struct stage stage;
    struct event event;

    (void)state;
    stage_open(&stage);
    stage_connect(&stage, false, SHM_READY);
    while (send(stage.liar, "wwwwwwww", 8, MSG_DONTWAIT) > 0) continue;
    /* It never reads its own, either, and says that it sleeps for ever. */
    for (uint64_t i = 0; i < 100000; i++) {
        atomic_store(&stage.own->sleeping, 1);
        atomic_store(&stage.own->consumed, i);
        assert_int_equal(connection_put(stage.connection, &put, 1), 1);
        assert_int_equal(endpoint_poll(stage.victim, &event, 1, i), 0);
    }
    /* When even a byte is too much, quiescing has to be asked for again. */
    assert_int_equal(connection_quiesce(stage.connection), WEFT_AGAIN);
    stage_close(&stage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_header_that_is_not_ours_is_refused),
        cmocka_unit_test(memory_of_another_size_is_refused),
        cmocka_unit_test(memory_that_could_shrink_is_refused),
        cmocka_unit_test(memory_that_cannot_be_written_is_refused),
        cmocka_unit_test(what_is_no_memory_is_refused),
        cmocka_unit_test(another_header_in_the_memory_is_refused),
        cmocka_unit_test(no_segment_or_too_many_are_refused),
        cmocka_unit_test(a_peer_that_leaves_while_connecting_has_failed),
        cmocka_unit_test(a_connection_over_anything_but_a_unix_socket_is_unsupported),
        cmocka_unit_test(a_greeting_may_come_in_pieces),
        cmocka_unit_test(anything_but_ready_is_refused),
        cmocka_unit_test(a_notification_out_of_sequence_fails_the_connection),
        cmocka_unit_test(progress_that_cannot_be_fails_the_connection),
        cmocka_unit_test(progress_that_goes_back_fails_the_connection),
        cmocka_unit_test(a_message_that_is_none_fails_the_connection),
        cmocka_unit_test(a_flood_of_wake_ups_blocks_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
