/* SPDX-License-Identifier: Apache-2.0 */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
/* clang-format on */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/config.h"
#include "reduce_reference.h"

enum { MAX_SOURCES = 9, MAX_DESTINATIONS = 3, MAX_BYTES = 40000, MARGIN_BYTES = 128 };

static const struct level {
    int simd;
    const char *name;
} levels[] = {{SIMD_PORTABLE, "portable"}, {SIMD_AVX2, "avx2"}, {SIMD_AVX512, "avx512"}};
enum { LEVEL_COUNT = sizeof levels / sizeof levels[0] };

/* One call to check, at every level. Everything random in it follows from its seed. */
struct trial {
    weft_dtype dtype;
    weft_op op;
    uint32_t source_count, destination_count, divisor;
    size_t count;
    uint64_t seed;
    void (*fill)(weft_dtype dtype, struct random *random, void *array, size_t count);
};

static struct {
    uint8_t *sources[MAX_SOURCES], *destinations[MAX_DESTINATIONS], *expected;
    double scales[MAX_SOURCES];
} memory;

static int memory_create(void **state)
{
    (void)state;
    size_t bytes = MAX_BYTES + 2 * MARGIN_BYTES;
    for (int i = 0; i < MAX_SOURCES; i++) memory.sources[i] = aligned_alloc(64, bytes / 64 * 64 + 64);
    for (int i = 0; i < MAX_DESTINATIONS; i++) memory.destinations[i] = aligned_alloc(64, bytes / 64 * 64 + 64);
    memory.expected = aligned_alloc(64, bytes / 64 * 64 + 64);
    return memory.expected ? 0 : -1;
}

static int memory_destroy(void **state)
{
    (void)state;
    for (int i = 0; i < MAX_SOURCES; i++) free(memory.sources[i]);
    for (int i = 0; i < MAX_DESTINATIONS; i++) free(memory.destinations[i]);
    free(memory.expected);
    return 0;
}

static void trial_fail(const struct trial *trial, const char *level, const char *what)
{
    fail_msg("%s: %s %s %s, sources %u, destinations %u, divisor %u, count %zu, seed %llu", what, level,
             weft_dtype_name(trial->dtype), weft_op_name(trial->op), trial->source_count, trial->destination_count,
             trial->divisor, trial->count, (unsigned long long)trial->seed);
}

static bool all_bytes_are(const uint8_t *bytes, size_t size, uint8_t value)
{
    for (size_t i = 0; i < size; i++) {
        if (bytes[i] != value) return false;
    }
    return true;
}

/* Random sources at random addresses; the arrays that @p call points to are the caller's. */
static void trial_prepare(const struct trial *trial, struct random *random, struct reduce_call *call,
                          const void **sources, void **destinations)
{
    for (uint32_t i = 0; i < trial->source_count; i++) {
        uint8_t *source = memory.sources[i] + random_below(random, MARGIN_BYTES);
        trial->fill(trial->dtype, random, source, trial->count);
        sources[i] = source;
    }
    *call = (struct reduce_call){.destinations = destinations,
                                 .sources = sources,
                                 .destination_count = trial->destination_count,
                                 .source_count = trial->source_count,
                                 .count = trial->count,
                                 .divisor = trial->divisor,
                                 .scales = trial->op == WEFT_PREMUL_SUM ? memory.scales : NULL};
    for (uint32_t i = 0; i < MAX_SOURCES; i++) memory.scales[i] = any_scale(trial->dtype, random);
}

/* Destinations apart from the sources: right bytes inside, not one touched outside. */
static void trial_run_apart(const struct trial *trial, const struct level *level, struct random *random,
                            struct reduce_call *call, void **destinations)
{
    size_t bytes = trial->count * weft_dtype_size(trial->dtype);
    for (uint32_t i = 0; i < trial->destination_count; i++) {
        memset(memory.destinations[i], 0xa5, bytes + 2 * MARGIN_BYTES);
        /* Half of them aligned as most buffers are, the others anyhow. */
        size_t offset = random_below(random, 2) ? 64 : random_below(random, MARGIN_BYTES);
        destinations[i] = memory.destinations[i] + offset;
    }
    call->streaming = random_below(random, 2);
    reduce_lookup_at(trial->dtype, trial->op, level->simd)(call);
    for (uint32_t i = 0; i < trial->destination_count; i++) {
        const uint8_t *start = memory.destinations[i], *inside = destinations[i];
        size_t offset = (size_t)(inside - start);
        if (memcmp(inside, memory.expected, bytes) != 0) trial_fail(trial, level->name, "wrong bytes");
        if (!all_bytes_are(start, offset, 0xa5) || !all_bytes_are(inside + bytes, 2 * MARGIN_BYTES - offset, 0xa5)) {
            trial_fail(trial, level->name, "wrote outside the destination");
        }
    }
}

/* The last destination is one of the sources, which is put back afterwards for the next level. */
static void trial_run_in_place(const struct trial *trial, const struct level *level, struct random *random,
                               struct reduce_call *call, void **destinations)
{
    static uint8_t kept[MAX_BYTES];
    size_t bytes = trial->count * weft_dtype_size(trial->dtype);
    uint8_t *shared = (uint8_t *)call->sources[random_below(random, trial->source_count)];
    memcpy(kept, shared, bytes);
    destinations[trial->destination_count - 1] = shared;
    reduce_lookup_at(trial->dtype, trial->op, level->simd)(call);
    for (uint32_t i = 0; i < trial->destination_count; i++) {
        if (memcmp(destinations[i], memory.expected, bytes) != 0) trial_fail(trial, level->name, "wrong in place");
    }
    memcpy(shared, kept, bytes);
}

static void trial_run(const struct trial *trial)
{
    struct random random;
    random_seed(&random, trial->seed);
    const void *sources[MAX_SOURCES];
    void *destinations[MAX_DESTINATIONS];
    struct reduce_call call;
    trial_prepare(trial, &random, &call, sources, destinations);
    reference_combine(trial->dtype, trial->op, &call, memory.expected);
    for (int i = 0; i < LEVEL_COUNT; i++) {
        if (!reduce_lookup_at(trial->dtype, trial->op, levels[i].simd)) continue;
        trial_run_apart(trial, &levels[i], &random, &call, destinations);
        trial_run_in_place(trial, &levels[i], &random, &call, destinations);
    }
}

static void for_each_shape(void (*body)(struct trial *trial))
{
    const uint32_t source_counts[] = {1, 2, 3, 5, MAX_SOURCES};
    uint64_t seed = 1;
    for (int dtype = 0; dtype < WEFT_DTYPE_COUNT; dtype++) {
        for (int op = 0; op < WEFT_OP_COUNT; op++) {
            for (size_t i = 0; i < sizeof source_counts / sizeof source_counts[0]; i++) {
                uint32_t sources = source_counts[i];
                for (uint32_t destinations = 1; destinations <= MAX_DESTINATIONS; destinations++) {
                    struct trial trial = {.dtype = (weft_dtype)dtype,
                                          .op = (weft_op)op,
                                          .source_count = sources,
                                          .destination_count = destinations,
                                          .divisor = op != WEFT_AVG ? 0
                                                     : sources == 1 ? 3
                                                                    : sources,
                                          .seed = seed++ << 16,
                                          .fill = fill_wild};
                    body(&trial);
                }
            }
        }
    }
}

/* Two blocks of the widest kernel and every remainder after them; of bytes, whose blocks are long, some remainders. */
static void every_short_length(struct trial *trial)
{
    size_t most = weft_dtype_size(trial->dtype) == 1 ? 600 : 160;
    for (trial->count = 0; trial->count <= most; trial->seed++) {
        trial_run(trial);
        trial->count += trial->count < 160 ? 1 : 13;
    }
}

static void short_calls_are_bitwise_right_at_every_level(void **state)
{
    (void)state;
    for_each_shape(every_short_length);
}

/* Long enough for the kernels to seek an aligned destination, and to stream. */
static void some_long_lengths(struct trial *trial)
{
    struct random random;
    random_seed(&random, trial->seed);
    size_t size = weft_dtype_size(trial->dtype);
    for (int i = 0; i < 3; i++, trial->seed++) {
        trial->count = (32768 + random_below(&random, 4096)) / size;
        trial_run(trial);
    }
}

static void long_calls_are_bitwise_right_at_every_level(void **state)
{
    (void)state;
    for_each_shape(some_long_lengths);
}

static void every_alignment_is_bitwise_right_with_and_without_streaming(void **state)
{
    (void)state;
    size_t count = 32768 / sizeof(float) + 77;
    float *sources[2] = {(float *)memory.sources[0], (float *)memory.sources[1]};
    struct random random;
    random_seed(&random, 7);
    for (int i = 0; i < 2; i++) fill_wild(WEFT_FLOAT32, &random, sources[i], count);
    void *destinations[2];
    struct reduce_call call = {destinations, (const void *const *)sources, 2, 2, count, 0, false, NULL, NULL, false,
                               false};
    reference_combine(WEFT_FLOAT32, WEFT_SUM, &call, memory.expected);
    for (size_t trial = 0; trial < (size_t)64 * 64 * 2; trial++) {
        destinations[0] = memory.destinations[0] + trial % 64;
        destinations[1] = memory.destinations[1] + trial / 64 % 64;
        call.streaming = trial / 64 / 64;
        int level = (int)(trial % LEVEL_COUNT);
        reduce_function sum = reduce_lookup_at(WEFT_FLOAT32, WEFT_SUM, levels[level].simd);
        if (!sum) continue;
        memset(destinations[0], 0, count * sizeof(float));
        memset(destinations[1], 0, count * sizeof(float));
        sum(&call);
        assert_memory_equal(destinations[0], memory.expected, count * sizeof(float));
        assert_memory_equal(destinations[1], memory.expected, count * sizeof(float));
    }
}

/* gamma(k) of Higham, Accuracy and Stability of Numerical Algorithms, section 3.1: k roundings to nearest. */
static long double rounding_bound(int roundings, long double unit)
{
    return roundings * unit / (1 - roundings * unit);
}

/*
 * Sum:  |error| <= gamma(n - 1) * sum |x|          Average: one rounding more, and over n
 * Prod: |error| <= gamma(n - 1) * |product|        Premultiplied: two more, of a scale and a product, and over |s x|
 * with gamma(k) = k u / (1 - k u), u half a unit of the last place.
 * 16- and 8-bit floats are combined with float32's u and then rounded once to their own.
 */
static long double error_bound(const struct trial *trial, const struct reduce_call *call, size_t at, long double exact)
{
    long double unit = trial->dtype == WEFT_FLOAT64 ? 0x1p-53L : 0x1p-24L;
    long double magnitudes = 0;
    for (uint32_t i = 0; i < call->source_count; i++) {
        long double scale = call->scales ? call->scales[i] : 1;
        magnitudes += fabsl(scale * (long double)element_value(trial->dtype, call->sources[i], at));
    }
    int roundings = (int)call->source_count - 1 + (trial->op == WEFT_AVG) + (call->scales ? 2 : 0);
    if (trial->op == WEFT_PROD) magnitudes = fabsl(exact);
    if (trial->op == WEFT_AVG) magnitudes /= call->divisor;
    if (trial->op == WEFT_MIN || trial->op == WEFT_MAX) roundings = 0;
    long double bound = rounding_bound(roundings, unit) * magnitudes;
    switch (trial->dtype) {
    case WEFT_FLOAT16:
        return bound + 0x1p-11L * (fabsl(exact) + bound) + 0x1p-25L;
    case WEFT_BFLOAT16:
        return bound + 0x1p-8L * (fabsl(exact) + bound) + 0x1p-134L;
    case WEFT_FLOAT8_E4M3:
        return bound + 0x1p-4L * (fabsl(exact) + bound) + 0x1p-10L;
    case WEFT_FLOAT8_E5M2:
        return bound + 0x1p-3L * (fabsl(exact) + bound) + 0x1p-17L;
    default:
        return bound;
    }
}

/* In long double, whose own roundings are 2^-11 of float64's. */
static long double exact_result(const struct trial *trial, const struct reduce_call *call, size_t at)
{
    long double value = element_value(trial->dtype, call->sources[0], at);
    if (call->scales) value *= call->scales[0];
    for (uint32_t i = 1; i < call->source_count; i++) {
        long double next = element_value(trial->dtype, call->sources[i], at);
        if (call->scales) next *= call->scales[i];
        switch (trial->op) {
        case WEFT_PROD:
            value *= next;
            break;
        case WEFT_MIN:
            value = fminl(value, next);
            break;
        case WEFT_MAX:
            value = fmaxl(value, next);
            break;
        default:
            value += next;
        }
    }
    return trial->op == WEFT_AVG ? value / call->divisor : value;
}

static void within_the_bound(struct trial *trial)
{
    if (!dtype_is_float(trial->dtype)) return;
    trial->fill = fill_tame;
    trial->count = 500;
    struct random random;
    random_seed(&random, trial->seed);
    const void *sources[MAX_SOURCES];
    void *destinations[MAX_DESTINATIONS] = {memory.destinations[0], memory.destinations[1], memory.destinations[2]};
    struct reduce_call call;
    trial_prepare(trial, &random, &call, sources, destinations);
    reduce_lookup(trial->dtype, trial->op)(&call);
    for (size_t at = 0; at < trial->count; at++) {
        long double exact = exact_result(trial, &call, at);
        long double error = fabsl(element_value(trial->dtype, destinations[0], at) - exact);
        long double slack = 0x1p-60L * fabsl(exact); /* of the long double arithmetic here */
        if (!(error <= error_bound(trial, &call, at, exact) + slack)) trial_fail(trial, "best", "beyond the bound");
    }
}

static void floats_stay_within_the_stated_bound_of_the_exact_result(void **state)
{
    (void)state;
    for_each_shape(within_the_bound);
}

/* x + -0 is x, so a sum takes every number through the conversion to float32 and back. */
static void every_16_bit_float_survives_the_round_trip(void **state)
{
    (void)state;
    enum { COUNT = 65536 };
    static uint16_t numbers[COUNT], zeros[COUNT], results[COUNT];
    const weft_dtype dtypes[] = {WEFT_FLOAT16, WEFT_BFLOAT16};
    const struct float_format *const formats[] = {&format_float16, &format_bfloat16};
    for (int bits = 0; bits < COUNT; bits++) {
        numbers[bits] = (uint16_t)bits;
        zeros[bits] = 0x8000;
    }
    void *destinations[] = {results};
    const void *sources[] = {numbers, zeros};
    struct reduce_call call = {destinations, sources, 1, 2, COUNT, 0, false, NULL, NULL, false, false};
    for (int kind = 0; kind < 2; kind++) {
        for (int i = 0; i < LEVEL_COUNT; i++) {
            reduce_function sum = reduce_lookup_at(dtypes[kind], WEFT_SUM, levels[i].simd);
            if (!sum) continue;
            sum(&call);
            for (int bits = 0; bits < COUNT; bits++) {
                bool is_nan = isnan(format_decode(formats[kind], (uint16_t)bits));
                assert_int_equal(results[bits], is_nan ? format_encode(formats[kind], NAN) : bits);
            }
        }
    }
}

/* Products of every number with every power of two reach each place of rounding, subnormals and overflow included. */
static void every_16_bit_float_rounds_right_at_every_scale(void **state)
{
    (void)state;
    enum { COUNT = 65536 };
    static uint16_t numbers[COUNT], scales[COUNT], results[COUNT], expected[COUNT];
    const weft_dtype dtypes[] = {WEFT_FLOAT16, WEFT_BFLOAT16};
    for (int bits = 0; bits < COUNT; bits++) numbers[bits] = (uint16_t)bits;
    void *destinations[] = {results};
    const void *sources[] = {numbers, scales};
    struct reduce_call call = {destinations, sources, 1, 2, COUNT, 0, false, NULL, NULL, false, false};
    for (int kind = 0; kind < 2; kind++) {
        for (int exponent = -14; exponent <= 15; exponent++) {
            uint16_t scale = format_encode(kind ? &format_bfloat16 : &format_float16, ldexp(1, exponent));
            for (int i = 0; i < COUNT; i++) scales[i] = scale;
            reference_combine(dtypes[kind], WEFT_PROD, &call, expected);
            for (int i = 0; i < LEVEL_COUNT; i++) {
                reduce_function product = reduce_lookup_at(dtypes[kind], WEFT_PROD, levels[i].simd);
                if (!product) continue;
                product(&call);
                assert_memory_equal(results, expected, sizeof results);
            }
        }
    }
}

static float float32_from(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static uint32_t combine_two(weft_op op, uint32_t first, uint32_t second)
{
    float left = float32_from(first), right = float32_from(second), result;
    void *destinations[] = {&result};
    const void *sources[] = {&left, &right};
    reduce_lookup(WEFT_FLOAT32,
                  op)(&(struct reduce_call){destinations, sources, 1, 2, 1, 0, false, NULL, NULL, false, false});
    uint32_t bits;
    memcpy(&bits, &result, sizeof bits);
    return bits;
}

static void minus_zero_is_less_than_zero(void **state)
{
    (void)state;
    assert_int_equal(combine_two(WEFT_MIN, 0, 0x80000000), 0x80000000);
    assert_int_equal(combine_two(WEFT_MIN, 0x80000000, 0), 0x80000000);
    assert_int_equal(combine_two(WEFT_MAX, 0, 0x80000000), 0);
    assert_int_equal(combine_two(WEFT_MAX, 0x80000000, 0), 0);
}

static void any_nan_makes_the_one_quiet_nan(void **state)
{
    (void)state;
    const uint32_t nans[] = {0x7f800001, 0x7fc00000, 0x7fffffff, 0xff800001, 0xffc12345};
    const uint32_t others[] = {0, 0x80000000, 0x3f800000, 0x7f800000, 0xff800000, 0xff800001, 1};
    for (int op = 0; op < WEFT_AVG; op++) {
        for (size_t i = 0; i < sizeof nans / sizeof nans[0]; i++) {
            for (size_t k = 0; k < sizeof others / sizeof others[0]; k++) {
                assert_int_equal(combine_two((weft_op)op, nans[i], others[k]), 0x7fc00000);
                assert_int_equal(combine_two((weft_op)op, others[k], nans[i]), 0x7fc00000);
            }
        }
    }
    assert_int_equal(combine_two(WEFT_SUM, 0x7f800000, 0xff800000), 0x7fc00000); /* infinity - infinity */
}

static void integer_averages_truncate_towards_zero_and_sums_wrap(void **state)
{
    (void)state;
    int32_t first[] = {-7, 7, -1, INT32_MAX}, second[] = {0, 0, 0, 1}, result[4];
    void *destinations[] = {result};
    const void *sources[] = {first, second};
    struct reduce_call call = {destinations, sources, 1, 2, 4, 2, false, NULL, NULL, false, false};
    reduce_lookup(WEFT_INT32, WEFT_AVG)(&call);
    const int32_t expected[] = {-3, 3, 0, INT32_MIN / 2};
    assert_memory_equal(result, expected, sizeof expected);
}

static void one_source_is_copied_as_bytes(void **state)
{
    (void)state;
    const uint16_t signalling[] = {0x7c01, 0xfc01, 0x7d55};
    uint16_t copies[2][3];
    void *destinations[] = {copies[0], copies[1]};
    const void *sources[] = {signalling};
    reduce_lookup(WEFT_FLOAT16,
                  WEFT_MAX)(&(struct reduce_call){destinations, sources, 2, 1, 3, 1, false, NULL, NULL, false, false});
    assert_memory_equal(copies[0], signalling, sizeof signalling);
    assert_memory_equal(copies[1], signalling, sizeof signalling);
}

static float combine_scaled(float first, double scale, float second, double second_scale)
{
    float result;
    void *destinations[] = {&result};
    const void *sources[] = {&first, &second};
    const double scales[] = {scale, second_scale};
    reduce_lookup(WEFT_FLOAT32, WEFT_PREMUL_SUM)(
        &(struct reduce_call){destinations, sources, 1, 2, 1, 0, false, scales, NULL, false, false});
    return result;
}

static void a_scaled_product_is_rounded_before_it_is_added(void **state)
{
    (void)state;
    /* (1 + u)(1 - u) is 1 - u^2, which rounds to 1: a fused operation would leave -u^2. */
    assert_true(combine_scaled(1 + 0x1p-13f, 1 - 0x1p-13, -1, 1) == 0);
    assert_true(combine_scaled(3, -2, 5, 0.5) == -3.5f);
    assert_true(combine_scaled(3, 0, 5, 1) == 5);
    assert_true(isnan(combine_scaled(INFINITY, 0, 5, 1)));
    assert_true(combine_scaled(0x1p24f, 1 + 0x1p-30, 0, 1) == 0x1p24f); /* the scale is rounded to float32 first */
}

static void one_scaled_source_is_no_copy(void **state)
{
    (void)state;
    const uint8_t bytes[] = {1, 100, 255};
    uint8_t results[2][3];
    const double scale = 3;
    void *destinations[] = {results[0], results[1]};
    const void *sources[] = {bytes};
    reduce_lookup(WEFT_UINT8, WEFT_PREMUL_SUM)(
        &(struct reduce_call){destinations, sources, 2, 1, 3, 1, false, &scale, NULL, false, false});
    const uint8_t expected[] = {3, 44, 253}; /* modulo 256 */
    assert_memory_equal(results[0], expected, sizeof expected);
    assert_memory_equal(results[1], expected, sizeof expected);
}

static void lookup_refuses_what_is_none(void **state)
{
    (void)state;
    assert_null(reduce_lookup(WEFT_DTYPE_COUNT, WEFT_SUM));
    assert_null(reduce_lookup(WEFT_FLOAT32, WEFT_OP_COUNT));
    assert_null(reduce_lookup((weft_dtype)-1, WEFT_SUM));
    assert_null(reduce_lookup_at(WEFT_FLOAT32, WEFT_SUM, SIMD_AVX512 + 1));
    assert_null(reduce_lookup_at(WEFT_FLOAT32, WEFT_SUM, -1));
    assert_non_null(reduce_lookup_at(WEFT_FLOAT32, WEFT_SUM, SIMD_PORTABLE));
}

static void lookup_chooses_the_level_it_names(void **state)
{
    (void)state;
    bool found = false;
    for (int i = 0; i < LEVEL_COUNT; i++) {
        if (strcmp(levels[i].name, reduce_simd_name()) != 0) continue;
        found = true;
        for (int op = 0; op < WEFT_OP_COUNT; op++) {
            reduce_function chosen = reduce_lookup(WEFT_FLOAT64, (weft_op)op);
            assert_ptr_equal(chosen, reduce_lookup_at(WEFT_FLOAT64, (weft_op)op, levels[i].simd));
        }
    }
    assert_true(found);
}

static void stores_go_past_the_caches_where_they_hold_no_more(void **state)
{
    (void)state;
    const uint64_t mib = UINT64_C(1) << 20;
    assert_int_equal(reduce_streaming_bytes(32 * mib, false), 24 * mib);
    assert_int_equal(reduce_streaming_bytes(32 * mib, true), 192 * mib);
    assert_int_equal(reduce_streaming_bytes(0, false), 24 * mib); /* not known */
    for (uint64_t bytes = mib; bytes < mib << 10; bytes *= 2) {
        assert_int_equal(reduce_streaming_bytes(2 * bytes, false), 2 * reduce_streaming_bytes(bytes, false));
        assert_true(reduce_streaming_bytes(bytes, false) < reduce_streaming_bytes(bytes, true));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stores_go_past_the_caches_where_they_hold_no_more),
        cmocka_unit_test(short_calls_are_bitwise_right_at_every_level),
        cmocka_unit_test(long_calls_are_bitwise_right_at_every_level),
        cmocka_unit_test(every_alignment_is_bitwise_right_with_and_without_streaming),
        cmocka_unit_test(floats_stay_within_the_stated_bound_of_the_exact_result),
        cmocka_unit_test(every_16_bit_float_survives_the_round_trip),
        cmocka_unit_test(every_16_bit_float_rounds_right_at_every_scale),
        cmocka_unit_test(minus_zero_is_less_than_zero),
        cmocka_unit_test(any_nan_makes_the_one_quiet_nan),
        cmocka_unit_test(integer_averages_truncate_towards_zero_and_sums_wrap),
        cmocka_unit_test(one_source_is_copied_as_bytes),
        cmocka_unit_test(a_scaled_product_is_rounded_before_it_is_added),
        cmocka_unit_test(one_scaled_source_is_no_copy),
        cmocka_unit_test(lookup_refuses_what_is_none),
        cmocka_unit_test(lookup_chooses_the_level_it_names),
    };
    return cmocka_run_group_tests(tests, memory_create, memory_destroy);
}
