/* SPDX-License-Identifier: Apache-2.0 */
/* The conformance suite over the simulated transport: each seed is another fabric. */
#include "base/clock.h"
#include "tests/transport/conformance_main.h"
#include "tests/transport/seed.h"
#include "transport/sim/sim.h"

#define FIRST_SEED 1
#define SEEDS 1000
#define HORIZON_NS (200 * NS_PER_US)

struct fixture {
    struct sim_fabric *fabric;
};

/* Faults that a transport hides from its user: they only cost time. */
static size_t faults_draw(struct random *random, const struct sim_config *config, struct sim_fault faults[4])
{
    const size_t count = random_below(random, 5);

    for (size_t i = 0; i < count; i++)
        faults[i] = sim_fault_draw(random, config, 1u << SIM_DELAY_PUTS | 1u << SIM_SLOW_RANK, HORIZON_NS);
    return count;
}

static weft_status fixture_open(void *context, uint32_t rank_count, uint64_t seed, struct endpoint **endpoints)
{
    struct fixture *fixture = context;
    struct sim_fault faults[4];
    struct random random;

    random_seed(&random, seed);
    struct sim_config config = {.rank_count = rank_count, .seed = seed, .faults = faults};
    config.latency_ns = random_below(&random, 5000);
    config.jitter_ns = random_below(&random, 4) ? random_below(&random, 20000) : 0;
    config.bytes_per_s = random_below(&random, 2) ? 1000000 + random_below(&random, UINT64_C(20000000000)) : 0;
    config.path_count = 1 + (uint32_t)random_below(&random, 4);
    config.queue_depth = 1 + (uint32_t)random_below(&random, random_below(&random, 2) ? 8 : 512);
    config.refuse_per_mille = random_below(&random, 3) ? 0 : (uint32_t)random_below(&random, 300);
    config.maps = random_below(&random, 2);
    config.lending = (enum sim_lending)random_below(&random, SIM_LENDING_KINDS);
    config.fault_count = faults_draw(&random, &config, faults);
    weft_status status = sim_fabric_create(&config, &fixture->fabric);
    for (uint32_t rank = 0; status == WEFT_OK && rank < rank_count; rank++)
        status = sim_endpoint_create(fixture->fabric, rank, &endpoints[rank]);
    return status;
}

static void fixture_close(void *context)
{
    sim_fabric_destroy(((struct fixture *)context)->fabric);
}

static uint64_t fixture_now_ns(void *context)
{
    return sim_now_ns(((struct fixture *)context)->fabric);
}

static bool fixture_pass(void *context)
{
    struct sim_fabric *fabric = ((struct fixture *)context)->fabric;
    const uint64_t before_ns = sim_now_ns(fabric);
    const bool more = sim_step(fabric);

    if (sim_now_ns(fabric) < before_ns) abort(); /* the clock never goes back */
    return more;
}

static void fixture_kill(void *context, uint32_t rank)
{
    sim_kill(((struct fixture *)context)->fabric, rank);
}

int main(void)
{
    uint64_t first_seed = FIRST_SEED, seeds = SEEDS;
    struct fixture fixture;
    const struct conformance_backend backend = {.context = &fixture,
                                                .open = fixture_open,
                                                .close = fixture_close,
                                                .now_ns = fixture_now_ns,
                                                .pass = fixture_pass,
                                                .kill = fixture_kill};

    seeds_choose(&first_seed, &seeds);
    return conformance_main("sim", &backend, first_seed, seeds);
}
