/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/collectives/exec_scene.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

enum { SLOT_BYTES = 4096, SLOT_DEPTH = 4, CONNECT_TURNS = 10000 };

static void rank_open(struct scene_rank *rank, uint32_t number, const struct scene_setting *setting,
                      const struct scene *scene)
{
    rank->endpoint = setting->endpoint_open(scene->network, number);
    const struct engine_config config = {.endpoint = rank->endpoint,
                                         .rank = number,
                                         .rank_count = SCENE_RANKS,
                                         .channel_limit = 4,
                                         .slot_depth = SLOT_DEPTH,
                                         .slot_bytes = SLOT_BYTES,
                                         .exchanges = true,
                                         .shares_processors = setting->shares_processors,
                                         .clock_ns = setting->clocks[number]};
    assert_int_equal(engine_create(&config, &rank->engine), WEFT_OK);
    assert_int_equal(binding_create(rank->engine, scene->plan, 0, &rank->binding), WEFT_OK);
    rank->check = 77;
    for (int64_t k = 0; k < SCENE_COUNT; k++) rank->send[k] = k * (number + 1);
}

struct scene *scene_open(const struct scene_setting *setting, void *network)
{
    const weft_plan_spec spec = {.size = sizeof spec,
                                 .collective = setting->collective,
                                 .algorithm = WEFT_ALGORITHM_DIRECT,
                                 .rank_count = SCENE_RANKS,
                                 .slot_depth = SLOT_DEPTH};
    struct scene *scene = calloc(1, sizeof *scene);
    assert_non_null(scene);
    scene->network = network;
    assert_int_equal(weft_plan_create(&spec, &scene->plan), WEFT_OK);
    for (uint32_t i = 0; i < SCENE_RANKS; i++) rank_open(&scene->ranks[i], i, setting, scene);
    for (uint32_t i = 0; i < CONNECT_TURNS; i++)
        engine_poll(scene->ranks[i % SCENE_RANKS].engine, setting->network_step(network));
    for (uint32_t i = 0; i < SCENE_RANKS; i++) assert_int_equal(scene->ranks[i].engine->connected_count, 1);
    return scene;
}

void scene_leave(struct scene *scene, uint32_t rank)
{
    struct scene_rank *self = &scene->ranks[rank];
    if (self->operation) operation_free(self->operation);
    engine_destroy(self->engine);
    binding_destroy(self->binding);
    endpoint_destroy(self->endpoint);
    self->operation = NULL;
    self->engine = NULL;
    self->binding = NULL;
    self->endpoint = NULL;
}

void scene_close(struct scene *scene)
{
    for (uint32_t i = 0; i < SCENE_RANKS; i++) scene_leave(scene, i);
    weft_plan_destroy(scene->plan);
    free(scene);
}

static struct operation_call call_of(const struct scene *scene, uint32_t rank, uint64_t count)
{
    return (struct operation_call){.send = scene->ranks[rank].send,
                                   .recv = (void *)scene->ranks[rank].recv,
                                   .count = count,
                                   .dtype = WEFT_INT64,
                                   .op = WEFT_SUM,
                                   .divisor = 1,
                                   .slice_bytes = SLOT_BYTES,
                                   .check = scene->ranks[rank].check,
                                   .steps_when_near = scene->steps_when_near};
}

static void operation_forget(struct scene_rank *rank)
{
    if (rank->operation) operation_free(rank->operation);
    rank->operation = NULL;
}

void scene_post(struct scene *scene, uint32_t rank, uint64_t count)
{
    struct scene_rank *self = &scene->ranks[rank];
    const struct operation_call call = call_of(scene, rank, count);
    operation_forget(self);
    assert_int_equal(operation_start(self->engine, self->binding, &call, &self->operation), WEFT_OK);
}

weft_status scene_call(struct scene *scene, uint32_t rank, uint64_t count)
{
    struct scene_rank *self = &scene->ranks[rank];
    const struct operation_call call = call_of(scene, rank, count);
    if (self->operation && self->operation->status != WEFT_IN_PROGRESS) operation_forget(self);
    struct small small;
    if (!small_prepare(self->binding, &call, &small) || !small_may_run(self->engine) || !small_begin(&small))
        return WEFT_UNSUPPORTED;
    return small_end(&small, (struct patience){.looks = 3, .paused_looks = 1}, &self->operation);
}

weft_status scene_advance(struct scene *scene, uint32_t rank)
{
    bool moved = false;
    return operation_advance(scene->ranks[rank].operation, &moved);
}
