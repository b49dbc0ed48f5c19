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

#include "canonical_reference.h"
#include "tests/collectives/comm_ranks.h"

enum { MAX_RANKS = 17, LONGEST = 5003 };

/* How the ranks of a run come to their results; those must not depend on it. */
struct way {
    weft_algorithm algorithm; /* where the collective has it */
    bool in_place;
    uint32_t parts; /* calls that the message is divided into */
};

struct results {
    uint64_t wrong, calls;
    char first[160]; /* what was wrong first */
};

/* Every rank knows every rank's input. */
static void input_of(uint32_t rank, weft_dtype dtype, weft_op op, uint64_t count, void *input, double *scale)
{
    struct random random;
    random_seed(&random, rank * 1000003 + count * 101 + (uint64_t)dtype * 7 + (uint64_t)op);
    fill_wild(dtype, &random, input, count);
    *scale = any_scale(dtype, &random);
}

/* This rank's input and scale, and what those of all ranks come to. */
static double expect(weft_comm *comm, weft_dtype dtype, weft_op op, uint64_t count, uint8_t *input, uint8_t *expected)
{
    uint32_t ranks = weft_comm_rank_count(comm), rank = weft_comm_rank(comm);
    size_t bytes = count * weft_dtype_size(dtype);
    const void *sources[MAX_RANKS];
    double scales[MAX_RANKS];
    uint8_t *inputs = malloc(bytes * ranks + 1);
    for (uint32_t i = 0; i < ranks; i++) {
        input_of(i, dtype, op, count, inputs + i * bytes, &scales[i]);
        sources[i] = inputs + i * bytes;
    }
    const struct reduce_call call = {.sources = sources,
                                     .source_count = ranks,
                                     .count = count,
                                     .divisor = op == WEFT_AVG ? ranks : 1,
                                     .scales = op == WEFT_PREMUL_SUM ? scales : NULL};
    canonical_reference(dtype, op, &call, expected);
    memcpy(input, sources[rank], bytes);
    free(inputs);
    return scales[rank];
}

static void judge(weft_comm *comm, struct results *results, weft_status status, bool right, const char *what,
                  weft_dtype dtype, weft_op op, uint64_t count)
{
    results->calls++;
    if (status == WEFT_OK && right) return;
    if (results->wrong++) return;
    snprintf(results->first, sizeof results->first, "rank %u of %u: %s %s %s count %llu: %s", weft_comm_rank(comm),
             weft_comm_rank_count(comm), what, weft_dtype_name(dtype), weft_op_name(op), (unsigned long long)count,
             status == WEFT_OK ? "other bits" : weft_status_name(status));
}

/* The message in so many calls, the first of them a third as long. */
static weft_status all_reduce_in_parts(weft_comm *comm, const weft_call *call, uint32_t parts, const uint8_t *send,
                                       uint8_t *recv, uint64_t count, weft_dtype dtype, weft_op op)
{
    uint64_t first = parts > 1 ? count / 3 : count;
    size_t skip = first * weft_dtype_size(dtype);
    weft_status status = weft_all_reduce(comm, send, recv, first, dtype, op, call, NULL);
    if (status != WEFT_OK || parts == 1) return status;
    return weft_all_reduce(comm, send + skip, recv + skip, count - first, dtype, op, call, NULL);
}

static void one_message(weft_comm *comm, const struct way *way, weft_dtype dtype, weft_op op, uint64_t count,
                        struct results *results)
{
    uint32_t ranks = weft_comm_rank_count(comm), rank = weft_comm_rank(comm);
    size_t bytes = count * weft_dtype_size(dtype);
    uint8_t *input = malloc(bytes + 1), *expected = malloc(bytes + 1);
    uint8_t *send = malloc(bytes + 1), *recv = way->in_place ? send : malloc(bytes + 1);
    weft_call call = {.size = sizeof call, .canonical = true, .algorithm = way->algorithm};
    call.scale = expect(comm, dtype, op, count, input, expected);
    memcpy(send, input, bytes);
    weft_status status = all_reduce_in_parts(comm, &call, way->parts, send, recv, count, dtype, op);
    judge(comm, results, status, memcmp(recv, expected, bytes) == 0, "all_reduce", dtype, op, count);

    uint32_t root = (uint32_t)(count % ranks);
    memcpy(send, input, bytes);
    call.algorithm = way->algorithm == WEFT_ALGORITHM_HALVING ? WEFT_ALGORITHM_TREE : way->algorithm;
    status = weft_reduce(comm, send, recv, count, dtype, op, root, &call, NULL);
    bool right = rank != root || memcmp(recv, expected, bytes) == 0;
    judge(comm, results, status, right, "reduce", dtype, op, count);

    uint64_t block = count / ranks;
    size_t skip = block * weft_dtype_size(dtype) * rank;
    memcpy(send, input, bytes);
    uint8_t *part = way->in_place ? send + skip : recv;
    call.algorithm = way->algorithm == WEFT_ALGORITHM_TREE ? WEFT_ALGORITHM_HALVING : way->algorithm;
    status = weft_reduce_scatter(comm, send, part, block, dtype, op, &call, NULL);
    right = memcmp(part, expected + skip, block * weft_dtype_size(dtype)) == 0;
    judge(comm, results, status, right, "reduce_scatter", dtype, op, count);
    if (!way->in_place) free(recv);
    free(expected);
    free(send);
    free(input);
}

static void all_messages(weft_comm *comm, uint32_t rank, void *argument, void *results)
{
    static const uint64_t counts[] = {1, 100, 2051, LONGEST};
    struct results *mine = (struct results *)results + rank;
    for (int dtype = 0; dtype < WEFT_DTYPE_COUNT; dtype++)
        for (int op = 0; op < WEFT_OP_COUNT; op++)
            one_message(comm, argument, (weft_dtype)dtype, (weft_op)op, counts[(dtype + op + (int)mine->calls / 3) % 4],
                        mine);
}

static void run_way(const struct ranks_config *config)
{
    struct results results[MAX_RANKS] = {0};
    ranks_as_threads(config, results);
    const struct way *way = config->argument;
    for (uint32_t rank = 0; rank < config->rank_count; rank++) {
        assert_int_equal(results[rank].calls, 3 * WEFT_DTYPE_COUNT * WEFT_OP_COUNT);
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
    static const uint32_t rank_counts[] = {1, 2, 3, 5, 8};
    uint32_t drawn = 0;
    for (size_t i = 0; i < sizeof rank_counts / sizeof rank_counts[0]; i++)
        for (int a = 0; a < 4; a++, drawn++) {
            struct way way = {algorithms[a], drawn % 2, 1 + drawn / 2 % 2};
            const struct ranks_config config = {
                .rank_count = rank_counts[i],
                .channel_count = 1 + drawn % 4,
                .slice_bytes = drawn % 3 == 0 ? 0 : 64 + drawn * 192,
                .progress_thread = drawn % 5 == 4,
                .function = all_messages,
                .argument = &way,
            };
            run_way(&config);
        }
}

static void seventeen_ranks_make_the_same_bits(void **state)
{
    (void)state;
    struct way way = {WEFT_ALGORITHM_AUTO, false, 1};
    const struct ranks_config config = {
        .rank_count = MAX_RANKS, .deadline_ns = 120000000000, .function = all_messages, .argument = &way};
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
    (void)rank;
    (void)argument;
    uint32_t *wrong = results;
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
    uint32_t wrong = 0;
    const struct ranks_config config = {.rank_count = 2, .function = arguments_rank};
    ranks_as_threads(&config, &wrong);
    assert_int_equal(wrong, 0);
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
