/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The promise: a communicator of 8 local ranks costs each less than 16 MiB of memory, whatever has been called on it.
 *
 * What a rank costs is its proportional set size (/proc/PID/smaps_rollup: private pages, and of pages that several
 * processes map, its share), less what it was before the communicator was made. The caller's buffers are there and
 * touched before that.
 */
#include <inttypes.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/collectives/comm_ranks.h"

enum { RANKS = 8 };
#define BYTES_MOST (UINT64_C(4) << 20)
#define COST_MOST_KIB (16 * 1024)

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif

struct scene {
    _Atomic uint32_t met; /* ranks that reached the next meeting, over all meetings */
    int64_t before_kib[RANKS], created_kib[RANKS], used_kib[RANKS];
    weft_status status[RANKS];
};

/* In KiB; -1 where the kernel does not say. */
static int64_t proportional_kib(void)
{
    char line[256];
    int64_t kib = -1;
    FILE *file = fopen("/proc/self/smaps_rollup", "re");
    while (file && fgets(line, sizeof line, file)) {
        unsigned long long value;
        if (sscanf(line, "Pss: %llu kB", &value) == 1) kib = (int64_t)value;
    }
    if (file) fclose(file);
    return kib;
}

/* All ranks are there before and after somebody measures: a page's shares follow from who maps it at the moment. */
static void meet(struct scene *scene, uint32_t *meetings)
{
    uint32_t all = ++*meetings * RANKS;
    atomic_fetch_add_explicit(&scene->met, 1, memory_order_acq_rel);
    while (atomic_load_explicit(&scene->met, memory_order_acquire) < all) usleep(500);
}

static int64_t measure(struct scene *scene, uint32_t *meetings)
{
    meet(scene, meetings);
    int64_t kib = proportional_kib();
    meet(scene, meetings);
    return kib;
}

/* An algorithm that a collective does not have is no failure. */
static weft_status forgive(weft_status status)
{
    return status == WEFT_UNSUPPORTED ? WEFT_OK : status;
}

static weft_status use_combining(weft_comm *comm, float *send, float *recv, uint64_t count, const weft_call *call)
{
    weft_status status = forgive(weft_all_reduce(comm, send, recv, count, WEFT_FLOAT32, WEFT_SUM, call, NULL));
    if (!status) status = forgive(weft_reduce(comm, send, recv, count, WEFT_FLOAT32, WEFT_SUM, 3, call, NULL));
    if (!status)
        status = forgive(weft_reduce_scatter(comm, send, recv, count / RANKS, WEFT_FLOAT32, WEFT_SUM, call, NULL));
    return status;
}

static weft_status use_moving(weft_comm *comm, float *send, float *recv, uint64_t count, const weft_call *call)
{
    uint64_t block = count / RANKS, counts[RANKS], offsets[RANKS];
    for (uint32_t i = 0; i < RANKS; i++) counts[i] = block, offsets[i] = i * block;
    weft_status status = forgive(weft_broadcast(comm, send, recv, count, WEFT_FLOAT32, 2, call, NULL));
    if (!status) status = forgive(weft_all_gather(comm, send, recv, block, WEFT_FLOAT32, call, NULL));
    if (!status) status = forgive(weft_gather(comm, send, recv, block, WEFT_FLOAT32, 1, call, NULL));
    if (!status) status = forgive(weft_scatter(comm, send, recv, block, WEFT_FLOAT32, 7, call, NULL));
    if (!status) status = forgive(weft_all_to_all(comm, send, recv, block, WEFT_FLOAT32, call, NULL));
    if (!status)
        status =
            forgive(weft_all_to_allv(comm, send, counts, offsets, recv, counts, offsets, WEFT_FLOAT32, call, NULL));
    return status;
}

/* Every rank to its next one: messages between pairs have slots of their own. */
static weft_status use_pairs(weft_comm *comm, uint32_t rank, float *send, float *recv, uint64_t count)
{
    weft_status status = weft_group_start(comm);
    if (!status) status = weft_send(comm, send, count, WEFT_FLOAT32, (rank + 1) % RANKS, NULL, NULL);
    if (!status) status = weft_recv(comm, recv, count, WEFT_FLOAT32, (rank + RANKS - 1) % RANKS, NULL, NULL);
    return status ? status : weft_group_end(comm, NULL);
}

/* By every algorithm: each has streams of its own shape to fill slots with. */
static weft_status use_everything(weft_comm *comm, uint32_t rank, float *send, float *recv)
{
    weft_status status = weft_barrier(comm, NULL, NULL);
    for (uint64_t bytes = 64; bytes <= BYTES_MOST && !status; bytes *= 16) {
        const uint64_t count = bytes / sizeof(float);
        for (int algorithm = WEFT_ALGORITHM_AUTO; algorithm < WEFT_ALGORITHM_COUNT && !status; algorithm++) {
            const weft_call call = {.size = sizeof call, .algorithm = (weft_algorithm)algorithm};
            status = use_combining(comm, send, recv, count, &call);
            if (!status) status = use_moving(comm, send, recv, count, &call);
        }
        if (!status) status = use_pairs(comm, rank, send, recv, count);
    }
    return status;
}

static void rank_run(struct scene *scene, const weft_unique_id *id, uint32_t rank)
{
    const weft_comm_config config = {.size = sizeof config, .id = id, .rank = rank, .rank_count = RANKS};
    float *send = malloc(BYTES_MOST), *recv = malloc(BYTES_MOST);
    uint32_t meetings = 0;
    weft_comm *comm;
    if (!send || !recv) abort();
    for (size_t i = 0; i < BYTES_MOST / sizeof(float); i++) send[i] = recv[i] = (float)rank;
    scene->before_kib[rank] = measure(scene, &meetings);
    scene->status[rank] = weft_comm_create(&config, &comm);
    if (scene->status[rank]) abort(); /* else the others would wait */
    scene->created_kib[rank] = measure(scene, &meetings);
    scene->status[rank] = use_everything(comm, rank, send, recv);
    scene->used_kib[rank] = measure(scene, &meetings);
    weft_comm_destroy(comm);
}

static void eight_local_ranks_cost_less_than_16_mib_each(void **state)
{
    (void)state;
    weft_unique_id id;
    assert_int_equal(weft_unique_id_create(&id), WEFT_OK);
    struct scene *scene = ranks_shared(sizeof *scene);
    pid_t pids[RANKS];
    fflush(NULL);
    for (uint32_t rank = 0; rank < RANKS; rank++) {
        pids[rank] = fork();
        assert_true(pids[rank] >= 0);
        if (pids[rank] > 0) continue;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        rank_run(scene, &id, rank);
        _exit(0);
    }
    int64_t most_kib = 0;
    for (uint32_t rank = 0; rank < RANKS; rank++) {
        int status;
        waitpid(pids[rank], &status, 0);
        assert_int_equal(status, 0);
        assert_int_equal(scene->status[rank], WEFT_OK);
        assert_true(scene->before_kib[rank] > 0);
        int64_t cost_kib = scene->used_kib[rank] - scene->before_kib[rank];
        if (cost_kib > most_kib) most_kib = cost_kib;
        print_message("rank %" PRIu32 ": %" PRId64 " KiB when made, %" PRId64 " KiB after everything\n", rank,
                      scene->created_kib[rank] - scene->before_kib[rank], cost_kib);
    }
    ranks_unshare(scene, sizeof *scene);
    assert_in_range(most_kib, 0, COST_MOST_KIB - 1);
}

int main(void)
{
#ifdef SANITIZED
    printf("sanitizers keep memory of their own\n");
    return 77;
#endif
    if (proportional_kib() < 0) {
        printf("needs /proc/self/smaps_rollup (Linux 4.14)\n");
        return 77;
    }
    setenv("WEFT_TRANSPORT", "shm", 1);
    const struct CMUnitTest tests[] = {cmocka_unit_test(eight_local_ranks_cost_less_than_16_mib_each)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
