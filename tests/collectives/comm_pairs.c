/* SPDX-License-Identifier: Apache-2.0 */
/* Messages between two ranks, and blocks whose sizes two ranks agree on: order, groups, oneself, and disagreements. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/collectives/comm_ranks.h"

enum { MOST_RANKS = 8 };

struct verdicts {
    uint64_t wrong[MOST_RANKS];
    weft_status status[MOST_RANKS];
    weft_failure failure[MOST_RANKS];
};

static void note(struct verdicts *verdicts, uint32_t rank, weft_status status)
{
    if (status != WEFT_OK && verdicts->status[rank] == WEFT_OK) verdicts->status[rank] = status;
}

static void fill(int32_t *values, uint64_t count, uint32_t from, uint32_t to, uint32_t message)
{
    for (uint64_t i = 0; i < count; i++) values[i] = (int32_t)(from * 1000003 + to * 4099 + message * 31 + i);
}

static uint64_t differ(const int32_t *values, uint64_t count, uint32_t from, uint32_t to, uint32_t message)
{
    uint64_t wrong = 0;
    for (uint64_t i = 0; i < count; i++) wrong += values[i] != (int32_t)(from * 1000003 + to * 4099 + message * 31 + i);
    return wrong;
}

static void run_ranks(uint32_t ranks, rank_function function, bool progress_thread)
{
    struct verdicts *verdicts = calloc(1, sizeof *verdicts);
    assert_non_null(verdicts);
    const struct ranks_config config = {
        .rank_count = ranks, .slice_bytes = 4096, .progress_thread = progress_thread, .function = function};
    ranks_as_threads(&config, verdicts);
    for (uint32_t rank = 0; rank < ranks; rank++) {
        assert_int_equal(verdicts->status[rank], WEFT_OK);
        assert_int_equal(verdicts->wrong[rank], 0);
    }
    free(verdicts);
}

/* Blocking, there and back; sizes from nothing to many slices. */
static void ping_pong_rank(weft_comm *comm, uint32_t rank, void *argument, void *results)
{
    (void)argument;
    struct verdicts *verdicts = results;
    static const uint64_t counts[] = {0, 1, 100, 20000};
    int32_t *values = calloc(20000, sizeof *values);
    for (uint32_t i = 0; i < 4 && rank < 2; i++)
        for (uint32_t direction = 0; direction < 2; direction++) {
            if (rank == direction) {
                fill(values, counts[i], rank, 1 - rank, i);
                note(verdicts, rank, weft_send(comm, values, counts[i], WEFT_INT32, 1 - rank, NULL, NULL));
            } else {
                memset(values, 0, 20000 * sizeof *values);
                note(verdicts, rank, weft_recv(comm, values, counts[i], WEFT_INT32, 1 - rank, NULL, NULL));
                verdicts->wrong[rank] += differ(values, counts[i], 1 - rank, rank, i);
            }
        }
    note(verdicts, rank, weft_barrier(comm, NULL, NULL));
    free(values);
}

static void a_message_reaches_its_peer_alone(void **state)
{
    (void)state;
    run_ranks(2, ping_pong_rank, false);
    run_ranks(4, ping_pong_rank, false);
    run_ranks(3, ping_pong_rank, true);
}

/* Everybody sends several messages to everybody, oneself among them, between two collectives, all in one group. */
static void everybody_rank(weft_comm *comm, uint32_t rank, void *argument, void *results)
{
    (void)argument;
    enum { MESSAGES = 3, MOST = 3000 };
    struct verdicts *verdicts = results;
    uint32_t ranks = weft_comm_rank_count(comm);
    int32_t *sent = calloc((size_t)ranks * MESSAGES * MOST, sizeof *sent);
    int32_t *received = calloc((size_t)ranks * MESSAGES * MOST, sizeof *received);
    int64_t sum = rank, total = 0;
    note(verdicts, rank, weft_group_start(comm));
    note(verdicts, rank, weft_all_reduce(comm, &sum, &total, 1, WEFT_INT64, WEFT_SUM, NULL, NULL));
    for (uint32_t m = 0; m < MESSAGES; m++)
        for (uint32_t i = 0; i < ranks; i++) {
            uint32_t peer = (rank + i) % ranks;
            int32_t *to = sent + (peer * MESSAGES + m) * MOST, *from = received + (peer * MESSAGES + m) * MOST;
            fill(to, m * 1499, rank, peer, m);
            note(verdicts, rank, weft_recv(comm, from, m * 1499, WEFT_INT32, peer, NULL, NULL));
            note(verdicts, rank, weft_send(comm, to, m * 1499, WEFT_INT32, peer, NULL, NULL));
        }
    note(verdicts, rank, weft_barrier(comm, NULL, NULL));
    note(verdicts, rank, weft_group_end(comm, NULL));
    for (uint32_t peer = 0; peer < ranks; peer++)
        for (uint32_t m = 0; m < MESSAGES; m++)
            verdicts->wrong[rank] += differ(received + (peer * MESSAGES + m) * MOST, m * 1499, peer, rank, m);
    verdicts->wrong[rank] += total != (int64_t)ranks * (ranks - 1) / 2;
    free(sent);
    free(received);
}

static void messages_to_everybody_and_oneself_keep_their_order(void **state)
{
    (void)state;
    for (uint32_t ranks = 1; ranks <= 5; ranks++) run_ranks(ranks, everybody_rank, ranks == 3);
}

static void misuse_rank(weft_comm *comm, uint32_t rank, void *argument, void *results)
{
    (void)argument;
    struct verdicts *verdicts = results;
    float value = 0;
    const uint64_t ones[2] = {1, 1}, places[2] = {0, 1}, twos[2] = {2, 2};
    weft_request *request = NULL;
#define IS(call, expected) verdicts->wrong[rank] += (call) != (expected)
    IS(weft_send(comm, &value, 1, WEFT_FLOAT32, 2, NULL, NULL), WEFT_INVALID_ARGUMENT);
    IS(weft_recv(comm, &value, 1, WEFT_FLOAT32, 2, NULL, NULL), WEFT_INVALID_ARGUMENT);
    IS(weft_send(comm, NULL, 1, WEFT_FLOAT32, 1, NULL, NULL), WEFT_INVALID_ARGUMENT);
    IS(weft_group_end(comm, NULL), WEFT_INVALID_STATE);
    IS(weft_group_start(comm), WEFT_OK);
    IS(weft_group_start(comm), WEFT_INVALID_STATE);
    IS(weft_barrier(comm, NULL, &request), WEFT_INVALID_ARGUMENT);
    IS(weft_group_end(comm, &request), WEFT_OK); /* of nothing */
    IS(weft_wait(&request), WEFT_OK);
    IS(weft_reduce(comm, &value, &value, 1, WEFT_FLOAT32, WEFT_SUM, 2, NULL, NULL), WEFT_INVALID_ARGUMENT);
    IS(weft_all_gather(comm, &value, NULL, 1, WEFT_FLOAT32, NULL, NULL), WEFT_INVALID_ARGUMENT);
    IS(weft_all_gather(comm, &value, &value, UINT64_MAX / 4, WEFT_FLOAT32, NULL, NULL), WEFT_INVALID_ARGUMENT);
    float block[4] = {0};
    /* Overlaps that are not this rank's own place. */
    IS(weft_all_gather(comm, block + 1 - rank, block, 1, WEFT_FLOAT32, NULL, NULL), WEFT_INVALID_ARGUMENT);
    IS(weft_reduce_scatter(comm, block, block + 1 - rank, 1, WEFT_FLOAT32, WEFT_SUM, NULL, NULL),
       WEFT_INVALID_ARGUMENT);
    IS(weft_all_to_allv(comm, block, ones, places, block, twos, places, WEFT_FLOAT32, NULL, NULL),
       WEFT_INVALID_ARGUMENT);
    IS(weft_all_to_allv(comm, block, NULL, places, block, ones, places, WEFT_FLOAT32, NULL, NULL),
       WEFT_INVALID_ARGUMENT);
    const weft_call ring = {.size = sizeof ring, .algorithm = WEFT_ALGORITHM_RING};
    IS(weft_all_to_all(comm, block, block, 1, WEFT_FLOAT32, &ring, NULL), WEFT_UNSUPPORTED);
    note(verdicts, rank, weft_barrier(comm, NULL, NULL));
}

static void misuse_is_refused_without_effect(void **state)
{
    (void)state;
    run_ranks(2, misuse_rank, false);
}

/* Rank 0 sends what rank 1 does not receive. */
static void other_count_rank(weft_comm *comm, uint32_t rank, void *argument, void *results)
{
    struct verdicts *verdicts = results;
    const weft_dtype *dtype = argument;
    int32_t values[100] = {0};
    if (rank == 0) verdicts->status[0] = weft_send(comm, values, 100, WEFT_INT32, 1, NULL, NULL);
    if (rank == 1)
        verdicts->status[1] = weft_recv(comm, values, dtype ? 100 : 99, dtype ? *dtype : WEFT_INT32, 0, NULL, NULL);
    if (rank == 2) verdicts->status[2] = weft_barrier(comm, NULL, NULL);
    for (uint32_t i = 0; i < 100; i++) verdicts->wrong[rank] += values[i] != 0;
    verdicts->failure[rank].size = sizeof verdicts->failure[rank];
    weft_comm_failure(comm, &verdicts->failure[rank]);
}

static void check_named(const struct verdicts *verdicts, uint32_t ranks, weft_status status, int32_t one, int32_t other)
{
    for (uint32_t rank = 0; rank < ranks; rank++) {
        const weft_failure *failure = &verdicts->failure[rank];
        assert_int_equal(verdicts->status[rank], status);
        assert_int_equal(verdicts->wrong[rank], 0);
        assert_int_equal(failure->status, status);
        assert_true((failure->rank == one && failure->other_rank == other) ||
                    (failure->rank == other && failure->other_rank == one));
    }
}

static void a_message_of_another_size_or_type_is_a_mismatch_of_the_two(void **state)
{
    (void)state;
    weft_dtype dtype = WEFT_FLOAT32;
    for (int type = 0; type < 2; type++) {
        struct verdicts verdicts = {0};
        const struct ranks_config config = {
            .rank_count = 3, .function = other_count_rank, .argument = type ? &dtype : NULL};
        ranks_as_threads(&config, &verdicts);
        check_named(&verdicts, 3, WEFT_MISMATCH, 0, 1);
        assert_non_null(strstr(verdicts.failure[0].message, "rank 0 sent another count or type than rank 1 receives"));
    }
}

/* Rank 0 means to send rank 1 one element more than that expects. */
static void other_block_rank(weft_comm *comm, uint32_t rank, void *argument, void *results)
{
    (void)argument;
    struct verdicts *verdicts = results;
    int32_t send[64] = {0}, recv[64] = {0};
    uint64_t send_counts[3] = {4, 4, 4}, recv_counts[3] = {4, 4, 4}, offsets[3] = {0, 10, 20};
    if (rank == 0) send_counts[1] = 5;
    verdicts->status[rank] =
        weft_all_to_allv(comm, send, send_counts, offsets, recv, recv_counts, offsets, WEFT_INT32, NULL, NULL);
    /* Ranks that have all they need may have completed; their next call fails. */
    if (verdicts->status[rank] == WEFT_OK) verdicts->status[rank] = weft_barrier(comm, NULL, NULL);
    verdicts->failure[rank].size = sizeof verdicts->failure[rank];
    weft_comm_failure(comm, &verdicts->failure[rank]);
}

static void blocks_of_another_size_are_a_mismatch_of_the_two(void **state)
{
    (void)state;
    struct verdicts verdicts = {0};
    const struct ranks_config config = {.rank_count = 3, .function = other_block_rank};
    ranks_as_threads(&config, &verdicts);
    check_named(&verdicts, 3, WEFT_MISMATCH, 0, 1);
}

/* Nobody sends. */
static void unanswered_rank(weft_comm *comm, uint32_t rank, void *argument, void *results)
{
    (void)argument;
    struct verdicts *verdicts = results;
    int32_t value = 7;
    const weft_call soon = {.size = sizeof soon, .deadline_ns = 200000000};
    if (rank == 0)
        verdicts->status[0] = weft_recv(comm, &value, 1, WEFT_INT32, 1, &soon, NULL);
    else
        verdicts->status[rank] =
            weft_recv(comm, &value, 1, WEFT_INT32, rank, NULL, NULL); /* nor do they to themselves */
    verdicts->wrong[rank] += value != 7;
    verdicts->failure[rank].size = sizeof verdicts->failure[rank];
    weft_comm_failure(comm, &verdicts->failure[rank]);
}

static void a_message_that_nobody_sends_ends_at_the_deadline(void **state)
{
    (void)state;
    struct verdicts verdicts = {0};
    const struct ranks_config config = {.rank_count = 3, .function = unanswered_rank};
    ranks_as_threads(&config, &verdicts);
    check_named(&verdicts, 3, WEFT_DEADLINE_EXCEEDED, 1, -1);
    assert_string_equal(verdicts.failure[0].operation, "send_recv count 1 dtype int32 peer 1");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_message_reaches_its_peer_alone),
        cmocka_unit_test(messages_to_everybody_and_oneself_keep_their_order),
        cmocka_unit_test(misuse_is_refused_without_effect),
        cmocka_unit_test(a_message_of_another_size_or_type_is_a_mismatch_of_the_two),
        cmocka_unit_test(blocks_of_another_size_are_a_mismatch_of_the_two),
        cmocka_unit_test(a_message_that_nobody_sends_ends_at_the_deadline),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
