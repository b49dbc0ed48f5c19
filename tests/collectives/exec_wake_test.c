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

#include "collectives/exec/exec_internal.h"
#include "tests/transport/pairs.h"
#include "transport/shm/shm.h"

enum { RANKS = 2, SMALL = 8, LARGE = 64 << 10, TURNS = 1000 };

struct rank {
    struct endpoint *endpoint;
    struct engine *engine;
    struct binding *binding;
    struct operation *operation;
    float send[LARGE], recv[LARGE];
};

struct scene {
    struct pairs pairs;
    weft_plan *plan;
    struct rank ranks[RANKS];
};

static struct scene *scene_create(weft_collective collective)
{
    struct scene *scene = calloc(1, sizeof *scene);
    const weft_plan_spec spec = {.size = sizeof spec,
                                 .collective = collective,
                                 .algorithm = WEFT_ALGORITHM_DIRECT,
                                 .rank_count = RANKS,
                                 .slot_depth = 4};
    assert_non_null(scene);
    pairs_init(&scene->pairs);
    assert_int_equal(weft_plan_create(&spec, &scene->plan), WEFT_OK);
    for (uint32_t i = 0; i < RANKS; i++) {
        struct rank *rank = &scene->ranks[i];
        const struct shm_config shm = {.rank = i, .rank_count = RANKS};
        assert_int_equal(shm_endpoint_create(&shm, pairs_rendezvous(&scene->pairs, i), &rank->endpoint, NULL), WEFT_OK);
        const struct engine_config config = {.endpoint = rank->endpoint,
                                             .rank = i,
                                             .rank_count = RANKS,
                                             .channel_limit = 4,
                                             .slot_depth = 4,
                                             .slot_bytes = 4096,
                                             .exchanges = true};
        assert_int_equal(engine_create(&config, &rank->engine), WEFT_OK);
        assert_int_equal(binding_create(rank->engine, scene->plan, 0, &rank->binding), WEFT_OK);
        for (int k = 0; k < LARGE; k++) rank->send[k] = (float)(k % 100);
    }
    for (int i = 0; i < TURNS && (!scene->ranks[0].engine->connected_count || !scene->ranks[1].engine->connected_count);
         i++)
        engine_poll(scene->ranks[i % RANKS].engine, 0);
    assert_int_equal(scene->ranks[0].engine->connected_count, 1);
    return scene;
}

static void scene_destroy(struct scene *scene)
{
    for (uint32_t i = 0; i < RANKS; i++) {
        if (scene->ranks[i].operation) operation_free(scene->ranks[i].operation);
        engine_destroy(scene->ranks[i].engine);
        binding_destroy(scene->ranks[i].binding);
        endpoint_destroy(scene->ranks[i].endpoint);
    }
    weft_plan_destroy(scene->plan);
    pairs_close(&scene->pairs);
    free(scene);
}

static void post(struct scene *scene, uint32_t rank, uint64_t count)
{
    struct rank *self = &scene->ranks[rank];
    const struct operation_call call = {.send = self->send,
                                        .recv = self->recv,
                                        .count = count,
                                        .dtype = WEFT_FLOAT32,
                                        .op = WEFT_SUM,
                                        .divisor = 1,
                                        .slice_bytes = 4096,
                                        .check = 77};
    if (self->operation) operation_free(self->operation);
    assert_int_equal(operation_start(self->engine, self->binding, &call, &self->operation), WEFT_OK);
}

static weft_status advance(struct scene *scene, uint32_t rank)
{
    bool moved = false;
    return operation_advance(scene->ranks[rank].operation, &moved);
}

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
    struct scene *scene = scene_create(WEFT_BROADCAST);
    post(scene, 1, SMALL);
    assert_int_equal(advance(scene, 1), WEFT_IN_PROGRESS);
    int fd = sleep_begin(scene, 1);
    post(scene, 0, SMALL);
    assert_int_equal(advance(scene, 0), WEFT_OK);
    assert_woken(scene, 1, fd);
    assert_int_equal(advance(scene, 1), WEFT_OK);
    assert_memory_equal(scene->ranks[1].recv, scene->ranks[0].send, SMALL * sizeof(float));
    scene_destroy(scene);
}

/* Who only sends has no cell to wait for: what its receivers say they are done with has to wake it. */
static void room_wakes_a_root(void **state)
{
    (void)state;
    struct scene *scene = scene_create(WEFT_BROADCAST);
    for (uint32_t i = 0; i < LANE_CELLS; i++) {
        post(scene, 0, SMALL);
        assert_int_equal(advance(scene, 0), WEFT_OK);
    }
    post(scene, 0, SMALL);
    assert_int_equal(advance(scene, 0), WEFT_IN_PROGRESS);
    int fd = sleep_begin(scene, 0);
    post(scene, 1, SMALL);
    assert_int_equal(advance(scene, 1), WEFT_OK);
    assert_woken(scene, 0, fd);
    assert_int_equal(advance(scene, 0), WEFT_OK);
    scene_destroy(scene);
}

static void returned_loans_wake_their_lender(void **state)
{
    (void)state;
    struct scene *scene = scene_create(WEFT_ALL_REDUCE);
    for (uint32_t rank = 0; rank < RANKS; rank++) post(scene, rank, LARGE);
    assert_int_equal(advance(scene, 0), WEFT_IN_PROGRESS);
    assert_int_equal(advance(scene, 1), WEFT_IN_PROGRESS); /* has done its half */
    assert_int_equal(advance(scene, 0), WEFT_OK);          /* so has this one */
    post(scene, 0, LARGE);
    assert_int_equal(advance(scene, 1), WEFT_OK);
    post(scene, 1, LARGE);
    assert_int_equal(advance(scene, 1), WEFT_IN_PROGRESS); /* has lent */
    assert_int_equal(advance(scene, 0), WEFT_IN_PROGRESS); /* has done its half, and waits */
    int fd = sleep_begin(scene, 0);
    assert_int_equal(advance(scene, 1), WEFT_OK);
    assert_woken(scene, 0, fd);
    assert_int_equal(advance(scene, 0), WEFT_OK);
    scene_destroy(scene);
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
