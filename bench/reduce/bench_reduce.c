/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How fast the kernels of collectives/reduce run on this processor, beside memcpy in the same run.
 *
 * usage: bench_reduce [BYTES [best]]     (per buffer; 1 MiB by default; best: at the widest level alone)
 *
 * GB/s counts every byte read and every byte written once, GB = 1e9. Each figure is the median of rounds that visit
 * all levels and memcpy in turn, so that a slow moment of the machine hits all of them.
 *
 * "of bound" is the widest level's share of what copying allows: (bytes loaded + bytes stored) / memcpy's GB/s is the
 * least time, and that over the time it took is the share. It can exceed 1: a sum of two loads twice what it stores,
 * and memory reads faster than it is written. From STREAMING_BYTES on, where buffers leave the caches, results are
 * stored past them, as the collectives do.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/config.h"
#include "collectives/reduce/reduce.h"

#define STREAMING_BYTES ((size_t)4 << 20)

enum { MAX_SOURCES = 8, MAX_DESTINATIONS = 2, ROUNDS = 15, LEVELS = 3, CONTENDERS = LEVELS + 1 };

static const char *const level_names[LEVELS] = {"portable", "avx2", "avx512"};
static const int level_ids[LEVELS] = {SIMD_PORTABLE, SIMD_AVX2, SIMD_AVX512};

struct shape {
    uint32_t sources, destinations;
    bool streaming, canonical;
};

static void *sources[MAX_SOURCES], *destinations[MAX_DESTINATIONS];
static int least_level;                                             /* that is measured */
static const double scales[MAX_SOURCES] = {1, 1, 1, 1, 1, 1, 1, 1}; /* which the kernels take for any other number */

static int compare_doubles(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

static double median(double *values, size_t count)
{
    qsort(values, count, sizeof *values, compare_doubles);
    return values[count / 2];
}

/* Nanoseconds for one call, averaged over enough calls for the clock not to matter. NULL: memcpy. */
static double time_calls(reduce_function kernel, const struct reduce_call *call, size_t bytes)
{
    size_t repeats = 1 + (4 << 20) / (bytes + 64);
    uint64_t start_ns = clock_now_ns();
    for (size_t i = 0; i < repeats; i++) {
        if (kernel) {
            kernel(call);
        } else {
            memcpy(destinations[0], sources[0], bytes);
            __asm__ volatile("" ::: "memory"); /* the copies are all needed */
        }
    }
    return (double)(clock_now_ns() - start_ns) / (double)repeats;
}

static void measure(weft_dtype dtype, weft_op op, struct shape shape, size_t bytes)
{
    struct reduce_call call = {.destinations = destinations,
                               .sources = (const void *const *)sources,
                               .destination_count = shape.destinations,
                               .source_count = shape.sources,
                               .count = bytes / weft_dtype_size(dtype),
                               .divisor = op == WEFT_AVG ? shape.sources : 0,
                               .streaming = shape.streaming,
                               .scales = op == WEFT_PREMUL_SUM ? scales : NULL};
    const int rounds = bytes < STREAMING_BYTES ? ROUNDS : 5;
    double times[CONTENDERS][ROUNDS];
    for (int round = -1; round < rounds; round++) { /* the first one warms up, and the second overwrites it */
        for (int i = 0; i < CONTENDERS; i++) {
            reduce_function kernel = NULL;
            if (i >= least_level && i < LEVELS && shape.canonical)
                kernel = reduce_lookup_canonical_at(dtype, op, level_ids[i]);
            if (i >= least_level && i < LEVELS && !shape.canonical) kernel = reduce_lookup_at(dtype, op, level_ids[i]);
            double time = i == LEVELS || kernel ? time_calls(kernel, &call, bytes) : 0;
            times[i][round < 0 ? 0 : round] = time;
        }
    }
    printf("%-11s %-10s %2u -> %u %-9s", weft_dtype_name(dtype), weft_op_name(op), shape.sources, shape.destinations,
           shape.canonical   ? "tree"
           : shape.streaming ? "streaming"
                             : "");
    double rates[CONTENDERS] = {0};
    for (int i = 0; i < CONTENDERS; i++) {
        double traffic = (double)bytes * (i == LEVELS ? 2 : shape.sources + shape.destinations);
        double time = median(times[i], rounds);
        if (time > 0) rates[i] = traffic / time;
        if (time > 0) {
            printf(" %10.1f", rates[i]);
        } else {
            printf(" %10s", "-");
        }
    }
    double widest = 0;
    for (int i = 0; i < LEVELS; i++)
        if (rates[i] > 0) widest = rates[i];
    printf(" %10.2f", widest / rates[LEVELS]);
    printf("\n");
}

static void measure_all(size_t bytes)
{
    const bool streaming = bytes >= STREAMING_BYTES;
    const struct shape shapes[] = {{1, 1, false, false}, {1, 2, false, false}, {2, 1, false, false},
                                   {2, 1, true, false},  {2, 2, false, false}, {2, 2, true, false}};
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) measure(WEFT_FLOAT32, WEFT_SUM, shapes[i], bytes);
    /* What canonical results cost: the same sources, one after another and by the tree. */
    for (int dtype = WEFT_FLOAT32; dtype <= WEFT_BFLOAT16; dtype++)
        for (uint32_t count = 3; count <= MAX_SOURCES; count += 1 + count / 4)
            for (int canonical = 0; canonical < 2; canonical++)
                measure((weft_dtype)dtype, WEFT_SUM, (struct shape){count, 1, streaming, canonical}, bytes);
    for (int dtype = 0; dtype < WEFT_DTYPE_COUNT; dtype++) {
        for (int op = 0; op < WEFT_OP_COUNT; op++) {
            measure((weft_dtype)dtype, (weft_op)op, (struct shape){2, 1, streaming, false}, bytes);
        }
    }
}

int main(int argument_count, char **arguments)
{
    size_t bytes = 1 << 20;
    char *end = NULL;
    if (argument_count > 1) bytes = strtoull(arguments[1], &end, 0);
    const bool best = argument_count == 3 && !strcmp(arguments[2], "best");
    if (argument_count > 3 || (argument_count == 3 && !best) || (end && *end) || bytes == 0 || bytes % 8) {
        fprintf(stderr, "usage: bench_reduce [BYTES [best]]; BYTES of a buffer are a multiple of 8\n");
        return 2;
    }
    for (int i = 0; i < MAX_SOURCES + MAX_DESTINATIONS; i++) {
        void *buffer = malloc(bytes);
        if (!buffer) {
            fprintf(stderr, "bench_reduce: no memory for %zu bytes\n", bytes);
            return 1;
        }
        memset(buffer, 0x3c, bytes); /* an ordinary number in every type */
        *(i < MAX_SOURCES ? &sources[i] : &destinations[i - MAX_SOURCES]) = buffer;
    }
    for (int i = 0; best && i < LEVELS; i++)
        if (!strcmp(level_names[i], reduce_simd_name())) least_level = i;
    printf("GB/s, %zu bytes per buffer, best level here %s\n", bytes, reduce_simd_name());
    printf("%-40s", "kernel");
    for (int i = 0; i < LEVELS; i++) printf(" %10s", level_names[i]);
    printf(" %10s %10s\n", "memcpy", "of bound");
    measure_all(bytes);
    for (int i = 0; i < MAX_SOURCES; i++) free(sources[i]);
    for (int i = 0; i < MAX_DESTINATIONS; i++) free(destinations[i]);
    return 0;
}
