/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ranks of one host that copy from each other's memory with the kernel's help: who asks for permission, and what
 * becomes of a call whose peer is stopped while it copies. ctest runs this with WEFT_SHM_ATTACH=permit, and without.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "tests/collectives/comm_ranks.h"

#ifndef PR_SET_PTRACER
#define PR_SET_PTRACER 0x59616d61
#define PR_SET_PTRACER_ANY ((unsigned long)-1)
#endif

enum { COUNT = 1 << 20 };

/* Calls that go by this program on their way to the kernel. */
int __real_prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d);
int __wrap_prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d);
ssize_t __real_process_vm_readv(pid_t process, const struct iovec *own, unsigned long own_count,
                                const struct iovec *its, unsigned long its_count, unsigned long flags);
ssize_t __wrap_process_vm_readv(pid_t process, const struct iovec *own, unsigned long own_count,
                                const struct iovec *its, unsigned long its_count, unsigned long flags);

static uint32_t times_permitted;
static bool stops_at_a_copy; /* this process, once */

int __wrap_prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d)
{
    times_permitted += option == PR_SET_PTRACER && a == PR_SET_PTRACER_ANY;
    return __real_prctl(option, a, b, c, d);
}

ssize_t __wrap_process_vm_readv(pid_t process, const struct iovec *own, unsigned long own_count,
                                const struct iovec *its, unsigned long its_count, unsigned long flags)
{
    if (stops_at_a_copy && own[0].iov_len > 64) {
        stops_at_a_copy = false;
        raise(SIGSTOP);
    }
    return __real_process_vm_readv(process, own, own_count, its, its_count, flags);
}

/* ---- Permission ---- */

static void permission_note(weft_comm *comm, uint32_t rank, void *argument, void *results)
{
    (void)comm, (void)argument;
    ((uint32_t *)results)[rank] = times_permitted;
}

static void others_are_permitted_to_attach_only_where_it_is_said(void **state)
{
    (void)state;
    const char *said = getenv("WEFT_SHM_ATTACH");
    uint32_t *times = ranks_shared(2 * sizeof *times);
    const struct ranks_config config = {.rank_count = 2, .function = permission_note};
    assert_int_equal(ranks_as_processes(&config, times, NULL), 0);
    for (int rank = 0; rank < 2; rank++) {
        if (said && strcmp(said, "permit") == 0)
            assert_true(times[rank] > 0);
        else
            assert_int_equal(times[rank], 0);
    }
    ranks_unshare(times, 2 * sizeof *times);
}

/* ---- A peer that is stopped ---- */

enum { RETURNED = 1 << 8 }; /* beside a status */
struct stop_results {
    _Atomic uint32_t returned[2]; /* RETURNED, and what the call returned */
    weft_failure failure;         /* as rank 0 sees it */
    bool was_stopped, returned_meanwhile;
};

static void reduce_and_stop(weft_comm *comm, uint32_t rank, void *argument, void *results)
{
    (void)argument;
    struct stop_results *out = results;
    float *send = calloc(COUNT, sizeof *send), *recv = calloc(COUNT, sizeof *recv);
    const weft_call call = {.size = sizeof call, .deadline_ns = 300000000, .algorithm = WEFT_ALGORITHM_DIRECT};
    stops_at_a_copy = rank == 1;
    weft_status status = weft_all_reduce(comm, send, recv, COUNT, WEFT_FLOAT32, WEFT_SUM, &call, NULL);
    if (rank == 0) {
        out->failure.size = sizeof out->failure;
        weft_comm_failure(comm, &out->failure);
    }
    atomic_store(&out->returned[rank], RETURNED | status);
    free(recv);
    free(send);
}

/* Rank 1 goes on only when rank 0 has returned. Were it waited for until then, rank 0 would never return. */
static void let_go_on_afterwards(const pid_t *pids, void *argument, void *results)
{
    (void)argument;
    struct stop_results *out = results;
    siginfo_t what;
    assert_int_equal(waitid(P_PID, (id_t)pids[1], &what, WSTOPPED | WEXITED | WNOWAIT), 0);
    out->was_stopped = what.si_code == CLD_STOPPED;
    if (!out->was_stopped) return;
    assert_int_equal(waitid(P_PID, (id_t)pids[0], &what, WEXITED | WNOWAIT), 0);
    out->returned_meanwhile = atomic_load(&out->returned[0]) & RETURNED;
    kill(pids[1], SIGCONT);
}

static void a_peer_that_is_stopped_while_it_copies_is_not_waited_for(void **state)
{
    (void)state;
    if (!getenv("WEFT_SHM_ATTACH")) skip(); /* the same again, and it takes two seconds */
    struct stop_results *out = ranks_shared(sizeof *out);
    const struct ranks_config config = {.rank_count = 2, .function = reduce_and_stop};
    assert_int_equal(ranks_as_processes(&config, out, let_go_on_afterwards), 0);
    if (!out->was_stopped) {
        print_message("needs process_vm_readv, which this kernel or container refuses\n");
        skip();
    }
    assert_true(out->returned_meanwhile);
    assert_int_equal(out->returned[0], RETURNED | WEFT_DEADLINE_EXCEEDED);
    assert_int_equal(out->failure.rank, 1);
    assert_int_not_equal(out->returned[1], RETURNED | WEFT_OK);
    ranks_unshare(out, sizeof *out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(others_are_permitted_to_attach_only_where_it_is_said),
        cmocka_unit_test(a_peer_that_is_stopped_while_it_copies_is_not_waited_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
