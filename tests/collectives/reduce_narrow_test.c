/* SPDX-License-Identifier: Apache-2.0 */
/* Eight bits are few enough to try everything; and the extremes of every integer type. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
/* clang-format on */
#include <math.h>
#include <string.h>
#ifdef __x86_64__
#include <immintrin.h>
#endif

#include "base/config.h"
#include "base/random.h"
#include "reduce_reference.h"

enum { PAIRS = 65536, SPARE = 64 };

static const int levels[] = {SIMD_PORTABLE, SIMD_AVX2, SIMD_AVX512};
static const weft_op ops[] = {WEFT_SUM, WEFT_PROD, WEFT_MIN, WEFT_MAX, WEFT_AVG};
enum { LEVELS = sizeof levels / sizeof levels[0], OPS = sizeof ops / sizeof ops[0] };

/* Values of the OCP 8-bit Floating Point Specification, table 1. */
static void the_reference_has_the_numbers_of_the_specification(void **state)
{
    (void)state;
    const struct float_format *e4m3 = &format_float8_e4m3, *e5m2 = &format_float8_e5m2;
    assert_true(format_decode(e4m3, 0x7e) == 448 && format_decode(e5m2, 0x7b) == 57344);
    assert_true(format_decode(e4m3, 0x08) == 0x1p-6 && format_decode(e5m2, 0x04) == 0x1p-14);
    assert_true(format_decode(e4m3, 0x07) == 0.875 * 0x1p-6 && format_decode(e5m2, 0x03) == 0.75 * 0x1p-14);
    assert_true(format_decode(e4m3, 0x01) == 0x1p-9 && format_decode(e5m2, 0x01) == 0x1p-16);
    assert_true(format_decode(e4m3, 0xb8) == -1 && format_decode(e5m2, 0xbc) == -1);
    assert_true(isnan(format_decode(e4m3, 0x7f)) && isnan(format_decode(e4m3, 0xff)));
    assert_true(isinf(format_decode(e5m2, 0x7c)) && format_decode(e5m2, 0xfc) == -INFINITY);
    assert_true(isnan(format_decode(e5m2, 0x7d)) && isnan(format_decode(e5m2, 0xff)));
    for (uint16_t byte = 0; byte < 256; byte++) { /* e5m2 is the upper half of a float16 */
        double value = format_decode(e5m2, byte), half = format_decode(&format_float16, (uint16_t)(byte << 8));
        assert_true(value == half || (isnan(value) && isnan(half)));
    }
}

/* One call at every level and at an odd address; @p expected is of call->count elements. */
static void check_at_every_level(weft_dtype dtype, weft_op op, const struct reduce_call *call, const void *expected)
{
    static uint8_t result[PAIRS + SPARE];
    size_t bytes = call->count * weft_dtype_size(dtype);
    for (size_t offset = 0; offset < 2; offset++) {
        for (int i = 0; i < LEVELS; i++) {
            reduce_function combine = reduce_lookup_at(dtype, op, levels[i]);
            if (!combine) continue;
            void *destinations[] = {result + offset};
            struct reduce_call here = *call;
            here.destinations = destinations;
            here.streaming = offset == 0;
            combine(&here);
            const uint8_t *found = destinations[0];
            for (size_t at = 0; at < bytes; at++) {
                if (found[at] == ((const uint8_t *)expected)[at]) continue;
                fail_msg("%s %s level %d byte %zu: %#x, not %#x", weft_dtype_name(dtype), weft_op_name(op), levels[i],
                         at, found[at], ((const uint8_t *)expected)[at]);
            }
        }
    }
}

static void every_pair_of_8_bit_numbers_is_combined_right(void **state)
{
    (void)state;
    static uint8_t first[PAIRS], second[PAIRS], expected[PAIRS];
    const weft_dtype dtypes[] = {WEFT_INT8, WEFT_UINT8, WEFT_FLOAT8_E4M3, WEFT_FLOAT8_E5M2};
    for (int i = 0; i < PAIRS; i++) {
        first[i] = (uint8_t)(i >> 8);
        second[i] = (uint8_t)i;
    }
    const void *sources[] = {first, second};
    for (int dtype = 0; dtype < 4; dtype++) {
        for (int op = 0; op < OPS; op++) {
            for (uint32_t divisor = 2; divisor < (ops[op] == WEFT_AVG ? 400 : 3); divisor += 131) {
                const struct reduce_call call = {.sources = sources,
                                                 .source_count = 2,
                                                 .destination_count = 1,
                                                 .count = PAIRS,
                                                 .divisor = ops[op] == WEFT_AVG ? divisor : 1};
                reference_combine(dtypes[dtype], ops[op], &call, expected);
                check_at_every_level(dtypes[dtype], ops[op], &call, expected);
            }
        }
    }
}

static const weft_dtype narrow_floats[] = {WEFT_FLOAT8_E4M3, WEFT_FLOAT8_E5M2};
static const struct float_format *const narrow_formats[] = {&format_float8_e4m3, &format_float8_e5m2};

/* All finite numbers of a format; returns how many. */
static uint32_t list_finite(const struct float_format *format, uint8_t *numbers)
{
    uint32_t count = 0;
    for (uint16_t byte = 0; byte < 256; byte++)
        if (isfinite(format_decode(format, byte))) numbers[count++] = (uint8_t)byte;
    return count;
}

/* The sum of call->sources, and averages over powers of two, which go a way of their own, and over another number. */
static void check_sum_and_averages(weft_dtype dtype, const struct reduce_call *call)
{
    static uint8_t expected[PAIRS];
    const uint32_t divisors[] = {2, 3, 4, 8, 64, 1u << 20, 1u << 31};
    struct reduce_call average = *call;
    reference_combine(dtype, WEFT_SUM, call, expected);
    check_at_every_level(dtype, WEFT_SUM, call, expected);
    for (size_t i = 0; i < sizeof divisors / sizeof divisors[0]; i++) {
        average.divisor = divisors[i];
        reference_combine(dtype, WEFT_AVG, &average, expected);
        check_at_every_level(dtype, WEFT_AVG, &average, expected);
    }
}

/* Sums of vectors without infinities and NaNs go a way of their own. */
static void every_pair_of_finite_8_bit_floats_is_added_right(void **state)
{
    (void)state;
    static uint8_t first[PAIRS], second[PAIRS];
    const void *sources[] = {first, second};
    for (int kind = 0; kind < 2; kind++) {
        uint8_t numbers[256];
        uint32_t count = list_finite(narrow_formats[kind], numbers);
        for (uint32_t i = 0; i < count * count; i++) {
            first[i] = numbers[i / count];
            second[i] = numbers[i % count];
        }
        const struct reduce_call call = {
            .sources = sources, .source_count = 2, .destination_count = 1, .count = (size_t)count * count};
        check_sum_and_averages(narrow_floats[kind], &call);
    }
}

/* Few magnitudes and many sources, so that sums are often in the middle between two results, or just beside it. */
static void finite_8_bit_floats_of_many_sources_are_added_right(void **state)
{
    (void)state;
    enum { SOURCES = 200 };
    static uint8_t terms[SOURCES][512], expected[512];
    double scales[SOURCES];
    const void *sources[SOURCES];
    const uint32_t source_counts[] = {3, 4, 5, 8, 16, 64, 65, SOURCES};
    struct random random;
    random_seed(&random, 1);
    for (int kind = 0; kind < 2; kind++) {
        uint8_t numbers[256];
        uint32_t count = list_finite(narrow_formats[kind], numbers);
        for (int i = 0; i < SOURCES; i++) {
            sources[i] = terms[i];
            scales[i] = any_scale(narrow_floats[kind], &random);
            for (uint32_t at = 0; at < 512; at++) { /* most of all within a few powers of two */
                uint32_t bits = (uint32_t)random_next(&random), among = at < 128 ? count / 2 : at < 384 ? 48 : 16;
                terms[i][at] = (uint8_t)(numbers[bits % among] ^ (bits >> 31 ? 0x80 : 0));
            }
        }
        for (size_t i = 0; i < sizeof source_counts / sizeof source_counts[0]; i++) {
            struct reduce_call call = {
                .sources = sources, .source_count = source_counts[i], .destination_count = 1, .count = 512};
            check_sum_and_averages(narrow_floats[kind], &call);
            call.scales = scales;
            reference_combine(narrow_floats[kind], WEFT_PREMUL_SUM, &call, expected);
            check_at_every_level(narrow_floats[kind], WEFT_PREMUL_SUM, &call, expected);
        }
    }
}

/* As in programs compiled with -ffast-math. */
static void subnormal_8_bit_floats_are_added_where_subnormals_are_flushed(void **state)
{
    (void)state;
#ifdef __x86_64__
    uint8_t first[256], second[256], expected[256];
    const void *sources[] = {first, second};
    for (int i = 0; i < 256; i++) {
        first[i] = (uint8_t)(i % 16 | (i & 0x80));
        second[i] = (uint8_t)(i / 16);
    }
    for (int kind = 0; kind < 2; kind++) {
        const weft_op sums[] = {WEFT_SUM, WEFT_AVG};
        for (int i = 0; i < 2; i++) {
            const struct reduce_call call = {
                .sources = sources, .source_count = 2, .destination_count = 1, .count = 256, .divisor = i ? 2 : 1};
            reference_combine(narrow_floats[kind], sums[i], &call, expected);
            unsigned before = _mm_getcsr();
            _mm_setcsr(before | 0x8040); /* flush to zero, and denormals are zeros */
            check_at_every_level(narrow_floats[kind], sums[i], &call, expected);
            _mm_setcsr(before);
        }
    }
#else
    skip();
#endif
}

/* x + -0 is x, so a sum takes every number through the conversion to float32 and back. */
static void every_8_bit_float_survives_the_round_trip(void **state)
{
    (void)state;
    uint8_t numbers[256], zeros[256], expected[256];
    memset(zeros, 0x80, sizeof zeros);
    for (int i = 0; i < 256; i++) numbers[i] = (uint8_t)i;
    const void *sources[] = {numbers, zeros};
    const struct reduce_call call = {.sources = sources, .source_count = 2, .destination_count = 1, .count = 256};
    memcpy(expected, numbers, sizeof expected);
    expected[0xff] = 0x7f;
    check_at_every_level(WEFT_FLOAT8_E4M3, WEFT_SUM, &call, expected);
    memcpy(expected, numbers, sizeof expected);
    expected[0x7c] = 0x7b; /* infinities */
    expected[0xfc] = 0xfb;
    expected[0x7d] = expected[0x7f] = expected[0xfd] = expected[0xfe] = expected[0xff] = 0x7e;
    check_at_every_level(WEFT_FLOAT8_E5M2, WEFT_SUM, &call, expected);
}

/* What a few numbers of a type come to. */
static double combine_few(weft_dtype dtype, const struct float_format *format, weft_op op, const double *values,
                          uint32_t count)
{
    uint8_t bytes[8], result;
    const void *sources[8];
    void *destinations[] = {&result};
    for (uint32_t i = 0; i < count; i++) {
        /* format_encode() saturates as well: an infinity has to be written by hand. */
        bytes[i] = (uint8_t)(isinf(values[i]) ? format->largest + 1 : format_encode(format, values[i]));
        sources[i] = &bytes[i];
    }
    const struct reduce_call call = {
        .sources = sources, .source_count = count, .destinations = destinations, .destination_count = 1, .count = 1};
    reduce_lookup(dtype, op)(&call);
    return format_decode(format, result);
}

static void what_is_too_large_for_8_bits_becomes_the_largest_number(void **state)
{
    (void)state;
    const struct float_format *e4m3 = &format_float8_e4m3, *e5m2 = &format_float8_e5m2;
    assert_true(combine_few(WEFT_FLOAT8_E4M3, e4m3, WEFT_SUM, (double[]){448, 16}, 2) == 448);
    assert_true(combine_few(WEFT_FLOAT8_E4M3, e4m3, WEFT_SUM, (double[]){448, 32}, 2) == 448);
    assert_true(combine_few(WEFT_FLOAT8_E4M3, e4m3, WEFT_PROD, (double[]){-448, 448}, 2) == -448);
    assert_true(combine_few(WEFT_FLOAT8_E5M2, e5m2, WEFT_SUM, (double[]){-57344, -57344}, 2) == -57344);
    assert_true(combine_few(WEFT_FLOAT8_E5M2, e5m2, WEFT_MAX, (double[]){INFINITY, 1}, 2) == 57344);
    assert_true(isnan(combine_few(WEFT_FLOAT8_E4M3, e4m3, WEFT_MIN, (double[]){NAN, 448}, 2)));
    assert_true(isnan(combine_few(WEFT_FLOAT8_E5M2, e5m2, WEFT_SUM, (double[]){NAN, INFINITY}, 2)));
}

/* Rounded one by one, 448 + 448 - 448 would be 0, and 1 + 1/16 + 1/16 would be 1. */
static void sources_of_one_call_are_rounded_once(void **state)
{
    (void)state;
    const struct float_format *e4m3 = &format_float8_e4m3;
    assert_true(combine_few(WEFT_FLOAT8_E4M3, e4m3, WEFT_SUM, (double[]){448, 448, -448}, 3) == 448);
    assert_true(combine_few(WEFT_FLOAT8_E4M3, e4m3, WEFT_SUM, (double[]){1, 0.0625, 0.0625}, 3) == 1.125);
    assert_true(combine_few(WEFT_FLOAT8_E4M3, e4m3, WEFT_SUM, (double[]){1, 0.0625}, 2) == 1); /* the tie is even */
}

/* Every pair of extremes of an integer of @p bits bits, side by side in two arrays. */
static size_t fill_extremes(unsigned bits, uint64_t *first, uint64_t *second)
{
    uint64_t top = UINT64_C(1) << (bits - 1);
    const uint64_t extremes[] = {
        0, 1, 2, 3, top - 1, top, top + 1, top / 2, top / 3, 0 - top / 2, top | top / 2, UINT64_MAX, UINT64_MAX - 1};
    size_t count = sizeof extremes / sizeof extremes[0], size = bits / 8;
    for (size_t i = 0; i < count * count; i++) {
        memcpy((char *)first + i * size, &extremes[i / count], size); /* little-endian: the low bytes */
        memcpy((char *)second + i * size, &extremes[i % count], size);
    }
    return count * count;
}

static void integers_are_right_at_their_extremes(void **state)
{
    (void)state;
    static uint64_t first[256], second[256], expected[256];
    const weft_dtype dtypes[] = {WEFT_INT8, WEFT_UINT8, WEFT_INT32, WEFT_UINT32, WEFT_INT64, WEFT_UINT64};
    const void *sources[] = {first, second, first};
    for (int dtype = 0; dtype < 6; dtype++) {
        size_t count = fill_extremes((unsigned)weft_dtype_size(dtypes[dtype]) * 8, first, second);
        for (int op = 0; op < OPS; op++) {
            for (uint32_t source_count = 2; source_count <= 3; source_count++) {
                const struct reduce_call call = {.sources = sources,
                                                 .source_count = source_count,
                                                 .destination_count = 1,
                                                 .count = count,
                                                 .divisor = ops[op] == WEFT_AVG ? source_count : 1};
                reference_combine(dtypes[dtype], ops[op], &call, expected);
                check_at_every_level(dtypes[dtype], ops[op], &call, expected);
            }
        }
    }
}

/* One times a scale is any float32: those next to each middle between two numbers, where rounding turns. */
static void every_8_bit_float_begins_and_ends_where_it_should(void **state)
{
    (void)state;
    const weft_dtype dtypes[] = {WEFT_FLOAT8_E4M3, WEFT_FLOAT8_E5M2};
    const struct float_format *const formats[] = {&format_float8_e4m3, &format_float8_e5m2};
    for (int kind = 0; kind < 2; kind++) {
        uint8_t ones[70], expected[70]; /* more than a vector */
        memset(ones, format_encode(formats[kind], 1), sizeof ones);
        const void *sources[] = {ones};
        for (int magnitude = 0; magnitude < formats[kind]->largest; magnitude++) {
            double below = format_decode(formats[kind], (uint16_t)magnitude);
            float middle = (float)((below + format_decode(formats[kind], (uint16_t)(magnitude + 1))) / 2);
            const float around[] = {nextafterf(middle, 0), middle, nextafterf(middle, INFINITY)};
            for (int i = 0; i < 6; i++) {
                double scale = i < 3 ? around[i] : -around[i - 3];
                const struct reduce_call call = {
                    .sources = sources, .source_count = 1, .destination_count = 1, .count = 70, .scales = &scale};
                reference_combine(dtypes[kind], WEFT_PREMUL_SUM, &call, expected);
                check_at_every_level(dtypes[kind], WEFT_PREMUL_SUM, &call, expected);
            }
        }
    }
}

/* Divisors of all kinds: powers of two, their neighbours, and what is larger than the numbers. */
static void integers_are_divided_right_by_any_number(void **state)
{
    (void)state;
    static uint64_t first[256], zeros[256], expected[256];
    const weft_dtype dtypes[] = {WEFT_INT8, WEFT_UINT8, WEFT_INT32, WEFT_UINT32, WEFT_INT64, WEFT_UINT64};
    const uint32_t divisors[] = {2,
                                 3,
                                 5,
                                 6,
                                 7,
                                 8,
                                 9,
                                 10,
                                 127,
                                 128,
                                 129,
                                 255,
                                 256,
                                 257,
                                 641,
                                 1000,
                                 65535,
                                 65536,
                                 65537,
                                 1u << 30,
                                 INT32_MAX,
                                 1u << 31,
                                 (1u << 31) + 1,
                                 UINT32_MAX - 1,
                                 UINT32_MAX};
    const void *sources[] = {first, zeros};
    for (int dtype = 0; dtype < 6; dtype++) {
        uint64_t unused[256];
        size_t count = fill_extremes((unsigned)weft_dtype_size(dtypes[dtype]) * 8, first, unused);
        for (size_t i = 0; i < sizeof divisors / sizeof divisors[0]; i++) {
            const struct reduce_call call = {
                .sources = sources, .source_count = 2, .destination_count = 1, .count = count, .divisor = divisors[i]};
            reference_combine(dtypes[dtype], WEFT_AVG, &call, expected);
            check_at_every_level(dtypes[dtype], WEFT_AVG, &call, expected);
        }
    }
}

/* Two integers, given and returned as the bits of 64. */
static uint64_t combine_bits(weft_dtype dtype, weft_op op, uint64_t first, uint64_t second)
{
    uint64_t result = 0;
    const void *sources[] = {&first, &second};
    void *destinations[] = {&result};
    const struct reduce_call call = {.sources = sources,
                                     .source_count = 2,
                                     .destinations = destinations,
                                     .destination_count = 1,
                                     .count = 1,
                                     .divisor = op == WEFT_AVG ? 2 : 1};
    reduce_lookup(dtype, op)(&call);
    return result;
}

static void unsigned_integers_are_compared_and_divided_unsigned(void **state)
{
    (void)state;
    assert_int_equal(combine_bits(WEFT_UINT8, WEFT_MAX, 0x80, 0x7f), 0x80);
    assert_int_equal(combine_bits(WEFT_INT8, WEFT_MAX, 0x80, 0x7f), 0x7f);
    assert_int_equal(combine_bits(WEFT_UINT32, WEFT_MIN, UINT32_MAX, 1), 1);
    assert_int_equal(combine_bits(WEFT_INT32, WEFT_MIN, UINT32_MAX, 1), UINT32_MAX);
    assert_true(combine_bits(WEFT_UINT64, WEFT_MAX, UINT64_MAX, 1) == UINT64_MAX);
    assert_true(combine_bits(WEFT_UINT64, WEFT_AVG, UINT64_MAX, 0) == UINT64_MAX / 2);
    assert_int_equal(combine_bits(WEFT_UINT8, WEFT_AVG, 0xfd, 0), 0x7e);
    assert_int_equal(combine_bits(WEFT_INT8, WEFT_AVG, 0xfd, 0), 0xff); /* -3 / 2 towards zero is -1 */
    assert_int_equal(combine_bits(WEFT_INT8, WEFT_AVG, 100, 100), (uint8_t)-28);
    assert_int_equal(combine_bits(WEFT_UINT8, WEFT_AVG, 200, 100), 22);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_reference_has_the_numbers_of_the_specification),
        cmocka_unit_test(every_pair_of_8_bit_numbers_is_combined_right),
        cmocka_unit_test(every_pair_of_finite_8_bit_floats_is_added_right),
        cmocka_unit_test(finite_8_bit_floats_of_many_sources_are_added_right),
        cmocka_unit_test(subnormal_8_bit_floats_are_added_where_subnormals_are_flushed),
        cmocka_unit_test(every_8_bit_float_survives_the_round_trip),
        cmocka_unit_test(what_is_too_large_for_8_bits_becomes_the_largest_number),
        cmocka_unit_test(sources_of_one_call_are_rounded_once),
        cmocka_unit_test(every_8_bit_float_begins_and_ends_where_it_should),
        cmocka_unit_test(integers_are_right_at_their_extremes),
        cmocka_unit_test(integers_are_divided_right_by_any_number),
        cmocka_unit_test(unsigned_integers_are_compared_and_divided_unsigned),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
