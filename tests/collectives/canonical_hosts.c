/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Canonical results do not depend on which hosts the ranks are on: processes that take themselves for ranks of one,
 * two, three or six hosts (WEFT_HOST_ID), so that some pairs share memory and others have TCP.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "canonical_messages.h"
#include "tests/collectives/comm_ranks.h"

enum { RANKS = 6 };

struct shared {
    weft_unique_id id;
    _Atomic bool named;
    char transports[RANKS][32];
    struct canonical_results results[RANKS];
};

/* The environment is read once a process, so this has to come before anything else of the library. */
static int rank_run(struct shared *shared, uint32_t rank, uint32_t hosts, struct canonical_way *way)
{
    char host[32];
    snprintf(host, sizeof host, "canonical-%u", rank * hosts / RANKS);
    setenv("WEFT_HOST_ID", host, 1);
    if (rank == 0) {
        if (weft_unique_id_create(&shared->id) != WEFT_OK) return 1;
        atomic_store(&shared->named, true);
    }
    while (!atomic_load(&shared->named)) usleep(1000);
    const weft_comm_config config = {
        .size = sizeof config, .id = &shared->id, .rank = rank, .rank_count = RANKS, .canonical = true};
    weft_comm *comm;
    if (weft_comm_create(&config, &comm) != WEFT_OK) return 1;
    snprintf(shared->transports[rank], sizeof shared->transports[rank], "%s", weft_comm_transport(comm));
    canonical_messages(comm, rank, way, shared->results);
    weft_comm_destroy(comm);
    return 0;
}

static void run_hosts(uint32_t hosts, struct canonical_way way, const char *transport)
{
    struct shared *shared = ranks_shared(sizeof *shared);
    pid_t pids[RANKS];
    fflush(NULL);
    for (uint32_t rank = 0; rank < RANKS; rank++) {
        pids[rank] = fork();
        if (pids[rank] != 0) continue;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        alarm(120);
        _exit(rank_run(shared, rank, hosts, &way));
    }
    for (uint32_t rank = 0; rank < RANKS; rank++) {
        int status;
        waitpid(pids[rank], &status, 0);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
        assert_string_equal(shared->transports[rank], transport);
        assert_int_equal(shared->results[rank].calls, CANONICAL_CALLS);
        if (shared->results[rank].wrong) fail_msg("%u hosts: %s", hosts, shared->results[rank].first);
    }
    ranks_unshare(shared, sizeof *shared);
}

static void every_division_among_hosts_makes_the_same_bits(void **state)
{
    (void)state;
    const char *mixed = "shm+tcp";
    run_hosts(1, (struct canonical_way){WEFT_ALGORITHM_AUTO, false, 1}, "shm");
    run_hosts(2, (struct canonical_way){WEFT_ALGORITHM_DIRECT, true, 1}, mixed);
    run_hosts(2, (struct canonical_way){WEFT_ALGORITHM_TREE, false, 1}, mixed);
    run_hosts(3, (struct canonical_way){WEFT_ALGORITHM_HALVING, true, 2}, mixed);
    run_hosts(6, (struct canonical_way){WEFT_ALGORITHM_AUTO, false, 1}, mixed);
}

int main(void)
{
    if (getenv("WEFT_TRANSPORT") || getenv("WEFT_HOST_ID")) {
        printf("needs WEFT_TRANSPORT and WEFT_HOST_ID unset: it divides ranks among hosts itself\n");
        return 77;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_division_among_hosts_makes_the_same_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
