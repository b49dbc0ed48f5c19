/* SPDX-License-Identifier: Apache-2.0 */
/* When hierarchical plans are chosen, and in which of their two ways. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "collectives/select/select.h"

static const struct select_links four_hosts = {
    .groups = {.count = 4, .largest = 8, .levels = 1, .within = &cost_model_shm}};

static struct select_choice choose(struct select_request request)
{
    struct select_choice choice;
    request.collective = WEFT_ALL_REDUCE;
    request.rank_count = 32;
    assert_int_equal(select_plan(request.links ? &cost_model_tcp : &cost_model_shm, &request, &choice), WEFT_OK);
    return choice;
}

static void a_few_bytes_go_through_leaders_and_many_by_shares(void **state)
{
    (void)state;
    struct select_choice few = choose((struct select_request){.bytes = 8, .links = &four_hosts});
    assert_int_equal(few.algorithm, WEFT_ALGORITHM_HIERARCHICAL);
    assert_int_equal(few.channel_units, 1);
    struct select_choice many = choose((struct select_request){.bytes = 64 << 20, .links = &four_hosts});
    assert_int_equal(many.algorithm, WEFT_ALGORITHM_HIERARCHICAL);
    assert_int_equal(many.channel_units, 2);
}

static void forced_channels_say_which_way(void **state)
{
    (void)state;
    for (uint32_t units = 1; units <= 4; units++) {
        const struct select_request request = {
            .forced = WEFT_ALGORITHM_HIERARCHICAL, .channel_units = units, .bytes = 8 << 20, .links = &four_hosts};
        struct select_choice choice = choose(request);
        assert_int_equal(choice.channel_units, units);
        struct select_choice free_choice =
            choose((struct select_request){.forced = request.forced, .bytes = request.bytes, .links = &four_hosts});
        double leaders = choice.predicted_ns[WEFT_ALGORITHM_HIERARCHICAL];
        double best = free_choice.predicted_ns[WEFT_ALGORITHM_HIERARCHICAL];
        assert_true(units == 1 ? leaders > best : leaders == best);
    }
}

static void canonical_calls_never_take_one(void **state)
{
    (void)state;
    for (uint64_t bytes = 8; bytes < UINT64_C(1) << 30; bytes *= 8) {
        struct select_choice choice = choose((struct select_request){.bytes = bytes, .canonical = true});
        assert_true(choice.predicted_ns[WEFT_ALGORITHM_HIERARCHICAL] == 0);
        assert_int_not_equal(choice.algorithm, WEFT_ALGORITHM_HIERARCHICAL);
    }
}

/* What is between hosts is not priced by what a rank can do where its link is slower. */
static void a_slow_link_counts(void **state)
{
    (void)state;
    struct select_links slow = four_hosts;
    struct select_request request = {.forced = WEFT_ALGORITHM_HIERARCHICAL, .bytes = 64 << 20, .links = &four_hosts};
    double before = choose(request).predicted_ns[WEFT_ALGORITHM_HIERARCHICAL];
    slow.byte_ns[WEFT_ALL_REDUCE][WEFT_ALGORITHM_HIERARCHICAL] = 10;
    request.links = &slow;
    assert_true(choose(request).predicted_ns[WEFT_ALGORITHM_HIERARCHICAL] > before + 9.0 * (64 << 20));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_few_bytes_go_through_leaders_and_many_by_shares),
        cmocka_unit_test(forced_channels_say_which_way),
        cmocka_unit_test(canonical_calls_never_take_one),
        cmocka_unit_test(a_slow_link_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
