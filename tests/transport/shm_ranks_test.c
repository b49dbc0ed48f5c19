/* SPDX-License-Identifier: Apache-2.0 */
/* Ranks on their own: as threads of one process, as processes, and as processes that die. */
#include <dirent.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "tests/transport/pairs.h"
#include "transport/core/conformance.h"
#include "transport/shm/shm.h"

#define RANKS 4
#define MESSAGES 300
/* Against hanging for ever; nothing is measured. */
#define PATIENCE_NS (60 * NS_PER_S)

struct rank {
    struct pairs *pairs;
    uint32_t rank, rank_count;
    uint64_t seed;
    struct endpoint *endpoint;
    struct connection *connections[PAIRS_MAX_RANKS];
    char reason[256];
};

static bool rank_begin(struct rank *rank, size_t granted_bytes)
{
    struct diagnostic diagnostic;

    if (shm_endpoint_create(&(struct shm_config){.rank = rank->rank, .rank_count = rank->rank_count},
                            pairs_rendezvous(rank->pairs, rank->rank), &rank->endpoint, &diagnostic)) {
        snprintf(rank->reason, sizeof rank->reason, "%s", diagnostic.text);
        return false;
    }
    const weft_status status = pairs_connect_all(rank->endpoint, granted_bytes, rank->connections);
    if (status) snprintf(rank->reason, sizeof rank->reason, "rank %u: connecting: status %d", rank->rank, status);
    return status == WEFT_OK;
}

static void rank_end(struct rank *rank)
{
    for (uint32_t peer = 0; peer < rank->rank_count; peer++) {
        if (rank->connections[peer]) connection_disconnect(rank->connections[peer]);
    }
    endpoint_destroy(rank->endpoint);
}

/* A rank's whole life with struct traffic; an empty reason when all went well. */
static void *rank_exchange(void *argument)
{
    struct rank *rank = argument;
    const uint64_t give_up_ns = clock_now_ns() + PATIENCE_NS;
    weft_status status = WEFT_IN_PROGRESS;

    if (!rank_begin(rank, TRAFFIC_REGION_BYTES)) return NULL;
    struct traffic *traffic = traffic_create(&(struct traffic_config){.endpoint = rank->endpoint,
                                                                      .connections = rank->connections,
                                                                      .seed = rank->seed,
                                                                      .messages = MESSAGES,
                                                                      .path_count = 2});
    while (status == WEFT_IN_PROGRESS && clock_now_ns() < give_up_ns) {
        bool progress;
        status = traffic_step(traffic, clock_now_ns(), &progress);
        if (!progress) sched_yield();
    }
    if (status == WEFT_IN_PROGRESS) snprintf(rank->reason, sizeof rank->reason, "rank %u hangs", rank->rank);
    if (status > WEFT_IN_PROGRESS) snprintf(rank->reason, sizeof rank->reason, "%s", traffic_reason(traffic));
    traffic_destroy(traffic);
    rank_end(rank);
    return NULL;
}

static void random_traffic_arrives_whole_among_threads(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 3; seed++) {
        struct rank ranks[RANKS];
        pthread_t threads[RANKS];
        struct pairs pairs;

        pairs_init(&pairs);
        for (uint32_t i = 0; i < RANKS; i++) {
            ranks[i] = (struct rank){.pairs = &pairs, .rank = i, .rank_count = RANKS, .seed = seed};
            assert_int_equal(pthread_create(&threads[i], NULL, rank_exchange, &ranks[i]), 0);
        }
        for (uint32_t i = 0; i < RANKS; i++) pthread_join(threads[i], NULL);
        for (uint32_t i = 0; i < RANKS; i++) assert_string_equal(ranks[i].reason, "");
        pairs_close(&pairs);
    }
}

/* Fork one process for each rank; each leaves with what @p life returns. */
static void ranks_fork(struct pairs *pairs, uint32_t rank_count, uint64_t seed, int (*life)(struct rank *),
                       pid_t processes[])
{
    pairs_init(pairs);
    pairs_fill(pairs, rank_count);
    for (uint32_t i = 0; i < rank_count; i++) {
        processes[i] = fork();
        assert_true(processes[i] >= 0);
        if (processes[i] == 0) {
            struct rank rank = {.pairs = pairs, .rank = i, .rank_count = rank_count, .seed = seed};
            pairs_keep(pairs, i);
            const int result = life(&rank);
            if (rank.reason[0]) fprintf(stderr, "%s\n", rank.reason);
            _exit(result);
        }
    }
    pairs_close(pairs);
}

static int exit_code(pid_t process)
{
    int status;

    return waitpid(process, &status, 0) == process && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int life_of_exchange(struct rank *rank)
{
    rank_exchange(rank);
    return rank->reason[0] != '\0';
}

static void random_traffic_arrives_whole_among_processes(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 3; seed++) {
        pid_t processes[RANKS];
        struct pairs pairs;

        ranks_fork(&pairs, RANKS, seed, life_of_exchange, processes);
        for (uint32_t i = 0; i < RANKS; i++) assert_int_equal(exit_code(processes[i]), 0);
    }
}

/* How a rank dies, and what its survivors do meanwhile. */
#define DYING 1u
static bool survivors_sleep, orphan_holds_sockets;
static int meeting[2]; /* a pipe whose end says that all survivors have seen it */

static void die(void)
{
    if (orphan_holds_sockets && fork() == 0) {
        char nothing;
        close(meeting[1]);
        (void)!read(meeting[0], &nothing, 1);
        _exit(0);
    }
    raise(SIGKILL);
}

/* A dead peer's descriptors do not keep everybody awake for ever; a wake-up that came late may do so once. */
static bool sleep_is_possible(struct endpoint *endpoint)
{
    for (int i = 0; i < 100; i++) {
        struct event event;
        struct pollfd sleeper = {.events = POLLIN};
        if (endpoint_arm(endpoint, &sleeper.fd) == WEFT_OK && poll(&sleeper, 1, 0) == 0) return true;
        (void)endpoint_poll(endpoint, &event, 1, 0);
    }
    return false;
}

/* 0: told of the death of DYING, once, and of nothing else, and afterwards the other survivor can be reached. */
static int life_among_the_dying(struct rank *rank)
{
    const uint64_t give_up_ns = clock_now_ns() + PATIENCE_NS;
    const struct put put = {.tag = 7, .flags = PUT_NOTIFY};
    struct event events[8];
    bool dead = false, heard = false;

    if (!rank_begin(rank, 4096)) return 1;
    if (rank->rank == DYING) die();
    const uint32_t other = rank->rank == 0 ? 2 : 0;
    bool told = false;
    while (!dead || !heard || !told) {
        if (clock_now_ns() > give_up_ns) return 2;
        const size_t count = endpoint_poll(rank->endpoint, events, 8, clock_now_ns());
        for (size_t i = 0; i < count; i++) {
            if (events[i].kind == EVENT_ARRIVED && events[i].peer == other && !heard) {
                heard = true;
            } else if (events[i].kind == EVENT_FAILED && events[i].peer == DYING && !dead) {
                if (events[i].status != WEFT_PEER_FAILED) return 3;
                dead = true;
            } else {
                return 4;
            }
        }
        if (dead && !told) told = connection_put(rank->connections[other], &put, 1) == 1;
        if (connection_put(rank->connections[DYING], &put, 1) && dead) return 5;
        int fd;
        if (count == 0 && survivors_sleep && !(dead && heard) && endpoint_arm(rank->endpoint, &fd) == WEFT_OK) {
            struct pollfd sleeper = {.fd = fd, .events = POLLIN};
            if (poll(&sleeper, 1, (int)(PATIENCE_NS / NS_PER_MS)) != 1) return 6;
        }
    }
    if (!sleep_is_possible(rank->endpoint)) return 7;
    /* Leave together, so that nobody is told of the other's leaving. */
    char nothing;
    close(meeting[1]);
    (void)!read(meeting[0], &nothing, 1);
    rank_end(rank);
    return 0;
}

static void a_killed_rank_is_noticed(bool asleep, bool orphan)
{
    pid_t processes[3];
    struct pairs pairs;

    survivors_sleep = asleep;
    orphan_holds_sockets = orphan;
    assert_int_equal(pipe(meeting), 0);
    ranks_fork(&pairs, 3, 1, life_among_the_dying, processes);
    int status;
    assert_int_equal(waitpid(processes[DYING], &status, 0), processes[DYING]);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    /*
     * A survivor closes its copy of the pipe's writing end when it is done, and the orphan closed its own: what is left
     * is ours, which goes first, so the pipe ends when both are done.
     */
    close(meeting[1]);
    assert_int_equal(exit_code(processes[0]), 0);
    assert_int_equal(exit_code(processes[2]), 0);
    close(meeting[0]);
}

static void a_killed_rank_is_noticed_by_pollers(void **state)
{
    (void)state;
    a_killed_rank_is_noticed(false, false);
}

static void a_killed_rank_is_noticed_by_sleepers(void **state)
{
    (void)state;
    a_killed_rank_is_noticed(true, false);
}

static void a_child_that_holds_the_sockets_does_not_hide_a_death(void **state)
{
    (void)state;
    const int self = (int)syscall(SYS_pidfd_open, getpid(), 0);
    if (self < 0) {
        print_message("needs pidfd_open, which this kernel or container refuses\n");
        skip();
    }
    close(self);
    a_killed_rank_is_noticed(false, true);
    a_killed_rank_is_noticed(true, true);
}

static size_t descriptor_count(void)
{
    DIR *folder = opendir("/proc/self/fd");
    size_t count = 0;

    assert_non_null(folder);
    while (readdir(folder)) count++;
    closedir(folder);
    return count;
}

static size_t weft_mapping_count(void)
{
    FILE *maps = fopen("/proc/self/maps", "r");
    char line[512];
    size_t count = 0;

    assert_non_null(maps);
    while (fgets(line, sizeof line, maps)) count += strstr(line, "memfd:weft") != NULL;
    fclose(maps);
    return count;
}

static void nothing_is_left_of_a_connection(void **state)
{
    const size_t before = descriptor_count();
    struct endpoint *a, *b;
    struct connection *of_a, *of_b;
    struct pairs pairs;

    (void)state;
    pairs_init(&pairs);
    assert_int_equal(
        shm_endpoint_create(&(struct shm_config){.rank = 0, .rank_count = 2}, pairs_rendezvous(&pairs, 0), &a, NULL),
        WEFT_OK);
    assert_int_equal(
        shm_endpoint_create(&(struct shm_config){.rank = 1, .rank_count = 2}, pairs_rendezvous(&pairs, 1), &b, NULL),
        WEFT_OK);
    assert_int_equal(pairs_connect_two(a, b, 1 << 20, &of_a, &of_b), WEFT_OK);
    /* Two segments, each mapped once although two ranks use it; two epolls and two sockets, no memfd. */
    assert_int_equal(weft_mapping_count(), 2);
    assert_int_equal(descriptor_count(), before + 4);
    assert_ptr_equal(connection_map(of_a), of_b->granted);
    connection_disconnect(of_a);
    connection_disconnect(of_b);
    endpoint_destroy(a);
    endpoint_destroy(b);
    assert_int_equal(weft_mapping_count(), 0);
    assert_int_equal(descriptor_count(), before);
}

static size_t resident_bytes(void)
{
    FILE *statm = fopen("/proc/self/statm", "r");
    size_t pages[3];

    assert_non_null(statm);
    assert_int_equal(fscanf(statm, "%zu %zu %zu", &pages[0], &pages[1], &pages[2]), 3);
    fclose(statm);
    return pages[2] * (size_t)sysconf(_SC_PAGESIZE); /* shared ones */
}

static void granted_memory_is_not_taken_before_it_is_touched(void **state)
{
    struct endpoint *a, *b;
    struct connection *of_a, *of_b;
    struct pairs pairs;

    (void)state;
    const size_t before = resident_bytes();
    pairs_init(&pairs);
    assert_int_equal(
        shm_endpoint_create(&(struct shm_config){.rank = 0, .rank_count = 2}, pairs_rendezvous(&pairs, 0), &a, NULL),
        WEFT_OK);
    assert_int_equal(
        shm_endpoint_create(&(struct shm_config){.rank = 1, .rank_count = 2}, pairs_rendezvous(&pairs, 1), &b, NULL),
        WEFT_OK);
    assert_int_equal(pairs_connect_two(a, b, (size_t)1 << 32, &of_a, &of_b), WEFT_OK);
    ((uint8_t *)connection_map(of_a))[((size_t)1 << 32) - 1] = 1;
    assert_int_equal(of_b->granted[((size_t)1 << 32) - 1], 1);
    assert_true(resident_bytes() < before + (16 << 20));
    connection_disconnect(of_a);
    connection_disconnect(of_b);
    endpoint_destroy(a);
    endpoint_destroy(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_left_of_a_connection),
        cmocka_unit_test(granted_memory_is_not_taken_before_it_is_touched),
        cmocka_unit_test(random_traffic_arrives_whole_among_processes),
        cmocka_unit_test(a_killed_rank_is_noticed_by_pollers),
        cmocka_unit_test(a_killed_rank_is_noticed_by_sleepers),
        cmocka_unit_test(a_child_that_holds_the_sockets_does_not_hide_a_death),
        cmocka_unit_test(random_traffic_arrives_whole_among_threads), /* last: the others fork */
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
