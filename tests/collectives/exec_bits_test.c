/* SPDX-License-Identifier: Apache-2.0 */
/* Whether a direct plan's ranks run its steps or lend each other their buffers, the results have equal bits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/random.h"
#include "collectives/exec/exec.h"
#include "transport/sim/sim.h"

enum { RANKS = 5, COUNT = 2500, BYTES = RANKS * COUNT * 8, TURNS = 200000 };
_Static_assert(COUNT * 2 > EXCHANGE_BYTES, "even the narrowest type is more than goes with the cells");

struct rank {
    struct endpoint *endpoint;
    struct engine *engine;
    struct binding *binding;
    struct operation *operation;
    uint8_t recv[BYTES];
};

struct trial {
    weft_collective collective;
    weft_dtype dtype;
    weft_op op;
    enum sim_lending lending;
};

static uint8_t inputs[RANKS][BYTES];

/* Of sizes that make every order of addition round differently. */
static void inputs_draw(struct random *random, weft_dtype dtype)
{
    for (uint32_t rank = 0; rank < RANKS; rank++)
        for (uint32_t i = 0; i < RANKS * COUNT; i++) {
            const double value = ((double)random_below(random, 2000001) - 1e6) / 1e5;
            const float narrow = (float)value;
            uint32_t bits;
            memcpy(&bits, &narrow, sizeof bits);
            uint8_t *at = inputs[rank] + (size_t)i * weft_dtype_size(dtype);
            const uint16_t upper = (uint16_t)(bits >> 16); /* a bfloat16; as a float16 it is some finite number too */
            if (dtype == WEFT_FLOAT64)
                memcpy(at, &value, sizeof value);
            else if (dtype == WEFT_FLOAT32)
                memcpy(at, &narrow, sizeof narrow);
            else
                memcpy(at, &upper, sizeof upper);
        }
}

static void rank_create(struct rank *rank, uint32_t number, struct sim_fabric *fabric, const weft_plan *plan)
{
    assert_int_equal(sim_endpoint_create(fabric, number, &rank->endpoint), WEFT_OK);
    const struct engine_config config = {.endpoint = rank->endpoint,
                                         .rank = number,
                                         .rank_count = RANKS,
                                         .channel_limit = 4,
                                         .slot_depth = 4,
                                         .slot_bytes = 4096,
                                         .exchanges = true};
    assert_int_equal(engine_create(&config, &rank->engine), WEFT_OK);
    assert_int_equal(binding_create(rank->engine, plan, 0, &rank->binding), WEFT_OK);
}

static void operations_run(const struct trial *trial, struct rank *ranks, struct sim_fabric *fabric)
{
    uint32_t complete = 0;
    for (uint32_t i = 0; i < RANKS; i++) {
        const struct operation_call call = {.send = inputs[i],
                                            .recv = ranks[i].recv,
                                            .count = COUNT,
                                            .dtype = trial->dtype,
                                            .op = trial->op,
                                            .divisor = trial->op == WEFT_AVG ? RANKS : 1,
                                            .slice_bytes = 1024,
                                            .check = 7};
        assert_int_equal(operation_start(ranks[i].engine, ranks[i].binding, &call, &ranks[i].operation), WEFT_OK);
    }
    for (uint32_t turn = 0; turn < TURNS && complete < RANKS; turn++) {
        complete = 0;
        for (uint32_t i = 0; i < RANKS; i++) {
            bool moved = false;
            engine_poll(ranks[i].engine, sim_now_ns(fabric));
            complete += operation_advance(ranks[i].operation, &moved) == WEFT_OK;
        }
        sim_step(fabric);
    }
    assert_int_equal(complete, RANKS);
}

/* Every rank's output buffer, one after another; to be freed. */
static uint8_t *results_of(const struct trial *trial)
{
    struct rank *ranks = calloc(RANKS, sizeof *ranks);
    uint8_t *results = malloc((size_t)RANKS * BYTES);
    struct sim_fabric *fabric;
    weft_plan *plan;
    const struct sim_config sim = {.rank_count = RANKS,
                                   .latency_ns = 100,
                                   .bytes_per_s = 1e9,
                                   .path_count = 1,
                                   .maps = true,
                                   .lending = trial->lending};
    const weft_plan_spec spec = {.size = sizeof spec,
                                 .collective = trial->collective,
                                 .algorithm = WEFT_ALGORITHM_DIRECT,
                                 .rank_count = RANKS,
                                 .root = trial->collective == WEFT_REDUCE ? 3 : 0,
                                 .slot_depth = 4};
    assert_non_null(ranks);
    assert_non_null(results);
    assert_int_equal(sim_fabric_create(&sim, &fabric), WEFT_OK);
    assert_int_equal(weft_plan_create(&spec, &plan), WEFT_OK);
    for (uint32_t i = 0; i < RANKS; i++) rank_create(&ranks[i], i, fabric, plan);
    operations_run(trial, ranks, fabric);
    for (uint32_t i = 0; i < RANKS; i++) {
        assert_int_equal(operation_runs_steps(ranks[i].operation), trial->lending == SIM_LENDS_NOTHING);
        memcpy(results + (size_t)i * BYTES, ranks[i].recv, BYTES);
        operation_free(ranks[i].operation);
        engine_destroy(ranks[i].engine);
        binding_destroy(ranks[i].binding);
        endpoint_destroy(ranks[i].endpoint);
    }
    weft_plan_destroy(plan);
    sim_fabric_destroy(fabric);
    free(ranks);
    return results;
}

static void steps_and_loans_give_equal_bits(void **state)
{
    (void)state;
    static const weft_collective collectives[] = {WEFT_ALL_REDUCE, WEFT_REDUCE, WEFT_REDUCE_SCATTER};
    static const weft_dtype dtypes[] = {WEFT_FLOAT64, WEFT_FLOAT32, WEFT_FLOAT16, WEFT_BFLOAT16};
    static const weft_op ops[] = {WEFT_SUM, WEFT_AVG, WEFT_PROD};
    const uint64_t seed = 20261122;
    struct random random;
    random_seed(&random, seed);
    print_message("seed %llu\n", (unsigned long long)seed);
    for (size_t d = 0; d < sizeof dtypes / sizeof *dtypes; d++) {
        inputs_draw(&random, dtypes[d]);
        for (size_t c = 0; c < sizeof collectives / sizeof *collectives; c++)
            for (size_t o = 0; o < sizeof ops / sizeof *ops; o++) {
                uint8_t *by_steps = results_of(&(struct trial){collectives[c], dtypes[d], ops[o], SIM_LENDS_NOTHING});
                uint8_t *copied = results_of(&(struct trial){collectives[c], dtypes[d], ops[o], SIM_LENDS_COPIED});
                uint8_t *mapped = results_of(&(struct trial){collectives[c], dtypes[d], ops[o], SIM_LENDS_MAPPED});
                assert_memory_equal(by_steps, copied, (size_t)RANKS * BYTES);
                assert_memory_equal(by_steps, mapped, (size_t)RANKS * BYTES);
                free(by_steps);
                free(copied);
                free(mapped);
            }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(steps_and_loans_give_equal_bits)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
