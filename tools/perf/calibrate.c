/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two ranks all-reduce, by the ring and directly, sizes in which one term of the library's prices (collectives/select/
 * price.c) stands out each; from their times follow the figures. All sizes are timed in turns some dozen times within
 * some seconds, with a ping between the ranks' processors before each turn. Where these were at different distances the
 * samples of the greatest that was not rare are kept: choices made for cores apart lose less on threads of one core
 * than the other way round. Figures are medians, with how far the quartiles are apart.
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

#include "tools/perf/ping.h"

enum { SAMPLES = 121, SAMPLES_LEAST = 15, WARMUPS = 5, RANKS = 2, PAUSE_MS = 60 };
#define MESSAGES 3.0 /* of the ring over two ranks, as the model counts them, the last step included */
#define PASSES 2.0
#define COPIES 8.0                    /* that the kernel makes for a rank's part of COPIED_BYTES */
static const double same_state = 1.6; /* pings of one state differ by less, those of two by threefold and more */

enum timing { RING_SMALL, RING_LONE, RING_LARGE, RING_LARGER, CELL_SMALL, CELL_FULL, COPY_ONE, COPY_MANY, TIMINGS };
static const struct {
    weft_algorithm algorithm;
    uint32_t bytes;
    int calls;
} timed[TIMINGS] = {
    [RING_SMALL] = {WEFT_ALGORITHM_RING, 8, 100},       [RING_LONE] = {WEFT_ALGORITHM_RING, 128 << 10, 10},
    [RING_LARGE] = {WEFT_ALGORITHM_RING, 512 << 10, 4}, [RING_LARGER] = {WEFT_ALGORITHM_RING, 2 << 20, 2},
    [CELL_SMALL] = {WEFT_ALGORITHM_DIRECT, 8, 200},     [CELL_FULL] = {WEFT_ALGORITHM_DIRECT, 4 << 10, 100},
    [COPY_ONE] = {WEFT_ALGORITHM_DIRECT, 8 << 10, 50},  [COPY_MANY] = {WEFT_ALGORITHM_DIRECT, 1 << 20, 4},
};
#define MOST_BYTES (2u << 20)

/* What a sample comes to; the order of weft_calibration's pairs. */
enum figure { MESSAGE, BYTE, LONE_BYTE, ROUND, CELL_BYTE, COPY, COPY_BYTE, FIGURES };

struct sampler {
    weft_comm *comm;
    float *send, *recv;
    bool has_rounds;
    double ping_us[SAMPLES];
    double samples[FIGURES][SAMPLES];
};

static double now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

/* Nanoseconds of one call, on average over a few in a row. */
static weft_status timing_take(const struct sampler *sampler, enum timing timing, double *call_ns)
{
    const weft_call call = {.size = sizeof call, .algorithm = timed[timing].algorithm};
    const uint64_t count = timed[timing].bytes / sizeof(float);
    weft_status status = weft_barrier(sampler->comm, NULL, NULL);
    double begun_ns = 0;
    for (int i = -1; i < timed[timing].calls && !status; i++) { /* the first finds the last timing's caches */
        if (i == 0) begun_ns = now_ns();
        status =
            weft_all_reduce(sampler->comm, sampler->send, sampler->recv, count, WEFT_FLOAT32, WEFT_MAX, &call, NULL);
    }
    *call_ns = (now_ns() - begun_ns) / timed[timing].calls;
    return status;
}

/* Prices solved for their figures: of a copy's two the difference between many large and one small copy tells. */
static void figures_solve(const double times_ns[TIMINGS], double figures[FIGURES])
{
    const double cell_bytes = timed[CELL_FULL].bytes - timed[CELL_SMALL].bytes, one_bytes = timed[COPY_ONE].bytes;
    const double one_ns = times_ns[COPY_ONE] - 2 * times_ns[CELL_SMALL];
    const double many_ns = times_ns[COPY_MANY] - 2 * times_ns[CELL_SMALL];
    figures[MESSAGE] = times_ns[RING_SMALL] / MESSAGES;
    figures[LONE_BYTE] = (times_ns[RING_LONE] - times_ns[RING_SMALL]) / PASSES / timed[RING_LONE].bytes;
    figures[BYTE] =
        (times_ns[RING_LARGER] - times_ns[RING_LARGE]) / PASSES / (timed[RING_LARGER].bytes - timed[RING_LARGE].bytes);
    figures[ROUND] = times_ns[CELL_SMALL];
    figures[CELL_BYTE] = (times_ns[CELL_FULL] - times_ns[CELL_SMALL]) / cell_bytes;
    figures[COPY_BYTE] = (many_ns - COPIES * one_ns) / (timed[COPY_MANY].bytes - COPIES * one_bytes);
    figures[COPY] = one_ns - figures[COPY_BYTE] * one_bytes;
}

static weft_status samples_take(struct sampler *sampler)
{
    weft_status status = WEFT_OK;
    for (int i = -WARMUPS; i < SAMPLES && !status; i++) {
        double ping_us, times_ns[TIMINGS] = {0}, figures[FIGURES];
        nanosleep(&(struct timespec){.tv_nsec = PAUSE_MS * 1000000L}, NULL);
        status = ping_measure(sampler->comm, &ping_us);
        for (int timing = 0; timing < TIMINGS && !status; timing++)
            if (sampler->has_rounds || timed[timing].algorithm != WEFT_ALGORITHM_DIRECT)
                status = timing_take(sampler, (enum timing)timing, &times_ns[timing]);
        if (i < 0) continue;
        figures_solve(times_ns, figures);
        sampler->ping_us[i] = ping_us;
        for (int k = 0; k < FIGURES; k++) sampler->samples[k][i] = figures[k];
    }
    return status;
}

static int time_compare(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

static double median_of(double *samples, uint32_t count, double *spread)
{
    qsort(samples, count, sizeof *samples, time_compare);
    *spread = (samples[count * 3 / 4] - samples[count / 4]) / 2;
    return samples[count / 2];
}

/* Those of the state furthest apart that enough of them met. Returns how many, and whether there were others. */
static uint32_t state_keep(struct sampler *sampler, double *ping_us, bool *others)
{
    double pings[SAMPLES], spread;
    uint32_t kept = 0;
    memcpy(pings, sampler->ping_us, sizeof pings);
    (void)median_of(pings, SAMPLES, &spread); /* puts them in order */
    *ping_us = pings[SAMPLES - SAMPLES_LEAST];
    for (int i = 0; i < SAMPLES; i++) {
        bool same = sampler->ping_us[i] <= same_state * *ping_us && *ping_us <= same_state * sampler->ping_us[i];
        for (int k = 0; k < FIGURES && same; k++) sampler->samples[k][kept] = sampler->samples[k][i];
        kept += same;
    }
    *others = *ping_us > same_state * pings[SAMPLES_LEAST];
    return kept;
}

/* What scatters by more than half of itself says more about the machine's other work than about its messages. */
static bool figure_take(const struct sampler *sampler, double *samples, uint32_t count, const char *name,
                        double *median_ns, double *spread_ns)
{
    *median_ns = median_of(samples, count, spread_ns);
    if (*median_ns > 0 && *spread_ns <= *median_ns / 2) return true;
    fprintf(stderr,
            "weft-perf: %s: %s %.4g +- %.2g ns: too uncertain to be kept; try again when the machine is quiet\n",
            weft_comm_transport(sampler->comm), name, *median_ns, *spread_ns);
    return false;
}

static bool figures_take(struct sampler *sampler, weft_calibration *measured)
{
    const struct {
        const char *name;
        double *median_ns, *spread_ns;
    } wanted[FIGURES] = {
        [MESSAGE] = {"a message of", &measured->message_ns, &measured->message_spread_ns},
        [BYTE] = {"a byte of", &measured->byte_ns, &measured->byte_spread_ns},
        [LONE_BYTE] = {"a byte of one slice of", &measured->lone_byte_ns, &measured->lone_byte_spread_ns},
        [ROUND] = {"a round of", &measured->round_ns, &measured->round_spread_ns},
        [CELL_BYTE] = {"a byte of a round of", &measured->cell_byte_ns, &measured->cell_byte_spread_ns},
        [COPY] = {"a copy by the kernel of", &measured->copy_ns, &measured->copy_spread_ns},
        [COPY_BYTE] = {"a byte that it copies of", &measured->copy_byte_ns, &measured->copy_byte_spread_ns},
    };
    double ping_us;
    bool others;
    measured->samples = state_keep(sampler, &ping_us, &others);
    measured->exchange_ns = ping_us * 1e3;
    if (others)
        fprintf(stderr,
                "weft-perf: %s: the ranks' processors were now near, now apart, as a host moves virtual ones; figures "
                "are those of %" PRIu32 " of %d samples, when they were apart\n",
                weft_comm_transport(sampler->comm), measured->samples, SAMPLES);
    if (measured->samples < SAMPLES_LEAST) {
        fprintf(stderr,
                "weft-perf: %s: no more than %" PRIu32 " of %d samples are of one state of the machine; try again when "
                "it is quiet\n",
                weft_comm_transport(sampler->comm), measured->samples, SAMPLES);
        return false;
    }
    bool firm = true;
    for (int k = 0; k < (sampler->has_rounds ? FIGURES : ROUND) && firm; k++)
        firm = figure_take(sampler, sampler->samples[k], measured->samples, wanted[k].name, wanted[k].median_ns,
                           wanted[k].spread_ns);
    return firm;
}

static void result_print(const weft_calibration *measured, const char *path)
{
    printf("%-5s message %10.1f ns (+- %.1f)   byte %8.4f ns (+- %.4f), of one slice %8.4f (+- %.4f)   %" PRIu32
           " samples   %s\n",
           measured->transport, measured->message_ns, measured->message_spread_ns, measured->byte_ns,
           measured->byte_spread_ns, measured->lone_byte_ns, measured->lone_byte_spread_ns, measured->samples, path);
    if (measured->round_ns > 0)
        printf(
            "%-5s round   %10.1f ns (+- %.1f)   byte %8.4f ns (+- %.4f)   kernel's copy %.0f ns (+- %.0f), byte %.4f "
            "(+- %.4f)   cache line %.0f ns\n",
            measured->transport, measured->round_ns, measured->round_spread_ns, measured->cell_byte_ns,
            measured->cell_byte_spread_ns, measured->copy_ns, measured->copy_spread_ns, measured->copy_byte_ns,
            measured->copy_byte_spread_ns, measured->exchange_ns);
}

static int result_keep(struct sampler *sampler)
{
    char path[1024];
    weft_calibration measured = {.size = sizeof measured, .transport = weft_comm_transport(sampler->comm)};
    if (!figures_take(sampler, &measured)) return 1;
    weft_status status = weft_calibration_store(&measured, path);
    if (status) {
        fprintf(stderr, "weft-perf: cannot keep the figures: %s%s%s\n", weft_status_text(status),
                status == WEFT_SYSTEM_ERROR ? ": " : "", status == WEFT_SYSTEM_ERROR ? strerror(errno) : "");
        return 1;
    }
    result_print(&measured, path);
    return fflush(stdout) == 0 ? 0 : 1;
}

int calibrate_rank(void)
{
    struct sampler *sampler = calloc(1, sizeof *sampler);
    if (!sampler) return 1;
    sampler->send = aligned_alloc(4096, 2 * (size_t)MOST_BYTES); /* no vector of it lies across two cache lines */
    weft_status status = sampler->send ? weft_comm_create_from_env(&sampler->comm) : WEFT_OUT_OF_MEMORY;
    if (!status) {
        memset(sampler->send, 0, 2 * (size_t)MOST_BYTES); /* pages of their own */
        sampler->recv = sampler->send + MOST_BYTES / sizeof *sampler->send;
        sampler->has_rounds = strcmp(weft_comm_transport(sampler->comm), "shm") == 0;
        status = samples_take(sampler);
    }
    int exit_code = 0;
    if (status) {
        fprintf(stderr, "weft-perf: cannot calibrate: %s: %s\n", weft_status_name(status), weft_status_text(status));
        exit_code = 1;
    } else if (weft_comm_rank(sampler->comm) == 0) {
        exit_code = result_keep(sampler);
    }
    weft_comm_destroy(sampler->comm);
    free(sampler->send);
    free(sampler);
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
