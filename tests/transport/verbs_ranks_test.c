/* SPDX-License-Identifier: Apache-2.0 */
/* Ranks in threads of their own, which sleep when there is nothing to do: on devices of their own, and all on the same.
 */
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "tests/mockverbs/mockverbs.h"
#include "tests/transport/verbs_hosts.h"
#include "transport/core/conformance.h"

enum { RANKS = 4, MESSAGES = 150 };

struct rank {
    struct verbs_hosts *hosts;
    uint32_t rank;
    uint64_t seed;
    bool sleepy;
    pthread_barrier_t *leave;
    char reason[256]; /* "": none */
};

static void rank_sleep(struct endpoint *endpoint)
{
    struct pollfd waited = {.events = POLLIN};

    /* A peer that polls delivers what is late, so that sleep need not be long. */
    if (endpoint_arm(endpoint, &waited.fd) == WEFT_OK) (void)poll(&waited, 1, 10);
}

static void traffic_run(struct rank *rank, struct endpoint *endpoint, struct connection **connections)
{
    const struct traffic_config config = {
        .endpoint = endpoint, .connections = connections, .seed = rank->seed, .messages = MESSAGES, .path_count = 4};
    struct traffic *traffic = traffic_create(&config);
    weft_status status = WEFT_IN_PROGRESS;
    const uint64_t give_up_ns = clock_now_ns() + 60 * NS_PER_S;

    while (traffic && status == WEFT_IN_PROGRESS && clock_now_ns() < give_up_ns) {
        bool progress;
        status = traffic_step(traffic, clock_now_ns(), &progress);
        if (!progress && rank->sleepy) rank_sleep(endpoint);
        if (!progress) sched_yield();
    }
    if (status != WEFT_OK)
        snprintf(rank->reason, sizeof rank->reason, "rank %u: status %d: %s", rank->rank, (int)status,
                 traffic ? traffic_reason(traffic) : "no memory");
    /* Others may still wait for what has only been accepted: sent it is by polls. */
    for (uint32_t i = 0; i < 200; i++) {
        struct event event;
        (void)endpoint_poll(endpoint, &event, 1, clock_now_ns());
        sched_yield();
    }
    traffic_destroy(traffic);
}

static void *rank_run(void *context)
{
    struct rank *rank = context;
    struct connection *connections[RANKS] = {NULL};
    struct diagnostic diagnostic = {WEFT_OK, ""};
    struct endpoint *endpoint;
    const struct verbs_config config = {.depth = 32, .send_depth = 32, .lanes_per_rail = 2};

    if (verbs_hosts_endpoint(rank->hosts, rank->rank, &config, &endpoint, &diagnostic) != WEFT_OK) {
        snprintf(rank->reason, sizeof rank->reason, "%.200s", diagnostic.text);
        abort();
    }
    const weft_status status = pairs_connect_all(endpoint, TRAFFIC_REGION_BYTES, connections);
    if (status == WEFT_OK)
        traffic_run(rank, endpoint, connections);
    else
        snprintf(rank->reason, sizeof rank->reason, "rank %u cannot connect: %d", rank->rank, (int)status);
    pthread_barrier_wait(rank->leave);
    for (uint32_t peer = 0; peer < RANKS; peer++) {
        if (connections[peer]) connection_disconnect(connections[peer]);
    }
    endpoint_destroy(endpoint);
    return NULL;
}

static void ranks_run(uint32_t rails, bool shared, bool sleepy)
{
    struct verbs_hosts hosts = {.shared = shared};
    struct rank ranks[RANKS];
    pthread_t threads[RANKS];
    pthread_barrier_t leave;

    verbs_hosts_open(&hosts, RANKS, rails);
    pthread_barrier_init(&leave, NULL, RANKS);
    for (uint32_t i = 0; i < RANKS; i++) {
        ranks[i] = (struct rank){.hosts = &hosts, .rank = i, .seed = 17, .sleepy = sleepy, .leave = &leave};
        assert_int_equal(pthread_create(&threads[i], NULL, rank_run, &ranks[i]), 0);
    }
    for (uint32_t i = 0; i < RANKS; i++) pthread_join(threads[i], NULL);
    pthread_barrier_destroy(&leave);
    for (uint32_t i = 0; i < RANKS; i++) assert_string_equal(ranks[i].reason, "");
    verbs_hosts_close(&hosts);
}

static void ranks_with_devices_of_their_own(void **state)
{
    (void)state;
    ranks_run(2, false, false);
}

static void ranks_that_share_a_device(void **state)
{
    (void)state;
    ranks_run(1, true, false);
}

static void ranks_that_sleep(void **state)
{
    (void)state;
    ranks_run(2, true, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranks_with_devices_of_their_own),
        cmocka_unit_test(ranks_that_share_a_device),
        cmocka_unit_test(ranks_that_sleep),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
