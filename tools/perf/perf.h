/* SPDX-License-Identifier: Apache-2.0 */
/* What weft-perf was asked for, and what it found: shared by its parts. */
#ifndef TOOLS_PERF_H
#define TOOLS_PERF_H

#include <stdbool.h>
#include <stdint.h>
#include <weft/weft.h>

struct perf_options {
    int collective;      /* enum weft_collective */
    uint64_t rank_count; /* 0: the launcher's environment decides */
    int transport;
    uint64_t begin_bytes, end_bytes, factor;
    uint64_t iterations; /* 0: as many as fit a fraction of a second */
    uint64_t batch;      /* calls timed together after each barrier; 0: one */
    uint64_t warmup;     /* PERF_WARMUP_AUTO: as the size suggests */
    int dtype, op, algorithm, buffers;
    uint64_t root;
    bool no_check, canonical, calibrate;
    bool plain_only; /* --tune: no other slices and channels than the model's */
    bool compare;    /* --tune: one pass, and the automatic choice is WEFT_TUNING's */
    const char *json_file, *tune_file;
};
#define PERF_WARMUP_AUTO UINT64_MAX
enum { PERF_BUFFERS_PLAIN, PERF_BUFFERS_REGISTERED };

/* One size, out of place or in place. Bandwidths in 1e9 bytes per second, as nccl-tests defines them. */
struct perf_row {
    uint64_t bytes, count; /* of the message, which is all blocks where there are several; elements of a block */
    bool in_place;
    weft_algorithm algorithm; /* that was used */
    uint64_t iterations;
    double time_us, p99_us; /* median and 99th percentile over iterations of the slowest rank */
    double algbw_gbps, busbw_gbps;
    uint64_t wrong; /* elements, over all ranks */
};

/* Does this collective combine (op), have a root, have a block for each rank, move bytes at all? */
static inline bool perf_has_op(int collective)
{
    return collective == WEFT_ALL_REDUCE || collective == WEFT_REDUCE || collective == WEFT_REDUCE_SCATTER;
}
static inline bool perf_has_root(int collective)
{
    return collective == WEFT_BROADCAST || collective == WEFT_REDUCE || collective == WEFT_GATHER ||
           collective == WEFT_SCATTER;
}
static inline bool perf_has_blocks(int collective)
{
    return collective == WEFT_ALL_GATHER || collective == WEFT_REDUCE_SCATTER || collective == WEFT_GATHER ||
           collective == WEFT_SCATTER || collective == WEFT_ALL_TO_ALL || collective == WEFT_ALL_TO_ALLV;
}
/* Two ranks' messages cross in a group, so neither has anywhere to be out of the other's way. */
static inline bool perf_has_in_place(int collective)
{
    return collective != WEFT_BARRIER && collective != WEFT_SEND_RECV;
}
static inline bool perf_has_bytes(int collective)
{
    return collective != WEFT_BARRIER;
}
#endif
