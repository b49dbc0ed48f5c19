/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tools/perf/measure.h"
#include "tools/perf/pattern.h"
#include "tools/perf/tune.h"

enum { PERIOD = 4093 }; /* elements after which inputs repeat */

/* Elements as this test reads and writes them: written again here, since the tool's own way is what is tested. */
static double half_read(uint16_t bits)
{
    int exponent = bits >> 10 & 31, fraction = bits & 1023;
    double value = exponent ? ldexp(1024 + fraction, exponent - 25) : ldexp(fraction, -24);
    return bits >> 15 ? -value : value;
}

static double e4m3_read(uint8_t bits)
{
    int exponent = bits >> 3 & 15, fraction = bits & 7;
    double value = exponent ? ldexp(8 + fraction, exponent - 10) : ldexp(fraction, -9);
    return bits >> 7 ? -value : value;
}

static double element_read(const void *at, int dtype)
{
    uint8_t byte = *(const uint8_t *)at;
    uint16_t half;
    uint32_t word;
    float single;
    double value;
    int32_t small;
    int64_t large;
    switch (dtype) {
    case WEFT_FLOAT32:
        memcpy(&single, at, 4);
        return (double)single;
    case WEFT_FLOAT64:
        memcpy(&value, at, 8);
        return value;
    case WEFT_FLOAT16:
        memcpy(&half, at, 2);
        return half_read(half);
    case WEFT_BFLOAT16:
        memcpy(&half, at, 2);
        word = (uint32_t)half << 16;
        memcpy(&single, &word, 4);
        return (double)single;
    case WEFT_INT32:
        memcpy(&small, at, 4);
        return small;
    case WEFT_UINT32:
        memcpy(&word, at, 4);
        return word;
    case WEFT_INT8:
        return (int8_t)byte;
    case WEFT_UINT8:
        return byte;
    case WEFT_FLOAT8_E4M3:
        return e4m3_read(byte);
    case WEFT_FLOAT8_E5M2:
        return half_read((uint16_t)(byte << 8));
    default:
        memcpy(&large, at, 8);
        return (double)large;
    }
}

/* Is an integer held exactly by the type, so that rounding to it changes nothing? */
static bool is_exact(double value, int dtype)
{
    static const int significand_bits[WEFT_DTYPE_COUNT] = {
        [WEFT_FLOAT32] = 24,    [WEFT_FLOAT16] = 11,    [WEFT_BFLOAT16] = 8,
        [WEFT_FLOAT8_E4M3] = 4, [WEFT_FLOAT8_E5M2] = 3, [WEFT_INT8] = 7};
    int bits = significand_bits[dtype] ? significand_bits[dtype] : 53;
    int exponent;
    if (value == 0) return true;
    if (dtype == WEFT_UINT8) return value >= 0 && value <= UINT8_MAX;
    if (dtype == WEFT_FLOAT8_E4M3 && fabs(value) > 448) return false;
    double fraction = frexp(value, &exponent);
    double scaled = ldexp(fraction, bits);
    return scaled == floor(scaled) && (dtype != WEFT_FLOAT16 || fabs(value) < 65520);
}

static double combine(int op, double left, double right)
{
    switch (op) {
    case WEFT_PROD:
        return left * right;
    case WEFT_MIN:
        return fmin(left, right);
    case WEFT_MAX:
        return fmax(left, right);
    default:
        return left + right;
    }
}

/* What a rank's element counts. */
static double term(const struct perf_options *options, const struct pattern patterns[], uint32_t rank, size_t element)
{
    double value = element_read(patterns[rank].input + element * patterns[rank].element_bytes, options->dtype);
    return options->op == WEFT_PREMUL_SUM ? value * pattern_scale(rank) : value;
}

/* Combine the inputs of all ranks from rank @p first on, round about, or pairwise; every partial result must be exact.
 */
static void check_element(const struct perf_options *options, const struct pattern patterns[], uint32_t rank_count,
                          size_t element)
{
    size_t size = patterns[0].element_bytes;
    double expected = element_read(patterns[0].expected + element * size, options->dtype);
    for (uint32_t first = 0; first < rank_count; first += 1 + rank_count / 3) {
        double value = term(options, patterns, first, element);
        for (uint32_t i = 1; i < rank_count; i++) {
            uint32_t rank = (first + i) % rank_count;
            value = combine(options->op, value, term(options, patterns, rank, element));
            if (!is_exact(value, options->dtype))
                fail_msg("dtype %d op %d ranks %u: %g is rounded", options->dtype, options->op, rank_count, value);
        }
        if (options->op == WEFT_AVG) value /= rank_count;
        if (value != expected)
            fail_msg("dtype %d op %d ranks %u element %zu: %g, not %g", options->dtype, options->op, rank_count,
                     element, value, expected);
    }
}

static void check_pattern(int dtype, int op, uint32_t rank_count)
{
    struct perf_options options = {.collective = WEFT_ALL_REDUCE, .dtype = dtype, .op = op};
    struct pattern *patterns = calloc(rank_count, sizeof *patterns);
    for (uint32_t rank = 0; rank < rank_count; rank++)
        assert_int_equal(pattern_create(&patterns[rank], &options, rank, rank_count), 0);
    for (size_t element = 0; element < PERIOD; element += 13) check_element(&options, patterns, rank_count, element);
    for (uint32_t rank = 0; rank < rank_count; rank++) pattern_destroy(&patterns[rank]);
    free(patterns);
}

static void results_are_exact_in_any_order_for_every_type_and_reduction(void **state)
{
    (void)state;
    static const uint32_t rank_counts[] = {1, 2, 3, 5, 8, 17};
    for (int dtype = 0; dtype < WEFT_DTYPE_COUNT; dtype++)
        for (int op = 0; op < WEFT_OP_COUNT; op++)
            for (size_t n = 0; n < sizeof rank_counts / sizeof *rank_counts; n++)
                check_pattern(dtype, op, rank_counts[n]);
}

static void more_ranks_than_a_type_counts_to_are_exact_too(void **state)
{
    (void)state;
    check_pattern(WEFT_BFLOAT16, WEFT_SUM, 271);
    check_pattern(WEFT_BFLOAT16, WEFT_AVG, 271);
}

static void ranks_expect_the_same_and_start_from_different(void **state)
{
    (void)state;
    struct perf_options options = {.collective = WEFT_ALL_REDUCE, .dtype = WEFT_FLOAT32, .op = WEFT_SUM};
    struct pattern one, other;
    assert_int_equal(pattern_create(&one, &options, 0, 4), 0);
    assert_int_equal(pattern_create(&other, &options, 3, 4), 0);
    assert_memory_equal(one.expected, other.expected, PERIOD * 4);
    assert_memory_not_equal(one.input, other.input, PERIOD * 4);
    pattern_destroy(&one);
    pattern_destroy(&other);
}

static void a_broadcast_expects_the_roots_input(void **state)
{
    (void)state;
    struct perf_options options = {.collective = WEFT_BROADCAST, .dtype = WEFT_FLOAT16, .root = 2};
    struct pattern root, other;
    assert_int_equal(pattern_create(&root, &options, 2, 4), 0);
    assert_int_equal(pattern_create(&other, &options, 0, 4), 0);
    assert_memory_equal(root.input, other.expected, PERIOD * 2);
    pattern_destroy(&root);
    pattern_destroy(&other);
}

static void every_wrong_element_is_counted(void **state)
{
    (void)state;
    enum { COUNT = 40000 };
    struct perf_options options = {.collective = WEFT_BROADCAST, .dtype = WEFT_INT32};
    struct pattern pattern;
    assert_int_equal(pattern_create(&pattern, &options, 0, 2), 0);
    int32_t *buffer = calloc(COUNT, sizeof *buffer);
    pattern_fill_input(&pattern, buffer, 0, COUNT);
    assert_int_equal(pattern_count_wrong(&pattern, buffer, 0, COUNT), 0);
    buffer[0]++;
    buffer[PERIOD] ^= 1;
    buffer[COUNT - 1] = INT32_MIN;
    assert_int_equal(pattern_count_wrong(&pattern, buffer, 0, COUNT), 3);
    assert_int_equal(pattern_count_wrong(&pattern, buffer, 0, COUNT - 1), 2);
    pattern_fill_poison(&pattern, buffer, 0, COUNT);
    assert_int_equal(pattern_count_wrong(&pattern, buffer, 0, COUNT), COUNT);
    assert_int_equal(pattern_count_wrong(&pattern, buffer, 0, 0), 0);
    free(buffer);
    pattern_destroy(&pattern);
}

static void a_block_of_another_place_is_wrong(void **state)
{
    (void)state;
    enum { BLOCK = 5000 };
    struct perf_options options = {.collective = WEFT_ALL_GATHER, .dtype = WEFT_INT64};
    struct pattern pattern;
    assert_int_equal(pattern_create(&pattern, &options, 1, 3), 0);
    int64_t *buffer = calloc(3 * BLOCK, sizeof *buffer);
    for (uint64_t rank = 0; rank < 3; rank++) pattern_fill_input(&pattern, buffer + rank * BLOCK, rank * BLOCK, BLOCK);
    assert_int_equal(pattern_count_wrong(&pattern, buffer, 0, 3 * BLOCK), 0);
    pattern_fill_input(&pattern, buffer + BLOCK, 2 * BLOCK, BLOCK);
    assert_true(pattern_count_wrong(&pattern, buffer, 0, 3 * BLOCK) > BLOCK / 2);
    free(buffer);
    pattern_destroy(&pattern);
}

static void data_at_a_wrong_place_is_wrong(void **state)
{
    (void)state;
    enum { COUNT = 1 << 17 };
    struct perf_options options = {.collective = WEFT_BROADCAST, .dtype = WEFT_FLOAT32};
    struct pattern pattern;
    assert_int_equal(pattern_create(&pattern, &options, 0, 2), 0);
    float *buffer = calloc(2 * COUNT, sizeof *buffer);
    pattern_fill_input(&pattern, buffer, 0, 2 * COUNT);
    for (uint64_t shift = 1; shift <= COUNT; shift *= 2)
        assert_true(pattern_count_wrong(&pattern, buffer + shift, 0, COUNT) > COUNT / 2);
    free(buffer);
    pattern_destroy(&pattern);
}

static void tuning_keeps_the_automatic_choice_unless_another_is_surely_faster(void **state)
{
    (void)state;
    const weft_algorithm automatic = WEFT_ALGORITHM_AUTO, ring = WEFT_ALGORITHM_RING, tree = WEFT_ALGORITHM_TREE;
    struct tune_row rows[] = {
        {.algorithm = automatic, .chosen = ring, .time_us = 9},
        {.algorithm = ring, .chosen = ring, .time_us = 10},
        {.algorithm = tree, .chosen = tree, .time_us = 9.9},
        {.algorithm = ring, .chosen = ring, .time_us = 9.6, .slice_bytes = 65536},
    };
    assert_ptr_equal(tune_best(rows, 4, false), &rows[1]);
    rows[3].time_us = 9.4; /* the same algorithm with other slices is another choice */
    assert_ptr_equal(tune_best(rows, 4, false), &rows[3]);
    rows[2].time_us = 9.3;
    assert_ptr_equal(tune_best(rows, 4, false), &rows[2]);
    assert_ptr_equal(tune_best(rows, 2, false), &rows[1]);
}

static void one_spoiled_pass_of_three_changes_no_tuning(void **state)
{
    (void)state;
    const weft_algorithm automatic = WEFT_ALGORITHM_AUTO, ring = WEFT_ALGORITHM_RING, tree = WEFT_ALGORITHM_TREE;
    struct tune_row rows[9];
    for (int pass = 0; pass < 3; pass++) {
        rows[3 * pass] = (struct tune_row){.algorithm = automatic, .chosen = ring, .time_us = 10};
        rows[3 * pass + 1] = (struct tune_row){.algorithm = ring, .chosen = ring, .time_us = pass == 1 ? 90 : 10};
        rows[3 * pass + 2] = (struct tune_row){.algorithm = tree, .chosen = tree, .time_us = pass == 2 ? 1 : 20};
        for (int i = 0; i < 3; i++) rows[3 * pass + i].pass = (uint32_t)pass;
    }
    assert_int_equal(tune_best(rows, 9, false)->algorithm, ring);
    for (int pass = 0; pass < 3; pass++) rows[3 * pass + 2].time_us = pass == 0 ? 11 : 8;
    assert_int_equal(tune_best(rows, 9, false)->algorithm, ring); /* not each time */
    rows[2].time_us = 9;
    assert_int_equal(tune_best(rows, 9, false)->algorithm, tree);
}

static void tuning_takes_what_loses_least_in_every_state_of_the_machine(void **state)
{
    (void)state;
    const weft_algorithm automatic = WEFT_ALGORITHM_AUTO, tree = WEFT_ALGORITHM_TREE, direct = WEFT_ALGORITHM_DIRECT;
    /* Twice as fast near, four times slower apart. */
    struct tune_row rows[] = {
        {.algorithm = automatic, .chosen = tree, .time_us = 50, .ping_us = 0.04},
        {.algorithm = tree, .chosen = tree, .time_us = 50, .ping_us = 0.04},
        {.algorithm = direct, .chosen = direct, .time_us = 100, .ping_us = 0.04},
        {.pass = 1, .algorithm = tree, .chosen = tree, .time_us = 400, .ping_us = 0.2},
        {.pass = 1, .algorithm = direct, .chosen = direct, .time_us = 100, .ping_us = 0.2},
        {.algorithm = tree, .chosen = tree, .time_us = 40, .ping_us = 0.04, .channels = 2}, /* never seen apart */
    };
    assert_int_equal(tune_best(rows, 6, false)->algorithm, direct);
    assert_int_equal(tune_best(rows, 3, false)->algorithm, tree);
    for (int i = 0; i < 3; i++) rows[i].ping_us = 0.18; /* one state */
    assert_int_equal(tune_best(rows, 5, false)->algorithm, tree);
    rows[1].time_us = 120;
    assert_int_equal(tune_best(rows, 5, false)->algorithm, direct);
}

static void what_is_the_same_in_one_state_may_win_in_the_other(void **state)
{
    (void)state;
    const weft_algorithm automatic = WEFT_ALGORITHM_AUTO, direct = WEFT_ALGORITHM_DIRECT;
    struct tune_row rows[] = {
        {.pass = 0, .algorithm = automatic, .chosen = direct, .time_us = 100, .ping_us = 0.04},
        {.pass = 0, .algorithm = direct, .time_us = 100, .ping_us = 0.04},
        {.pass = 0, .algorithm = direct, .time_us = 70, .ping_us = 0.04, .channels = 2},
        {.pass = 1, .algorithm = direct, .time_us = 100, .ping_us = 0.2},
        {.pass = 1, .algorithm = direct, .time_us = 97, .ping_us = 0.2, .channels = 2},
        {.pass = 2, .algorithm = direct, .time_us = 99, .ping_us = 0.2},
        {.pass = 2, .algorithm = direct, .time_us = 100, .ping_us = 0.2, .channels = 2},
    };
    assert_int_equal(tune_best(rows, 7, true)->channels, 2);
}

static void tuning_keeps_what_follows_the_state_of_the_machine_where_it_saw_one(void **state)
{
    (void)state;
    const weft_algorithm automatic = WEFT_ALGORITHM_AUTO, tree = WEFT_ALGORITHM_TREE, direct = WEFT_ALGORITHM_DIRECT;
    struct tune_row rows[] = {
        {.algorithm = automatic, .chosen = direct, .time_us = 100, .ping_us = 0.04},
        {.algorithm = direct, .chosen = direct, .time_us = 100, .ping_us = 0.04},
        {.algorithm = tree, .chosen = tree, .time_us = 90, .ping_us = 0.04},
        {.pass = 1, .algorithm = direct, .chosen = direct, .time_us = 100, .ping_us = 0.2},
        {.pass = 1, .algorithm = tree, .chosen = tree, .time_us = 90, .ping_us = 0.2},
    };
    assert_int_equal(tune_best(rows, 3, true)->algorithm, direct);
    assert_int_equal(tune_best(rows, 3, false)->algorithm, tree);
    assert_int_equal(tune_best(rows, 5, true)->algorithm, tree); /* faster in both */
    rows[2].time_us = 80;                                        /* too much to be given away */
    assert_int_equal(tune_best(rows, 3, true)->algorithm, tree);
}

static void statistics_are_median_and_nearest_rank(void **state)
{
    (void)state;
    double times_us[200], median_us, p99_us;
    for (int i = 0; i < 200; i++) times_us[i] = (i * 7) % 200 + 1;
    summarize(times_us, 200, &median_us, &p99_us);
    assert_true(median_us == 100.5);
    assert_true(p99_us == 198);
    double few_us[] = {5, 1, 3};
    summarize(few_us, 3, &median_us, &p99_us);
    assert_true(median_us == 3);
    assert_true(p99_us == 5);
    summarize(few_us, 1, &median_us, &p99_us);
    assert_true(median_us == 1 && p99_us == 1);
}

static void bus_bandwidth_is_what_nccl_tests_call_it(void **state)
{
    (void)state;
    assert_true(bus_factor(WEFT_ALL_REDUCE, 1) == 0);
    assert_true(bus_factor(WEFT_ALL_REDUCE, 2) == 1);
    assert_true(bus_factor(WEFT_ALL_REDUCE, 4) == 1.5);
    assert_true(bus_factor(WEFT_BROADCAST, 7) == 1);
    assert_true(bus_factor(WEFT_REDUCE, 7) == 1);
    assert_true(bus_factor(WEFT_SEND_RECV, 7) == 1);
    assert_true(bus_factor(WEFT_ALL_GATHER, 4) == 0.75);
    assert_true(bus_factor(WEFT_REDUCE_SCATTER, 4) == 0.75);
    assert_true(bus_factor(WEFT_GATHER, 4) == 0.75);
    assert_true(bus_factor(WEFT_SCATTER, 4) == 0.75);
    assert_true(bus_factor(WEFT_ALL_TO_ALL, 4) == 0.75);
    assert_true(bus_factor(WEFT_ALL_TO_ALLV, 4) == 0.75);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(results_are_exact_in_any_order_for_every_type_and_reduction),
        cmocka_unit_test(more_ranks_than_a_type_counts_to_are_exact_too),
        cmocka_unit_test(ranks_expect_the_same_and_start_from_different),
        cmocka_unit_test(a_broadcast_expects_the_roots_input),
        cmocka_unit_test(every_wrong_element_is_counted),
        cmocka_unit_test(a_block_of_another_place_is_wrong),
        cmocka_unit_test(data_at_a_wrong_place_is_wrong),
        cmocka_unit_test(tuning_keeps_the_automatic_choice_unless_another_is_surely_faster),
        cmocka_unit_test(one_spoiled_pass_of_three_changes_no_tuning),
        cmocka_unit_test(tuning_takes_what_loses_least_in_every_state_of_the_machine),
        cmocka_unit_test(what_is_the_same_in_one_state_may_win_in_the_other),
        cmocka_unit_test(tuning_keeps_what_follows_the_state_of_the_machine_where_it_saw_one),
        cmocka_unit_test(statistics_are_median_and_nearest_rank),
        cmocka_unit_test(bus_bandwidth_is_what_nccl_tests_call_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
