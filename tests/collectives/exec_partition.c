/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/random.h"
#include "collectives/exec/partition.h"

/* Chunks of all windows, and slices of all chunks, follow each other without a gap and end at the count. */
static void check_cover(const struct weft_plan *plan, uint64_t count, size_t element_bytes, uint64_t slice_bytes)
{
    struct partition partition = partition_make(plan, count, element_bytes, slice_bytes);
    uint64_t at = 0;
    for (uint32_t window = 0; window < plan->share_denominator; window++) {
        const struct plan_track track = {
            .window_begin = window, .window_end = window + 1, .chunk_count = plan->rank_count};
        struct slicing slicing = partition_slicing(&partition, &track);
        assert_true(slicing.slice_count >= 1);
        for (uint32_t chunk = 0; chunk < track.chunk_count; chunk++) {
            struct range whole = partition_chunk(&partition, &track, chunk);
            assert_int_equal(whole.begin, at);
            for (uint32_t slice = 0; slice < slicing.slice_count; slice++) {
                struct range range = partition_slice(&partition, &track, &slicing, chunk, slice);
                if (range.end == range.begin) continue;
                assert_int_equal(range.begin, at);
                assert_true((range.end - range.begin) * element_bytes <= slice_bytes);
                at = range.end;
            }
            assert_int_equal(at, whole.end);
        }
    }
    assert_int_equal(at, count);
}

static void slices_and_chunks_partition_every_message(void **state)
{
    (void)state;
    for (uint32_t ranks = 1; ranks <= 17; ranks++)
        for (uint32_t windows = 1; windows <= 4; windows++) {
            const struct weft_plan plan = {.rank_count = ranks, .share_denominator = windows};
            const uint64_t counts[] = {0, 1, ranks - 1, ranks, ranks + 1, 3 * ranks + 2, 4096, 100003, 1 << 20};
            for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++)
                for (size_t element_bytes = 1; element_bytes <= 8; element_bytes *= 2)
                    for (uint64_t slice_bytes = 64; slice_bytes <= 65536; slice_bytes *= 32)
                        check_cover(&plan, counts[i], element_bytes, slice_bytes);
        }
}

static void random_messages_are_partitioned(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 2000; seed++) {
        struct random random;
        random_seed(&random, seed);
        const struct weft_plan plan = {.rank_count = 1 + (uint32_t)random_below(&random, 300),
                                       .share_denominator = 1 + (uint32_t)random_below(&random, 8)};
        uint64_t count = random_next(&random) >> (40 + random_below(&random, 24));
        check_cover(&plan, count, (size_t)1 << random_below(&random, 4), 64 * (1 + random_below(&random, 4096)));
    }
}

static void counts_near_the_limit_do_not_overflow(void **state)
{
    (void)state;
    const struct weft_plan plan = {.rank_count = 1 << 24, .share_denominator = 128};
    const struct plan_track last = {.window_begin = 127, .window_end = 128, .chunk_count = 1 << 24};
    uint64_t count = UINT64_C(1) << 60;
    struct partition partition = partition_make(&plan, count, 8, 128 << 10);
    struct range range = partition_chunk(&partition, &last, (1 << 24) - 1);
    assert_int_equal(range.end, count);
    assert_int_equal(range.end - range.begin, count / (UINT64_C(128) << 24));
}

static void large_messages_are_cut_at_cache_lines(void **state)
{
    (void)state;
    const struct weft_plan plan = {.rank_count = 3, .share_denominator = 1};
    const struct plan_track track = {.window_begin = 0, .window_end = 1, .chunk_count = 3};
    struct partition partition = partition_make(&plan, 1000003, 4, 64 << 10);
    for (uint32_t chunk = 0; chunk < 3; chunk++)
        assert_int_equal(partition_chunk(&partition, &track, chunk).begin * 4 % 64, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slices_and_chunks_partition_every_message),
        cmocka_unit_test(random_messages_are_partitioned),
        cmocka_unit_test(counts_near_the_limit_do_not_overflow),
        cmocka_unit_test(large_messages_are_cut_at_cache_lines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
