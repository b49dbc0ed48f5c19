/* SPDX-License-Identifier: Apache-2.0 */
/* Parts of a communicator: who is in them and in which order, and that none fails because of another. */
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
};

static void run_ranks(uint32_t ranks, rank_function function, bool progress_thread)
{
    struct verdicts verdicts = {0};
    const struct ranks_config config = {.rank_count = ranks, .progress_thread = progress_thread, .function = function};
    ranks_as_threads(&config, &verdicts);
    for (uint32_t rank = 0; rank < ranks; rank++) {
        assert_int_equal(verdicts.status[rank], WEFT_OK);
        assert_int_equal(verdicts.wrong[rank], 0);
    }
}

/* The members' ranks in the whole, gathered over the part. */
static uint64_t check_members(weft_comm *part, uint32_t whole_rank, const uint32_t *expected, uint32_t count)
{
    uint32_t members[MOST_RANKS] = {0};
    if (weft_comm_rank_count(part) != count) return 1;
    weft_status status = weft_all_gather(part, &whole_rank, members, 1, WEFT_UINT32, NULL, NULL);
    uint64_t wrong = status != WEFT_OK;
    for (uint32_t i = 0; i < count; i++) wrong += members[i] != expected[i];
    return wrong + (expected[weft_comm_rank(part)] != whole_rank);
}

/* Three colours: ascending, descending by key, and equal keys; rank 5 is in none. */
static void colours_rank(weft_comm *comm, uint32_t rank, void *argument, void *results)
{
    (void)argument;
    static const int32_t colours[7] = {0, 7, 0, 7, 0, WEFT_COLOUR_NONE, 2000000000};
    static const int32_t keys[7] = {5, -1, 5, -2, -100, 0, 0};
    static const uint32_t zero[3] = {4, 0, 2}, seven[2] = {3, 1}, alone[1] = {6};
    struct verdicts *verdicts = results;
    weft_comm *part = comm;
    verdicts->status[rank] = weft_comm_split(comm, colours[rank], keys[rank], &part);
    if (verdicts->status[rank] != WEFT_OK) return;
    if (colours[rank] == WEFT_COLOUR_NONE)
        verdicts->wrong[rank] += part != NULL;
    else if (colours[rank] == 0)
        verdicts->wrong[rank] += check_members(part, rank, zero, 3);
    else
        verdicts->wrong[rank] +=
            colours[rank] == 7 ? check_members(part, rank, seven, 2) : check_members(part, rank, alone, 1);
    int64_t one = 1, sum = 0; /* the whole goes on */
    verdicts->status[rank] = weft_all_reduce(comm, &one, &sum, 1, WEFT_INT64, WEFT_SUM, NULL, NULL);
    verdicts->wrong[rank] += sum != 7;
    weft_comm_destroy(part);
}

static void ranks_of_one_colour_are_ordered_by_key(void **state)
{
    (void)state;
    run_ranks(7, colours_rank, false);
    run_ranks(7, colours_rank, true);
}

/* Halves of halves, used after the wholes are gone. */
static void halves_rank(weft_comm *comm, uint32_t rank, void *argument, void *results)
{
    (void)argument;
    struct verdicts *verdicts = results;
    weft_comm *half = NULL, *quarter = NULL;
    verdicts->status[rank] = weft_comm_split(comm, (int32_t)rank / 4, 0, &half);
    if (verdicts->status[rank] != WEFT_OK) return;
    verdicts->status[rank] = weft_comm_split(half, (int32_t)(rank % 4) / 2, 0, &quarter);
    weft_comm_destroy(half);
    if (verdicts->status[rank] != WEFT_OK) return;
    const uint32_t expected[2] = {rank / 2 * 2, rank / 2 * 2 + 1};
    verdicts->wrong[rank] += check_members(quarter, rank, expected, 2);
    weft_comm_destroy(quarter);
}

static void parts_can_be_divided_again_and_outlive_the_whole(void **state)
{
    (void)state;
    run_ranks(8, halves_rank, false);
}

/* The first part fails by a mismatch, the second is revoked, the third and the whole go on. */
static void failing_rank(weft_comm *comm, uint32_t rank, void *argument, void *results)
{
    (void)argument;
    struct verdicts *verdicts = results;
    weft_comm *part = NULL;
    float values[8] = {0};
    verdicts->status[rank] = weft_comm_split(comm, (int32_t)rank / 2, 0, &part);
    if (verdicts->status[rank] != WEFT_OK) return;
    weft_status status;
    if (rank / 2 == 0) {
        status = weft_all_reduce(part, values, values, 1 + rank, WEFT_FLOAT32, WEFT_SUM, NULL, NULL);
        verdicts->wrong[rank] += status != WEFT_MISMATCH;
    } else if (rank / 2 == 1) {
        if (rank == 2) weft_comm_revoke(part);
        status = weft_barrier(part, NULL, NULL);
        verdicts->wrong[rank] += status != WEFT_REVOKED;
    } else {
        status = weft_barrier(part, NULL, NULL);
        verdicts->wrong[rank] += status != WEFT_OK;
    }
    verdicts->status[rank] = weft_barrier(comm, NULL, NULL);
    weft_comm_destroy(part);
}

static void a_part_that_fails_fails_nobody_else(void **state)
{
    (void)state;
    run_ranks(6, failing_rank, false);
}

static void misuse_rank(weft_comm *comm, uint32_t rank, void *argument, void *results)
{
    (void)argument;
    struct verdicts *verdicts = results;
    weft_comm *part = comm;
    verdicts->wrong[rank] += weft_comm_split(NULL, 0, 0, &part) != WEFT_INVALID_ARGUMENT;
    verdicts->wrong[rank] += weft_comm_split(comm, 0, 0, NULL) != WEFT_INVALID_ARGUMENT;
    verdicts->wrong[rank] += weft_comm_split(comm, -2, 0, &part) != WEFT_INVALID_ARGUMENT;
    weft_group_start(comm);
    verdicts->wrong[rank] += weft_comm_split(comm, 0, 0, &part) != WEFT_INVALID_STATE;
    weft_group_end(comm, NULL);
    verdicts->wrong[rank] += part != comm;
    verdicts->status[rank] = weft_barrier(comm, NULL, NULL);
}

static void misuse_is_refused_without_effect(void **state)
{
    (void)state;
    run_ranks(2, misuse_rank, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranks_of_one_colour_are_ordered_by_key),
        cmocka_unit_test(parts_can_be_divided_again_and_outlive_the_whole),
        cmocka_unit_test(a_part_that_fails_fails_nobody_else),
        cmocka_unit_test(misuse_is_refused_without_effect),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
