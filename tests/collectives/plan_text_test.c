/* SPDX-License-Identifier: Apache-2.0 */
/* The text form is what docs/formats/plan.md says, and nothing else is taken for it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/random.h"
#include "tests/collectives/plan_edit.h"

/* The example of docs/formats/plan.md. */
static const char ring_of_four[] = "weft_plan 1\n"
                                   "collective all_reduce\n"
                                   "algorithm ring\n"
                                   "ranks 4\n"
                                   "root 0\n"
                                   "channels 1\n"
                                   "slots 4\n"
                                   "shares 1\n"
                                   "\n"
                                   "rank 0\n"
                                   "  track 0 channel 0 path 0 window 0 1 chunks 4\n"
                                   "    step 0 put chunk 3: input -> slot 1\n"
                                   "    step 1 fused chunk 2 stride -1 repeat 2: slot 3, input -> slot 1\n"
                                   "    step 2 fused chunk 0 final: slot 3, input -> output, slot 1\n"
                                   "    step 3 fused chunk 3 stride -1 repeat 2: slot 3 -> output, slot 1\n"
                                   "    step 4 copy chunk 1: slot 3 -> output\n"
                                   "\n"
                                   "rank 1\n"
                                   "  track 0 channel 0 path 0 window 0 1 chunks 4\n"
                                   "    step 0 put chunk 0: input -> slot 2\n"
                                   "    step 1 fused chunk 3 stride -1 repeat 2: slot 0, input -> slot 2\n"
                                   "    step 2 fused chunk 1 final: slot 0, input -> output, slot 2\n"
                                   "    step 3 fused chunk 0 stride -1 repeat 2: slot 0 -> output, slot 2\n"
                                   "    step 4 copy chunk 2: slot 0 -> output\n"
                                   "\n"
                                   "rank 2\n"
                                   "  track 0 channel 0 path 0 window 0 1 chunks 4\n"
                                   "    step 0 put chunk 1: input -> slot 3\n"
                                   "    step 1 fused chunk 0 stride -1 repeat 2: slot 1, input -> slot 3\n"
                                   "    step 2 fused chunk 2 final: slot 1, input -> output, slot 3\n"
                                   "    step 3 fused chunk 1 stride -1 repeat 2: slot 1 -> output, slot 3\n"
                                   "    step 4 copy chunk 3: slot 1 -> output\n"
                                   "\n"
                                   "rank 3\n"
                                   "  track 0 channel 0 path 0 window 0 1 chunks 4\n"
                                   "    step 0 put chunk 2: input -> slot 0\n"
                                   "    step 1 fused chunk 1 stride -1 repeat 2: slot 2, input -> slot 0\n"
                                   "    step 2 fused chunk 3 final: slot 2, input -> output, slot 0\n"
                                   "    step 3 fused chunk 2 stride -1 repeat 2: slot 2 -> output, slot 0\n"
                                   "    step 4 copy chunk 0: slot 2 -> output\n";

#define HEAD "weft_plan 1\ncollective all_reduce\nalgorithm ring\nranks 1\nroot 0\nchannels 1\nslots 4\nshares 1\n"
#define TRACK "rank 0\ntrack 0 channel 0 path 0 window 0 1 chunks 1\n"

static char *print(const struct weft_plan *plan, uint32_t rank, weft_format format)
{
    char *text = NULL;
    assert_int_equal(weft_plan_print(plan, rank, format, &text), WEFT_OK);
    return text;
}

static void a_generated_plan_prints_as_documented(void **state)
{
    (void)state;
    struct weft_plan *plan = plan_make(WEFT_ALL_REDUCE, WEFT_ALGORITHM_RING, 4, 0, 1, 4);
    char *text = print(plan, WEFT_ALL_RANKS, WEFT_TEXT);
    assert_string_equal(text, ring_of_four);
    free(text);
    weft_plan_destroy(plan);
}

static void one_rank_can_be_printed_alone(void **state)
{
    (void)state;
    struct weft_plan *plan = plan_from_text(ring_of_four);
    char *text = print(plan, 1, WEFT_TEXT);
    assert_non_null(strstr(text, "\nrank 1\n"));
    assert_null(strstr(text, "\nrank 0\n"));
    assert_null(strstr(text, "\nrank 2\n"));
    free(text);
    text = NULL;
    assert_int_equal(weft_plan_print(plan, 4, WEFT_TEXT, &text), WEFT_INVALID_ARGUMENT);
    assert_null(text);
    weft_plan_destroy(plan);
}

static void every_field_survives(void **state)
{
    (void)state;
    static const char text[] = "weft_plan 1\n"
                               "collective broadcast\n"
                               "algorithm auto\n"
                               "ranks 2\n"
                               "root 1\n"
                               "channels 128\n"
                               "slots 64\n"
                               "shares 4294967295\n"
                               "\n"
                               "rank 0\n"
                               "  track 0 channel 127 path 65535 window 0 4294967295 chunks 16777216\n"
                               "    step 0 idle chunk 16777215 stride -2147483648 repeat 16777216: nothing -> nothing\n"
                               "    step 1 signal chunk 7 stride 2147483647 final: nothing -> slot 1\n"
                               "  track 1 channel 0 path 0 window 0 4294967295 chunks 16777216\n"
                               "    step 0 wait chunk 0 after 0 1: slot 1 -> nothing\n"
                               "    step 1 reduce chunk 0: output, input -> output\n"
                               "    step 2 wait chunk 0: input -> nothing\n"
                               "\n"
                               "rank 1\n"
                               "  track 0 channel 3 path 1 window 0 4294967295 chunks 1\n";
    struct weft_plan *plan = plan_from_text(text);
    char *again = print(plan, WEFT_ALL_RANKS, WEFT_TEXT);
    assert_string_equal(again, text);
    free(again);
    weft_plan_destroy(plan);
}

static void comments_and_spaces_mean_nothing(void **state)
{
    (void)state;
    struct weft_plan *plan = plan_from_text(
        "# a plan\n\n  weft_plan   1\n   # more\ncollective all_reduce \nalgorithm ring\n"
        "ranks 1\nroot 0\nchannels 1\nslots 4\nshares 1\n\n\n" TRACK "step 0 copy chunk 0 final:input->output");
    plan_must_verify(plan, NULL);
    weft_plan_destroy(plan);
}

/* Counts, so that a missing brace or a field that is not there shows; the JSON writer has its own tests. */
static uint32_t occurrences(const char *text, const char *of)
{
    uint32_t count = 0;
    for (const char *at = text; (at = strstr(at, of)); at += strlen(of)) count++;
    return count;
}

static void json_says_the_same(void **state)
{
    (void)state;
    struct weft_plan *plan = plan_from_text(ring_of_four);
    char *text = print(plan, WEFT_ALL_RANKS, WEFT_JSON);
    assert_int_equal(occurrences(text, "\"rank\":0,\"tracks\""), 1);
    assert_int_equal(occurrences(text, "\"verb\":"), 20);
    assert_int_equal(occurrences(text, "\"verb\":\"fused\""), 12);
    assert_int_equal(occurrences(text, "\"final\":true"), 4);
    assert_int_equal(occurrences(text, "{\"space\":\"slot\",\"rank\":2}"), 8);
    assert_int_equal(occurrences(text, "\"window\":[0,1]"), 4);
    assert_int_equal(occurrences(text, "{"), occurrences(text, "}"));
    assert_int_equal(occurrences(text, "["), occurrences(text, "]"));
    free(text);
    weft_plan_destroy(plan);
}

static void must_not_read(const char *text, const char *sentence)
{
    weft_plan *plan = NULL;
    char error[256] = "";
    assert_int_equal(weft_plan_read(text, strlen(text), &plan, error), WEFT_BAD_FORMAT);
    assert_string_equal(error, sentence);
    assert_null(plan);
    assert_int_equal(weft_plan_read(text, strlen(text), &plan, NULL), WEFT_BAD_FORMAT);
}

static void errors_say_the_line_what_was_found_and_what_was_expected(void **state)
{
    (void)state;
    must_not_read("", "line 0: found the end of the text, expected \"weft_plan\"");
    must_not_read("\n# nothing", "line 2: found the end of the text, expected \"weft_plan\"");
    must_not_read("plan 1", "line 1: found \"plan\", expected \"weft_plan\"");
    must_not_read("weft_plan 2", "line 1: found \"2\", expected 1");
    must_not_read("weft_plan", "line 1: found the end of the line, expected 1");
    must_not_read("weft_plan 1 1", "line 1: found \"1\", expected the end of the line");
    must_not_read("weft_plan 1\ncollective gossip",
                  "line 2: found \"gossip\", expected a collective, such as all_reduce");
    must_not_read("weft_plan 1\ncollective barrier\nalgorithm fast",
                  "line 3: found \"fast\", expected an algorithm, such as ring");
    must_not_read("weft_plan 1\ncollective barrier\nalgorithm ring\nranks 0",
                  "line 4: found \"0\", expected a number from 1 to 16777216");
    must_not_read("weft_plan 1\ncollective barrier\nalgorithm ring\nranks 4\nroot 1",
                  "line 5: found \"1\", expected 0");
    must_not_read("weft_plan 1\ncollective broadcast\nalgorithm ring\nranks 4\nroot 4",
                  "line 5: found \"4\", expected a number from 0 to 3");
    must_not_read(HEAD, "line 8: found the end of the text, expected \"rank\"");
    must_not_read(HEAD "rank 1\n", "line 9: found \"1\", expected 0");
    must_not_read(HEAD TRACK "rank 1\n", "line 11: found \"rank\", expected the end of the text");
    must_not_read(HEAD "rank 0\ntrack 1", "line 10: found \"1\", expected 0");
    must_not_read(HEAD "rank 0\ntrack 0 channel 1", "line 10: found \"1\", expected 0");
    must_not_read(HEAD "rank 0\ntrack 0 channel 0 path 65536",
                  "line 10: found \"65536\", expected a number from 0 to 65535");
    must_not_read(HEAD "rank 0\ntrack 0 channel 0 path 0 window 0 2", "line 10: found \"2\", expected 1");
    must_not_read(HEAD TRACK "step 1", "line 11: found \"1\", expected 0");
    must_not_read(HEAD TRACK "step 0 push",
                  "line 11: found \"push\", expected put, copy, reduce, fused, signal, wait or idle");
    must_not_read(HEAD TRACK "step 0 put chunk 0: input -> output",
                  "line 11: found \"put\", expected \"copy\" for these operands");
    must_not_read(HEAD TRACK "step 0 copy chunk 0: -> output",
                  "line 11: found \"->\", expected input, output, slot or nothing");
    must_not_read(HEAD TRACK "step 0 copy chunk 0: input, -> output",
                  "line 11: found \"->\", expected input, output or slot");
    must_not_read(HEAD TRACK "step 0 copy chunk 0: input output", "line 11: found \"output\", expected \"->\"");
    must_not_read(HEAD TRACK "step 0 copy chunk 0 repeat 0",
                  "line 11: found \"0\", expected a number from 1 to 16777216");
    must_not_read(HEAD TRACK "step 0 copy chunk 0 repeat 1 stride 1: input -> output",
                  "line 11: found \"stride\", expected \":\"");
    must_not_read(HEAD TRACK "step 0 copy chunk 0 stride 2147483648:",
                  "line 11: found \"2147483648\", expected a number from -2147483648 to 2147483647");
    must_not_read(HEAD TRACK "step 0 copy chunk 0 stride -0:",
                  "line 11: found \"-0\", expected a number from -2147483648 to 2147483647");
}

static void numbers_have_one_form(void **state)
{
    (void)state;
    static const char *const wrong[] = {"01", "+1", "1x", "0x1", "-1", "4294967297", "1.0", "99999999999999999999"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        char text[128];
        snprintf(text, sizeof text, "weft_plan %s\n", wrong[i]);
        weft_plan *plan = NULL;
        assert_int_equal(weft_plan_read(text, strlen(text), &plan, NULL), WEFT_BAD_FORMAT);
    }
}

/* What plan_check_program() refuses is no plan; the line is that of the rank. */
static void malformed_programs_are_not_read(void **state)
{
    (void)state;
    must_not_read(HEAD "rank 0\n", "line 9: rank 0: no track for shares 0 to 1 of the message");
    must_not_read(HEAD TRACK "step 0 put chunk 0: input -> slot 0\n", "line 9: rank 0 track 0 step 0: sends to itself");
    must_not_read(HEAD TRACK "step 0 put chunk 0: input -> slot 7\n",
                  "line 9: rank 0 track 0 step 0: names rank 7 of 1");
    must_not_read(HEAD TRACK "step 0 copy chunk 0: output -> input\n",
                  "line 9: rank 0 track 0 step 0: writes to its input");
    must_not_read(HEAD TRACK "step 0 copy chunk 1: input -> output\n",
                  "line 9: rank 0 track 0 step 0: chunk 1 of a window of 1");
    must_not_read(HEAD TRACK "step 0 copy chunk 0 after 0 0: input -> output\n",
                  "line 9: rank 0 track 0 step 0: waits for a step of its own track");
    must_not_read(HEAD TRACK "step 0 copy chunk 0: input -> output\ntrack 1 channel 0 path 0 window 0 1 chunks 1\n"
                             "step 0 idle chunk 0 after 0 1: nothing -> nothing\n",
                  "line 9: rank 0 track 1 step 0: waits for step 1 of track 0, which has 1");
    must_not_read(HEAD TRACK "track 1 channel 0 path 0 window 0 1 chunks 2\n",
                  "line 9: rank 0: windows 0 to 1 (1 chunks) and 0 to 1 (2 chunks) overlap");
    must_not_read(
        "weft_plan 1\ncollective barrier\nalgorithm ring\nranks 2\nroot 0\nchannels 1\nslots 4\nshares 1\n" TRACK
        "step 0 signal chunk 0: nothing -> slot 1\ntrack 1 channel 0 path 0 window 0 1 chunks 1\n"
        "step 0 signal chunk 0: nothing -> slot 1\n",
        "line 9: rank 0: tracks 0 and 1 both send to rank 1 on channel 0");
    must_not_read(
        "weft_plan 1\ncollective barrier\nalgorithm ring\nranks 2\nroot 0\nchannels 1\nslots 4\nshares 1\n" TRACK
        "step 0 wait chunk 0: input -> nothing\n",
        "line 9: rank 0 track 0 step 0: a barrier has no buffers");
    must_not_read("weft_plan 1\ncollective barrier\nalgorithm ring\nranks 1\nroot 0\nchannels 1\nslots 4\nshares 2\n"
                  "rank 0\ntrack 0 channel 0 path 0 window 0 1 chunks 1\nstep 0 idle chunk 0: nothing -> nothing\n"
                  "track 1 channel 0 path 0 window 1 2 chunks 1\nstep 0 idle chunk 0 after 0 0: nothing -> nothing\n",
                  "line 9: rank 0 track 1 step 0: waits for track 0, which has another window");
}

/* Memory follows the text: neither of these may be taken at its word. */
static void declared_numbers_cost_nothing(void **state)
{
    (void)state;
    must_not_read("weft_plan 1\ncollective barrier\nalgorithm ring\nranks 16777216\nroot 0\nchannels 128\nslots 64\n"
                  "shares 4294967295\nrank 0\n",
                  "line 9: found the end of the text, expected \"rank\"");
    struct weft_plan *plan =
        plan_from_text(HEAD "rank 0\ntrack 0 channel 0 path 0 window 0 1 chunks 16777216\n"
                            "step 0 copy chunk 0 stride 1 repeat 16777216 final: input -> output\n");
    weft_plan_destroy(plan);
}

static void many_operands_are_too_many(void **state)
{
    (void)state;
    char text[8192];
    size_t used = (size_t)snprintf(text, sizeof text, "%s%sstep 0 wait chunk 0: input", HEAD, TRACK);
    for (int i = 1; i < 256; i++) used += (size_t)snprintf(text + used, sizeof text - used, ", output");
    snprintf(text + used, sizeof text - used, " -> nothing\n");
    must_not_read(text, "line 11: found \"output\", expected at most 255 operands");
}

static void strange_bytes_are_not_repeated(void **state)
{
    (void)state;
    must_not_read("\x1b[2J", "line 1: found \"?\", expected \"weft_plan\"");
    must_not_read("weft_plan 1\r\n", "line 1: found \"?\", expected the end of the line");
    must_not_read("an_uncommonly_long_word_that_nobody_wants_to_read",
                  "line 1: found \"an_uncommonly_long_word_\"..., expected \"weft_plan\"");
    weft_plan *plan = NULL;
    char error[256];
    assert_int_equal(weft_plan_read("weft_plan\0 1", 12, &plan, error), WEFT_BAD_FORMAT);
    assert_string_equal(error, "line 1: found \"?\", expected 1");
}

/* Without the last line the text is still a plan: a track may end anywhere. In its own allocation, so that reading
 * beyond shows. */
static void every_shorter_text_is_read_safely(void **state)
{
    (void)state;
    size_t length = strlen(ring_of_four);
    for (size_t size = 0; size <= length; size++) {
        char *text = malloc(size + 1);
        assert_non_null(text);
        memcpy(text, ring_of_four, size);
        text = realloc(text, size ? size : 1);
        weft_plan *plan = NULL;
        char error[256] = "";
        weft_status status = weft_plan_read(text, size, &plan, error);
        if (status == WEFT_OK)
            weft_plan_verify(plan, NULL);
        else
            assert_true(strncmp(error, "line ", 5) == 0);
        weft_plan_destroy(plan);
        free(text);
    }
}

/* Bytes changed, lines moved: whatever is read can be verified, printed, and read again. */
static void damaged_texts_are_read_safely(void **state)
{
    (void)state;
    const size_t length = strlen(ring_of_four);
    static const char usual[] = "0123456789-> ,:\n";
    uint32_t read_count = 0;
    for (uint64_t seed = 0; seed < 20000; seed++) {
        struct random random;
        random_seed(&random, seed);
        char text[sizeof ring_of_four];
        memcpy(text, ring_of_four, sizeof text);
        for (uint64_t changes = 1 + random_below(&random, 3); changes > 0; changes--) {
            char byte = random_below(&random, 4) ? usual[random_below(&random, sizeof usual - 1)]
                                                 : (char)random_below(&random, 256);
            text[random_below(&random, length)] = byte;
        }
        weft_plan *plan = NULL, *same = NULL;
        if (weft_plan_read(text, length, &plan, NULL) != WEFT_OK) continue;
        read_count++;
        if (plan->programs[0].tracks[0].chunk_count < 1000) weft_plan_verify(plan, NULL);
        char *printed = print(plan, WEFT_ALL_RANKS, WEFT_TEXT);
        if (weft_plan_read(printed, strlen(printed), &same, NULL) != WEFT_OK)
            fail_msg("seed %llu: cannot read what was printed:\n%s", (unsigned long long)seed, printed);
        assert_true(weft_plan_hash(plan) == weft_plan_hash(same));
        free(printed);
        weft_plan_destroy(same);
        weft_plan_destroy(plan);
    }
    assert_true(read_count > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_generated_plan_prints_as_documented),
        cmocka_unit_test(one_rank_can_be_printed_alone),
        cmocka_unit_test(every_field_survives),
        cmocka_unit_test(comments_and_spaces_mean_nothing),
        cmocka_unit_test(json_says_the_same),
        cmocka_unit_test(errors_say_the_line_what_was_found_and_what_was_expected),
        cmocka_unit_test(numbers_have_one_form),
        cmocka_unit_test(malformed_programs_are_not_read),
        cmocka_unit_test(declared_numbers_cost_nothing),
        cmocka_unit_test(many_operands_are_too_many),
        cmocka_unit_test(strange_bytes_are_not_repeated),
        cmocka_unit_test(every_shorter_text_is_read_safely),
        cmocka_unit_test(damaged_texts_are_read_safely),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
