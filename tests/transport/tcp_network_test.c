/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two hosts, each a network namespace, and a cable between them that can be unplugged. One thread holds both ends: a
 * socket belongs to the namespace that it was made in. Needs root and ip(8).
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "tests/transport/pairs.h"
#include "transport/core/conformance.h"
#include "transport/tcp/tcp.h"

#define LANES 2
#define PATIENCE_NS (60 * NS_PER_S)

static int home = -1; /* the namespace we came from */

__attribute__((format(printf, 1, 2))) static bool ip(const char *format, ...)
{
    char command[256] = "ip ";
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(command + 3, sizeof command - 3, format, arguments);
    va_end(arguments);
    return system(command) == 0;
}

static bool enter(int host)
{
    char path[64];

    snprintf(path, sizeof path, "/run/netns/weft-%d-%d", (int)getpid(), host);
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    const bool done = fd >= 0 && setns(fd, CLONE_NEWNET) == 0;
    if (fd >= 0) close(fd);
    return done;
}

static bool hosts_make(void)
{
    const int id = (int)getpid();
    bool done = true;

    for (int host = 0; host < 2; host++) done = done && ip("netns add weft-%d-%d 2>/dev/null", id, host);
    done = done && ip("-n weft-%d-0 link add eth0 type veth peer name eth0 netns weft-%d-1", id, id);
    for (int host = 0; host < 2; host++) {
        done = done && ip("-n weft-%d-%d address add 10.9.0.%d/24 dev eth0", id, host, host + 1) &&
               ip("-n weft-%d-%d address add fd00:9::%d/64 dev eth0 nodad", id, host, host + 1) &&
               ip("-n weft-%d-%d link set eth0 up", id, host);
    }
    return done;
}

static void hosts_remove(void)
{
    (void)setns(home, CLONE_NEWNET);
    for (int host = 0; host < 2; host++) (void)ip("netns delete weft-%d-%d 2>/dev/null", (int)getpid(), host);
}

static void cable_set(bool plugged)
{
    assert_true(ip("-n weft-%d-0 link set eth0 %s", (int)getpid(), plugged ? "up" : "down"));
    if (plugged) assert_true(ip("-n weft-%d-0 address replace fd00:9::1/64 dev eth0 nodad", (int)getpid()));
}

struct host {
    int fds[LANES];
    uint32_t given;
    struct endpoint *endpoint;
    struct connection *connections[2];
};

static weft_status host_reach(void *context, uint32_t peer, int *fd)
{
    struct host *host = context;

    (void)peer;
    if (host->given == LANES) return WEFT_IN_PROGRESS;
    *fd = host->fds[host->given++];
    return WEFT_OK;
}

static void lane_make(struct host hosts[2], int lane, int family)
{
    struct sockaddr_storage address = {.ss_family = (sa_family_t)family};
    struct sockaddr_in *v4 = (struct sockaddr_in *)&address;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&address;
    socklen_t size = family == AF_INET ? sizeof *v4 : sizeof *v6;

    assert_int_equal(family == AF_INET ? inet_pton(family, "10.9.0.2", &v4->sin_addr)
                                       : inet_pton(family, "fd00:9::2", &v6->sin6_addr),
                     1);
    assert_true(enter(1));
    const int listener = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &size), 0);
    assert_true(enter(0));
    hosts[0].fds[lane] = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(hosts[0].fds[lane], (struct sockaddr *)&address, size), 0);
    hosts[1].fds[lane] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    close(listener);
    for (int i = 0; i < 2; i++) assert_int_equal(fcntl(hosts[i].fds[lane], F_SETFL, O_NONBLOCK), 0);
}

static void hosts_connect(struct host hosts[2], int family, uint64_t keepalive_ns, size_t granted_bytes)
{
    memset(hosts, 0, 2 * sizeof *hosts);
    for (int lane = 0; lane < LANES; lane++) lane_make(hosts, lane, family);
    for (uint32_t rank = 0; rank < 2; rank++) {
        const struct tcp_config config = {
            .rank = rank, .rank_count = 2, .lanes = LANES, .keepalive_ns = keepalive_ns, .linger_ns = NS_PER_MS};
        assert_int_equal(
            tcp_endpoint_create(&config, (struct rendezvous){host_reach, &hosts[rank]}, &hosts[rank].endpoint, NULL),
            WEFT_OK);
        assert_int_equal(endpoint_connect(hosts[rank].endpoint, !rank, granted_bytes, &hosts[rank].connections[!rank]),
                         WEFT_OK);
    }
    const uint64_t give_up_ns = clock_now_ns() + PATIENCE_NS;
    uint32_t done;
    do {
        done = 0;
        for (uint32_t rank = 0; rank < 2; rank++) {
            const weft_status status = connection_advance(hosts[rank].connections[!rank], clock_now_ns());
            assert_true(status <= WEFT_IN_PROGRESS);
            done += status == WEFT_OK;
        }
        assert_true(clock_now_ns() < give_up_ns);
    } while (done < 2);
}

static void hosts_disconnect(struct host hosts[2])
{
    for (uint32_t rank = 0; rank < 2; rank++) {
        connection_disconnect(hosts[rank].connections[!rank]);
        endpoint_destroy(hosts[rank].endpoint);
    }
}

static void traffic_between(int family)
{
    const uint64_t give_up_ns = clock_now_ns() + PATIENCE_NS;
    struct traffic *traffic[2];
    struct host hosts[2];
    uint32_t done;

    hosts_connect(hosts, family, 10 * NS_PER_S, TRAFFIC_REGION_BYTES);
    for (int rank = 0; rank < 2; rank++) {
        traffic[rank] = traffic_create(&(struct traffic_config){.endpoint = hosts[rank].endpoint,
                                                                .connections = hosts[rank].connections,
                                                                .seed = 1,
                                                                .messages = 500,
                                                                .path_count = 3});
        assert_non_null(traffic[rank]);
    }
    do {
        done = 0;
        for (int rank = 0; rank < 2; rank++) {
            bool progress;
            const weft_status status = traffic_step(traffic[rank], clock_now_ns(), &progress);
            if (status > WEFT_IN_PROGRESS) fail_msg("%s", traffic_reason(traffic[rank]));
            done += status == WEFT_OK;
        }
        assert_true(clock_now_ns() < give_up_ns);
    } while (done < 2);
    for (int rank = 0; rank < 2; rank++) traffic_destroy(traffic[rank]);
    hosts_disconnect(hosts);
}

static void traffic_arrives_whole_over_ipv4_and_ipv6(void **state)
{
    (void)state;
    traffic_between(AF_INET);
    traffic_between(AF_INET6);
}

/* Poll @p host until it is told that its peer is gone; nothing else may come. */
static void expect_failure(struct host *host)
{
    const uint64_t give_up_ns = clock_now_ns() + PATIENCE_NS;
    struct event event;

    while (!endpoint_poll(host->endpoint, &event, 1, clock_now_ns())) {
        assert_true(clock_now_ns() < give_up_ns);
        nanosleep(&(struct timespec){.tv_nsec = 10 * NS_PER_MS}, NULL);
    }
    assert_int_equal(event.kind, EVENT_FAILED);
    assert_int_equal(event.status, WEFT_PEER_FAILED);
}

static void an_unplugged_cable_is_noticed_by_idle_ranks(void **state)
{
    struct host hosts[2];

    (void)state;
    hosts_connect(hosts, AF_INET, 2 * NS_PER_S, 4096);
    cable_set(false);
    expect_failure(&hosts[0]);
    expect_failure(&hosts[1]);
    hosts_disconnect(hosts);
    cable_set(true);
}

/* While bytes wait for an acknowledgement the kernel sends no keepalive probes, and it repeats them for a quarter of an
 * hour. */
static void an_unplugged_cable_is_noticed_by_a_sender(void **state)
{
    const uint64_t started_ns = clock_now_ns();
    static uint8_t source[1 << 20];
    struct host hosts[2];

    (void)state;
    hosts_connect(hosts, AF_INET, 2 * NS_PER_S, sizeof source);
    cable_set(false);
    const struct put put = {.source = source, .bytes = sizeof source, .flags = PUT_NOTIFY};
    assert_int_equal(connection_put(hosts[0].connections[1], &put, 1), 1);
    expect_failure(&hosts[0]);
    assert_true(clock_now_ns() - started_ns < PATIENCE_NS);
    hosts_disconnect(hosts);
    cable_set(true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(traffic_arrives_whole_over_ipv4_and_ipv6),
        cmocka_unit_test(an_unplugged_cable_is_noticed_by_idle_ranks),
        cmocka_unit_test(an_unplugged_cable_is_noticed_by_a_sender),
    };

    home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    if (home < 0 || geteuid() != 0 || !hosts_make()) {
        printf("needs root, ip(8) (Debian: iproute2) and a kernel that makes network namespaces and veth pairs\n");
        if (home >= 0) hosts_remove();
        return 77;
    }
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    hosts_remove();
    return failed;
}
