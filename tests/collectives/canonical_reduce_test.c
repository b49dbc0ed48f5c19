/* SPDX-License-Identifier: Apache-2.0 */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
/* clang-format on */
#include <stdlib.h>
#include <string.h>

#include "base/config.h"
#include "canonical_reference.h"

enum { MAX_SOURCES = 255, MAX_BYTES = 2400, LONG_BYTES = 40000, MARGIN_BYTES = 64 };

static const int levels[] = {SIMD_PORTABLE, SIMD_AVX2, SIMD_AVX512};
enum { LEVEL_COUNT = sizeof levels / sizeof levels[0] };

/* A call on random sources; what it points to is in `memory`. */
struct trial {
    weft_dtype dtype;
    weft_op op;
    uint32_t source_count;
    size_t count;
    uint64_t seed;
};

static struct {
    uint8_t sources[MAX_SOURCES][MAX_BYTES + MARGIN_BYTES];
    uint8_t long_sources[6][LONG_BYTES + MARGIN_BYTES];
    float partials[MAX_SOURCES][MAX_BYTES];
    uint8_t results[2][LONG_BYTES + MARGIN_BYTES], expected[LONG_BYTES];
    double scales[MAX_SOURCES];
    const void *source_pointers[MAX_SOURCES];
    void *destinations[2];
} memory;

static struct reduce_call trial_call(const struct trial *trial)
{
    struct random random;
    random_seed(&random, trial->seed);
    bool is_long = trial->count * weft_dtype_size(trial->dtype) > MAX_BYTES;
    for (uint32_t i = 0; i < trial->source_count; i++) {
        size_t offset = random_below(&random, MARGIN_BYTES);
        uint8_t *source = is_long ? memory.long_sources[i] : memory.sources[i];
        fill_wild(trial->dtype, &random, source + offset, trial->count);
        memory.source_pointers[i] = source + offset;
        memory.scales[i] = any_scale(trial->dtype, &random);
    }
    for (int i = 0; i < 2; i++) memory.destinations[i] = memory.results[i] + random_below(&random, MARGIN_BYTES);
    return (struct reduce_call){
        .destinations = memory.destinations,
        .sources = memory.source_pointers,
        .destination_count = 2,
        .source_count = trial->source_count,
        .count = trial->count,
        .divisor = trial->op == WEFT_AVG ? trial->source_count : 1,
        .streaming = random_below(&random, 2),
        .scales = trial->op == WEFT_PREMUL_SUM ? memory.scales : NULL,
    };
}

static void expect(const struct trial *trial, const void *result, const char *what)
{
    size_t bytes = trial->count * weft_dtype_size(trial->dtype);
    if (memcmp(result, memory.expected, bytes) == 0) return;
    fail_msg("%s: %s %s, sources %u, count %zu, seed %llu", what, weft_dtype_name(trial->dtype),
             weft_op_name(trial->op), trial->source_count, trial->count, (unsigned long long)trial->seed);
}

static void trial_run(const struct trial *trial)
{
    struct reduce_call call = trial_call(trial);
    canonical_reference(trial->dtype, trial->op, &call, memory.expected);
    for (int i = 0; i < LEVEL_COUNT; i++) {
        reduce_function combine = reduce_lookup_canonical_at(trial->dtype, trial->op, levels[i]);
        if (!combine) continue;
        memset(memory.results, 0xa5, sizeof memory.results);
        combine(&call);
        expect(trial, memory.destinations[0], "first destination");
        expect(trial, memory.destinations[1], "second destination");
    }
    /* In place, over the source in the middle. */
    memory.destinations[1] = (void *)(uintptr_t)memory.source_pointers[trial->source_count / 2];
    reduce_lookup_canonical(trial->dtype, trial->op)(&call);
    expect(trial, memory.destinations[1], "in place");
}

static const uint32_t source_counts[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 13, 15, 16, 17, 31, 33, MAX_SOURCES};
enum { SOURCE_COUNTS = sizeof source_counts / sizeof source_counts[0] };

static void for_each_kind(void (*body)(struct trial *trial))
{
    uint64_t seed = 1;
    for (int dtype = 0; dtype < WEFT_DTYPE_COUNT; dtype++)
        for (int op = 0; op < WEFT_OP_COUNT; op++) {
            struct trial trial = {.dtype = (weft_dtype)dtype, .op = (weft_op)op, .seed = seed++ << 16};
            body(&trial);
        }
}

static void some_source_counts(struct trial *trial)
{
    for (int i = 0; i < SOURCE_COUNTS; i++) {
        trial->source_count = source_counts[i];
        for (int repetition = 0; repetition < (trial->source_count > 40 ? 1 : 3); repetition++, trial->seed++) {
            trial->count = trial->seed * 29 % (MAX_BYTES / weft_dtype_size(trial->dtype) / 4);
            trial_run(trial);
        }
    }
}

static void every_level_makes_the_documented_tree(void **state)
{
    (void)state;
    for_each_kind(some_source_counts);
}

static void some_lengths(struct trial *trial)
{
    for (trial->source_count = 4; trial->source_count <= 5; trial->source_count++)
        for (trial->count = 0; trial->count <= 150; trial->count += 1 + trial->count / 70, trial->seed++)
            trial_run(trial);
    trial->source_count = 6;
    trial->count = 37000 / weft_dtype_size(trial->dtype);
    trial_run(trial);
}

static void every_length_makes_the_documented_tree(void **state)
{
    (void)state;
    for_each_kind(some_lengths);
}

/* Blocks of 2^level sources are combined by themselves, and then the blocks. */
static void trial_in_blocks(const struct trial *trial, uint32_t block)
{
    struct reduce_call call = trial_call(trial);
    canonical_reference(trial->dtype, trial->op, &call, memory.expected);
    const void *partials[MAX_SOURCES];
    bool are_partial[MAX_SOURCES];
    reduce_function combine = reduce_lookup_canonical(trial->dtype, trial->op);
    uint32_t blocks = 0;
    for (uint32_t first = 0; first < trial->source_count; first += block, blocks++) {
        uint32_t left = trial->source_count - first;
        struct reduce_call part = call;
        part.sources = call.sources + first;
        part.source_count = left < block ? left : block;
        part.scales = call.scales ? call.scales + first : NULL;
        part.divisor = 1;
        part.destination_count = 1;
        part.destinations = (void *[]){memory.partials[blocks]};
        part.partial_result = true;
        combine(&part);
        partials[blocks] = memory.partials[blocks];
        are_partial[blocks] = true;
    }
    if (trial->op != WEFT_PREMUL_SUM && block == 1) { /* a leaf may be either */
        partials[0] = call.sources[0];
        are_partial[0] = false;
    }
    call.sources = partials;
    call.source_count = blocks;
    call.scales = NULL;
    call.partial_sources = are_partial;
    combine(&call);
    expect(trial, memory.destinations[0], "in blocks");
}

static void some_blocks(struct trial *trial)
{
    for (int i = 1; i < SOURCE_COUNTS - 1; i++) {
        trial->source_count = source_counts[i];
        for (uint32_t block = 1; block < trial->source_count; block *= 2, trial->seed++) {
            trial->count = trial->seed * 31 % 130;
            trial_in_blocks(trial, block);
        }
    }
}

static void aligned_blocks_may_be_combined_first(void **state)
{
    (void)state;
    for_each_kind(some_blocks);
}

/* 2^24 + 1 + 1 + ...: what is added first is lost or not. */
/* From one leaf to the root, taking in on the way what the other side of each node comes to, left or right. */
static void trial_along_branch(const struct trial *trial, uint32_t leaf)
{
    struct reduce_call call = trial_call(trial);
    canonical_reference(trial->dtype, trial->op, &call, memory.expected);
    const void *sources[16] = {call.sources[leaf]};
    bool are_partial[16] = {false};
    double scales[16] = {memory.scales[leaf]};
    uint32_t count = 1;
    reduce_function combine = reduce_lookup_canonical(trial->dtype, trial->op);
    for (uint32_t width = 1; width < trial->source_count; width *= 2) {
        uint32_t first = (leaf / width ^ 1) * width;
        if (first >= trial->source_count) continue;
        uint32_t left = trial->source_count - first;
        struct reduce_call part = call;
        part.sources = call.sources + first;
        part.source_count = left < width ? left : width;
        part.scales = call.scales ? call.scales + first : NULL;
        part.divisor = 1;
        part.destination_count = 1;
        part.destinations = (void *[]){memory.partials[count]};
        part.partial_result = true;
        combine(&part);
        scales[count] = 1;
        are_partial[count] = true;
        sources[count] = memory.partials[count];
        count++;
    }
    call.sources = sources;
    call.source_count = count;
    call.scales = call.scales ? scales : NULL;
    call.partial_sources = are_partial;
    call.chained = true;
    combine(&call);
    expect(trial, memory.destinations[0], "along a branch");
}

static void some_branches(struct trial *trial)
{
    for (int i = 1; i < SOURCE_COUNTS - 1; i++, trial->seed++) {
        trial->source_count = source_counts[i];
        trial->count = trial->seed * 31 % 130;
        trial_along_branch(trial, (uint32_t)(trial->seed % trial->source_count));
    }
}

static void a_branch_may_be_joined_from_its_leaf_up(void **state)
{
    (void)state;
    for_each_kind(some_branches);
}

static void order_is_the_trees_and_not_from_left_to_right(void **state)
{
    (void)state;
    const float numbers[] = {0x1p24f, 1, 1, 1, 1, 1};
    const void *sources[6];
    for (int i = 0; i < 6; i++) sources[i] = &numbers[i];
    float result;
    void *destinations[] = {&result};
    struct reduce_call call = {.destinations = destinations, .sources = sources, .destination_count = 1, .count = 1};
    const float expected[] = {0x1p24f, 0x1p24f, 0x1p24f, 0x1p24f + 2, 0x1p24f + 4, 0x1p24f + 4};
    for (call.source_count = 1; call.source_count <= 6; call.source_count++) {
        reduce_lookup_canonical(WEFT_FLOAT32, WEFT_SUM)(&call);
        assert_true(result == expected[call.source_count - 1]);
    }
}

static void partial_results_hold_what_rounding_would_lose(void **state)
{
    (void)state;
    assert_int_equal(reduce_partial_bytes(WEFT_FLOAT16, WEFT_SUM), 4);
    assert_int_equal(reduce_partial_bytes(WEFT_FLOAT8_E5M2, WEFT_AVG), 4);
    assert_int_equal(reduce_partial_bytes(WEFT_BFLOAT16, WEFT_MAX), 2);
    assert_int_equal(reduce_partial_bytes(WEFT_INT8, WEFT_SUM), 1);
    assert_int_equal(reduce_partial_bytes(WEFT_FLOAT64, WEFT_PROD), 8);
}

static void lookup_refuses_what_is_none(void **state)
{
    (void)state;
    assert_null(reduce_lookup_canonical(WEFT_DTYPE_COUNT, WEFT_SUM));
    assert_null(reduce_lookup_canonical(WEFT_FLOAT32, WEFT_OP_COUNT));
    assert_null(reduce_lookup_canonical_at(WEFT_FLOAT32, WEFT_SUM, SIMD_AVX512 + 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_level_makes_the_documented_tree),
        cmocka_unit_test(every_length_makes_the_documented_tree),
        cmocka_unit_test(aligned_blocks_may_be_combined_first),
        cmocka_unit_test(a_branch_may_be_joined_from_its_leaf_up),
        cmocka_unit_test(order_is_the_trees_and_not_from_left_to_right),
        cmocka_unit_test(partial_results_hold_what_rounding_would_lose),
        cmocka_unit_test(lookup_refuses_what_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
