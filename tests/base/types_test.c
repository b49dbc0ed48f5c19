/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <weft/types.h>

#include <cmocka.h>

static const weft_status statuses[] = {
    WEFT_OK,         WEFT_IN_PROGRESS,    WEFT_INVALID_ARGUMENT, WEFT_UNSUPPORTED,    WEFT_INVALID_STATE,
    WEFT_BAD_FORMAT, WEFT_INVALID_PLAN,   WEFT_OUT_OF_MEMORY,    WEFT_RESOURCE_LIMIT, WEFT_AGAIN,
    WEFT_LINK_DOWN,  WEFT_PEER_FAILED,    WEFT_PEER_REFUSED,     WEFT_MISMATCH,       WEFT_DEADLINE_EXCEEDED,
    WEFT_REVOKED,    WEFT_PROTOCOL_ERROR, WEFT_SYSTEM_ERROR,
};
enum { STATUS_COUNT = sizeof statuses / sizeof statuses[0] };

static void every_status_has_a_name_and_a_sentence_of_its_own(void **state)
{
    (void)state;
    for (int i = 0; i < STATUS_COUNT; i++) {
        const char *name = weft_status_name(statuses[i]), *text = weft_status_text(statuses[i]);
        assert_string_not_equal(name, "unknown");
        assert_int_equal(strspn(name, "abcdefghijklmnopqrstuvwxyz_"), strlen(name));
        assert_int_equal(text[strlen(text) - 1], '.');
        for (int j = 0; j < i; j++) {
            assert_string_not_equal(name, weft_status_name(statuses[j]));
            assert_string_not_equal(text, weft_status_text(statuses[j]));
        }
    }
    assert_string_equal(weft_status_name(WEFT_PEER_FAILED), "peer_failed");
}

static void a_status_from_elsewhere_is_still_answered(void **state)
{
    (void)state;
    assert_string_equal(weft_status_name((weft_status)99), "unknown");
    assert_non_null(weft_status_text((weft_status)-1));
    assert_int_equal(weft_status_group((weft_status)399), WEFT_GROUP_LINK);
    assert_int_equal(weft_status_group((weft_status)700), WEFT_GROUP_COMMUNICATOR);
    assert_int_equal(weft_status_group((weft_status)-1), WEFT_GROUP_COMMUNICATOR);
}

static void groups_say_what_to_rebuild(void **state)
{
    (void)state;
    assert_int_equal(weft_status_group(WEFT_OK), WEFT_GROUP_OK);
    assert_int_equal(weft_status_group(WEFT_IN_PROGRESS), WEFT_GROUP_OK);
    assert_int_equal(weft_status_group(WEFT_INVALID_PLAN), WEFT_GROUP_ARGUMENT);
    assert_int_equal(weft_status_group(WEFT_AGAIN), WEFT_GROUP_RESOURCE);
    assert_int_equal(weft_status_group(WEFT_LINK_DOWN), WEFT_GROUP_LINK);
    assert_int_equal(weft_status_group(WEFT_PEER_REFUSED), WEFT_GROUP_PEER);
    assert_int_equal(weft_status_group(WEFT_SYSTEM_ERROR), WEFT_GROUP_COMMUNICATOR);
}

static void names_read_back_as_what_they_name(void **state)
{
    (void)state;
    for (int i = 0; i < WEFT_DTYPE_COUNT; i++) {
        weft_dtype dtype = WEFT_DTYPE_COUNT;
        assert_int_equal(weft_dtype_parse(weft_dtype_name((weft_dtype)i), &dtype), WEFT_OK);
        assert_int_equal(dtype, i);
    }
    for (int i = 0; i < WEFT_OP_COUNT; i++) {
        weft_op op = WEFT_OP_COUNT;
        assert_int_equal(weft_op_parse(weft_op_name((weft_op)i), &op), WEFT_OK);
        assert_int_equal(op, i);
    }
    for (int i = 0; i < WEFT_ALGORITHM_COUNT; i++) {
        weft_algorithm algorithm = WEFT_ALGORITHM_COUNT;
        assert_int_equal(weft_algorithm_parse(weft_algorithm_name((weft_algorithm)i), &algorithm), WEFT_OK);
        assert_int_equal(algorithm, i);
    }
    assert_string_equal(weft_dtype_name(WEFT_BFLOAT16), "bfloat16");
    assert_string_equal(weft_dtype_name(WEFT_FLOAT8_E5M2), "float8_e5m2");
    assert_string_equal(weft_op_name(WEFT_AVG), "avg");
    assert_string_equal(weft_op_name(WEFT_PREMUL_SUM), "premul_sum");
    assert_string_equal(weft_algorithm_name(WEFT_ALGORITHM_TREE), "tree");
    assert_string_equal(weft_collective_name(WEFT_ALL_REDUCE), "all_reduce");
    assert_string_equal(weft_collective_name(WEFT_BROADCAST), "broadcast");
    assert_string_equal(weft_collective_name(WEFT_BARRIER), "barrier");
}

static void a_wrong_name_is_an_invalid_argument_and_changes_nothing(void **state)
{
    (void)state;
    const char *const wrong[] = {"", "float", "Float32", "float32 ", "unknown", NULL};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        weft_dtype dtype = WEFT_INT32;
        weft_op op = WEFT_MAX;
        weft_algorithm algorithm = WEFT_ALGORITHM_RING;
        assert_int_equal(weft_dtype_parse(wrong[i], &dtype), WEFT_INVALID_ARGUMENT);
        assert_int_equal(weft_op_parse(wrong[i], &op), WEFT_INVALID_ARGUMENT);
        assert_int_equal(weft_algorithm_parse(wrong[i], &algorithm), WEFT_INVALID_ARGUMENT);
        assert_int_equal(dtype, WEFT_INT32);
        assert_int_equal(op, WEFT_MAX);
        assert_int_equal(algorithm, WEFT_ALGORITHM_RING);
    }
}

static void out_of_range_is_unknown_and_has_no_size(void **state)
{
    (void)state;
    const int outside[] = {-1, 1000};
    for (int i = 0; i < 2; i++) {
        assert_string_equal(weft_dtype_name((weft_dtype)outside[i]), "unknown");
        assert_string_equal(weft_op_name((weft_op)outside[i]), "unknown");
        assert_string_equal(weft_collective_name((weft_collective)outside[i]), "unknown");
        assert_string_equal(weft_algorithm_name((weft_algorithm)outside[i]), "unknown");
        assert_int_equal(weft_dtype_size((weft_dtype)outside[i]), 0);
    }
    assert_int_equal(weft_dtype_size(WEFT_DTYPE_COUNT), 0);
}

static void sizes_are_those_of_the_formats(void **state)
{
    (void)state;
    assert_int_equal(weft_dtype_size(WEFT_FLOAT32), 4);
    assert_int_equal(weft_dtype_size(WEFT_FLOAT64), 8);
    assert_int_equal(weft_dtype_size(WEFT_FLOAT16), 2);
    assert_int_equal(weft_dtype_size(WEFT_BFLOAT16), 2);
    assert_int_equal(weft_dtype_size(WEFT_INT32), 4);
    assert_int_equal(weft_dtype_size(WEFT_INT64), 8);
    assert_int_equal(weft_dtype_size(WEFT_INT8), 1);
    assert_int_equal(weft_dtype_size(WEFT_UINT8), 1);
    assert_int_equal(weft_dtype_size(WEFT_UINT32), 4);
    assert_int_equal(weft_dtype_size(WEFT_UINT64), 8);
    assert_int_equal(weft_dtype_size(WEFT_FLOAT8_E4M3), 1);
    assert_int_equal(weft_dtype_size(WEFT_FLOAT8_E5M2), 1);
}

static void the_version_is_that_of_the_header(void **state)
{
    (void)state;
    char expected[32];
    snprintf(expected, sizeof expected, "%d.%d.%d", WEFT_VERSION_MAJOR, WEFT_VERSION_MINOR, WEFT_VERSION_PATCH);
    assert_string_equal(weft_version(), expected);
    assert_string_equal(weft_version(), PROJECT_VERSION); /* that of CMakeLists.txt, which names the library file */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_status_has_a_name_and_a_sentence_of_its_own),
        cmocka_unit_test(a_status_from_elsewhere_is_still_answered),
        cmocka_unit_test(groups_say_what_to_rebuild),
        cmocka_unit_test(names_read_back_as_what_they_name),
        cmocka_unit_test(a_wrong_name_is_an_invalid_argument_and_changes_nothing),
        cmocka_unit_test(out_of_range_is_unknown_and_has_no_size),
        cmocka_unit_test(sizes_are_those_of_the_formats),
        cmocka_unit_test(the_version_is_that_of_the_header),
    };
    return cmocka_run_group_tests_name("types", tests, NULL, NULL);
}
