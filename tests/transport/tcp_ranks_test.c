/* SPDX-License-Identifier: Apache-2.0 */
/* Ranks on their own: as threads of one process, as processes, asleep, and as processes that die. */
#include <dirent.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/random.h"
#include "tests/transport/pairs.h"
#include "tests/transport/tcp_sockets.h"
#include "transport/core/conformance.h"
#include "transport/tcp/tcp.h"

#define RANKS 4
#define MESSAGES 200
#define ROUNDS 3000
/* Against hanging for ever; nothing is measured. */
#define PATIENCE_NS (60 * NS_PER_S)

struct rank {
    struct tcp_sockets *sockets;
    uint32_t rank, rank_count, lanes;
    uint64_t seed;
    struct endpoint *endpoint;
    struct connection *connections[TCP_SOCKETS_MAX_RANKS];
    char reason[256];
};

static bool rank_begin(struct rank *rank, size_t granted_bytes)
{
    const struct tcp_config config = {.rank = rank->rank, .rank_count = rank->rank_count, .lanes = rank->lanes};
    struct diagnostic diagnostic;

    if (tcp_endpoint_create(&config, tcp_sockets_rendezvous(rank->sockets, rank->rank), &rank->endpoint, &diagnostic)) {
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

/* Until an event comes, awake for a random while and then asleep. False: it never came. */
static bool wait_event(struct rank *rank, struct random *random, struct event *event)
{
    for (;;) {
        for (uint64_t spins = random_below(random, 20); spins-- > 0;) {
            if (endpoint_poll(rank->endpoint, event, 1, clock_now_ns())) return true;
        }
        int fd;
        if (endpoint_arm(rank->endpoint, &fd) == WEFT_OK) {
            struct pollfd sleeper = {.fd = fd, .events = POLLIN};
            if (poll(&sleeper, 1, (int)(PATIENCE_NS / NS_PER_MS)) != 1) return false;
        }
        if (endpoint_poll(rank->endpoint, event, 1, clock_now_ns())) return true;
    }
}

/* A rank's whole life with struct traffic; an empty reason when all went well. */
static void *live_traffic(void *argument)
{
    struct rank *rank = argument;
    const uint64_t give_up_ns = clock_now_ns() + PATIENCE_NS;
    weft_status status = WEFT_IN_PROGRESS;

    if (!rank_begin(rank, TRAFFIC_REGION_BYTES)) return NULL;
    struct traffic *traffic = traffic_create(&(struct traffic_config){.endpoint = rank->endpoint,
                                                                      .connections = rank->connections,
                                                                      .seed = rank->seed,
                                                                      .messages = MESSAGES,
                                                                      .path_count = 4});
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

/* Rank 0 and 1 wait for each other, asleep more often than not: a lost wake-up would leave both so. */
static void *live_ping_pong(void *argument)
{
    struct rank *rank = argument;
    struct random random;

    if (!rank_begin(rank, 64)) return NULL;
    random_seed(&random, rank->seed + rank->rank);
    for (uint32_t round = 0; round < ROUNDS && !rank->reason[0]; round++) {
        const struct put put = {
            .tag = round, .path_hint = (uint16_t)round, .flags = PUT_NOTIFY | (round & 1 ? PUT_MORE : 0)};
        struct event event;
        if (rank->rank == 0 && connection_put(rank->connections[1], &put, 1) != 1)
            snprintf(rank->reason, sizeof rank->reason, "round %u: refused", round);
        if (!wait_event(rank, &random, &event) || event.kind != EVENT_ARRIVED || event.tag != round)
            snprintf(rank->reason, sizeof rank->reason, "round %u: no or a wrong event", round);
        if (rank->rank == 1 && connection_put(rank->connections[0], &put, 1) != 1)
            snprintf(rank->reason, sizeof rank->reason, "round %u: refused", round);
    }
    if (rank->rank == 1 &&
        !rank->reason[0]) { /* the last put may be waiting for a poll; the peer leaves once it has it */
        struct event event;
        if (!wait_event(rank, &random, &event) || event.kind != EVENT_FAILED)
            snprintf(rank->reason, sizeof rank->reason, "the peer does not leave");
    }
    rank_end(rank);
    return NULL;
}

static void live_as_threads(void *(*live)(void *), uint32_t rank_count, uint32_t lanes, uint64_t seed)
{
    struct rank ranks[RANKS];
    pthread_t threads[RANKS];
    struct tcp_sockets sockets = {0};

    assert_true(tcp_sockets_open(&sockets, rank_count, AF_INET));
    for (uint32_t i = 0; i < rank_count; i++) {
        ranks[i] =
            (struct rank){.sockets = &sockets, .rank = i, .rank_count = rank_count, .lanes = lanes, .seed = seed};
        assert_int_equal(pthread_create(&threads[i], NULL, live, &ranks[i]), 0);
    }
    for (uint32_t i = 0; i < rank_count; i++) pthread_join(threads[i], NULL);
    for (uint32_t i = 0; i < rank_count; i++) assert_string_equal(ranks[i].reason, "");
    tcp_sockets_close(&sockets);
}

static void random_traffic_arrives_whole_among_threads(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 3; seed++) live_as_threads(live_traffic, RANKS, (uint32_t)seed, seed);
}

static void no_wake_up_is_lost(void **state)
{
    (void)state;
    for (uint32_t lanes = 1; lanes <= 6; lanes += 5) live_as_threads(live_ping_pong, 2, lanes, 1); /* asked, and told */
}

/* Fork one process for each rank; each leaves with what @p life returns. */
static void ranks_fork(struct tcp_sockets *sockets, uint32_t rank_count, uint32_t lanes, uint64_t seed,
                       int (*life)(struct rank *), pid_t processes[])
{
    *sockets = (struct tcp_sockets){0};
    assert_true(tcp_sockets_open(sockets, rank_count, AF_INET));
    for (uint32_t i = 0; i < rank_count; i++) {
        processes[i] = fork();
        assert_true(processes[i] >= 0);
        if (processes[i] == 0) {
            struct rank rank = {.sockets = sockets, .rank = i, .rank_count = rank_count, .lanes = lanes, .seed = seed};
            tcp_sockets_keep(sockets, i);
            const int result = life(&rank);
            if (rank.reason[0]) fprintf(stderr, "%s\n", rank.reason);
            _exit(result);
        }
    }
    tcp_sockets_close(sockets);
}

static int exit_code(pid_t process)
{
    int status;

    return waitpid(process, &status, 0) == process && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int life_of_traffic(struct rank *rank)
{
    live_traffic(rank);
    return rank->reason[0] != '\0';
}

static void random_traffic_arrives_whole_among_processes(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 3; seed++) {
        pid_t processes[RANKS];
        struct tcp_sockets sockets;
        ranks_fork(&sockets, RANKS, (uint32_t)seed, seed, life_of_traffic, processes);
        for (uint32_t i = 0; i < RANKS; i++) assert_int_equal(exit_code(processes[i]), 0);
    }
}

#define DYING 1u
static bool survivors_sleep;
static int meeting[2]; /* a pipe whose end says that all survivors have seen it */

/* 0: told of the death of DYING, once, and of nothing else. */
static int life_among_the_dying(struct rank *rank)
{
    const uint64_t give_up_ns = clock_now_ns() + PATIENCE_NS;
    const struct put put = {.flags = PUT_NOTIFY};
    struct random random;
    struct event event;
    char nothing;

    if (!rank_begin(rank, 4096)) return 1;
    if (rank->rank == DYING) raise(SIGKILL);
    random_seed(&random, rank->rank);
    if (survivors_sleep && !wait_event(rank, &random, &event)) return 2;
    while (!survivors_sleep && !endpoint_poll(rank->endpoint, &event, 1, clock_now_ns())) {
        if (clock_now_ns() > give_up_ns) return 2;
    }
    if (event.kind != EVENT_FAILED || event.peer != DYING || event.status != WEFT_PEER_FAILED) return 3;
    if (connection_put(rank->connections[DYING], &put, 1)) return 4;
    for (int i = 0; i < 1000; i++) {
        if (endpoint_poll(rank->endpoint, &event, 1, clock_now_ns())) return 5;
    }
    /* Leave together, so that nobody is told of the other's leaving. */
    close(meeting[1]);
    (void)!read(meeting[0], &nothing, 1);
    rank_end(rank);
    return 0;
}

static void a_killed_rank_is_noticed(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) {
        pid_t processes[3];
        struct tcp_sockets sockets;
        int status;

        survivors_sleep = i & 1;
        assert_int_equal(pipe(meeting), 0);
        ranks_fork(&sockets, 3, i & 2 ? 4 : 1, 1, life_among_the_dying, processes);
        close(meeting[1]);
        assert_int_equal(waitpid(processes[DYING], &status, 0), processes[DYING]);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        assert_int_equal(exit_code(processes[0]), 0);
        assert_int_equal(exit_code(processes[2]), 0);
        close(meeting[0]);
    }
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

static void nothing_is_left_of_a_connection(void **state)
{
    const size_t before = descriptor_count();
    struct tcp_sockets sockets = {0};
    struct endpoint *endpoints[2];
    struct connection *of_0, *of_1;

    (void)state;
    assert_true(tcp_sockets_open(&sockets, 2, AF_INET));
    for (uint32_t rank = 0; rank < 2; rank++) {
        const struct tcp_config config = {.rank = rank, .rank_count = 2, .lanes = 3};
        assert_int_equal(tcp_endpoint_create(&config, tcp_sockets_rendezvous(&sockets, rank), &endpoints[rank], NULL),
                         WEFT_OK);
    }
    assert_int_equal(pairs_connect_two(endpoints[0], endpoints[1], 1 << 20, &of_0, &of_1), WEFT_OK);
    assert_int_equal(descriptor_count(), before + 2 + 2 + 6); /* listeners, epolls, sockets */
    connection_disconnect(of_0);
    connection_disconnect(of_1);
    endpoint_destroy(endpoints[0]);
    endpoint_destroy(endpoints[1]);
    tcp_sockets_close(&sockets);
    assert_int_equal(descriptor_count(), before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_left_of_a_connection),
        cmocka_unit_test(random_traffic_arrives_whole_among_processes),
        cmocka_unit_test(a_killed_rank_is_noticed),
        cmocka_unit_test(no_wake_up_is_lost),
        cmocka_unit_test(random_traffic_arrives_whole_among_threads), /* last: others fork */
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
