/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hierarchical plans of a communicator: processes that take themselves for ranks of hosts of four, one and two ranks
 * (WEFT_HOST_ID), not in order, so that groups are its hosts; every plan is proved before it is run.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <weft/weft.h>

#include <cmocka.h>

#include "tests/collectives/comm_ranks.h"

enum { RANKS = 7, COUNT_MAX = 5000 };

static const char *const hosts[RANKS] = {"a", "b", "a", "c", "c", "a", "a"};

struct shared {
    weft_unique_id id;
    _Atomic bool named;
    uint32_t calls[RANKS], wrong[RANKS];
    bool by_groups[RANKS]; /* the description says so */
};

struct buffers {
    int32_t send[RANKS * COUNT_MAX], recv[RANKS * COUNT_MAX];
};

static int32_t value(uint32_t rank, size_t i)
{
    return (int32_t)(rank * 1000 + i * 7 % 911);
}

static int32_t sum(size_t i)
{
    int32_t total = 0;
    for (uint32_t rank = 0; rank < RANKS; rank++) total += value(rank, i);
    return total;
}

/* Results of one call, of @p count elements each rank. */
static uint32_t wrong_results(weft_collective collective, const int32_t *recv, size_t count, uint32_t rank,
                              uint32_t root)
{
    uint32_t wrong = 0;
    bool each = collective == WEFT_ALL_GATHER;
    if (collective == WEFT_REDUCE && rank != root) return 0;
    for (size_t i = 0; i < (each ? RANKS * count : count); i++) {
        int32_t expected = sum(collective == WEFT_REDUCE_SCATTER ? rank * count + i : i);
        if (collective == WEFT_BROADCAST) expected = value(root, i);
        if (each) expected = value((uint32_t)(i / count), i % count);
        wrong += recv[i] != expected;
    }
    return wrong;
}

static weft_status call(weft_comm *comm, weft_collective collective, struct buffers *buffers, size_t count,
                        uint32_t root, const weft_call *options)
{
    switch (collective) {
    case WEFT_ALL_REDUCE:
        return weft_all_reduce(comm, buffers->send, buffers->recv, count, WEFT_INT32, WEFT_SUM, options, NULL);
    case WEFT_REDUCE_SCATTER:
        return weft_reduce_scatter(comm, buffers->send, buffers->recv, count, WEFT_INT32, WEFT_SUM, options, NULL);
    case WEFT_ALL_GATHER:
        return weft_all_gather(comm, buffers->send, buffers->recv, count, WEFT_INT32, options, NULL);
    case WEFT_BROADCAST:
        return weft_broadcast(comm, buffers->send, buffers->recv, count, WEFT_INT32, root, options, NULL);
    case WEFT_REDUCE:
        return weft_reduce(comm, buffers->send, buffers->recv, count, WEFT_INT32, WEFT_SUM, root, options, NULL);
    default:
        return weft_barrier(comm, options, NULL);
    }
}

static void run_all(weft_comm *comm, uint32_t rank, struct shared *shared)
{
    static struct buffers buffers;
    static const weft_collective collectives[] = {WEFT_ALL_REDUCE, WEFT_BROADCAST,      WEFT_BARRIER,
                                                  WEFT_ALL_GATHER, WEFT_REDUCE_SCATTER, WEFT_REDUCE};
    static const size_t counts[] = {1, 100, COUNT_MAX}; /* an all-reduce by leaders, and by shares */
    const weft_call options = {.size = sizeof options, .algorithm = WEFT_ALGORITHM_HIERARCHICAL};
    for (size_t i = 0; i < RANKS * COUNT_MAX; i++) buffers.send[i] = value(rank, i);
    for (size_t c = 0; c < sizeof collectives / sizeof *collectives; c++)
        for (size_t k = 0; k < sizeof counts / sizeof *counts; k++) {
            uint32_t root = (uint32_t)(3 * k + c) % RANKS;
            memset(buffers.recv, 0xff, sizeof buffers.recv);
            bool failed = call(comm, collectives[c], &buffers, counts[k], root, &options) != WEFT_OK;
            if (!failed && collectives[c] != WEFT_BARRIER)
                failed = wrong_results(collectives[c], buffers.recv, counts[k], rank, root) > 0;
            shared->wrong[rank] += failed;
            shared->calls[rank]++;
        }
    const weft_call canonical = {.size = sizeof canonical, .algorithm = options.algorithm, .canonical = true};
    shared->wrong[rank] += call(comm, WEFT_ALL_REDUCE, &buffers, 1, 0, &canonical) != WEFT_INVALID_ARGUMENT;
    char *text = NULL;
    if (weft_comm_describe(comm, WEFT_TEXT, &text) == WEFT_OK)
        shared->by_groups[rank] = strstr(text, "groups: 3 of at most 4 ranks") != NULL;
    free(text);
}

/* The environment is read once a process, so this has to come before anything else of the library. */
static int rank_run(struct shared *shared, uint32_t rank)
{
    setenv("WEFT_HOST_ID", hosts[rank], 1);
    setenv("WEFT_VERIFY", "1", 1);
    if (rank == 0) {
        if (weft_unique_id_create(&shared->id) != WEFT_OK) return 1;
        atomic_store(&shared->named, true);
    }
    while (!atomic_load(&shared->named)) usleep(1000);
    const weft_comm_config config = {.size = sizeof config, .id = &shared->id, .rank = rank, .rank_count = RANKS};
    weft_comm *comm;
    if (weft_comm_create(&config, &comm) != WEFT_OK) return 1;
    run_all(comm, rank, shared);
    weft_comm_destroy(comm);
    return 0;
}

static void unequal_hosts_are_groups_of_right_plans(void **state)
{
    (void)state;
    struct shared *shared = ranks_shared(sizeof *shared);
    pid_t pids[RANKS];
    fflush(NULL);
    for (uint32_t rank = 0; rank < RANKS; rank++) {
        pids[rank] = fork();
        if (pids[rank] != 0) continue;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        alarm(120);
        _exit(rank_run(shared, rank));
    }
    for (uint32_t rank = 0; rank < RANKS; rank++) {
        int status;
        waitpid(pids[rank], &status, 0);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    for (uint32_t rank = 0; rank < RANKS; rank++) {
        assert_int_equal(shared->calls[rank], 18);
        assert_int_equal(shared->wrong[rank], 0);
        assert_true(shared->by_groups[rank]);
    }
    ranks_unshare(shared, sizeof *shared);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(unequal_hosts_are_groups_of_right_plans)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
