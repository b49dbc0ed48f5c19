/* SPDX-License-Identifier: Apache-2.0 */
/* Cells and loans among ranks that share memory: who waits for whom, who gives up, who writes nonsense. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "collectives/exec/distance.h"
#include "tests/collectives/exec_scene.h"
#include "transport/sim/sim.h"

enum { RANKS = SCENE_RANKS, LARGE = SCENE_COUNT, SMALL = 8, MIDDLE = 256, LENT = 1024, TURNS = 10000 };

/* What ranks time distances with: it stands still, or each look at it takes a microsecond. */
static bool is_apart[RANKS];

static uint64_t clock_of_rank_0(void)
{
    static uint64_t now_ns;
    return now_ns += is_apart[0] ? 1000 : 0;
}

static uint64_t clock_of_rank_1(void)
{
    static uint64_t now_ns;
    return now_ns += is_apart[1] ? 1000 : 0;
}

static struct endpoint *endpoint_open(void *network, uint32_t rank)
{
    struct endpoint *endpoint = NULL;
    assert_int_equal(sim_endpoint_create(network, rank, &endpoint), WEFT_OK);
    return endpoint;
}

static uint64_t network_step(void *network)
{
    sim_step(network);
    return sim_now_ns(network);
}

static void turn(struct scene *scene, uint32_t rank)
{
    engine_poll(scene->ranks[rank].engine, network_step(scene->network));
}

static bool share_processors;

static struct scene *scene_create_of(enum sim_lending lending, weft_collective collective)
{
    const struct sim_config sim = {
        .rank_count = RANKS, .latency_ns = 100, .bytes_per_s = 1e9, .path_count = 1, .maps = true, .lending = lending};
    const struct scene_setting setting = {
        collective, {clock_of_rank_0, clock_of_rank_1}, share_processors, endpoint_open, network_step};
    struct sim_fabric *fabric;
    assert_int_equal(sim_fabric_create(&sim, &fabric), WEFT_OK);
    return scene_open(&setting, fabric);
}

static struct scene *scene_create(enum sim_lending lending)
{
    return scene_create_of(lending, WEFT_ALL_REDUCE);
}

static void scene_destroy(struct scene *scene)
{
    struct sim_fabric *fabric = scene->network;
    scene_close(scene);
    sim_fabric_destroy(fabric);
}

/* The cell that rank 1 stores next, or has stored last, for rank 0. */
static struct cell *cell_of_rank_0(struct scene *scene)
{
    const struct lanes *lanes = &scene->ranks[0].engine->peers[1]->lanes;
    return &lanes->from->cells[(lanes->come + 1) % LANE_CELLS];
}

static void lent_buffers_are_kept_until_the_peer_is_done(void **state)
{
    (void)state;
    struct scene *scene = scene_create(SIM_LENDS_MAPPED);
    for (uint32_t rank = 0; rank < RANKS; rank++) scene_post(scene, rank, LARGE);
    assert_int_equal(scene_advance(scene, 0), WEFT_IN_PROGRESS); /* has lent its buffers */
    assert_int_equal(scene_advance(scene, 1), WEFT_IN_PROGRESS); /* has taken them up, and done a part of its half */
    assert_int_equal(operation_abandon(scene->ranks[0].operation), WEFT_IN_PROGRESS);
    assert_int_equal(operation_abandon(scene->ranks[0].operation), WEFT_IN_PROGRESS);
    assert_int_equal(scene->ranks[0].recv[LARGE - 1], 0);
    assert_int_equal(scene_advance(scene, 1),
                     WEFT_IN_PROGRESS); /* the rest; never hears that rank 0 has done its half */
    assert_int_equal(scene->ranks[0].recv[LARGE - 1], 3 * (LARGE - 1));
    assert_int_equal(operation_abandon(scene->ranks[0].operation), WEFT_OK);
    for (int i = 0; i < 10; i++) assert_int_equal(scene_advance(scene, 1), WEFT_IN_PROGRESS);
    assert_int_equal(operation_abandon(scene->ranks[1].operation), WEFT_OK);
    scene_destroy(scene);
}

static void an_offer_that_is_taken_back_is_not_taken_up(void **state)
{
    (void)state;
    struct scene *scene = scene_create(SIM_LENDS_MAPPED);
    for (uint32_t rank = 0; rank < RANKS; rank++) scene_post(scene, rank, LARGE);
    assert_int_equal(scene_advance(scene, 0), WEFT_IN_PROGRESS);
    assert_int_equal(operation_abandon(scene->ranks[0].operation), WEFT_IN_PROGRESS);
    for (int i = 0; i < 10; i++) assert_int_equal(scene_advance(scene, 1), WEFT_IN_PROGRESS);
    for (int k = 0; k < LARGE; k++) assert_int_equal(scene->ranks[0].recv[k], 0);
    assert_int_equal(operation_abandon(scene->ranks[1].operation), WEFT_OK); /* it has heard that rank 0 is gone */
    assert_int_equal(operation_abandon(scene->ranks[0].operation), WEFT_OK);
    scene_destroy(scene);
}

static void two_that_give_up_wait_for_nobody(void **state)
{
    (void)state;
    struct scene *scene = scene_create(SIM_LENDS_MAPPED);
    for (uint32_t rank = 0; rank < RANKS; rank++) scene_post(scene, rank, LARGE);
    assert_int_equal(scene_advance(scene, 0), WEFT_IN_PROGRESS);
    assert_int_equal(operation_abandon(scene->ranks[0].operation), WEFT_IN_PROGRESS);
    assert_int_equal(operation_abandon(scene->ranks[1].operation), WEFT_OK); /* it has not begun: nothing is lent */
    scene_destroy(scene);
}

static void what_is_not_lent_is_given_up_at_once(void **state)
{
    (void)state;
    struct scene *scene = scene_create(SIM_LENDS_MAPPED);
    for (uint32_t rank = 0; rank < RANKS; rank++) scene_post(scene, rank, SMALL);
    assert_int_equal(scene_advance(scene, 0), WEFT_IN_PROGRESS);
    assert_int_equal(operation_abandon(scene->ranks[0].operation), WEFT_OK);
    scene_destroy(scene);
}

static void a_dead_peer_borrows_nothing(void **state)
{
    (void)state;
    struct scene *scene = scene_create(SIM_LENDS_MAPPED);
    for (uint32_t rank = 0; rank < RANKS; rank++) scene_post(scene, rank, LARGE);
    assert_int_equal(scene_advance(scene, 0), WEFT_IN_PROGRESS);
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
    static const uint64_t flags[] = {UINT64_C(5) << 32 | 77, UINT64_C(0xfffffff0) << 32, 1};
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
        struct scene *scene = scene_create(SIM_LENDS_MAPPED);
        scene_post(scene, 0, SMALL);
        assert_int_equal(scene_advance(scene, 0), WEFT_IN_PROGRESS);
        atomic_store(&cell_of_rank_0(scene)->flag, flags[i]);
        assert_int_equal(scene_advance(scene, 0), WEFT_PROTOCOL_ERROR);
        assert_int_equal(operation_stall(scene->ranks[0].operation).peer, 1);
        scene_destroy(scene);
    }
}

static void another_call_is_a_mismatch_and_nothing_of_it_is_read(void **state)
{
    (void)state;
    for (uint64_t count = SMALL; count <= LARGE; count += LARGE - SMALL) {
        struct scene *scene = scene_create(SIM_LENDS_MAPPED);
        scene_post(scene, 0, count);
        assert_int_equal(scene_advance(scene, 0), WEFT_IN_PROGRESS);
        atomic_store(&cell_of_rank_0(scene)->flag, UINT64_C(1) << 32 | 78);
        assert_int_equal(scene_advance(scene, 0), WEFT_MISMATCH);
        for (int k = 0; k < LARGE; k++) assert_int_equal(scene->ranks[0].recv[k], 0);
        scene_destroy(scene);
    }
}

/* A loan of memory that is not there, from a peer gone mad. */
static void a_loan_of_nothing_is_a_protocol_error(void **state)
{
    (void)state;
    struct scene *scene = scene_create(SIM_LENDS_COPIED);
    scene_post(scene, 0, LARGE);
    assert_int_equal(scene_advance(scene, 0), WEFT_IN_PROGRESS);
    struct cell *cell = cell_of_rank_0(scene);
    const uint64_t offer[] = {0, 0, 0, 0, 0, 1}; /* two loans without an address, a scale, and: lent */
    memcpy(cell->beside, offer, sizeof offer);
    atomic_store(&cell->flag, UINT64_C(1) << 32 | 77);
    assert_int_equal(scene_advance(scene, 0), WEFT_PROTOCOL_ERROR);
    assert_int_equal(operation_stall(scene->ranks[0].operation).peer, 1);
    scene_destroy(scene);
}

static void run_all(struct scene *scene, uint64_t count)
{
    memset(scene->ranks[0].recv, 0, count * sizeof *scene->ranks[0].recv);
    for (uint32_t rank = 0; rank < RANKS; rank++) scene_post(scene, rank, count);
    for (int i = 0; i < TURNS && (scene_advance(scene, 0) != WEFT_OK) + (scene_advance(scene, 1) != WEFT_OK) > 0; i++)
        continue;
    for (uint32_t rank = 0; rank < RANKS; rank++) {
        assert_int_equal(scene_advance(scene, rank), WEFT_OK);
        for (uint64_t k = 0; k < count; k++) assert_int_equal(scene->ranks[rank].recv[k], 3 * k);
    }
}

/* How many of so many calls go by the steps of their plan, to the same result. */
static int steps_of(struct scene *scene, int calls)
{
    int by_steps = 0;
    for (int i = 0; i < calls; i++) {
        for (uint32_t rank = 0; rank < RANKS; rank++) scene_post(scene, rank, LENT);
        for (int k = 0; k < TURNS && (scene_advance(scene, 0) != WEFT_OK) + (scene_advance(scene, 1) != WEFT_OK) > 0;
             k++)
            turn(scene, (uint32_t)k % RANKS);
        bool stepped = operation_runs_steps(scene->ranks[0].operation);
        assert_int_equal(operation_runs_steps(scene->ranks[1].operation), stepped);
        by_steps += stepped;
        for (uint32_t rank = 0; rank < RANKS; rank++) {
            assert_int_equal(scene_advance(scene, rank), WEFT_OK);
            for (int64_t k = 0; k < LENT; k++) assert_int_equal(scene->ranks[rank].recv[k], 3 * k);
        }
    }
    return by_steps;
}

static void near_ranks_run_steps_where_the_kernel_would_copy(void **state)
{
    (void)state;
    struct scene *scene = scene_create(SIM_LENDS_COPIED);
    assert_int_equal(steps_of(scene, 8), 0); /* nobody asked for it */
    scene->steps_when_near = true;
    assert_true(steps_of(scene, 64) > 0); /* they look now and then */
    assert_int_equal(steps_of(scene, 8), 8);
    is_apart[1] = true;
    assert_true(steps_of(scene, 256) < 256);
    assert_int_equal(steps_of(scene, 8), 0); /* that one rank says so is enough */
    is_apart[1] = false;
    scene_destroy(scene);
}

static void near_ranks_load_what_they_have_mapped(void **state)
{
    (void)state;
    struct scene *scene = scene_create(SIM_LENDS_MAPPED);
    scene->steps_when_near = true;
    assert_int_equal(steps_of(scene, 64), 0);
    scene_destroy(scene);
}

/* Does the rank ask its peer to store past the caches, after some small messages? */
static bool asks(struct scene *scene, uint32_t rank)
{
    enum { CALLS = 300, LINES = 3 << 10 };
    for (int i = 0; i < CALLS; i++) run_all(scene, LINES / sizeof(int64_t));
    return distance_is_apart(scene->ranks[!rank].engine->peers[rank]);
}

static void who_reads_apart_asks_for_stores_past_the_caches(void **state)
{
    (void)state;
    struct scene *scene = scene_create(SIM_LENDS_COPIED);
    assert_false(asks(scene, 0) || asks(scene, 1));
    is_apart[1] = true;
    assert_true(asks(scene, 1));
    assert_false(asks(scene, 0));
    is_apart[1] = false;
    assert_false(asks(scene, 1));
    scene_destroy(scene);
}

static void ranks_that_share_processors_do_not_ask(void **state)
{
    (void)state;
    is_apart[0] = is_apart[1] = share_processors = true;
    struct scene *scene = scene_create(SIM_LENDS_COPIED);
    assert_false(asks(scene, 0) || asks(scene, 1));
    scene_destroy(scene);
    is_apart[0] = is_apart[1] = share_processors = false;
}

static void results_go_past_caches_that_hold_less_than_the_buffers(void **state)
{
    (void)state;
    const uint64_t bytes = 2 * RANKS * LENT * sizeof(int64_t); /* of all buffers */
    struct scene *scene = scene_create(SIM_LENDS_MAPPED);
    for (uint64_t cache_bytes = bytes; cache_bytes <= 2 * bytes; cache_bytes *= 2) {
        for (uint32_t rank = 0; rank < RANKS; rank++) scene->ranks[rank].engine->config.cache_bytes = cache_bytes;
        assert_int_equal(steps_of(scene, 1), 0);
        for (uint32_t rank = 0; rank < RANKS; rank++)
            assert_int_equal(scene->ranks[rank].operation->bypasses_caches, cache_bytes == bytes);
    }
    scene_destroy(scene);
}

/* A peer may have stored anything where distances are timed. */
static void nonsense_on_a_trail_is_followed_within_the_cell(void **state)
{
    (void)state;
    struct scene *scene = scene_create(SIM_LENDS_COPIED);
    scene->steps_when_near = true;
    for (int i = 0; i < 4; i++) {
        for (uint32_t rank = 0; rank < RANKS; rank++) scene_post(scene, rank, LENT);
        (void)scene_advance(scene, 1);
        memset(cell_of_rank_0(scene)->trail, 0xff, CELL_TRAIL_BYTES);
        for (int k = 0; k < TURNS && (scene_advance(scene, 0) != WEFT_OK) + (scene_advance(scene, 1) != WEFT_OK) > 0;
             k++)
            turn(scene, (uint32_t)k % RANKS);
        for (uint32_t rank = 0; rank < RANKS; rank++) {
            assert_int_equal(scene_advance(scene, rank), WEFT_OK);
        }
    }
    scene_destroy(scene);
}

/* After some minutes of small messages they do. */
static void numbers_of_cells_may_wrap(void **state)
{
    (void)state;
    static const uint32_t starts[] = {UINT32_MAX - 3, INT32_MAX - 3};
    for (size_t i = 0; i < sizeof starts / sizeof starts[0]; i++) {
        struct scene *scene = scene_create(SIM_LENDS_MAPPED);
        for (uint32_t rank = 0; rank < RANKS; rank++) {
            struct lanes *lanes = &scene->ranks[rank].engine->peers[!rank]->lanes;
            lanes->sent = lanes->taken = lanes->come = starts[i];
            atomic_store(&lanes->from->taken, starts[i]);
        }
        for (int k = 0; k < 4; k++) {
            run_all(scene, SMALL);
            run_all(scene, MIDDLE);
            run_all(scene, LARGE);
        }
        scene_destroy(scene);
    }
}

/* What is read where it lies is kept by the operation, until the peer has read it. */
static void a_reference_is_kept_until_the_peer_is_done(void **state)
{
    (void)state;
    struct scene *scene = scene_create(SIM_LENDS_MAPPED);
    for (uint32_t rank = 0; rank < RANKS; rank++) scene_post(scene, rank, MIDDLE);
    assert_int_equal(scene_advance(scene, 0), WEFT_IN_PROGRESS);
    scene->ranks[0].send[1] = 1000; /* as nobody is to do; it shows that nothing was copied */
    assert_int_equal(scene_advance(scene, 1), WEFT_IN_PROGRESS);
    assert_int_equal(scene->ranks[1].recv[1], 1002);
    assert_int_equal(operation_abandon(scene->ranks[1].operation), WEFT_IN_PROGRESS); /* rank 0 has not read */
    assert_int_equal(operation_abandon(scene->ranks[0].operation), WEFT_OK);
    assert_int_equal(operation_abandon(scene->ranks[1].operation), WEFT_OK);
    scene_destroy(scene);
}

static void ranks_that_share_processors_wait_for_no_reader_of_2_KiB(void **state)
{
    (void)state;
    share_processors = true;
    struct scene *scene = scene_create(SIM_LENDS_MAPPED);
    share_processors = false;
    for (uint32_t rank = 0; rank < RANKS; rank++) scene_post(scene, rank, MIDDLE);
    assert_int_equal(scene_advance(scene, 0), WEFT_IN_PROGRESS);
    assert_int_equal(scene_advance(scene, 1), WEFT_OK); /* though rank 0 has not read what it sent */
    assert_int_equal(scene_advance(scene, 0), WEFT_OK);
    scene_destroy(scene);
}

/* What the owner says can be mapped, and the receiver cannot map, is read by copying. */
static void a_reference_that_cannot_be_mapped_is_copied(void **state)
{
    (void)state;
    struct scene *scene = scene_create(SIM_LENDS_UNMAPPED);
    for (int i = 0; i < 3; i++) {
        run_all(scene, MIDDLE);
        run_all(scene, LARGE);
    }
    for (uint32_t rank = 0; rank < RANKS; rank++) scene_post(scene, rank, MIDDLE);
    assert_int_equal(scene_advance(scene, 0), WEFT_IN_PROGRESS);
    scene->ranks[0].send[1] = 1000; /* it was read where it lies, not taken along */
    assert_int_equal(scene_advance(scene, 1), WEFT_IN_PROGRESS);
    assert_int_equal(scene->ranks[1].recv[1], 1002);
    assert_int_equal(scene_advance(scene, 0), WEFT_OK);
    assert_int_equal(scene_advance(scene, 1), WEFT_OK);
    scene_destroy(scene);
}

static void in_place_contents_are_copied(void **state)
{
    (void)state;
    struct scene *scene = scene_create(SIM_LENDS_MAPPED);
    for (uint32_t i = 0; i < RANKS; i++) {
        struct scene_rank *rank = &scene->ranks[i];
        memcpy(rank->recv, rank->send, MIDDLE * sizeof *rank->send);
        const struct operation_call call = {.send = rank->recv,
                                            .recv = rank->recv,
                                            .count = MIDDLE,
                                            .dtype = WEFT_INT64,
                                            .op = WEFT_SUM,
                                            .divisor = 1,
                                            .slice_bytes = 4096,
                                            .overwrites = true,
                                            .check = 77};
        assert_int_equal(operation_start(rank->engine, rank->binding, &call, &rank->operation), WEFT_OK);
    }
    assert_int_equal(scene_advance(scene, 0), WEFT_IN_PROGRESS);
    assert_int_equal(scene_advance(scene, 1), WEFT_OK); /* it waits for nobody to read */
    assert_int_equal(scene_advance(scene, 0), WEFT_OK);
    for (uint32_t rank = 0; rank < RANKS; rank++)
        for (int k = 0; k < MIDDLE; k++) assert_int_equal(scene->ranks[rank].recv[k], 3 * k);
    scene_destroy(scene);
}

/* A root is ahead of the others by as many broadcasts as there are cells, and no more. */
static void a_root_waits_for_room_only(void **state)
{
    (void)state;
    struct scene *scene = scene_create_of(SIM_LENDS_MAPPED, WEFT_BROADCAST);
    struct scene_rank *root = &scene->ranks[0];
    for (int64_t round = 0; round < LANE_CELLS; round++) {
        root->send[1] = round;
        scene_post(scene, 0, SMALL);
        assert_int_equal(scene_advance(scene, 0), WEFT_OK);
    }
    root->send[1] = LANE_CELLS;
    scene_post(scene, 0, SMALL);
    assert_int_equal(scene_advance(scene, 0), WEFT_IN_PROGRESS);
    assert_int_equal(operation_stall(root->operation).peer, 1);
    assert_false(engine_exchange_is_due(root->engine));
    for (int64_t round = 0; round <= LANE_CELLS; round++) {
        scene_post(scene, 1, SMALL);
        assert_int_equal(scene_advance(scene, 1), WEFT_OK);
        assert_int_equal(scene->ranks[1].recv[1], round);
        if (round == 0) assert_true(engine_exchange_is_due(root->engine));
        assert_int_equal(scene_advance(scene, 0), WEFT_OK);
    }
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
        cmocka_unit_test(near_ranks_run_steps_where_the_kernel_would_copy),
        cmocka_unit_test(near_ranks_load_what_they_have_mapped),
        cmocka_unit_test(who_reads_apart_asks_for_stores_past_the_caches),
        cmocka_unit_test(ranks_that_share_processors_do_not_ask),
        cmocka_unit_test(results_go_past_caches_that_hold_less_than_the_buffers),
        cmocka_unit_test(nonsense_on_a_trail_is_followed_within_the_cell),
        cmocka_unit_test(numbers_of_cells_may_wrap),
        cmocka_unit_test(a_reference_is_kept_until_the_peer_is_done),
        cmocka_unit_test(ranks_that_share_processors_wait_for_no_reader_of_2_KiB),
        cmocka_unit_test(a_reference_that_cannot_be_mapped_is_copied),
        cmocka_unit_test(in_place_contents_are_copied),
        cmocka_unit_test(a_root_waits_for_room_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
