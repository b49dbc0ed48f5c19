/* SPDX-License-Identifier: Apache-2.0 */
/* The conformance suite over shared memory between some ranks and TCP between the others. */
#include <stdio.h>

#include "base/clock.h"
#include "tests/transport/conformance_main.h"
#include "tests/transport/pairs.h"
#include "tests/transport/seed.h"
#include "tests/transport/tcp_sockets.h"
#include "transport/route/route.h"
#include "transport/shm/shm.h"
#include "transport/tcp/tcp.h"

#define FIRST_SEED 1
#define SEEDS 5
/* What does not happen in so many steps of the clock does not happen. */
#define STEPS 1000000
#define STEP_NS (100 * NS_PER_US)

enum { BY_SHM, BY_TCP };

struct fixture {
    struct pairs pairs;
    struct tcp_sockets sockets;
    uint32_t ranks[CONFORMANCE_MAX_RANKS];
    uint64_t steps;
};

/* Two hosts: the even ranks' and the odd ranks'. */
static uint32_t by_parity(void *context, uint32_t peer)
{
    return (*(const uint32_t *)context ^ peer) & 1 ? BY_TCP : BY_SHM;
}

static weft_status rank_open(struct fixture *fixture, uint32_t rank, uint32_t rank_count, struct endpoint **endpoint)
{
    fixture->ranks[rank] = rank;
    struct route_config config = {.rank = rank,
                                  .rank_count = rank_count,
                                  .route_count = 2,
                                  .choose = by_parity,
                                  .context = &fixture->ranks[rank]};
    const struct tcp_config tcp = {
        .rank = rank, .rank_count = rank_count, .socket_buffer_bytes = 4096, .keepalive_ns = 10 * NS_PER_S};
    weft_status status = shm_endpoint_create(&(struct shm_config){.rank = rank, .rank_count = rank_count},
                                             pairs_rendezvous(&fixture->pairs, rank), &config.routes[BY_SHM], NULL);
    if (status != WEFT_OK) return status;
    status = tcp_endpoint_create(&tcp, tcp_sockets_rendezvous(&fixture->sockets, rank), &config.routes[BY_TCP], NULL);
    if (status != WEFT_OK) return status;
    return route_endpoint_create(&config, endpoint);
}

static weft_status fixture_open(void *context, uint32_t rank_count, uint64_t seed, struct endpoint **endpoints)
{
    struct fixture *fixture = context;

    pairs_init(&fixture->pairs);
    fixture->steps = 0;
    fixture->sockets.newest_first = seed & 1;
    fixture->sockets.buffer_bytes = 4096;
    if (!tcp_sockets_open(&fixture->sockets, rank_count, AF_INET)) return WEFT_SYSTEM_ERROR;
    for (uint32_t rank = 0; rank < rank_count; rank++) {
        weft_status status = rank_open(fixture, rank, rank_count, &endpoints[rank]);
        if (status != WEFT_OK) return status;
    }
    return WEFT_OK;
}

static void fixture_close(void *context)
{
    struct fixture *fixture = context;

    tcp_sockets_close(&fixture->sockets);
    pairs_close(&fixture->pairs);
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
    static struct fixture fixture;
    const struct conformance_backend backend = {.context = &fixture,
                                                .open = fixture_open,
                                                .close = fixture_close,
                                                .now_ns = fixture_now_ns,
                                                .pass = fixture_pass};

    seeds_choose(&first_seed, &seeds);
    return conformance_main("shared memory and tcp", &backend, first_seed, seeds);
}
