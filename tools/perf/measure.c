/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/perf/measure.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

/* Without --iters a row takes about this long, within the bounds. The least lets a p99 be the slowest of few. */
static const double row_time_us = 150e3;
enum { ITERATIONS_LEAST = 5, ITERATIONS_MOST = 2000 };
/* Without --warmup: small messages need the processor's caches and clock warm, large ones their pages touched. */
enum { WARMUP_SMALL = 10, WARMUP_LARGE = 2, SMALL_BYTES = 1 << 20 };

static double now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

/* Plain: what malloc() gives for sizes that matter, on a page of its own also where they do not. */
static weft_status buffer_new(const struct measurement *measurement, uint8_t **out)
{
    const uint64_t bytes = measurement->options->end_bytes + 1;
    void *buffer = NULL;
    if (measurement->options->buffers == PERF_BUFFERS_REGISTERED) {
        weft_status status = weft_mem_alloc(measurement->comm, bytes, WEFT_MEMORY_SHARED, &buffer);
        if (status) return status;
    } else {
        buffer = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (buffer == MAP_FAILED) return WEFT_OUT_OF_MEMORY;
    }
    *out = buffer;
    return WEFT_OK;
}

static void buffer_free(const struct measurement *measurement, uint8_t *buffer)
{
    if (!buffer) return;
    if (measurement->options->buffers == PERF_BUFFERS_REGISTERED)
        (void)weft_mem_free(measurement->comm, buffer); /* after a failure it goes with the communicator */
    else
        munmap(buffer, measurement->options->end_bytes + 1);
}

static weft_status buffers_find(struct measurement *measurement, const struct measurement *lender)
{
    measurement->borrows = lender && measurement->options->buffers == PERF_BUFFERS_PLAIN;
    if (measurement->borrows) {
        measurement->send = lender->send;
        measurement->recv = lender->recv;
        return WEFT_OK;
    }
    weft_status status = buffer_new(measurement, &measurement->send);
    return status ? status : buffer_new(measurement, &measurement->recv);
}

weft_status measurement_begin(struct measurement *measurement, weft_comm *comm, const struct perf_options *options,
                              const struct measurement *lender)
{
    *measurement = (struct measurement){
        .comm = comm, .options = options, .rank = weft_comm_rank(comm), .rank_count = weft_comm_rank_count(comm)};
    uint64_t iterations_most = options->iterations ? options->iterations : ITERATIONS_MOST;
    measurement->times_us = calloc(iterations_most, sizeof *measurement->times_us);
    struct call_site *site = &measurement->site;
    *site = (struct call_site){
        .comm = comm, .options = options, .rank = measurement->rank, .rank_count = measurement->rank_count};
    site->block_counts = calloc(2 * (size_t)site->rank_count, sizeof *site->block_counts);
    site->block_offsets = site->block_counts ? site->block_counts + site->rank_count : NULL;
    weft_status status = measurement->times_us && site->block_counts ? WEFT_OK : WEFT_OUT_OF_MEMORY;
    if (!status) status = buffers_find(measurement, lender);
    if (!status) status = pattern_create(&measurement->pattern, options, measurement->rank, measurement->rank_count);
    if (status) measurement_end(measurement);
    return status;
}

void measurement_end(struct measurement *measurement)
{
    pattern_destroy(&measurement->pattern);
    if (!measurement->borrows) {
        buffer_free(measurement, measurement->recv);
        buffer_free(measurement, measurement->send);
    }
    free(measurement->site.block_counts);
    free(measurement->times_us);
}

static weft_status ranks_max(const struct measurement *measurement, double *values, uint64_t count)
{
    return weft_all_reduce(measurement->comm, values, values, count, WEFT_FLOAT64, WEFT_MAX, NULL, NULL);
}

static weft_status ranks_sum(const struct measurement *measurement, int64_t *value)
{
    return weft_all_reduce(measurement->comm, value, value, 1, WEFT_INT64, WEFT_SUM, NULL, NULL);
}

/* Fresh input, a poisoned output, one call; adds this rank's wrong elements to *wrong. */
static weft_status checked_call(const struct measurement *measurement, int64_t *wrong)
{
    const struct perf_options *options = measurement->options;
    call_prepare(&measurement->site, &measurement->pattern);
    weft_status status = call_make(&measurement->site);
    if (status || options->no_check || !perf_has_bytes(options->collective)) return status;
    *wrong += (int64_t)call_wrong(&measurement->site, &measurement->pattern);
    return WEFT_OK;
}

/* A batch of calls after a barrier; the time of one of them. */
static weft_status batch_time(const struct measurement *measurement, double *call_us)
{
    const uint64_t batch = measurement->options->batch ? measurement->options->batch : 1;
    weft_status status = weft_barrier(measurement->comm, NULL, NULL);
    double begin_us = now_us();
    for (uint64_t i = 0; i < batch && !status; i++) status = call_make(&measurement->site);
    *call_us = (now_us() - begin_us) / (double)batch;
    return status;
}

weft_status measure_calls(struct measurement *measurement, uint64_t iterations)
{
    weft_status status = WEFT_OK;
    for (uint64_t i = 0; i < iterations && !status; i++) status = batch_time(measurement, &measurement->times_us[i]);
    return status ? status : ranks_max(measurement, measurement->times_us, iterations);
}

/* Warm up, and find the number of iterations: from the slowest rank's time, so that all ranks find the same. */
static weft_status warm_up(const struct measurement *measurement, uint64_t bytes, uint64_t *iterations)
{
    const struct perf_options *options = measurement->options;
    uint64_t warmup = options->warmup;
    if (warmup == PERF_WARMUP_AUTO) warmup = bytes < SMALL_BYTES ? WARMUP_SMALL : WARMUP_LARGE;
    double begin_us = now_us(), unused_us;
    for (uint64_t i = 0; i < warmup; i++) {
        weft_status status = batch_time(measurement, &unused_us);
        if (status) return status;
    }
    double each_us = warmup ? (now_us() - begin_us) / (double)warmup : 0;
    weft_status status = ranks_max(measurement, &each_us, 1);
    if (status) return status;
    if (options->iterations) {
        *iterations = options->iterations;
        return WEFT_OK;
    }
    double fitting = each_us > 0 ? row_time_us / each_us : ITERATIONS_LEAST;
    *iterations = ITERATIONS_MOST;
    if (fitting < ITERATIONS_MOST) *iterations = fitting < ITERATIONS_LEAST ? ITERATIONS_LEAST : (uint64_t)fitting;
    return WEFT_OK;
}

static int time_compare(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

void summarize(double *times_us, uint64_t count, double *median_us, double *p99_us)
{
    qsort(times_us, count, sizeof *times_us, time_compare);
    *median_us = count % 2 ? times_us[count / 2] : (times_us[count / 2 - 1] + times_us[count / 2]) / 2;
    *p99_us = times_us[(count * 99 + 99) / 100 - 1];
}

double bus_factor(weft_collective collective, uint32_t rank_count)
{
    double share = (double)(rank_count - 1) / rank_count;
    if (perf_has_blocks((int)collective)) return share;
    return collective == WEFT_ALL_REDUCE ? 2 * share : 1;
}

weft_status measure(struct measurement *measurement, uint64_t bytes, bool in_place, struct perf_row *row)
{
    const struct perf_options *options = measurement->options;
    struct call_site *site = &measurement->site;
    uint64_t iterations, element_bytes = weft_dtype_size((weft_dtype)options->dtype);
    int64_t wrong = 0;
    site->count = bytes / element_bytes / (perf_has_blocks(options->collective) ? measurement->rank_count : 1);
    call_place(site, measurement->send, measurement->recv, in_place);
    /* Checked when everything is cold and again when it is warm: slots, caches and plans are in other states then. */
    weft_status status = checked_call(measurement, &wrong);
    if (!status) status = warm_up(measurement, bytes, &iterations);
    if (!status) status = measure_calls(measurement, iterations);
    if (!status) status = checked_call(measurement, &wrong);
    if (!status) status = ranks_sum(measurement, &wrong);
    if (status) return status;
    *row = (struct perf_row){
        .bytes = bytes, .count = site->count, .in_place = in_place, .iterations = iterations, .wrong = (uint64_t)wrong};
    row->algorithm =
        options->algorithm == WEFT_ALGORITHM_AUTO
            ? weft_comm_algorithm(measurement->comm, (weft_collective)options->collective, site->count * element_bytes)
            : (weft_algorithm)options->algorithm;
    summarize(measurement->times_us, iterations, &row->time_us, &row->p99_us);
    if (row->time_us > 0) row->algbw_gbps = (double)bytes / row->time_us / 1e3;
    row->busbw_gbps = row->algbw_gbps * bus_factor((weft_collective)options->collective, measurement->rank_count);
    return WEFT_OK;
}
