/* SPDX-License-Identifier: Apache-2.0 */
/* Plans whose messages have a block for each rank, or for each pair: a wrong one for each rule, and what is said. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/collectives/plan_edit.h"

/* Two ranks; @p shares of the message. */
static void write_plan(char text[4096], const char *collective, uint32_t shares, const char *programs)
{
    snprintf(text, 4096,
             "weft_plan 1\ncollective %s\nalgorithm auto\nranks 2\nroot 0\n%schannels 2\nslots 2\nshares %u\n%s",
             collective, strcmp(collective, "send_recv") == 0 ? "peer 1\n" : "", shares, programs);
}

static void must_accept(const char *collective, uint32_t shares, const char *programs)
{
    char text[4096];
    write_plan(text, collective, shares, programs);
    struct weft_plan *plan = plan_from_text(text);
    plan_must_verify(plan, NULL);
    weft_plan_destroy(plan);
}

static void must_refuse(const char *collective, uint32_t shares, const char *programs, const char *sentence)
{
    char text[4096];
    write_plan(text, collective, shares, programs);
    struct weft_plan *plan = plan_from_text(text);
    weft_plan_report report = {.size = sizeof report};
    weft_status status = weft_plan_verify(plan, &report);
    weft_plan_destroy(plan);
    assert_string_equal(report.message, sentence);
    assert_int_equal(status, WEFT_INVALID_PLAN);
}

static void must_not_read(const char *collective, uint32_t shares, const char *programs, const char *sentence)
{
    char text[4096], error[256] = "";
    write_plan(text, collective, shares, programs);
    weft_plan *plan = NULL;
    assert_int_equal(weft_plan_read(text, strlen(text), &plan, error), WEFT_BAD_FORMAT);
    assert_string_equal(error, sentence);
}

#define BLOCKS(track) "track " #track " channel 0 path 0 window 0 1 chunks 2 stride 1\n"
#define PAIRS(track) "track " #track " channel 0 path 0 window 0 1 chunks 4 stride 1\n"
#define WHOLE(track) "track " #track " channel 0 path 0 window 0 2 chunks 1\n"

#define ALL_GATHER_0                                                                                                   \
    "rank 0\n" BLOCKS(0) "step 0 put chunk 0: input -> output, slot 1\nstep 1 copy chunk 1: slot 1 -> output\n"
#define ALL_GATHER_1                                                                                                   \
    "rank 1\n" BLOCKS(0) "step 0 put chunk 1: input -> output, slot 0\nstep 1 copy chunk 0: slot 0 -> output\n"

static void a_rank_has_its_own_block_to_gather(void **state)
{
    (void)state;
    must_accept("all_gather", 2, ALL_GATHER_0 ALL_GATHER_1);
    must_refuse("all_gather", 2,
                "rank 0\n" BLOCKS(0) "step 0 put chunk 1: input -> output, slot 1\n"
                                     "step 1 copy chunk 1: slot 1 -> output\n" ALL_GATHER_1,
                "rank 0 track 0 step 0 repetition 0 chunk 1: reads block 1, which is not in its input");
    must_refuse("all_gather", 2,
                ALL_GATHER_0 "rank 1\n" BLOCKS(0) "step 0 put chunk 1: input -> output, slot 0\n"
                                                  "step 1 wait chunk 0: slot 0 -> nothing\n",
                "rank 1: nothing writes chunk 0 of window 0 to 1 to the output");
    must_refuse("all_gather", 2,
                ALL_GATHER_0 "rank 1\n" BLOCKS(0) "step 0 put chunk 1: input -> output, slot 0\n"
                                                  "step 1 copy chunk 1: slot 0 -> output\n",
                "rank 1 track 0 step 1 repetition 0 chunk 1: receives chunk 0 from rank 0, expected chunk 1");
}

static void a_rank_gets_its_own_block_scattered(void **state)
{
    (void)state;
#define SCATTER_0                                                                                                      \
    "rank 0\n" BLOCKS(0) "step 0 put chunk 1: input -> slot 1\nstep 1 reduce chunk 0 final: slot 1, input -> output\n"
#define SCATTER_1                                                                                                      \
    "rank 1\n" BLOCKS(0) "step 0 put chunk 0: input -> slot 0\nstep 1 reduce chunk 1 final: slot 0, input -> output\n"
    must_accept("reduce_scatter", 2, SCATTER_0 SCATTER_1);
    must_refuse(
        "reduce_scatter", 2,
        "rank 0\n" BLOCKS(0) "step 0 put chunk 0: input -> slot 1\nstep 1 reduce chunk 1 final: slot 1, input -> "
                             "output\n"
                             "rank 1\n" BLOCKS(0) "step 0 put chunk 1: input -> slot 0\nstep 1 reduce chunk 0 "
                                                  "final: slot 0, input -> output\n",
        "rank 1 track 0 step 1 repetition 0 chunk 0: writes block 0, which is not in its output");
    must_refuse(
        "reduce_scatter", 2,
        "rank 0\n" BLOCKS(0) "step 0 put chunk 1: input -> slot 1\nstep 1 copy chunk 0: slot 1 -> output\n" SCATTER_1,
        "rank 0 track 0 step 1 repetition 0 chunk 0: writes output without rank 0's contribution");
}

static void only_the_root_has_a_result_or_an_input(void **state)
{
    (void)state;
    must_accept("reduce", 2,
                "rank 0\n" WHOLE(0) "step 0 reduce chunk 0 final: input, slot 1 -> output\n"
                                    "rank 1\n" WHOLE(0) "step 0 put chunk 0: input -> slot 0\n");
    must_refuse("reduce", 2,
                "rank 0\n" WHOLE(0) "step 0 put chunk 0: input -> slot 1\n"
                                    "rank 1\n" WHOLE(0) "step 0 reduce chunk 0 final: slot 0, input -> output\n",
                "rank 1 track 0 step 0 repetition 0 chunk 0: writes block 0, which is not in its output");
    must_refuse("scatter", 2,
                "rank 0\n" BLOCKS(0) "step 0 copy chunk 0: input -> output\n"
                                     "rank 1\n" BLOCKS(0) "step 0 copy chunk 1: input -> output\n",
                "rank 1 track 0 step 0 repetition 0 chunk 1: reads its input, and only the root, rank 0, has one");
    must_refuse("gather", 2,
                "rank 0\n" BLOCKS(0) "step 0 copy chunk 0: input -> output\n"
                                     "rank 1\n" BLOCKS(0) "step 0 copy chunk 1: input -> output\n",
                "rank 1 track 0 step 0 repetition 0 chunk 1: writes block 1, which is not in its output");
}

/* Blocks of pairs are numbered sender * 2 + receiver. */
#define OWN_0 "rank 0\n" PAIRS(0) "step 0 copy chunk 0: input -> output\n"
#define OWN_1 "rank 1\n" PAIRS(0) "step 0 copy chunk 3: input -> output\n"

static void what_goes_to_a_rank_leaves_before_what_comes_from_it_arrives(void **state)
{
    (void)state;
    must_accept(
        "all_to_all", 4,
        OWN_0 PAIRS(1) "step 0 put chunk 1: input -> slot 1\nstep 1 copy chunk 2: slot 1 -> output\n" OWN_1 PAIRS(
            1) "step 0 put chunk 2: input -> slot 0\nstep 1 copy chunk 1: slot 0 -> output\n");
    /* Rank 1 takes first: in place that is where what it is to send still lies. */
    must_refuse(
        "all_to_all", 4,
        OWN_0 PAIRS(1) "step 0 put chunk 1: input -> slot 1\nstep 1 copy chunk 2: slot 1 -> output\n" OWN_1 PAIRS(
            1) "step 0 copy chunk 1: slot 0 -> output\nstep 1 put chunk 2: input -> slot 0\n",
        "rank 1 track 1 step 1 repetition 0 chunk 2: in place, its input has been overwritten by track 1 step 0");
    must_refuse("all_to_all", 4, OWN_0 OWN_1, "rank 0: nothing writes chunk 2 of window 0 to 1 to the output");
}

static void a_message_has_its_two_ranks(void **state)
{
    (void)state;
    must_accept("send_recv", 2,
                "rank 0\n" WHOLE(0) "step 0 put chunk 0: input -> slot 1\n"
                                    "rank 1\n" WHOLE(0) "step 0 copy chunk 0: slot 0 -> output\n");
    must_refuse("send_recv", 2, "rank 0\nrank 1\n", "rank 0: tracks for 0 of 2 shares");
    must_refuse("send_recv", 2, "rank 0\nrank 1\n" WHOLE(0) "step 0 copy chunk 0: input -> output\n",
                "rank 1 track 0 step 0 repetition 0 chunk 0: reads its input, and only the root, rank 0, has one");
}

static void chunks_lie_in_blocks(void **state)
{
    (void)state;
#define TRACK(rest) "rank 0\ntrack 0 channel 0 path 0 " rest "\n"
    must_not_read("all_gather", 3, TRACK("window 0 1 chunks 1"),
                  "line 9: rank 0: 3 shares, expected a multiple of the 2 blocks");
    must_not_read("all_gather", 4, TRACK("window 1 3 chunks 1"),
                  "line 9: rank 0 track 0: window 1 to 3 reaches beyond a block of 2 shares");
    must_not_read("all_gather", 4, TRACK("window 0 1 chunks 2 stride 1"),
                  "line 9: rank 0 track 0: stride 1 of 2 chunks, expected a multiple of a block's 2 shares");
    must_not_read("all_gather", 4, TRACK("window 0 1 chunks 1 stride 2"),
                  "line 9: rank 0 track 0: stride 2 of 1 chunks, expected a multiple of a block's 2 shares");
    must_not_read("all_gather", 4, TRACK("window 0 1 chunks 3 stride 2"),
                  "line 9: rank 0 track 0: chunks up to share 5 of 4");
    must_not_read("all_gather", 4, TRACK("window 0 2 chunks 2"),
                  "line 9: rank 0 track 0: 2 chunks of one block, expected 1");
    must_not_read("all_to_all", 8, TRACK("window 0 1 chunks 2 stride 4"),
                  "line 9: rank 0 track 0: 2 chunks, expected one for each of 4 pairs");
    /* All blocks' first shares, and the second block: they have one in common. */
    must_not_read("all_gather", 4,
                  TRACK("window 0 1 chunks 2 stride 2") "track 1 channel 0 path 0 window 2 4 chunks 1\n",
                  "line 9: rank 0: windows 0 to 1 (2 chunks) and 2 to 4 (1 chunks) overlap");
}

static void windows_that_interleave_do_not_overlap(void **state)
{
    (void)state;
    must_accept("all_gather", 4,
                "rank 0\ntrack 0 channel 0 path 0 window 0 1 chunks 2 stride 2\n"
                "step 0 put chunk 0: input -> output, slot 1\nstep 1 copy chunk 1: slot 1 -> output\n"
                "track 1 channel 1 path 1 window 1 2 chunks 2 stride 2\n"
                "step 0 put chunk 0: input -> output, slot 1\nstep 1 copy chunk 1: slot 1 -> output\n"
                "rank 1\ntrack 0 channel 0 path 0 window 0 1 chunks 2 stride 2\n"
                "step 0 put chunk 1: input -> output, slot 0\nstep 1 copy chunk 0: slot 0 -> output\n"
                "track 1 channel 1 path 1 window 1 2 chunks 2 stride 2\n"
                "step 0 put chunk 1: input -> output, slot 0\nstep 1 copy chunk 0: slot 0 -> output\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_rank_has_its_own_block_to_gather),
        cmocka_unit_test(a_rank_gets_its_own_block_scattered),
        cmocka_unit_test(only_the_root_has_a_result_or_an_input),
        cmocka_unit_test(what_goes_to_a_rank_leaves_before_what_comes_from_it_arrives),
        cmocka_unit_test(a_message_has_its_two_ranks),
        cmocka_unit_test(chunks_lie_in_blocks),
        cmocka_unit_test(windows_that_interleave_do_not_overlap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
