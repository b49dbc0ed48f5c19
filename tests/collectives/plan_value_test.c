/* SPDX-License-Identifier: Apache-2.0 */
/* Symbolic values against plain arrays of flags. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/random.h"
#include "collectives/plan/verify_value.h"

enum { LARGEST = 200 };

/* Consecutive ranks, going round, or any; @p flags says which. */
static struct value draw_value(struct value_space *space, struct random *random, bool *flags)
{
    struct value value = value_none();
    uint32_t n = space->rank_count, first = (uint32_t)random_below(random, n);
    uint32_t count = (uint32_t)random_below(random, n + 1);
    bool any = random_below(random, 2);
    memset(flags, 0, LARGEST);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t rank = any ? (uint32_t)random_below(random, n) : (first + i) % n, twice;
        if (flags[rank]) continue;
        struct value one = value_one(rank);
        assert_int_equal(value_combine(space, &value, &one, &twice), VALUE_OK);
        flags[rank] = true;
    }
    return value;
}

static void must_equal(const struct value_space *space, const struct value *value, const bool *flags)
{
    uint32_t count = 0, missing = space->rank_count;
    for (uint32_t rank = space->rank_count; rank-- > 0;) {
        count += flags[rank];
        if (!flags[rank]) missing = rank;
    }
    assert_int_equal(value->count, count);
    assert_int_equal(value_is_all(space, value), count == space->rank_count);
    if (count < space->rank_count) assert_int_equal(value_first_missing(space, value), missing);
    if (count == space->rank_count) assert_true(value->first == 0 && !value->bits);
}

static void sets_combine_like_arrays_of_flags(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 3000; seed++) {
        struct random random;
        random_seed(&random, seed);
        struct value_space space = {.rank_count = 1 + (uint32_t)random_below(&random, LARGEST)};
        bool left[LARGEST], right[LARGEST], both[LARGEST];
        struct value a = draw_value(&space, &random, left), b = draw_value(&space, &random, right);
        struct value kept = value_copy(a);
        must_equal(&space, &a, left);
        must_equal(&space, &b, right);
        bool overlap = false;
        for (uint32_t rank = 0; rank < space.rank_count; rank++) {
            overlap |= left[rank] && right[rank];
            both[rank] = left[rank] || right[rank];
        }
        uint32_t twice = space.rank_count;
        enum value_result result = value_combine(&space, &a, &b, &twice);
        if (result != (overlap ? VALUE_OVERLAP : VALUE_OK)) fail_msg("seed %llu", (unsigned long long)seed);
        if (overlap) assert_true(twice < space.rank_count && left[twice] && right[twice]);
        must_equal(&space, &a, overlap ? left : both);
        assert_int_equal(value_unite(&space, &a, &b), VALUE_OK);
        must_equal(&space, &a, both);
        must_equal(&space, &kept, left); /* a copy is not changed through the original */
        must_equal(&space, &b, right);
        value_drop(&space, &a);
        value_drop(&space, &b);
        value_drop(&space, &kept);
        value_space_free(&space);
    }
}

/* Otherwise a ring over n ranks would hold n bits for each slot. */
static void consecutive_ranks_need_no_bits(void **state)
{
    (void)state;
    struct value_space space = {.rank_count = 100};
    struct value value = value_none();
    uint32_t twice;
    /* 97 98 99 0 1 2 from its ends inwards, so that it is no run in between. */
    static const uint32_t ranks[] = {97, 2, 98, 1, 99, 0};
    for (uint32_t i = 0; i < 6; i++) {
        struct value one = value_one(ranks[i]);
        assert_int_equal(value_combine(&space, &value, &one, &twice), VALUE_OK);
    }
    assert_null(value.bits);
    assert_int_equal(value.first, 97);
    assert_int_equal(value.count, 6);
    value_space_free(&space);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sets_combine_like_arrays_of_flags),
        cmocka_unit_test(consecutive_ranks_need_no_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
