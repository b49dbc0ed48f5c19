/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Plans under simulation: right results for every generator, rank count, count and root, whatever the order in which
 * ranks run and messages come. `test_exec_sim SEED` runs one seed of the random test alone.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "collectives/plan/shape.h"
#include "tests/collectives/exec_world.h"

#define SEED_COUNT 1000u

static uint64_t only_seed = UINT64_MAX;

static struct world_config base_config(weft_collective collective, weft_algorithm algorithm, uint32_t ranks)
{
    return (struct world_config){
        .spec = {.size = sizeof(weft_plan_spec),
                 .collective = collective,
                 .algorithm = algorithm,
                 .rank_count = ranks,
                 .slot_depth = 4},
        .sim = {.rank_count = ranks, .latency_ns = 1000, .bytes_per_s = 1e9, .path_count = 1},
        .op = WEFT_SUM,
        .slice_bytes = 256,
        .operations = 1,
        .acknowledged = shape_of(collective)->rooted,
    };
}

/* Can the algorithm be had for the collective without a layout? */
static bool exists(int collective, int algorithm, uint32_t ranks)
{
    const struct plan_generator *generator =
        plan_generator_find((weft_collective)collective, (weft_algorithm)algorithm);
    return generator && plan_generator_serves(generator, ranks, false);
}

/* Run and check; what was run is printed if anything is wrong. */
static void run_checked(const struct world_config *config, uint64_t seed)
{
    weft_plan *plan;
    assert_int_equal(weft_plan_create(&config->spec, &plan), WEFT_OK);
    struct world *world = world_create(config, plan);
    weft_status status = world_run(world, seed);
    uint64_t wrong = status == WEFT_OK ? world_wrong(world) : 0;
    if (status != WEFT_OK || wrong)
        print_error(
            "seed %llu: %s %s ranks %u root %u peer %u channels %u count %llu mapped %d lending %d: %s, %llu wrong\n",
            (unsigned long long)seed, weft_collective_name(config->spec.collective),
            weft_algorithm_name(config->spec.algorithm), config->spec.rank_count, config->spec.root, config->spec.peer,
            config->spec.channel_count, (unsigned long long)config->count, config->sim.maps, config->sim.lending,
            weft_status_name(status), (unsigned long long)wrong);
    world_destroy(world);
    weft_plan_destroy(plan);
    assert_int_equal(status, WEFT_OK);
    assert_int_equal(wrong, 0);
}

static void every_generator_is_right_for_small_counts(void **state)
{
    (void)state;
    for (uint32_t ranks = 1; ranks <= 17; ranks++)
        for (int algorithm = WEFT_ALGORITHM_RING; algorithm <= WEFT_ALGORITHM_DIRECT; algorithm++)
            for (uint32_t channels = 1; channels <= 4; channels++) {
                const uint64_t counts[] = {0, 1, ranks - 1, ranks, ranks + 1, 3 * ranks + 2};
                for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
                    struct world_config config = base_config(WEFT_ALL_REDUCE, (weft_algorithm)algorithm, ranks);
                    config.spec.channel_count = channels;
                    config.count = counts[i];
                    config.sim.maps = i % 2;
                    config.sim.steady = i % 4 < 2;
                    config.sim.lands = i % 3 > 0;
                    run_checked(&config, i);
                }
            }
}

static void every_collective_is_right_for_small_counts(void **state)
{
    (void)state;
    for (int collective = WEFT_BARRIER; collective < WEFT_COLLECTIVE_COUNT; collective++)
        for (int algorithm = WEFT_ALGORITHM_RING; algorithm < WEFT_ALGORITHM_COUNT; algorithm++)
            for (uint32_t ranks = 1; ranks <= 9; ranks++)
                for (uint32_t i = 0; i < 6 && exists(collective, algorithm, ranks); i++) {
                    const uint64_t counts[] = {0, 1, 7, 33, 64, 301};
                    struct world_config config =
                        base_config((weft_collective)collective, (weft_algorithm)algorithm, ranks);
                    bool rooted = shape_of((weft_collective)collective)->rooted;
                    config.spec.root = rooted ? (i * 5 + ranks) % ranks : 0;
                    config.spec.peer = collective == WEFT_SEND_RECV ? (i * 3) % ranks : 0;
                    config.spec.channel_count = 1 + i % 3;
                    config.count = counts[i];
                    config.sim.maps = i % 2;
                    config.sim.steady = i % 4 < 2;
                    config.sim.lands = i % 3 > 0;
                    config.in_place = (i / 2) % 2;
                    config.first_channel = i;
                    run_checked(&config, i);
                }
}

static void rooted_collectives_are_right_from_every_root(void **state)
{
    (void)state;
    static const weft_collective rooted[] = {WEFT_BROADCAST, WEFT_REDUCE, WEFT_GATHER, WEFT_SCATTER};
    for (size_t c = 0; c < sizeof rooted / sizeof rooted[0]; c++)
        for (uint32_t ranks = 1; ranks <= 17; ranks += ranks < 9 ? 1 : 4)
            for (int algorithm = WEFT_ALGORITHM_RING; algorithm < WEFT_ALGORITHM_COUNT; algorithm++)
                for (uint32_t root = 0; root < ranks && exists(rooted[c], algorithm, ranks); root++) {
                    struct world_config config = base_config(rooted[c], (weft_algorithm)algorithm, ranks);
                    config.spec.root = root;
                    config.spec.channel_count = 1 + root % 4;
                    config.count = 3 * ranks + 2 + root * 50;
                    config.sim.maps = root % 2;
                    config.sim.steady = root % 4 < 2;
                    config.sim.lands = root % 3 > 0;
                    config.in_place = root % 3 == 0;
                    run_checked(&config, root);
                }
}

/* Seven ranks: rings of three step widths, and a tree at each rank with a way up of its own. */
static void plans_over_a_layout_are_right(void **state)
{
    (void)state;
    enum { N = 7 };
    uint32_t orders[3][N], parents[N][N], up[N][N];
    weft_plan_ring rings[3];
    weft_plan_tree trees[N];
    for (uint32_t width = 1; width <= 3; width++) {
        for (uint32_t i = 0; i < N; i++) orders[width - 1][i] = i * width % N;
        rings[width - 1] = (weft_plan_ring){orders[width - 1], width};
    }
    for (uint32_t root = 0; root < N; root++) {
        for (uint32_t i = 1; i < N; i++) {
            parents[root][(root + i) % N] = (root + i / 2) % N;
            up[root][(root + i) % N] = (root + i - 1) % N;
        }
        trees[root] = (weft_plan_tree){root, parents[root], root % 2 ? up[root] : NULL, 1 + root % 3};
    }
    const weft_plan_layout layout = {
        .size = sizeof layout, .rings = rings, .ring_count = 3, .trees = trees, .tree_count = N};
    for (int collective = 0; collective < WEFT_COLLECTIVE_COUNT; collective++)
        for (int algorithm = WEFT_ALGORITHM_RING; algorithm <= WEFT_ALGORITHM_TREE; algorithm++) {
            const struct plan_generator *generator =
                plan_generator_find((weft_collective)collective, (weft_algorithm)algorithm);
            for (uint64_t seed = 0; seed < 8 && generator && plan_generator_serves(generator, N, true); seed++) {
                struct world_config config = base_config((weft_collective)collective, (weft_algorithm)algorithm, N);
                config.spec.layout = &layout;
                config.spec.root = shape_of((weft_collective)collective)->rooted ? (uint32_t)seed % N : 0;
                config.count = seed * 311;
                config.operations = 2;
                config.sim.maps = seed % 2;
                config.sim.steady = seed % 4 < 2;
                config.sim.lands = seed % 3 > 0;
                config.in_place = seed / 2 % 2;
                config.sim.jitter_ns = seed * 300;
                run_checked(&config, seed);
            }
        }
}

/* Groups of any ranks, within groups of any of those. */
static void hierarchical_plans_are_right_for_any_groups(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 300; seed++) {
        if (only_seed != UINT64_MAX && seed != only_seed) continue;
        struct random random;
        random_seed(&random, seed);
        enum { RANKS_MAX = 20 };
        uint32_t groups[2 * RANKS_MAX], ranks = 1 + (uint32_t)random_below(&random, RANKS_MAX);
        uint32_t fine = 1 + (uint32_t)random_below(&random, ranks), coarse = 1 + (uint32_t)random_below(&random, fine);
        for (uint32_t rank = 0; rank < ranks; rank++) {
            groups[rank] = (uint32_t)random_below(&random, fine);
            groups[ranks + rank] = groups[rank] % coarse;
        }
        const weft_plan_layout layout = {.size = sizeof layout, .groups = groups, .level_count = 1 + seed % 2};
        int collective = (int)random_below(&random, WEFT_COLLECTIVE_COUNT);
        if (!exists(collective, WEFT_ALGORITHM_HIERARCHICAL, ranks)) continue;
        struct world_config config = base_config((weft_collective)collective, WEFT_ALGORITHM_HIERARCHICAL, ranks);
        config.spec.layout = &layout;
        config.spec.root = shape_of((weft_collective)collective)->rooted ? (uint32_t)random_below(&random, ranks) : 0;
        config.spec.channel_count = 1 + (uint32_t)random_below(&random, 2);
        config.spec.slot_depth = 2 + (uint32_t)random_below(&random, 4);
        config.count = collective == WEFT_BARRIER ? 0 : random_below(&random, 700);
        config.operations = 1 + (uint32_t)random_below(&random, 3);
        config.sim.maps = random_below(&random, 2);
        config.sim.steady = random_below(&random, 2);
        config.sim.lands = random_below(&random, 2);
        config.in_place = random_below(&random, 2);
        config.sim.jitter_ns = random_below(&random, 5000);
        config.sim.refuse_per_mille = random_below(&random, 2) ? 200 : 0;
        run_checked(&config, seed);
    }
}

/* Two ranks send all of their input at once, and their results come to lie on it. Puts are read as late as can be. */
static void in_place_nothing_is_written_over_before_it_has_left(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 60; seed++) {
        struct world_config config = base_config(WEFT_ALL_REDUCE, WEFT_ALGORITHM_DIRECT, 2);
        config.spec.channel_count = 1 + seed % 3;
        config.count = 300 + seed;
        config.operations = 2;
        config.in_place = true;
        config.sim.jitter_ns = 5000;
        config.sim.path_count = 1 + seed % 2;
        config.sim.refuse_per_mille = seed % 3 == 0 ? 200 : 0;
        run_checked(&config, seed);
    }
}

static struct world_config random_config(uint64_t seed)
{
    struct random random;
    random_seed(&random, seed);
    static const weft_op ops[] = {WEFT_SUM, WEFT_MAX, WEFT_AVG, WEFT_PREMUL_SUM};
    uint32_t ranks = 1 + (uint32_t)random_below(&random, 16);
    int collective, algorithm;
    do {
        collective = (int)random_below(&random, WEFT_COLLECTIVE_COUNT);
        algorithm = (int)random_below(&random, WEFT_ALGORITHM_COUNT);
    } while (!exists(collective, algorithm, ranks));
    const struct shape *shape = shape_of((weft_collective)collective);
    if ((shape->blocks != BLOCKS_ONE || algorithm == WEFT_ALGORITHM_DIRECT) && ranks > 8) ranks -= 8; /* their square */
    struct world_config config = base_config((weft_collective)collective, (weft_algorithm)algorithm, ranks);
    config.spec.channel_count = collective == WEFT_BARRIER ? 1 : 1 + (uint32_t)random_below(&random, 4);
    config.spec.slot_depth = 2 + (uint32_t)random_below(&random, 6);
    config.spec.root = shape->rooted ? (uint32_t)random_below(&random, ranks) : 0;
    config.spec.peer = collective == WEFT_SEND_RECV ? (uint32_t)random_below(&random, ranks) : 0;
    uint64_t most = shape->blocks == BLOCKS_ONE ? 4000 : shape->blocks == BLOCKS_PER_RANK ? 250 : 50;
    if (algorithm == WEFT_ALGORITHM_DIRECT && random_below(&random, 4) == 0) most = 4000; /* large enough to be lent */
    config.count = collective == WEFT_BARRIER ? 0 : random_below(&random, most);
    if (shape->combines) config.op = ops[random_below(&random, 4)];
    config.slice_bytes = 64 * (1 + (uint32_t)random_below(&random, 16));
    config.operations = 1 + (uint32_t)random_below(&random, 4);
    config.in_place = random_below(&random, 2);
    config.sim.seed = seed;
    config.sim.maps = random_below(&random, 2);
    config.sim.steady = random_below(&random, 2);
    config.sim.lands = random_below(&random, 2);
    config.sim.lending = (enum sim_lending)random_below(&random, SIM_LENDING_KINDS);
    /* Large enough for everybody to copy a share. */
    if (algorithm == WEFT_ALGORITHM_DIRECT && shape->blocks == BLOCKS_ONE && config.sim.maps &&
        config.sim.lending == SIM_LENDS_COPIED)
        config.count = random_below(&random, 60000);
    if (random_below(&random, 4) == 0) config.overwriting_rank = 1 + (uint32_t)random_below(&random, ranks);
    config.sim.jitter_ns = random_below(&random, 5000);
    config.sim.path_count = 1 + (uint32_t)random_below(&random, 3);
    config.sim.refuse_per_mille = random_below(&random, 2) ? 200 : 0;
    if (config.acknowledged) config.acknowledged = random_below(&random, 2);
    return config;
}

static void a_thousand_random_runs_are_right(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < SEED_COUNT; seed++) {
        if (only_seed != UINT64_MAX && seed != only_seed) continue;
        struct world_config config = random_config(seed);
        run_checked(&config, seed);
    }
}

static void large_worlds_are_right(void **state)
{
    (void)state;
    for (int algorithm = WEFT_ALGORITHM_RING; algorithm <= WEFT_ALGORITHM_TREE; algorithm++) {
        struct world_config config = base_config(WEFT_ALL_REDUCE, (weft_algorithm)algorithm, 128);
        config.count = 1000;
        config.sim.jitter_ns = 500;
        run_checked(&config, 1);
    }
}

static void a_dead_rank_is_named_by_those_who_wait_for_it(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 200; seed++) {
        struct random random;
        random_seed(&random, seed);
        uint32_t ranks = 2 + (uint32_t)random_below(&random, 7);
        uint32_t victim = (uint32_t)random_below(&random, ranks);
        struct world_config config =
            base_config(WEFT_ALL_REDUCE, (weft_algorithm)(WEFT_ALGORITHM_RING + random_below(&random, 3)), ranks);
        config.count = 3000;
        config.sim.seed = seed;
        config.sim.maps = random_below(&random, 2);
        config.sim.steady = random_below(&random, 2);
        config.sim.lands = random_below(&random, 2);
        config.sim.lending = (enum sim_lending)random_below(&random, SIM_LENDING_KINDS);
        const struct sim_fault death = {
            .kind = SIM_KILL_RANK, .rank = victim, .at_ns = 1 + random_below(&random, 20000)};
        config.sim.faults = &death;
        config.sim.fault_count = 1;
        weft_plan *plan;
        assert_int_equal(weft_plan_create(&config.spec, &plan), WEFT_OK);
        struct world *world = world_create(&config, plan);
        world_run(world, seed);
        uint32_t named = 0, finished = 0;
        for (uint32_t rank = 0; rank < ranks; rank++) {
            if (rank == victim) continue;
            weft_status status = world_status(world, rank);
            finished += status == WEFT_OK;
            if (status != WEFT_PEER_FAILED) continue;
            assert_int_equal(world_stall(world, rank).peer, victim);
            named++;
        }
        if (named == 0 && finished != ranks - 1)
            fail_msg("seed %llu: nobody names rank %u", (unsigned long long)seed, victim);
        world_destroy(world);
        weft_plan_destroy(plan);
    }
}

static void data_of_another_call_is_never_combined(void **state)
{
    (void)state;
    for (int algorithm = WEFT_ALGORITHM_RING; algorithm <= WEFT_ALGORITHM_DIRECT; algorithm++)
        for (uint32_t ranks = 2; ranks <= 9; ranks++)
            for (uint32_t odd_one = 0; odd_one < ranks; odd_one++) {
                struct world_config config = base_config(WEFT_ALL_REDUCE, (weft_algorithm)algorithm, ranks);
                config.count = 100;
                config.disagreeing_rank = odd_one + 1;
                config.sim.maps = odd_one % 2;
                weft_plan *plan;
                assert_int_equal(weft_plan_create(&config.spec, &plan), WEFT_OK);
                struct world *world = world_create(&config, plan);
                world_run(world, odd_one);
                uint32_t mismatches = 0;
                for (uint32_t rank = 0; rank < ranks; rank++) {
                    weft_status status = world_status(world, rank);
                    assert_int_not_equal(status, WEFT_OK);
                    mismatches += status == WEFT_MISMATCH;
                }
                assert_true(mismatches > 0);
                world_destroy(world);
                weft_plan_destroy(plan);
            }
}

int main(int argc, char **argv)
{
    if (argc > 1) only_seed = strtoull(argv[1], NULL, 10);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_generator_is_right_for_small_counts),
        cmocka_unit_test(every_collective_is_right_for_small_counts),
        cmocka_unit_test(rooted_collectives_are_right_from_every_root),
        cmocka_unit_test(plans_over_a_layout_are_right),
        cmocka_unit_test(hierarchical_plans_are_right_for_any_groups),
        cmocka_unit_test(in_place_nothing_is_written_over_before_it_has_left),
        cmocka_unit_test(a_thousand_random_runs_are_right),
        cmocka_unit_test(large_worlds_are_right),
        cmocka_unit_test(a_dead_rank_is_named_by_those_who_wait_for_it),
        cmocka_unit_test(data_of_another_call_is_never_combined),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
