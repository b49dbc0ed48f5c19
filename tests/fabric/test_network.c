/* SPDX-License-Identifier: Apache-2.0 */
/* Ranks on several hosts: threads of one process that take themselves for being on different ones. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "fabric/bootstrap/bootstrap_internal.h"
#include "fabric/bootstrap/network.h"
#include "support.h"

enum { RANKS_MAX = 64 };

struct job;
struct rank_thread {
    struct job *job;
    struct control_config config;
    pthread_t thread;
    struct control *control;
    weft_status joined;
    struct diagnostic diagnostic;
    char host[16];
};

struct job {
    weft_unique_id id;
    uint32_t rank_count;
    pthread_barrier_t barrier;
    void (*body)(struct rank_thread *rank);
    struct rank_thread ranks[RANKS_MAX];
};

static void *rank_main(void *argument)
{
    struct rank_thread *rank = argument;
    rank->joined = control_join(&rank->config, &rank->control, &rank->diagnostic);
    if (rank->joined != WEFT_OK) return NULL;
    pthread_barrier_wait(&rank->job->barrier);
    if (rank->job->body) rank->job->body(rank);
    pthread_barrier_wait(&rank->job->barrier);
    control_leave(rank->control);
    return NULL;
}

/* @p per_host ranks on each host; rank 0 meets the others at @p family's loopback. */
static void job_prepare(struct job *job, uint32_t rank_count, uint32_t per_host, int family)
{
    memset(job, 0, sizeof *job);
    job->rank_count = rank_count;
    assert_int_equal(weft_unique_id_create(&job->id), WEFT_OK);
    struct identity made = make_identity(&job->id, 0, rank_count);
    if (family != AF_UNSPEC) { /* as a launcher makes ids: at a port that nobody listens at yet */
        struct unique_id_parts parts = {.family = family, .port = 0};
        struct tcp_address at = {.family = family};
        int fd;
        inet_pton(family, family == AF_INET ? "127.0.0.1" : "::1", at.bytes);
        assert_int_equal(network_listen(&at, &fd, NULL), WEFT_OK);
        close(fd);
        assert_int_equal(bootstrap_meeting_listen(&made, &fd, NULL), WEFT_OK);
        close(fd);
        memcpy(parts.job, made.job, sizeof parts.job);
        memcpy(parts.key, made.key, sizeof parts.key);
        memcpy(parts.address, at.bytes, sizeof parts.address);
        parts.port = at.port;
        assert_int_equal(unique_id_make(&parts, &job->id), WEFT_OK);
    }
    pthread_barrier_init(&job->barrier, NULL, rank_count);
    for (uint32_t i = 0; i < rank_count; i++) {
        struct rank_thread *rank = &job->ranks[i];
        rank->job = job;
        rank->config = make_config(&job->id, i, rank_count);
        snprintf(rank->host, sizeof rank->host, "host %u", i / per_host);
        rank->config.host_id = rank->host;
    }
}

static void rank_start(struct job *job, uint32_t rank)
{
    assert_int_equal(pthread_create(&job->ranks[rank].thread, NULL, rank_main, &job->ranks[rank]), 0);
}

static void job_run(struct job *job)
{
    for (uint32_t rank = 0; rank < job->rank_count; rank++) rank_start(job, rank);
    for (uint32_t rank = 0; rank < job->rank_count; rank++) pthread_join(job->ranks[rank].thread, NULL);
    pthread_barrier_destroy(&job->barrier);
}

static void expect_joined(const struct job *job)
{
    for (uint32_t rank = 0; rank < job->rank_count; rank++)
        if (job->ranks[rank].joined != WEFT_OK) fail_msg("rank %u: %s", rank, job->ranks[rank].diagnostic.text);
}

/* ---- Loopback ---- */

static void expect_unpaced(int fd)
{
    char algorithm[16] = "";
    socklen_t size = sizeof algorithm;
    assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, algorithm, &size), 0);
    assert_string_equal(algorithm, "reno");
}

/* Whatever the system's own choice is, and at both ends: the accepted socket has it from the one that listened. */
static void connections_over_loopback_are_not_paced(void **state)
{
    (void)state;
    struct tcp_address at = {.family = AF_INET, .bytes = {127, 0, 0, 1}};
    int listener;
    assert_int_equal(network_listen(&at, &listener, NULL), WEFT_OK);
    int dialled = network_connect(&at);
    assert_true(dialled >= 0);
    struct pollfd waited = {.fd = listener, .events = POLLIN};
    assert_int_equal(poll(&waited, 1, 10000), 1);
    int accepted = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    assert_true(accepted >= 0);
    expect_unpaced(dialled);
    expect_unpaced(accepted);
    close(accepted);
    close(dialled);
    close(listener);
}

/* ---- Meeting ---- */

static void check_hosts(struct rank_thread *rank)
{
    for (uint32_t peer = 0; peer < rank->job->rank_count; peer++)
        if (control_same_host(rank->control, peer) != (strcmp(rank->host, rank->job->ranks[peer].host) == 0)) abort();
}

static void ranks_of_several_hosts_meet(void **state)
{
    (void)state;
    static const struct {
        uint32_t rank_count, per_host;
        int family;
    } cases[] = {{1, 1, AF_UNSPEC}, {2, 1, AF_UNSPEC}, {2, 1, AF_INET},  {2, 1, AF_INET6}, {3, 2, AF_UNSPEC},
                 {4, 2, AF_INET},   {7, 3, AF_UNSPEC}, {16, 4, AF_INET}, {33, 1, AF_INET}, {4, 4, AF_UNSPEC}};
    unsigned descriptors = count_descriptors();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        static struct job job;
        job_prepare(&job, cases[i].rank_count, cases[i].per_host, cases[i].family);
        job.body = check_hosts;
        job_run(&job);
        expect_joined(&job);
        assert_int_equal(count_descriptors(), descriptors);
        assert_int_equal(count_control_threads(), 0);
    }
}

static void sixty_four_ranks_on_as_many_hosts_start(void **state)
{
    (void)state;
    static struct job job;
    job_prepare(&job, 64, 1, AF_INET);
    uint64_t begun_ns = clock_now_ns();
    job_run(&job);
    printf("64 ranks on 64 hosts met and left in %.0f ms\n", (double)(clock_now_ns() - begun_ns) / 1e6);
    expect_joined(&job);
}

/* ---- Sockets for a transport ---- */

enum { SOCKETS = 3 };

static int reach(struct rank_thread *rank, weft_status (*how)(void *, uint32_t, int *), uint32_t peer)
{
    int fd = -1;
    weft_status status;
    while ((status = how(rank->control, peer, &fd)) == WEFT_IN_PROGRESS) usleep(100);
    if (status != WEFT_OK) abort();
    return fd;
}

static void exchange_over(int fd, uint32_t own, uint32_t peer, int family)
{
    struct sockaddr_storage name;
    socklen_t size = sizeof name;
    uint32_t got = 0;
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    if (getsockname(fd, (struct sockaddr *)&name, &size) != 0 || name.ss_family != family) abort();
    if (send(fd, &own, sizeof own, MSG_NOSIGNAL) != sizeof own || poll(&ready, 1, PATIENCE_MS) != 1 ||
        recv(fd, &got, sizeof got, 0) != sizeof got || got != peer)
        abort();
}

static void talk_to_everyone_over(struct rank_thread *rank, int family)
{
    uint32_t own = rank->config.identity.rank;
    int fds[RANKS_MAX][SOCKETS];
    for (uint32_t peer = 0; peer < rank->job->rank_count; peer++)
        for (int i = 0; peer != own && i < SOCKETS; i++) {
            fds[peer][i] = reach(rank, control_reach_tcp, peer);
            exchange_over(fds[peer][i], own, peer, family);
        }
    for (uint32_t peer = 0; peer < rank->job->rank_count; peer++) {
        for (int i = 0; peer != own && i < SOCKETS; i++) close(fds[peer][i]);
        if (peer == own || !control_same_host(rank->control, peer)) continue;
        int fd = reach(rank, control_reach, peer);
        exchange_over(fd, own, peer, AF_UNIX);
        close(fd);
    }
}

static void talk_to_everyone(struct rank_thread *rank)
{
    talk_to_everyone_over(rank, AF_INET);
}

static void talk_over_six(struct rank_thread *rank)
{
    talk_to_everyone_over(rank, AF_INET6);
}

static void every_pair_gets_several_tcp_sockets(void **state)
{
    (void)state;
    static struct job job;
    job_prepare(&job, 9, 2, AF_INET); /* ranks 0 and 3 are no neighbours */
    job.body = talk_to_everyone;
    job_run(&job);
    expect_joined(&job);
    job_prepare(&job, 4, 2, AF_INET6);
    job.body = talk_over_six;
    job_run(&job);
    expect_joined(&job);
}

static void ranks_of_one_host_can_have_tcp_too(void **state)
{
    (void)state;
    static struct job job;
    job_prepare(&job, 4, 4, AF_UNSPEC);
    assert_int_equal(bootstrap_id_create_local(&job.id), WEFT_OK);
    for (uint32_t rank = 0; rank < 4; rank++) {
        job.ranks[rank].config = make_config(&job.id, rank, 4);
        job.ranks[rank].config.network = true;
    }
    job.body = talk_to_everyone;
    job_run(&job);
    expect_joined(&job);
}

/* ---- Those who cannot take part ---- */

static void expect_refused(const struct rank_thread *rank, weft_status status, const char *why)
{
    if (rank->joined != status || !strstr(rank->diagnostic.text, why))
        fail_msg("rank %u: %s: %s", rank->config.identity.rank, weft_status_name(rank->joined), rank->diagnostic.text);
}

static void another_world_size_is_refused_on_both_sides(void **state)
{
    (void)state;
    static struct job job;
    job_prepare(&job, 2, 1, AF_INET);
    job.ranks[1].config.identity.rank_count = 3;
    job_run(&job);
    expect_refused(&job.ranks[0], WEFT_PEER_REFUSED,
                   "rank 1 was told that there are 3 ranks, and rank 0 that there are 2");
    expect_refused(&job.ranks[1], WEFT_PEER_REFUSED,
                   "rank 0 was told that there are 2 ranks, and rank 1 that there are 3");
}

/* Rank 0 waits for a rank 1 that is not of its job. Where the machine was too slow for them to meet, it waits longer.
 */
static void expect_stranger_refused(void (*spoil)(struct identity *identity), const char *why)
{
    static struct job job;
    for (uint64_t deadline_ns = NS_PER_S; deadline_ns <= 16 * NS_PER_S; deadline_ns *= 4) {
        job_prepare(&job, 2, 1, AF_INET);
        spoil(&job.ranks[1].config.identity);
        for (uint32_t rank = 0; rank < 2; rank++) job.ranks[rank].config.deadline_ns = deadline_ns;
        job_run(&job);
        if (job.ranks[1].joined != WEFT_DEADLINE_EXCEEDED) break;
    }
    expect_refused(&job.ranks[1], WEFT_PEER_REFUSED, why);
    expect_refused(&job.ranks[0], WEFT_DEADLINE_EXCEEDED, "rank 1 has not arrived within");
}

static void spoil_key(struct identity *identity)
{
    identity->key[3] ^= 1;
}

static void another_key_is_refused(void **state)
{
    (void)state;
    expect_stranger_refused(spoil_key, "it holds another key: give all ranks the same unique id or key");
}

static void spoil_job(struct identity *identity)
{
    identity->job[3] ^= 1;
}

static void a_stale_job_is_refused(void **state)
{
    (void)state;
    expect_stranger_refused(spoil_job, "it serves another job: pass this job's unique id to all ranks");
}

/* On one host the second would not get rank 1's Unix name: here it comes from elsewhere, to rank 0 alone. */
static void a_second_rank_1_is_refused(void **state)
{
    (void)state;
    static struct job job;
    job_prepare(&job, 3, 1, AF_INET);
    rank_start(&job, 0);
    rank_start(&job, 1);
    struct identity second = make_identity(&job.id, 1, 3);
    struct handshake handshake;
    struct diagnostic why;
    handshake_dial(&handshake, &second, 0, ROLE_MEETING, &second.meeting);
    while (handshake_advance(&handshake, &why) == WEFT_IN_PROGRESS) usleep(100);
    for (uint32_t rank = 0; rank < 2; rank++) {
        pthread_join(job.ranks[rank].thread, NULL);
        expect_refused(&job.ranks[rank], WEFT_PEER_REFUSED, "rank 1 is there twice: give every process a rank of its");
    }
    handshake_abandon(&handshake);
    pthread_barrier_destroy(&job.barrier);
}

static void a_rank_0_elsewhere_than_its_address_is_told(void **state)
{
    (void)state;
    static struct job job;
    job_prepare(&job, 2, 1, AF_INET);
    job.ranks[0].config.identity.meeting.bytes[0] = 192;
    job.ranks[0].config.identity.meeting.bytes[2] = 2;
    job.ranks[1].config.deadline_ns = NS_PER_S;
    job_run(&job);
    expect_refused(&job.ranks[0], WEFT_INVALID_ARGUMENT, "is no address of this host: rank 0 has to run where");
    expect_refused(&job.ranks[1], WEFT_DEADLINE_EXCEEDED, "rank 0 could not be reached at 127.0.0.1");
    assert_non_null(strstr(job.ranks[1].diagnostic.text, "Connection refused"));
}

static void a_port_that_others_have_is_told(void **state)
{
    (void)state;
    static struct job job;
    int fd;
    job_prepare(&job, 2, 1, AF_INET);
    struct tcp_address at = job.ranks[0].config.identity.meeting;
    assert_int_equal(network_listen(&at, &fd, NULL), WEFT_OK);
    for (uint32_t rank = 0; rank < 2; rank++) job.ranks[rank].config.deadline_ns = NS_PER_S / 2;
    job_run(&job);
    expect_refused(&job.ranks[0], WEFT_INVALID_ARGUMENT, "is taken: another program, or another job, listens there");
    assert_int_equal(job.ranks[1].joined, WEFT_DEADLINE_EXCEEDED);
    close(fd);
}

/* Seven of eight ranks meet; the first answer that does not name rank 5, or NULL. */
static const char *meet_without_rank_5(uint64_t deadline_ns)
{
    static struct job job;
    const char *other = NULL;
    job_prepare(&job, 8, 2, AF_INET);
    for (uint32_t rank = 0; rank < 8; rank++) {
        job.ranks[rank].config.deadline_ns = deadline_ns;
        if (rank != 5) rank_start(&job, rank);
    }
    for (uint32_t rank = 0; rank < 8; rank++)
        if (rank != 5) pthread_join(job.ranks[rank].thread, NULL);
    pthread_barrier_destroy(&job.barrier);
    for (uint32_t rank = 0; rank < 8; rank++) {
        if (rank == 5) continue;
        assert_int_equal(job.ranks[rank].joined, WEFT_DEADLINE_EXCEEDED);
        const char *said = job.ranks[rank].diagnostic.text;
        if (!other && !strstr(said, "rank 5 has not arrived within ")) other = said;
    }
    return other;
}

static void who_is_missing_is_named_by_all(void **state)
{
    (void)state;
    /* On a machine so busy that the others have not met by then, one of them is late, and may be named. */
    const char *other = "never met";
    for (uint64_t deadline_ns = NS_PER_S; other && deadline_ns <= 16 * NS_PER_S; deadline_ns *= 4)
        other = meet_without_rank_5(deadline_ns);
    if (other) fail_msg("%s", other);
}

/* ---- Strangers ---- */

enum stranger { SILENT, RANDOM, HTTP, TLS_WITHOUT_KEY, HALF, RESET, SLOW, STRANGER_KINDS };

static int stranger_connect(const struct tcp_address *at)
{
    int fd = network_connect(at);
    struct pollfd ready = {.fd = fd, .events = POLLOUT};
    if (fd >= 0) poll(&ready, 1, 1000);
    return fd;
}

static int stranger_come(const struct tcp_address *at, enum stranger kind)
{
    static const uint8_t client_hello[] = {0x16, 3, 1, 0, 0x2f, 1, 0, 0, 0x2b, 3, 3};
    static const char request[] = "GET / HTTP/1.1\r\nHost: rank0\r\n\r\n";
    uint8_t noise[300];
    int fd = stranger_connect(at);
    for (size_t i = 0; i < sizeof noise; i++) noise[i] = (uint8_t)(i * 73 + 11);
    if (kind == RANDOM) (void)!send(fd, noise, sizeof noise, MSG_NOSIGNAL);
    if (kind == HTTP) (void)!send(fd, request, sizeof request - 1, MSG_NOSIGNAL);
    if (kind == TLS_WITHOUT_KEY) (void)!send(fd, client_hello, sizeof client_hello, MSG_NOSIGNAL);
    if (kind == HALF) (void)!send(fd, "WEFT\2\0\0", 7, MSG_NOSIGNAL);
    if (kind == RESET) {
        struct linger abort_it = {.l_onoff = 1};
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &abort_it, sizeof abort_it);
        close(fd);
        return -1;
    }
    return fd;
}

/* A byte now and then from each, for as long as they are let. */
struct drip {
    const int *fds;
    int count;
    _Atomic bool stop; /* relaxed: nothing else hangs on it */
};

static void *drip_main(void *argument)
{
    struct drip *drip = argument;
    while (!atomic_load_explicit(&drip->stop, memory_order_relaxed)) {
        for (int i = 0; i < drip->count; i++) (void)!send(drip->fds[i], "\x16", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
        usleep(1000);
    }
    return NULL;
}

static void expect_start_among(enum stranger kind, int count)
{
    static struct job job;
    static int fds[1000];
    job_prepare(&job, 4, 1, AF_INET);
    rank_start(&job, 0);
    const struct tcp_address *at = &job.ranks[0].config.identity.meeting;
    for (int fd = -1; fd < 0; usleep(1000)) { /* until rank 0 listens */
        fd = stranger_connect(at);
        int error = 0;
        socklen_t size = sizeof error;
        if (fd >= 0) getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
        if (fd >= 0) close(fd);
        if (error) fd = -1;
    }
    for (int i = 0; i < count; i++) fds[i] = stranger_come(at, kind);
    struct drip drip = {.fds = fds, .count = kind == SLOW ? count : 0};
    pthread_t dripping;
    assert_int_equal(pthread_create(&dripping, NULL, drip_main, &drip), 0);
    uint64_t begun_ns = clock_now_ns();
    for (uint32_t rank = 1; rank < 4; rank++) rank_start(&job, rank);
    for (uint32_t rank = 0; rank < 4; rank++) pthread_join(job.ranks[rank].thread, NULL);
    printf("among %d strangers of kind %d: %.0f ms\n", count, (int)kind, (double)(clock_now_ns() - begun_ns) / 1e6);
    atomic_store_explicit(&drip.stop, true, memory_order_relaxed);
    pthread_join(dripping, NULL);
    for (int i = 0; i < count; i++)
        if (fds[i] >= 0) close(fds[i]);
    pthread_barrier_destroy(&job.barrier);
    expect_joined(&job);
}

static void strangers_do_not_keep_a_job_from_starting(void **state)
{
    (void)state;
    for (int kind = 0; kind < STRANGER_KINDS; kind++) expect_start_among((enum stranger)kind, 20);
}

static void a_thousand_silent_connections_do_not_either(void **state)
{
    (void)state;
    expect_start_among(SILENT, 1000);
}

/* During the job they come to the port that a rank shows to all others. */
static void be_visited(struct rank_thread *rank)
{
    if (rank->config.identity.rank == 1) {
        char text[64], *colon;
        control_address_text(rank->control, text);
        colon = strrchr(text, ':');
        struct tcp_address at = {.family = AF_INET, .port = (uint16_t)atoi(colon + 1)};
        *colon = 0;
        inet_pton(AF_INET, text, at.bytes);
        int fds[STRANGER_KINDS];
        for (int kind = 0; kind < STRANGER_KINDS; kind++) fds[kind] = stranger_come(&at, (enum stranger)kind);
        usleep(50000);
        for (int kind = 0; kind < STRANGER_KINDS; kind++)
            if (fds[kind] >= 0) close(fds[kind]);
    }
    talk_to_everyone(rank);
    if (control_failed(rank->control)) abort();
}

static void strangers_during_a_job_are_forgotten(void **state)
{
    (void)state;
    static struct job job;
    job_prepare(&job, 4, 1, AF_INET);
    job.body = be_visited;
    job_run(&job);
    expect_joined(&job);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(connections_over_loopback_are_not_paced),
        cmocka_unit_test(ranks_of_several_hosts_meet),
        cmocka_unit_test(sixty_four_ranks_on_as_many_hosts_start),
        cmocka_unit_test(every_pair_gets_several_tcp_sockets),
        cmocka_unit_test(ranks_of_one_host_can_have_tcp_too),
        cmocka_unit_test(another_world_size_is_refused_on_both_sides),
        cmocka_unit_test(another_key_is_refused),
        cmocka_unit_test(a_stale_job_is_refused),
        cmocka_unit_test(a_second_rank_1_is_refused),
        cmocka_unit_test(a_rank_0_elsewhere_than_its_address_is_told),
        cmocka_unit_test(a_port_that_others_have_is_told),
        cmocka_unit_test(who_is_missing_is_named_by_all),
        cmocka_unit_test(strangers_do_not_keep_a_job_from_starting),
        cmocka_unit_test(a_thousand_silent_connections_do_not_either),
        cmocka_unit_test(strangers_during_a_job_are_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
