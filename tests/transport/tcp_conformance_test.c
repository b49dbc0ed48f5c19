/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The conformance suite over TCP: all ranks in one thread, driven by a clock of the test's own. Socket buffers are
 * small, so that what nobody reads is soon refused.
 */
#include <stdio.h>

#include "base/clock.h"
#include "tests/transport/conformance_main.h"
#include "tests/transport/seed.h"
#include "tests/transport/tcp_sockets.h"
#include "transport/tcp/tcp.h"

#define FIRST_SEED 1
#define SEEDS 5
/* What does not happen in so many steps of the clock does not happen. */
#define STEPS 1000000
#define STEP_NS (20 * NS_PER_US)
#define BUFFER_BYTES 4096

struct fixture {
    int family;
    uint32_t lanes;
    struct tcp_sockets sockets;
    uint64_t steps;
};

static weft_status fixture_open(void *context, uint32_t rank_count, uint64_t seed, struct endpoint **endpoints)
{
    struct fixture *fixture = context;

    fixture->sockets.newest_first = seed & 1;
    fixture->sockets.buffer_bytes = BUFFER_BYTES;
    fixture->steps = 0;
    if (!tcp_sockets_open(&fixture->sockets, rank_count, fixture->family)) return WEFT_SYSTEM_ERROR;
    for (uint32_t rank = 0; rank < rank_count; rank++) {
        const struct tcp_config config = {.rank = rank,
                                          .rank_count = rank_count,
                                          .lanes = fixture->lanes,
                                          .socket_buffer_bytes = BUFFER_BYTES,
                                          .keepalive_ns = 10 * NS_PER_S};
        const weft_status status =
            tcp_endpoint_create(&config, tcp_sockets_rendezvous(&fixture->sockets, rank), &endpoints[rank], NULL);
        if (status) return status;
    }
    return WEFT_OK;
}

static void fixture_close(void *context)
{
    tcp_sockets_close(&((struct fixture *)context)->sockets);
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
    tcp_sockets_kill(&((struct fixture *)context)->sockets, rank);
}

static int run(const char *name, int family, uint32_t lanes, uint64_t first_seed, uint64_t seeds)
{
    static struct fixture fixture;
    const struct conformance_backend backend = {.context = &fixture,
                                                .open = fixture_open,
                                                .close = fixture_close,
                                                .now_ns = fixture_now_ns,
                                                .pass = fixture_pass,
                                                .kill = fixture_kill};

    fixture = (struct fixture){.family = family, .lanes = lanes};
    return conformance_main(name, &backend, first_seed, seeds);
}

int main(void)
{
    uint64_t first_seed = FIRST_SEED, seeds = SEEDS;
    struct tcp_sockets probe = {0};
    int failed = 0;

    seeds_choose(&first_seed, &seeds);
    failed += run("tcp, one lane", AF_INET, 1, first_seed, seeds);
    failed += run("tcp, three lanes", AF_INET, 3, first_seed, seeds);
    if (tcp_sockets_open(&probe, 1, AF_INET6)) {
        tcp_sockets_close(&probe);
        failed += run("tcp over IPv6, sixteen lanes", AF_INET6, TCP_MAX_LANES, first_seed, seeds);
    } else {
        printf("no IPv6: this host has no address ::1\n");
    }
    return failed;
}
