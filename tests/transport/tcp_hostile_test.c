/* SPDX-License-Identifier: Apache-2.0 */
/* Peers that say what no correct peer says, or say it in odd pieces and orders. The test plays them, byte by byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "tests/transport/tcp_sockets.h"
#include "transport/tcp/frame.h"
#include "transport/tcp/tcp.h"

#define GRANTED_BYTES 4096
/* Loopback delivers while it is sent; this many polls are plenty for an acknowledgement's way back too. */
#define POLLS 200000

/* Rank 1 of 3 is ours; rank 0, which dials, is played; rank 2 is honest. */
struct stage {
    struct tcp_sockets sockets;
    struct endpoint *endpoint, *honest;
    struct connection *connection; /* to rank 0 */
    int fd;                        /* rank 0's end of lane 0 */
    struct event event;            /* the last one taken */
};

static struct tcp_hello hello_of_0(uint32_t attempt, uint16_t lane, uint16_t lanes)
{
    return (struct tcp_hello){
        .rank = 0, .peer = 1, .attempt = attempt, .lane = lane, .lanes = lanes, .granted_bytes = GRANTED_BYTES};
}

static void say(int fd, const void *bytes, size_t size)
{
    assert_int_equal(send(fd, bytes, size, MSG_NOSIGNAL), (ssize_t)size);
}

static void say_hello(int fd, struct tcp_hello hello)
{
    uint8_t wire[TCP_HELLO_BYTES];

    tcp_hello_encode(&hello, wire);
    say(fd, wire, sizeof wire);
}

static void stage_open(struct stage *stage)
{
    const struct tcp_config config = {.rank = 1, .rank_count = 3};

    memset(stage, 0, sizeof *stage);
    assert_true(tcp_sockets_open(&stage->sockets, 3, AF_INET));
    assert_int_equal(tcp_endpoint_create(&config, tcp_sockets_rendezvous(&stage->sockets, 1), &stage->endpoint, NULL),
                     WEFT_OK);
    assert_int_equal(endpoint_connect(stage->endpoint, 0, GRANTED_BYTES, &stage->connection), WEFT_OK);
    stage->fd = -1;
}

static weft_status advance(struct stage *stage)
{
    weft_status status = WEFT_IN_PROGRESS;

    for (int i = 0; i < 100 && status == WEFT_IN_PROGRESS; i++) status = connection_advance(stage->connection, 0);
    return status;
}

static int dial(struct stage *stage)
{
    const int fd = tcp_sockets_dial(&stage->sockets, 0, 1);

    assert_true(fd >= 0);
    return fd;
}

static void stage_connect(struct stage *stage)
{
    stage_open(stage);
    stage->fd = dial(stage);
    say_hello(stage->fd, hello_of_0(0, 0, 1));
    say(stage->fd, &(char){TCP_GO}, 1);
    assert_int_equal(advance(stage), WEFT_OK);
}

static void stage_close(struct stage *stage)
{
    if (stage->fd >= 0) close(stage->fd);
    if (stage->connection) connection_disconnect(stage->connection);
    endpoint_destroy(stage->endpoint);
    tcp_sockets_close(&stage->sockets);
}

static bool next_event(struct stage *stage)
{
    for (int i = 0; i < POLLS; i++) {
        if (endpoint_poll(stage->endpoint, &stage->event, 1, 0)) return true;
    }
    return false;
}

static void say_frame(struct stage *stage, struct tcp_frame frame, const void *payload)
{
    uint8_t wire[TCP_FRAME_BYTES];

    tcp_frame_encode(&frame, wire);
    say(stage->fd, wire, sizeof wire);
    if (frame.bytes && payload) say(stage->fd, payload, frame.bytes);
}

static void expect_failure(struct stage *stage, weft_status status)
{
    const struct put put = {.flags = PUT_NOTIFY};

    assert_true(next_event(stage));
    assert_int_equal(stage->event.kind, EVENT_FAILED);
    assert_int_equal(stage->event.peer, 0);
    assert_int_equal(stage->event.status, status);
    assert_int_equal(connection_put(stage->connection, &put, 1), 0);
    for (int i = 0; i < 100; i++) assert_int_equal(endpoint_poll(stage->endpoint, &stage->event, 1, 0), 0);
}

/* Hellos */

static void a_wrong_hello_is_refused(void **state)
{
    static const struct {
        size_t at;
        uint8_t bytes[8];
        size_t size;
        weft_status status;
    } changes[] = {
        {0, "GET / HT", 8, WEFT_PEER_REFUSED},
        {7, "2", 1, WEFT_PEER_REFUSED},
        {8, {2}, 1, WEFT_PROTOCOL_ERROR},
        {12, {0}, 1, WEFT_PROTOCOL_ERROR},
        {20, {1}, 1, WEFT_PROTOCOL_ERROR},
        {22, {0}, 1, WEFT_PROTOCOL_ERROR},
        {22, {17}, 1, WEFT_PROTOCOL_ERROR},
        {22, {0xff, 0xff}, 2, WEFT_PROTOCOL_ERROR},
        {24, {1, 0, 0, 0, 0, 0, 1}, 7, WEFT_PROTOCOL_ERROR},
        {39, {1}, 1, WEFT_PROTOCOL_ERROR},
    };

    (void)state;
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        struct stage stage;
        uint8_t wire[TCP_HELLO_BYTES];
        const struct tcp_hello hello = hello_of_0(0, 0, 1);

        stage_open(&stage);
        stage.fd = dial(&stage);
        tcp_hello_encode(&hello, wire);
        memcpy(wire + changes[i].at, changes[i].bytes, changes[i].size);
        say(stage.fd, wire, sizeof wire);
        assert_int_equal(advance(&stage), changes[i].status);
        assert_int_equal(advance(&stage), changes[i].status); /* and goes on saying so */
        stage_close(&stage);
    }
}

static void a_wrong_word_after_the_hello_is_refused(void **state)
{
    struct stage stage;

    (void)state;
    stage_open(&stage);
    stage.fd = dial(&stage);
    say_hello(stage.fd, hello_of_0(0, 0, 1));
    say(stage.fd, "x", 1);
    assert_int_equal(advance(&stage), WEFT_PROTOCOL_ERROR);
    stage_close(&stage);
}

static void a_wrong_answer_is_refused(void **state)
{
    (void)state;
    for (int wrong = 0; wrong < 4; wrong++) {
        const struct tcp_config config = {.rank = 0, .rank_count = 2, .lanes = 2};
        struct tcp_sockets sockets = {0};
        struct endpoint *endpoint;
        struct connection *connection;
        int fds[2];

        assert_true(tcp_sockets_open(&sockets, 2, AF_INET));
        assert_int_equal(tcp_endpoint_create(&config, tcp_sockets_rendezvous(&sockets, 0), &endpoint, NULL), WEFT_OK);
        assert_int_equal(endpoint_connect(endpoint, 1, 64, &connection), WEFT_OK);
        assert_int_equal(connection_advance(connection, 0), WEFT_IN_PROGRESS);
        const struct rendezvous of_1 = tcp_sockets_rendezvous(&sockets, 1);
        for (uint16_t lane = 0; lane < 2; lane++) {
            assert_int_equal(of_1.reach(of_1.context, 0, &fds[lane]), WEFT_OK);
            struct tcp_hello hello = {
                .rank = 1, .peer = 0, .attempt = 0, .lane = lane, .lanes = 2, .granted_bytes = 64};
            if (wrong == 0) hello.attempt++;
            if (wrong == 1) hello.lane = 1 - lane;
            if (wrong == 2) hello.lanes = 3;
            if (wrong == 3) hello.granted_bytes += lane;
            say_hello(fds[lane], hello);
        }
        assert_int_equal(connection_advance(connection, 0), WEFT_PROTOCOL_ERROR);
        connection_disconnect(connection);
        endpoint_destroy(endpoint);
        close(fds[0]);
        close(fds[1]);
        tcp_sockets_close(&sockets);
    }
}

static void a_lane_cannot_come_twice(void **state)
{
    struct stage stage;

    (void)state;
    stage_open(&stage);
    const int first = dial(&stage);
    say_hello(first, hello_of_0(0, 1, 3));
    stage.fd = dial(&stage);
    say_hello(stage.fd, hello_of_0(0, 1, 3));
    assert_int_equal(advance(&stage), WEFT_PROTOCOL_ERROR);
    close(first);
    stage_close(&stage);
}

/* Lanes 2, 0, 1, in between what is left of attempts that were given up, and one that comes too late. */
static void lanes_come_in_any_order_and_old_attempts_are_passed_over(void **state)
{
    struct stage stage;
    int fds[8];

    (void)state;
    stage_open(&stage);
    for (int i = 0; i < 8; i++) fds[i] = dial(&stage);
    say_hello(fds[0], hello_of_0(UINT32_MAX, 0, 2));
    close(fds[0]);
    close(fds[1]); /* did not even say hello */
    say_hello(fds[2], hello_of_0(0, 2, 3));
    say_hello(fds[3], hello_of_0(UINT32_MAX, 1, 2));
    close(fds[3]);
    say_hello(fds[4], hello_of_0(0, 0, 3));
    say(fds[4], &(char){TCP_GO}, 1);
    say_hello(fds[5], hello_of_0(0, 1, 3));
    assert_int_equal(advance(&stage), WEFT_OK);

    stage.fd = fds[5];
    say_frame(&stage, (struct tcp_frame){.kind = TCP_FRAME_PUT, .flags = TCP_FRAME_NOTIFY, .tag = 9}, NULL);
    assert_true(next_event(&stage));
    assert_int_equal(stage.event.kind, EVENT_ARRIVED);
    assert_int_equal(stage.event.tag, 9);
    for (int i = 2; i < 8; i++) {
        if (i != 3 && i != 5) close(fds[i]);
    }
    stage_close(&stage);
}

static void an_attempt_given_up_after_its_hello_is_no_connection(void **state)
{
    struct stage stage;

    (void)state;
    stage_open(&stage);
    const int old = dial(&stage);
    say_hello(old, hello_of_0(0, 0, 1));
    assert_int_equal(advance(&stage), WEFT_IN_PROGRESS);
    close(old);
    stage.fd = dial(&stage);
    say_hello(stage.fd, hello_of_0(1, 0, 1));
    say(stage.fd, &(char){TCP_GO}, 1);
    assert_int_equal(advance(&stage), WEFT_OK);
    stage_close(&stage);
}

static void hellos_and_frames_may_come_byte_by_byte(void **state)
{
    struct stage stage;
    uint8_t wire[TCP_HELLO_BYTES + 1 + TCP_FRAME_BYTES + 3];
    const struct tcp_hello hello = hello_of_0(0, 0, 1);
    const struct tcp_frame frame = {
        .kind = TCP_FRAME_PUT, .flags = TCP_FRAME_NOTIFY, .offset = 5, .bytes = 3, .tag = 7};

    (void)state;
    stage_open(&stage);
    stage.fd = dial(&stage);
    tcp_hello_encode(&hello, wire);
    wire[TCP_HELLO_BYTES] = TCP_GO;
    tcp_frame_encode(&frame, wire + TCP_HELLO_BYTES + 1);
    memcpy(wire + TCP_HELLO_BYTES + 1 + TCP_FRAME_BYTES, "abc", 3);
    for (size_t i = 0; i < sizeof wire; i++) {
        const bool connected = i > TCP_HELLO_BYTES;
        assert_int_equal(advance(&stage), connected ? WEFT_OK : WEFT_IN_PROGRESS);
        if (connected) assert_int_equal(endpoint_poll(stage.endpoint, &stage.event, 1, 0), 0);
        say(stage.fd, &wire[i], 1);
    }
    assert_true(next_event(&stage));
    assert_int_equal(stage.event.tag, 7);
    assert_memory_equal(stage.connection->granted, "\0\0\0\0\0abc\0", 9);
    stage_close(&stage);
}

/* Frames */

static void a_bad_frame_fails_its_connection_and_writes_nothing(void **state)
{
    static const struct tcp_frame bad[] = {
        {.kind = TCP_FRAME_PUT, .offset = GRANTED_BYTES, .bytes = 1},
        {.kind = TCP_FRAME_PUT, .offset = GRANTED_BYTES + 1},
        {.kind = TCP_FRAME_PUT, .bytes = GRANTED_BYTES + 1},
        {.kind = TCP_FRAME_PUT, .offset = 1, .bytes = GRANTED_BYTES},
        {.kind = TCP_FRAME_PUT, .offset = (UINT64_C(1) << 48) - 1, .bytes = UINT32_MAX},
        {.kind = TCP_FRAME_PUT, .bytes = UINT32_MAX},
        {.kind = TCP_FRAME_PUT, .flags = 2},
        {.kind = TCP_FRAME_PUT, .flags = 0x80 | TCP_FRAME_NOTIFY},
        {.kind = 0},
        {.kind = 0xff},
        {.kind = TCP_FRAME_QUIESCE, .tag = 1},
        {.kind = TCP_FRAME_QUIESCE, .bytes = 1},
        {.kind = TCP_FRAME_QUIET}, /* nobody asked */
    };
    const uint8_t payload[64] = {1, 2, 3};
    const uint8_t zero[GRANTED_BYTES] = {0};

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct stage stage;
        stage_connect(&stage);
        say_frame(&stage, (struct tcp_frame){.kind = TCP_FRAME_PUT, .flags = TCP_FRAME_NOTIFY, .tag = 1}, NULL);
        say_frame(&stage, bad[i], NULL);
        say(stage.fd, payload, sizeof payload);
        assert_true(next_event(&stage)); /* what was good before it still counts */
        assert_int_equal(stage.event.kind, EVENT_ARRIVED);
        expect_failure(&stage, WEFT_PROTOCOL_ERROR);
        assert_memory_equal(stage.connection->granted, zero, GRANTED_BYTES);
        stage_close(&stage);
    }
}

static void a_bad_frame_leaves_the_other_connections_alone(void **state)
{
    const struct tcp_config config = {.rank = 2, .rank_count = 3};
    const struct put put = {.tag = 5, .flags = PUT_NOTIFY};
    struct connection *of_1, *of_2;
    struct stage stage;

    (void)state;
    stage_connect(&stage);
    assert_int_equal(tcp_endpoint_create(&config, tcp_sockets_rendezvous(&stage.sockets, 2), &stage.honest, NULL),
                     WEFT_OK);
    assert_int_equal(endpoint_connect(stage.endpoint, 2, 64, &of_1), WEFT_OK);
    assert_int_equal(endpoint_connect(stage.honest, 1, 64, &of_2), WEFT_OK);
    assert_int_equal(connection_advance(of_1, 0), WEFT_IN_PROGRESS); /* dials */
    while (connection_advance(of_2, 0) == WEFT_IN_PROGRESS) (void)connection_advance(of_1, 0);
    assert_int_equal(connection_advance(of_1, 0), WEFT_OK);
    say(stage.fd, "GET / HTTP/1.1\r\n\r\n", 18);
    expect_failure(&stage, WEFT_PROTOCOL_ERROR);
    assert_int_equal(connection_put(of_2, &put, 1), 1);
    assert_true(next_event(&stage));
    assert_int_equal(stage.event.kind, EVENT_ARRIVED);
    assert_int_equal(stage.event.peer, 2);
    connection_disconnect(of_1);
    connection_disconnect(of_2);
    endpoint_destroy(stage.honest);
    stage_close(&stage);
}

static void an_end_within_a_frame_gives_no_notification(void **state)
{
    const struct tcp_frame frame = {.kind = TCP_FRAME_PUT, .flags = TCP_FRAME_NOTIFY, .bytes = 100};

    (void)state;
    for (size_t sent = 1; sent < TCP_FRAME_BYTES + 100; sent += 23) {
        struct stage stage;
        uint8_t wire[TCP_FRAME_BYTES + 100] = {0};
        stage_connect(&stage);
        tcp_frame_encode(&frame, wire);
        say(stage.fd, wire, sent);
        close(stage.fd);
        stage.fd = -1;
        expect_failure(&stage, WEFT_PEER_FAILED);
        stage_close(&stage);
    }
}

static void a_peer_that_only_stops_sending_has_left(void **state)
{
    struct stage stage;

    (void)state;
    stage_connect(&stage);
    assert_int_equal(shutdown(stage.fd, SHUT_WR), 0);
    expect_failure(&stage, WEFT_PEER_FAILED);
    stage_close(&stage);
}

static void what_came_before_a_reset_counts(void **state)
{
    const struct linger reset = {.l_onoff = 1, .l_linger = 0};
    struct stage stage;

    (void)state;
    stage_connect(&stage);
    for (uint32_t tag = 0; tag < 3; tag++)
        say_frame(&stage, (struct tcp_frame){.kind = TCP_FRAME_PUT, .flags = TCP_FRAME_NOTIFY, .tag = tag}, NULL);
    assert_int_equal(setsockopt(stage.fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset), 0);
    close(stage.fd);
    stage.fd = -1;
    /* Writing finds the reset first; what is left to read must not be lost over it. */
    const struct put put = {.flags = PUT_NOTIFY};
    (void)connection_put(stage.connection, &put, 1);
    for (uint32_t tag = 0; tag < 3; tag++) {
        assert_true(next_event(&stage));
        assert_int_equal(stage.event.kind, EVENT_ARRIVED);
        assert_int_equal(stage.event.tag, tag);
    }
    expect_failure(&stage, WEFT_PEER_FAILED);
    stage_close(&stage);
}

static void nothing_is_taken_after_the_peer_said_it_is_quiet(void **state)
{
    struct stage stage;

    (void)state;
    stage_connect(&stage);
    assert_int_equal(connection_quiesce(stage.connection), WEFT_OK);
    say_frame(&stage, (struct tcp_frame){.kind = TCP_FRAME_QUIET}, NULL);
    say_frame(&stage, (struct tcp_frame){.kind = TCP_FRAME_PUT, .bytes = 3}, "abc");
    assert_true(next_event(&stage));
    assert_int_equal(stage.event.kind, EVENT_QUIESCED);
    expect_failure(&stage, WEFT_PROTOCOL_ERROR);
    assert_memory_equal(stage.connection->granted, "\0\0\0", 3);
    stage_close(&stage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_wrong_hello_is_refused),
        cmocka_unit_test(a_wrong_word_after_the_hello_is_refused),
        cmocka_unit_test(a_wrong_answer_is_refused),
        cmocka_unit_test(a_lane_cannot_come_twice),
        cmocka_unit_test(lanes_come_in_any_order_and_old_attempts_are_passed_over),
        cmocka_unit_test(an_attempt_given_up_after_its_hello_is_no_connection),
        cmocka_unit_test(hellos_and_frames_may_come_byte_by_byte),
        cmocka_unit_test(a_bad_frame_fails_its_connection_and_writes_nothing),
        cmocka_unit_test(a_bad_frame_leaves_the_other_connections_alone),
        cmocka_unit_test(an_end_within_a_frame_gives_no_notification),
        cmocka_unit_test(a_peer_that_only_stops_sending_has_left),
        cmocka_unit_test(what_came_before_a_reset_counts),
        cmocka_unit_test(nothing_is_taken_after_the_peer_said_it_is_quiet),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
