/* SPDX-License-Identifier: Apache-2.0 */
/* What two sides say to each other of shared memory: peers that lie about it, and sockets that are full. */
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/transport/shm_stage.h"

#define SHARE_BYTES 8192u
#define ADDRESS UINT64_C(0x7000000000) /* where the liar says that it has it */

/* Sealed memory whose bytes are their offsets, as far as they fit. */
static int memory_of(size_t bytes, int seals)
{
    const int memory = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    assert_true(memory >= 0);
    assert_int_equal(ftruncate(memory, (off_t)bytes), 0);
    for (uint32_t at = 0; at + 4 <= bytes; at += 4) assert_int_equal(pwrite(memory, &at, sizeof at, at), sizeof at);
    if (seals) assert_int_equal(fcntl(memory, F_ADD_SEALS, seals), 0);
    return memory;
}

static struct shm_message share_of(uint64_t number)
{
    return (struct shm_message){.kind = SHM_SHARE, .share = number, .address = ADDRESS, .bytes = SHARE_BYTES};
}

static void say(const struct stage *stage, const struct shm_message *message, const int *memory, size_t count)
{
    uint8_t wire[SHM_MESSAGE_MAX_BYTES];

    stage_send(stage, wire, shm_message_encode(message, wire), memory, count);
}

static uint32_t *borrow(const struct stage *stage, uint64_t number, uint64_t offset, size_t bytes)
{
    return connection_borrow(stage->connection, &(struct loan){ADDRESS + offset, number}, bytes);
}

static void a_share_is_mapped_when_first_borrowed_of(void **state)
{
    struct shm_message message = share_of(5);
    struct stage stage;
    uint32_t value = 7;

    (void)state;
    stage_open(&stage);
    stage_connect(&stage, false, SHM_READY);
    assert_null(borrow(&stage, 5, 0, 4));
    /* Nobody polls between the telling and the borrowing. It begins in the middle of a page. */
    const int memory = memory_of(3 * SHARE_BYTES, F_SEAL_SHRINK);
    message.offset = 5000;
    say(&stage, &message, &memory, 1);
    const uint32_t *here = borrow(&stage, 5, 100, 4);
    assert_non_null(here);
    assert_int_equal(*here, 5100);
    assert_ptr_equal(borrow(&stage, 5, 100, SHARE_BYTES - 100), here);
    assert_null(borrow(&stage, 5, 100, SHARE_BYTES - 99));
    assert_null(borrow(&stage, 5, SHARE_BYTES + 1, 0));
    assert_null(borrow(&stage, 5, (uint64_t)-1, 2));
    assert_null(borrow(&stage, 5 + SHM_SHARES, 0, 4));
    const struct loan loan = {ADDRESS, 5};
    assert_int_equal(connection_read(stage.connection, &loan, 8, &value, 4), WEFT_OK);
    assert_int_equal(value, 5008);
    assert_int_equal(connection_read(stage.connection, &loan, SHARE_BYTES - 3, &value, 4), WEFT_PROTOCOL_ERROR);
    assert_int_equal(connection_write(stage.connection, &loan, UINT64_MAX, &value, 4), WEFT_PROTOCOL_ERROR);
    /* Its own memory is out of reach: it said nothing of a probe. */
    assert_int_equal(connection_read(stage.connection, &(struct loan){ADDRESS, 0}, 0, &value, 4), WEFT_UNSUPPORTED);
    stage_close(&stage);
}

static void a_share_that_has_ended_is_unmapped(void **state)
{
    const struct shm_message ended = {.kind = SHM_UNSHARE, .share = 5};
    struct stage stage;
    struct event event;

    (void)state;
    stage_open(&stage);
    stage_connect(&stage, false, SHM_READY);
    for (uint64_t number = 5; number < 5 + 3 * SHM_SHARES; number += SHM_SHARES) { /* in one slot, one after another */
        const struct shm_message message = share_of(number);
        const int memory = memory_of(SHARE_BYTES, F_SEAL_SHRINK);
        say(&stage, &message, &memory, 1);
        assert_non_null(borrow(&stage, number, 0, 4));
        struct shm_message end = ended;
        end.share = number;
        say(&stage, &end, NULL, 0);
        assert_int_equal(endpoint_poll(stage.victim, &event, 1, number * 10000000), 0);
        assert_null(borrow(&stage, number, 0, 4));
    }
    stage_close(&stage);
}

static void a_message_may_come_in_pieces(void **state)
{
    const struct shm_message message = share_of(1);
    uint8_t wire[SHM_MESSAGE_MAX_BYTES];
    struct stage stage;

    (void)state;
    stage_open(&stage);
    stage_connect(&stage, false, SHM_READY);
    const size_t size = shm_message_encode(&message, wire);
    for (size_t i = 0; i < size; i++) {
        const int memory = i == 0 ? memory_of(SHARE_BYTES, F_SEAL_SHRINK) : -1;
        assert_null(borrow(&stage, 1, 0, 4));
        stage_send(&stage, wire + i, 1, &memory, i == 0);
    }
    assert_non_null(borrow(&stage, 1, 0, 4));
    stage_close(&stage);
}

static void a_message_cut_off_by_the_end_leaves_nothing(void **state)
{
    const struct shm_message message = share_of(1);
    uint8_t wire[SHM_MESSAGE_MAX_BYTES];
    struct stage stage;

    (void)state;
    for (size_t size = 1; size < SHM_MESSAGE_MAX_BYTES; size += 8) {
        stage_open(&stage);
        stage_connect(&stage, false, SHM_READY);
        (void)shm_message_encode(&message, wire);
        const int memory = memory_of(SHARE_BYTES, F_SEAL_SHRINK);
        stage_send(&stage, wire, size, &memory, 1);
        assert_null(borrow(&stage, 1, 0, 4));
        close(stage.liar);
        stage.liar = -1;
        stage_expect_failure(&stage, WEFT_PEER_FAILED);
        stage_close(&stage);
    }
}

static void expect_refusal(const struct shm_message *message, const int *memory, size_t count)
{
    struct stage stage;

    stage_open(&stage);
    stage.descriptors -= count; /* which are closed now */
    stage_connect(&stage, false, SHM_READY);
    say(&stage, message, memory, count);
    assert_null(connection_borrow(stage.connection, &(struct loan){message->address, message->share}, 1));
    stage_expect_failure(&stage, WEFT_PROTOCOL_ERROR);
    stage_close(&stage);
}

static void memory_refused(const struct shm_message *message, int memory)
{
    expect_refusal(message, &memory, 1);
}

static void memory_that_may_not_be_what_it_is_said_to_be_is_refused(void **state)
{
    struct shm_message message = share_of(1);

    (void)state;
    memory_refused(&message, memory_of(SHARE_BYTES, 0));
    memory_refused(&message, memory_of(SHARE_BYTES, F_SEAL_GROW));
    memory_refused(&message, memory_of(SHARE_BYTES, F_SEAL_SHRINK | F_SEAL_WRITE));
    memory_refused(&message, memory_of(SHARE_BYTES, F_SEAL_SHRINK | F_SEAL_FUTURE_WRITE));
    memory_refused(&message, memory_of(SHARE_BYTES - 1, F_SEAL_SHRINK));
    memory_refused(&message, eventfd(0, EFD_CLOEXEC));
    memory_refused(&message, open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
    message.offset = 1;
    memory_refused(&message, memory_of(SHARE_BYTES, F_SEAL_SHRINK));
    static const uint64_t impossible[] = {0, UINT64_MAX, (uint64_t)1 << 63, UINT64_MAX - 4095};
    for (size_t i = 0; i < sizeof impossible / sizeof impossible[0]; i++) {
        if (impossible[i]) {
            message = share_of(1), message.offset = impossible[i];
            memory_refused(&message, memory_of(SHARE_BYTES, F_SEAL_SHRINK));
            message = share_of(1), message.address = impossible[i] | (uint64_t)1 << 63;
            message.bytes = (uint64_t)1 << 63;
            memory_refused(&message, memory_of(SHARE_BYTES, F_SEAL_SHRINK));
        }
        message = share_of(1), message.bytes = impossible[i];
        memory_refused(&message, memory_of(SHARE_BYTES, F_SEAL_SHRINK));
    }
    message = share_of(0);
    memory_refused(&message, memory_of(SHARE_BYTES, F_SEAL_SHRINK));
}

static void a_share_with_no_memory_or_too_much_is_refused(void **state)
{
    const struct shm_message message = share_of(1), wake = {.kind = SHM_WAKE};
    int memory[8];

    (void)state;
    expect_refusal(&message, NULL, 0);
    for (size_t count = 2; count <= 8; count *= 2) {
        for (size_t i = 0; i < count; i++) memory[i] = memory_of(SHARE_BYTES, F_SEAL_SHRINK);
        expect_refusal(&message, memory, count);
    }
    memory_refused(&wake, memory_of(SHARE_BYTES, F_SEAL_SHRINK));
}

static void a_number_that_is_taken_is_refused(void **state)
{
    (void)state;
    for (uint64_t again = 5; again <= 5 + SHM_SHARES; again += SHM_SHARES) { /* the same, and another of its slot */
        const struct shm_message first = share_of(5), second = share_of(again);
        struct stage stage;
        stage_open(&stage);
        stage_connect(&stage, false, SHM_READY);
        int memory = memory_of(SHARE_BYTES, F_SEAL_SHRINK);
        say(&stage, &first, &memory, 1);
        assert_non_null(borrow(&stage, 5, 0, 1));
        memory = memory_of(SHARE_BYTES, F_SEAL_SHRINK);
        say(&stage, &second, &memory, 1);
        stage_expect_failure(&stage, WEFT_PROTOCOL_ERROR);
        stage_close(&stage);
    }
}

static void the_end_of_a_share_that_is_none_is_refused(void **state)
{
    static const uint64_t numbers[] = {0, 1, SHM_SHARES, UINT64_MAX};

    (void)state;
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        expect_refusal(&(struct shm_message){.kind = SHM_UNSHARE, .share = numbers[i]}, NULL, 0);
}

/* ---- The victim as lender ---- */

/* Take what the victim has said, and its descriptor. */
static bool hear(const struct stage *stage, struct shm_message *message, int *memory)
{
    alignas(struct cmsghdr) uint8_t control[SHM_CONTROL_BYTES];
    uint8_t wire[SHM_MESSAGE_MAX_BYTES];
    const uint8_t *at = wire;
    struct iovec part = {wire, 1};
    struct msghdr received = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    struct shm_message_reader reader = {.count = 0};
    pid_t process;

    *memory = -1;
    for (;;) {
        received.msg_controllen = sizeof control;
        if (recvmsg(stage->liar, &received, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) != 1) return false;
        assert_true(shm_control_take(&received, memory, &process));
        size_t bytes = 1;
        at = wire;
        if (shm_message_decode(&reader, &at, &bytes, message)) return true;
    }
}

static void a_share_is_told_once_and_its_end_once(void **state)
{
    struct stage stage;
    struct shm_message message;
    struct loan loan, second;
    struct event event;
    void *share;
    int memory;

    (void)state;
    stage_open(&stage);
    stage_connect(&stage, false, SHM_READY);
    const int shared = memory_of(SHARE_BYTES, F_SEAL_SHRINK);
    stage.descriptors++;
    uint8_t *address = mmap(NULL, SHARE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, shared, 0);
    assert_true(hear(&stage, &message, &memory) && message.kind == SHM_READY);
    assert_false(connection_lend(stage.connection, address, 1, &loan)); /* the liar cannot copy */
    assert_int_equal(endpoint_memory_share(stage.victim, address, SHARE_BYTES, shared, 0, &share, NULL), WEFT_OK);
    assert_false(hear(&stage, &message, &memory)); /* nothing is told before something is lent */

    for (uint32_t i = 0; i < 3; i++) {
        assert_true(connection_lend(stage.connection, address + 10, SHARE_BYTES - 10, &loan));
        assert_int_equal(loan.address, (uintptr_t)address + 10);
        assert_true(loan.share > 0);
    }
    assert_false(connection_lend(stage.connection, address + 10, SHARE_BYTES - 9, &loan));
    assert_false(connection_lend(stage.connection, address - 1, 2, &loan));
    assert_true(hear(&stage, &message, &memory));
    assert_true(message.kind == SHM_SHARE && message.share == loan.share && message.bytes == SHARE_BYTES);
    assert_true(memory >= 0);
    close(memory);
    assert_false(hear(&stage, &message, &memory));

    endpoint_memory_unshare(stage.victim, share);
    assert_false(connection_lend(stage.connection, address, 1, &second));
    assert_true(hear(&stage, &message, &memory));
    assert_true(message.kind == SHM_UNSHARE && message.share == loan.share);
    assert_int_equal(endpoint_poll(stage.victim, &event, 1, 10000000), 0);
    assert_false(hear(&stage, &message, &memory));
    /* The same memory again is another share. */
    assert_int_equal(endpoint_memory_share(stage.victim, address, SHARE_BYTES, shared, 0, &share, NULL), WEFT_OK);
    assert_true(connection_lend(stage.connection, address, 1, &second));
    assert_true(second.share > loan.share);
    munmap(address, SHARE_BYTES);
    close(shared);
    stage.descriptors--;
    stage_close(&stage);
}

static void a_full_socket_only_puts_off_what_is_told(void **state)
{
    struct stage stage;
    struct shm_message message;
    struct loan loan;
    struct event event;
    void *first, *second;
    int memory;
    uint32_t sleeps = 0;

    (void)state;
    stage_open(&stage);
    stage_connect(&stage, false, SHM_READY_COPYING);
    const int shared = memory_of(2 * SHARE_BYTES, F_SEAL_SHRINK);
    stage.descriptors++;
    uint8_t *address = mmap(NULL, 2 * SHARE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, shared, 0);
    assert_int_equal(endpoint_memory_share(stage.victim, address, SHARE_BYTES, shared, 0, &first, NULL), WEFT_OK);
    assert_true(connection_lend(stage.connection, address, 1, &loan) && loan.share);
    /* Wake-ups fill it. */
    do {
        atomic_store(&stage.own->sleeping, 1);
        connection_wake(stage.connection);
    } while (++sleeps < 100000);
    endpoint_memory_unshare(stage.victim, first);
    assert_int_equal(endpoint_memory_share(stage.victim, address, SHARE_BYTES, shared, 0, &first, NULL), WEFT_OK);
    assert_int_equal(
        endpoint_memory_share(stage.victim, address + SHARE_BYTES, SHARE_BYTES, shared, SHARE_BYTES, &second, NULL),
        WEFT_OK);
    /* As any other memory, which the liar says it can copy. */
    assert_true(connection_lend(stage.connection, address, 1, &loan) && loan.share == 0);
    assert_true(connection_lend(stage.connection, address + SHARE_BYTES, 1, &loan) && loan.share == 0);
    assert_int_equal(endpoint_poll(stage.victim, &event, 1, 10000000), 0);

    uint32_t ends = 0, shares = 0;
    while (hear(&stage, &message, &memory)) {
        shares += message.kind == SHM_SHARE;
        if (memory >= 0) close(memory);
    }
    assert_int_equal(shares, 1);
    assert_true(connection_lend(stage.connection, address, 1, &loan) && loan.share);
    assert_true(connection_lend(stage.connection, address + SHARE_BYTES, 1, &loan) && loan.share);
    for (shares = 0; hear(&stage, &message, &memory);) {
        ends += message.kind == SHM_UNSHARE;
        shares += message.kind == SHM_SHARE;
        assert_true(message.kind == SHM_UNSHARE || ends == 1); /* the end comes before what takes its place */
        if (memory >= 0) close(memory);
    }
    assert_true(ends == 1 && shares == 2);
    munmap(address, 2 * SHARE_BYTES);
    close(shared);
    stage.descriptors--;
    stage_close(&stage);
}

static void what_overlaps_or_is_too_much_is_not_shared(void **state)
{
    struct shm_config config = {.rank_count = 2};
    struct endpoint *endpoint;
    struct pairs pairs;
    struct diagnostic diagnostic;
    void *shares[SHM_SHARES], *more = NULL;
    const size_t step = 2;

    (void)state;
    pairs_init(&pairs);
    assert_int_equal(shm_endpoint_create(&config, pairs_rendezvous(&pairs, 0), &endpoint, NULL), WEFT_OK);
    const int shared = memory_of(SHARE_BYTES, F_SEAL_SHRINK);
    uint8_t *address = mmap(NULL, SHARE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, shared, 0);
    /* Each of four bytes: one in three, from the middle outwards, so that they come in no order. */
    assert_int_equal(endpoint_memory_share(endpoint, address + 8, 4, shared, 8, &shares[0], NULL), WEFT_OK);
    static const struct {
        size_t at, bytes;
    } overlaps[] = {{8, 4}, {5, 4}, {11, 1}, {9, 2}, {0, 100}, {0, 9}};
    for (size_t i = 0; i < sizeof overlaps / sizeof overlaps[0]; i++) {
        assert_int_equal(
            endpoint_memory_share(endpoint, address + overlaps[i].at, overlaps[i].bytes, shared, 0, &more, &diagnostic),
            WEFT_UNSUPPORTED);
        assert_non_null(strstr(diagnostic.text, "overlaps"));
    }
    endpoint_memory_unshare(endpoint, shares[0]);
    for (size_t i = 0; i < SHM_SHARES; i++) {
        const size_t at = (i % 2 ? SHM_SHARES - i : i) * step;
        assert_int_equal(endpoint_memory_share(endpoint, address + at, step, shared, at, &shares[i], NULL), WEFT_OK);
    }
    assert_int_equal(endpoint_memory_share(endpoint, address + SHARE_BYTES - 8, 8, shared, 0, &more, &diagnostic),
                     WEFT_UNSUPPORTED);
    assert_null(more);
    for (size_t i = 0; i < SHM_SHARES; i++) endpoint_memory_unshare(endpoint, shares[i]);
    munmap(address, SHARE_BYTES);
    close(shared);
    endpoint_destroy(endpoint);
}

/* ---- Threads ---- */

struct sharer {
    struct endpoint *endpoint;
    uint8_t *address;
    int memory;
};

static void *share_again_and_again(void *argument)
{
    struct sharer *sharer = argument;
    void *shares[2];

    for (uint32_t i = 0; i < 300; i++) {
        for (size_t k = 0; k < 2; k++) {
            if (endpoint_memory_share(sharer->endpoint, sharer->address + k * 4096, 4096, sharer->memory, k * 4096,
                                      &shares[k], NULL))
                return argument;
        }
        for (size_t k = 0; k < 2; k++) endpoint_memory_unshare(sharer->endpoint, shares[k]);
    }
    return NULL;
}

/* What another thread shares and unshares meanwhile is lent too, though nobody uses those loans. */
static void any_thread_shares_while_the_endpoint_lends(void **state)
{
    struct stage stage;
    struct loan loan;
    struct event event;
    void *share, *failed;
    pthread_t thread;

    (void)state;
    stage_open(&stage);
    const int memory = memory_of(3 * 4096, F_SEAL_SHRINK);
    stage.descriptors++;
    uint8_t *address = mmap(NULL, 3 * (size_t)4096, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
    assert_int_equal(endpoint_memory_share(stage.victim, address + 8192, 4096, memory, 8192, &share, NULL), WEFT_OK);
    struct sharer sharer = {stage.victim, address, memory};
    assert_int_equal(pthread_create(&thread, NULL, share_again_and_again, &sharer), 0);
    for (uint32_t i = 0; i < 3000; i++) {
        (void)connection_lend(stage.to_honest, address + i % 2 * 4096, 4096, &loan);
        assert_true(connection_lend(stage.to_honest, address + 8192, 4096, &loan) && loan.share);
        const uint32_t *here = connection_borrow(stage.from_honest, &loan, 4096);
        assert_true(here && *here == 8192);
        assert_int_equal(endpoint_poll(stage.victim, &event, 1, i * 10000000ull), 0);
        assert_int_equal(endpoint_poll(stage.honest, &event, 1, i * 10000000ull), 0);
    }
    pthread_join(thread, &failed);
    assert_null(failed);
    endpoint_memory_unshare(stage.victim, share);
    munmap(address, 3 * (size_t)4096);
    close(memory);
    stage.descriptors--;
    stage_close(&stage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_share_is_mapped_when_first_borrowed_of),
        cmocka_unit_test(a_share_that_has_ended_is_unmapped),
        cmocka_unit_test(a_message_may_come_in_pieces),
        cmocka_unit_test(a_message_cut_off_by_the_end_leaves_nothing),
        cmocka_unit_test(memory_that_may_not_be_what_it_is_said_to_be_is_refused),
        cmocka_unit_test(a_share_with_no_memory_or_too_much_is_refused),
        cmocka_unit_test(a_number_that_is_taken_is_refused),
        cmocka_unit_test(the_end_of_a_share_that_is_none_is_refused),
        cmocka_unit_test(a_share_is_told_once_and_its_end_once),
        cmocka_unit_test(a_full_socket_only_puts_off_what_is_told),
        cmocka_unit_test(what_overlaps_or_is_too_much_is_not_shared),
        cmocka_unit_test(any_thread_shares_while_the_endpoint_lends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
