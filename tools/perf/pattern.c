/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/perf/pattern.h"

#include <stdlib.h>
#include <string.h>

enum { PERIOD = 4093 }; /* a prime: 16 KiB of float32, so that checking stays in the nearest cache */

/* Largest integer up to which a type holds all integers: its significand's bits. */
static int64_t exact_limit(weft_dtype dtype)
{
    switch (dtype) {
    case WEFT_FLOAT32:
        return INT64_C(1) << 24;
    case WEFT_FLOAT64:
        return INT64_C(1) << 53;
    case WEFT_FLOAT16:
        return 1 << 11;
    case WEFT_BFLOAT16:
        return 1 << 8;
    case WEFT_FLOAT8_E4M3:
        return 1 << 4;
    case WEFT_FLOAT8_E5M2:
        return 1 << 3;
    case WEFT_INT8:
    case WEFT_UINT8:
        return INT8_MAX;
    default:
        return INT32_MAX;
    }
}

/* An IEEE 754 number of the given layout that is exactly @p value; 0 for 0. */
static uint64_t float_bits(int64_t value, unsigned exponent_bits, unsigned fraction_bits)
{
    uint64_t sign = value < 0, magnitude = value < 0 ? (uint64_t)-value : (uint64_t)value;
    if (magnitude == 0) return 0;
    unsigned top = 63 - (unsigned)__builtin_clzll(magnitude);
    uint64_t fraction = magnitude ^ (UINT64_C(1) << top);
    fraction = top <= fraction_bits ? fraction << (fraction_bits - top) : fraction >> (top - fraction_bits);
    uint64_t exponent = top + (UINT64_C(1) << (exponent_bits - 1)) - 1;
    return sign << (exponent_bits + fraction_bits) | exponent << fraction_bits | fraction;
}

static void element_write(void *at, weft_dtype dtype, int64_t value)
{
    uint64_t bits = (uint64_t)value;
    switch (dtype) {
    case WEFT_FLOAT32:
        bits = float_bits(value, 8, 23);
        break;
    case WEFT_FLOAT64:
        bits = float_bits(value, 11, 52);
        break;
    case WEFT_FLOAT16:
        bits = float_bits(value, 5, 10);
        break;
    case WEFT_BFLOAT16:
        bits = float_bits(value, 8, 7);
        break;
    case WEFT_FLOAT8_E4M3:
        bits = float_bits(value, 4, 3);
        break;
    case WEFT_FLOAT8_E5M2:
        bits = float_bits(value, 5, 2);
        break;
    default:
        break;
    }
    memcpy(at, &bits, weft_dtype_size(dtype)); /* little-endian, as every machine weft runs on */
}

/* splitmix64's finalizer over (rank, element): the same on every machine. */
static uint64_t mix(uint64_t rank, uint64_t element)
{
    uint64_t x = rank * UINT64_C(0x9e3779b97f4a7c15) + element + 1;
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

/* From 1 to a bound such that rank_count of them stay below the limit; with more ranks than that, the rest add 0. */
static int64_t sum_input(uint64_t limit, uint64_t rank, uint64_t element, uint64_t rank_count)
{
    uint64_t bound = limit / rank_count;
    if (bound == 0) return rank < limit;
    if (bound > 1000) bound = 1000;
    return 1 + (int64_t)(mix(rank, element) % bound);
}

/*
 * An average that divides exactly: a common part plus deviations that cancel between the ranks of a pair, and are never
 * larger than the common part, so that twice the common part bounds every rank's share of a partial sum. With more
 * ranks than the type counts to, the common part is 0.
 */
static int64_t average_input(weft_dtype dtype, uint64_t rank, uint64_t element, uint64_t rank_count)
{
    uint64_t limit = (uint64_t)exact_limit(dtype), bound = limit / rank_count / 2;
    if (bound == 0) return rank / 2 * 2 + 1 >= rank_count || rank >= limit ? 0 : rank % 2 ? -1 : 1;
    if (bound > 500) bound = 500;
    int64_t common = 1 + (int64_t)(mix(UINT32_MAX, element) % bound);
    if (rank == rank_count - 1 && rank_count % 2) return common;
    int64_t deviation = (int64_t)(mix(rank / 2, element) % (uint64_t)(common + 1));
    return rank % 2 ? common - deviation : common + deviation;
}

static bool is_unsigned(weft_dtype dtype)
{
    return dtype == WEFT_UINT8 || dtype == WEFT_UINT32 || dtype == WEFT_UINT64;
}

/* Signs everywhere, and a factor of two from at most six of the ranks, so that a product stays small. */
static int64_t product_input(weft_dtype dtype, uint64_t rank, uint64_t element, uint64_t rank_count)
{
    int64_t sign = mix(rank, element) & 1 && !is_unsigned(dtype) ? -1 : 1;
    return (rank + element) % rank_count < 6 ? 2 * sign : sign;
}

/* Around 0; unsigned, around what 8 and 32 signed bits can hold, so that a signed comparison would go wrong. */
static int64_t any_input(weft_dtype dtype, uint64_t rank, uint64_t element)
{
    int64_t bound = exact_limit(dtype) < 1000 ? exact_limit(dtype) : 1000;
    int64_t value = (int64_t)(mix(rank, element) % (uint64_t)(2 * bound + 1));
    if (is_unsigned(dtype)) value += exact_limit(dtype);
    return value - bound;
}

static int64_t input_value(const struct perf_options *options, uint64_t rank, uint64_t element, uint64_t rank_count)
{
    weft_dtype dtype = (weft_dtype)options->dtype;
    if (!perf_has_op(options->collective)) return any_input(dtype, options->root, element);
    switch (options->op) {
    case WEFT_SUM:
        return sum_input((uint64_t)exact_limit(dtype), rank, element, rank_count);
    case WEFT_PREMUL_SUM:
        return sum_input((uint64_t)exact_limit(dtype) / 2, rank, element, rank_count);
    case WEFT_AVG:
        return average_input(dtype, rank, element, rank_count);
    case WEFT_PROD:
        return product_input(dtype, rank, element, rank_count);
    default:
        return any_input(dtype, rank, element);
    }
}

static int64_t combine(int op, int64_t left, int64_t right)
{
    switch (op) {
    case WEFT_PROD:
        return left * right;
    case WEFT_MIN:
        return left < right ? left : right;
    case WEFT_MAX:
        return left > right ? left : right;
    default:
        return left + right;
    }
}

double pattern_scale(uint64_t rank)
{
    return rank % 3 == 1 ? 2 : 1;
}

/* What the rank's input counts. */
static int64_t term_value(const struct perf_options *options, uint64_t rank, uint64_t element, uint64_t rank_count)
{
    int64_t value = input_value(options, rank, element, rank_count);
    return options->op == WEFT_PREMUL_SUM ? value * (int64_t)pattern_scale(rank) : value;
}

static int64_t expected_value(const struct perf_options *options, uint64_t element, uint64_t rank_count)
{
    if (!perf_has_op(options->collective)) return input_value(options, options->root, element, rank_count);
    int64_t value = term_value(options, 0, element, rank_count);
    for (uint64_t rank = 1; rank < rank_count; rank++)
        value = combine(options->op, value, term_value(options, rank, element, rank_count));
    return options->op == WEFT_AVG ? value / (int64_t)rank_count : value;
}

int pattern_create(struct pattern *pattern, const struct perf_options *options, uint32_t rank, uint32_t rank_count)
{
    weft_dtype dtype = (weft_dtype)options->dtype;
    size_t size = weft_dtype_size(dtype), period_bytes = PERIOD * size;
    pattern->element_bytes = size;
    pattern->input = malloc(3 * period_bytes);
    if (!pattern->input) return -1;
    pattern->expected = pattern->input + period_bytes;
    pattern->poison = pattern->expected + period_bytes;
    for (uint64_t i = 0; i < PERIOD; i++) {
        element_write(pattern->input + i * size, dtype, input_value(options, rank, i, rank_count));
        element_write(pattern->expected + i * size, dtype, expected_value(options, i, rank_count));
    }
    for (size_t i = 0; i < period_bytes; i++) pattern->poison[i] = (uint8_t)~pattern->expected[i];
    return 0;
}

void pattern_destroy(struct pattern *pattern)
{
    free(pattern->input);
    *pattern = (struct pattern){0};
}

/* How many elements there are until the sequence begins anew. */
static uint64_t until_repeat(uint64_t start, uint64_t count)
{
    uint64_t left = PERIOD - start % PERIOD;
    return count < left ? count : left;
}

static void fill(const struct pattern *pattern, const uint8_t *period, uint8_t *buffer, uint64_t start, uint64_t count)
{
    size_t size = pattern->element_bytes;
    while (count > 0) {
        uint64_t now = until_repeat(start, count);
        memcpy(buffer, period + start % PERIOD * size, now * size);
        buffer += now * size;
        start += now;
        count -= now;
    }
}

void pattern_fill_input(const struct pattern *pattern, void *buffer, uint64_t start, uint64_t count)
{
    fill(pattern, pattern->input, buffer, start, count);
}

void pattern_fill_poison(const struct pattern *pattern, void *buffer, uint64_t start, uint64_t count)
{
    fill(pattern, pattern->poison, buffer, start, count);
}

uint64_t pattern_count_wrong(const struct pattern *pattern, const void *buffer, uint64_t start, uint64_t count)
{
    const uint8_t *at = buffer;
    size_t size = pattern->element_bytes;
    uint64_t wrong = 0;
    while (count > 0) {
        uint64_t now = until_repeat(start, count);
        const uint8_t *expected = pattern->expected + start % PERIOD * size;
        if (memcmp(at, expected, now * size) != 0)
            for (uint64_t i = 0; i < now; i++) wrong += memcmp(at + i * size, expected + i * size, size) != 0;
        at += now * size;
        start += now;
        count -= now;
    }
    return wrong;
}
