/* SPDX-License-Identifier: Apache-2.0 */
/* Whether a direct plan's ranks run its steps, lend each other their buffers, stage them or run another plan's steps
 * that are to be as good, the results have equal bits. */
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

enum { RANKS = 5, COUNT = 2500, BYTES = RANKS * COUNT * 8, TURNS = 200000, STAGE_BYTES = 16 << 10, LOOKS = 3 };
enum { SMALL_STAGE_BYTES = 2 << 10 }; /* so that a message is more portions than steps are run of at once */
_Static_assert(COUNT * 2 > EXCHANGE_BYTES, "even the narrowest type is more than goes with the cells");

struct rank {
    struct endpoint *endpoint;
    struct engine *engine;
    struct binding *binding;
    struct operation *operation;
    uint8_t recv[BYTES];
};

static uint8_t stages[RANKS][STAGE_BYTES];

struct trial {
    weft_collective collective;
    weft_dtype dtype;
    weft_op op;
    enum sim_lending lending;
    uint32_t stagers; /* bit r: rank r finds the others near, and may stage */
    bool anywhere;    /* it may whether they are near or not, and all do */
    bool in_place;
    weft_algorithm near;  /* whose steps are run if ranks are near; WEFT_ALGORITHM_AUTO: nobody's */
    uint32_t stage_bytes; /* 0: STAGE_BYTES */
    uint32_t ranks;       /* 0: RANKS */
};

static uint32_t ranks_of(const struct trial *trial)
{
    return trial->ranks ? trial->ranks : RANKS;
}

static uint8_t inputs[RANKS][BYTES];

static uint64_t clock_of_near(void)
{
    return 1;
}

static uint64_t clock_of_apart(void)
{
    static uint64_t now_ns;
    return now_ns += 1000;
}

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

static void rank_create(struct rank *rank, uint32_t number, struct sim_fabric *fabric, const weft_plan *plan,
                        const struct trial *trial)
{
    const uint32_t stagers = trial->stagers, stage_bytes = trial->stage_bytes ? trial->stage_bytes : STAGE_BYTES;
    assert_int_equal(sim_endpoint_create(fabric, number, &rank->endpoint), WEFT_OK);
    const struct engine_config config = {.endpoint = rank->endpoint,
                                         .rank = number,
                                         .rank_count = ranks_of(trial),
                                         .channel_limit = 4,
                                         .slot_depth = 4,
                                         .slot_bytes = 4096,
                                         .exchanges = true,
                                         .stage = stagers ? stages[number] : NULL,
                                         .stage_bytes = stagers ? stage_bytes : 0,
                                         .clock_ns = stagers >> number & 1 ? clock_of_near : clock_of_apart};
    assert_int_equal(engine_create(&config, &rank->engine), WEFT_OK);
    assert_int_equal(binding_create(rank->engine, plan, 0, &rank->binding), WEFT_OK);
}

static void operations_start(const struct trial *trial, struct rank *ranks)
{
    for (uint32_t i = 0; i < ranks_of(trial); i++) {
        if (trial->in_place) memcpy(ranks[i].recv, inputs[i], BYTES);
        const struct operation_call call = {.send = trial->in_place ? ranks[i].recv : inputs[i],
                                            .recv = ranks[i].recv,
                                            .count = COUNT,
                                            .dtype = trial->dtype,
                                            .op = trial->op,
                                            .divisor = trial->op == WEFT_AVG ? ranks_of(trial) : 1,
                                            .slice_bytes = 1024,
                                            .check = 7,
                                            .overwrites = trial->in_place,
                                            .steps_when_near = trial->near != WEFT_ALGORITHM_AUTO,
                                            .stages_when_near = trial->stagers != 0,
                                            .stages_when_apart = trial->anywhere};
        if (ranks[i].operation) operation_free(ranks[i].operation);
        assert_int_equal(operation_start(ranks[i].engine, ranks[i].binding, &call, &ranks[i].operation), WEFT_OK);
    }
}

static void operations_run(const struct trial *trial, struct rank *ranks, struct sim_fabric *fabric)
{
    uint32_t complete = 0;
    operations_start(trial, ranks);
    for (uint32_t turn = 0; turn < TURNS && complete < ranks_of(trial); turn++) {
        complete = 0;
        for (uint32_t i = 0; i < ranks_of(trial); i++) {
            bool moved = false;
            engine_poll(ranks[i].engine, sim_now_ns(fabric));
            complete += operation_advance(ranks[i].operation, &moved) == WEFT_OK;
        }
        sim_step(fabric);
    }
    assert_int_equal(complete, ranks_of(trial));
}

static uint32_t root_of(const struct trial *trial)
{
    return trial->collective == WEFT_REDUCE ? 3 % ranks_of(trial) : 0;
}

/* The root alone has something to broadcast or scatter, and of what it gets it reads its own part where it is. */
static bool is_to_stage(const struct trial *trial, uint32_t rank)
{
    const bool from_root = trial->collective == WEFT_BROADCAST || trial->collective == WEFT_SCATTER;
    const bool to_root = trial->collective == WEFT_REDUCE || trial->collective == WEFT_GATHER;
    const bool has_some = (!from_root && !to_root) || (rank == root_of(trial)) == from_root;
    return has_some && (trial->anywhere || trial->stagers >> rank & 1);
}

static bool has_staged(const struct trial *trial, uint32_t rank)
{
    static const uint8_t blank[STAGE_BYTES];
    return trial->stagers && memcmp(stages[rank], blank, STAGE_BYTES) != 0;
}

struct world {
    struct sim_fabric *fabric;
    weft_plan *plan, *near; /* near: or NULL */
    struct rank *ranks;
};

static struct world world_open(const struct trial *trial)
{
    struct world world = {.ranks = calloc(RANKS, sizeof *world.ranks)};
    const uint32_t rank_count = ranks_of(trial);
    const struct sim_config sim = {.rank_count = rank_count,
                                   .latency_ns = 100,
                                   .bytes_per_s = 1e9,
                                   .path_count = 1,
                                   .maps = true,
                                   .lending = trial->lending,
                                   .mapped = stages,
                                   .mapped_bytes = sizeof stages};
    weft_plan_spec spec = {.size = sizeof spec,
                           .collective = trial->collective,
                           .algorithm = WEFT_ALGORITHM_DIRECT,
                           .rank_count = rank_count,
                           .root = root_of(trial),
                           .slot_depth = 4};
    memset(stages, 0, sizeof stages);
    assert_non_null(world.ranks);
    assert_int_equal(sim_fabric_create(&sim, &world.fabric), WEFT_OK);
    assert_int_equal(weft_plan_create(&spec, &world.plan), WEFT_OK);
    spec.algorithm = trial->near;
    if (trial->near) assert_int_equal(weft_plan_create(&spec, &world.near), WEFT_OK);
    for (uint32_t i = 0; i < rank_count; i++) {
        rank_create(&world.ranks[i], i, world.fabric, world.plan, trial);
        if (world.near) assert_int_equal(binding_follow(world.ranks[i].binding, world.near), WEFT_OK);
    }
    return world;
}

static void world_close(struct world *world, const struct trial *trial)
{
    for (uint32_t i = 0; i < ranks_of(trial); i++) {
        if (world->ranks[i].operation) operation_free(world->ranks[i].operation);
        engine_destroy(world->ranks[i].engine);
        binding_destroy(world->ranks[i].binding);
        endpoint_destroy(world->ranks[i].endpoint);
    }
    weft_plan_destroy(world->plan);
    weft_plan_destroy(world->near);
    sim_fabric_destroy(world->fabric);
    free(world->ranks);
}

/* Every rank's output buffer, one after another; to be freed. */
static uint8_t *results_of(const struct trial *trial)
{
    struct world world = world_open(trial);
    uint8_t *results = calloc(RANKS, BYTES);
    assert_non_null(results);
    /* Who stages does so once it has looked at the others some times. */
    for (int i = 0; i < (trial->stagers ? LOOKS : 1); i++) operations_run(trial, world.ranks, world.fabric);
    const bool by_steps = trial->lending == SIM_LENDS_NOTHING || trial->near;
    for (uint32_t i = 0; i < ranks_of(trial); i++) {
        assert_int_equal(operation_runs_steps(world.ranks[i].operation), by_steps);
        memcpy(results + (size_t)i * BYTES, world.ranks[i].recv, BYTES);
        if (!trial->near) assert_int_equal(has_staged(trial, i), is_to_stage(trial, i));
    }
    world_close(&world, trial);
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
                struct trial trial = {.collective = collectives[c], .dtype = dtypes[d], .op = ops[o]};
                trial.lending = SIM_LENDS_NOTHING;
                uint8_t *by_steps = results_of(&trial);
                trial.lending = SIM_LENDS_COPIED;
                uint8_t *copied = results_of(&trial);
                trial.lending = SIM_LENDS_MAPPED;
                uint8_t *mapped = results_of(&trial);
                assert_memory_equal(by_steps, copied, (size_t)RANKS * BYTES);
                assert_memory_equal(by_steps, mapped, (size_t)RANKS * BYTES);
                free(by_steps);
                free(copied);
                free(mapped);
            }
    }
}

/* By all ranks, or by some of them, in many portions; peers map the stages, or have to copy from and to them, too. */
static void staged_buffers_give_equal_bits(void **state)
{
    (void)state;
    static const struct {
        weft_collective collective;
        bool in_place;
    } cases[] = {{WEFT_ALL_REDUCE, false},     {WEFT_ALL_REDUCE, true},  {WEFT_REDUCE, false},
                 {WEFT_REDUCE_SCATTER, false}, {WEFT_ALL_GATHER, false}, {WEFT_ALL_TO_ALL, false},
                 {WEFT_ALL_TO_ALL, true},      {WEFT_BROADCAST, false},  {WEFT_GATHER, false},
                 {WEFT_SCATTER, false}};
    static const uint32_t stagers[] = {0x1f, 0x1e, 0x0d, 0x10};
    const uint64_t seed = 20261123;
    struct random random;
    random_seed(&random, seed);
    print_message("seed %llu\n", (unsigned long long)seed);
    inputs_draw(&random, WEFT_FLOAT32);
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        struct trial trial = {.collective = cases[c].collective,
                              .dtype = WEFT_FLOAT32,
                              .op = WEFT_SUM,
                              .lending = SIM_LENDS_COPIED,
                              .in_place = cases[c].in_place};
        uint8_t *copied = results_of(&trial);
        for (size_t s = 0; s <= sizeof stagers / sizeof *stagers; s++) {
            trial.anywhere = s == sizeof stagers / sizeof *stagers;
            trial.stagers = trial.anywhere ? 0x05 : stagers[s];
            for (int mapped = 0; mapped < 2; mapped++) {
                trial.lending = mapped ? SIM_LENDS_SOME_MAPPED : SIM_LENDS_COPIED;
                uint8_t *staged = results_of(&trial);
                assert_memory_equal(copied, staged, (size_t)RANKS * BYTES);
                free(staged);
            }
        }
        free(copied);
    }
}

/* The plans that select.c has near ranks run the steps of; of a long message after a portion that was staged. */
static void steps_of_plans_for_near_ranks_give_equal_bits(void **state)
{
    (void)state;
    static const weft_dtype dtypes[] = {WEFT_FLOAT32, WEFT_BFLOAT16};
    static const struct {
        weft_collective collective;
        weft_op op;
        uint32_t ranks, stage_bytes;
        bool in_place;
    } cases[] = {
        {WEFT_ALL_REDUCE, WEFT_SUM, 2, STAGE_BYTES, false},
        {WEFT_ALL_REDUCE, WEFT_AVG, 2, STAGE_BYTES, true},
        {WEFT_REDUCE, WEFT_SUM, 2, STAGE_BYTES, false},
        {WEFT_REDUCE, WEFT_PROD, 2, STAGE_BYTES, true},
        {WEFT_BROADCAST, WEFT_SUM, 2, STAGE_BYTES, false},
        {WEFT_BROADCAST, WEFT_SUM, RANKS, STAGE_BYTES, false},
        {WEFT_BROADCAST, WEFT_SUM, 2, SMALL_STAGE_BYTES, false},
        {WEFT_BROADCAST, WEFT_SUM, RANKS, SMALL_STAGE_BYTES, false},
        {WEFT_BROADCAST, WEFT_SUM, RANKS, SMALL_STAGE_BYTES, true},
    };
    const uint64_t seed = 20261124;
    struct random random;
    random_seed(&random, seed);
    print_message("seed %llu\n", (unsigned long long)seed);
    for (size_t d = 0; d < sizeof dtypes / sizeof *dtypes; d++) {
        inputs_draw(&random, dtypes[d]);
        for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
            struct trial trial = {.collective = cases[c].collective,
                                  .dtype = dtypes[d],
                                  .op = cases[c].op,
                                  .lending = SIM_LENDS_COPIED,
                                  .in_place = cases[c].in_place,
                                  .ranks = cases[c].ranks};
            uint8_t *copied = results_of(&trial);
            trial.near = WEFT_ALGORITHM_TREE;
            trial.stagers = 0x1f;
            trial.stage_bytes = cases[c].stage_bytes;
            uint8_t *near = results_of(&trial);
            assert_memory_equal(copied, near, (size_t)RANKS * BYTES);
            free(near);
            free(copied);
        }
    }
}

/* ---- Ranks that do not wait for those that read what they have staged ---- */

enum { RUNS = 12, BURST = 40 };

struct runner {
    struct rank *rank;
    weft_collective collective;
    uint32_t number, run;
    float input[COUNT];
};

static void runner_begin(struct runner *runner)
{
    for (uint32_t i = 0; i < COUNT; i++) runner->input[i] = (float)(runner->run * RANKS + runner->number);
    const struct operation_call call = {.send = runner->input,
                                        .recv = runner->rank->recv,
                                        .count = COUNT,
                                        .dtype = WEFT_FLOAT32,
                                        .op = WEFT_SUM,
                                        .divisor = 1,
                                        .slice_bytes = 1024,
                                        .check = runner->run + 1,
                                        .stages_when_near = true};
    assert_int_equal(operation_start(runner->rank->engine, runner->rank->binding, &call, &runner->rank->operation),
                     WEFT_OK);
}

static void runner_end(struct runner *runner)
{
    const bool gathers = runner->collective == WEFT_ALL_GATHER;
    const uint32_t sum = runner->run * RANKS * RANKS + RANKS * (RANKS - 1) / 2;
    for (uint32_t block = 0; block < (gathers ? RANKS : 1); block++)
        for (uint32_t i = 0; i < COUNT; i++) {
            float element;
            memcpy(&element, runner->rank->recv + (block * COUNT + i) * sizeof element, sizeof element);
            assert_true(element == (float)(gathers ? runner->run * RANKS + block : sum));
        }
    memset(runner->rank->recv, 0xff, sizeof runner->rank->recv);
    operation_free(runner->rank->operation);
    runner->rank->operation = NULL;
    runner->run++;
}

/* Begin the next run, or go on with the one under way. */
static void runner_advance(struct runner *runner, struct sim_fabric *fabric)
{
    bool moved = false;
    engine_poll(runner->rank->engine, sim_now_ns(fabric));
    if (!runner->rank->operation && runner->run < RUNS) runner_begin(runner);
    if (runner->rank->operation && operation_advance(runner->rank->operation, &moved) == WEFT_OK) runner_end(runner);
    sim_step(fabric);
}

/* They write their buffers anew as soon as a run is over for them, and stage again. */
static void runs_are_right(const struct trial *trial, uint64_t seed)
{
    static struct runner runners[RANKS];
    struct random random;
    struct world world = world_open(trial);
    uint32_t complete = 0;
    uint64_t read_on = 0;
    random_seed(&random, seed);
    print_message("seed %llu\n", (unsigned long long)seed);
    for (uint32_t i = 0; i < RANKS; i++)
        runners[i] = (struct runner){.rank = &world.ranks[i], .collective = trial->collective, .number = i};
    for (uint32_t turn = 0; turn < TURNS && complete < RANKS; turn++) {
        struct runner *runner = &runners[random_below(&random, RANKS)];
        const uint64_t burst = random_below(&random, BURST);
        for (uint64_t k = 0; k < burst; k++) runner_advance(runner, world.fabric);
        read_on += !runner->rank->operation && engine_is_awaited(runner->rank->engine);
        complete = 0;
        for (uint32_t i = 0; i < RANKS; i++) complete += runners[i].run == RUNS;
    }
    assert_int_equal(complete, RANKS);
    assert_true(read_on > 0);
    for (uint32_t i = 0; i < RANKS; i++) assert_false(engine_is_awaited(world.ranks[i].engine));
    world_close(&world, trial);
}

/* But not who has lent its own output, from which others pull. */
static void who_has_staged_goes_on_while_peers_read(void **state)
{
    (void)state;
    static const uint32_t stagers[] = {0x1f, 0x1e, 0x0b};
    struct trial trial = {.collective = WEFT_ALL_GATHER, .lending = SIM_LENDS_COPIED, .stagers = 0x1f};
    runs_are_right(&trial, 20261125);
    trial.collective = WEFT_ALL_REDUCE;
    trial.lending = SIM_LENDS_SOME_MAPPED;
    for (size_t i = 0; i < sizeof stagers / sizeof *stagers; i++) {
        trial.stagers = stagers[i];
        runs_are_right(&trial, 20261126 + i);
    }
}

/* Of one rank. */
static bool moves(struct world *world, uint32_t rank)
{
    bool moved = false;
    engine_poll(world->ranks[rank].engine, sim_now_ns(world->fabric));
    assert_int_equal(operation_advance(world->ranks[rank].operation, &moved), WEFT_IN_PROGRESS);
    return moved;
}

/* A rank that is done with its part would else take the others' work for idleness, and sleep. */
static void every_loan_given_back_is_progress(void **state)
{
    (void)state;
    const struct trial trial = {
        .collective = WEFT_ALL_REDUCE, .dtype = WEFT_FLOAT32, .op = WEFT_SUM, .lending = SIM_LENDS_COPIED, .ranks = 4};
    struct world world = world_open(&trial);
    operations_run(&trial, world.ranks, world.fabric); /* connects them */
    operations_start(&trial, world.ranks);
    for (uint32_t rank = 0; rank < 4; rank++) assert_true(moves(&world, rank)); /* the last does its part, too */
    assert_true(moves(&world, 0));
    assert_false(moves(&world, 0));
    assert_true(moves(&world, 1));
    assert_true(moves(&world, 0)); /* has buffers lent to one rank still, as to two before */
    assert_false(moves(&world, 0));
    bool moved = false;
    assert_int_equal(operation_advance(world.ranks[2].operation, &moved), WEFT_OK);
    assert_int_equal(operation_advance(world.ranks[0].operation, &moved), WEFT_OK);
    world_close(&world, &trial);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(steps_and_loans_give_equal_bits),
                                       cmocka_unit_test(staged_buffers_give_equal_bits),
                                       cmocka_unit_test(every_loan_given_back_is_progress),
                                       cmocka_unit_test(steps_of_plans_for_near_ranks_give_equal_bits),
                                       cmocka_unit_test(who_has_staged_goes_on_while_peers_read)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
