/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weft-perf --tune FILE: time every algorithm of every collective, in turns, and keep what is the fastest in a tuning
 * file (docs/formats/tuning.md), transport by transport, also with other slices and channels than the model's.
 */
#ifndef TOOLS_TUNE_H
#define TOOLS_TUNE_H

#include <stdbool.h>

#include "tools/perf/perf.h"

/* The supervisor's part: @p transports ends with NULL, @p argv is the command line. Returns the exit code. */
int tune_supervise(const struct perf_options *options, const char *const transports[], char *const argv[]);
/* A child's part. */
int tune_rank(const struct perf_options *options);

/* One candidate's time, as ranks hand it to the supervisor in FILE.rows. */
struct tune_row {
    weft_collective collective;
    uint64_t bytes;           /* of the message, or of a block where each rank has one */
    weft_algorithm algorithm; /* WEFT_ALGORITHM_AUTO: the automatic choice's time ... */
    weft_algorithm chosen;    /* ... which was this; else the same as algorithm */
    uint32_t pass;            /* rows of one were measured in turns */
    double time_us;
    double ping_us;                 /* at the time, ping.h; 0: not known */
    uint64_t channels, slice_bytes; /* 0: the model's */
};

/*
 * Of the @p row_count rows for one collective and size, which have to hold the automatic choice, the one that loses
 * least to the fastest, whichever of the states the machine is in that pings tell apart. The automatic choice's
 * algorithm stays unless another does better by more than what a timing is sure of, and in every pass; and where ranks
 * share memory and one state is all that was seen, by more than what it is worth that a direct plan follows the state
 * it finds.
 */
const struct tune_row *tune_best(const struct tune_row *rows, uint32_t row_count, bool shares_memory);
#endif
