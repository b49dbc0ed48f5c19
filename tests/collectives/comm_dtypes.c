/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every type with every reduction through the public interface, ranks as threads over shared memory. Inputs are small
 * integers whose partial results are exact in every type and in any order, so every bit of the result is known.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "reduce_reference.h"
#include "tests/collectives/comm_ranks.h"

enum { MAX_RANKS = 5 };

static const uint64_t counts[] = {0, 1, 7, 100, 5003};
enum { COUNTS = sizeof counts / sizeof counts[0] };

static bool is_unsigned(weft_dtype dtype)
{
    return dtype == WEFT_UINT8 || dtype == WEFT_UINT32 || dtype == WEFT_UINT64;
}

/* A half only for floats, a negative one only for signed types; e5m2 holds all integers up to 8. */
static double scale_of(weft_dtype dtype, uint32_t rank)
{
    const double scales[MAX_RANKS] = {1, 2, dtype_is_float(dtype) ? 0.5 : 1, is_unsigned(dtype) ? 1 : -1, 0};
    return scales[rank];
}

/* Not the same for any two ranks at all elements, nor for any two operations. */
static double input_of(weft_dtype dtype, weft_op op, uint32_t rank, uint64_t element)
{
    uint64_t mixed = (element + 1) * UINT64_C(0x9e3779b97f4a7c15) >> (20 + 7 * rank);
    switch (op) {
    case WEFT_SUM:
        return (double)(mixed % 2);
    case WEFT_PREMUL_SUM:
        return (double)(mixed % 2) * (scale_of(dtype, rank) < 1 ? 2 : 1);
    case WEFT_AVG: /* a multiple of any rank count is the same on all ranks */
        return (double)(element % 2);
    case WEFT_PROD:
        return (double)(1 + mixed % 2) * (is_unsigned(dtype) || element % 3 ? 1 : -1);
    default:
        return (double)(mixed % 8) - (is_unsigned(dtype) ? 0 : 4);
    }
}

static double result_of(weft_dtype dtype, weft_op op, uint32_t rank_count, uint64_t element)
{
    double result = 0;
    for (uint32_t rank = 0; rank < rank_count; rank++) {
        double value = input_of(dtype, op, rank, element);
        if (op == WEFT_PREMUL_SUM) value *= scale_of(dtype, rank);
        if (rank == 0)
            result = value;
        else if (op == WEFT_PROD)
            result *= value;
        else if (op == WEFT_MIN)
            result = fmin(result, value);
        else if (op == WEFT_MAX)
            result = fmax(result, value);
        else
            result += value;
    }
    return op == WEFT_AVG ? result / rank_count : result;
}

struct dtypes_case {
    weft_algorithm algorithm;
    bool in_place;
};

struct dtypes_results {
    uint64_t wrong[MAX_RANKS];
    char first[MAX_RANKS][128]; /* what was wrong first */
};

static void note(struct dtypes_results *results, uint32_t rank, weft_dtype dtype, weft_op op, uint64_t count,
                 const char *what)
{
    if (results->wrong[rank]++) return;
    snprintf(results->first[rank], sizeof results->first[rank], "rank %u %s %s count %llu: %s", rank,
             weft_dtype_name(dtype), weft_op_name(op), (unsigned long long)count, what);
}

/* One call; @p buffers has room for three times the bytes. */
static void reduce_once(weft_comm *comm, const struct dtypes_case *chosen, weft_dtype dtype, weft_op op, uint64_t count,
                        uint8_t *buffers, struct dtypes_results *results)
{
    uint32_t rank = weft_comm_rank(comm), rank_count = weft_comm_rank_count(comm);
    size_t bytes = count * weft_dtype_size(dtype), room = (bytes + 64) / 64 * 64;
    uint8_t *recv = buffers, *expected = buffers + room, *send = chosen->in_place ? recv : buffers + 2 * room;
    memset(recv, 0xee, room);
    for (uint64_t i = 0; i < count; i++) {
        element_store(dtype, send, i, input_of(dtype, op, rank, i));
        element_store(dtype, expected, i, result_of(dtype, op, rank_count, i));
    }
    const weft_call call = {.size = sizeof call, .algorithm = chosen->algorithm, .scale = scale_of(dtype, rank)};
    weft_status status = weft_all_reduce(comm, send, recv, count, dtype, op, &call, NULL);
    if (status != WEFT_OK) note(results, rank, dtype, op, count, weft_status_name(status));
    if (memcmp(recv, expected, bytes) != 0) note(results, rank, dtype, op, count, "wrong elements");
    if (recv[bytes] != 0xee) note(results, rank, dtype, op, count, "wrote behind the buffer");
}

static void dtypes_rank(weft_comm *comm, uint32_t rank, void *argument, void *results)
{
    (void)rank;
    uint8_t *buffers = aligned_alloc(64, 3 * (counts[COUNTS - 1] * 8 + 64) / 64 * 64 + 64);
    for (int dtype = 0; dtype < WEFT_DTYPE_COUNT; dtype++)
        for (int op = 0; op < WEFT_OP_COUNT; op++)
            for (int i = 0; i < COUNTS; i++)
                reduce_once(comm, argument, (weft_dtype)dtype, (weft_op)op, counts[i], buffers, results);
    free(buffers);
}

static void run_dtypes(uint32_t rank_count, bool in_place)
{
    for (int algorithm = WEFT_ALGORITHM_AUTO; algorithm <= WEFT_ALGORITHM_DIRECT; algorithm++) {
        struct dtypes_case chosen = {(weft_algorithm)algorithm, in_place};
        struct dtypes_results results = {0};
        const struct ranks_config config = {
            .rank_count = rank_count, .slice_bytes = 2048, .function = dtypes_rank, .argument = &chosen};
        ranks_as_threads(&config, &results);
        for (uint32_t rank = 0; rank < rank_count; rank++)
            if (results.wrong[rank])
                fail_msg("ranks %u, %s, %s: %llu wrong calls, first: %s", rank_count,
                         weft_algorithm_name(chosen.algorithm), in_place ? "in place" : "out of place",
                         (unsigned long long)results.wrong[rank], results.first[rank]);
    }
}

static void every_type_and_reduction_is_right_out_of_place(void **state)
{
    (void)state;
    for (uint32_t ranks = 1; ranks <= MAX_RANKS; ranks += 2) run_dtypes(ranks, false);
}

static void every_type_and_reduction_is_right_in_place(void **state)
{
    (void)state;
    for (uint32_t ranks = 1; ranks <= MAX_RANKS; ranks++) run_dtypes(ranks, true);
}

/* With two ranks there is one addition, whose order no float can tell: products are rounded once, and not fused. */
static void scaled_rank(weft_comm *comm, uint32_t rank, void *argument, void *results)
{
    enum { COUNT = 5000 };
    static const double scales[2] = {1.0 / 3, -0.7};
    uint64_t *wrong = results;
    bool in_place = *(bool *)argument;
    float *send = malloc(COUNT * sizeof *send), *recv = in_place ? send : malloc(COUNT * sizeof *recv);
    for (int i = 0; i < COUNT; i++) send[i] = (float)(i + 1) / (float)(7 + 6 * rank);
    const weft_call call = {.size = sizeof call, .scale = scales[rank]};
    if (weft_all_reduce(comm, send, recv, COUNT, WEFT_FLOAT32, WEFT_PREMUL_SUM, &call, NULL) != WEFT_OK) wrong[rank]++;
    for (int i = 0; i < COUNT; i++) {
        float terms[2];
        for (int k = 0; k < 2; k++) terms[k] = (float)scales[k] * ((float)(i + 1) / (float)(7 + 6 * k));
        float sum = terms[0] + terms[1];
        wrong[rank] += memcmp(&recv[i], &sum, sizeof sum) != 0;
    }
    if (!in_place) free(recv);
    free(send);
}

static void a_premultiplied_sum_rounds_each_product_once(void **state)
{
    (void)state;
    for (int in_place = 0; in_place < 2; in_place++) {
        bool argument = in_place;
        uint64_t wrong[2] = {0};
        const struct ranks_config config = {.rank_count = 2, .function = scaled_rank, .argument = &argument};
        ranks_as_threads(&config, wrong);
        assert_int_equal(wrong[0], 0);
        assert_int_equal(wrong[1], 0);
    }
}

static weft_status premultiply(weft_comm *comm, weft_dtype dtype, double scale)
{
    uint64_t buffer[1] = {0};
    const weft_call call = {.size = sizeof call, .scale = scale};
    return weft_all_reduce(comm, buffer, buffer, 1, dtype, WEFT_PREMUL_SUM, &call, NULL);
}

static void scales_rank(weft_comm *comm, uint32_t rank, void *argument, void *results)
{
    (void)rank;
    (void)argument;
    uint64_t *wrong = results;
    static const struct {
        weft_dtype dtype;
        double scale;
        bool fits;
    } cases[] = {
        {WEFT_FLOAT32, 0, true},          {WEFT_FLOAT32, -0.3, true},      {WEFT_FLOAT32, 1e39, false},
        {WEFT_FLOAT32, NAN, false},       {WEFT_FLOAT32, INFINITY, false}, {WEFT_FLOAT64, 1e300, true},
        {WEFT_FLOAT64, -INFINITY, false}, {WEFT_FLOAT64, NAN, false},      {WEFT_FLOAT16, 1e30, true},
        {WEFT_FLOAT8_E4M3, -1e39, false}, {WEFT_BFLOAT16, 0.5, true},      {WEFT_INT8, -128, true},
        {WEFT_INT8, 128, false},          {WEFT_INT8, 0.5, false},         {WEFT_UINT8, 255, true},
        {WEFT_UINT8, 256, false},         {WEFT_UINT8, -1, false},         {WEFT_INT32, -0x1p31, true},
        {WEFT_INT32, 0x1p31, false},      {WEFT_UINT32, 0x1p32 - 1, true}, {WEFT_UINT32, 0x1p32, false},
        {WEFT_INT64, -0x1p63, true},      {WEFT_INT64, 0x1p63, false},     {WEFT_UINT64, 0x1p63, true},
        {WEFT_UINT64, 0x1p64, false},     {WEFT_UINT64, 1.5, false},       {WEFT_INT64, NAN, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        weft_status status = premultiply(comm, cases[i].dtype, cases[i].scale);
        if (status == (cases[i].fits ? WEFT_OK : WEFT_INVALID_ARGUMENT)) continue;
        fprintf(stderr, "%s scale %g: %s\n", weft_dtype_name(cases[i].dtype), cases[i].scale, weft_status_name(status));
        ++*wrong;
    }
    float value = 1;
    *wrong +=
        weft_all_reduce(comm, &value, &value, 1, WEFT_FLOAT32, WEFT_PREMUL_SUM, NULL, NULL) != WEFT_INVALID_ARGUMENT;
    const weft_call unread = {.size = sizeof unread, .scale = NAN}; /* of no other reduction */
    *wrong += weft_all_reduce(comm, &value, &value, 1, WEFT_INT32, WEFT_SUM, &unread, NULL) != WEFT_OK;
    *wrong += value != 1;
}

static void a_scale_that_the_type_does_not_hold_is_refused(void **state)
{
    (void)state;
    uint64_t wrong = 0;
    const struct ranks_config config = {.rank_count = 1, .function = scales_rank};
    ranks_as_threads(&config, &wrong);
    assert_int_equal(wrong, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_type_and_reduction_is_right_out_of_place),
        cmocka_unit_test(every_type_and_reduction_is_right_in_place),
        cmocka_unit_test(a_premultiplied_sum_rounds_each_product_once),
        cmocka_unit_test(a_scale_that_the_type_does_not_hold_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
