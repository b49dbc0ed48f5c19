/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/arena.h"

static void memory_is_zeroed_aligned_and_disjoint(void **state)
{
    (void)state;
    struct arena arena = {0};
    unsigned char *pieces[1000];
    for (size_t i = 0; i < 1000; i++) {
        pieces[i] = arena_alloc(&arena, i, 7);
        assert_non_null(pieces[i]);
        assert_int_equal((uintptr_t)pieces[i] % 16, 0);
        for (size_t byte = 0; byte < 7 * i; byte++) assert_int_equal(pieces[i][byte], 0);
        memset(pieces[i], (int)(i % 255 + 1), 7 * i);
    }
    for (size_t i = 0; i < 1000; i++) {
        for (size_t byte = 0; byte < 7 * i; byte++) assert_int_equal(pieces[i][byte], i % 255 + 1);
    }
    arena_free(&arena);
}

static void a_size_of_zero_gives_distinct_valid_pointers(void **state)
{
    (void)state;
    struct arena arena = {0};
    void *first = arena_alloc(&arena, 0, 8), *second = arena_alloc(&arena, 8, 0);
    assert_non_null(first);
    assert_non_null(second);
    assert_ptr_not_equal(first, second);
    arena_free(&arena);
}

static void a_piece_larger_than_any_block_is_served(void **state)
{
    (void)state;
    struct arena arena = {0};
    unsigned char *large = arena_alloc(&arena, 1, 5 << 20);
    assert_non_null(large);
    large[0] = large[(5 << 20) - 1] = 1;
    assert_non_null(arena_alloc(&arena, 1, 1));
    arena_free(&arena);
}

static void overflow_is_out_of_memory(void **state)
{
    (void)state;
    struct arena arena = {0};
    assert_null(arena_alloc(&arena, SIZE_MAX, 2));
    assert_null(arena_alloc(&arena, SIZE_MAX / 2 + 1, 2));
    for (size_t below = 0; below < 64; below++) assert_null(arena_alloc(&arena, SIZE_MAX - below, 1));
    assert_non_null(arena_alloc(&arena, 1, 1));
    arena_free(&arena);
}

static void a_freed_arena_is_empty_and_ready(void **state)
{
    (void)state;
    struct arena arena = {0};
    arena_free(&arena);
    assert_string_equal(arena_strdup(&arena, "text"), "text");
    arena_free(&arena);
    assert_null(arena.blocks);
    assert_string_equal(arena_strdup(&arena, ""), "");
    arena_free(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_is_zeroed_aligned_and_disjoint),
        cmocka_unit_test(a_size_of_zero_gives_distinct_valid_pointers),
        cmocka_unit_test(a_piece_larger_than_any_block_is_served),
        cmocka_unit_test(overflow_is_out_of_memory),
        cmocka_unit_test(a_freed_arena_is_empty_and_ready),
    };
    return cmocka_run_group_tests_name("arena", tests, NULL, NULL);
}
