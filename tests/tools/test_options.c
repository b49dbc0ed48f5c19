/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tools/common/options.h"

struct values {
    bool quiet, planned;
    uint64_t count, bytes;
    const char *file;
    int shape;
};
#define FIELD(name) offsetof(struct values, name)

static const struct option_word shapes[] = {
    {"ring", 1, NULL}, {"tree", 2, NULL}, {"star", 0, "is not in this version"}, {NULL, 0, NULL}};
static const struct option_entry entries[] = {
    {"--quiet", OPTION_FLAG, NULL, "say less", FIELD(quiet), 0, 0, NULL, NULL},
    {"--count", OPTION_NUMBER, "N", "how many", FIELD(count), 1, 100, NULL, NULL},
    {"-b", OPTION_BYTES, "BYTES", "how large", FIELD(bytes), 1, UINT64_MAX, NULL, NULL},
    {"--file", OPTION_TEXT, "FILE", "where", FIELD(file), 0, 0, NULL, NULL},
    {"--shape", OPTION_WORD, "S", "what", FIELD(shape), 0, 0, shapes, NULL},
    {"--planned", OPTION_FLAG, NULL, "", FIELD(planned), 0, 0, NULL, "is not in this version"},
};
static const struct command command = {.name = "tool",
                                       .usage = "tool [options]",
                                       .intro = "A tool.",
                                       .entries = entries,
                                       .entry_count = sizeof entries / sizeof *entries};

static struct values values;
static struct positionals positionals;
static char error[OPTIONS_ERROR_BYTES];

/* Parse up to seven words; the first NULL ends them. */
static enum options_outcome parse(const char *words[8])
{
    char *argv[10] = {(char *)"tool"};
    int argc = 1;
    for (; argc <= 8 && words[argc - 1]; argc++) argv[argc] = (char *)words[argc - 1];
    memset(&values, 0, sizeof values);
    error[0] = '\0';
    return options_parse(&command, argc, argv, &values, &positionals, error);
}
#define PARSE(...) parse((const char *[8]){__VA_ARGS__})

static void assert_mistake(enum options_outcome outcome, const char *expected)
{
    assert_int_equal(outcome, OPTIONS_MISTAKE);
    assert_string_equal(error, expected);
}

static void every_kind_of_option_is_read(void **state)
{
    (void)state;
    assert_int_equal(PARSE("--quiet", "--count", "7", "-b", "64K", "--file", "out", "--shape=tree"), OPTIONS_GO_ON);
    assert_true(values.quiet);
    assert_int_equal(values.count, 7);
    assert_int_equal(values.bytes, 65536);
    assert_string_equal(values.file, "out");
    assert_int_equal(values.shape, 2);
    assert_int_equal(positionals.count, 0);
}

static void options_not_given_are_left_alone(void **state)
{
    (void)state;
    char *argv[] = {(char *)"tool", (char *)"word"};
    struct values before = {.count = 42, .shape = 9};
    assert_int_equal(options_parse(&command, 2, argv, &before, &positionals, error), OPTIONS_GO_ON);
    assert_int_equal(before.count, 42);
    assert_int_equal(before.shape, 9);
}

static void positionals_and_options_may_alternate(void **state)
{
    (void)state;
    assert_int_equal(PARSE("one", "--count=3", "two", "-", "--", "--quiet"), OPTIONS_GO_ON);
    assert_int_equal(positionals.count, 4);
    assert_string_equal(positionals.values[0], "one");
    assert_string_equal(positionals.values[1], "two");
    assert_string_equal(positionals.values[2], "-");
    assert_string_equal(positionals.values[3], "--quiet");
    assert_false(values.quiet);
}

static void help_and_version_win_over_what_follows(void **state)
{
    (void)state;
    assert_int_equal(PARSE("--help", "--nonsense"), OPTIONS_HELP);
    assert_int_equal(PARSE("-h"), OPTIONS_HELP);
    assert_int_equal(PARSE("word", "--version"), OPTIONS_VERSION);
}

static void mistakes_say_what_is_wrong_and_what_is_near(void **state)
{
    (void)state;
    assert_mistake(PARSE("--quite"), "there is no option --quite; did you mean --quiet?");
    assert_mistake(PARSE("--cuont=3"), "there is no option --cuont; did you mean --count?");
    assert_mistake(PARSE("--zzzzzz"), "there is no option --zzzzzz; tool --help lists them");
    assert_mistake(PARSE("-x"), "there is no option -x; did you mean -b?");
    assert_mistake(PARSE("--count"), "--count needs a value: --count N");
    assert_mistake(PARSE("--count", "none"), "--count \"none\" is no number");
    assert_mistake(PARSE("--count", "101"), "--count 101 is out of range: 1 to 100, so at most 100");
    assert_mistake(PARSE("--count=0"), "--count 0 is out of range: 1 to 100, so at least 1");
    assert_mistake(PARSE("-b", "1T"), "-b \"1T\" is no number of bytes; write it as 65536, 64K or 1M");
    assert_mistake(PARSE("--quiet=1"), "--quiet takes no value");
    assert_mistake(PARSE("--shape", "rign"), "there is no --shape \"rign\"; did you mean ring? (ring, tree)");
    assert_mistake(PARSE("--shape", "pentagon"), "there is no --shape \"pentagon\"; there is ring, tree");
    assert_mistake(PARSE("--shape", "star"), "--shape star is not in this version; there is ring, tree");
    assert_mistake(PARSE("--planned"), "--planned is not in this version");
}

static void long_words_cannot_overflow_a_message(void **state)
{
    (void)state;
    char word[4096];
    memset(word, 'x', sizeof word);
    word[0] = word[1] = '-';
    word[sizeof word - 1] = '\0';
    assert_int_equal(PARSE(word), OPTIONS_MISTAKE);
    assert_true(strlen(error) < OPTIONS_ERROR_BYTES);
    assert_int_equal(PARSE("--shape", word), OPTIONS_MISTAKE);
    assert_int_equal(PARSE("--count", word), OPTIONS_MISTAKE);
}

static void too_many_positionals_are_a_mistake(void **state)
{
    (void)state;
    char *argv[POSITIONAL_MAX + 2];
    for (int i = 0; i < POSITIONAL_MAX + 2; i++) argv[i] = (char *)"word";
    assert_int_equal(options_parse(&command, POSITIONAL_MAX + 2, argv, &values, &positionals, error), OPTIONS_MISTAKE);
}

static void bytes_take_suffixes_that_are_powers_of_1024(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t bytes;
    } right[] = {{"0", 0},       {"17", 17},        {"1K", 1024},
                 {"1k", 1024},   {"3M", 3 << 20},   {"2G", 2ull << 30},
                 {"4KiB", 4096}, {"1GiB", 1 << 30}, {"18446744073709551615", UINT64_MAX}};
    static const char *const wrong[] = {
        "", "K", "-1", "+1", " 1", "1 K", "1KB", "1.5M", "0x10", "1T", "18446744073709551616", "18014398509481984K"};
    uint64_t bytes = 0;
    for (size_t i = 0; i < sizeof right / sizeof *right; i++) {
        assert_int_equal(bytes_parse(right[i].text, &bytes), 0);
        assert_int_equal(bytes, right[i].bytes);
    }
    bytes = 99;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) assert_int_equal(bytes_parse(wrong[i], &bytes), -1);
    assert_int_equal(bytes, 99);
}

static void distances_count_insertions_deletions_changes_and_swaps(void **state)
{
    (void)state;
    assert_int_equal(edit_distance("ring", "ring"), 0);
    assert_int_equal(edit_distance("", "ring"), 4);
    assert_int_equal(edit_distance("rng", "ring"), 1);
    assert_int_equal(edit_distance("riing", "ring"), 1);
    assert_int_equal(edit_distance("rang", "ring"), 1);
    assert_int_equal(edit_distance("rign", "ring"), 1);
    assert_int_equal(edit_distance("kitten", "sitting"), 3);
}

static void the_nearest_word_is_near_or_none(void **state)
{
    (void)state;
    static const char *const words[] = {"all_reduce", "broadcast", "barrier"};
    assert_int_equal(nearest_word("allreduce", words, 3), 0);
    assert_int_equal(nearest_word("bcast", words, 3), -1);
    assert_int_equal(nearest_word("broad", words, 3), 1);
    assert_int_equal(nearest_word("barier", words, 3), 2);
    assert_int_equal(nearest_word("gather", words, 3), -1);
    assert_int_equal(nearest_word("x", words, 0), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_of_option_is_read),
        cmocka_unit_test(options_not_given_are_left_alone),
        cmocka_unit_test(positionals_and_options_may_alternate),
        cmocka_unit_test(help_and_version_win_over_what_follows),
        cmocka_unit_test(mistakes_say_what_is_wrong_and_what_is_near),
        cmocka_unit_test(long_words_cannot_overflow_a_message),
        cmocka_unit_test(too_many_positionals_are_a_mistake),
        cmocka_unit_test(bytes_take_suffixes_that_are_powers_of_1024),
        cmocka_unit_test(distances_count_insertions_deletions_changes_and_swaps),
        cmocka_unit_test(the_nearest_word_is_near_or_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
