/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The conformance suite over shared memory: all ranks in one thread, driven by a clock of the test's own. Seeds differ
 * in how ranks get at each other's own memory.
 */
#include "base/clock.h"
#include "tests/transport/conformance_main.h"
#include "tests/transport/pairs.h"
#include "tests/transport/seed.h"
#include "transport/shm/shm.h"

#define FIRST_SEED 1
#define SEEDS 12
/* What does not happen in so many steps of the clock does not happen. */
#define STEPS 1000000
#define STEP_NS (200 * NS_PER_US)

struct fixture {
    struct pairs pairs;
    uint64_t steps;
};

static weft_status fixture_open(void *context, uint32_t rank_count, uint64_t seed, struct endpoint **endpoints)
{
    struct fixture *fixture = context;

    pairs_init(&fixture->pairs);
    fixture->steps = 0;
    for (uint32_t rank = 0; rank < rank_count; rank++) {
        const struct shm_config config = {.rank = rank,
                                          .rank_count = rank_count,
                                          .attach = seed % 4 == 1 ? SHM_ATTACH_OFF : SHM_ATTACH_AUTO,
                                          .apart = seed % 4 != 0};
        const weft_status status =
            shm_endpoint_create(&config, pairs_rendezvous(&fixture->pairs, rank), &endpoints[rank], NULL);
        if (status) return status;
    }
    return WEFT_OK;
}

static void fixture_close(void *context)
{
    pairs_close(&((struct fixture *)context)->pairs);
}

static uint64_t fixture_now_ns(void *context)
{
    return ((struct fixture *)context)->steps * STEP_NS;
}

static bool fixture_pass(void *context)
{
    return ++((struct fixture *)context)->steps % STEPS != 0;
}

int main(void)
{
    uint64_t first_seed = FIRST_SEED, seeds = SEEDS;
    struct fixture fixture;
    const struct conformance_backend backend = {.context = &fixture,
                                                .open = fixture_open,
                                                .close = fixture_close,
                                                .now_ns = fixture_now_ns,
                                                .pass = fixture_pass};

    seeds_choose(&first_seed, &seeds);
    return conformance_main("shm", &backend, first_seed, seeds);
}
