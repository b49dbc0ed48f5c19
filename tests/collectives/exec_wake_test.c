/* SPDX-License-Identifier: Apache-2.0 */
/* Cells and shared memory: a rank that sleeps is woken by what it waits for. Both ranks are this thread's. */
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/collectives/exec_scene_shm.h"

enum { SMALL = 8, LARGE = 64 << 10 };

/* Fall asleep as comm/wait.c does. The descriptor: nothing has made it readable. */
static int sleep_begin(struct scene *scene, uint32_t rank)
{
    int fd = -1;
    assert_int_equal(endpoint_arm(scene->ranks[rank].endpoint, &fd), WEFT_OK);
    assert_false(engine_exchange_is_due(scene->ranks[rank].engine));
    assert_int_equal(poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, 0), 0);
    return fd;
}

static void assert_woken(struct scene *scene, uint32_t rank, int fd)
{
    assert_int_equal(poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, 0), 1);
    engine_poll(scene->ranks[rank].engine, 0);
}

static void a_cell_wakes_its_receiver(void **state)
{
    (void)state;
    struct scene *scene = shm_scene_open(WEFT_BROADCAST);
    scene_post(scene, 1, SMALL);
    assert_int_equal(scene_advance(scene, 1), WEFT_IN_PROGRESS);
    int fd = sleep_begin(scene, 1);
    scene_post(scene, 0, SMALL);
    assert_int_equal(scene_advance(scene, 0), WEFT_OK);
    assert_woken(scene, 1, fd);
    assert_int_equal(scene_advance(scene, 1), WEFT_OK);
    assert_memory_equal(scene->ranks[1].recv, scene->ranks[0].send, SMALL * sizeof(int64_t));
    shm_scene_close(scene);
}

/* Who only sends has no cell to wait for: what its receivers say they are done with has to wake it. */
static void room_wakes_a_root(void **state)
{
    (void)state;
    struct scene *scene = shm_scene_open(WEFT_BROADCAST);
    for (uint32_t i = 0; i < LANE_CELLS; i++) {
        scene_post(scene, 0, SMALL);
        assert_int_equal(scene_advance(scene, 0), WEFT_OK);
    }
    scene_post(scene, 0, SMALL);
    assert_int_equal(scene_advance(scene, 0), WEFT_IN_PROGRESS);
    int fd = sleep_begin(scene, 0);
    scene_post(scene, 1, SMALL);
    assert_int_equal(scene_advance(scene, 1), WEFT_OK);
    assert_woken(scene, 0, fd);
    assert_int_equal(scene_advance(scene, 0), WEFT_OK);
    shm_scene_close(scene);
}

static void returned_loans_wake_their_lender(void **state)
{
    (void)state;
    struct scene *scene = shm_scene_open(WEFT_ALL_REDUCE);
    for (uint32_t rank = 0; rank < SCENE_RANKS; rank++) scene_post(scene, rank, LARGE);
    assert_int_equal(scene_advance(scene, 0), WEFT_IN_PROGRESS);
    assert_int_equal(scene_advance(scene, 1), WEFT_IN_PROGRESS); /* has done its half */
    assert_int_equal(scene_advance(scene, 0), WEFT_OK);          /* so has this one */
    scene_post(scene, 0, LARGE);
    assert_int_equal(scene_advance(scene, 1), WEFT_OK);
    scene_post(scene, 1, LARGE);
    assert_int_equal(scene_advance(scene, 1), WEFT_IN_PROGRESS); /* has lent */
    assert_int_equal(scene_advance(scene, 0), WEFT_IN_PROGRESS); /* has done its half, and waits */
    int fd = sleep_begin(scene, 0);
    assert_int_equal(scene_advance(scene, 1), WEFT_OK);
    assert_woken(scene, 0, fd);
    assert_int_equal(scene_advance(scene, 0), WEFT_OK);
    shm_scene_close(scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_cell_wakes_its_receiver),
        cmocka_unit_test(room_wakes_a_root),
        cmocka_unit_test(returned_loans_wake_their_lender),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
