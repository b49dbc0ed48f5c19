/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two ranks all-reduce by the ring, whose price in the library's model is three messages and steps one after another,
 * and two passes over the bytes (collectives/select). Small calls, many in a row, give the first; the difference
 * between two large sizes gives the second. Each is sampled some dozen times; medians are kept, and how far the
 * quartiles are apart.
 */
#include "tools/perf/calibrate.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <weft/topology.h>

enum { SAMPLES = 41, WARMUPS = 5, RANKS = 2, SMALL_BATCH = 100, LARGE_BATCH = 2 };
#define SMALL_BYTES 8u
#define LARGE_BYTES (1u << 20)
#define LARGER_BYTES (4u << 20)
#define MESSAGES 3.0 /* of the ring over two ranks, as the model counts them, the last step included */
#define PASSES 2.0

static double now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

/* Nanoseconds of one call, on average over a few in a row. */
static weft_status batch_time(weft_comm *comm, float *buffer, uint64_t bytes, int calls, double *call_ns)
{
    const weft_call ring = {.size = sizeof ring, .algorithm = WEFT_ALGORITHM_RING};
    weft_status status = weft_barrier(comm, NULL, NULL);
    double begun_ns = now_ns();
    for (int i = 0; i < calls && !status; i++)
        status = weft_all_reduce(comm, buffer, buffer, bytes / sizeof *buffer, WEFT_FLOAT32, WEFT_MAX, &ring, NULL);
    *call_ns = (now_ns() - begun_ns) / calls;
    return status;
}

static int time_compare(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

static double median_of(double *samples, double *spread)
{
    qsort(samples, SAMPLES, sizeof *samples, time_compare);
    *spread = (samples[SAMPLES * 3 / 4] - samples[SAMPLES / 4]) / 2;
    return samples[SAMPLES / 2];
}

static weft_status samples_take(weft_comm *comm, float *buffer, weft_calibration *measured)
{
    double message[SAMPLES], byte[SAMPLES];
    weft_status status = WEFT_OK;
    for (int i = -WARMUPS; i < SAMPLES && !status; i++) {
        double small = 0, large = 0, larger = 0;
        status = batch_time(comm, buffer, SMALL_BYTES, SMALL_BATCH, &small);
        if (!status) status = batch_time(comm, buffer, LARGE_BYTES, LARGE_BATCH, &large);
        if (!status) status = batch_time(comm, buffer, LARGER_BYTES, LARGE_BATCH, &larger);
        if (i < 0) continue;
        message[i] = small / MESSAGES;
        byte[i] = (larger - large) / PASSES / (LARGER_BYTES - LARGE_BYTES);
    }
    if (status) return status;
    measured->message_ns = median_of(message, &measured->message_spread_ns);
    measured->byte_ns = median_of(byte, &measured->byte_spread_ns);
    measured->samples = SAMPLES;
    return WEFT_OK;
}

/* What scatters by more than half of itself says more about the machine's other work than about its messages. */
static bool figures_are_firm(const weft_comm *comm, const weft_calibration *measured)
{
    if (measured->message_spread_ns <= measured->message_ns / 2 && measured->byte_spread_ns <= measured->byte_ns / 2 &&
        measured->message_ns > 0 && measured->byte_ns > 0)
        return true;
    fprintf(
        stderr,
        "weft-perf: %s: a message of %.4g +- %.2g ns, a byte of %.4g +- %.2g ns: too uncertain to be kept; try again "
        "when the machine is quiet\n",
        weft_comm_transport(comm), measured->message_ns, measured->message_spread_ns, measured->byte_ns,
        measured->byte_spread_ns);
    return false;
}

static int result_keep(const weft_comm *comm, weft_calibration *measured)
{
    char path[1024];
    if (!figures_are_firm(comm, measured)) return 1;
    measured->transport = weft_comm_transport(comm);
    weft_status status = weft_calibration_store(measured, path);
    if (status) {
        fprintf(stderr, "weft-perf: cannot keep the figures: %s%s%s\n", weft_status_text(status),
                status == WEFT_SYSTEM_ERROR ? ": " : "", status == WEFT_SYSTEM_ERROR ? strerror(errno) : "");
        return 1;
    }
    printf("%-5s message %10.1f ns (+- %.1f)   byte %8.4f ns (+- %.4f)   %" PRIu32 " samples   %s\n",
           measured->transport, measured->message_ns, measured->message_spread_ns, measured->byte_ns,
           measured->byte_spread_ns, measured->samples, path);
    return fflush(stdout) == 0 ? 0 : 1;
}

int calibrate_rank(void)
{
    weft_comm *comm = NULL;
    weft_calibration measured = {.size = sizeof measured};
    float *buffer = calloc(1, LARGER_BYTES);
    weft_status status = buffer ? weft_comm_create_from_env(&comm) : WEFT_OUT_OF_MEMORY;
    if (!status) status = samples_take(comm, buffer, &measured);
    int exit_code = 0;
    if (status) {
        fprintf(stderr, "weft-perf: cannot calibrate: %s: %s\n", weft_status_name(status), weft_status_text(status));
        exit_code = 1;
    } else if (weft_comm_rank(comm) == 0) {
        exit_code = result_keep(comm, &measured);
    }
    weft_comm_destroy(comm);
    free(buffer);
    return exit_code;
}

int calibrate_supervise(char *const argv[])
{
    static const char *const transports[] = {"shm", "tcp"};
    int worst = 0;
    for (size_t i = 0; i < sizeof transports / sizeof *transports; i++) {
        int exit_code = 1;
        setenv("WEFT_TRANSPORT", transports[i], 1);
        weft_status status = weft_local_run(RANKS, argv, &exit_code);
        if (status)
            fprintf(stderr, "weft-perf: cannot start %d ranks over %s: %s\n", RANKS, transports[i],
                    weft_status_text(status));
        if (exit_code > worst) worst = exit_code;
    }
    return worst;
}
