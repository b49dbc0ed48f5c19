/* SPDX-License-Identifier: Apache-2.0 */
/* Processes that lend each other memory of every kind, and a lender that dies. Rank 0 lends, rank 1 borrows. */
#include <fcntl.h>
#include <linux/capability.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "tests/transport/pairs.h"
#include "transport/core/conformance.h"
#include "transport/shm/shm.h"

#define BYTES ((size_t)3 << 20) /* more than the kernel does at a time */
#define LEFT_OUT 77             /* exit code: the kernel does not let us */

/* One side of a pair of processes, and a socket over which they tell each other what they need to know. */
struct side {
    struct pairs pairs;
    struct endpoint *endpoint;
    struct connection *connection;
    int other;
};

/* What a process that finds something else does. cmocka's asserts would jump into the parent's test. */
#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            print_message("process %d, line %d: not so: %s\n", getpid(), __LINE__, #condition);                        \
            _exit(1);                                                                                                  \
        }                                                                                                              \
    } while (0)

static void side_open(struct side *side, uint32_t rank, enum shm_attach attach)
{
    const struct shm_config config = {.rank = rank, .rank_count = 2, .attach = attach};
    struct connection *connections[2];

    pairs_keep(&side->pairs, rank);
    CHECK(shm_endpoint_create(&config, pairs_rendezvous(&side->pairs, rank), &side->endpoint, NULL) == WEFT_OK);
    CHECK(pairs_connect_all(side->endpoint, 4096, connections) == WEFT_OK);
    side->connection = connections[1 - rank];
}

static void tell(const struct side *side, const void *what, size_t bytes)
{
    CHECK(write(side->other, what, bytes) == (ssize_t)bytes);
}

static void hear(const struct side *side, void *what, size_t bytes)
{
    CHECK(read(side->other, what, bytes) == (ssize_t)bytes);
}

/* Nobody may look into this process, and it has no right to look into others that are so. */
static void seclude(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    const struct __user_cap_data_struct none[2] = {{0}};

    CHECK(syscall(SYS_capset, &header, none) == 0);
    CHECK(prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0);
}

static bool secluded; /* both, before they connect */

/* Run the two; the worse of their exit codes. A lender that kills itself does not count. */
static int run(void (*lender)(struct side *), void (*borrower)(struct side *), enum shm_attach attach)
{
    struct side side;
    int ends[2], worst = 0;
    pid_t processes[2];

    pairs_init(&side.pairs);
    pairs_fill(&side.pairs, 2);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    for (uint32_t rank = 0; rank < 2; rank++) {
        processes[rank] = fork();
        assert_true(processes[rank] >= 0);
        if (processes[rank]) continue;
        close(ends[1 - rank]);
        side.other = ends[rank];
        if (secluded) seclude();
        side_open(&side, rank, attach);
        (rank ? borrower : lender)(&side);
        connection_disconnect(side.connection);
        endpoint_destroy(side.endpoint);
        _exit(0);
    }
    pairs_close(&side.pairs);
    close(ends[0]);
    close(ends[1]);
    for (uint32_t rank = 0; rank < 2; rank++) {
        int status;
        assert_int_equal(waitpid(processes[rank], &status, 0), processes[rank]);
        const int code = WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status) == SIGKILL ? 0 : 1;
        if (code == 1 || worst == 0) worst = code;
    }
    return worst;
}

static void run_where_the_kernel_copies(void (*lender)(struct side *), void (*borrower)(struct side *))
{
    const int code = run(lender, borrower, SHM_ATTACH_PERMIT);

    if (code == LEFT_OUT) {
        print_message("needs process_vm_readv, which this kernel or container refuses\n");
        skip();
    }
    assert_int_equal(code, 0);
}

static uint8_t pattern(size_t at)
{
    return (uint8_t)(at * 7 + (at >> 8));
}

static uint8_t inverse(size_t at)
{
    return (uint8_t)(255 - pattern(at));
}

/* Lend what is there, wait until the other side is done, and look at what it has written: its inverse. */
static void lend_and_check(struct side *side, uint8_t *memory, bool shared)
{
    struct loan loan;
    char done;

    for (size_t i = 0; i < BYTES; i++) memory[i] = pattern(i);
    if (!connection_lend(side->connection, memory, BYTES, &loan)) _exit(LEFT_OUT);
    CHECK(shared == (loan.share != 0));
    tell(side, &loan, sizeof loan);
    hear(side, &done, 1);
    for (size_t i = 0; i < BYTES; i++) CHECK(memory[i] == inverse(i));
}

static void lend_own(struct side *side)
{
    uint8_t *memory = malloc(BYTES);

    CHECK(memory);
    lend_and_check(side, memory, false);
    free(memory);
}

static void lend_shared(struct side *side)
{
    const int descriptor = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    void *share;

    CHECK(descriptor >= 0 && ftruncate(descriptor, BYTES) == 0);
    CHECK(fcntl(descriptor, F_ADD_SEALS, F_SEAL_SHRINK) == 0);
    uint8_t *memory = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    CHECK(memory != MAP_FAILED);
    CHECK(endpoint_memory_share(side->endpoint, memory, BYTES, descriptor, 0, &share, NULL) == WEFT_OK);
    close(descriptor);
    lend_and_check(side, memory, true);
    endpoint_memory_unshare(side->endpoint, share);
    munmap(memory, BYTES);
}

/* A lender that is done before it has lent anything says nothing. */
static void loan_hear(struct side *side, struct loan *loan)
{
    if (read(side->other, loan, sizeof *loan) != (ssize_t)sizeof *loan) _exit(LEFT_OUT);
}

static void copy_it(struct side *side)
{
    uint8_t *copy = malloc(BYTES), byte;
    struct loan loan;

    CHECK(copy);
    loan_hear(side, &loan);
    CHECK(connection_borrow(side->connection, &loan, BYTES) == NULL);
    CHECK(connection_read(side->connection, &loan, 0, copy, BYTES) == WEFT_OK);
    for (size_t i = 0; i < BYTES; i++) CHECK(copy[i] == pattern(i));
    CHECK(connection_read(side->connection, &loan, BYTES - 1, &byte, 1) == WEFT_OK && byte == pattern(BYTES - 1));
    for (size_t i = 0; i < BYTES; i++) copy[i] = inverse(i);
    CHECK(connection_write(side->connection, &loan, 100, copy + 100, BYTES - 100) == WEFT_OK);
    CHECK(connection_write(side->connection, &loan, 0, copy, 100) == WEFT_OK);
    tell(side, "", 1);
    free(copy);
}

static void map_it(struct side *side)
{
    struct loan loan;

    loan_hear(side, &loan);
    uint8_t *here = connection_borrow(side->connection, &loan, BYTES);
    CHECK(here);
    for (size_t i = 0; i < BYTES; i++) {
        CHECK(here[i] == pattern(i));
        here[i] = inverse(i);
    }
    tell(side, "", 1);
}

static void memory_of_another_process_is_copied(void **state)
{
    (void)state;
    run_where_the_kernel_copies(lend_own, copy_it);
}

static void shared_memory_is_mapped_by_another_process(void **state)
{
    (void)state;
    assert_int_equal(run(lend_shared, map_it, SHM_ATTACH_AUTO), 0);
    assert_int_equal(run(lend_shared, map_it, SHM_ATTACH_OFF), 0);
}

static void where_it_is_off_nothing_is_copied(void **state)
{
    (void)state;
    assert_int_equal(run(lend_own, copy_it, SHM_ATTACH_OFF), LEFT_OUT);
}

static void lend_a_hole(struct side *side)
{
    uint8_t *memory = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct loan loan;
    char done;

    CHECK(memory != MAP_FAILED && munmap(memory + 4096, 4096) == 0);
    if (!connection_lend(side->connection, memory, 8192, &loan)) _exit(LEFT_OUT);
    tell(side, &loan, sizeof loan);
    hear(side, &done, 1);
}

static void fall_into_it(struct side *side)
{
    uint8_t copy[8192];
    struct loan loan;
    struct event event;

    loan_hear(side, &loan);
    CHECK(connection_read(side->connection, &loan, 0, copy, 4096) == WEFT_OK);
    CHECK(connection_read(side->connection, &loan, 0, copy, 8192) == WEFT_PROTOCOL_ERROR);
    CHECK(connection_read(side->connection, &loan, 4096, copy, 1) == WEFT_PROTOCOL_ERROR);
    CHECK(connection_write(side->connection, &loan, 4095, copy, 2) == WEFT_PROTOCOL_ERROR);
    loan.address = UINT64_MAX - 4096;
    CHECK(connection_read(side->connection, &loan, 0, copy, 4096) == WEFT_PROTOCOL_ERROR);
    CHECK(connection_read(side->connection, &loan, 0, copy, 8192) == WEFT_PROTOCOL_ERROR);
    CHECK(endpoint_poll(side->endpoint, &event, 1, clock_now_ns()) == 0); /* it is for the user to end it */
    tell(side, "", 1);
}

static void a_loan_of_what_is_not_there_fails(void **state)
{
    (void)state;
    run_where_the_kernel_copies(lend_a_hole, fall_into_it);
}

static void lend_and_seclude(struct side *side)
{
    static uint8_t memory[64];
    struct loan loan;
    char done;

    if (!connection_lend(side->connection, memory, sizeof memory, &loan)) _exit(LEFT_OUT);
    seclude();
    tell(side, &loan, sizeof loan);
    hear(side, &done, 1);
}

static void be_kept_out(struct side *side)
{
    uint8_t copy[64];
    struct loan loan;

    seclude();
    loan_hear(side, &loan);
    CHECK(connection_read(side->connection, &loan, 0, copy, sizeof copy) == WEFT_UNSUPPORTED);
    CHECK(connection_write(side->connection, &loan, 0, copy, sizeof copy) == WEFT_UNSUPPORTED);
    tell(side, "", 1);
}

static void what_the_kernel_no_longer_permits_is_unsupported(void **state)
{
    (void)state;
    run_where_the_kernel_copies(lend_and_seclude, be_kept_out);
}

static void what_the_kernel_forbids_is_not_lent(void **state)
{
    (void)state;
    secluded = true;
    const int code = run(lend_own, copy_it, SHM_ATTACH_AUTO);
    secluded = false;
    assert_int_equal(code, LEFT_OUT);
}

static void lend_and_die(struct side *side)
{
    static uint8_t memory[4096];
    struct loan loan;

    if (!connection_lend(side->connection, memory, sizeof memory, &loan)) _exit(LEFT_OUT);
    tell(side, &loan, sizeof loan);
    raise(SIGKILL);
}

static void read_the_dead(struct side *side)
{
    static uint8_t copy[4096];
    const uint64_t give_up_ns = clock_now_ns() + 60 * NS_PER_S;
    struct loan loan;
    weft_status status;

    loan_hear(side, &loan);
    do status = connection_read(side->connection, &loan, 0, copy, sizeof copy);
    while (status == WEFT_OK && clock_now_ns() < give_up_ns);
    CHECK(status == WEFT_PEER_FAILED);
    CHECK(connection_write(side->connection, &loan, 0, copy, sizeof copy) == WEFT_PEER_FAILED);
    struct event event = {.kind = EVENT_ARRIVED};
    while (!endpoint_poll(side->endpoint, &event, 1, clock_now_ns()) && clock_now_ns() < give_up_ns) continue;
    CHECK(event.kind == EVENT_FAILED && event.status == WEFT_PEER_FAILED);
    CHECK(connection_read(side->connection, &loan, 0, copy, sizeof copy) == WEFT_PEER_FAILED);
}

static void a_dead_lender_has_failed(void **state)
{
    (void)state;
    run_where_the_kernel_copies(lend_and_die, read_the_dead);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_of_another_process_is_copied),
        cmocka_unit_test(shared_memory_is_mapped_by_another_process),
        cmocka_unit_test(where_it_is_off_nothing_is_copied),
        cmocka_unit_test(a_loan_of_what_is_not_there_fails),
        cmocka_unit_test(what_the_kernel_forbids_is_not_lent),
        cmocka_unit_test(what_the_kernel_no_longer_permits_is_unsupported),
        cmocka_unit_test(a_dead_lender_has_failed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
