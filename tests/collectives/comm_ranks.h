/* SPDX-License-Identifier: Apache-2.0 */
/* Ranks for tests: as threads of this process, or as processes of their own. */
#ifndef TESTS_COMM_RANKS_H
#define TESTS_COMM_RANKS_H

#include <stdint.h>
#include <sys/types.h>
#include <weft/weft.h>

/* What one rank does. @p results is shared by all ranks, also across processes. */
typedef void (*rank_function)(weft_comm *comm, uint32_t rank, void *argument, void *results);

struct ranks_config {
    uint32_t rank_count;
    bool progress_thread;
    uint64_t slice_bytes;
    uint64_t deadline_ns; /* 0: 60 s, so that no machine is too busy */
    uint32_t channel_count;
    rank_function function;
    void *argument;
};

/* Run all ranks as threads to their end. Aborts if a communicator cannot be made. */
void ranks_as_threads(const struct ranks_config *config, void *results);

/*
 * Run all ranks as processes. @p results is memory from ranks_shared(). @p meanwhile (may be NULL) is called once all
 * ranks have joined, with their process ids. Returns the number of ranks that did not exit with 0, not counting those
 * killed with SIGKILL.
 */
uint32_t ranks_as_processes(const struct ranks_config *config, void *results,
                            void (*meanwhile)(const pid_t *pids, void *argument, void *results));

/* Zeroed memory that forked children share; ranks_unshare(). */
void *ranks_shared(size_t bytes);
void ranks_unshare(void *memory, size_t bytes);
#endif
