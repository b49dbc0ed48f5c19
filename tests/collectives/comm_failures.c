/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ranks that die, leave or do not come: every survivor names the rank at fault, whether it is a neighbour or not, and
 * not one that left because of it.
 */
#include <dirent.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/collectives/comm_ranks.h"

#define MAX_RANKS 16

struct death_results {
    _Atomic uint32_t victim;
    _Atomic uint64_t killed_ns, named_ns[MAX_RANKS];
    _Atomic uint64_t rounds[MAX_RANKS];
    weft_status status[MAX_RANKS];
    weft_failure failure[MAX_RANKS];
};

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void record_failure(weft_comm *comm, uint32_t rank, struct death_results *out, weft_status status)
{
    out->status[rank] = status;
    out->failure[rank].size = sizeof out->failure[rank];
    weft_comm_failure(comm, &out->failure[rank]);
    atomic_store(&out->named_ns[rank], now_ns());
}

/* All-reduce until something fails, then leave at once. */
static void reduce_until_failure(weft_comm *comm, uint32_t rank, void *argument, void *results)
{
    struct death_results *out = results;
    uint64_t count = *(const uint64_t *)argument;
    float *buffer = calloc(count, sizeof *buffer);
    weft_status status;
    do {
        status = weft_all_reduce(comm, buffer, buffer, count, WEFT_FLOAT32, WEFT_SUM, NULL, NULL);
        atomic_fetch_add(&out->rounds[rank], 1);
    } while (status == WEFT_OK);
    record_failure(comm, rank, out, status);
    free(buffer);
}

static void kill_in_the_middle(const pid_t *pids, void *argument, void *results)
{
    (void)argument;
    struct death_results *out = results;
    uint32_t victim = atomic_load(&out->victim);
    while (atomic_load(&out->rounds[victim]) < 3) usleep(200);
    atomic_store(&out->killed_ns, now_ns());
    kill(pids[victim], SIGKILL);
}

static void check_named(const struct death_results *out, uint32_t rank_count, uint64_t *worst_ns)
{
    uint32_t victim = out->victim;
    for (uint32_t rank = 0; rank < rank_count; rank++) {
        if (rank == victim) continue;
        if (out->status[rank] != WEFT_PEER_FAILED || out->failure[rank].rank != (int32_t)victim)
            print_error("%u ranks, victim %u: rank %u got %s, naming rank %d: %s\n", rank_count, victim, rank,
                        weft_status_name(out->status[rank]), out->failure[rank].rank, out->failure[rank].message);
        assert_int_equal(out->status[rank], WEFT_PEER_FAILED);
        assert_int_equal(out->failure[rank].rank, victim);
        uint64_t delay_ns = out->named_ns[rank] - out->killed_ns;
        if (delay_ns > *worst_ns) *worst_ns = delay_ns;
    }
}

static void run_deaths(uint32_t rank_count, uint64_t count, bool progress_thread)
{
    uint64_t worst_ns = 0;
    for (uint32_t victim = 0; victim < rank_count; victim++) {
        struct death_results *out = ranks_shared(sizeof *out);
        atomic_store(&out->victim, victim);
        const struct ranks_config config = {.rank_count = rank_count,
                                            .progress_thread = progress_thread,
                                            .function = reduce_until_failure,
                                            .argument = &count};
        assert_int_equal(ranks_as_processes(&config, out, kill_in_the_middle), 0);
        check_named(out, rank_count, &worst_ns);
        ranks_unshare(out, sizeof *out);
    }
    print_message("%u ranks, %llu bytes: the last survivor named the victim after at most %.1f ms\n", rank_count,
                  (unsigned long long)count * sizeof(float), (double)worst_ns / 1e6);
}

static void every_survivor_names_the_killed_rank(void **state)
{
    (void)state;
    static const uint32_t rank_counts[] = {2, 3, 5, 8};
    for (size_t i = 0; i < sizeof rank_counts / sizeof rank_counts[0]; i++) {
        run_deaths(rank_counts[i], 1 << 18, false);
        run_deaths(rank_counts[i], 16, i % 2);
    }
}

/* Rank 0 is killed while it computes and the others wait for it. */
static void wait_for_computing_rank(weft_comm *comm, uint32_t rank, void *argument, void *results)
{
    (void)argument;
    struct death_results *out = results;
    float value = 1;
    weft_all_reduce(comm, &value, &value, 1, WEFT_FLOAT32, WEFT_SUM, NULL, NULL);
    atomic_store(&out->rounds[rank], 3);
    if (rank == 0) sleep(60);
    record_failure(comm, rank, out, weft_barrier(comm, NULL, NULL));
}

static void a_rank_killed_outside_of_weft_is_named(void **state)
{
    (void)state;
    struct death_results *out = ranks_shared(sizeof *out);
    const struct ranks_config config = {.rank_count = 4, .function = wait_for_computing_rank};
    assert_int_equal(ranks_as_processes(&config, out, kill_in_the_middle), 0);
    uint64_t worst_ns = 0;
    check_named(out, 4, &worst_ns);
    ranks_unshare(out, sizeof *out);
}

/* The last rank leaves in order, while the others go on to another operation. */
static void leave_early(weft_comm *comm, uint32_t rank, void *argument, void *results)
{
    (void)argument;
    struct death_results *out = results;
    if (rank + 1 == weft_comm_rank_count(comm)) return;
    float values[1000] = {0};
    record_failure(comm, rank, out, weft_all_reduce(comm, values, values, 1000, WEFT_FLOAT32, WEFT_SUM, NULL, NULL));
}

static void a_rank_that_left_is_named_by_those_who_need_it(void **state)
{
    (void)state;
    for (uint32_t rank_count = 2; rank_count <= 6; rank_count++) {
        struct death_results *out = ranks_shared(sizeof *out);
        atomic_store(&out->victim, rank_count - 1);
        const struct ranks_config config = {.rank_count = rank_count, .function = leave_early};
        ranks_as_threads(&config, out);
        uint64_t worst_ns = 0;
        check_named(out, rank_count, &worst_ns);
        ranks_unshare(out, sizeof *out);
    }
}

static void miss_deadline(weft_comm *comm, uint32_t rank, void *argument, void *results)
{
    (void)argument;
    struct death_results *out = results;
    if (rank == 1) { /* alive, but busy elsewhere until the others have given up */
        weft_failure failure = {.size = sizeof failure};
        do {
            usleep(1000);
            weft_comm_failure(comm, &failure);
        } while (failure.status == WEFT_OK);
        record_failure(comm, rank, out, weft_barrier(comm, NULL, NULL));
        return;
    }
    const weft_call call = {.size = sizeof call, .deadline_ns = 300000000};
    record_failure(comm, rank, out, weft_barrier(comm, &call, NULL));
}

static void a_missed_deadline_is_an_error_on_all_ranks(void **state)
{
    (void)state;
    struct death_results *out = ranks_shared(sizeof *out);
    const struct ranks_config config = {.rank_count = 3, .function = miss_deadline};
    ranks_as_threads(&config, out);
    for (uint32_t rank = 0; rank < 3; rank++) {
        assert_int_equal(out->status[rank], WEFT_DEADLINE_EXCEEDED);
        assert_int_equal(out->failure[rank].sequence, 1);
        assert_string_not_equal(out->failure[rank].message, "");
    }
    ranks_unshare(out, sizeof *out);
}

static void revoke_it(weft_comm *comm, uint32_t rank, void *argument, void *results)
{
    (void)argument;
    struct death_results *out = results;
    if (rank == 0) {
        usleep(20000);
        weft_comm_revoke(comm);
    }
    float values[100] = {0};
    weft_status status = rank == 0 ? weft_barrier(comm, NULL, NULL)
                                   : weft_all_reduce(comm, values, values, 100, WEFT_FLOAT32, WEFT_SUM, NULL, NULL);
    record_failure(comm, rank, out, status);
}

/* Of all that a call may say, the longest: as one who never wants to hear of it does. */
static void come_at_leisure(weft_comm *comm, uint32_t rank, void *argument, void *results)
{
    (void)argument;
    struct death_results *out = results;
    const weft_call call = {.size = sizeof call, .deadline_ns = UINT64_MAX};
    if (rank == 0) usleep(30000);
    out->status[rank] = weft_barrier(comm, &call, NULL);
    if (rank == 0) usleep(30000);
    if (out->status[rank] == WEFT_OK) out->status[rank] = weft_group_start(comm);
    if (out->status[rank] == WEFT_OK) out->status[rank] = weft_barrier(comm, &call, NULL);
    if (out->status[rank] == WEFT_OK) out->status[rank] = weft_group_end(comm, NULL);
}

static void the_longest_deadline_does_not_pass(void **state)
{
    (void)state;
    struct death_results *out = ranks_shared(sizeof *out);
    for (int threads = 0; threads < 2; threads++) {
        const struct ranks_config config = {
            .rank_count = 2, .deadline_ns = UINT64_MAX, .progress_thread = threads, .function = come_at_leisure};
        ranks_as_threads(&config, out);
        for (uint32_t rank = 0; rank < 2; rank++) assert_int_equal(out->status[rank], WEFT_OK);
    }
    ranks_unshare(out, sizeof *out);
}

static void revoking_ends_all_operations_of_all_ranks(void **state)
{
    (void)state;
    struct death_results *out = ranks_shared(sizeof *out);
    const struct ranks_config config = {.rank_count = 4, .function = revoke_it};
    ranks_as_threads(&config, out);
    for (uint32_t rank = 0; rank < 4; rank++) {
        assert_int_equal(out->status[rank], WEFT_REVOKED);
        assert_int_equal(out->failure[rank].rank, 0);
    }
    ranks_unshare(out, sizeof *out);
}

/* Entries of a folder whose names begin with @p prefix. */
static uint32_t count_entries(const char *path, const char *prefix)
{
    uint32_t count = 0;
    DIR *directory = opendir(path);
    for (const struct dirent *entry; directory && (entry = readdir(directory));)
        count += strncmp(entry->d_name, prefix, strlen(prefix)) == 0;
    if (directory) closedir(directory);
    return count;
}

/* The kernel lets go of a thread's folder some moments after it has been joined. */
static uint32_t count_threads(uint32_t at_most)
{
    uint32_t count = count_entries("/proc/self/task", "");
    for (int tries = 0; count > at_most && tries < 1000; tries++) {
        usleep(1000);
        count = count_entries("/proc/self/task", "");
    }
    return count;
}

static void a_few_rounds(weft_comm *comm, uint32_t rank, void *argument, void *results)
{
    (void)argument;
    (void)rank;
    (void)results;
    float values[5000] = {0};
    weft_request *never_waited_for;
    weft_all_reduce(comm, values, values, 5000, WEFT_FLOAT32, WEFT_SUM, NULL, NULL);
    weft_barrier(comm, NULL, &never_waited_for);
    weft_wait(&never_waited_for);
}

/* Requests that are complete, under way, failed, in a group, and in one that is open still: nobody waits for them. */
static void leave_requests(weft_comm *comm, uint32_t rank, void *argument, void *results)
{
    (void)argument;
    struct death_results *out = results;
    enum { COUNT = 5000 };
    static float values[2][4][COUNT], messages[2][COUNT];
    float *theirs = messages[rank];
    weft_request *complete, *waited_for, *fails = NULL, *group;
    weft_all_reduce(comm, values[rank][0], values[rank][0], COUNT, WEFT_FLOAT32, WEFT_SUM, NULL, &complete);
    weft_all_reduce(comm, values[rank][1], values[rank][1], COUNT, WEFT_FLOAT32, WEFT_SUM, NULL, &waited_for);
    out->status[rank] = weft_wait(&waited_for);
    if (rank == 1) {
        weft_send(comm, theirs, 1, WEFT_FLOAT32, 0, NULL, NULL);
        weft_recv(comm, theirs, 1, WEFT_FLOAT32, 0, NULL, NULL); /* until rank 0 revokes */
    } else {
        weft_recv(comm, theirs, 1, WEFT_FLOAT32, 1, NULL, NULL);
        weft_recv(comm, theirs, COUNT, WEFT_FLOAT32, 1, NULL, &fails);
        weft_group_start(comm);
        weft_all_reduce(comm, values[0][2], values[0][2], COUNT, WEFT_FLOAT32, WEFT_SUM, NULL, NULL);
        weft_group_end(comm, &group);
        weft_comm_revoke(comm);
        if (out->status[0] == WEFT_OK && weft_wait(&fails) != WEFT_REVOKED) out->status[0] = WEFT_INVALID_STATE;
    }
    weft_group_start(comm);
    weft_all_reduce(comm, values[rank][3], values[rank][3], COUNT, WEFT_FLOAT32, WEFT_SUM, NULL, NULL);
}

/* The address sanitizer looks for what is left of them. */
static void requests_go_with_the_communicator(void **state)
{
    (void)state;
    struct death_results *out = ranks_shared(sizeof *out);
    for (int threads = 0; threads < 2; threads++) {
        const struct ranks_config config = {.rank_count = 2, .progress_thread = threads, .function = leave_requests};
        ranks_as_threads(&config, out);
        for (uint32_t rank = 0; rank < 2; rank++) assert_int_equal(out->status[rank], WEFT_OK);
    }
    ranks_unshare(out, sizeof *out);
}

static void nothing_is_left_behind(void **state)
{
    (void)state;
    const struct ranks_config config = {.rank_count = 4, .progress_thread = true, .function = a_few_rounds};
    ranks_as_threads(&config, NULL);
    uint32_t descriptors = count_entries("/proc/self/fd", ""), threads = count_entries("/proc/self/task", "");
    uint32_t shared = count_entries("/dev/shm", "weft"); /* other programs' come and go */
    for (int i = 0; i < 3; i++) ranks_as_threads(&config, NULL);
    assert_int_equal(count_entries("/proc/self/fd", ""), descriptors);
    assert_true(count_threads(threads) <= threads);
    assert_int_equal(count_entries("/dev/shm", "weft"), shared);
}

/* What weft_comm_create() writes to the log about the configuration that it refuses. */
static void refusal_of(const weft_comm_config *config, char *text, size_t bytes)
{
    weft_comm *comm = NULL;
    FILE *file = tmpfile();
    const int error = dup(STDERR_FILENO);
    assert_true(file && error >= 0 && dup2(fileno(file), STDERR_FILENO) >= 0);
    const weft_status status = weft_comm_create(config, &comm);
    assert_true(dup2(error, STDERR_FILENO) >= 0);
    close(error);
    rewind(file);
    text[fread(text, 1, bytes - 1, file)] = '\0';
    fclose(file);
    assert_int_equal(status, WEFT_INVALID_ARGUMENT);
    assert_null(comm);
}

static void a_refused_configuration_is_told_why(void **state)
{
    (void)state;
    const weft_unique_id id = {0};
    const struct {
        weft_comm_config config;
        const char *reason;
    } cases[] = {
        {{.size = 3, .id = &id, .rank_count = 1}, "size of the weft_comm_config is 3"},
        {{.size = sizeof(weft_comm_config), .rank_count = 1}, "id is NULL"},
        {{.size = sizeof(weft_comm_config), .id = &id}, "rank_count is 0"},
        {{.size = sizeof(weft_comm_config), .id = &id, .rank = 2, .rank_count = 2}, "rank is 2; expected 0 to 1"},
    };
    char text[512];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        refusal_of(&cases[i].config, text, sizeof text);
        assert_non_null(strstr(text, cases[i].reason));
    }
    refusal_of(NULL, text, sizeof text);
    assert_non_null(strstr(text, "there is no weft_comm_config"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_refused_configuration_is_told_why),
        cmocka_unit_test(every_survivor_names_the_killed_rank),
        cmocka_unit_test(a_rank_killed_outside_of_weft_is_named),
        cmocka_unit_test(a_rank_that_left_is_named_by_those_who_need_it),
        cmocka_unit_test(a_missed_deadline_is_an_error_on_all_ranks),
        cmocka_unit_test(the_longest_deadline_does_not_pass),
        cmocka_unit_test(revoking_ends_all_operations_of_all_ranks),
        cmocka_unit_test(requests_go_with_the_communicator),
        cmocka_unit_test(nothing_is_left_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
