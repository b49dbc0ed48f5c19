/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Canonical plans over RDMA devices that exist in this process alone, against the reference: nothing is mapped, queues
 * are short, and requests of different queue pairs are delivered in chance's order. What a run is follows from its
 * seed; `test_canonical_verbs SEED` runs one alone.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/clock.h"
#include "canonical_trial.h"
#include "tests/mockverbs/mockverbs.h"
#include "tests/transport/verbs_hosts.h"

enum { SEED_COUNT = 60 };
#define STEP_NS (20 * NS_PER_US)

static uint64_t only_seed = UINT64_MAX;

struct room {
    struct verbs_hosts hosts;
    uint32_t lanes;
    uint64_t steps;
};

static weft_status room_open(void *context, uint32_t rank, struct endpoint **endpoint)
{
    struct room *room = context;
    const struct verbs_config config = {.lanes_per_rail = room->lanes,
                                        .depth = 32,
                                        .send_depth = 16,
                                        .stripe_bytes = 4096,
                                        .staging_bytes = 4 * 65536,
                                        .linger_ns = 10 * NS_PER_MS};
    return verbs_hosts_endpoint(&room->hosts, rank, &config, endpoint, NULL);
}

static uint64_t room_now_ns(void *context)
{
    return ((struct room *)context)->steps * STEP_NS;
}

/* There is no time but the polls', so what has not moved for some of them is stuck: the caller counts. */
static bool room_step(void *context)
{
    ((struct room *)context)->steps++;
    return false;
}

static void seed_run(uint64_t seed)
{
    static struct room room;
    struct random random;
    weft_plan *plan;
    random_seed(&random, seed ^ 0xca41);
    const uint32_t ranks = 1 + (uint32_t)random_below(&random, PAIRS_MAX_RANKS);
    const struct canonical_trial trial = canonical_trial_draw(&random, (uint32_t)seed, ranks);
    room = (struct room){.lanes = 1 + (uint32_t)random_below(&random, 2)};
    verbs_hosts_open(&room.hosts, ranks, 1 + (uint32_t)random_below(&random, 2));
    mockverbs_delay(seed, (uint32_t)random_below(&random, 8));
    assert_int_equal(weft_plan_create(&trial.spec, &plan), WEFT_OK);
    const struct canonical_fabric fabric = {&room, room_open, room_now_ns, room_step, false, "over verbs"};
    canonical_trial_run(&trial, &fabric, plan, seed);
    verbs_hosts_close(&room.hosts);
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

int main(int argc, char **argv)
{
    if (argc > 1) only_seed = strtoull(argv[1], NULL, 10);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_run_is_the_reference_bit_by_bit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
