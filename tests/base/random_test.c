/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/random.h"

/* xoshiro256** from the state {1, 2, 3, 4}, as the authors' reference code gives it. */
static void numbers_are_those_of_xoshiro256starstar(void **state)
{
    (void)state;
    const uint64_t expected[] = {11520, 0, 1509978240, 1215971899390074240};
    struct random random = {{1, 2, 3, 4}};
    for (int i = 0; i < 4; i++) assert_true(random_next(&random) == expected[i]);
}

/* splitmix64 from 0, as its author's reference code gives it. */
static void seeding_is_splitmix64(void **state)
{
    (void)state;
    struct random random;
    random_seed(&random, 0);
    assert_true(random.state[0] == UINT64_C(0xe220a8397b1dcdaf));
    assert_true(random.state[1] == UINT64_C(0x6e789e6aa1b965f4));
}

static void equal_seeds_give_equal_numbers_and_neighbours_do_not(void **state)
{
    (void)state;
    struct random one, same, next;
    random_seed(&one, 42);
    random_seed(&same, 42);
    random_seed(&next, 43);
    int equal_to_next = 0;
    for (int i = 0; i < 1000; i++) {
        uint64_t number = random_next(&one);
        assert_true(number == random_next(&same));
        equal_to_next += number == random_next(&next);
    }
    assert_int_equal(equal_to_next, 0);
}

static void below_reaches_every_value_and_no_other(void **state)
{
    (void)state;
    struct random random;
    random_seed(&random, 1);
    for (uint64_t bound = 1; bound <= 17; bound++) {
        uint32_t seen[17] = {0};
        for (int i = 0; i < 17000; i++) {
            uint64_t value = random_below(&random, bound);
            assert_true(value < bound);
            seen[value]++;
        }
        for (uint64_t value = 0; value < bound; value++) { /* within half of the mean: hundreds of deviations wide */
            assert_true(seen[value] > 17000 / bound / 2);
        }
    }
    for (int i = 0; i < 1000; i++) assert_true(random_below(&random, UINT64_MAX) < UINT64_MAX);
}

static void unit_is_at_least_0_and_below_1(void **state)
{
    (void)state;
    struct random random;
    random_seed(&random, 2);
    double sum = 0;
    for (int i = 0; i < 10000; i++) {
        double value = random_unit(&random);
        assert_true(value >= 0 && value < 1);
        sum += value;
    }
    assert_true(sum > 4800 && sum < 5200);
    struct random largest = {{0, UINT64_MAX, 0, 0}};
    assert_true(random_unit(&largest) < 1);
}

static void secrets_fill_the_buffer_and_differ(void **state)
{
    (void)state;
    uint8_t one[1024] = {0}, other[1024] = {0};
    assert_int_equal(random_secret(one, sizeof one), WEFT_OK);
    assert_int_equal(random_secret(other, sizeof other), WEFT_OK);
    assert_memory_not_equal(one, other, sizeof one);
    for (size_t at = 0; at < sizeof one; at += 32) { /* each 256-bit piece was written */
        uint8_t zeros[32] = {0};
        assert_memory_not_equal(one + at, zeros, 32);
    }
    assert_int_equal(random_secret(NULL, 0), WEFT_OK);
}

static void the_clock_never_goes_back(void **state)
{
    (void)state;
    uint64_t before = clock_now_ns();
    assert_true(before > 0);
    for (int i = 0; i < 1000; i++) {
        uint64_t now = clock_now_ns();
        assert_true(now >= before);
        before = now;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_those_of_xoshiro256starstar),
        cmocka_unit_test(seeding_is_splitmix64),
        cmocka_unit_test(equal_seeds_give_equal_numbers_and_neighbours_do_not),
        cmocka_unit_test(below_reaches_every_value_and_no_other),
        cmocka_unit_test(unit_is_at_least_0_and_below_1),
        cmocka_unit_test(secrets_fill_the_buffer_and_differ),
        cmocka_unit_test(the_clock_never_goes_back),
    };
    return cmocka_run_group_tests_name("random and clock", tests, NULL, NULL);
}
