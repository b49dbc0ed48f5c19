/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"

static void the_clock_never_runs_backwards(void **state)
{
    (void)state;
    uint64_t before_ns = clock_now_ns();
    for (int i = 0; i < 1000; i++) {
        uint64_t now_ns = clock_now_ns();
        assert_true(now_ns >= before_ns);
        before_ns = now_ns;
    }
}

static void what_is_longer_than_a_clock_runs_never_ends(void **state)
{
    (void)state;
    assert_true(clock_after_ns(5, 7) == 12);
    assert_true(clock_after_ns(0, INT64_MAX) == INT64_MAX);
    assert_true(clock_after_ns(1, INT64_MAX) == INT64_MAX);
    assert_true(clock_after_ns(1, UINT64_MAX) == INT64_MAX); /* which wraps to 0 */
    assert_true(clock_after_ns(INT64_MAX, UINT64_MAX) == INT64_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_clock_never_runs_backwards),
        cmocka_unit_test(what_is_longer_than_a_clock_runs_never_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
