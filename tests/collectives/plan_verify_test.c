/* SPDX-License-Identifier: Apache-2.0 */
/* One hand-written wrong plan for each rule, and the sentence that it gets; and right plans that a lazy rule would
 * refuse. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/collectives/plan_edit.h"

static struct weft_plan *plan_written(const char *collective, uint32_t rank_count, uint32_t slots, const char *programs)
{
    char text[4096];
    snprintf(text, sizeof text,
             "weft_plan 1\ncollective %s\nalgorithm auto\nranks %u\nroot 0\nchannels 2\nslots %u\nshares 2\n%s",
             collective, rank_count, slots, programs);
    return plan_from_text(text);
}

static void must_accept(const char *collective, uint32_t rank_count, uint32_t slots, const char *programs)
{
    struct weft_plan *plan = plan_written(collective, rank_count, slots, programs);
    plan_must_verify(plan, NULL);
    weft_plan_destroy(plan);
}

static void must_refuse(const char *collective, uint32_t rank_count, uint32_t slots, const char *programs,
                        const char *sentence)
{
    struct weft_plan *plan = plan_written(collective, rank_count, slots, programs);
    weft_plan_report report = {.size = sizeof report};
    weft_status status = weft_plan_verify(plan, &report);
    weft_plan_destroy(plan);
    assert_string_equal(report.message, sentence);
    assert_int_equal(status, WEFT_INVALID_PLAN);
}

#define TRACK "track 0 channel 0 path 0 window 0 2 chunks 1\n"
#define TRACK_1 "track 1 channel 0 path 0 window 0 2 chunks 1\n"
#define TRACK_2 "track 2 channel 0 path 0 window 0 2 chunks 1\n"
#define TRACK_3 "track 3 channel 0 path 0 window 0 2 chunks 1\n"

/* Two ranks that exchange their inputs and both add them up. */
#define EXCHANGE_0 "rank 0\n" TRACK "step 0 put chunk 0: input -> slot 1\n"
#define EXCHANGE_1 "rank 1\n" TRACK "step 0 put chunk 0: input -> slot 0\n"
#define ADD_0 "step 1 reduce chunk 0 final: input, slot 1 -> output\n"
#define ADD_1 "step 1 reduce chunk 0 final: slot 0, input -> output\n"

static void an_exchange_is_right(void **state)
{
    (void)state;
    must_accept("all_reduce", 2, 1, EXCHANGE_0 ADD_0 EXCHANGE_1 ADD_1);
}

static void a_contribution_must_not_count_twice(void **state)
{
    (void)state;
    must_refuse("all_reduce", 2, 2,
                EXCHANGE_0 ADD_0 "step 2 put chunk 0: output -> slot 1\n" EXCHANGE_1
                                 "step 1 wait chunk 0: slot 0 -> nothing\n"
                                 "step 2 reduce chunk 0 final: slot 0, input -> output\n",
                "rank 1 track 0 step 2 repetition 0 chunk 0: rank 1's contribution is counted twice");
}

static void no_contribution_may_be_missing(void **state)
{
    (void)state;
    must_refuse("all_reduce", 2, 2, EXCHANGE_0 "step 1 copy chunk 0: slot 1 -> output\n" EXCHANGE_1 ADD_1,
                "rank 0 track 0 step 1 repetition 0 chunk 0: writes output without rank 0's contribution");
    must_refuse("all_reduce", 3, 2,
                EXCHANGE_0 ADD_0 EXCHANGE_1 ADD_1 "rank 2\n" TRACK "step 0 idle chunk 0: nothing -> nothing\n",
                "rank 1 track 0 step 1 repetition 0 chunk 0: is marked final without rank 2's contribution");
}

static void an_average_is_divided_once(void **state)
{
    (void)state;
    must_refuse("all_reduce", 2, 2,
                EXCHANGE_0 ADD_0 "step 2 put chunk 0: output -> slot 1\n" EXCHANGE_1
                                 "step 1 reduce chunk 0: slot 0, input -> output\n"
                                 "step 2 wait chunk 0: slot 0 -> nothing\n",
                "rank 1 track 0 step 1 repetition 0 chunk 0: completes the value and is not marked final");
    must_refuse("all_reduce", 2, 2,
                EXCHANGE_0 ADD_0 "step 2 put chunk 0: output -> slot 1\n"
                                 "rank 1\n" TRACK "step 0 put chunk 0: input -> slot 0\n"
                                 "step 1 wait chunk 0: slot 0 -> nothing\n"
                                 "step 2 copy chunk 0 final: slot 0 -> output\n",
                "rank 1 track 0 step 2 repetition 0 chunk 0: is marked final, but the value was complete before");
    must_refuse("broadcast", 1, 2, "rank 0\n" TRACK "step 0 copy chunk 0 final: input -> output\n",
                "rank 0 track 0 step 0 repetition 0 chunk 0: is marked final, and nothing is combined here");
}

static void every_chunk_of_the_output_is_written_once(void **state)
{
    (void)state;
    must_refuse("all_reduce", 2, 2, EXCHANGE_0 "step 1 wait chunk 0: slot 1 -> nothing\n" EXCHANGE_1 ADD_1,
                "rank 0: nothing writes chunk 0 of window 0 to 2 to the output");
    must_refuse(
        "all_reduce", 1, 2,
        "rank 0\ntrack 0 channel 0 path 0 window 0 1 chunks 2\nstep 0 copy chunk 0 stride 1 repeat 2 final: input "
        "-> output\ntrack 1 channel 0 path 0 window 1 2 chunks 3\nstep 0 copy chunk 0 stride 1 repeat 2 final: "
        "input -> output\nstep 1 idle chunk 0: nothing -> nothing\n",
        "rank 0: nothing writes chunk 2 of window 1 to 2 to the output");
    must_refuse("broadcast", 1, 2,
                "rank 0\n" TRACK "step 0 copy chunk 0: input -> output\nstep 1 copy chunk 0: output -> output\n",
                "rank 0 track 0 step 1 repetition 0 chunk 0: writes output that track 0 step 0 has written");
}

static void output_is_read_only_once_written(void **state)
{
    (void)state;
    must_refuse("broadcast", 2, 2,
                "rank 0\n" TRACK
                "step 0 put chunk 0: output -> slot 1\nstep 1 copy chunk 0: input -> output\nrank 1\n" TRACK
                "step 0 copy chunk 0: slot 0 -> output\n",
                "rank 0 track 0 step 0 repetition 0 chunk 0: reads its output, which nothing has written yet");
    must_refuse("broadcast", 2, 2,
                "rank 0\n" TRACK "step 0 copy chunk 0: input -> output\n" TRACK_1
                "step 0 put chunk 0: output -> slot 1\nrank 1\n" TRACK "step 0 copy chunk 0: slot 0 -> output\n",
                "rank 0 track 1 step 0 repetition 0 chunk 0: reads its output, and nothing makes it wait for the write "
                "in track 0");
    must_accept("broadcast", 2, 2,
                "rank 0\n" TRACK "step 0 copy chunk 0: input -> output\n" TRACK_1
                "step 0 put chunk 0 after 0 0: output -> slot 1\nrank 1\n" TRACK
                "step 0 copy chunk 0: slot 0 -> output\n");
}

static void only_the_root_has_an_input_to_broadcast(void **state)
{
    (void)state;
    must_refuse("broadcast", 2, 2,
                "rank 0\n" TRACK "step 0 copy chunk 0: input -> output\nrank 1\n" TRACK
                "step 0 copy chunk 0: input -> output\n",
                "rank 1 track 0 step 0 repetition 0 chunk 0: reads its input, and only the root, rank 0, has one");
}

static void a_broadcast_combines_nothing(void **state)
{
    (void)state;
    must_refuse("broadcast", 2, 2,
                "rank 0\n" TRACK "step 0 put chunk 0: input -> slot 1\nstep 1 put chunk 0: input -> slot 1\n"
                "step 2 copy chunk 0: input -> output\n"
                "rank 1\n" TRACK
                "step 0 copy chunk 0: slot 0 -> output\nstep 1 reduce chunk 0: slot 0, output -> output\n",
                "rank 1 track 0 step 1 repetition 0 chunk 0: combines data with itself");
}

/* The input may be the output: rank 0 would send what it has just written. */
static void in_place_the_input_is_read_before_it_is_overwritten(void **state)
{
    (void)state;
    must_refuse(
        "broadcast", 2, 2,
        "rank 0\n" TRACK "step 0 copy chunk 0: input -> output\nstep 1 put chunk 0: input -> slot 1\nrank 1\n" TRACK
        "step 0 copy chunk 0: slot 0 -> output\n",
        "rank 0 track 0 step 1 repetition 0 chunk 0: in place, its input has been overwritten by track 0 step 0");
    must_refuse("broadcast", 2, 2,
                "rank 0\n" TRACK "step 0 put chunk 0: input -> slot 1\n" TRACK_1
                "step 0 copy chunk 0: input -> output\nrank 1\n" TRACK "step 0 copy chunk 0: slot 0 -> output\n",
                "rank 0 track 1 step 0 repetition 0 chunk 0: in place, overwrites the input, and nothing makes it wait "
                "for the read in track 0");
    must_accept("broadcast", 2, 2,
                "rank 0\n" TRACK "step 0 put chunk 0: input -> slot 1\n" TRACK_1
                "step 0 copy chunk 0 after 0 0: input -> output\nrank 1\n" TRACK
                "step 0 copy chunk 0: slot 0 -> output\n");
}

static void must_wait_for_read(const char *format, uint32_t track)
{
    char programs[1024], sentence[256];
    snprintf(programs, sizeof programs, format, 0);
    snprintf(
        sentence, sizeof sentence,
        "rank 0 track %u step 1 repetition 0 chunk 0: in place, overwrites the input, and nothing makes it wait for "
        "the read in track %u",
        track + 1, track);
    must_refuse("broadcast", 2, 2, programs, sentence);
    snprintf(programs, sizeof programs, format, 1);
    must_accept("broadcast", 2, 2, programs);
}

/* A track reads a chunk twice; another waits for the first of these, or for the last, before it overwrites the chunk.
 */
static void of_several_reads_the_last_has_to_come_before(void **state)
{
    (void)state;
    must_wait_for_read("rank 0\n" TRACK
                       "step 0 wait chunk 0: input -> nothing\nstep 1 put chunk 0: input -> slot 1\n" TRACK_1
                       "step 0 idle chunk 0: nothing -> nothing\nstep 1 copy chunk 0 after 0 %u: input -> output\n"
                       "rank 1\n" TRACK "step 0 copy chunk 0: slot 0 -> output\n",
                       0);
    must_wait_for_read("rank 0\n" TRACK "step 0 wait chunk 0: input -> nothing\n" TRACK_1
                       "step 0 wait chunk 0: input -> nothing\nstep 1 put chunk 0: input -> slot 1\n" TRACK_2
                       "step 0 idle chunk 0 after 0 0: nothing -> nothing\n"
                       "step 1 copy chunk 0 after 1 %u: input -> output\n"
                       "rank 1\n" TRACK "step 0 copy chunk 0: slot 0 -> output\n",
                       1);
}

/* What makes rank 0's second track wait is a message back from rank 1. */
static void the_order_may_be_proved_through_other_ranks(void **state)
{
    (void)state;
    must_accept("broadcast", 2, 2,
                "rank 0\n" TRACK "step 0 put chunk 0: input -> slot 1\n" TRACK_1
                "step 0 wait chunk 0: slot 1 -> nothing\nstep 1 copy chunk 0: input -> output\n"
                "rank 1\n" TRACK "step 0 copy chunk 0: slot 0 -> output\nstep 1 signal chunk 0: nothing -> slot 0\n");
    must_refuse("broadcast", 2, 2,
                "rank 0\n" TRACK "step 0 put chunk 0: input -> slot 1\n" TRACK_1
                "step 0 wait chunk 0: slot 1 -> nothing\nstep 1 copy chunk 0: input -> output\n"
                "rank 1\n" TRACK "step 0 signal chunk 0: nothing -> slot 0\nstep 1 copy chunk 0: slot 0 -> output\n",
                "rank 0 track 1 step 1 repetition 0 chunk 0: in place, overwrites the input, and nothing makes it wait "
                "for the read in track 0");
}

/* Rank 1's second signal can leave once rank 0 has taken the first, if there is one slot; with two it tells nothing. */
static void the_order_may_be_proved_through_a_slot_given_back(void **state)
{
    (void)state;
    static const char programs[] = "rank 0\n" TRACK "step 0 put chunk 0: input -> slot 1\n"
                                   "step 1 wait chunk 0 repeat 2: slot 1 -> nothing\n"
                                   "track 1 channel 1 path 0 window 0 2 chunks 1\n"
                                   "step 0 wait chunk 0: slot 1 -> nothing\n"
                                   "step 1 copy chunk 0: input -> output\n"
                                   "rank 1\n" TRACK "step 0 signal chunk 0 repeat 2: nothing -> slot 0\n"
                                   "track 1 channel 1 path 0 window 0 2 chunks 1\n"
                                   "step 0 signal chunk 0 after 0 0: nothing -> slot 0\n"
                                   "track 2 channel 0 path 0 window 0 2 chunks 1\n"
                                   "step 0 copy chunk 0: slot 0 -> output\n";
    must_accept("broadcast", 2, 1, programs);
    must_refuse("broadcast", 2, 2, programs,
                "rank 0 track 1 step 1 repetition 0 chunk 0: in place, overwrites the input, and nothing makes it wait "
                "for the read in track 0");
}

static void messages_arrive_at_the_chunk_they_are_of(void **state)
{
    (void)state;
    must_refuse("broadcast", 2, 2,
                "rank 0\ntrack 0 channel 0 path 0 window 0 2 chunks 2\n"
                "step 0 put chunk 0 stride 1 repeat 2: input -> output, slot 1\n"
                "rank 1\ntrack 0 channel 0 path 0 window 0 2 chunks 2\n"
                "step 0 copy chunk 1 stride 1 repeat 2: slot 0 -> output\n",
                "rank 1 track 0 step 0 repetition 0 chunk 1: receives chunk 0 from rank 0, expected chunk 1");
}

static void sends_and_receives_pair_up(void **state)
{
    (void)state;
    must_refuse("all_reduce", 2, 2, EXCHANGE_0 EXCHANGE_1 ADD_1,
                "rank 1 track 0 step 0: rank 1 sends 1 messages to rank 0 on channel 0, which receives 0");
    must_refuse("all_reduce", 2, 2, "rank 0\n" TRACK EXCHANGE_1 ADD_1,
                "rank 1 track 0 step 1: rank 0 sends 0 messages to rank 1 on channel 0, which receives 1");
}

static void a_message_stays_in_its_window(void **state)
{
    (void)state;
    must_refuse("broadcast", 2, 2,
                "rank 0\ntrack 0 channel 0 path 0 window 0 1 chunks 1\nstep 0 put chunk 0: input -> output, slot 1\n"
                "track 1 channel 1 path 0 window 1 2 chunks 1\nstep 0 put chunk 0: input -> output, slot 1\n"
                "rank 1\ntrack 0 channel 0 path 0 window 1 2 chunks 1\nstep 0 copy chunk 0: slot 0 -> output\n"
                "track 1 channel 1 path 0 window 0 1 chunks 1\nstep 0 copy chunk 0: slot 0 -> output\n",
                "rank 0 track 0 sends another window of the message than rank 1 track 0 receives");
    must_refuse("broadcast", 2, 2,
                "rank 0\ntrack 0 channel 0 path 0 window 0 2 chunks 2\n"
                "step 0 copy chunk 0 stride 1 repeat 2: input -> output\nrank 1\n" TRACK,
                "rank 1 has window 0 to 2 in 1 chunks where rank 0 has 0 to 2 in 2");
    must_refuse("broadcast", 2, 2,
                "rank 0\n" TRACK "step 0 copy chunk 0: input -> output\n"
                "rank 1\ntrack 0 channel 0 path 0 window 0 1 chunks 1\ntrack 1 channel 0 path 0 window 1 2 chunks 1\n",
                "rank 1 has window 0 to 1 in 1 chunks where rank 0 has 0 to 2 in 1");
    must_refuse("barrier", 2, 2,
                "rank 0\ntrack 0 channel 0 path 0 window 0 1 chunks 1\n"
                "rank 1\ntrack 0 channel 0 path 0 window 0 1 chunks 1\ntrack 1 channel 0 path 0 window 1 2 chunks 1\n",
                "rank 1 has 2 windows where rank 0 has 1");
}

static void data_is_not_made_from_signals(void **state)
{
    (void)state;
    must_refuse("broadcast", 2, 2,
                "rank 0\n" TRACK "step 0 copy chunk 0: input -> output\nstep 1 signal chunk 0: nothing -> slot 1\n"
                "rank 1\n" TRACK "step 0 copy chunk 0: slot 0 -> output\n",
                "rank 1 track 0 step 0 repetition 0 chunk 0: rank 0 sends a signal where data is expected");
}

static void nobody_waits_for_ever(void **state)
{
    (void)state;
    must_refuse("all_reduce", 2, 2,
                "rank 0\n" TRACK "step 0 reduce chunk 0 final: input, slot 1 -> output\n"
                "step 1 put chunk 0: input -> slot 1\n"
                "rank 1\n" TRACK "step 0 reduce chunk 0 final: input, slot 0 -> output\n"
                "step 1 put chunk 0: input -> slot 0\n",
                "rank 0 track 0 step 0 repetition 0 chunk 0: deadlock at slot depth 2: waits for a message from rank 1 "
                "track 0, which is at step 0, in a circle of 2");
    must_refuse(
        "broadcast", 1, 2,
        "rank 0\n" TRACK "step 0 copy chunk 0 after 1 0: input -> output\n" TRACK_1
        "step 0 idle chunk 0 after 0 0: nothing -> nothing\n",
        "rank 0 track 0 step 0 repetition 0 chunk 0: deadlock at slot depth 2: waits for a step of rank 0 track 1, "
        "which is at step 0, in a circle of 2");
}

/* Both put two slices before they take one. */
static void the_declared_slots_are_enough(void **state)
{
    (void)state;
    static const char programs[] = "rank 0\n" TRACK "step 0 signal chunk 0 repeat 2: nothing -> slot 1\n"
                                   "step 1 wait chunk 0 repeat 2: slot 1 -> nothing\n"
                                   "rank 1\n" TRACK "step 0 signal chunk 0 repeat 2: nothing -> slot 0\n"
                                   "step 1 wait chunk 0 repeat 2: slot 0 -> nothing\n";
    must_accept("barrier", 2, 2, programs);
    must_refuse("barrier", 2, 1, programs,
                "rank 0 track 0 step 0 repetition 1 chunk 0: deadlock at slot depth 1: waits for a free slot at rank 1 "
                "track 0, which is at step 0, in a circle of 2");
}

static void fused_steps_need_two_slots_in_a_ring(void **state)
{
    (void)state;
    for (uint32_t rank_count = 2; rank_count <= 9; rank_count++) {
        struct weft_plan *plan = plan_make(WEFT_ALL_REDUCE, WEFT_ALGORITHM_RING, rank_count, 0, 1, 2);
        plan_must_verify(plan, NULL);
        plan->slot_depth = 1;
        weft_plan_report report = {.size = sizeof report};
        assert_int_equal(weft_plan_verify(plan, &report), WEFT_INVALID_PLAN);
        assert_non_null(strstr(report.message, "deadlock at slot depth 1: waits for a free slot"));
        weft_plan_destroy(plan);
    }
}

/* Distance 1, then 2: what a rank passes on has to hold what it has heard before, in whichever step. */
static void a_barrier_hears_of_every_rank(void **state)
{
    (void)state;
    must_accept(
        "barrier", 4, 2,
        "rank 0\n" TRACK "step 0 signal chunk 0: nothing -> slot 1\nstep 1 wait chunk 0: slot 3 -> nothing\n"
        "step 2 signal chunk 0: nothing -> slot 2\nstep 3 wait chunk 0: slot 2 -> nothing\n"
        "rank 1\n" TRACK "step 0 signal chunk 0: nothing -> slot 2\nstep 1 fused chunk 0: slot 0 -> slot 3\n"
        "step 2 wait chunk 0: slot 3 -> nothing\n"
        "rank 2\n" TRACK "step 0 signal chunk 0: nothing -> slot 3\nstep 1 fused chunk 0: slot 1 -> slot 0\n"
        "step 2 wait chunk 0: slot 0 -> nothing\n"
        "rank 3\n" TRACK "step 0 signal chunk 0: nothing -> slot 0\nstep 1 wait chunk 0: slot 2 -> nothing\n"
        "track 1 channel 1 path 0 window 0 2 chunks 1\nstep 0 idle chunk 0 after 0 1: nothing -> nothing\n" TRACK_2
        "step 0 signal chunk 0 after 1 0: nothing -> slot 1\n" TRACK_3 "step 0 wait chunk 0: slot 1 -> nothing\n");
    must_refuse("barrier", 3, 2,
                "rank 0\n" TRACK "step 0 signal chunk 0: nothing -> slot 1\nstep 1 wait chunk 0: slot 2 -> nothing\n"
                "rank 1\n" TRACK "step 0 signal chunk 0: nothing -> slot 2\nstep 1 wait chunk 0: slot 0 -> nothing\n"
                "rank 2\n" TRACK "step 0 fused chunk 0: slot 1 -> slot 0\n",
                "rank 1 leaves without having heard of rank 2");
    must_refuse("barrier", 2, 2, "rank 0\nrank 1\n", "rank 0 leaves without having heard of rank 1");
}

static void unusual_plans_are_right(void **state)
{
    (void)state;
    /* One rank with nothing to do; windows of different chunks; data that nobody needs. */
    must_accept("barrier", 1, 2, "rank 0\n");
    must_accept("all_reduce", 1, 2,
                "rank 0\ntrack 0 channel 0 path 0 window 0 1 chunks 3\nstep 0 copy chunk 1 stride -1 repeat 3 final: "
                "input -> output\ntrack 1 channel 1 path 7 window 1 2 chunks 1\nstep 0 copy chunk 0 final: input -> "
                "output\n");
    must_accept("all_reduce", 2, 2,
                EXCHANGE_0 ADD_0 "step 2 put chunk 0: output -> slot 1\n" EXCHANGE_1 ADD_1
                                 "step 2 wait chunk 0: slot 0 -> nothing\n");
    /* The root adds up ranks that are no neighbours in any order of two. */
    must_accept("all_reduce", 5, 1,
                "rank 0\n" TRACK "step 0 fused chunk 0 final: slot 3, slot 1, input, slot 4, slot 2 -> output, slot 1, "
                "slot 2, slot 3, slot 4\n"
                "rank 1\n" TRACK "step 0 put chunk 0: input -> slot 0\nstep 1 copy chunk 0: slot 0 -> output\n"
                "rank 2\n" TRACK "step 0 put chunk 0: input -> slot 0\nstep 1 copy chunk 0: slot 0 -> output\n"
                "rank 3\n" TRACK "step 0 put chunk 0: input -> slot 0\nstep 1 copy chunk 0: slot 0 -> output\n"
                "rank 4\n" TRACK "step 0 put chunk 0: input -> slot 0\nstep 1 copy chunk 0: slot 0 -> output\n");
}

static void a_report_of_an_older_caller_is_filled_as_far_as_it_goes(void **state)
{
    (void)state;
    struct weft_plan *plan = plan_make(WEFT_ALL_REDUCE, WEFT_ALGORITHM_RING, 3, 0, 1, 2);
    weft_plan_report report;
    memset(&report, 0x5a, sizeof report);
    report.size = offsetof(weft_plan_report, critical_messages);
    assert_int_equal(weft_plan_verify(plan, &report), WEFT_OK);
    assert_int_equal(report.size, offsetof(weft_plan_report, critical_messages));
    assert_int_equal(report.steps, 15);
    assert_int_equal(report.messages, 12);
    assert_true(report.critical_messages == UINT64_C(0x5a5a5a5a5a5a5a5a));
    report.size = 1;
    assert_int_equal(weft_plan_verify(plan, &report), WEFT_INVALID_ARGUMENT);
    assert_int_equal(weft_plan_verify(NULL, NULL), WEFT_INVALID_ARGUMENT);
    weft_plan_destroy(plan);
}

/* Structure: what plan_check_program() refuses, found in a plan that was put together in memory. */
static void must_refuse_changed(void (*change)(struct weft_plan *plan), const char *sentence)
{
    struct weft_plan *plan = plan_written("all_reduce", 2, 2, EXCHANGE_0 ADD_0 EXCHANGE_1 ADD_1);
    change(plan);
    weft_plan_report report = {.size = sizeof report};
    weft_status status = weft_plan_verify(plan, &report);
    assert_string_equal(report.message, sentence);
    assert_int_equal(status, WEFT_INVALID_PLAN);
    plan->rank_count = 2;
    weft_plan_destroy(plan);
}

#define CHANGE(name, statement)                                                                                        \
    static void name(struct weft_plan *plan)                                                                           \
    {                                                                                                                  \
        statement;                                                                                                     \
    }
CHANGE(no_ranks, plan->rank_count = 0)
CHANGE(too_many_ranks, plan->rank_count = PLAN_MAX_RANKS + 1)
CHANGE(a_root, plan->root = 1)
CHANGE(no_slots, plan->slot_depth = 0)
CHANGE(no_shares, plan->share_denominator = 0)
CHANGE(no_channels, plan->channel_count = 0)
CHANGE(no_collective, plan->collective = WEFT_COLLECTIVE_COUNT)
CHANGE(no_algorithm, plan->algorithm = WEFT_ALGORITHM_COUNT)
CHANGE(steps_beyond, plan->programs[0].tracks[0].step_count = 3)
CHANGE(steps_left_out, plan->programs[0].tracks[0].step_count = 1)
CHANGE(steps_elsewhere, plan->programs[0].tracks[0].first_step = 1)
CHANGE(operands_elsewhere, plan->programs[1].steps[1].first_operand = 3)
CHANGE(operands_beyond, plan->programs[1].steps[1].source_count = 255)
CHANGE(a_strange_space, plan->programs[0].operands[0].space = 3)
CHANGE(another_ranks_input, plan->programs[0].operands[0].rank = 1)
CHANGE(input_written, plan->programs[0].operands[4].space = SPACE_INPUT)
CHANGE(a_rank_beyond, plan->programs[0].operands[1].rank = 2)
CHANGE(sent_to_itself, plan->programs[0].operands[1].rank = 0)
CHANGE(the_same_twice, plan->programs[0].operands[3] = plan->programs[0].operands[2])
CHANGE(strange_flags, plan->programs[0].steps[0].flags = 6)
CHANGE(a_chunk_beyond, plan->programs[0].steps[0].chunk = 1)
CHANGE(never_repeated, plan->programs[0].steps[0].repeat = 0)
CHANGE(after_half_a_step, plan->programs[0].steps[0].after_step = 0)
CHANGE(after_itself, plan->programs[0].steps[1].after_track = plan->programs[0].steps[1].after_step = 0)
CHANGE(a_channel_beyond, plan->programs[1].tracks[0].channel = 2)
CHANGE(a_window_beyond, plan->programs[1].tracks[0].window_end = 3)
CHANGE(an_empty_window, plan->programs[1].tracks[0].window_begin = 2)
CHANGE(a_smaller_window, plan->programs[1].tracks[0].window_end = 1)
CHANGE(a_later_window, plan->programs[1].tracks[0].window_begin = 1)
CHANGE(no_chunks, plan->programs[1].tracks[0].chunk_count = 0)

static void malformed_programs_are_refused(void **state)
{
    (void)state;
    must_refuse_changed(no_ranks, "0 ranks, expected 1 to 16777216");
    must_refuse_changed(too_many_ranks, "16777217 ranks, expected 1 to 16777216");
    must_refuse_changed(a_root, "root 1, expected 0: this collective has none");
    must_refuse_changed(no_slots, "0 slots, expected 1 to 64");
    must_refuse_changed(no_shares, "the message is cut into 0 shares, expected 1 or more");
    must_refuse_changed(no_channels, "0 channels, expected 1 to 128");
    must_refuse_changed(no_collective, "collective 11 is none");
    must_refuse_changed(no_algorithm, "algorithm 6 is none");
    must_refuse_changed(steps_beyond, "rank 0 track 0: 3 steps from step 0 of a program of 2");
    must_refuse_changed(steps_left_out, "rank 0: tracks hold 1 of 2 steps and 2 of 5 operands");
    must_refuse_changed(steps_elsewhere, "rank 0 track 0: begins at step 1 of the program, expected 0");
    must_refuse_changed(operands_elsewhere, "rank 1 track 0 step 1: begins at operand 3 of the program, expected 2");
    must_refuse_changed(operands_beyond, "rank 1 track 0 step 1: operands from 2 of a program of 5");
    must_refuse_changed(a_strange_space, "rank 0 track 0 step 0: operand of space 3, which is none");
    must_refuse_changed(another_ranks_input, "rank 0 track 0 step 0: reads or writes a buffer of rank 1");
    must_refuse_changed(input_written, "rank 0 track 0 step 1: writes to its input");
    must_refuse_changed(a_rank_beyond, "rank 0 track 0 step 0: names rank 2 of 2");
    must_refuse_changed(sent_to_itself, "rank 0 track 0 step 0: sends to itself");
    must_refuse_changed(the_same_twice, "rank 0 track 0 step 1: names the same source twice");
    must_refuse_changed(strange_flags, "rank 0 track 0 step 0: unknown flags 0x6");
    must_refuse_changed(a_chunk_beyond, "rank 0 track 0 step 0: chunk 1 of a window of 1");
    must_refuse_changed(never_repeated, "rank 0 track 0 step 0: repeated 0 times, expected 1 to 16777216");
    must_refuse_changed(after_half_a_step, "rank 0 track 0 step 0: waits for track 4294967295 of 1");
    must_refuse_changed(after_itself, "rank 0 track 0 step 1: waits for a step of its own track");
    must_refuse_changed(a_channel_beyond, "rank 1 track 0: channel 2 of 2");
    must_refuse_changed(a_window_beyond, "rank 1 track 0: window 0 to 3 of 2 shares");
    must_refuse_changed(an_empty_window, "rank 1 track 0: window 2 to 2 of 2 shares");
    must_refuse_changed(a_smaller_window, "rank 1: no track for shares 1 to 2 of the message");
    must_refuse_changed(a_later_window, "rank 1: no track for shares 0 to 1 of the message");
    must_refuse_changed(no_chunks, "rank 1 track 0: 0 chunks, expected 1 to 16777216");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_exchange_is_right),
        cmocka_unit_test(a_contribution_must_not_count_twice),
        cmocka_unit_test(no_contribution_may_be_missing),
        cmocka_unit_test(an_average_is_divided_once),
        cmocka_unit_test(every_chunk_of_the_output_is_written_once),
        cmocka_unit_test(output_is_read_only_once_written),
        cmocka_unit_test(only_the_root_has_an_input_to_broadcast),
        cmocka_unit_test(a_broadcast_combines_nothing),
        cmocka_unit_test(in_place_the_input_is_read_before_it_is_overwritten),
        cmocka_unit_test(of_several_reads_the_last_has_to_come_before),
        cmocka_unit_test(the_order_may_be_proved_through_other_ranks),
        cmocka_unit_test(the_order_may_be_proved_through_a_slot_given_back),
        cmocka_unit_test(messages_arrive_at_the_chunk_they_are_of),
        cmocka_unit_test(sends_and_receives_pair_up),
        cmocka_unit_test(a_message_stays_in_its_window),
        cmocka_unit_test(data_is_not_made_from_signals),
        cmocka_unit_test(nobody_waits_for_ever),
        cmocka_unit_test(the_declared_slots_are_enough),
        cmocka_unit_test(fused_steps_need_two_slots_in_a_ring),
        cmocka_unit_test(a_barrier_hears_of_every_rank),
        cmocka_unit_test(unusual_plans_are_right),
        cmocka_unit_test(a_report_of_an_older_caller_is_filled_as_far_as_it_goes),
        cmocka_unit_test(malformed_programs_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
