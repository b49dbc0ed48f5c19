/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How weft and its peers are timed, once for all programs here: weft-perf does the same (tools/perf/measure.c).
 *
 * A figure is the median over iterations of the slowest rank's time for one call. Before each iteration there is a
 * barrier, the program's own; an iteration is one call or, where a batch is asked for, that many calls one after
 * another, of which the mean counts. Warm-up: 10 iterations below 1 MiB, else 2. Without a number of iterations, as
 * many as fit 0.15 s, but 5 to 2000. Every call uses the same two buffers, so what fits a cache is found there.
 */
#ifndef BENCH_SCHEME_H
#define BENCH_SCHEME_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

enum { SCHEME_ITERATIONS_LEAST = 5, SCHEME_ITERATIONS_MOST = 2000 };

struct scheme {
    uint64_t begin_bytes, end_bytes, factor; /* sizes */
    uint64_t iterations;                     /* 0: as many as fit */
    uint64_t batch;                          /* calls an iteration */
};

#define SCHEME_ARGUMENTS "BEGIN_BYTES END_BYTES FACTOR ITERATIONS BATCH"

/* From the five words that SCHEME_ARGUMENTS names. */
static inline bool scheme_read(struct scheme *scheme, char *const words[5])
{
    uint64_t *const fields[] = {&scheme->begin_bytes, &scheme->end_bytes, &scheme->factor, &scheme->iterations,
                                &scheme->batch};
    for (int i = 0; i < 5; i++) {
        char *end = NULL;
        if (!words[i]) return false;
        *fields[i] = strtoull(words[i], &end, 10);
        if (end == words[i] || *end) return false;
    }
    return scheme->begin_bytes <= scheme->end_bytes && scheme->factor > 1 && scheme->batch > 0;
}

static inline uint64_t scheme_next_bytes(const struct scheme *scheme, uint64_t bytes)
{
    bool last = bytes == 0 || bytes > scheme->end_bytes / scheme->factor;
    return last ? scheme->end_bytes + 1 : bytes * scheme->factor;
}

static inline uint64_t scheme_warmup(uint64_t bytes)
{
    return bytes < UINT64_C(1) << 20 ? 10 : 2;
}

/* @p iteration_s: the slowest rank's in the warm-up, so that all ranks do the same number. */
static inline uint64_t scheme_iterations(const struct scheme *scheme, double iteration_s)
{
    const double row_s = 0.15;
    if (scheme->iterations) return scheme->iterations;
    double fitting = iteration_s > 0 ? row_s / iteration_s : SCHEME_ITERATIONS_MOST;
    if (fitting < SCHEME_ITERATIONS_LEAST) return SCHEME_ITERATIONS_LEAST;
    return fitting < SCHEME_ITERATIONS_MOST ? (uint64_t)fitting : SCHEME_ITERATIONS_MOST;
}

/* Room for the times of any number of iterations that scheme_iterations() may give. */
static inline double *scheme_times(const struct scheme *scheme)
{
    return calloc(scheme->iterations ? scheme->iterations : SCHEME_ITERATIONS_MOST, sizeof(double));
}

static inline int scheme_compare(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

/* Puts them in order. */
static inline double scheme_median(double *times_s, uint64_t count)
{
    qsort(times_s, count, sizeof *times_s, scheme_compare);
    return (times_s[(count - 1) / 2] + times_s[count / 2]) / 2;
}
#endif
