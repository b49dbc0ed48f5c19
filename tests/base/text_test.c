/* SPDX-License-Identifier: Apache-2.0 */
#include <float.h>
#include <locale.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/random.h"
#include "base/text.h"
#include "tests/base/json_check.h"

static void nothing_added_gives_an_empty_string(void **state)
{
    (void)state;
    struct text text = {0};
    char *result = text_take(&text);
    assert_string_equal(result, "");
    free(result);
}

static void text_grows_to_any_length(void **state)
{
    (void)state;
    struct text text = {0};
    size_t length = 0;
    for (int i = 0; i < 5000; i++) {
        text_add(&text, "%d,", i);
        length += (size_t)snprintf(NULL, 0, "%d,", i);
        assert_int_equal(text.length, length);
        assert_int_equal(text.bytes[length], '\0');
    }
    char *result = text_take(&text);
    assert_int_equal(strlen(result), length);
    assert_string_equal(result + length - 10, "4998,4999,");
    free(result);
}

static void one_addition_larger_than_the_capacity_is_kept_whole(void **state)
{
    (void)state;
    for (int length = 60; length < 3000; length += 1 + length / 40) {
        struct text text = {0};
        text_add(&text, "<%*d>", length, 7);
        text_add(&text, "%*d", length, 8);
        char *result = text_take(&text);
        assert_int_equal(strlen(result), 2 * length + 2);
        assert_int_equal(result[length], '7');
        assert_int_equal(result[2 * length + 1], '8');
        free(result);
    }
}

static void taking_leaves_an_empty_text(void **state)
{
    (void)state;
    struct text text = {0};
    text_add(&text, "first");
    free(text_take(&text));
    text_add(&text, "second");
    char *result = text_take(&text);
    assert_string_equal(result, "second");
    free(result);
    text_add(&text, "third");
    text_free(&text);
    assert_null(text.bytes);
}

static void a_failure_is_remembered_to_the_end(void **state)
{
    (void)state;
    struct text text = {0};
    text_add(&text, "before");
    text.failed = true;
    text_add(&text, "after");
    json_string(&text, NULL, "after");
    assert_null(text_take(&text));
    assert_false(text.failed);
}

/* Checks that @p text is valid JSON and is @p expected, and frees it. */
static void assert_json(struct text *text, const char *expected)
{
    char *result = text_take(text);
    assert_non_null(result);
    if (!json_is_valid(result)) fail_msg("not JSON: %s", result);
    assert_string_equal(result, expected);
    free(result);
}

static void json_nests_with_keys_and_commas(void **state)
{
    (void)state;
    struct text text = {0};
    json_object_begin(&text, NULL);
    json_string(&text, "name", "ring");
    json_array_begin(&text, "order");
    for (int i = 0; i < 3; i++) json_integer(&text, NULL, i - 1);
    json_array_end(&text);
    json_object_begin(&text, "empty");
    json_object_end(&text);
    json_array_begin(&text, "pairs");
    for (int i = 0; i < 2; i++) {
        json_array_begin(&text, NULL);
        json_bool(&text, NULL, i == 0);
        json_array_end(&text);
    }
    json_array_end(&text);
    json_unsigned(&text, "largest", UINT64_MAX);
    json_integer(&text, "least", INT64_MIN);
    json_object_end(&text);
    assert_json(&text, "{\"name\":\"ring\",\"order\":[-1,0,1],\"empty\":{},\"pairs\":[[true],[false]],"
                       "\"largest\":18446744073709551615,\"least\":-9223372036854775808}");
}

static void strings_are_escaped(void **state)
{
    (void)state;
    struct text text = {0};
    json_object_begin(&text, NULL);
    json_string(&text, "a\"key\\", "quote \" backslash \\ line\n tab\t bell\a escape\x1b delete\x7f slash /");
    json_string(&text, "none", NULL);
    json_object_end(&text);
    assert_json(&text, "{\"a\\\"key\\\\\":\"quote \\\" backslash \\\\ line\\n tab\\t bell\\u0007 escape\\u001b "
                       "delete\\u007f slash /\",\"none\":null}");
}

static void well_formed_utf8_passes_unchanged(void **state)
{
    (void)state;
    struct text text = {0};
    json_string(&text, NULL, "\xc3\xa4 \xe2\x82\xac \xed\x9f\xbf \xee\x80\x80 \xf0\x9f\x98\x80 \xf4\x8f\xbf\xbf");
    assert_json(&text, "\"\xc3\xa4 \xe2\x82\xac \xed\x9f\xbf \xee\x80\x80 \xf0\x9f\x98\x80 \xf4\x8f\xbf\xbf\"");
}

static void bytes_that_are_no_utf8_are_replaced(void **state)
{
    (void)state;
    const struct {
        const char *value;
        const char *expected;
    } cases[] = {
        {"\x80", "\"\\ufffd\""},                                  /* a continuation alone */
        {"\xc3", "\"\\ufffd\""},                                  /* cut at the end */
        {"\xe2\x82", "\"\\ufffd\\ufffd\""},                       /* cut later */
        {"\xc0\xaf", "\"\\ufffd\\ufffd\""},                       /* overlong */
        {"\xe0\x80\xaf", "\"\\ufffd\\ufffd\\ufffd\""},            /* overlong */
        {"\xed\xa0\x80", "\"\\ufffd\\ufffd\\ufffd\""},            /* surrogate */
        {"\xf4\x90\x80\x80", "\"\\ufffd\\ufffd\\ufffd\\ufffd\""}, /* above U+10FFFF */
        {"\xff"
         "a\xc3\"",
         "\"\\ufffda\\ufffd\\\"\""}, /* the byte after a bad one is kept */
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct text text = {0};
        json_string(&text, NULL, cases[i].value);
        assert_json(&text, cases[i].expected);
    }
}

static void any_bytes_make_valid_json(void **state)
{
    (void)state;
    struct random random;
    const uint64_t seed = 20;
    random_seed(&random, seed);
    for (int round = 0; round < 20000; round++) {
        char value[16];
        size_t length = random_below(&random, sizeof value);
        for (size_t i = 0; i < length; i++) {
            /* half of them from where UTF-8 changes its mind */
            const unsigned char edges[] = {0x7f, 0x80, 0xbf, 0xc0, 0xc2, 0xdf, 0xe0, 0xed,
                                           0xef, 0xf0, 0xf4, 0xf5, 0x9f, 0xa0, '"',  '\\'};
            uint64_t draw = random_next(&random);
            value[i] = (char)(draw & 1 ? edges[draw >> 1 & 15] : draw >> 8 & 0xff);
        }
        value[length] = '\0';
        struct text text = {0};
        json_string(&text, NULL, value);
        char *result = text_take(&text);
        if (!json_is_valid(result)) fail_msg("seed %llu round %d: %s", (unsigned long long)seed, round, result);
        free(result);
    }
}

static void what_json_lacks_is_null(void **state)
{
    (void)state;
    struct text text = {0};
    json_array_begin(&text, NULL);
    json_number(&text, NULL, NAN);
    json_number(&text, NULL, INFINITY);
    json_number(&text, NULL, -INFINITY);
    json_array_end(&text);
    assert_json(&text, "[null,null,null]");
}

static void numbers_are_short_where_they_can_be(void **state)
{
    (void)state;
    const double values[] = {0, -0.0, 1, 0.1, 1e9, 12.5e9, 1e-6, 1.0 / 3, 5e-324, DBL_MAX, 123456789012345678.0};
    struct text text = {0};
    json_array_begin(&text, NULL);
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) json_number(&text, NULL, values[i]);
    json_array_end(&text);
    assert_json(&text, "[0,-0,1,0.1,1000000000,12500000000,1e-06,0.3333333333333333,4.94065645841247e-324,"
                       "1.7976931348623157e+308,1.2345678901234568e+17]");
}

static void numbers_read_back_as_the_same_value(void **state)
{
    (void)state;
    struct random random;
    const uint64_t seed = 21;
    random_seed(&random, seed);
    for (int round = 0; round < 20000; round++) {
        uint64_t bits = random_next(&random);
        double value;
        memcpy(&value, &bits, sizeof value);
        struct text text = {0};
        json_number(&text, NULL, value);
        char *result = text_take(&text);
        bool valid = json_is_valid(result) && (isfinite(value) ? strtod(result, NULL) == value : result[0] == 'n');
        if (!valid) fail_msg("seed %llu round %d: %s is not %a", (unsigned long long)seed, round, result, value);
        free(result);
    }
}

/* Machines that build seldom have a foreign locale installed, so the test compiles one (localedef is part of libc). */
static void the_program_s_locale_changes_nothing(void **state)
{
    (void)state;
    char folder[] = "/tmp/weft-locale-XXXXXX", command[512];
    assert_non_null(mkdtemp(folder));
    snprintf(
        command, sizeof command,
        "printf 'LC_NUMERIC\\ndecimal_point \",\"\\nthousands_sep \".\"\\ngrouping 3;3\\nEND LC_NUMERIC\\n' >%s/source;"
        "localedef --no-archive -c -i %s/source -f ANSI_X3.4-1968 %s/comma >%s/log 2>&1; test -e %s/comma/LC_NUMERIC",
        folder, folder, folder, folder, folder);
    int made = system(command);
    setenv("LOCPATH", folder, 1);
    char *name = made == 0 ? setlocale(LC_NUMERIC, "comma") : NULL;
    snprintf(command, sizeof command, "rm -r %s", folder);
    assert_int_equal(system(command), 0);
    if (!name) {
        print_message("needs localedef to make a locale with a decimal comma\n");
        skip();
    }
    char digits[8];
    snprintf(digits, sizeof digits, "%g", -2.5);
    assert_string_equal(digits, "-2,5"); /* the locale does what it is here for */
    struct text text = {0};
    json_array_begin(&text, NULL);
    json_number(&text, NULL, -2.5);
    json_number(&text, NULL, 1.25e-7);
    json_number(&text, NULL, 1e300);
    json_number(&text, NULL, 7);
    json_array_end(&text);
    setlocale(LC_NUMERIC, "C");
    assert_json(&text, "[-2.5,1.25e-07,1e+300,7]");
}

static void nesting_too_deep_is_a_failure_not_an_overrun(void **state)
{
    (void)state;
    struct text text = {0};
    for (int i = 0; i < 1000; i++) json_array_begin(&text, NULL);
    for (int i = 0; i < 1000; i++) json_array_end(&text);
    assert_null(text_take(&text));

    for (int i = 0; i < 63; i++) json_array_begin(&text, NULL);
    for (int i = 0; i < 63; i++) json_array_end(&text);
    char *result = text_take(&text);
    assert_non_null(result);
    assert_true(json_is_valid(result));
    free(result);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_added_gives_an_empty_string),
        cmocka_unit_test(text_grows_to_any_length),
        cmocka_unit_test(one_addition_larger_than_the_capacity_is_kept_whole),
        cmocka_unit_test(taking_leaves_an_empty_text),
        cmocka_unit_test(a_failure_is_remembered_to_the_end),
        cmocka_unit_test(json_nests_with_keys_and_commas),
        cmocka_unit_test(strings_are_escaped),
        cmocka_unit_test(well_formed_utf8_passes_unchanged),
        cmocka_unit_test(bytes_that_are_no_utf8_are_replaced),
        cmocka_unit_test(any_bytes_make_valid_json),
        cmocka_unit_test(what_json_lacks_is_null),
        cmocka_unit_test(numbers_are_short_where_they_can_be),
        cmocka_unit_test(numbers_read_back_as_the_same_value),
        cmocka_unit_test(the_program_s_locale_changes_nothing),
        cmocka_unit_test(nesting_too_deep_is_a_failure_not_an_overrun),
    };
    return cmocka_run_group_tests_name("text", tests, NULL, NULL);
}
