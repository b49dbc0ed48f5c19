/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/config.h"
#include "base/config_internal.h"
#include "base/log.h"
#include "tests/base/fresh_process.h"

/* Parse one "NAME=value". */
static weft_status parse_one(const char *entry, struct config *config, struct diagnostic *diagnostic)
{
    char *environment[] = {(char *)entry, NULL};
    return config_parse(environment, config, diagnostic);
}

static void assert_parses(const char *entry, struct config *config)
{
    struct diagnostic diagnostic = {0};
    if (parse_one(entry, config, &diagnostic) != WEFT_OK) fail_msg("%s: %s", entry, diagnostic.text);
}

/* Refused, with a sentence that holds @p part. */
static void assert_refused(const char *entry, const char *part)
{
    struct config config;
    struct diagnostic diagnostic = {0};
    if (parse_one(entry, &config, &diagnostic) == WEFT_OK) fail_msg("%s was taken", entry);
    assert_int_equal(diagnostic.status, WEFT_INVALID_ARGUMENT);
    if (!strstr(diagnostic.text, part)) fail_msg("%s: \"%s\" lacks \"%s\"", entry, diagnostic.text, part);
}

static void an_empty_environment_gives_the_defaults(void **state)
{
    (void)state;
    struct config config;
    assert_parses("HOME=/", &config);
    assert_int_equal(config.log, LEVEL_WARNING);
    assert_string_equal(config.log_file, "");
    assert_true(config.deadline_ns == 600 * NS_PER_S);
    assert_true(config.keepalive_ns == 10 * NS_PER_S);
    assert_int_equal(config.algorithm, WEFT_ALGORITHM_AUTO);
    assert_int_equal(config.transport, TRANSPORT_AUTO);
    assert_int_equal(config.channels, 0);
    assert_int_equal(config.slice_bytes, 0);
    assert_int_equal(config.slot_depth, 0);
    assert_false(config.verify);
    assert_int_equal(config.spin_ns, 3000);
    assert_false(config.progress_thread);
    assert_int_equal(config.simd, SIMD_AUTO);
}

#define CHECK_DEFAULT(field, variable, kind, default_text, ...) assert_parses(#variable "=" default_text, &config);
static void every_default_is_a_value_its_own_parser_takes(void **state)
{
    (void)state;
    struct config config;
    CONFIG_TABLE(CHECK_DEFAULT)
}

static void an_empty_value_counts_as_unset(void **state)
{
    (void)state;
    struct config config;
    assert_parses("WEFT_DEADLINE=", &config);
    assert_true(config.deadline_ns == 600 * NS_PER_S);
    assert_parses("WEFT_ALGORITHM=", &config);
    assert_int_equal(config.algorithm, WEFT_ALGORITHM_AUTO);
}

static void sizes_take_suffixes_of_1024(void **state)
{
    (void)state;
    struct config config;
    assert_parses("WEFT_SLICE=4096", &config);
    assert_int_equal(config.slice_bytes, 4096);
    assert_parses("WEFT_SLICE=64K", &config);
    assert_int_equal(config.slice_bytes, 65536);
    assert_parses("WEFT_SLICE=1m", &config);
    assert_int_equal(config.slice_bytes, 1 << 20);
    assert_parses("WEFT_SLICE=16M", &config);
    assert_int_equal(config.slice_bytes, 16 << 20);
    assert_parses("WEFT_SLICE=0G", &config);
    assert_int_equal(config.slice_bytes, 0);
}

static void times_take_units_and_fractions(void **state)
{
    (void)state;
    const struct {
        const char *entry;
        uint64_t expected_ns;
    } cases[] = {
        {"WEFT_DEADLINE=3", 3 * NS_PER_S},
        {"WEFT_DEADLINE=3s", 3 * NS_PER_S},
        {"WEFT_DEADLINE=3000ms", 3 * NS_PER_S},
        {"WEFT_DEADLINE=0.25", 250 * NS_PER_MS},
        {"WEFT_DEADLINE=1.5s", 1500 * NS_PER_MS},
        {"WEFT_DEADLINE=2500.5us", 2500500},
        {"WEFT_DEADLINE=1000001ns", 1000001},
        {"WEFT_DEADLINE=1.000000001s", NS_PER_S + 1},
        {"WEFT_DEADLINE=1.5000000000s", NS_PER_S * 3 / 2},
        {"WEFT_DEADLINE=1000000.0ns", NS_PER_MS},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct config config;
        assert_parses(cases[i].entry, &config);
        if (config.deadline_ns != cases[i].expected_ns) {
            fail_msg("%s gives %llu ns", cases[i].entry, (unsigned long long)config.deadline_ns);
        }
    }
}

static void what_is_no_number_is_refused(void **state)
{
    (void)state;
    const char *const values[] = {"x",
                                  " 1",
                                  "1 ",
                                  "-1",
                                  "+1",
                                  "0x10",
                                  "1KB",
                                  "1.5K",
                                  "1e3",
                                  ".5",
                                  "1.",
                                  "K",
                                  "1.2.3",
                                  "18446744073709551616",
                                  "17179869185G",
                                  "99999999999999999999999999",
                                  "1\n"};
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        char entry[96];
        snprintf(entry, sizeof entry, "WEFT_SLICE=%s", values[i]);
        assert_refused(entry, "expected a number from 0 to 16777216");
    }
    const char *const times[] = {"x",
                                 "1m",
                                 "1 s",
                                 "-1s",
                                 "1.s",
                                 ".5s",
                                 "1.5ns",
                                 "2000000.0000000001s",
                                 "0.00000000010s",
                                 "s",
                                 "18446744074s",
                                 "18446744073709551616ns",
                                 "18446744073.8s",
                                 "1..5s",
                                 "1.5.5s"};
    for (size_t i = 0; i < sizeof times / sizeof times[0]; i++) {
        char entry[96];
        snprintf(entry, sizeof entry, "WEFT_DEADLINE=%s", times[i]);
        assert_refused(entry, "expected a time from 1ms to 86400s");
    }
}

static void both_ends_of_a_range_are_in_it(void **state)
{
    (void)state;
    struct config config;
    assert_parses("WEFT_SLOTS=0", &config);
    assert_parses("WEFT_SLOTS=64", &config);
    assert_int_equal(config.slot_depth, 64);
    assert_refused("WEFT_SLOTS=65", "WEFT_SLOTS is \"65\"; expected a number from 0 to 64");
    assert_parses("WEFT_DEADLINE=1ms", &config);
    assert_parses("WEFT_DEADLINE=86400s", &config);
    assert_refused("WEFT_DEADLINE=999us", "WEFT_DEADLINE");
    assert_refused("WEFT_DEADLINE=86400.1s", "WEFT_DEADLINE");
}

static void a_switch_is_0_or_1(void **state)
{
    (void)state;
    struct config config;
    assert_parses("WEFT_VERIFY=1", &config);
    assert_true(config.verify);
    assert_parses("WEFT_VERIFY=0", &config);
    assert_false(config.verify);
    assert_refused("WEFT_VERIFY=2", "WEFT_VERIFY is \"2\"; expected 0 or 1");
    assert_refused("WEFT_VERIFY=yes", "expected 0 or 1");
    assert_refused("WEFT_VERIFY=01", "expected 0 or 1");
}

static void choices_are_words_and_a_wrong_one_is_told_them(void **state)
{
    (void)state;
    struct config config;
    assert_parses("WEFT_LOG=debug", &config);
    assert_int_equal(config.log, LEVEL_DEBUG);
    assert_parses("WEFT_LOG=error", &config);
    assert_int_equal(config.log, LEVEL_ERROR);
    assert_parses("WEFT_ALGORITHM=tree", &config);
    assert_int_equal(config.algorithm, WEFT_ALGORITHM_TREE);
    assert_parses("WEFT_TRANSPORT=shm", &config);
    assert_int_equal(config.transport, TRANSPORT_SHM);
    assert_parses("WEFT_SIMD=avx512", &config);
    assert_int_equal(config.simd, SIMD_AVX512);
    assert_refused("WEFT_LOG=warn", "WEFT_LOG is \"warn\"; expected error, warning, info or debug");
    assert_refused("WEFT_ALGORITHM=Ring", "expected auto, ring, tree, direct, halving or hierarchical");
    assert_refused("WEFT_TRANSPORT=pigeon", "expected auto, shm, tcp or verbs");
}

static void words_of_algorithms_are_the_public_names(void **state)
{
    (void)state;
    for (int i = 0; i < WEFT_ALGORITHM_COUNT; i++) {
        char entry[64];
        struct config config;
        snprintf(entry, sizeof entry, "WEFT_ALGORITHM=%s", weft_algorithm_name((weft_algorithm)i));
        assert_parses(entry, &config);
        assert_int_equal(config.algorithm, i);
    }
}

static void strings_are_copied_up_to_their_limit(void **state)
{
    (void)state;
    struct config config;
    char entry[600] = "WEFT_LOG_FILE=";
    size_t start = strlen(entry);
    memset(entry + start, 'x', 255);
    assert_parses(entry, &config);
    assert_int_equal(strlen(config.log_file), 255);
    entry[start + 255] = 'x';
    assert_refused(entry, "WEFT_LOG_FILE has 256 bytes; expected at most 255");
}

static void a_bad_value_keeps_its_default_and_the_others_are_read(void **state)
{
    (void)state;
    char slots[] = "WEFT_SLOTS=65", deadline[] = "WEFT_DEADLINE=no", channels[] = "WEFT_CHANNELS=3";
    char *environment[] = {slots, deadline, channels, NULL};
    struct config config;
    struct diagnostic diagnostic = {0};
    assert_int_equal(config_parse(environment, &config, &diagnostic), WEFT_INVALID_ARGUMENT);
    assert_non_null(strstr(diagnostic.text, "WEFT_SLOTS")); /* the first */
    assert_int_equal(config.slot_depth, 0);
    assert_true(config.deadline_ns == 600 * NS_PER_S);
    assert_int_equal(config.channels, 3);
    assert_int_equal(config_parse(environment, &config, NULL), WEFT_INVALID_ARGUMENT);
}

static void a_long_value_cannot_overrun_the_diagnostic(void **state)
{
    (void)state;
    char entry[4096] = "WEFT_ALGORITHM=";
    size_t start = strlen(entry);
    memset(entry + start, 'a', sizeof entry - start - 1);
    assert_refused(entry, "expected auto, ring, tree, direct, halving or hierarchical");
}

static void name_distance_counts_changes(void **state)
{
    (void)state;
    assert_int_equal(config_name_distance("", ""), 0);
    assert_int_equal(config_name_distance("WEFT_LOG", "WEFT_LOG"), 0);
    assert_int_equal(config_name_distance("", "abc"), 3);
    assert_int_equal(config_name_distance("abc", ""), 3);
    assert_int_equal(config_name_distance("kitten", "sitting"), 3);
    assert_int_equal(config_name_distance("WEFT_DEADLIEN", "WEFT_DEADLINE"), 2);
    char one[1000], other[1000];
    memset(one, 'x', 999);
    memset(other, 'y', 999);
    one[999] = other[999] = '\0';
    assert_int_equal(config_name_distance(one, other), 63);
}

static void set_misspelt(void)
{
    setenv("WEFT_DEADLIEN", "1", 1);
    setenv("WEFT_ID_FD", "7", 1);
    setenv("WEFT_TOPOLOGY_CORPUS", "/", 1);
}
static void get_twice(void)
{
    config_get();
    config_get();
    config_status(NULL);
}
static void an_unknown_variable_is_warned_of_once_with_the_nearest_name(void **state)
{
    (void)state;
    struct fresh_process result = fresh_process_run(set_misspelt, get_twice);
    assert_int_equal(result.exit_code, 0);
    assert_string_equal(result.error_output, "weft warning variable WEFT_DEADLIEN unknown nearest WEFT_DEADLINE\n");
}

static void set_bad(void)
{
    setenv("WEFT_SLOTS", "many", 1);
    setenv("WEFT_CHANNELS", "2", 1);
}
static void expect_bad(void)
{
    struct diagnostic diagnostic = {0};
    if (config_get()->slot_depth != 0 || config_get()->channels != 2) _exit(1);
    if (config_status(&diagnostic) != WEFT_INVALID_ARGUMENT) _exit(2);
    if (!strstr(diagnostic.text, "WEFT_SLOTS is \"many\"") || diagnostic.status != WEFT_INVALID_ARGUMENT) _exit(3);
    if (config_status(NULL) != WEFT_INVALID_ARGUMENT) _exit(4);
}
static void a_bad_value_of_the_process_is_reported_once_and_kept_as_status(void **state)
{
    (void)state;
    struct fresh_process result = fresh_process_run(set_bad, expect_bad);
    assert_int_equal(result.exit_code, 0);
    assert_string_equal(result.error_output,
                        "weft error config WEFT_SLOTS is \"many\"; expected a number from 0 to 64, "
                        "with K, M or G for powers of 1024\n");
}

static void set_quiet(void)
{
    setenv("WEFT_LOG", "error", 1);
    setenv("WEFT_NONSENSE", "", 1);
}
static void the_log_level_holds_for_the_configuration_s_own_warnings(void **state)
{
    (void)state;
    struct fresh_process result = fresh_process_run(set_quiet, get_twice);
    assert_int_equal(result.exit_code, 0);
    assert_string_equal(result.error_output, "");
}

static void clear_everything(void)
{
    clearenv();
}
static void expect_defaults(void)
{
    if (config_get()->slot_depth != 0 || config_status(NULL) != WEFT_OK) _exit(1);
    if (config_launcher_variable("RANK")) _exit(2);
}
static void a_process_without_an_environment_has_the_defaults(void **state)
{
    (void)state;
    struct fresh_process result = fresh_process_run(clear_everything, expect_defaults);
    assert_int_equal(result.exit_code, 0);
    assert_string_equal(result.error_output, "");
}

static void set_rank(void)
{
    setenv("RANK", "3", 1);
}
static void expect_rank(void)
{
    if (strcmp(config_launcher_variable("RANK"), "3") != 0) _exit(1);
}
static void launcher_variables_are_passed_through(void **state)
{
    (void)state;
    assert_int_equal(fresh_process_run(set_rank, expect_rank).exit_code, 0);
}

#define CHECK_HELP(field, variable, kind, default_text, low, high, help_text)                                          \
    assert_non_null(strstr(help, #variable));                                                                          \
    assert_non_null(strstr(help, help_text));                                                                          \
    lines++;
static void help_has_a_line_for_each_option(void **state)
{
    (void)state;
    int lines = 0;
    char *help = config_help();
    assert_non_null(help);
    CONFIG_TABLE(CHECK_HELP)
    assert_non_null(strstr(help, "least severe message to write: error, warning, info or debug\n"));
    for (const char *at = help; (at = strchr(at, '\n')); at++) lines--;
    assert_int_equal(lines, 0);
    free(help);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_environment_gives_the_defaults),
        cmocka_unit_test(every_default_is_a_value_its_own_parser_takes),
        cmocka_unit_test(an_empty_value_counts_as_unset),
        cmocka_unit_test(sizes_take_suffixes_of_1024),
        cmocka_unit_test(times_take_units_and_fractions),
        cmocka_unit_test(what_is_no_number_is_refused),
        cmocka_unit_test(both_ends_of_a_range_are_in_it),
        cmocka_unit_test(a_switch_is_0_or_1),
        cmocka_unit_test(choices_are_words_and_a_wrong_one_is_told_them),
        cmocka_unit_test(words_of_algorithms_are_the_public_names),
        cmocka_unit_test(strings_are_copied_up_to_their_limit),
        cmocka_unit_test(a_bad_value_keeps_its_default_and_the_others_are_read),
        cmocka_unit_test(a_long_value_cannot_overrun_the_diagnostic),
        cmocka_unit_test(name_distance_counts_changes),
        cmocka_unit_test(an_unknown_variable_is_warned_of_once_with_the_nearest_name),
        cmocka_unit_test(a_bad_value_of_the_process_is_reported_once_and_kept_as_status),
        cmocka_unit_test(the_log_level_holds_for_the_configuration_s_own_warnings),
        cmocka_unit_test(a_process_without_an_environment_has_the_defaults),
        cmocka_unit_test(launcher_variables_are_passed_through),
        cmocka_unit_test(help_has_a_line_for_each_option),
    };
    return cmocka_run_group_tests_name("config", tests, NULL, NULL);
}
