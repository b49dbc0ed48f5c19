/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Six ranks in network namespaces, which for all they know are hosts, joined by a bridge; a topology that makes ranks 1
 * and 4 neighbours on a ring, which the control connections do not join; and something between these two. Both are
 * named by all, at creation. Needs root and ip (iproute2), else it is skipped.
 */
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <weft/weft.h>

#include <cmocka.h>

#include "tests/fabric/namespaces.h"

enum { RANKS = 6, LOW = 1, HIGH = 4 };

struct outcome {
    weft_status created;
    weft_failure failure;
};

static struct namespaces hosts;
static char folder[] = "/tmp/weft_links_XXXXXX", topology[64];

static void environment_set(uint32_t rank)
{
    char text[96];
    snprintf(text, sizeof text, "%u", rank);
    setenv("RANK", text, 1);
    setenv("WEFT_HOST_ID", text, 1);
    snprintf(text, sizeof text, "%d", RANKS);
    setenv("WORLD_SIZE", text, 1);
    setenv("MASTER_ADDR", "10.98.0.1", 1);
    setenv("WEFT_PORT", "29507", 1);
    setenv("WEFT_INSECURE", "1", 1);
    setenv("WEFT_TRANSPORT", "tcp", 1);
    setenv("WEFT_TOPOLOGY", topology, 1);
    setenv("WEFT_LINK_TIMEOUT", "2s", 1);
    setenv("WEFT_DEADLINE", "60s", 1);
    snprintf(text, sizeof text, "%s/rank%u.log", folder, rank);
    setenv("WEFT_LOG_FILE", text, 1);
    unlink(text);
}

/* Who is done with its own links when the others fail hears of it at its first call. */
static _Noreturn void be_rank(struct outcome *outcome, uint32_t rank)
{
    weft_comm *comm;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    environment_set(rank);
    if (!namespaces_enter(&hosts, rank)) _exit(2);
    outcome->created = weft_comm_create_from_env(&comm);
    if (outcome->created != WEFT_OK) _exit(0);
    float value = 1, sum = 0;
    weft_all_reduce(comm, &value, &sum, 1, WEFT_FLOAT32, WEFT_SUM, NULL, NULL);
    outcome->failure.size = sizeof outcome->failure;
    weft_comm_failure(comm, &outcome->failure);
    weft_comm_destroy(comm);
    _exit(sum == RANKS || outcome->failure.status != WEFT_OK ? 0 : 3);
}

static void job_run(struct outcome *outcomes)
{
    pid_t pids[RANKS];
    memset(outcomes, 0, RANKS * sizeof *outcomes);
    fflush(NULL);
    for (uint32_t rank = 0; rank < RANKS; rank++) {
        pids[rank] = fork();
        assert_true(pids[rank] >= 0);
        if (pids[rank] == 0) be_rank(&outcomes[rank], rank);
    }
    for (uint32_t rank = 0; rank < RANKS; rank++) {
        int status;
        assert_int_equal(waitpid(pids[rank], &status, 0), pids[rank]);
        if (status != 0) fail_msg("rank %u ended with %d", rank, status);
    }
}

static void expect_said(uint32_t rank, const char *word)
{
    char path[96], text[4000] = "";
    snprintf(path, sizeof path, "%s/rank%u.log", folder, rank);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    fclose(file);
    if (!strstr(text, word)) fail_msg("rank %u does not say \"%s\" but \"%s\"", rank, word, text);
}

static void expect_named(struct outcome *outcomes, const char *why)
{
    job_run(outcomes);
    for (uint32_t rank = 0; rank < RANKS; rank++) {
        const struct outcome *outcome = &outcomes[rank];
        weft_status status = outcome->created != WEFT_OK ? outcome->created : outcome->failure.status;
        if (status != WEFT_LINK_DOWN) fail_msg("rank %u ends with %s", rank, weft_status_name(status));
        if (outcome->created == WEFT_OK) {
            bool both = (outcome->failure.rank == LOW && outcome->failure.other_rank == HIGH) ||
                        (outcome->failure.rank == HIGH && outcome->failure.other_rank == LOW);
            assert_true(both);
            assert_non_null(strstr(outcome->failure.message, "10.98.0.2"));
            assert_non_null(strstr(outcome->failure.message, "10.98.0.5"));
            continue;
        }
        expect_said(rank, "rank 1 at 10.98.0.2");
        expect_said(rank, "rank 4 at 10.98.0.5");
        expect_said(rank, "cannot connect over tcp");
    }
    if (outcomes[LOW].created != WEFT_OK) expect_said(LOW, why);
}

static void ranks_that_nothing_keeps_apart_work(void **state)
{
    struct outcome *outcomes = *state;
    job_run(outcomes);
    for (uint32_t rank = 0; rank < RANKS; rank++) {
        assert_int_equal(outcomes[rank].created, WEFT_OK);
        assert_int_equal(outcomes[rank].failure.status, WEFT_OK);
    }
}

static void a_pair_without_a_route_is_named(void **state)
{
    assert_true(command("ip -n %s%d route add unreachable 10.98.0.5/32", hosts.prefix, LOW));
    expect_named(*state, "No route to host");
    assert_true(command("ip -n %s%d route del unreachable 10.98.0.5/32", hosts.prefix, LOW));
}

/* What the one sends arrives, and no answer comes back. */
static void a_pair_without_answers_is_named(void **state)
{
    assert_true(command("ip -n %s%d route add blackhole 10.98.0.2/32", hosts.prefix, HIGH));
    expect_named(*state, "not within 2 s");
    assert_true(command("ip -n %s%d route del blackhole 10.98.0.2/32", hosts.prefix, HIGH));
}

/* Hosts 1 and 4 are behind one switch. */
static bool topology_write(void)
{
    snprintf(topology, sizeof topology, "%s/topology.yaml", folder);
    FILE *file = fopen(topology, "w");
    if (!file) return false;
    fputs("weft_topology: 1\n"
          "nodes:\n"
          "  - {host: \"a[0-5]\"}\n"
          "  - {switch: \"s[0-2]\"}\n"
          "  - {switch: top}\n"
          "links:\n"
          "  - {network: [\"host a[0-5]\", \"switch s[0-2]\"], join: cyclic, bandwidth: 10 GB/s}\n"
          "  - {network: [\"switch s[0-2]\", \"switch top\"], join: all, bandwidth: 5 GB/s}\n",
          file);
    return fclose(file) == 0;
}

int main(void)
{
    if (geteuid() != 0) {
        printf("skipped: network namespaces need root\n");
        return 77;
    }
    if (!mkdtemp(folder) || !topology_write()) return 1;
    if (!namespaces_make(&hosts, RANKS, 98)) {
        command("rm -r '%s'", folder);
        printf("skipped: no network namespaces here, or no ip (iproute2)\n");
        return 77;
    }
    void *outcomes =
        mmap(NULL, RANKS * sizeof(struct outcome), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(ranks_that_nothing_keeps_apart_work, outcomes),
        cmocka_unit_test_prestate(a_pair_without_a_route_is_named, outcomes),
        cmocka_unit_test_prestate(a_pair_without_answers_is_named, outcomes),
    };
    int failed = outcomes == MAP_FAILED ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
    namespaces_remove(&hosts);
    command("rm -r '%s'", folder);
    return failed;
}
