/* SPDX-License-Identifier: Apache-2.0 */
/* Slices that are received where they are to go, between two ranks over the simulator. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "collectives/exec/exec_internal.h"
#include "transport/sim/sim.h"

enum { RANKS = 2, SLOT_BYTES = 4096, SLOT_DEPTH = 4, COUNT = 20 * SLOT_BYTES / 4 + 3, MANY_STEPS = 100000 };

struct pair {
    struct sim_fabric *fabric;
    struct endpoint *endpoints[RANKS];
    struct engine *engines[RANKS];
    struct binding *bindings[RANKS];
    struct operation *operations[RANKS];
    weft_plan *plan;
    uint32_t send[COUNT], recv[COUNT];
};

/* Rank 0 is to broadcast what it sends. */
static struct pair *pair_open(void)
{
    const struct sim_config config = {
        .rank_count = RANKS, .seed = 1, .latency_ns = 1000, .bytes_per_s = UINT64_C(1000000000), .lands = true};
    const weft_plan_spec spec = {.size = sizeof spec,
                                 .collective = WEFT_BROADCAST,
                                 .algorithm = WEFT_ALGORITHM_DIRECT,
                                 .rank_count = RANKS,
                                 .slot_depth = SLOT_DEPTH};
    struct pair *pair = calloc(1, sizeof *pair);
    assert_non_null(pair);
    assert_int_equal(sim_fabric_create(&config, &pair->fabric), WEFT_OK);
    assert_int_equal(weft_plan_create(&spec, &pair->plan), WEFT_OK);
    for (uint32_t i = 0; i < RANKS; i++) {
        assert_int_equal(sim_endpoint_create(pair->fabric, i, &pair->endpoints[i]), WEFT_OK);
        const struct engine_config engine = {.endpoint = pair->endpoints[i],
                                             .rank = i,
                                             .rank_count = RANKS,
                                             .channel_limit = 1,
                                             .slot_depth = SLOT_DEPTH,
                                             .slot_bytes = SLOT_BYTES};
        assert_int_equal(engine_create(&engine, &pair->engines[i]), WEFT_OK);
        assert_int_equal(binding_create(pair->engines[i], pair->plan, 0, &pair->bindings[i]), WEFT_OK);
    }
    for (uint32_t k = 0; k < COUNT; k++) pair->send[k] = k + 1;
    return pair;
}

static void pair_close(struct pair *pair)
{
    for (uint32_t i = 0; i < RANKS; i++) {
        if (pair->operations[i]) operation_free(pair->operations[i]);
        engine_destroy(pair->engines[i]);
        binding_destroy(pair->bindings[i]);
        endpoint_destroy(pair->endpoints[i]);
    }
    weft_plan_destroy(pair->plan);
    sim_fabric_destroy(pair->fabric);
    free(pair);
}

static void start(struct pair *pair, uint32_t rank, uint32_t check)
{
    uint32_t *const buffer = rank == 0 ? pair->send : pair->recv;
    const struct operation_call call = {.send = buffer,
                                        .recv = buffer,
                                        .count = COUNT,
                                        .dtype = WEFT_UINT32,
                                        .op = WEFT_SUM,
                                        .divisor = 1,
                                        .slice_bytes = SLOT_BYTES,
                                        .check = check};
    assert_int_equal(operation_start(pair->engines[rank], pair->bindings[rank], &call, &pair->operations[rank]),
                     WEFT_OK);
}

/* Both ranks do what they can; false: nothing will happen any more. */
static bool step(struct pair *pair, weft_status status[RANKS])
{
    bool moved = false;
    for (uint32_t i = 0; i < RANKS; i++) {
        moved |= engine_poll(pair->engines[i], sim_now_ns(pair->fabric));
        status[i] = pair->operations[i] ? operation_advance(pair->operations[i], &moved) : WEFT_OK;
    }
    return sim_step(pair->fabric) || moved;
}

static bool slots_are_untouched(const struct pair *pair)
{
    const uint8_t *slots = pair->engines[1]->peers[0]->connection->granted;
    for (size_t i = 0; i < SLOT_DEPTH * SLOT_BYTES; i++)
        if (slots[i] != 0) return false;
    return true;
}

static void slices_land_in_the_output(void **state)
{
    struct pair *pair = pair_open();
    weft_status status[RANKS] = {WEFT_IN_PROGRESS, WEFT_IN_PROGRESS};

    (void)state;
    start(pair, 1, 5);
    start(pair, 0, 5);
    while (step(pair, status)) continue;
    assert_int_equal(status[0], WEFT_OK);
    assert_int_equal(status[1], WEFT_OK);
    assert_memory_equal(pair->recv, pair->send, sizeof pair->recv);
    assert_true(slots_are_untouched(pair));
    pair_close(pair);
}

/* What comes before a rank has called goes to its slots, and from there to the output. */
static void who_is_late_finds_slices_in_the_slots(void **state)
{
    struct pair *pair = pair_open();
    weft_status status[RANKS] = {WEFT_IN_PROGRESS, WEFT_IN_PROGRESS};

    (void)state;
    start(pair, 0, 5);
    while (step(pair, status)) continue;
    assert_int_equal(status[0], WEFT_IN_PROGRESS);
    assert_false(slots_are_untouched(pair));
    start(pair, 1, 5);
    while (step(pair, status)) continue;
    assert_int_equal(status[1], WEFT_OK);
    assert_memory_equal(pair->recv, pair->send, sizeof pair->recv);
    pair_close(pair);
}

static void nothing_of_another_call_lands(void **state)
{
    struct pair *pair = pair_open();
    weft_status status[RANKS] = {WEFT_IN_PROGRESS, WEFT_IN_PROGRESS};

    (void)state;
    start(pair, 1, 6);
    start(pair, 0, 5);
    while (step(pair, status)) continue;
    assert_int_equal(status[1], WEFT_MISMATCH);
    for (uint32_t k = 0; k < COUNT; k++) assert_int_equal(pair->recv[k], 0);
    pair_close(pair);
}

static void who_gives_up_has_the_buffer_to_itself(void **state)
{
    struct pair *pair = pair_open();
    weft_status status[RANKS] = {WEFT_IN_PROGRESS, WEFT_IN_PROGRESS};

    (void)state;
    start(pair, 1, 5);
    start(pair, 0, 5);
    for (uint32_t i = 0; i < MANY_STEPS && pair->recv[0] == 0; i++) assert_true(step(pair, status));
    assert_int_equal(pair->recv[0], 1);
    operation_free(pair->operations[1]);
    pair->operations[1] = NULL;
    memset(pair->recv, 0, sizeof pair->recv);
    while (step(pair, status)) continue;
    for (uint32_t k = 0; k < COUNT; k++) assert_int_equal(pair->recv[k], 0);
    assert_false(slots_are_untouched(pair));
    pair_close(pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slices_land_in_the_output),
        cmocka_unit_test(who_is_late_finds_slices_in_the_slots),
        cmocka_unit_test(nothing_of_another_call_lands),
        cmocka_unit_test(who_gives_up_has_the_buffer_to_itself),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
