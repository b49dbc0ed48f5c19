/* SPDX-License-Identifier: Apache-2.0 */
/* Rounds among ranks that share memory: who gives up, and who writes nonsense into a cell. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "collectives/exec/exec_internal.h"
#include "transport/sim/sim.h"

enum { RANKS = 2, LARGE = 512 << 10, SMALL = 8, TURNS = 10000 };

struct rank {
    struct endpoint *endpoint;
    struct engine *engine;
    struct binding *binding;
    struct operation *operation;
    int64_t send[LARGE], recv[LARGE];
};

struct scene {
    struct sim_fabric *fabric;
    weft_plan *plan;
    struct rank ranks[RANKS];
};

static void turn(struct scene *scene, uint32_t rank)
{
    engine_poll(scene->ranks[rank].engine, sim_now_ns(scene->fabric));
    sim_step(scene->fabric);
}

static struct scene *scene_create(enum sim_lending lending)
{
    struct scene *scene = calloc(1, sizeof *scene);
    const struct sim_config sim = {
        .rank_count = RANKS, .latency_ns = 100, .bytes_per_s = 1e9, .path_count = 1, .maps = true, .lending = lending};
    const weft_plan_spec spec = {.size = sizeof spec,
                                 .collective = WEFT_ALL_REDUCE,
                                 .algorithm = WEFT_ALGORITHM_DIRECT,
                                 .rank_count = RANKS,
                                 .slot_depth = 4};
    assert_int_equal(sim_fabric_create(&sim, &scene->fabric), WEFT_OK);
    assert_int_equal(weft_plan_create(&spec, &scene->plan), WEFT_OK);
    for (uint32_t i = 0; i < RANKS; i++) {
        struct rank *rank = &scene->ranks[i];
        assert_int_equal(sim_endpoint_create(scene->fabric, i, &rank->endpoint), WEFT_OK);
        const struct engine_config config = {.endpoint = rank->endpoint,
                                             .rank = i,
                                             .rank_count = RANKS,
                                             .channel_limit = 4,
                                             .slot_depth = 4,
                                             .slot_bytes = 4096,
                                             .exchanges = true};
        assert_int_equal(engine_create(&config, &rank->engine), WEFT_OK);
        assert_int_equal(binding_create(rank->engine, scene->plan, 0, &rank->binding), WEFT_OK);
        for (int64_t k = 0; k < LARGE; k++) rank->send[k] = k * (i + 1);
    }
    for (int i = 0;
         i < TURNS && (scene->ranks[0].engine->connected_count == 0 || scene->ranks[1].engine->connected_count == 0);
         i++)
        turn(scene, (uint32_t)i % RANKS);
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
    sim_fabric_destroy(scene->fabric);
    free(scene);
}

static void post(struct scene *scene, uint32_t rank, uint64_t count)
{
    struct rank *self = &scene->ranks[rank];
    const struct operation_call call = {.send = self->send,
                                        .recv = self->recv,
                                        .count = count,
                                        .dtype = WEFT_INT64,
                                        .op = WEFT_SUM,
                                        .divisor = 1,
                                        .slice_bytes = 4096,
                                        .check = 77};
    assert_int_equal(operation_start(self->engine, self->binding, &call, &self->operation), WEFT_OK);
}

static weft_status advance(struct scene *scene, uint32_t rank)
{
    bool moved = false;
    return operation_advance(scene->ranks[rank].operation, &moved);
}

/* The cell of rank 0's round under way that rank 1 stores. */
static struct exchange_cell *cell_of_rank_0(struct scene *scene)
{
    struct engine *engine = scene->ranks[0].engine;
    uint64_t offset =
        slots_bytes(&engine->config) + engine->exchange.round % EXCHANGE_CELLS * sizeof(struct exchange_cell);
    return (struct exchange_cell *)(void *)(scene->ranks[1].engine->peers[0]->mapped + offset);
}

static void lent_buffers_are_kept_until_the_peer_is_done(void **state)
{
    (void)state;
    struct scene *scene = scene_create(SIM_LENDS_MAPPED);
    for (uint32_t rank = 0; rank < RANKS; rank++) post(scene, rank, LARGE);
    assert_int_equal(advance(scene, 0), WEFT_IN_PROGRESS); /* has lent its buffers */
    assert_int_equal(advance(scene, 1), WEFT_IN_PROGRESS); /* has taken them up, and done a part of its half */
    assert_int_equal(operation_abandon(scene->ranks[0].operation), WEFT_IN_PROGRESS);
    assert_int_equal(operation_abandon(scene->ranks[0].operation), WEFT_IN_PROGRESS);
    assert_int_equal(scene->ranks[0].recv[LARGE - 1], 0);
    assert_int_equal(advance(scene, 1), WEFT_IN_PROGRESS); /* the rest; never hears that rank 0 has done its half */
    assert_int_equal(scene->ranks[0].recv[LARGE - 1], 3 * (LARGE - 1));
    assert_int_equal(operation_abandon(scene->ranks[0].operation), WEFT_OK);
    for (int i = 0; i < 10; i++) assert_int_equal(advance(scene, 1), WEFT_IN_PROGRESS);
    assert_int_equal(operation_abandon(scene->ranks[1].operation), WEFT_OK);
    scene_destroy(scene);
}

static void an_offer_that_is_taken_back_is_not_taken_up(void **state)
{
    (void)state;
    struct scene *scene = scene_create(SIM_LENDS_MAPPED);
    for (uint32_t rank = 0; rank < RANKS; rank++) post(scene, rank, LARGE);
    assert_int_equal(advance(scene, 0), WEFT_IN_PROGRESS);
    assert_int_equal(operation_abandon(scene->ranks[0].operation), WEFT_IN_PROGRESS);
    for (int i = 0; i < 10; i++) assert_int_equal(advance(scene, 1), WEFT_IN_PROGRESS);
    for (int k = 0; k < LARGE; k++) assert_int_equal(scene->ranks[0].recv[k], 0);
    assert_int_equal(operation_abandon(scene->ranks[1].operation), WEFT_OK); /* it has heard that rank 0 is gone */
    assert_int_equal(operation_abandon(scene->ranks[0].operation), WEFT_OK);
    scene_destroy(scene);
}

static void two_that_give_up_wait_for_nobody(void **state)
{
    (void)state;
    struct scene *scene = scene_create(SIM_LENDS_MAPPED);
    for (uint32_t rank = 0; rank < RANKS; rank++) post(scene, rank, LARGE);
    assert_int_equal(advance(scene, 0), WEFT_IN_PROGRESS);
    assert_int_equal(operation_abandon(scene->ranks[0].operation), WEFT_IN_PROGRESS);
    assert_int_equal(operation_abandon(scene->ranks[1].operation), WEFT_OK); /* it has not begun: nothing is lent */
    scene_destroy(scene);
}

static void what_is_not_lent_is_given_up_at_once(void **state)
{
    (void)state;
    struct scene *scene = scene_create(SIM_LENDS_MAPPED);
    for (uint32_t rank = 0; rank < RANKS; rank++) post(scene, rank, SMALL);
    assert_int_equal(advance(scene, 0), WEFT_IN_PROGRESS);
    assert_int_equal(operation_abandon(scene->ranks[0].operation), WEFT_OK);
    scene_destroy(scene);
}

static void a_dead_peer_borrows_nothing(void **state)
{
    (void)state;
    struct scene *scene = scene_create(SIM_LENDS_MAPPED);
    for (uint32_t rank = 0; rank < RANKS; rank++) post(scene, rank, LARGE);
    assert_int_equal(advance(scene, 0), WEFT_IN_PROGRESS);
    assert_int_equal(operation_abandon(scene->ranks[0].operation), WEFT_IN_PROGRESS);
    operation_free(scene->ranks[1].operation);
    scene->ranks[1].operation = NULL;
    engine_destroy(scene->ranks[1].engine);
    scene->ranks[1].engine = NULL;
    for (int i = 0; i < TURNS && operation_abandon(scene->ranks[0].operation) != WEFT_OK; i++) turn(scene, 0);
    assert_int_equal(operation_abandon(scene->ranks[0].operation), WEFT_OK);
    scene_destroy(scene);
}

static void nonsense_in_a_cell_is_a_protocol_error(void **state)
{
    (void)state;
    static const uint64_t flags[] = {UINT64_C(5) << 32 | 77, UINT64_C(0xffffffff) << 32, 1};
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
        struct scene *scene = scene_create(SIM_LENDS_MAPPED);
        post(scene, 0, SMALL);
        assert_int_equal(advance(scene, 0), WEFT_IN_PROGRESS);
        atomic_store(&cell_of_rank_0(scene)->flag, flags[i]);
        assert_int_equal(advance(scene, 0), WEFT_PROTOCOL_ERROR);
        assert_int_equal(operation_stall(scene->ranks[0].operation).peer, 1);
        scene_destroy(scene);
    }
}

static void another_call_is_a_mismatch_and_nothing_of_it_is_read(void **state)
{
    (void)state;
    for (uint64_t count = SMALL; count <= LARGE; count += LARGE - SMALL) {
        struct scene *scene = scene_create(SIM_LENDS_MAPPED);
        post(scene, 0, count);
        assert_int_equal(advance(scene, 0), WEFT_IN_PROGRESS);
        atomic_store(&cell_of_rank_0(scene)->flag, UINT64_C(1) << 32 | 78);
        assert_int_equal(advance(scene, 0), WEFT_MISMATCH);
        for (int k = 0; k < LARGE; k++) assert_int_equal(scene->ranks[0].recv[k], 0);
        scene_destroy(scene);
    }
}

/* A loan of memory that is not there, from a peer gone mad. */
static void a_loan_of_nothing_is_a_protocol_error(void **state)
{
    (void)state;
    struct scene *scene = scene_create(SIM_LENDS_COPIED);
    post(scene, 0, LARGE);
    assert_int_equal(advance(scene, 0), WEFT_IN_PROGRESS);
    struct exchange_cell *cell = cell_of_rank_0(scene);
    const uint64_t offer[] = {0, 0, 0, 0, 0, 1}; /* two loans without an address, a scale, and: lent */
    memcpy(cell->beside, offer, sizeof offer);
    atomic_store(&cell->flag, UINT64_C(1) << 32 | 77);
    assert_int_equal(advance(scene, 0), WEFT_PROTOCOL_ERROR);
    assert_int_equal(operation_stall(scene->ranks[0].operation).peer, 1);
    scene_destroy(scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lent_buffers_are_kept_until_the_peer_is_done),
        cmocka_unit_test(an_offer_that_is_taken_back_is_not_taken_up),
        cmocka_unit_test(two_that_give_up_wait_for_nobody),
        cmocka_unit_test(what_is_not_lent_is_given_up_at_once),
        cmocka_unit_test(a_dead_peer_borrows_nothing),
        cmocka_unit_test(nonsense_in_a_cell_is_a_protocol_error),
        cmocka_unit_test(another_call_is_a_mismatch_and_nothing_of_it_is_read),
        cmocka_unit_test(a_loan_of_nothing_is_a_protocol_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
