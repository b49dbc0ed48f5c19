/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The conformance suite over RDMA devices that exist in this process alone, driven by a clock of the test's own. Queues
 * are short, so that credits, staging and splitting are in use; requests are delivered late and in chance's order.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "tests/mockverbs/mockverbs.h"
#include "tests/transport/conformance_main.h"
#include "tests/transport/seed.h"
#include "tests/transport/verbs_hosts.h"

#define FIRST_SEED 1
#define SEEDS 6
/* What does not happen in so many steps of the clock does not happen. */
#define STEPS 200000
#define STEP_NS (20 * NS_PER_US)

struct fixture {
    uint32_t rails, lanes;
    bool ipv6, late;
    struct verbs_hosts hosts;
    struct transport_ops late_ops;
    uint64_t steps;
};

static weft_status fixture_open(void *context, uint32_t rank_count, uint64_t seed, struct endpoint **endpoints)
{
    struct fixture *fixture = context;
    const struct verbs_config config = {.lanes_per_rail = fixture->lanes,
                                        .depth = 32,
                                        .send_depth = 16,
                                        .inline_bytes = seed % 3 == 0 ? 32 : 0,
                                        .stripe_bytes = 12288,
                                        .staging_bytes = 4 * 65536,
                                        .linger_ns = 10 * NS_PER_MS};

    fixture->steps = 0;
    fixture->hosts.ipv6 = fixture->ipv6;
    verbs_hosts_open(&fixture->hosts, rank_count, fixture->rails);
    if (fixture->late) mockverbs_delay(seed, 1 + (uint32_t)(seed % 7));
    for (uint32_t rank = 0; rank < rank_count; rank++) {
        struct diagnostic diagnostic;
        const weft_status status = verbs_hosts_endpoint(&fixture->hosts, rank, &config, &endpoints[rank], &diagnostic);
        if (status) {
            printf("%s\n", diagnostic.text);
            return status;
        }
        if (!fixture->late) continue;
        /* What is late is delivered when somebody polls: nobody can be woken by it. */
        fixture->late_ops = *endpoints[rank]->ops;
        fixture->late_ops.arm = transport_arm_unsupported;
        endpoints[rank]->ops = &fixture->late_ops;
    }
    return WEFT_OK;
}

static void fixture_close(void *context)
{
    struct mockverbs_counters counters;

    mockverbs_counters(&counters);
    if (counters.receiver_not_ready) {
        printf("%llu messages found no receive\n", (unsigned long long)counters.receiver_not_ready);
        abort();
    }
    verbs_hosts_close(&((struct fixture *)context)->hosts);
}

static uint64_t fixture_now_ns(void *context)
{
    return ((struct fixture *)context)->steps * STEP_NS;
}

static bool fixture_pass(void *context)
{
    return ++((struct fixture *)context)->steps % STEPS != 0;
}

static void fixture_kill(void *context, uint32_t rank)
{
    verbs_hosts_kill(&((struct fixture *)context)->hosts, rank);
}

static int run(const char *name, const struct fixture *kind, uint64_t first_seed, uint64_t seeds)
{
    static struct fixture fixture;
    const struct conformance_backend backend = {.context = &fixture,
                                                .open = fixture_open,
                                                .close = fixture_close,
                                                .now_ns = fixture_now_ns,
                                                .pass = fixture_pass,
                                                .kill = fixture_kill};

    fixture = *kind;
    return conformance_main(name, &backend, first_seed, seeds);
}

int main(void)
{
    uint64_t first_seed = FIRST_SEED, seeds = SEEDS;
    int failed = 0;

    seeds_choose(&first_seed, &seeds);
    failed += run("verbs, one lane", &(struct fixture){.rails = 1, .lanes = 1}, first_seed, seeds);
    failed += run("verbs over IPv6, four lanes, late",
                  &(struct fixture){.rails = 1, .lanes = 4, .ipv6 = true, .late = true}, first_seed, seeds);
    failed += run("verbs, two rails", &(struct fixture){.rails = 2, .lanes = 1}, first_seed, seeds);
    failed += run("verbs, three rails of two lanes, late", &(struct fixture){.rails = 3, .lanes = 2, .late = true},
                  first_seed, seeds);
    return failed;
}
