/* SPDX-License-Identifier: Apache-2.0 */
/* Runs one size of one collective many times, checks the results, and says how long it took. */
#ifndef TOOLS_MEASURE_H
#define TOOLS_MEASURE_H

#include "tools/perf/calls.h"
#include "tools/perf/pattern.h"
#include "tools/perf/perf.h"

struct measurement {
    weft_comm *comm;
    const struct perf_options *options;
    struct pattern pattern;
    struct call_site site; /* of the row that is being measured */
    uint8_t *send, *recv;  /* room for the largest size each */
    bool borrows;          /* them, from another measurement */
    double *times_us;      /* one per iteration */
    uint32_t rank, rank_count;
};

/*
 * Buffers of @p options->end_bytes, unless they are plain and @p lender, which may be NULL and else lasts longer, has
 * them. WEFT_OUT_OF_MEMORY; registered ones: what weft_mem_alloc() says.
 */
weft_status measurement_begin(struct measurement *measurement, weft_comm *comm, const struct perf_options *options,
                              const struct measurement *lender);
void measurement_end(struct measurement *measurement);

/* Collective over the communicator; every rank gets the same row. The status is that of the first call that failed. */
weft_status measure(struct measurement *measurement, uint64_t bytes, bool in_place, struct perf_row *row);

/* As many calls of measurement->site, each after a barrier: the slowest rank's times, into times_us. Collective. */
weft_status measure_calls(struct measurement *measurement, uint64_t iterations);

/* Median and 99th percentile (nearest rank) of @p count times, which are put in order. */
void summarize(double *times_us, uint64_t count, double *median_us, double *p99_us);
/* Bus bandwidth over algorithm bandwidth, as nccl-tests defines it. */
double bus_factor(weft_collective collective, uint32_t rank_count);
#endif
