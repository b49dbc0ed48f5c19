/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"

static void fields_are_little_endian_at_any_alignment(void **state)
{
    (void)state;
    const uint8_t expected[] = {0x02, 0x01, 0x06, 0x05, 0x04, 0x83, 0xf8, 0xa7, 0x16, 0x05, 0x04, 0x03, 0x02, 0x81};
    for (size_t offset = 0; offset < 8; offset++) {
        uint8_t buffer[24] = {0};
        uint8_t *at = buffer + offset;
        bytes_put_u16(at, 0x0102);
        bytes_put_u32(at + 2, 0x83040506);
        bytes_put_u64(at + 6, UINT64_C(0x810203040516a7f8));
        assert_memory_equal(at, expected, sizeof expected);
        assert_int_equal(bytes_get_u16(at), 0x0102);
        assert_int_equal(bytes_get_u32(at + 2), 0x83040506);
        assert_true(bytes_get_u64(at + 6) == UINT64_C(0x810203040516a7f8));
    }
}

/* Vectors of the FNV reference distribution. */
static void the_hash_is_fnv_1a(void **state)
{
    (void)state;
    assert_true(bytes_hash(BYTES_HASH_START, "", 0) == UINT64_C(0xcbf29ce484222325));
    assert_true(bytes_hash(BYTES_HASH_START, "a", 1) == UINT64_C(0xaf63dc4c8601ec8c));
    assert_true(bytes_hash(BYTES_HASH_START, "foobar", 6) == UINT64_C(0x85944171f73967e8));
}

static void a_chained_hash_equals_the_hash_of_the_whole(void **state)
{
    (void)state;
    uint64_t parts = bytes_hash(bytes_hash(BYTES_HASH_START, "foo", 3), "bar", 3);
    assert_true(parts == bytes_hash(BYTES_HASH_START, "foobar", 6));
}

static void multiplication_says_when_it_overflows(void **state)
{
    (void)state;
    size_t result = 7;
    assert_false(size_multiply(SIZE_MAX, 2, &result));
    assert_false(size_multiply(SIZE_MAX / 3 + 1, 3, &result));
    assert_int_equal(result, 7);
    assert_true(size_multiply(SIZE_MAX / 3, 3, &result));
    assert_true(result == SIZE_MAX / 3 * 3);
    assert_true(size_multiply(0, SIZE_MAX, &result));
    assert_int_equal(result, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fields_are_little_endian_at_any_alignment),
        cmocka_unit_test(the_hash_is_fnv_1a),
        cmocka_unit_test(a_chained_hash_equals_the_hash_of_the_whole),
        cmocka_unit_test(multiplication_says_when_it_overflows),
    };
    return cmocka_run_group_tests_name("bytes", tests, NULL, NULL);
}
