/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Canonical results through the public interface: the reference's bits for every type and operation, whatever the
 * numbers of ranks and channels, the size of slices, the algorithm, the way a message is divided into calls, in place
 * or not. Ranks are threads; ctest runs this over shared memory, over TCP and over both at once.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/random.h"
#include "canonical_messages.h"
#include "tests/collectives/comm_ranks.h"

static void run_way(const struct ranks_config *config)
{
    struct canonical_results results[CANONICAL_MAX_RANKS] = {0};
    ranks_as_threads(config, results);
    const struct canonical_way *way = config->argument;
    for (uint32_t rank = 0; rank < config->rank_count; rank++) {
        assert_int_equal(results[rank].calls, CANONICAL_CALLS);
        if (results[rank].wrong)
            fail_msg("%s, %s, %u channels, slices of %llu: %llu wrong, first %s", weft_algorithm_name(way->algorithm),
                     way->in_place ? "in place" : "out of place", config->channel_count,
                     (unsigned long long)config->slice_bytes, (unsigned long long)results[rank].wrong,
                     results[rank].first);
    }
}

static void every_way_makes_the_same_bits(void **state)
{
    (void)state;
    static const weft_algorithm algorithms[] = {WEFT_ALGORITHM_AUTO, WEFT_ALGORITHM_DIRECT, WEFT_ALGORITHM_TREE,
                                                WEFT_ALGORITHM_HALVING};
    static const uint32_t rank_counts[] = {1, 2, 3, 6};
    uint32_t drawn = 0;
    for (size_t i = 0; i < sizeof rank_counts / sizeof rank_counts[0]; i++)
        for (int a = 0; a < 4; a++, drawn++) {
            struct canonical_way way = {algorithms[a], drawn % 2, 1 + drawn / 2 % 2};
            const struct ranks_config config = {
                .rank_count = rank_counts[i],
                .channel_count = 1 + drawn % 4,
                .slice_bytes = drawn % 3 == 0 ? 0 : 64 + drawn * 192,
                .progress_thread = drawn % 5 == 4,
                .function = canonical_messages,
                .argument = &way,
            };
            run_way(&config);
        }
}

static void seventeen_ranks_make_the_same_bits(void **state)
{
    (void)state;
    struct canonical_way way = {WEFT_ALGORITHM_AUTO, false, 1};
    const struct ranks_config config = {.rank_count = CANONICAL_MAX_RANKS,
                                        .deadline_ns = 120000000000,
                                        .function = canonical_messages,
                                        .argument = &way};
    run_way(&config);
}

/* What ranks made of one input of each type, call by call, for comparison with another run. */
enum { FREE_COUNT = 5003 };
static void free_order(weft_comm *comm, uint32_t rank, void *argument, void *results)
{
    const weft_algorithm *algorithm = argument;
    float *mine = (float *)results + (size_t)rank * FREE_COUNT, *send = malloc(FREE_COUNT * sizeof *send);
    struct random random;
    random_seed(&random, rank + 1);
    for (int i = 0; i < FREE_COUNT; i++) send[i] = (float)(random_unit(&random) - 0.5);
    const weft_call call = {.size = sizeof call, .algorithm = *algorithm};
    if (weft_all_reduce(comm, send, mine, FREE_COUNT, WEFT_FLOAT32, WEFT_SUM, &call, NULL) != WEFT_OK) abort();
    free(send);
}

static void without_it_results_are_equal_from_run_to_run(void **state)
{
    (void)state;
    enum { RANKS = 5, FLOATS = RANKS * FREE_COUNT };
    float *results[2] = {calloc(FLOATS, sizeof(float)), calloc(FLOATS, sizeof(float))};
    for (weft_algorithm algorithm = WEFT_ALGORITHM_AUTO; algorithm <= WEFT_ALGORITHM_DIRECT; algorithm++)
        for (int run = 0; run < 4; run++) {
            const struct ranks_config config = {
                .rank_count = RANKS, .channel_count = 2, .function = free_order, .argument = &algorithm};
            ranks_as_threads(&config, results[run > 0]);
            for (int rank = 1; rank < RANKS; rank++)
                assert_memory_equal(results[run > 0] + rank * FREE_COUNT, results[run > 0], FREE_COUNT * sizeof(float));
            if (run > 0) assert_memory_equal(results[0], results[1], FLOATS * sizeof(float));
        }
    free(results[0]);
    free(results[1]);
}

static void arguments_rank(weft_comm *comm, uint32_t rank, void *argument, void *results)
{
    (void)argument;
    uint32_t *wrong = (uint32_t *)results + rank;
    float value = 1, block[2] = {1, 2};
    weft_call call = {.size = sizeof call, .algorithm = WEFT_ALGORITHM_RING, .canonical = true};
    *wrong += weft_all_reduce(comm, &value, &value, 1, WEFT_FLOAT32, WEFT_SUM, &call, NULL) != WEFT_INVALID_ARGUMENT;
    *wrong += weft_reduce(comm, &value, &value, 1, WEFT_FLOAT32, WEFT_MAX, 0, &call, NULL) != WEFT_INVALID_ARGUMENT;
    *wrong += weft_broadcast(comm, &value, &value, 1, WEFT_FLOAT32, 0, &call, NULL) != WEFT_OK; /* combines nothing */
    call.algorithm = WEFT_ALGORITHM_AUTO;
    *wrong += weft_all_gather(comm, &value, block, 1, WEFT_FLOAT32, &call, NULL) != WEFT_OK;
    *wrong += weft_barrier(comm, &call, NULL) != WEFT_OK;
}

static void what_cannot_be_canonical_is_an_invalid_argument(void **state)
{
    (void)state;
    uint32_t wrong[2] = {0};
    const struct ranks_config config = {.rank_count = 2, .function = arguments_rank};
    ranks_as_threads(&config, wrong);
    assert_int_equal(wrong[0] + wrong[1], 0);
}

static void mismatch_rank(weft_comm *comm, uint32_t rank, void *argument, void *results)
{
    (void)argument;
    float value = 1;
    const weft_call call = {.size = sizeof call, .canonical = rank == 1, .algorithm = WEFT_ALGORITHM_DIRECT};
    ((weft_status *)results)[rank] = weft_all_reduce(comm, &value, &value, 1, WEFT_FLOAT32, WEFT_SUM, &call, NULL);
}

static void ranks_that_disagree_on_it_are_told(void **state)
{
    (void)state;
    weft_status statuses[3];
    const struct ranks_config config = {.rank_count = 3, .function = mismatch_rank};
    ranks_as_threads(&config, statuses);
    for (int rank = 0; rank < 3; rank++) assert_int_equal(statuses[rank], WEFT_MISMATCH);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_way_makes_the_same_bits),
        cmocka_unit_test(seventeen_ranks_make_the_same_bits),
        cmocka_unit_test(without_it_results_are_equal_from_run_to_run),
        cmocka_unit_test(what_cannot_be_canonical_is_an_invalid_argument),
        cmocka_unit_test(ranks_that_disagree_on_it_are_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
