/* SPDX-License-Identifier: Apache-2.0 */
#include "canonical_trial.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "canonical_reference.h"
#include "collectives/exec/exec.h"
#include "tests/collectives/canonical_plans.h"

enum { IDLE_LIMIT = 100 };

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
    const struct canonical_trial *trial;
    const struct canonical_fabric *fabric;
    struct member members[CANONICAL_TRIAL_RANKS];
    uint64_t elements; /* of an input */
};

bool canonical_trial_scatters(const struct canonical_trial *trial)
{
    return trial->spec.collective == WEFT_REDUCE_SCATTER;
}

static size_t block_bytes(const struct canonical_trial *trial)
{
    return trial->count * weft_dtype_size(trial->dtype);
}

static void engine_begin(struct run *run, uint32_t rank, weft_plan *plan)
{
    struct member *member = &run->members[rank];
    const struct canonical_trial *trial = run->trial;
    assert_int_equal(run->fabric->open(run->fabric->context, rank, &member->endpoint), WEFT_OK);
    const struct engine_config config = {
        .endpoint = member->endpoint,
        .rank = rank,
        .rank_count = trial->spec.rank_count,
        .channel_limit = plan->channel_count,
        .slot_depth = trial->spec.slot_depth,
        .slot_bytes = trial->slice_bytes,
        .exchanges = run->fabric->maps && trial->spec.rank_count <= EXCHANGE_RANKS,
    };
    assert_int_equal(engine_create(&config, &member->engine), WEFT_OK);
    assert_int_equal(binding_create(member->engine, plan, 0, &member->binding), WEFT_OK);
}

static void member_begin(struct run *run, uint32_t rank, weft_plan *plan, struct random *random)
{
    struct member *member = &run->members[rank];
    const struct canonical_trial *trial = run->trial;
    size_t bytes = run->elements * weft_dtype_size(trial->dtype) + 64;
    engine_begin(run, rank, plan);
    member->input = malloc(bytes);
    member->send = malloc(bytes);
    fill_wild(trial->dtype, random, member->input, run->elements);
    memcpy(member->send, member->input, run->elements * weft_dtype_size(trial->dtype));
    uint8_t *in_place = member->send + (canonical_trial_scatters(trial) ? rank * block_bytes(trial) : 0);
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
            moved |= engine_poll(member->engine, run->fabric->now_ns(run->fabric->context));
            if (member->status != WEFT_IN_PROGRESS) continue;
            member->status = operation_advance(member->operation, &moved);
            left -= member->status != WEFT_IN_PROGRESS;
        }
        idle = moved || run->fabric->step(run->fabric->context) ? 0 : idle + 1;
    }
    for (uint32_t rank = 0; rank < ranks; rank++)
        if (run->members[rank].status != WEFT_OK) return run->members[rank].status;
    return WEFT_OK;
}

/* Is the output of the rank the reference's, for all of its block? */
static bool output_is_right(const struct run *run, uint32_t rank, uint8_t *expected)
{
    const struct canonical_trial *trial = run->trial;
    if (trial->spec.collective == WEFT_REDUCE && rank != trial->spec.root) return true;
    const void *sources[CANONICAL_TRIAL_RANKS];
    double scales[CANONICAL_TRIAL_RANKS];
    for (uint32_t i = 0; i < trial->spec.rank_count; i++) {
        sources[i] = run->members[i].input + (canonical_trial_scatters(trial) ? rank * block_bytes(trial) : 0);
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
}

void canonical_trial_run(const struct canonical_trial *trial, const struct canonical_fabric *fabric, weft_plan *plan,
                         uint64_t seed)
{
    struct run *run = calloc(1, sizeof *run);
    run->trial = trial;
    run->fabric = fabric;
    run->elements = trial->count * (canonical_trial_scatters(trial) ? trial->spec.rank_count : 1);
    struct random random;
    random_seed(&random, seed);
    for (uint32_t rank = 0; rank < trial->spec.rank_count; rank++) member_begin(run, rank, plan, &random);
    weft_status status = run_all(run, &random);
    uint8_t *expected = malloc(block_bytes(trial) + 1);
    uint32_t wrong = 0;
    for (uint32_t rank = 0; rank < trial->spec.rank_count && status == WEFT_OK; rank++)
        wrong += !output_is_right(run, rank, expected);
    if (status != WEFT_OK || wrong > 0)
        fail_msg("seed %llu: %s %s ranks %u root %u channels %u slice %u slots %u, %s %s count %llu, %s, in place %d: "
                 "%s, wrong at %u ranks",
                 (unsigned long long)seed, weft_collective_name(trial->spec.collective),
                 weft_algorithm_name(trial->spec.algorithm), trial->spec.rank_count, trial->spec.root,
                 trial->spec.channel_count, trial->slice_bytes, trial->spec.slot_depth, weft_dtype_name(trial->dtype),
                 weft_op_name(trial->op), (unsigned long long)trial->count, fabric->description, trial->in_place,
                 weft_status_name(status), wrong);
    free(expected);
    run_end(run);
    free(run);
    weft_plan_destroy(plan);
}

struct canonical_trial canonical_trial_draw(struct random *random, uint32_t which, uint32_t ranks)
{
    const struct canonical_plan *chosen = &canonical_plans[which % CANONICAL_PLAN_COUNT];
    struct canonical_trial trial = {
        .spec = {.size = sizeof trial.spec,
                 .collective = chosen->collective,
                 .algorithm = chosen->algorithm,
                 .rank_count = ranks,
                 .root = chosen->collective == WEFT_REDUCE ? (uint32_t)random_below(random, ranks) : 0,
                 .channel_count = 1 + (uint32_t)random_below(random, 4),
                 .slot_depth = 2 + (uint32_t)random_below(random, 3),
                 .canonical = true},
        .dtype = (weft_dtype)random_below(random, WEFT_DTYPE_COUNT),
        .op = (weft_op)random_below(random, WEFT_OP_COUNT),
        .count = random_below(random, random_below(random, 8) == 0 ? 6000 : 300),
        .slice_bytes = 64 * (1 + (uint32_t)random_below(random, 20)),
        .in_place = random_below(random, 2),
    };
    if (canonical_trial_scatters(&trial)) trial.count /= ranks;
    return trial;
}
