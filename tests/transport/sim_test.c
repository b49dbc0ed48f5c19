/* SPDX-License-Identifier: Apache-2.0 */
/* What is special about the simulated transport: its clock, its faults, and that everything happens again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "tests/transport/seed.h"
#include "transport/core/conformance.h"
#include "transport/sim/sim.h"

#define FIRST_SEED 1
#define SEEDS 1000
#define MAX_RANKS 5
#define MAX_FAULTS 6
#define HORIZON_NS (100 * NS_PER_US)

struct world {
    struct sim_config config;
    struct sim_fault faults[MAX_FAULTS];
    struct sim_fabric *fabric;
    struct endpoint *endpoints[MAX_RANKS];
    struct connection *connections[MAX_RANKS][MAX_RANKS];
};

static void world_open(struct world *world, const struct sim_config *config, size_t granted_bytes)
{
    const uint32_t rank_count = config->rank_count;

    world->config = *config;
    assert_int_equal(sim_fabric_create(config, &world->fabric), WEFT_OK);
    for (uint32_t rank = 0; rank < rank_count; rank++) {
        assert_int_equal(sim_endpoint_create(world->fabric, rank, &world->endpoints[rank]), WEFT_OK);
        for (uint32_t peer = 0; peer < rank_count; peer++) {
            world->connections[rank][peer] = NULL;
            if (peer == rank) continue;
            assert_int_equal(
                endpoint_connect(world->endpoints[rank], peer, granted_bytes, &world->connections[rank][peer]),
                WEFT_OK);
        }
    }
}

/* True once all have connected; statuses other than WEFT_OK and WEFT_IN_PROGRESS count as that too. */
static bool world_connect(struct world *world)
{
    uint32_t open;

    do {
        open = 0;
        for (uint32_t rank = 0; rank < world->config.rank_count; rank++) {
            for (uint32_t peer = 0; peer < world->config.rank_count; peer++) {
                struct connection *connection = world->connections[rank][peer];
                open += connection && sim_alive(world->fabric, rank) &&
                        connection_advance(connection, 0) == WEFT_IN_PROGRESS;
            }
        }
    } while (open && sim_step(world->fabric));
    return open == 0;
}

static void world_close(struct world *world)
{
    for (uint32_t rank = 0; rank < world->config.rank_count; rank++) {
        for (uint32_t peer = 0; peer < world->config.rank_count; peer++) {
            if (world->connections[rank][peer]) connection_disconnect(world->connections[rank][peer]);
        }
        endpoint_destroy(world->endpoints[rank]);
    }
    sim_fabric_destroy(world->fabric);
}

static void configurations_that_cannot_be_are_refused(void **state)
{
    struct sim_fabric *fabric;
    struct endpoint *endpoint, *second;
    struct sim_fault fault = {.kind = SIM_KILL_RANK, .rank = 2};

    (void)state;
    assert_int_equal(sim_fabric_create(&(struct sim_config){.rank_count = 0}, &fabric), WEFT_INVALID_ARGUMENT);
    assert_int_equal(sim_fabric_create(&(struct sim_config){.rank_count = 2, .path_count = 65}, &fabric),
                     WEFT_INVALID_ARGUMENT);
    assert_int_equal(sim_fabric_create(&(struct sim_config){.rank_count = 2, .refuse_per_mille = 1000}, &fabric),
                     WEFT_INVALID_ARGUMENT);
    const struct sim_config config = {.rank_count = 2, .faults = &fault, .fault_count = 1};
    assert_int_equal(sim_fabric_create(&config, &fabric), WEFT_INVALID_ARGUMENT);
    fault = (struct sim_fault){.kind = SIM_DROP_CONNECTION, .rank = 1, .peer = 1};
    assert_int_equal(sim_fabric_create(&config, &fabric), WEFT_INVALID_ARGUMENT);
    fault = (struct sim_fault){.kind = SIM_LOSE_PATH, .rank = 1, .peer = 0, .path = 1};
    assert_int_equal(sim_fabric_create(&config, &fabric), WEFT_INVALID_ARGUMENT);
    fault.path = 0;
    assert_int_equal(sim_fabric_create(&config, &fabric), WEFT_OK);
    assert_int_equal(sim_endpoint_create(fabric, 2, &endpoint), WEFT_INVALID_ARGUMENT);
    assert_int_equal(sim_endpoint_create(fabric, 0, &endpoint), WEFT_OK);
    assert_int_equal(sim_endpoint_create(fabric, 0, &second), WEFT_INVALID_ARGUMENT);
    endpoint_destroy(endpoint);
    sim_fabric_destroy(fabric);
}

static void puts_take_the_time_that_was_configured(void **state)
{
    static const uint8_t source[4000];
    struct event events[4];
    struct world world;

    (void)state;
    world_open(
        &world,
        &(struct sim_config){.rank_count = 2, .latency_ns = 500, .bytes_per_s = UINT64_C(1000000000), .path_count = 2},
        4000);
    assert_true(world_connect(&world));
    const uint64_t start_ns = sim_now_ns(world.fabric);
    const struct put put = {.source = source, .bytes = 4000, .flags = PUT_NOTIFY};
    struct put other_path = put;
    other_path.path_hint = 1;
    /* 4 us each at 1 byte/ns: the second waits for the first, the third has a path to itself. */
    assert_int_equal(connection_put(world.connections[0][1], (struct put[]){put, put, other_path}, 3), 3);
    assert_true(sim_step(world.fabric));
    assert_int_equal(sim_now_ns(world.fabric), start_ns + 4500);
    assert_int_equal(endpoint_poll(world.endpoints[1], events, 4, 0), 2);
    assert_true(sim_step(world.fabric));
    assert_int_equal(sim_now_ns(world.fabric), start_ns + 8500);
    assert_int_equal(endpoint_poll(world.endpoints[1], events, 4, 0), 1);
    assert_false(sim_step(world.fabric)); /* all wait, and nothing comes */
    sim_advance_to(world.fabric, start_ns + NS_PER_S);
    assert_int_equal(sim_now_ns(world.fabric), start_ns + NS_PER_S);
    world_close(&world);
}

static void delays_last_as_long_as_was_told(void **state)
{
    const struct sim_fault faults[] = {
        {.kind = SIM_DELAY_PUTS, .rank = 0, .peer = 1, .at_ns = 1000, .until_ns = 2000, .delay_ns = 70},
        {.kind = SIM_SLOW_RANK, .rank = 1, .at_ns = 1500, .until_ns = 3000, .delay_ns = 60}};
    static const struct {
        uint64_t at_ns, delays_ns[2]; /* of what rank 0 and rank 1 put */
    } expected[] = {{900, {0, 0}}, {1000, {70, 0}}, {1500, {130, 60}}, {2000, {60, 60}}, {3000, {0, 0}}};
    struct world world;

    (void)state;
    world_open(&world, &(struct sim_config){.rank_count = 2, .latency_ns = 10, .faults = faults, .fault_count = 2}, 64);
    assert_true(world_connect(&world));
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++) {
        for (uint32_t of = 0; of < 2; of++) {
            sim_advance_to(world.fabric, expected[i].at_ns);
            assert_int_equal(connection_put(world.connections[of][1 - of], &(struct put){.flags = PUT_NOTIFY}, 1), 1);
        }
        for (uint32_t of = 2; of-- > 0;) { /* rank 1's put is never the later one to arrive */
            struct event event;
            while (endpoint_poll(world.endpoints[1 - of], &event, 1, 0) == 0) assert_true(sim_step(world.fabric));
            assert_int_equal(sim_now_ns(world.fabric), expected[i].at_ns + 10 + expected[i].delays_ns[of]);
        }
    }
    world_close(&world);
}

static void a_source_that_changes_too_early_is_noticed(void **state)
{
    uint8_t source[8] = "before";
    struct event events[4];
    struct world world;

    (void)state;
    world_open(&world, &(struct sim_config){.rank_count = 2, .latency_ns = 100}, 64);
    assert_true(world_connect(&world));
    const struct put put = {.source = source, .bytes = 8, .tag = 3, .flags = PUT_NOTIFY | PUT_LOCAL_DONE};
    assert_int_equal(connection_put(world.connections[0][1], &put, 1), 1);
    assert_int_equal(endpoint_poll(world.endpoints[0], events, 4, 0), 0);
    memcpy(source, "after", 6); /* the bug */
    while (sim_step(world.fabric)) continue;
    assert_string_equal((const char *)world.connections[1][0]->granted, "after");
    assert_int_equal(endpoint_poll(world.endpoints[0], events, 4, 0), 1);
    assert_true(events[0].kind == EVENT_LOCAL_DONE && events[0].tag == 3);
    world_close(&world);
}

/* What a rank that put 0, 1, 2, ... on a path before it died leaves behind: 0 ... k, and then the failure. */
static void of_a_dead_ranks_puts_a_leading_part_lands(void **state)
{
    enum { PUTS = 20 };
    uint32_t shortest = PUTS, longest = 0;

    (void)state;
    for (uint64_t seed = 1; seed <= 200; seed++) {
        const struct sim_fault fault = {.kind = SIM_KILL_RANK, .rank = 0, .at_ns = 5000};
        struct event events[PUTS + 4];
        struct world world;
        uint32_t landed = 0;

        world_open(&world,
                   &(struct sim_config){.rank_count = 2,
                                        .seed = seed,
                                        .latency_ns = 1000,
                                        .jitter_ns = 3000,
                                        .faults = &fault,
                                        .fault_count = 1},
                   64);
        assert_true(world_connect(&world));
        if (sim_now_ns(world.fabric) < 4500) sim_advance_to(world.fabric, 4500);
        for (uint32_t i = 0; i < PUTS; i++)
            assert_int_equal(connection_put(world.connections[0][1], &(struct put){.tag = i, .flags = PUT_NOTIFY}, 1),
                             1);
        while (sim_step(world.fabric)) continue;
        assert_false(sim_alive(world.fabric, 0));
        assert_int_equal(connection_put(world.connections[0][1], &(struct put){.flags = PUT_NOTIFY}, 1), 0);
        const size_t count = endpoint_poll(world.endpoints[1], events, PUTS + 4, 0);
        for (; landed + 1 < count; landed++)
            assert_true(events[landed].kind == EVENT_ARRIVED && events[landed].tag == landed);
        assert_true(events[landed].kind == EVENT_FAILED && events[landed].status == WEFT_PEER_FAILED);
        if (landed < shortest) shortest = landed;
        if (landed > longest) longest = landed;
        world_close(&world);
    }
    assert_true(shortest < 3 && longest > 6); /* different parts for different seeds */
}

static void a_dropped_connection_fails_both_ends_and_no_other(void **state)
{
    const struct sim_fault fault = {.kind = SIM_DROP_CONNECTION, .rank = 2, .peer = 0, .at_ns = 5000};
    struct event event;
    struct world world;

    (void)state;
    world_open(&world, &(struct sim_config){.rank_count = 3, .latency_ns = 100, .faults = &fault, .fault_count = 1},
               64);
    assert_true(world_connect(&world));
    while (sim_step(world.fabric)) continue;
    assert_int_equal(endpoint_poll(world.endpoints[0], &event, 1, 0), 1);
    assert_true(event.kind == EVENT_FAILED && event.peer == 2 && event.status == WEFT_LINK_DOWN);
    assert_int_equal(endpoint_poll(world.endpoints[2], &event, 1, 0), 1);
    assert_true(event.kind == EVENT_FAILED && event.peer == 0 && event.status == WEFT_LINK_DOWN);
    for (uint32_t rank = 0; rank < 3; rank++) assert_int_equal(endpoint_poll(world.endpoints[rank], &event, 1, 0), 0);
    assert_int_equal(connection_put(world.connections[0][2], &(struct put){.flags = PUT_NOTIFY}, 1), 0);
    assert_int_equal(connection_put(world.connections[0][1], &(struct put){.flags = PUT_NOTIFY}, 1), 1);
    while (sim_step(world.fabric)) continue;
    assert_int_equal(endpoint_poll(world.endpoints[1], &event, 1, 0), 1);
    world_close(&world);
}

/* Random traffic under a fault plan */

enum {
    SAFE_FAULTS = 1 << SIM_LOSE_PATH | 1 << SIM_DELAY_PUTS | 1 << SIM_SLOW_RANK,
    ALL_FAULTS = SAFE_FAULTS | 1 << SIM_KILL_RANK | 1 << SIM_DROP_CONNECTION
};

struct outcome {
    uint32_t complete, failed; /* ranks */
    uint64_t hash;
};

static struct sim_config config_draw(struct random *random, uint64_t seed, uint32_t kinds, struct sim_fault *faults)
{
    struct sim_config config = {.seed = seed, .faults = faults};

    config.rank_count = 2 + (uint32_t)random_below(random, MAX_RANKS - 1);
    config.latency_ns = random_below(random, 3000);
    config.jitter_ns = random_below(random, 6000);
    config.bytes_per_s = random_below(random, 2) ? 100000000 + random_below(random, UINT64_C(10000000000)) : 0;
    config.path_count = 1 + (uint32_t)random_below(random, 4);
    config.queue_depth = 1 + (uint32_t)random_below(random, 40);
    config.refuse_per_mille = (uint32_t)random_below(random, 100);
    config.maps = random_below(random, 2);
    config.fault_count = random_below(random, MAX_FAULTS + 1);
    for (size_t i = 0; i < config.fault_count; i++) {
        do faults[i] = sim_fault_draw(random, &config, kinds, HORIZON_NS);
        /* The last path's loss is a drop, which is not safe. */
        while (faults[i].kind == SIM_LOSE_PATH && !(kinds & 1 << SIM_DROP_CONNECTION) && faults[i].path == 0);
    }
    return config;
}

static void rank_leave(struct world *world, uint32_t rank)
{
    for (uint32_t peer = 0; peer < world->config.rank_count; peer++) {
        if (world->connections[rank][peer]) connection_disconnect(world->connections[rank][peer]);
        world->connections[rank][peer] = NULL;
    }
}

/*
 * Run all ranks until each is done or has failed, and leaves, which others then learn. A rank that waits for ever is a
 * failure of the test.
 */
static void traffic_run(struct world *world, struct outcome *outcome)
{
    const uint32_t rank_count = world->config.rank_count;
    struct traffic *traffic[MAX_RANKS];
    weft_status status[MAX_RANKS] = {WEFT_OK};
    uint32_t waiting;
    bool more = true;

    for (uint32_t rank = 0; rank < rank_count; rank++) {
        traffic[rank] = traffic_create(&(struct traffic_config){.endpoint = world->endpoints[rank],
                                                                .connections = world->connections[rank],
                                                                .seed = world->config.seed,
                                                                .messages = 30,
                                                                .path_count = world->config.path_count});
        assert_non_null(traffic[rank]);
        status[rank] = WEFT_IN_PROGRESS;
    }
    do {
        bool any = false;
        waiting = 0;
        for (uint32_t rank = 0; rank < rank_count; rank++) {
            bool progress = false;
            if (status[rank] <= WEFT_IN_PROGRESS && sim_alive(world->fabric, rank)) {
                status[rank] = traffic_step(traffic[rank], sim_now_ns(world->fabric), &progress);
                if (status[rank] > WEFT_IN_PROGRESS) rank_leave(world, rank);
            }
            waiting += status[rank] == WEFT_IN_PROGRESS && sim_alive(world->fabric, rank);
            any |= progress;
        }
        if (!any && waiting) more = sim_step(world->fabric);
    } while (waiting && more);
    *outcome = (struct outcome){.hash = sim_hash(world->fabric)};
    for (uint32_t rank = 0; rank < rank_count; rank++) {
        outcome->complete += status[rank] == WEFT_OK;
        outcome->failed += status[rank] > WEFT_IN_PROGRESS;
    }
    if (waiting || (world->config.fault_count == 0 && outcome->failed)) {
        struct text text = {0};
        sim_describe(world->fabric, &text);
        for (uint32_t rank = 0; rank < rank_count; rank++) text_add(&text, "  %s\n", traffic_reason(traffic[rank]));
        char *description = text_take(&text);
        fail_msg("%u ranks wait for ever, or failed for no reason:\n%s", waiting, description);
    }
    for (uint32_t rank = 0; rank < rank_count; rank++) traffic_destroy(traffic[rank]);
}

static struct outcome seed_run(uint64_t seed, uint32_t kinds)
{
    struct outcome outcome = {0};
    struct random random;
    struct world world;

    random_seed(&random, seed);
    const struct sim_config config = config_draw(&random, seed, kinds, world.faults);
    world_open(&world, &config, TRAFFIC_REGION_BYTES);
    if (!world_connect(&world)) fail_msg("seed %llu: connecting never ends", (unsigned long long)seed);
    bool all_open = true;
    for (uint32_t rank = 0; rank < config.rank_count; rank++) {
        for (uint32_t peer = 0; peer < config.rank_count; peer++) {
            if (peer != rank) all_open &= connection_advance(world.connections[rank][peer], 0) == WEFT_OK;
        }
    }
    if (all_open) traffic_run(&world, &outcome);
    world_close(&world);
    return outcome;
}

static void traffic_survives_lost_paths_and_delays(void **state)
{
    uint64_t first_seed = FIRST_SEED, seeds = SEEDS;

    (void)state;
    seeds_choose(&first_seed, &seeds);
    for (uint64_t seed = first_seed; seed < first_seed + seeds; seed++) {
        const struct outcome outcome = seed_run(seed, SAFE_FAULTS);
        if (outcome.failed || !outcome.complete) fail_msg("seed %llu: a rank failed", (unsigned long long)seed);
    }
}

static void under_any_fault_plan_nobody_waits_for_ever(void **state)
{
    uint64_t first_seed = FIRST_SEED, seeds = SEEDS, failed = 0, complete = 0;

    (void)state;
    seeds_choose(&first_seed, &seeds);
    for (uint64_t seed = first_seed; seed < first_seed + seeds; seed++) {
        const struct outcome outcome = seed_run(seed, ALL_FAULTS);
        failed += outcome.failed > 0;
        complete += outcome.complete > 0 && outcome.failed == 0;
    }
    print_message("of %llu runs %llu had ranks that failed, %llu were complete\n", (unsigned long long)seeds,
                  (unsigned long long)failed, (unsigned long long)complete);
    if (seeds > 20)
        assert_true(failed > seeds / 10 && complete > seeds / 10); /* the plans are neither mild nor deadly */
}

static void equal_seeds_are_equal_runs(void **state)
{
    uint64_t first_seed = FIRST_SEED, seeds = 100, different = 0;

    (void)state;
    seeds_choose(&first_seed, &seeds);
    for (uint64_t seed = first_seed; seed < first_seed + seeds; seed++) {
        const struct outcome once = seed_run(seed, ALL_FAULTS), again = seed_run(seed, ALL_FAULTS);
        if (once.hash != again.hash) fail_msg("seed %llu does not replay", (unsigned long long)seed);
        different += once.hash != seed_run(seed + 1, ALL_FAULTS).hash;
    }
    assert_true(different >= seeds * 9 / 10); /* but for runs in which hardly anything happens */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(configurations_that_cannot_be_are_refused),
        cmocka_unit_test(puts_take_the_time_that_was_configured),
        cmocka_unit_test(delays_last_as_long_as_was_told),
        cmocka_unit_test(a_source_that_changes_too_early_is_noticed),
        cmocka_unit_test(of_a_dead_ranks_puts_a_leading_part_lands),
        cmocka_unit_test(a_dropped_connection_fails_both_ends_and_no_other),
        cmocka_unit_test(traffic_survives_lost_paths_and_delays),
        cmocka_unit_test(under_any_fault_plan_nobody_waits_for_ever),
        cmocka_unit_test(equal_seeds_are_equal_runs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
