/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/collectives/comm_ranks.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define DEFAULT_DEADLINE_NS UINT64_C(60000000000)

struct rank_thread {
    const struct ranks_config *config;
    const weft_unique_id *id;
    uint32_t rank;
    void *results;
    _Atomic uint32_t *joined;
    pthread_t thread;
};

static void rank_run(const struct rank_thread *rank)
{
    const struct ranks_config *config = rank->config;
    const weft_comm_config comm_config = {
        .size = sizeof comm_config,
        .id = rank->id,
        .rank = rank->rank,
        .rank_count = config->rank_count,
        .deadline_ns = config->deadline_ns ? config->deadline_ns : DEFAULT_DEADLINE_NS,
        .channel_count = config->channel_count,
        .slice_bytes = config->slice_bytes,
        .progress_thread = config->progress_thread,
    };
    weft_comm *comm;
    weft_status status = weft_comm_create(&comm_config, &comm);
    if (status != WEFT_OK) {
        fprintf(stderr, "rank %u cannot join: %s\n", rank->rank, weft_status_name(status));
        abort();
    }
    if (rank->joined) atomic_fetch_add(rank->joined, 1);
    config->function(comm, rank->rank, config->argument, rank->results);
    weft_comm_destroy(comm);
}

static void *rank_main(void *argument)
{
    rank_run(argument);
    return NULL;
}

void ranks_as_threads(const struct ranks_config *config, void *results)
{
    weft_unique_id id;
    if (weft_unique_id_create(&id) != WEFT_OK) abort();
    struct rank_thread *ranks = calloc(config->rank_count, sizeof *ranks);
    for (uint32_t i = 0; i < config->rank_count; i++) {
        ranks[i] = (struct rank_thread){config, &id, i, results, NULL, 0};
        if (pthread_create(&ranks[i].thread, NULL, rank_main, &ranks[i]) != 0) abort();
    }
    for (uint32_t i = 0; i < config->rank_count; i++) pthread_join(ranks[i].thread, NULL);
    free(ranks);
}

uint32_t ranks_as_processes(const struct ranks_config *config, void *results,
                            void (*meanwhile)(const pid_t *pids, void *argument, void *results))
{
    weft_unique_id id;
    if (weft_unique_id_create(&id) != WEFT_OK) abort();
    _Atomic uint32_t *joined = ranks_shared(sizeof *joined);
    pid_t *pids = calloc(config->rank_count, sizeof *pids);
    fflush(NULL);
    for (uint32_t i = 0; i < config->rank_count; i++) {
        pids[i] = fork();
        if (pids[i] < 0) abort();
        if (pids[i] > 0) continue;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        struct rank_thread rank = {config, &id, i, results, joined, 0};
        rank_run(&rank);
        _exit(0);
    }
    if (meanwhile) {
        while (atomic_load(joined) < config->rank_count) usleep(1000);
        meanwhile(pids, config->argument, results);
    }
    uint32_t failed = 0;
    for (uint32_t i = 0; i < config->rank_count; i++) {
        int status;
        waitpid(pids[i], &status, 0);
        bool killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
        failed += !killed && status != 0;
    }
    free(pids);
    ranks_unshare(joined, sizeof *joined);
    return failed;
}

void *ranks_shared(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) abort();
    return memory;
}

void ranks_unshare(void *memory, size_t bytes)
{
    munmap(memory, bytes);
}
