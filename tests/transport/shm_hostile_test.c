/* SPDX-License-Identifier: Apache-2.0 */
/* Peers that lie, on the socket and in shared memory. Rank 0 is the transport; rank 1 is played here, by hand. */
#include <dirent.h>
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

#include "tests/transport/pairs.h"
#include "transport/shm/shm_internal.h"

#define GRANTED 4096
#define SEGMENT_BYTES (2 * (size_t)SHM_REGION_OFFSET)
#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW)

/* Rank 0, rank 2 that is honest, and rank 1's end of the socket to rank 0. */
struct stage {
    struct pairs pairs;
    struct endpoint *victim, *honest;
    struct connection *connection; /* of the victim to the liar */
    struct connection *to_honest, *from_honest;
    int liar;                          /* socket */
    struct shm_segment *own, *victims; /* as the liar maps them */
    size_t descriptors;
};

static size_t descriptor_count(void)
{
    DIR *folder = opendir("/proc/self/fd");
    size_t count = 0;

    assert_non_null(folder);
    while (readdir(folder)) count++;
    closedir(folder);
    return count;
}

static void stage_open(struct stage *stage)
{
    *stage = (struct stage){.descriptors = descriptor_count()};
    pairs_init(&stage->pairs);
    assert_int_equal(shm_endpoint_create(&(struct shm_config){.rank = 0, .rank_count = 3},
                                         pairs_rendezvous(&stage->pairs, 0), &stage->victim, NULL),
                     WEFT_OK);
    assert_int_equal(shm_endpoint_create(&(struct shm_config){.rank = 2, .rank_count = 3},
                                         pairs_rendezvous(&stage->pairs, 2), &stage->honest, NULL),
                     WEFT_OK);
    assert_int_equal(pairs_connect_two(stage->victim, stage->honest, GRANTED, &stage->to_honest, &stage->from_honest),
                     WEFT_OK);
    const struct rendezvous liar = pairs_rendezvous(&stage->pairs, 1);
    assert_int_equal(liar.reach(liar.context, 0, &stage->liar), WEFT_OK);
    assert_int_equal(endpoint_connect(stage->victim, 1, GRANTED, &stage->connection), WEFT_OK);
    assert_int_equal(connection_advance(stage->connection, 0), WEFT_IN_PROGRESS);
}

/* Whatever the liar did, the honest peer is still served, and nothing is left. */
static void stage_close(struct stage *stage)
{
    const struct put put = {.tag = 9, .flags = PUT_NOTIFY};
    struct event event;

    assert_int_equal(connection_put(stage->from_honest, &put, 1), 1);
    assert_int_equal(endpoint_poll(stage->victim, &event, 1, 0), 1);
    assert_true(event.kind == EVENT_ARRIVED && event.peer == 2 && event.tag == 9);
    connection_disconnect(stage->connection);
    connection_disconnect(stage->to_honest);
    connection_disconnect(stage->from_honest);
    endpoint_destroy(stage->victim);
    endpoint_destroy(stage->honest);
    pairs_close(&stage->pairs);
    if (stage->liar >= 0) close(stage->liar);
    if (stage->own) munmap(stage->own, SEGMENT_BYTES);
    if (stage->victims) munmap(stage->victims, SEGMENT_BYTES);
    assert_int_equal(descriptor_count(), stage->descriptors);
}

static struct shm_header honest_header(void)
{
    return (struct shm_header){.magic = SHM_MAGIC,
                               .rank = 1,
                               .peer = 0,
                               .granted_bytes = GRANTED,
                               .ring_entries = SHM_RING_ENTRIES,
                               .region_offset = SHM_REGION_OFFSET};
}

static int memory_make(const struct shm_header *header, size_t bytes, int seals)
{
    const int memory = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    assert_true(memory >= 0);
    assert_int_equal(ftruncate(memory, (off_t)bytes), 0);
    assert_int_equal(pwrite(memory, header, sizeof *header, 0), sizeof *header);
    assert_int_equal(fcntl(memory, F_ADD_SEALS, seals), 0);
    return memory;
}

/* Send @p bytes of the header with @p count descriptors, which are closed. */
static void greeting_send(const struct stage *stage, const struct shm_header *header, size_t bytes, const int *memory,
                          size_t count)
{
    alignas(struct cmsghdr) uint8_t control[CMSG_SPACE(8 * sizeof(int))] = {0};
    struct iovec part = {(void *)(uintptr_t)header, bytes};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};

    if (count) {
        message.msg_control = control;
        message.msg_controllen = CMSG_SPACE(count * sizeof(int));
        struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
        rights->cmsg_level = SOL_SOCKET;
        rights->cmsg_type = SCM_RIGHTS;
        rights->cmsg_len = CMSG_LEN(count * sizeof(int));
        memcpy(CMSG_DATA(rights), memory, count * sizeof(int));
    }
    assert_int_equal(sendmsg(stage->liar, &message, MSG_NOSIGNAL), bytes);
    for (size_t i = 0; i < count; i++) close(memory[i]);
}

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
    const int memory = memory_make(header, bytes, seals);
    greeting_send(&stage, header, sizeof *header, &memory, 1);
    expect_refusal(&stage, expected);
    stage_close(&stage);
}

static void a_header_that_is_not_ours_is_refused(void **state)
{
    struct shm_header header;

    (void)state;
    header = honest_header(), header.magic++;
    greeting_is_refused(&header, SEGMENT_BYTES, SEALS, WEFT_PEER_REFUSED);
    header = honest_header(), header.ring_entries *= 2;
    greeting_is_refused(&header, SEGMENT_BYTES, SEALS, WEFT_PEER_REFUSED);
    header = honest_header(), header.region_offset = 0;
    greeting_is_refused(&header, SEGMENT_BYTES, SEALS, WEFT_PEER_REFUSED);
    header = honest_header(), header.rank = 2;
    greeting_is_refused(&header, SEGMENT_BYTES, SEALS, WEFT_PROTOCOL_ERROR);
    header = honest_header(), header.peer = 1;
    greeting_is_refused(&header, SEGMENT_BYTES, SEALS, WEFT_PROTOCOL_ERROR);
}

static void memory_of_another_size_is_refused(void **state)
{
    struct shm_header header = honest_header();

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
    const struct shm_header header = honest_header();

    (void)state;
    greeting_is_refused(&header, SEGMENT_BYTES, 0, WEFT_PROTOCOL_ERROR);
    greeting_is_refused(&header, SEGMENT_BYTES, F_SEAL_GROW, WEFT_PROTOCOL_ERROR);
    greeting_is_refused(&header, SEGMENT_BYTES, F_SEAL_SHRINK, WEFT_PROTOCOL_ERROR);
}

static void memory_that_cannot_be_written_is_refused(void **state)
{
    const struct shm_header header = honest_header();
    struct stage stage;
    char path[64];

    (void)state;
    greeting_is_refused(&header, SEGMENT_BYTES, SEALS | F_SEAL_WRITE, WEFT_PROTOCOL_ERROR);
    greeting_is_refused(&header, SEGMENT_BYTES, SEALS | F_SEAL_FUTURE_WRITE, WEFT_PROTOCOL_ERROR);
    stage_open(&stage);
    const int memory = memory_make(&header, SEGMENT_BYTES, SEALS);
    snprintf(path, sizeof path, "/proc/self/fd/%d", memory);
    const int read_only = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(read_only >= 0);
    close(memory);
    greeting_send(&stage, &header, sizeof header, &read_only, 1);
    expect_refusal(&stage, WEFT_PROTOCOL_ERROR);
    stage_close(&stage);
}

static void what_is_no_memory_is_refused(void **state)
{
    const struct shm_header header = honest_header();

    (void)state;
    for (int kind = 0; kind < 3; kind++) {
        struct stage stage;
        int fds[2] = {-1, -1};
        stage_open(&stage);
        if (kind == 0) fds[0] = eventfd(0, EFD_CLOEXEC);
        if (kind == 1) fds[0] = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
        if (kind == 2) fds[0] = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(fds[0] >= 0);
        greeting_send(&stage, &header, sizeof header, fds, 1);
        expect_refusal(&stage, WEFT_PROTOCOL_ERROR);
        stage_close(&stage);
    }
}

static void another_header_in_the_memory_is_refused(void **state)
{
    const struct shm_header header = honest_header();
    struct shm_header other = header;
    struct stage stage;

    (void)state;
    other.granted_bytes++;
    stage_open(&stage);
    const int memory = memory_make(&other, SEGMENT_BYTES, SEALS);
    greeting_send(&stage, &header, sizeof header, &memory, 1);
    expect_refusal(&stage, WEFT_PROTOCOL_ERROR);
    stage_close(&stage);
}

static void no_segment_or_too_many_are_refused(void **state)
{
    const struct shm_header header = honest_header();
    static const size_t counts[] = {0, 2, 4, 8};

    (void)state;
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        struct stage stage;
        int memory[8];
        stage_open(&stage);
        for (size_t k = 0; k < counts[i]; k++) memory[k] = memory_make(&header, SEGMENT_BYTES, SEALS);
        greeting_send(&stage, &header, sizeof header, memory, counts[i]);
        expect_refusal(&stage, WEFT_PROTOCOL_ERROR);
        stage_close(&stage);
    }
}

static void a_peer_that_leaves_while_connecting_has_failed(void **state)
{
    const struct shm_header header = honest_header();

    (void)state;
    for (size_t bytes = 0; bytes <= sizeof header; bytes += 8) {
        struct stage stage;
        stage_open(&stage);
        if (bytes) {
            const int memory = memory_make(&header, SEGMENT_BYTES, SEALS);
            greeting_send(&stage, &header, bytes, &memory, 1);
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
    const size_t before = descriptor_count();

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
    assert_int_equal(descriptor_count(), before);
}

/* Take the victim's greeting, as an honest peer would, and map both segments. */
static void liar_connect(struct stage *stage, bool in_pieces)
{
    const struct shm_header header = honest_header();
    alignas(struct cmsghdr) uint8_t control[256];
    uint8_t greeting[sizeof header];
    struct iovec part = {greeting, sizeof greeting};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    int memory = memory_make(&header, SEGMENT_BYTES, SEALS), victims = -1;

    stage->own = mmap(NULL, SEGMENT_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
    assert_ptr_not_equal(stage->own, MAP_FAILED);
    assert_int_equal(recvmsg(stage->liar, &message, MSG_CMSG_CLOEXEC), sizeof greeting);
    for (struct cmsghdr *rights = CMSG_FIRSTHDR(&message); rights; rights = CMSG_NXTHDR(&message, rights)) {
        if (rights->cmsg_type == SCM_RIGHTS) memcpy(&victims, CMSG_DATA(rights), sizeof victims);
    }
    stage->victims = mmap(NULL, SEGMENT_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, victims, 0);
    assert_ptr_not_equal(stage->victims, MAP_FAILED);
    close(victims);
    if (in_pieces) {
        greeting_send(stage, &header, 1, &memory, 1);
        for (size_t i = 1; i < sizeof header; i++) {
            assert_int_equal(connection_advance(stage->connection, 0), WEFT_IN_PROGRESS);
            assert_int_equal(send(stage->liar, (const uint8_t *)&header + i, 1, 0), 1);
        }
    } else {
        greeting_send(stage, &header, sizeof header, &memory, 1);
    }
    assert_int_equal(connection_advance(stage->connection, 0), WEFT_IN_PROGRESS);
    assert_int_equal(send(stage->liar, "r", 1, 0), 1);
    assert_int_equal(connection_advance(stage->connection, 0), WEFT_OK);
}

/* Exactly one EVENT_FAILED with that status comes, and nothing after it. */
static void expect_failure(struct stage *stage, weft_status expected)
{
    struct event event;
    uint64_t now_ns = 0;

    for (int polls = 0; polls < 10; polls++) {
        now_ns += 10000000; /* enough to look at the sockets */
        if (!endpoint_poll(stage->victim, &event, 1, now_ns)) continue;
        if (event.kind == EVENT_FAILED) break;
    }
    assert_true(event.kind == EVENT_FAILED && event.peer == 1);
    assert_int_equal(event.status, expected);
    assert_int_equal(connection_put(stage->connection, &(struct put){.flags = PUT_NOTIFY}, 1), 0);
    for (int polls = 0; polls < 10; polls++)
        assert_int_equal(endpoint_poll(stage->victim, &event, 1, now_ns += 10000000), 0);
}

static void a_greeting_may_come_in_pieces(void **state)
{
    struct stage stage;

    (void)state;
    stage_open(&stage);
    liar_connect(&stage, true);
    stage_close(&stage);
}

static void anything_but_ready_is_refused(void **state)
{
    const struct shm_header header = honest_header();
    struct stage stage;

    (void)state;
    stage_open(&stage);
    const int memory = memory_make(&header, SEGMENT_BYTES, SEALS);
    greeting_send(&stage, &header, sizeof header, &memory, 1);
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
        liar_connect(&stage, false);
        /* One good one, which is delivered; then another that is not the next. */
        atomic_store(&stage.victims->ring[0], (uint64_t)1 << 32 | 5);
        assert_int_equal(endpoint_poll(stage.victim, &event, 1, 0), 1);
        assert_true(event.kind == EVENT_ARRIVED && event.peer == 1 && event.tag == 5);
        atomic_store(&stage.victims->ring[1], (uint64_t)sequences[i] << 32 | 1);
        expect_failure(&stage, WEFT_PROTOCOL_ERROR);
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
        liar_connect(&stage, false);
        for (uint32_t k = 0; k < SHM_RING_ENTRIES; k++) assert_int_equal(connection_put(stage.connection, &put, 1), 1);
        atomic_store(&stage.own->consumed, told[i]);
        assert_int_equal(connection_put(stage.connection, &put, 1), 0);
        expect_failure(&stage, WEFT_PROTOCOL_ERROR);
        stage_close(&stage);
    }
}

static void progress_that_goes_back_fails_the_connection(void **state)
{
    const struct put put = {.flags = PUT_NOTIFY};
    struct stage stage;

    (void)state;
    stage_open(&stage);
    liar_connect(&stage, false);
    for (uint32_t k = 0; k < SHM_RING_ENTRIES; k++) assert_int_equal(connection_put(stage.connection, &put, 1), 1);
    atomic_store(&stage.own->consumed, 2);
    for (uint32_t k = 0; k < 2; k++) assert_int_equal(connection_put(stage.connection, &put, 1), 1);
    atomic_store(&stage.own->consumed, 1);
    assert_int_equal(connection_put(stage.connection, &put, 1), 0);
    expect_failure(&stage, WEFT_PROTOCOL_ERROR);
    stage_close(&stage);
}

static void a_message_that_is_none_fails_the_connection(void **state)
{
    static const char messages[] = {'x', 0, (char)0xff, SHM_READY, SHM_QUIET /* not asked for */};

    (void)state;
    for (size_t i = 0; i < sizeof messages; i++) {
        struct stage stage;
        stage_open(&stage);
        liar_connect(&stage, false);
        assert_int_equal(send(stage.liar, &messages[i], 1, 0), 1);
        expect_failure(&stage, WEFT_PROTOCOL_ERROR);
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
    liar_connect(&stage, false);
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
