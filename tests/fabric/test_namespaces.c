/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ranks as processes in network namespaces, which for all they know are hosts, joined by a bridge; one of them dies, is
 * stopped, or its network fails. Every other one must name it. Needs root and ip (iproute2), else it is skipped.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/random.h"
#include "support.h"
#include "tests/fabric/namespaces.h"

enum { RANKS = 4, VICTIM = 2 };

struct outcome {
    weft_status joined, status;
    int32_t rank;
    uint64_t known_ns;
};

struct job {
    weft_unique_id id;
    pid_t pids[RANKS];
    struct outcome *outcomes; /* shared with the ranks */
    int joined[2];            /* a byte from every rank that has joined */
};

static struct namespaces hosts;

/* One TCP socket to each other rank, and a byte each way. */
static bool talk_to_all(struct control *control, uint32_t rank)
{
    for (uint32_t peer = 0; peer < RANKS; peer++) {
        if (peer == rank) continue;
        weft_status status;
        char byte = 0;
        int fd = -1;
        while ((status = control_reach_tcp(control, peer, &fd)) == WEFT_IN_PROGRESS) usleep(100);
        struct pollfd ready = {.fd = fd, .events = POLLIN};
        bool talked = status == WEFT_OK && !control_same_host(control, peer) && send(fd, "x", 1, MSG_NOSIGNAL) == 1 &&
                      poll(&ready, 1, PATIENCE_MS) == 1 && recv(fd, &byte, 1, 0) == 1;
        if (fd >= 0) close(fd);
        if (!talked) return false;
    }
    return true;
}

static _Noreturn void be_rank(const struct job *job, uint32_t rank)
{
    struct outcome *outcome = &job->outcomes[rank];
    struct control *control = NULL;
    struct diagnostic why = {.status = WEFT_OK};
    if (!namespaces_enter(&hosts, rank)) _exit(2);
    struct control_config config = make_config(&job->id, rank, RANKS);
    config.keepalive_ns = 2 * NS_PER_S; /* a busy machine may hold a healthy rank up for one */
    outcome->joined = control_join(&config, &control, &why);
    if (outcome->joined != WEFT_OK) fprintf(stderr, "rank %u: %s\n", rank, why.text);
    if (outcome->joined == WEFT_OK && !talk_to_all(control, rank)) outcome->joined = WEFT_SYSTEM_ERROR;
    (void)!write(job->joined[1], "J", 1);
    if (outcome->joined != WEFT_OK || !wait_failed(control)) _exit(1);
    weft_failure failure;
    control_failure(control, &failure);
    outcome->known_ns = clock_now_ns();
    outcome->rank = failure.rank;
    outcome->status = failure.status;
    control_leave(control);
    _exit(0);
}

static void job_start(struct job *job)
{
    struct unique_id_parts parts = {.job = "namespaces", .family = AF_INET, .address = {10, 99, 0, 1}, .port = 29501};
    assert_int_equal(random_secret(parts.key, sizeof parts.key), WEFT_OK);
    assert_int_equal(unique_id_make(&parts, &job->id), WEFT_OK);
    job->outcomes =
        mmap(NULL, RANKS * sizeof *job->outcomes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(job->outcomes != MAP_FAILED);
    assert_int_equal(pipe(job->joined), 0);
    fflush(NULL);
    for (uint32_t rank = 0; rank < RANKS; rank++) {
        job->pids[rank] = fork();
        assert_true(job->pids[rank] >= 0);
        if (job->pids[rank] == 0) be_rank(job, rank);
    }
    char byte;
    for (uint32_t rank = 0; rank < RANKS; rank++) assert_int_equal(read(job->joined[0], &byte, 1), 1);
    for (uint32_t rank = 0; rank < RANKS; rank++) assert_int_equal(job->outcomes[rank].joined, WEFT_OK);
}

static void expect_victim_named(struct job *job, const char *what, uint64_t begun_ns)
{
    uint64_t last_ns = begun_ns;
    for (uint32_t rank = 0; rank < RANKS; rank++) {
        if (rank == VICTIM) continue;
        const struct outcome *outcome = &job->outcomes[rank];
        assert_int_equal(waitpid(job->pids[rank], NULL, 0), job->pids[rank]);
        if (outcome->status != WEFT_PEER_FAILED || outcome->rank != VICTIM)
            fail_msg("%s: rank %u names rank %d (%s)", what, rank, outcome->rank, weft_status_name(outcome->status));
        if (outcome->known_ns > last_ns) last_ns = outcome->known_ns;
    }
    printf("%s: named by all after %.0f ms, at a keepalive of 1000 ms\n", what, (double)(last_ns - begun_ns) / 1e6);
    kill(job->pids[VICTIM], SIGKILL);
    waitpid(job->pids[VICTIM], NULL, 0);
    munmap(job->outcomes, RANKS * sizeof *job->outcomes);
    close(job->joined[0]);
    close(job->joined[1]);
}

static void a_killed_rank_is_named(void **state)
{
    (void)state;
    struct job job;
    job_start(&job);
    uint64_t begun_ns = clock_now_ns();
    kill(job.pids[VICTIM], SIGKILL);
    expect_victim_named(&job, "killed", begun_ns);
}

static void a_stopped_rank_is_named(void **state)
{
    (void)state;
    struct job job;
    job_start(&job);
    uint64_t begun_ns = clock_now_ns();
    kill(job.pids[VICTIM], SIGSTOP);
    expect_victim_named(&job, "stopped", begun_ns);
}

static void a_rank_whose_link_goes_down_is_named(void **state)
{
    (void)state;
    struct job job;
    job_start(&job);
    uint64_t begun_ns = clock_now_ns();
    assert_true(command("ip -n %sbridge link set port%d down", hosts.prefix, VICTIM));
    expect_victim_named(&job, "link down", begun_ns);
    assert_true(command("ip -n %sbridge link set port%d up", hosts.prefix, VICTIM));
}

/* What it sends gets lost; what is sent to it arrives. */
static void a_rank_that_is_no_longer_heard_is_named(void **state)
{
    (void)state;
    struct job job;
    job_start(&job);
    uint64_t begun_ns = clock_now_ns();
    for (int host = 0; host < RANKS; host++)
        if (host != VICTIM)
            assert_true(command("ip -n %s%d route add blackhole 10.99.0.%d/32", hosts.prefix, VICTIM, host + 1));
    expect_victim_named(&job, "one-way partition", begun_ns);
    for (int host = 0; host < RANKS; host++)
        if (host != VICTIM) command("ip -n %s%d route del blackhole 10.99.0.%d/32", hosts.prefix, VICTIM, host + 1);
}

int main(void)
{
    if (geteuid() != 0 || !command("ip netns list >/dev/null 2>&1")) {
        printf("needs root and ip (iproute2) to make network namespaces\n");
        return 77;
    }
    if (!namespaces_make(&hosts, RANKS, 99)) {
        printf("the kernel lets us make no network namespaces, veth pairs or bridges\n");
        return 77;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_killed_rank_is_named),
        cmocka_unit_test(a_stopped_rank_is_named),
        cmocka_unit_test(a_rank_whose_link_goes_down_is_named),
        cmocka_unit_test(a_rank_that_is_no_longer_heard_is_named),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    namespaces_remove(&hosts);
    return failed;
}
