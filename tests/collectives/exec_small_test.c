/* SPDX-License-Identifier: Apache-2.0 */
/* Small calls that need no operation, and those that come to need one. Both ranks are this thread's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/collectives/exec_scene_shm.h"

enum { SMALL = 5, MEDIUM = 400, LARGE = 64 << 10 };

/* Both ranks have done an operation, so that one is idle. */
static struct scene *calls_begin(weft_collective collective)
{
    struct scene *scene = shm_scene_open(collective);
    assert_int_equal(scene_call(scene, 0, SMALL), WEFT_UNSUPPORTED);
    for (uint32_t rank = 0; rank < SCENE_RANKS; rank++) scene_post(scene, rank, SMALL);
    (void)scene_advance(scene, 0);
    assert_int_equal(scene_advance(scene, 1), WEFT_OK);
    assert_int_equal(scene_advance(scene, 0), WEFT_OK);
    return scene;
}

static void assert_summed(struct scene *scene, uint64_t count)
{
    for (uint32_t rank = 0; rank < SCENE_RANKS; rank++) {
        int64_t *recv = scene->ranks[rank].recv;
        for (uint64_t k = 0; k < count; k++) assert_int_equal(recv[k], 3 * (int64_t)k);
        memset(recv, 0xff, count * sizeof *recv);
    }
}

/* Whoever comes second finds all there. */
static void only_the_first_to_come_needs_an_operation(void **state)
{
    (void)state;
    static const uint64_t counts[] = {1, SMALL, MEDIUM};
    struct scene *scene = calls_begin(WEFT_ALL_REDUCE);
    for (uint32_t round = 0; round < 60; round++) {
        const uint32_t first = round / 3 % SCENE_RANKS;
        const uint64_t count = counts[round % 3];
        assert_int_equal(scene_call(scene, first, count), WEFT_IN_PROGRESS);
        assert_int_equal(scene_call(scene, 1 - first, count), WEFT_OK);
        assert_null(scene->ranks[1 - first].operation);
        assert_int_equal(scene_advance(scene, first), WEFT_OK);
        assert_summed(scene, count);
    }
    shm_scene_close(scene);
}

static void a_root_needs_none_while_there_is_room(void **state)
{
    (void)state;
    struct scene *scene = calls_begin(WEFT_BROADCAST);
    for (uint32_t round = 0; round < 10; round++) {
        for (uint32_t i = 0; i < LANE_CELLS; i++) assert_int_equal(scene_call(scene, 0, SMALL), WEFT_OK);
        assert_int_equal(scene_call(scene, 0, SMALL), WEFT_UNSUPPORTED);
        for (uint32_t i = 0; i < LANE_CELLS; i++) assert_int_equal(scene_call(scene, 1, SMALL), WEFT_OK);
        assert_memory_equal(scene->ranks[1].recv, scene->ranks[0].send, SMALL * sizeof(int64_t));
    }
    shm_scene_close(scene);
}

static void one_waits_for_what_is_under_way(void **state)
{
    (void)state;
    struct scene *scene = calls_begin(WEFT_ALL_REDUCE);
    scene_post(scene, 0, SMALL);
    assert_int_equal(scene_call(scene, 0, SMALL), WEFT_UNSUPPORTED);
    assert_int_equal(scene_advance(scene, 0), WEFT_IN_PROGRESS);
    assert_int_equal(scene_call(scene, 0, SMALL), WEFT_UNSUPPORTED);
    assert_int_equal(scene_call(scene, 1, SMALL), WEFT_OK);
    assert_int_equal(scene_advance(scene, 0), WEFT_OK);
    assert_summed(scene, SMALL);
    shm_scene_close(scene);
}

static void what_is_large_needs_an_operation(void **state)
{
    (void)state;
    struct scene *scene = calls_begin(WEFT_ALL_REDUCE);
    assert_int_equal(scene_call(scene, 0, LARGE), WEFT_UNSUPPORTED);
    assert_int_equal(scene_call(scene, 0, EXCHANGE_BYTES / sizeof(int64_t) + 1), WEFT_UNSUPPORTED);
    shm_scene_close(scene);
}

static void another_operation_is_a_mismatch_for_both(void **state)
{
    (void)state;
    struct scene *scene = calls_begin(WEFT_ALL_REDUCE);
    scene->ranks[1].check++;
    for (uint32_t rank = 0; rank < SCENE_RANKS; rank++)
        assert_int_equal(scene_call(scene, rank, SMALL), WEFT_IN_PROGRESS);
    for (uint32_t rank = 0; rank < SCENE_RANKS; rank++) assert_int_equal(scene_advance(scene, rank), WEFT_MISMATCH);
    shm_scene_close(scene);
}

/* Who comes first, and who comes second, with an operation and without one. */
static void calls_and_operations_meet(void **state)
{
    (void)state;
    struct scene *scene = calls_begin(WEFT_ALL_REDUCE);
    for (uint32_t round = 0; round < 200; round++) {
        const uint32_t first = round & 1;
        const uint64_t count = 1 + round % 12;
        if (round & 2) {
            scene_post(scene, first, count);
            assert_int_equal(scene_advance(scene, first), WEFT_IN_PROGRESS);
        } else {
            assert_int_equal(scene_call(scene, first, count), WEFT_IN_PROGRESS);
        }
        if (round & 4)
            scene_post(scene, 1 - first, count);
        else
            assert_int_equal(scene_call(scene, 1 - first, count), WEFT_OK);
        if (round & 4) assert_int_equal(scene_advance(scene, 1 - first), WEFT_OK);
        assert_int_equal(scene_advance(scene, first), WEFT_OK);
        assert_summed(scene, count);
    }
    shm_scene_close(scene);
}

/* It left its cell here, and this rank knows that it is gone before it comes to look. */
static void a_root_that_has_left_is_not_missed(void **state)
{
    (void)state;
    struct scene *scene = calls_begin(WEFT_BROADCAST);
    struct scene_rank *other = &scene->ranks[1];
    assert_int_equal(scene_call(scene, 0, SMALL), WEFT_OK);
    scene_leave(scene, 0);
    while (other->engine->connected_count > 0) engine_poll(other->engine, 1);
    scene_post(scene, 1, SMALL);
    assert_int_equal(scene_advance(scene, 1), WEFT_OK);
    assert_memory_equal(other->recv, scene->ranks[0].send, SMALL * sizeof(int64_t));
    /* Of another one nothing has come. */
    scene_post(scene, 1, SMALL);
    assert_int_equal(scene_advance(scene, 1), WEFT_PEER_FAILED);
    shm_scene_close(scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_the_first_to_come_needs_an_operation),
        cmocka_unit_test(a_root_needs_none_while_there_is_room),
        cmocka_unit_test(one_waits_for_what_is_under_way),
        cmocka_unit_test(what_is_large_needs_an_operation),
        cmocka_unit_test(another_operation_is_a_mismatch_for_both),
        cmocka_unit_test(calls_and_operations_meet),
        cmocka_unit_test(a_root_that_has_left_is_not_missed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
