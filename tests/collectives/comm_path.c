/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The promise: between the posting of a call and its completion, the rank's thread allocates nothing, locks nothing and
 * makes no system call, over shared memory, with registered buffers, with no more ranks than processors.
 *
 * What a rank does while it waits for another is the waiting policy's (collectives/comm/wait.c), not the path's: after
 * a while it gives its processor away, and after longer ones it asks what is wrong. So ranks wait in place for a second
 * here (WEFT_SPIN), and calls that took longer than half of the time after which they ask are left out: on a busy
 * machine a peer may have been off its processor for so long. What remains is one look a millisecond whether the peer
 * still lives (transport/shm/watch.c): epoll_wait, of which there may be as many as the test took time for.
 */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/collectives/comm_ranks.h"
#include "tests/collectives/path_counts.h"

enum { RANKS = 2, WARMUPS = 20, CALLS = 400, LARGE_CALLS = 100 };
#define BYTES_MOST (UINT64_C(1) << 20)
#define LATE_NS UINT64_C(50000000)
#define LOOK_NS UINT64_C(250000) /* a millisecond, or so many polls, which take a part of one */
#define LOST_NS UINT64_C(5000000000)

/* One row: the calls of one collective and size. */
struct row {
    weft_collective collective;
    uint64_t bytes;
    bool in_place;
};

struct outcome {
    _Atomic uint32_t arrived; /* calls that this rank is about to make: ranks_meet() */
    struct path_counts counts;
    uint32_t counted; /* calls that were not left out */
    uint64_t looks;   /* system calls that are looks at whether peers live; not in counts */
    uint64_t took_ns;
    weft_status status;
    bool unsupported;
    bool clock_is_a_system_call; /* with some clock sources of virtual machines */
};

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static weft_status call_make(weft_comm *comm, const struct row *row, float *send, float *recv)
{
    const uint64_t count = row->bytes / sizeof(float), block = count / RANKS;
    if (row->in_place) recv = send;
    switch (row->collective) {
    case WEFT_ALL_REDUCE:
        return weft_all_reduce(comm, send, recv, count, WEFT_FLOAT32, WEFT_MAX, NULL, NULL);
    case WEFT_REDUCE:
        return weft_reduce(comm, send, recv, count, WEFT_FLOAT32, WEFT_MAX, 0, NULL, NULL);
    case WEFT_BROADCAST:
        return weft_broadcast(comm, send, recv, count, WEFT_FLOAT32, 0, NULL, NULL);
    case WEFT_REDUCE_SCATTER:
        return weft_reduce_scatter(comm, send, recv, block, WEFT_FLOAT32, WEFT_MAX, NULL, NULL);
    case WEFT_ALL_GATHER:
        return weft_all_gather(comm, send, recv, block, WEFT_FLOAT32, NULL, NULL);
    case WEFT_ALL_TO_ALL:
        return weft_all_to_all(comm, send, recv, block, WEFT_FLOAT32, NULL, NULL);
    default:
        return weft_barrier(comm, NULL, NULL);
    }
}

/* One processor each. After the communicator is made, so that it sees as many as there are. */
static void rank_bind(uint32_t rank)
{
    cpu_set_t allowed, one;
    CPU_ZERO(&one);
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) abort();
    for (uint32_t cpu = 0, seen = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &allowed) && seen++ == rank) CPU_SET(cpu, &one);
    if (sched_setaffinity(0, sizeof one, &one) != 0) abort();
}

/* Begin together, as far as the machine lets them: who comes late makes the other wait. */
static void ranks_meet(struct outcome *outcomes, uint32_t rank, uint32_t call)
{
    atomic_store_explicit(&outcomes[rank].arrived, call, memory_order_relaxed);
    for (uint64_t begun_ns = now_ns(); atomic_load_explicit(&outcomes[!rank].arrived, memory_order_relaxed) < call;)
        if (now_ns() - begun_ns > LOST_NS) return; /* it failed, and says so */
}

/* Adds one call to the outcome, unless a peer was late. */
static void call_count(weft_comm *comm, const struct row *row, float *send, float *recv, struct outcome *outcome)
{
    struct path_counts counts = {0};
    uint64_t begun_ns = now_ns();
    path_counts_begin(&counts);
    weft_status status = call_make(comm, row, send, recv);
    path_counts_end();
    if (status != WEFT_OK) outcome->status = status;
    if (now_ns() - begun_ns > LATE_NS) return;
    for (uint64_t i = 0; i < counts.system_calls && i < PATH_COUNTS_NUMBERS; i++) {
        if (counts.numbers[i] == SYS_epoll_wait) {
            outcome->looks++;
            continue;
        }
        outcome->counts.numbers[outcome->counts.system_calls % PATH_COUNTS_NUMBERS] = counts.numbers[i];
        outcome->counts.system_calls++;
    }
    outcome->counts.allocations += counts.allocations;
    outcome->counts.locks += counts.locks;
    outcome->counted++;
}

static void clock_probe(struct outcome *outcome)
{
    struct path_counts counts = {0};
    path_counts_begin(&counts);
    (void)now_ns();
    path_counts_end();
    outcome->clock_is_a_system_call = counts.system_calls > 0;
}

static void path_body(weft_comm *comm, uint32_t rank, void *argument, void *results)
{
    const struct row *row = argument;
    struct outcome *outcome = (struct outcome *)results + rank;
    void *send, *recv;
    rank_bind(rank);
    outcome->status = weft_mem_alloc(comm, BYTES_MOST, WEFT_MEMORY_SHARED, &send);
    if (outcome->status == WEFT_OK) outcome->status = weft_mem_alloc(comm, BYTES_MOST, WEFT_MEMORY_SHARED, &recv);
    for (int i = 0; i < WARMUPS && outcome->status == WEFT_OK; i++) outcome->status = call_make(comm, row, send, recv);
    outcome->unsupported = !path_counts_prepare();
    if (outcome->status != WEFT_OK || outcome->unsupported) return;
    clock_probe(outcome);
    uint64_t begun_ns = now_ns();
    const uint32_t calls = row->bytes < BYTES_MOST ? CALLS : LARGE_CALLS;
    for (uint32_t i = 1; i <= calls && outcome->status == WEFT_OK; i++) {
        ranks_meet(results, rank, i);
        call_count(comm, row, send, recv, outcome);
    }
    outcome->took_ns = now_ns() - begun_ns;
    ranks_meet(results, rank, calls + 1); /* who leaves makes those look up who are still in their last call */
}

/* False, with what was asked on standard error. */
static bool outcome_is_right(const struct row *row, int rank, const struct outcome *outcome)
{
    const struct path_counts *counts = &outcome->counts;
    const uint64_t looks_most = outcome->took_ns / LOOK_NS + 1;
    if (counts->allocations + counts->locks + counts->system_calls == 0 && outcome->looks <= looks_most) return true;
    print_error("%s of %" PRIu64 " bytes%s, rank %d, %" PRIu32 " calls: %" PRIu64 " allocations, %" PRIu64
                " locks, %" PRIu64 " system calls (numbers %" PRIu32 " %" PRIu32 " %" PRIu32 "), %" PRIu64
                " looks of %" PRIu64 "\n",
                weft_collective_name(row->collective), row->bytes, row->in_place ? " in place" : "", rank,
                outcome->counted, counts->allocations, counts->locks, counts->system_calls, counts->numbers[0],
                counts->numbers[1], counts->numbers[2], outcome->looks, looks_most);
    return false;
}

/* Counts that are not as promised are printed, and the result is false. */
static bool row_is_right(const struct row *row)
{
    struct outcome *outcomes = ranks_shared(RANKS * sizeof *outcomes);
    const struct ranks_config config = {.rank_count = RANKS, .function = path_body, .argument = (void *)row};
    assert_int_equal(ranks_as_processes(&config, outcomes, NULL), 0);
    bool right = true, skipped = false;
    for (int rank = 0; rank < RANKS; rank++) {
        assert_int_equal(outcomes[rank].status, WEFT_OK);
        skipped |= outcomes[rank].unsupported || outcomes[rank].clock_is_a_system_call;
    }
    for (int rank = 0; rank < RANKS && !skipped; rank++) {
        right &= outcome_is_right(row, rank, &outcomes[rank]);
        right &= outcomes[rank].counted > 0;
    }
    ranks_unshare(outcomes, RANKS * sizeof *outcomes);
    if (skipped) {
        print_message("needs seccomp filters, x86-64 and a clock that is read without a system call\n");
        skip();
    }
    return right;
}

static void all_reduce_asks_nothing_of_anybody(void **state)
{
    bool right = true;
    (void)state;
    for (int in_place = 0; in_place < 2; in_place++) {
        right &= row_is_right(&(struct row){WEFT_ALL_REDUCE, 8, in_place});
        right &= row_is_right(&(struct row){WEFT_ALL_REDUCE, 32 << 10, in_place});
        right &= row_is_right(&(struct row){WEFT_ALL_REDUCE, BYTES_MOST, in_place});
    }
    assert_true(right);
}

static void others_ask_nothing_of_anybody(void **state)
{
    static const weft_collective collectives[] = {WEFT_REDUCE,     WEFT_BROADCAST,  WEFT_REDUCE_SCATTER,
                                                  WEFT_ALL_GATHER, WEFT_ALL_TO_ALL, WEFT_BARRIER};
    bool right = true;
    (void)state;
    for (size_t i = 0; i < sizeof collectives / sizeof *collectives; i++) {
        right &= row_is_right(&(struct row){collectives[i], 64, false});
        if (collectives[i] != WEFT_BARRIER) right &= row_is_right(&(struct row){collectives[i], 64 << 10, false});
    }
    assert_true(right);
}

static void counted_body(weft_comm *comm, uint32_t rank, void *argument, void *results)
{
    struct path_counts *counts = results;
    pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    (void)comm, (void)rank, (void)argument;
    if (!path_counts_prepare()) return;
    void *volatile before = malloc(100);
    path_counts_begin(counts);
    void *volatile memory = malloc(1);
    memory = realloc(memory, 2);
    free(memory);
    pthread_mutex_lock(&mutex);
    pthread_mutex_unlock(&mutex);
    long process = syscall(SYS_getpid);
    long parent = syscall(SYS_getppid);
    path_counts_end();
    free(before);
    if (process != getpid() || parent != getppid()) abort(); /* the handler makes the calls */
}

/* A count that could not be other than 0 would be no test. */
static void what_is_asked_is_counted(void **state)
{
    (void)state;
    struct path_counts *counts = ranks_shared(sizeof *counts);
    const struct ranks_config config = {.rank_count = 1, .function = counted_body};
    assert_int_equal(ranks_as_processes(&config, counts, NULL), 0);
    struct path_counts counted = *counts;
    ranks_unshare(counts, sizeof *counts);
    if (counted.allocations == 0) skip();
    assert_int_equal(counted.allocations, 3);
    assert_int_equal(counted.locks, 1);
    assert_int_equal(counted.system_calls, 2);
    assert_int_equal(counted.numbers[0], SYS_getpid);
    assert_int_equal(counted.numbers[1], SYS_getppid);
}

int main(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0 || CPU_COUNT(&set) < RANKS) {
        printf("needs %d processors\n", RANKS);
        return 77;
    }
    setenv("WEFT_TRANSPORT", "shm", 1);
    setenv("WEFT_SPIN", "1s", 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_asked_is_counted),
        cmocka_unit_test(all_reduce_asks_nothing_of_anybody),
        cmocka_unit_test(others_ask_nothing_of_anybody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
