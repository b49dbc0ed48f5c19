/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls that repeat earlier ones take shorter ways. Whatever came in between, they do the same: other calls, requests,
 * groups, other buffers, options; and what ranks do not agree on is found as ever.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/random.h"
#include "tests/collectives/comm_ranks.h"

enum { MOST_RANKS = 5, CALLS = 600, MOST_COUNT = 20000, REPEATS = 30 };

struct verdicts {
    uint64_t seed;
    uint64_t wrong[MOST_RANKS];
    weft_status status[MOST_RANKS];
};

static void note(struct verdicts *verdicts, uint32_t rank, weft_status status)
{
    if (status != WEFT_OK && verdicts->status[rank] == WEFT_OK) verdicts->status[rank] = status;
}

struct user {
    weft_comm *comm;
    struct verdicts *verdicts;
    uint32_t rank, ranks;
    struct random shared, own; /* alike on all ranks; each rank's */
    int64_t *buffers[4];
};

static int64_t value_of(uint32_t call, uint32_t rank, uint64_t k)
{
    return (int64_t)(call * 7 + k) * (rank + 1);
}

/* As the call made them: the sum over ranks, from `first` on. */
static uint64_t sums_wrong(const struct user *user, const int64_t *values, uint32_t call, uint64_t count,
                           uint64_t first)
{
    uint64_t wrong = 0;
    for (uint64_t k = 0; k < count; k++) {
        int64_t sum = 0;
        for (uint32_t rank = 0; rank < user->ranks; rank++) sum += value_of(call, rank, first + k);
        wrong += values[k] != sum;
    }
    return wrong;
}

static void sums_make(struct user *user, uint32_t call, int64_t *send, int64_t *recv, uint64_t count)
{
    static const weft_call forms[] = {{.size = sizeof(weft_call)},
                                      {.size = sizeof(weft_call), .algorithm = WEFT_ALGORITHM_TREE},
                                      {.size = sizeof(weft_call), .canonical = true},
                                      {.size = sizeof(weft_call), .deadline_ns = UINT64_C(60000000000)}};
    const uint64_t form = random_below(&user->shared, 8);
    const weft_call *options = form < 4 ? &forms[form] : NULL;
    const bool waits = random_below(&user->shared, 4) > 0;
    weft_request *request = NULL;
    for (uint64_t k = 0; k < count; k++) send[k] = value_of(call, user->rank, k);
    weft_status status =
        weft_all_reduce(user->comm, send, recv, count, WEFT_INT64, WEFT_SUM, options, waits ? NULL : &request);
    if (status == WEFT_OK && !waits) { /* with another one in between, and a request under way */
        status = weft_barrier(user->comm, NULL, NULL);
        weft_status waited = weft_wait(&request);
        if (status == WEFT_OK) status = waited;
    }
    note(user->verdicts, user->rank, status);
    user->verdicts->wrong[user->rank] += sums_wrong(user, recv, call, count, 0);
}

static void shares_make(struct user *user, uint32_t call, int64_t *send, int64_t *recv, uint64_t count)
{
    for (uint64_t k = 0; k < count * user->ranks; k++) send[k] = value_of(call, user->rank, k);
    note(user->verdicts, user->rank,
         weft_reduce_scatter(user->comm, send, recv, count, WEFT_INT64, WEFT_SUM, NULL, NULL));
    user->verdicts->wrong[user->rank] += sums_wrong(user, recv, call, count, user->rank * count);
}

static void gather_make(struct user *user, uint32_t call, int64_t *send, int64_t *recv, uint64_t count)
{
    for (uint64_t k = 0; k < count; k++) send[k] = value_of(call, user->rank, k);
    note(user->verdicts, user->rank, weft_all_gather(user->comm, send, recv, count, WEFT_INT64, NULL, NULL));
    for (uint64_t k = 0; k < count * user->ranks; k++)
        user->verdicts->wrong[user->rank] += recv[k] != value_of(call, (uint32_t)(k / count), k % count);
}

static void broadcast_make(struct user *user, uint32_t call, int64_t *send, int64_t *recv, uint64_t count)
{
    const uint32_t root = (uint32_t)random_below(&user->shared, user->ranks);
    for (uint64_t k = 0; k < count; k++) send[k] = value_of(call, user->rank, k);
    note(user->verdicts, user->rank, weft_broadcast(user->comm, send, recv, count, WEFT_INT64, root, NULL, NULL));
    for (uint64_t k = 0; k < count; k++) user->verdicts->wrong[user->rank] += recv[k] != value_of(call, root, k);
}

/* Two in a group, of which the first is like the calls before. */
static void group_make(struct user *user, uint32_t call, int64_t *send, int64_t *recv, uint64_t count)
{
    for (uint64_t k = 0; k < count; k++) send[k] = value_of(call, user->rank, k);
    note(user->verdicts, user->rank, weft_group_start(user->comm));
    note(user->verdicts, user->rank, weft_all_reduce(user->comm, send, recv, count, WEFT_INT64, WEFT_SUM, NULL, NULL));
    note(user->verdicts, user->rank, weft_barrier(user->comm, NULL, NULL));
    note(user->verdicts, user->rank, weft_group_end(user->comm, NULL));
    user->verdicts->wrong[user->rank] += sums_wrong(user, recv, call, count, 0);
}

static void user_call(struct user *user, uint32_t call)
{
    static const uint64_t counts[] = {1, 1, 1, 2, 5, 7, 7, 8, 300, MOST_COUNT / MOST_RANKS};
    const uint64_t count = counts[random_below(&user->shared, sizeof counts / sizeof counts[0])];
    int64_t *send = user->buffers[random_below(&user->shared, 4) == 0], *recv = user->buffers[2];
    if (random_below(&user->shared, 8) == 0) recv = user->buffers[3];
    const uint64_t kind = random_below(&user->shared, 16);
    if (random_below(&user->own, 20) == 0) usleep((useconds_t)random_below(&user->own, 300));
    if (kind < 8)
        sums_make(user, call, send, random_below(&user->shared, 6) == 0 ? send : recv, count);
    else if (kind < 10)
        shares_make(user, call, send, recv, count);
    else if (kind < 12)
        gather_make(user, call, send, recv, count);
    else if (kind < 14)
        broadcast_make(user, call, send, recv, count);
    else if (kind < 15)
        note(user->verdicts, user->rank, weft_barrier(user->comm, NULL, NULL));
    else
        group_make(user, call, send, recv, count);
}

static void user_rank(weft_comm *comm, uint32_t rank, void *argument, void *results)
{
    (void)argument;
    struct verdicts *verdicts = results;
    struct user user = {.comm = comm, .verdicts = verdicts, .rank = rank, .ranks = weft_comm_rank_count(comm)};
    random_seed(&user.shared, verdicts->seed);
    random_seed(&user.own, verdicts->seed + 1 + rank);
    for (uint32_t i = 0; i < 4; i++) user.buffers[i] = calloc(MOST_COUNT, sizeof(int64_t));
    for (uint32_t call = 0; call < CALLS && verdicts->status[rank] == WEFT_OK; call++) user_call(&user, call);
    for (uint32_t i = 0; i < 4; i++) free(user.buffers[i]);
}

/* All ranks end with the status, and nothing was wrong before. */
static void run_ranks(uint32_t ranks, rank_function function, uint64_t seed, weft_status status)
{
    struct verdicts verdicts = {.seed = seed};
    const struct ranks_config config = {.rank_count = ranks, .slice_bytes = 4096, .function = function};
    ranks_as_threads(&config, &verdicts);
    for (uint32_t rank = 0; rank < ranks; rank++) {
        assert_int_equal(verdicts.status[rank], status);
        assert_int_equal(verdicts.wrong[rank], 0);
    }
}

static void repeated_calls_do_what_the_first_did(void **state)
{
    (void)state;
    for (uint32_t ranks = 2; ranks <= MOST_RANKS; ranks++) {
        const uint64_t seed = (uint64_t)time(NULL) * 16 + ranks;
        printf("%u ranks, seed %llu\n", ranks, (unsigned long long)seed);
        run_ranks(ranks, user_rank, seed, WEFT_OK);
    }
}

/* All repeat a call, until rank 0 makes it of another size. */
static void odd_rank(weft_comm *comm, uint32_t rank, void *argument, void *results)
{
    (void)argument;
    struct verdicts *verdicts = results;
    int64_t send[2] = {1, 2}, recv[2];
    for (uint32_t i = 0; i < REPEATS; i++)
        verdicts->wrong[rank] += weft_all_reduce(comm, send, recv, 1, WEFT_INT64, WEFT_SUM, NULL, NULL) != WEFT_OK;
    verdicts->status[rank] = weft_all_reduce(comm, send, recv, rank == 0 ? 2 : 1, WEFT_INT64, WEFT_SUM, NULL, NULL);
    /* The failure stays; repeating does not get round it. */
    verdicts->wrong[rank] += weft_all_reduce(comm, send, recv, 1, WEFT_INT64, WEFT_SUM, NULL, NULL) != WEFT_MISMATCH;
}

static void a_repeated_call_that_is_another_ones_is_a_mismatch(void **state)
{
    (void)state;
    for (uint32_t ranks = 2; ranks <= 4; ranks++) run_ranks(ranks, odd_rank, 0, WEFT_MISMATCH);
}

/* What is wrong with a call is found though all else of it is known. */
static void wrong_rank(weft_comm *comm, uint32_t rank, void *argument, void *results)
{
    (void)argument;
    struct verdicts *verdicts = results;
    int64_t send[2] = {1, 2}, recv[2];
    const weft_call odd = {.size = 1};
    weft_request *request = NULL;
    for (uint32_t i = 0; i < REPEATS; i++) {
        note(verdicts, rank, weft_all_reduce(comm, send, recv, 2, WEFT_INT64, WEFT_SUM, NULL, NULL));
        verdicts->wrong[rank] += recv[1] != 2 * weft_comm_rank_count(comm);
        verdicts->wrong[rank] += weft_all_reduce(comm, send, NULL, 2, WEFT_INT64, WEFT_SUM, NULL, NULL) == WEFT_OK;
        verdicts->wrong[rank] += weft_all_reduce(comm, send, send + 1, 2, WEFT_INT64, WEFT_SUM, NULL, NULL) == WEFT_OK;
        verdicts->wrong[rank] += weft_all_reduce(comm, send, recv, 2, WEFT_INT64, WEFT_SUM, &odd, NULL) == WEFT_OK;
        const weft_dtype none = (weft_dtype)(WEFT_INT64 + 256);
        verdicts->wrong[rank] += weft_all_reduce(comm, send, recv, 2, none, WEFT_SUM, NULL, NULL) == WEFT_OK;
        note(verdicts, rank, weft_group_start(comm));
        verdicts->wrong[rank] += weft_all_reduce(comm, send, recv, 2, WEFT_INT64, WEFT_SUM, NULL, &request) == WEFT_OK;
        note(verdicts, rank, weft_group_end(comm, NULL));
    }
}

static void a_repeated_call_is_refused_for_what_is_wrong_with_it(void **state)
{
    (void)state;
    run_ranks(2, wrong_rank, 0, WEFT_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(repeated_calls_do_what_the_first_did),
        cmocka_unit_test(a_repeated_call_that_is_another_ones_is_a_mismatch),
        cmocka_unit_test(a_repeated_call_is_refused_for_what_is_wrong_with_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
