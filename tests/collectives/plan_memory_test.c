/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every allocation fails once. What is called then says so and leaves nothing behind (the address sanitizer looks). The
 * program is linked with --wrap, so that allocations of the library come here first.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/collectives/plan_edit.h"

/* Allocations until one fails; below 0: none does. */
static long allocations_left = -1;

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *memory, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *memory, size_t size);

static bool allocation_fails(void)
{
    return allocations_left >= 0 && allocations_left-- == 0;
}

void *__wrap_malloc(size_t size)
{
    return allocation_fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    return allocation_fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *memory, size_t size)
{
    return allocation_fails() ? NULL : __real_realloc(memory, size);
}

/* Sets of ranks that are no run, an output read in another track, a barrier with `after`: all that takes memory. */
static const char star[] = "weft_plan 1\ncollective all_reduce\nalgorithm auto\nranks 4\nroot 0\nchannels 1\nslots 2\n"
                           "shares 1\n"
                           "rank 0\ntrack 0 channel 0 path 0 window 0 1 chunks 1\n"
                           "step 0 reduce chunk 0 final: slot 2, input, slot 1, slot 3 -> output\n"
                           "track 1 channel 0 path 0 window 0 1 chunks 1\n"
                           "step 0 put chunk 0 after 0 0: output -> slot 1, slot 2, slot 3\n"
                           "rank 1\ntrack 0 channel 0 path 0 window 0 1 chunks 1\n"
                           "step 0 put chunk 0: input -> slot 0\nstep 1 copy chunk 0: slot 0 -> output\n"
                           "track 1 channel 0 path 0 window 0 1 chunks 1\n"
                           "step 0 idle chunk 0: nothing -> nothing\n"
                           "rank 2\ntrack 0 channel 0 path 0 window 0 1 chunks 1\n"
                           "step 0 put chunk 0: input -> slot 0\nstep 1 copy chunk 0: slot 0 -> output\n"
                           "rank 3\ntrack 0 channel 0 path 0 window 0 1 chunks 1\n"
                           "step 0 put chunk 0: input -> slot 0\nstep 1 copy chunk 0: slot 0 -> output\n";

static const char readers[] =
    "weft_plan 1\ncollective broadcast\nalgorithm auto\nranks 1\nroot 0\nchannels 1\nslots 2\n"
    "shares 1\n"
    "rank 0\ntrack 0 channel 0 path 0 window 0 1 chunks 1\n"
    "step 0 wait chunk 0: input -> nothing\n"
    "track 1 channel 0 path 0 window 0 1 chunks 1\n"
    "step 0 wait chunk 0 after 0 0: input -> nothing\n"
    "track 2 channel 0 path 0 window 0 1 chunks 1\n"
    "step 0 copy chunk 0 after 1 0: input -> output\n";

/* Run @p call with its first, second, ... allocation failing, until it needs no more. Counts those. */
static uint32_t fail_in_turn(weft_status (*call)(void *subject), void *subject)
{
    for (long failing = 0;; failing++) {
        assert_true(failing < 10000);
        allocations_left = failing;
        weft_status status = call(subject);
        bool failed = allocations_left < 0;
        allocations_left = -1;
        assert_int_equal(status, failed ? WEFT_OUT_OF_MEMORY : WEFT_OK);
        if (!failed) return (uint32_t)failing;
    }
}

static weft_status call_verify(void *subject)
{
    return weft_plan_verify(subject, NULL);
}

static weft_status call_read(void *subject)
{
    weft_plan *plan = NULL;
    char error[256];
    weft_status status = weft_plan_read(subject, strlen(subject), &plan, error);
    assert_true((status == WEFT_OK) == (plan != NULL));
    weft_plan_destroy(plan);
    return status;
}

static weft_status call_print(void *subject)
{
    char *text = NULL;
    weft_status status = weft_plan_print(subject, WEFT_ALL_RANKS, WEFT_TEXT, &text);
    assert_true((status == WEFT_OK) == (text != NULL));
    free(text);
    return status;
}

static weft_status call_print_json(void *subject)
{
    char *text = NULL;
    weft_status status = weft_plan_print(subject, WEFT_ALL_RANKS, WEFT_JSON, &text);
    assert_true((status == WEFT_OK) == (text != NULL));
    free(text);
    return status;
}

static weft_status call_hash(void *subject)
{
    return weft_plan_hash(subject) ? WEFT_OK : WEFT_OUT_OF_MEMORY;
}

/* A plan over three trees of four ranks. */
static weft_status call_create(void *subject)
{
    static const uint32_t chain[4] = {0, 0, 1, 2}, spokes[4] = {3, 3, 3, 0}, other_way[4] = {0, 2, 0, 0};
    const weft_plan_tree trees[3] = {{0, chain, NULL, 1}, {3, spokes, NULL, 2}, {0, chain, other_way, 3}};
    const weft_plan_layout layout = {.size = sizeof layout, .trees = trees, .tree_count = 3};
    weft_plan_spec spec = *(const weft_plan_spec *)subject;
    spec.layout = &layout;
    weft_plan *plan = NULL;
    weft_status status = weft_plan_create(&spec, &plan);
    assert_true((status == WEFT_OK) == (plan != NULL));
    weft_plan_destroy(plan);
    return status;
}

static void ignore_load(void *context, const weft_plan_load *load)
{
    (void)context, (void)load;
}

static weft_status call_loads(void *subject)
{
    return weft_plan_loads(subject, ignore_load, NULL);
}

static void a_layout_without_memory_leaves_nothing(void **state)
{
    (void)state;
    weft_plan_spec spec = {.size = sizeof spec, .algorithm = WEFT_ALGORITHM_TREE, .rank_count = 4, .root = 0};
    spec.collective = WEFT_ALL_REDUCE;
    assert_true(fail_in_turn(call_create, &spec) > 0);
    spec.collective = WEFT_BROADCAST;
    spec.root = 2;
    assert_true(fail_in_turn(call_create, &spec) > 0);
}

static void running_out_of_memory_is_said_and_leaves_nothing(void **state)
{
    (void)state;
    struct weft_plan *plans[] = {
        plan_from_text(star),
        plan_from_text(readers),
        plan_make(WEFT_ALL_REDUCE, WEFT_ALGORITHM_RING, 5, 0, 2, 2),
        plan_make(WEFT_ALL_REDUCE, WEFT_ALGORITHM_TREE, 20, 0, 2, 2),
        plan_make(WEFT_BROADCAST, WEFT_ALGORITHM_TREE, 7, 3, 1, 2),
        plan_make(WEFT_BARRIER, WEFT_ALGORITHM_TREE, 9, 0, 1, 2),
        plan_make(WEFT_ALL_GATHER, WEFT_ALGORITHM_RING, 5, 0, 2, 2),
        plan_make(WEFT_ALL_TO_ALL, WEFT_ALGORITHM_DIRECT, 4, 0, 1, 2),
    };
    for (size_t i = 0; i < sizeof plans / sizeof plans[0]; i++) {
        assert_true(fail_in_turn(call_verify, plans[i]) > 0);
        assert_true(fail_in_turn(call_loads, plans[i]) > 0);
        assert_true(fail_in_turn(call_print, plans[i]) > 0);
        assert_true(fail_in_turn(call_print_json, plans[i]) > 0);
        assert_true(fail_in_turn(call_hash, plans[i]) > 0);
        char *text = NULL;
        assert_int_equal(weft_plan_print(plans[i], WEFT_ALL_RANKS, WEFT_TEXT, &text), WEFT_OK);
        assert_true(fail_in_turn(call_read, text) > 0);
        free(text);
        weft_plan_destroy(plans[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_layout_without_memory_leaves_nothing),
        cmocka_unit_test(running_out_of_memory_is_said_and_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
