/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lab_verbs_conformance one|two [SEEDS]: the transport's conformance suite over the RDMA devices of the machine it runs
 * on, through the system's libibverbs, librdmacm and kernel. All ranks are in this process, each with queue pairs of
 * its own on the same devices. Exits with 77 where no device can be used.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "fabric/device/device.h"
#include "tests/transport/conformance_main.h"
#include "tests/transport/pairs.h"
#include "topology/model/model.h"
#include "transport/verbs/verbs.h"

/* What does not happen in so long does not happen, even on an emulated processor. */
#define PATIENCE_NS (20 * NS_PER_S)
/* The kernel works beside us, not when we poll: some time has to go by in each turn. */
#define TURN_US 50

struct fixture {
    const struct verbs_rail *rails;
    uint32_t rail_count, lanes;
    struct pairs pairs;
    struct rank {
        struct fixture *fixture;
        uint32_t rank, given_count;
        int given[64]; /* copies of the sockets that were given: shut down when the rank dies */
    } ranks[PAIRS_MAX_RANKS];
    uint64_t mark_ns;
};

static weft_status rank_reach(void *context, uint32_t peer, int *fd)
{
    struct rank *self = context;
    struct rendezvous pairs = pairs_rendezvous(&self->fixture->pairs, self->rank);
    const weft_status status = pairs.reach(pairs.context, peer, fd);

    if (status == WEFT_OK) {
        if (self->given_count == sizeof self->given / sizeof self->given[0]) abort();
        self->given[self->given_count++] = dup(*fd);
    }
    return status;
}

static weft_status fixture_open(void *context, uint32_t rank_count, uint64_t seed, struct endpoint **endpoints)
{
    struct fixture *fixture = context;

    (void)seed; /* what is random here is the kernel's */
    pairs_init(&fixture->pairs);
    fixture->mark_ns = clock_now_ns();
    for (uint32_t i = 0; i < rank_count; i++) {
        struct diagnostic diagnostic = {0};
        struct verbs_config config = {.rank = i,
                                      .rank_count = rank_count,
                                      .rails = fixture->rails,
                                      .rail_count = fixture->rail_count,
                                      .lanes_per_rail = fixture->lanes,
                                      .depth = 32,
                                      .send_depth = 16,
                                      .stripe_bytes = 12288,
                                      .staging_bytes = 4 * 65536,
                                      .linger_ns = NS_PER_S};

        memset(config.key, 7, sizeof config.key);
        fixture->ranks[i] = (struct rank){.fixture = fixture, .rank = i};
        const weft_status status =
            verbs_endpoint_create(&config, (struct rendezvous){.reach = rank_reach, .context = &fixture->ranks[i]},
                                  &endpoints[i], &diagnostic);
        if (status) {
            printf("%s\n", diagnostic.text);
            return status;
        }
    }
    return WEFT_OK;
}

static void fixture_close(void *context)
{
    struct fixture *fixture = context;

    for (uint32_t i = 0; i < PAIRS_MAX_RANKS; i++)
        while (fixture->ranks[i].given_count > 0) close(fixture->ranks[i].given[--fixture->ranks[i].given_count]);
    pairs_close(&fixture->pairs);
}

static uint64_t fixture_now_ns(void *context)
{
    (void)context;
    return clock_now_ns();
}

static bool fixture_pass(void *context)
{
    struct fixture *fixture = context;

    usleep(TURN_US);
    if (clock_now_ns() - fixture->mark_ns < PATIENCE_NS) return true;
    fixture->mark_ns = clock_now_ns();
    return false;
}

static void fixture_kill(void *context, uint32_t rank)
{
    struct rank *dead = &((struct fixture *)context)->ranks[rank];

    for (uint32_t i = 0; i < dead->given_count; i++) (void)shutdown(dead->given[i], SHUT_RDWR);
}

/* The usable ports of this machine as rails; the count. */
static uint32_t rails_find(enum device_address_family family, struct verbs_rail rails[VERBS_MAX_RAILS])
{
    weft_topology *topology = NULL;
    struct device_port *ports = NULL;
    uint32_t count = 0;
    struct diagnostic diagnostic = {0};
    const struct device_query query = {.family = family};

    if (weft_topology_discover(&topology)) return 0;
    weft_status status = device_ports_find(topology, &query, &ports, &count, &diagnostic);
    if (count > VERBS_MAX_RAILS) count = VERBS_MAX_RAILS;
    for (uint32_t i = 0; i < count && !status; i++) {
        rails[i] = (struct verbs_rail){.port = ports[i].port, .bandwidth = ports[i].bandwidth};
        strcpy(rails[i].device, ports[i].device);
        status = device_port_address(&ports[i], &rails[i].address, &diagnostic);
    }
    if (status) printf("needs RDMA devices: %s\n", diagnostic.text);
    free(ports);
    weft_topology_destroy(topology);
    return status ? 0 : count;
}

static int run(const char *name, enum device_address_family family, uint32_t most_rails, uint32_t lanes, uint64_t seeds)
{
    static struct fixture fixture;
    struct verbs_rail rails[VERBS_MAX_RAILS];
    const struct conformance_backend backend = {.context = &fixture,
                                                .open = fixture_open,
                                                .close = fixture_close,
                                                .now_ns = fixture_now_ns,
                                                .pass = fixture_pass,
                                                .kill = fixture_kill};
    const uint32_t rail_count = rails_find(family, rails);

    if (rail_count < most_rails) exit(77);
    fixture = (struct fixture){.rails = rails, .rail_count = most_rails, .lanes = lanes};
    return conformance_main(name, &backend, 1, seeds);
}

int main(int argc, char *argv[])
{
    const uint64_t seeds = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;

    if (argc > 1 && !strcmp(argv[1], "one"))
        return run("verbs on a device, one lane", DEVICE_ADDRESS_IPV4, 1, 1, seeds);
    if (argc > 1 && !strcmp(argv[1], "two"))
        return run("verbs on two devices, two lanes each, IPv6", DEVICE_ADDRESS_IPV6, 2, 2, seeds);
    fprintf(stderr, "lab_verbs_conformance: say on how many devices: one or two\n");
    return 2;
}
