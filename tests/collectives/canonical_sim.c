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

#include "canonical_trial.h"
#include "collectives/plan/plan.h"
#include "transport/sim/sim.h"

enum { SEED_COUNT = 600 };

static uint64_t only_seed = UINT64_MAX;

static weft_status fabric_open(void *context, uint32_t rank, struct endpoint **endpoint)
{
    return sim_endpoint_create(context, rank, endpoint);
}

static uint64_t fabric_now_ns(void *context)
{
    return sim_now_ns(context);
}

static bool fabric_step(void *context)
{
    return sim_step(context);
}

struct trial {
    struct canonical_trial canonical;
    struct sim_config sim;
};

/* Run the plan, and end it. */
static void trial_run(const struct trial *trial, weft_plan *plan, uint64_t seed)
{
    static const char *const lendings[SIM_LENDING_KINDS] = {
        [SIM_LENDS_NOTHING] = "lends nothing",
        [SIM_LENDS_MAPPED] = "lends what is mapped",
        [SIM_LENDS_COPIED] = "lends, copied",
        [SIM_LENDS_SOME_MAPPED] = "lends, nothing mapped",
        [SIM_LENDS_UNMAPPED] = "lends what cannot be mapped",
    };
    struct sim_fabric *sim;
    char description[80];
    assert_int_equal(sim_fabric_create(&trial->sim, &sim), WEFT_OK);
    snprintf(description, sizeof description, "mapped %d, %s", trial->sim.maps, lendings[trial->sim.lending]);
    const struct canonical_fabric fabric = {sim, fabric_open, fabric_now_ns, fabric_step, trial->sim.maps, description};
    canonical_trial_run(&trial->canonical, &fabric, plan, seed);
    sim_fabric_destroy(sim);
}

/* What follows from the seed. */
static struct trial trial_of(uint64_t seed, uint32_t most_ranks)
{
    struct random random;
    random_seed(&random, seed ^ 0xca40);
    uint32_t ranks = 1 + (uint32_t)random_below(&random, most_ranks);
    if (random_below(&random, 12) == 0 && most_ranks > 9) ranks = CANONICAL_TRIAL_RANKS;
    struct trial trial = {
        .canonical = canonical_trial_draw(&random, (uint32_t)seed, ranks),
        .sim = {.rank_count = ranks,
                .latency_ns = 1000,
                .jitter_ns = 3000,
                .bytes_per_s = 1e9,
                .path_count = 1,
                .seed = seed},
    };
    trial.sim.maps = random_below(&random, 2);
    trial.sim.lending = (enum sim_lending)random_below(&random, SIM_LENDING_KINDS);
    return trial;
}

static void seed_run(uint64_t seed)
{
    struct trial trial = trial_of(seed, 17);
    weft_plan *plan;
    assert_int_equal(weft_plan_create(&trial.canonical.spec, &plan), WEFT_OK);
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
        if (trial.canonical.spec.rank_count == 1) continue;
        struct random random;
        random_seed(&random, ~seed);
        weft_plan *plan;
        assert_int_equal(weft_plan_create(&trial.canonical.spec, &plan), WEFT_OK);
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
