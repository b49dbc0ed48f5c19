/* SPDX-License-Identifier: Apache-2.0 */
/* The registration cache's index of ranges, beside a scan of all of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/random.h"
#include "fabric/memory/range_index.h"

static void the_index_finds_what_a_scan_finds(void **state)
{
    (void)state;
    const uint64_t seed = 20240611;
    struct random random;
    struct range_index index;
    struct range {
        uintptr_t start, end;
    } ranges[64];
    uint32_t count = 0;
    random_seed(&random, seed);
    assert_int_equal(range_index_create(64, &index), WEFT_OK);
    for (int turn = 0; turn < 20000; turn++) {
        const uintptr_t start = 1 + random_below(&random, 200), end = start + 1 + random_below(&random, 60);
        if (random_below(&random, 3) && count < 64) {
            ranges[count] = (struct range){start, end};
            assert_true(range_index_insert(&index, start, end, (void *)(start << 16 | end)));
            count++;
        } else if (count) {
            const uint32_t victim = (uint32_t)random_below(&random, count);
            range_index_remove(&index, ranges[victim].start, (void *)(ranges[victim].start << 16 | ranges[victim].end));
            ranges[victim] = ranges[--count];
        }
        uint32_t covering = 0, overlapping = 0, found_covering = 0, found_overlapping = 0;
        for (uint32_t i = 0; i < count; i++) {
            covering += ranges[i].start <= start && ranges[i].end >= end;
            overlapping += ranges[i].start < end && ranges[i].end > start;
        }
        for (int64_t at = range_index_covering(&index, range_index_bisect(&index, start), end); at >= 0;
             at = range_index_covering(&index, at - 1, end))
            found_covering++;
        for (int64_t at = range_index_reaching(&index, range_index_bisect(&index, end - 1), start); at >= 0;
             at = range_index_reaching(&index, at - 1, start))
            found_overlapping++;
        if (covering != found_covering || overlapping != found_overlapping) fail_msg("seed %lu turn %d", seed, turn);
    }
    assert_true(index.count == count);
    range_index_destroy(&index);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_index_finds_what_a_scan_finds)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
