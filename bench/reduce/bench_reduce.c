/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How fast the kernels of collectives/reduce run on this processor, beside memcpy in the same run.
 *
 * usage: bench_reduce [--dtype NAME] [--op NAME] [--sources COUNT] [--level NAME] [--below SHARE] [BYTES]
 *
 * All kernels for buffers of BYTES each (1 MiB by default), or those of one type, operation, number of sources or
 * vector width. --below prints only what is below that share of the bound, at the widest level measured.
 *
 * GB/s counts every byte read and every byte written once, GB = 1e9. Each figure is the median of rounds that visit
 * all levels and memcpy in turn, so that a slow moment of the machine hits all of them.
 *
 * "of bound" is the widest level's share of what copying allows: (bytes loaded + bytes stored) / memcpy's GB/s is the
 * least time, and that over the time it took is the share. It can exceed 1: a sum of two loads twice what it stores,
 * and memory reads faster than it is written. Where a call's buffers leave the caches, results are stored past them, as
 * the collectives do: from reduce_streaming_bytes() on.
 */
#include <getopt.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/config.h"
#include "collectives/reduce/reduce.h"
#include "topology/discover/caches.h"

enum { MAX_SOURCES = 8, MAX_DESTINATIONS = 2, ROUNDS = 15, LEVELS = 3, CONTENDERS = LEVELS + 1 };

static const char *const level_names[LEVELS] = {"portable", "avx2", "avx512"};
static const int level_ids[LEVELS] = {SIMD_PORTABLE, SIMD_AVX2, SIMD_AVX512};

struct shape {
    uint32_t sources, destinations;
    bool streaming, canonical;
};

/* What to measure and to print. */
static struct {
    const char *dtype, *op, *level; /* NULL: all */
    uint32_t sources;               /* 0: all */
    double below;
    size_t bytes;
} wanted = {.below = 1e9, .bytes = 1 << 20};

static uint64_t cache_bytes; /* of this processor's last-level cache; 0: not known */
static void *sources[MAX_SOURCES], *destinations[MAX_DESTINATIONS];
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
static double time_calls(reduce_function kernel, const struct reduce_call *call)
{
    size_t repeats = 1 + (4 << 20) / (wanted.bytes + 64);
    uint64_t start_ns = clock_now_ns();
    for (size_t i = 0; i < repeats; i++) {
        if (kernel) {
            kernel(call);
        } else {
            memcpy(destinations[0], sources[0], wanted.bytes);
            __asm__ volatile("" ::: "memory"); /* the copies are all needed */
        }
    }
    return (double)(clock_now_ns() - start_ns) / (double)repeats;
}

/* NULL where this processor or the caller has none; the last contender is memcpy. */
static reduce_function kernel_of(int contender, weft_dtype dtype, weft_op op, bool canonical)
{
    if (contender == LEVELS || (wanted.level && strcmp(wanted.level, level_names[contender]) != 0)) return NULL;
    return canonical ? reduce_lookup_canonical_at(dtype, op, level_ids[contender])
                     : reduce_lookup_at(dtype, op, level_ids[contender]);
}

/* Do that many buffers leave the caches? */
static bool streams(uint32_t buffer_count)
{
    return buffer_count * wanted.bytes >= reduce_streaming_bytes(cache_bytes, false);
}

static void print_rates(weft_dtype dtype, weft_op op, struct shape shape, const double *rates)
{
    double widest = 0;
    for (int i = 0; i < LEVELS; i++)
        if (rates[i] > 0) widest = rates[i];
    if (widest / rates[LEVELS] >= wanted.below) return;

    printf("%-11s %-10s %2u -> %u %-9s", weft_dtype_name(dtype), weft_op_name(op), shape.sources, shape.destinations,
           shape.canonical   ? "tree"
           : shape.streaming ? "streaming"
                             : "");
    for (int i = 0; i < CONTENDERS; i++) {
        if (rates[i] > 0) {
            printf(" %10.1f", rates[i]);
        } else {
            printf(" %10s", "-");
        }
    }
    printf(" %10.2f\n", widest / rates[LEVELS]);
}

static void measure(weft_dtype dtype, weft_op op, struct shape shape)
{
    if (wanted.dtype && strcmp(wanted.dtype, weft_dtype_name(dtype)) != 0) return;
    if (wanted.op && strcmp(wanted.op, weft_op_name(op)) != 0) return;
    if (wanted.sources && wanted.sources != shape.sources) return;
    struct reduce_call call = {.destinations = destinations,
                               .sources = (const void *const *)sources,
                               .destination_count = shape.destinations,
                               .source_count = shape.sources,
                               .count = wanted.bytes / weft_dtype_size(dtype),
                               .divisor = op == WEFT_AVG ? shape.sources : 0,
                               .streaming = shape.streaming,
                               .scales = op == WEFT_PREMUL_SUM ? scales : NULL};
    const int rounds = streams(shape.sources + shape.destinations) ? 5 : ROUNDS;
    double times[CONTENDERS][ROUNDS], rates[CONTENDERS] = {0};
    for (int round = -1; round < rounds; round++) { /* the first one warms up, and the second overwrites it */
        for (int i = 0; i < CONTENDERS; i++) {
            reduce_function kernel = kernel_of(i, dtype, op, shape.canonical);
            times[i][round < 0 ? 0 : round] = i == LEVELS || kernel ? time_calls(kernel, &call) : 0;
        }
    }
    for (int i = 0; i < CONTENDERS; i++) {
        double traffic = (double)wanted.bytes * (i == LEVELS ? 2 : shape.sources + shape.destinations);
        double time = median(times[i], (size_t)rounds);
        if (time > 0) rates[i] = traffic / time;
    }
    print_rates(dtype, op, shape, rates);
}

static void measure_all(void)
{
    const struct shape shapes[] = {{1, 1, false, false},
                                   {1, 2, false, false},
                                   {2, 1, !streams(3), false},
                                   {2, 2, false, false},
                                   {2, 2, true, false}};
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) measure(WEFT_FLOAT32, WEFT_SUM, shapes[i]);
    /* Every kernel, its sources one after another. */
    for (int dtype = 0; dtype < WEFT_DTYPE_COUNT; dtype++)
        for (int op = 0; op < WEFT_OP_COUNT; op++)
            for (uint32_t count = 2; count <= MAX_SOURCES; count += count < 4 ? 1 : 4)
                measure((weft_dtype)dtype, (weft_op)op, (struct shape){count, 1, streams(count + 1), false});
    /* What canonical results cost: the same by the tree. */
    for (int dtype = 0; dtype < WEFT_DTYPE_COUNT; dtype++)
        for (uint32_t count = 4; count <= MAX_SOURCES; count += 4)
            if (reduce_lookup_canonical((weft_dtype)dtype, WEFT_SUM) != reduce_lookup((weft_dtype)dtype, WEFT_SUM))
                measure((weft_dtype)dtype, WEFT_SUM, (struct shape){count, 1, streams(count + 1), true});
}

/* False: print the usage. */
static bool parse_arguments(int argument_count, char **arguments)
{
    const struct option options[] = {{"dtype", required_argument, NULL, 'd'}, {"op", required_argument, NULL, 'o'},
                                     {"level", required_argument, NULL, 'l'}, {"sources", required_argument, NULL, 's'},
                                     {"below", required_argument, NULL, 'b'}, {0}};
    char *end = NULL;
    for (int option; (option = getopt_long(argument_count, arguments, "", options, NULL)) != -1;) {
        switch (option) {
        case 'd':
            wanted.dtype = optarg;
            break;
        case 'o':
            wanted.op = optarg;
            break;
        case 'l':
            wanted.level = optarg;
            break;
        case 's':
            wanted.sources = (uint32_t)strtoul(optarg, &end, 10);
            break;
        case 'b':
            wanted.below = strtod(optarg, &end);
            break;
        default:
            return false;
        }
        if (end && *end) return false;
    }
    if (optind < argument_count) wanted.bytes = strtoull(arguments[optind++], &end, 0);
    return optind == argument_count && !(end && *end) && wanted.bytes > 0 && wanted.bytes % 8 == 0;
}

int main(int argument_count, char **arguments)
{
    if (!parse_arguments(argument_count, arguments)) {
        fprintf(stderr, "usage: bench_reduce [--dtype NAME] [--op NAME] [--sources COUNT] [--level NAME] "
                        "[--below SHARE] [BYTES]\nBYTES of a buffer are a multiple of 8\n");
        return 2;
    }
    for (int i = 0; i < MAX_SOURCES + MAX_DESTINATIONS; i++) {
        void *buffer = malloc(wanted.bytes);
        if (!buffer) {
            fprintf(stderr, "bench_reduce: no memory for %zu bytes\n", wanted.bytes);
            return 1;
        }
        memset(buffer, 0x3c, wanted.bytes); /* an ordinary number in every type */
        *(i < MAX_SOURCES ? &sources[i] : &destinations[i - MAX_SOURCES]) = buffer;
    }
    const int processor = sched_getcpu();
    cache_bytes = last_cache_bytes("/sys", processor < 0 ? 0 : (uint32_t)processor, 1, 1);
    printf("GB/s, %zu bytes per buffer, best level here %s\n", wanted.bytes, reduce_simd_name());
    printf("%-40s", "kernel");
    for (int i = 0; i < LEVELS; i++) printf(" %10s", level_names[i]);
    printf(" %10s %10s\n", "memcpy", "of bound");
    measure_all();
    for (int i = 0; i < MAX_SOURCES; i++) free(sources[i]);
    for (int i = 0; i < MAX_DESTINATIONS; i++) free(destinations[i]);
    return 0;
}
