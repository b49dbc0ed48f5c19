/* SPDX-License-Identifier: Apache-2.0 */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
/* clang-format on */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "collectives/plan/plan.h"
#include "tests/collectives/canonical_plans.h"

static weft_plan *plan_of(const struct canonical_plan *made, uint32_t ranks, uint32_t channels, uint32_t slots,
                          uint32_t root)
{
    const weft_plan_spec spec = {
        .size = sizeof spec,
        .collective = made->collective,
        .algorithm = made->algorithm,
        .rank_count = ranks,
        .root = root,
        .channel_count = channels,
        .slot_depth = slots,
        .canonical = true,
    };
    weft_plan *plan;
    assert_int_equal(weft_plan_create(&spec, &plan), WEFT_OK);
    return plan;
}

static void plan_check(weft_plan *plan)
{
    weft_plan_report report = {.size = sizeof report};
    assert_true(plan->canonical);
    if (weft_plan_verify(plan, &report) != WEFT_OK)
        fail_msg("%s %s, %u ranks, root %u, %u slots: %s", weft_collective_name(plan->collective),
                 weft_algorithm_name(plan->algorithm), plan->rank_count, plan->root, plan->slot_depth, report.message);
    weft_plan_destroy(plan);
}

static void every_rank_count_and_root_is_proved_canonical(void **state)
{
    (void)state;
    for (uint32_t ranks = 1; ranks <= 40; ranks++)
        for (int i = 0; i < CANONICAL_PLAN_COUNT; i++)
            for (uint32_t root = 0; root < (canonical_plans[i].collective == WEFT_REDUCE ? ranks : 1); root++)
                plan_check(plan_of(&canonical_plans[i], ranks, 1 + ranks % 4, 2 + ranks % 3, root));
}

static void more_ranks_than_a_step_has_operands_are_served(void **state)
{
    (void)state;
    for (uint32_t ranks = 255; ranks <= 300; ranks += 45)
        for (int i = 0; i < CANONICAL_PLAN_COUNT; i++)
            if (ranks == 255 || canonical_plans[i].algorithm != WEFT_ALGORITHM_DIRECT)
                plan_check(
                    plan_of(&canonical_plans[i], ranks, 1, 2, canonical_plans[i].collective == WEFT_REDUCE ? 37 : 0));
}

static void what_cannot_be_canonical_has_no_plan(void **state)
{
    (void)state;
    weft_plan *plan = NULL;
    weft_plan_spec spec = {.size = sizeof spec, .collective = WEFT_ALL_REDUCE, .algorithm = WEFT_ALGORITHM_RING};
    spec.rank_count = 4;
    spec.canonical = true;
    assert_int_equal(weft_plan_create(&spec, &plan), WEFT_UNSUPPORTED);
    spec.collective = WEFT_ALL_GATHER; /* combines nothing, so any will do */
    assert_int_equal(weft_plan_create(&spec, &plan), WEFT_OK);
    assert_false(plan->canonical);
    weft_plan_destroy(plan);
}

static void text_says_all_of_it(void **state)
{
    (void)state;
    for (int i = 0; i < CANONICAL_PLAN_COUNT; i++) {
        weft_plan *plan = plan_of(&canonical_plans[i], 11, 2, 3, 0), *again;
        char *text, *text_again, error[256];
        assert_int_equal(weft_plan_print(plan, WEFT_ALL_RANKS, WEFT_TEXT, &text), WEFT_OK);
        assert_int_equal(weft_plan_read(text, strlen(text), &again, error), WEFT_OK);
        assert_int_equal(weft_plan_print(again, WEFT_ALL_RANKS, WEFT_TEXT, &text_again), WEFT_OK);
        assert_string_equal(text, text_again);
        assert_int_equal(weft_plan_hash(plan), weft_plan_hash(again));
        plan_check(again);
        weft_plan_destroy(plan);
        free(text);
        free(text_again);
    }
}

/* Four ranks that reduce to rank 0, a step each: NULL expects the proof to succeed, else @p sentence in the refusal. */
static void refused(const char *steps_of_0, const char *steps_of_1, const char *steps_of_2, const char *steps_of_3,
                    const char *sentence)
{
    char text[4096], error[256] = "";
    const char *const steps[] = {steps_of_0, steps_of_1, steps_of_2, steps_of_3};
    int length = snprintf(text, sizeof text,
                          "weft_plan 1\ncollective reduce\nalgorithm auto\nranks 4\nroot 0\nchannels 1\nslots 2\n"
                          "shares 1\ncanonical\n");
    for (int rank = 0; rank < 4; rank++)
        length += snprintf(text + length, sizeof text - (size_t)length,
                           "rank %d\ntrack 0 channel 0 path 0 window 0 1 chunks 1\nstep 0 %s\n", rank, steps[rank]);
    weft_plan *plan;
    weft_plan_report report = {.size = sizeof report};
    if (weft_plan_read(text, (size_t)length, &plan, error) == WEFT_OK) {
        weft_status status = weft_plan_verify(plan, &report);
        weft_plan_destroy(plan);
        if (status == WEFT_OK && !sentence) return;
        assert_int_equal(status, sentence ? WEFT_INVALID_PLAN : WEFT_OK);
    }
    const char *said = error[0] ? error : report.message;
    if (!sentence || !strstr(said, sentence)) fail_msg("said \"%s\", expected \"%s\"", said, sentence ? sentence : "");
}

#define LEAF_TO_0 "put chunk 0: input -> leaf slot 0"
#define LEAF_TO_2 "put chunk 0: input -> leaf slot 2"
#define PAIR_TO_0 "fused chunk 0: input, leaf slot 3 -> partial slot 0"
#define UP "reduce chunk 0 final: input, leaf slot 1, partial slot 2 -> output"

static void wrong_trees_are_refused_with_a_sentence(void **state)
{
    (void)state;
    refused(UP, LEAF_TO_0, PAIR_TO_0, LEAF_TO_2, NULL);
    refused("reduce chunk 0 final tree: input, leaf slot 1, leaf slot 2, leaf slot 3 -> output", LEAF_TO_0, LEAF_TO_0,
            LEAF_TO_0, NULL);
    /* One after another: ((0 + 1) + 2) + 3. */
    refused("reduce chunk 0 final: input, leaf slot 1, leaf slot 2, leaf slot 3 -> output", LEAF_TO_0, LEAF_TO_0,
            LEAF_TO_0, "the tree over ranks 0 to 3 splits before rank 2");
    refused("reduce chunk 0 final: input, partial slot 2, leaf slot 1 -> output", LEAF_TO_0, PAIR_TO_0, LEAF_TO_2,
            "joins ranks 0 to 0 with 2 to 3, which do not come next");
    refused("reduce chunk 0 final tree: input, leaf slot 2, leaf slot 1, leaf slot 3 -> output", LEAF_TO_0, LEAF_TO_0,
            LEAF_TO_0, "which do not come next");
    /* The right side by a tree of its own, but of three: 0 + ((1 + 2) + 3). */
    refused("reduce chunk 0 final: input, partial slot 1 -> output",
            "fused chunk 0 tree: input, leaf slot 2, leaf slot 3 -> partial slot 0",
            "put chunk 0: input -> leaf slot 1", "put chunk 0: input -> leaf slot 1",
            "the tree over ranks 0 to 3 splits before rank 2");
    refused("reduce chunk 0 final tree: input, leaf slot 1, partial slot 2 -> output", LEAF_TO_0, PAIR_TO_0, LEAF_TO_2,
            NULL); /* three by a tree: the same as one after another */
}

static void wrong_forms_are_refused_with_a_sentence(void **state)
{
    (void)state;
    refused(UP, LEAF_TO_0, "fused chunk 0: input, leaf slot 3 -> slot 0", LEAF_TO_2, "sends what is partial");
    refused(UP, "put chunk 0: input -> slot 0", PAIR_TO_0, LEAF_TO_2, "sends what is a leaf");
    refused("reduce chunk 0 final: input, slot 1, partial slot 2 -> output", LEAF_TO_0, PAIR_TO_0, LEAF_TO_2,
            "what rank 1 sends is in another form");
    refused("reduce chunk 0 final: input, leaf slot 1, partial slot 2 -> leaf output", LEAF_TO_0, PAIR_TO_0, LEAF_TO_2,
            "only slots of a canonical plan hold leaves and partial results");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_rank_count_and_root_is_proved_canonical),
        cmocka_unit_test(more_ranks_than_a_step_has_operands_are_served),
        cmocka_unit_test(what_cannot_be_canonical_has_no_plan),
        cmocka_unit_test(text_says_all_of_it),
        cmocka_unit_test(wrong_trees_are_refused_with_a_sentence),
        cmocka_unit_test(wrong_forms_are_refused_with_a_sentence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
