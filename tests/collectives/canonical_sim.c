/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Canonical plans under simulation, against the reference: every type and operation, rank counts up to 33, any number
 * of channels, size of slices, order of messages, mapped or not, lent or not, in place or not. What a run is follows
 * from its seed; `test_canonical_sim SEED` runs one alone.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "canonical_reference.h"
#include "collectives/exec/exec.h"
#include "tests/collectives/canonical_plans.h"
#include "transport/sim/sim.h"

enum { MAX_RANKS = 33, IDLE_LIMIT = 100, SEED_COUNT = 600 };

static uint64_t only_seed = UINT64_MAX;

struct trial {
    weft_plan_spec spec;
    struct sim_config sim;
    weft_dtype dtype;
    weft_op op;
    uint64_t count; /* elements of a block */
    uint32_t slice_bytes;
    bool in_place;
};

struct member {
    struct endpoint *endpoint;
    struct engine *engine;
    struct binding *binding;
    struct operation *operation;
    weft_status status;
    uint8_t *input, *send, *recv; /* input: kept, because send may be overwritten */
    double scale;
};

struct run {
    const struct trial *trial;
    struct sim_fabric *fabric;
    struct member members[MAX_RANKS];
    uint64_t elements; /* of an input */
};

static bool is_scattered(const struct trial *trial)
{
    return trial->spec.collective == WEFT_REDUCE_SCATTER;
}

static size_t block_bytes(const struct trial *trial)
{
    return trial->count * weft_dtype_size(trial->dtype);
}

static void engine_begin(struct run *run, uint32_t rank, weft_plan *plan)
{
    struct member *member = &run->members[rank];
    const struct trial *trial = run->trial;
    assert_int_equal(sim_endpoint_create(run->fabric, rank, &member->endpoint), WEFT_OK);
    const struct engine_config config = {
        .endpoint = member->endpoint,
        .rank = rank,
        .rank_count = trial->spec.rank_count,
        .channel_limit = plan->channel_count,
        .slot_depth = trial->spec.slot_depth,
        .slot_bytes = trial->slice_bytes,
        .exchanges = trial->sim.maps && trial->spec.rank_count <= EXCHANGE_RANKS,
    };
    assert_int_equal(engine_create(&config, &member->engine), WEFT_OK);
    assert_int_equal(binding_create(member->engine, plan, 0, &member->binding), WEFT_OK);
}

static void member_begin(struct run *run, uint32_t rank, weft_plan *plan, struct random *random)
{
    struct member *member = &run->members[rank];
    const struct trial *trial = run->trial;
    size_t bytes = run->elements * weft_dtype_size(trial->dtype) + 64;
    engine_begin(run, rank, plan);
    member->input = malloc(bytes);
    member->send = malloc(bytes);
    fill_wild(trial->dtype, random, member->input, run->elements);
    memcpy(member->send, member->input, run->elements * weft_dtype_size(trial->dtype));
    uint8_t *in_place = member->send + (is_scattered(trial) ? rank * block_bytes(trial) : 0);
    member->recv = trial->in_place ? in_place : malloc(bytes);
    member->scale = any_scale(trial->dtype, random);
    member->status = WEFT_IN_PROGRESS;
    const struct operation_call call = {
        .send = member->send,
        .recv = member->recv,
        .count = trial->count,
        .dtype = trial->dtype,
        .op = trial->op,
        .divisor = trial->op == WEFT_AVG ? trial->spec.rank_count : 1,
        .scale = member->scale,
        .slice_bytes = trial->slice_bytes,
        .check = 7,
        .overwrites = trial->in_place,
        .acknowledged = trial->spec.collective == WEFT_REDUCE,
    };
    assert_int_equal(operation_start(member->engine, member->binding, &call, &member->operation), WEFT_OK);
}

static weft_status run_all(struct run *run, struct random *random)
{
    uint32_t ranks = run->trial->spec.rank_count, left = ranks;
    for (uint32_t idle = 0; left > 0 && idle < IDLE_LIMIT;) {
        bool moved = false;
        uint32_t first = (uint32_t)random_below(random, ranks);
        for (uint32_t i = 0; i < ranks; i++) {
            struct member *member = &run->members[(first + i) % ranks];
            if (random_below(random, 4) == 0) continue; /* now and then a rank is slow */
            moved |= engine_poll(member->engine, sim_now_ns(run->fabric));
            if (member->status != WEFT_IN_PROGRESS) continue;
            member->status = operation_advance(member->operation, &moved);
            left -= member->status != WEFT_IN_PROGRESS;
        }
        idle = moved || sim_step(run->fabric) ? 0 : idle + 1;
    }
    for (uint32_t rank = 0; rank < ranks; rank++)
        if (run->members[rank].status != WEFT_OK) return run->members[rank].status;
    return WEFT_OK;
}

/* Is the output of the rank the reference's, for all of its block? */
static bool output_is_right(const struct run *run, uint32_t rank, uint8_t *expected)
{
    const struct trial *trial = run->trial;
    if (trial->spec.collective == WEFT_REDUCE && rank != trial->spec.root) return true;
    const void *sources[MAX_RANKS];
    double scales[MAX_RANKS];
    for (uint32_t i = 0; i < trial->spec.rank_count; i++) {
        sources[i] = run->members[i].input + (is_scattered(trial) ? rank * block_bytes(trial) : 0);
        scales[i] = run->members[i].scale;
    }
    const struct reduce_call call = {
        .sources = sources,
        .source_count = trial->spec.rank_count,
        .count = trial->count,
        .divisor = trial->op == WEFT_AVG ? trial->spec.rank_count : 1,
        .scales = trial->op == WEFT_PREMUL_SUM ? scales : NULL,
    };
    canonical_reference(trial->dtype, trial->op, &call, expected);
    return memcmp(run->members[rank].recv, expected, block_bytes(trial)) == 0;
}

static void run_end(struct run *run)
{
    for (uint32_t rank = 0; rank < run->trial->spec.rank_count; rank++) {
        struct member *member = &run->members[rank];
        operation_free(member->operation);
        engine_destroy(member->engine);
        binding_destroy(member->binding);
        endpoint_destroy(member->endpoint);
        if (!run->trial->in_place) free(member->recv);
        free(member->send);
        free(member->input);
    }
    sim_fabric_destroy(run->fabric);
}

/* Run the plan, and end it. */
static void trial_run(const struct trial *trial, weft_plan *plan, uint64_t seed)
{
    struct run *run = calloc(1, sizeof *run);
    run->trial = trial;
    run->elements = trial->count * (is_scattered(trial) ? trial->spec.rank_count : 1);
    assert_int_equal(sim_fabric_create(&trial->sim, &run->fabric), WEFT_OK);
    struct random random;
    random_seed(&random, seed);
    for (uint32_t rank = 0; rank < trial->spec.rank_count; rank++) member_begin(run, rank, plan, &random);
    weft_status status = run_all(run, &random);
    uint8_t *expected = malloc(block_bytes(trial) + 1);
    uint32_t wrong = 0;
    for (uint32_t rank = 0; rank < trial->spec.rank_count && status == WEFT_OK; rank++)
        wrong += !output_is_right(run, rank, expected);
    if (status != WEFT_OK || wrong > 0)
        fail_msg(
            "seed %llu: %s %s ranks %u root %u channels %u slice %u slots %u, %s %s count %llu, mapped %d lending %d "
            "in place %d: %s, wrong at %u ranks",
            (unsigned long long)seed, weft_collective_name(trial->spec.collective),
            weft_algorithm_name(trial->spec.algorithm), trial->spec.rank_count, trial->spec.root,
            trial->spec.channel_count, trial->slice_bytes, trial->spec.slot_depth, weft_dtype_name(trial->dtype),
            weft_op_name(trial->op), (unsigned long long)trial->count, trial->sim.maps, trial->sim.lending,
            trial->in_place, weft_status_name(status), wrong);
    free(expected);
    run_end(run);
    free(run);
    weft_plan_destroy(plan);
}

/* What follows from the seed. */
static struct trial trial_of(uint64_t seed, uint32_t most_ranks)
{
    struct random random;
    random_seed(&random, seed ^ 0xca40);
    uint32_t which = (uint32_t)(seed % CANONICAL_PLAN_COUNT), ranks = 1 + (uint32_t)random_below(&random, most_ranks);
    if (random_below(&random, 12) == 0 && most_ranks > 9) ranks = MAX_RANKS;
    struct trial trial = {
        .spec = {.size = sizeof trial.spec,
                 .collective = canonical_plans[which].collective,
                 .algorithm = canonical_plans[which].algorithm,
                 .rank_count = ranks,
                 .root = canonical_plans[which].collective == WEFT_REDUCE ? (uint32_t)random_below(&random, ranks) : 0,
                 .channel_count = 1 + (uint32_t)random_below(&random, 4),
                 .slot_depth = 2 + (uint32_t)random_below(&random, 3),
                 .canonical = true},
        .sim = {.rank_count = ranks,
                .latency_ns = 1000,
                .jitter_ns = 3000,
                .bytes_per_s = 1e9,
                .path_count = 1,
                .seed = seed},
        .dtype = (weft_dtype)random_below(&random, WEFT_DTYPE_COUNT),
        .op = (weft_op)random_below(&random, WEFT_OP_COUNT),
        .count = random_below(&random, random_below(&random, 8) == 0 ? 6000 : 300),
        .slice_bytes = 64 * (1 + (uint32_t)random_below(&random, 20)),
        .in_place = random_below(&random, 2),
    };
    if (is_scattered(&trial)) trial.count /= ranks;
    trial.sim.maps = random_below(&random, 2);
    trial.sim.lending = (enum sim_lending)random_below(&random, SIM_LENDS_COPIED + 1);
    return trial;
}

static void seed_run(uint64_t seed)
{
    struct trial trial = trial_of(seed, 17);
    weft_plan *plan;
    assert_int_equal(weft_plan_create(&trial.spec, &plan), WEFT_OK);
    trial_run(&trial, plan, seed);
}

static void every_run_is_the_reference_bit_by_bit(void **state)
{
    (void)state;
    if (only_seed != UINT64_MAX) {
        seed_run(only_seed);
        return;
    }
    for (uint64_t seed = 0; seed < SEED_COUNT; seed++) seed_run(seed);
}

/* One step that combines, anywhere in the plan, joins its sources otherwise. */
static void plan_mutate(weft_plan *plan, struct random *random)
{
    struct plan_program *program;
    struct plan_step *step;
    do {
        program = &plan->programs[random_below(random, plan->rank_count)];
        step = &program->steps[random_below(random, program->step_count)];
    } while (step->source_count < 2);
    struct plan_operand *sources = &program->operands[step->first_operand];
    uint64_t one = random_below(random, step->source_count), other = random_below(random, step->source_count);
    struct plan_operand kept = sources[one];
    if (random_below(random, 3) == 0 || one == other) {
        step->flags ^= STEP_TREE;
    } else {
        sources[one] = sources[other];
        sources[other] = kept;
    }
}

/* The same plan, whose programs may be changed. */
static weft_plan *plan_copy(const weft_plan *plan)
{
    weft_plan *copy;
    char *text;
    assert_int_equal(weft_plan_print(plan, WEFT_ALL_RANKS, WEFT_TEXT, &text), WEFT_OK);
    assert_int_equal(weft_plan_read(text, strlen(text), &copy, NULL), WEFT_OK);
    free(text);
    return copy;
}

static void what_the_verifier_accepts_is_the_reference(void **state)
{
    (void)state;
    uint32_t accepted = 0, refused = 0;
    for (uint64_t seed = 0; seed < SEED_COUNT; seed++) {
        struct trial trial = trial_of(seed, 9);
        if (trial.spec.rank_count == 1) continue;
        struct random random;
        random_seed(&random, ~seed);
        weft_plan *plan;
        assert_int_equal(weft_plan_create(&trial.spec, &plan), WEFT_OK);
        weft_plan *mutant = plan_copy(plan);
        weft_plan_destroy(plan);
        plan_mutate(mutant, &random);
        if (weft_plan_verify(mutant, NULL) == WEFT_OK) {
            accepted++;
            trial_run(&trial, mutant, seed);
        } else {
            refused++;
            weft_plan_destroy(mutant);
        }
    }
    assert_true(accepted > SEED_COUNT / 20);
    assert_true(refused > SEED_COUNT / 20);
}

int main(int argc, char **argv)
{
    if (argc > 1) only_seed = strtoull(argv[1], NULL, 10);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_run_is_the_reference_bit_by_bit),
        cmocka_unit_test(what_the_verifier_accepts_is_the_reference),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
