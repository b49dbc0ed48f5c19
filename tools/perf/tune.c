/* SPDX-License-Identifier: Apache-2.0 */
/* The ranks' part of --tune: times of every candidate, in turns. */
#include "tools/perf/tune.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tools/perf/measure.h"
#include "tools/perf/ping.h"

enum { ROUNDS = 5, PROBES = 3, CALLS_LEAST = 3, CALLS_MOST = 200, ATTEMPTS = 4, PASSES = 3 };
static const double turn_us = 3e3;          /* a candidate's turn, within the bounds */
static const double sure_enough = 0.97;     /* medians of five turns differ by some percent for no reason */
static const double worth_following = 0.85; /* less than 20 % lost; in the other state slots lose up to tenfold */
static const double steady = 1.6;           /* pings of one state differ by less, those of two by threefold and more */

/* ---- The choice ---- */

struct rows {
    const struct tune_row *at;
    uint32_t count;
    double split_us; /* pings below are of one state, the others of another; 0: there is one */
};

static int state_of(const struct rows *rows, const struct tune_row *row)
{
    return row->ping_us >= rows->split_us;
}

static void states_split(struct rows *rows)
{
    double least = 0, most = 0;
    for (uint32_t i = 0; i < rows->count; i++) {
        double ping_us = rows->at[i].ping_us;
        if (ping_us > 0 && (least <= 0 || ping_us < least)) least = ping_us;
        if (ping_us > most) most = ping_us;
    }
    rows->split_us = most > steady * steady * least ? sqrt(least * most) : 0;
}

static bool same_candidate(const struct tune_row *a, const struct tune_row *b)
{
    return a->algorithm == b->algorithm && a->channels == b->channels && a->slice_bytes == b->slice_bytes;
}

/* Its mean time in a state; 0: not measured there. */
static double time_in(const struct rows *rows, const struct tune_row *candidate, int state)
{
    double sum_us = 0;
    uint32_t count = 0;
    for (uint32_t i = 0; i < rows->count; i++) {
        if (!same_candidate(&rows->at[i], candidate) || state_of(rows, &rows->at[i]) != state) continue;
        sum_us += rows->at[i].time_us;
        count++;
    }
    return count ? sum_us / count : 0;
}

/* By how much it is slower than the fastest, in the state that it is the worse in; infinite where nobody knows. */
static double regret_of(const struct rows *rows, const struct tune_row *candidate)
{
    double worst = 1;
    for (int state = 0; state < 2; state++) {
        double least_us = 0, own_us = time_in(rows, candidate, state);
        for (uint32_t i = 0; i < rows->count; i++) {
            if (rows->at[i].algorithm == WEFT_ALGORITHM_AUTO) continue;
            double time_us = time_in(rows, &rows->at[i], state);
            if (time_us > 0 && (least_us <= 0 || time_us < least_us)) least_us = time_us;
        }
        if (least_us <= 0) continue;
        if (own_us <= 0) return INFINITY;
        if (own_us / least_us > worst) worst = own_us / least_us;
    }
    return worst;
}

const struct tune_row *tune_best(const struct tune_row *at, uint32_t row_count, bool shares_memory)
{
    struct rows rows = {.at = at, .count = row_count};
    const struct tune_row *automatic = NULL, *kept = NULL, *best = NULL;
    double best_regret = INFINITY, kept_regret = INFINITY;
    states_split(&rows);
    for (uint32_t i = 0; i < row_count; i++)
        if (at[i].algorithm == WEFT_ALGORITHM_AUTO) automatic = &at[i];
    for (uint32_t i = 0; i < row_count; i++) {
        const struct tune_row *row = &at[i];
        if (row->algorithm == WEFT_ALGORITHM_AUTO) continue;
        double regret = regret_of(&rows, row);
        if (automatic && row->algorithm == automatic->chosen && !row->channels && !row->slice_bytes) {
            kept = row;
            kept_regret = regret;
        }
        if (!best || regret < best_regret) {
            best = row;
            best_regret = regret;
        }
    }
    const bool follows = shares_memory && rows.split_us <= 0 && kept && kept->algorithm == WEFT_ALGORITHM_DIRECT;
    return kept && best && best_regret > (follows ? worth_following : sure_enough) * kept_regret ? kept : best;
}

/* ---- Times ---- */

struct tuner {
    struct perf_options options; /* with the collective and algorithm of the moment */
    struct measurement measurement;
    FILE *rows; /* rank 0's; NULL on others */
};

/* What is measured of one size. Everybody has a turn in each round. */
struct turns {
    bool possible[WEFT_ALGORITHM_COUNT];
    uint64_t calls[WEFT_ALGORITHM_COUNT];
    double times_us[WEFT_ALGORITHM_COUNT][ROUNDS];
    double ping_us[ROUNDS + 1]; /* before the first round and after each */
};

/* The first call finds the caches as another candidate left them, and is not counted. */
static weft_status turn(struct tuner *tuner, int algorithm, uint64_t calls, double *median_us)
{
    double p99_us;
    tuner->options.algorithm = algorithm;
    weft_status status = measure_calls(&tuner->measurement, calls + 1);
    if (!status) summarize(tuner->measurement.times_us + 1, calls, median_us, &p99_us);
    return status;
}

/* How many calls a turn has; *possible is false for an algorithm that the collective does not have. */
static weft_status probe(struct tuner *tuner, int algorithm, uint64_t *calls, bool *possible)
{
    double each_us;
    tuner->options.algorithm = algorithm;
    weft_status status = call_make(&tuner->measurement.site);
    *possible = status != WEFT_UNSUPPORTED && status != WEFT_INVALID_ARGUMENT;
    if (status) return *possible ? status : WEFT_OK;
    status = turn(tuner, algorithm, PROBES, &each_us);
    double fitting = each_us > 0 ? turn_us / each_us : CALLS_MOST;
    *calls = fitting < CALLS_LEAST ? CALLS_LEAST : fitting > CALLS_MOST ? CALLS_MOST : (uint64_t)fitting;
    return status;
}

static void row_write(const struct tuner *tuner, int algorithm, double time_us, double ping_us)
{
    const struct call_site *site = &tuner->measurement.site;
    uint64_t bytes = site->count * weft_dtype_size((weft_dtype)tuner->options.dtype);
    weft_collective collective = (weft_collective)tuner->options.collective;
    int chosen = algorithm == WEFT_ALGORITHM_AUTO ? (int)weft_comm_algorithm(site->comm, collective, bytes) : algorithm;
    if (tuner->rows)
        fprintf(tuner->rows, "%d %" PRIu64 " %d %d %.4f %.4f\n", (int)collective, bytes, algorithm, chosen, time_us,
                ping_us);
}

/* Each round begins with another candidate, so that none always comes after the same one. */
static weft_status rounds_run(struct tuner *tuner, struct turns *turns)
{
    weft_comm *comm = tuner->measurement.comm;
    weft_status status = ping_measure(comm, &turns->ping_us[0]);
    for (int round = 0; round < ROUNDS && !status; round++) {
        for (int k = 0; k < WEFT_ALGORITHM_COUNT && !status; k++) {
            int i = (round + k) % WEFT_ALGORITHM_COUNT;
            if (turns->possible[i]) status = turn(tuner, i, turns->calls[i], &turns->times_us[i][round]);
        }
        if (!status) status = ping_measure(comm, &turns->ping_us[round + 1]);
    }
    return status;
}

/* Did the ranks' processors stay as far apart as they were? All ranks know the same pings. */
static bool state_was_steady(const struct turns *turns)
{
    double least = turns->ping_us[0], most = turns->ping_us[0];
    for (int i = 1; i <= ROUNDS; i++) {
        if (turns->ping_us[i] < least) least = turns->ping_us[i];
        if (turns->ping_us[i] > most) most = turns->ping_us[i];
    }
    return most <= steady * least;
}

/* One size, again where the machine changed meanwhile; what the last attempt finds stays. */
static weft_status size_tune(struct tuner *tuner, uint64_t bytes)
{
    struct turns turns = {0};
    struct measurement *measurement = &tuner->measurement;
    const uint64_t blocks = perf_has_blocks(tuner->options.collective) ? measurement->rank_count : 1;
    measurement->site.count = bytes / weft_dtype_size((weft_dtype)tuner->options.dtype) / blocks;
    call_place(&measurement->site, measurement->send, measurement->recv, false);
    weft_status status = WEFT_OK;
    for (int i = 0; i < WEFT_ALGORITHM_COUNT && !status; i++)
        status = probe(tuner, i, &turns.calls[i], &turns.possible[i]);
    for (int attempt = 0; attempt < ATTEMPTS && !status; attempt++) {
        status = rounds_run(tuner, &turns);
        if (!status && state_was_steady(&turns)) break;
    }
    if (status) return status;
    double ping_us, median_us, p99_us;
    summarize(turns.ping_us, ROUNDS + 1, &ping_us, &p99_us);
    for (int i = 0; i < WEFT_ALGORITHM_COUNT; i++) {
        if (!turns.possible[i]) continue;
        summarize(turns.times_us[i], ROUNDS, &median_us, &p99_us);
        row_write(tuner, i, median_us, ping_us);
    }
    return WEFT_OK;
}

static weft_status everything_tune(struct tuner *tuner)
{
    const struct perf_options *options = &tuner->options;
    /* Several, for a state that the machine is in for some seconds is not to settle the matter. */
    const int passes = options->plain_only ? 1 : PASSES;
    weft_status status = WEFT_OK;
    for (int i = 0; i < passes * WEFT_COLLECTIVE_COUNT && !status; i++) {
        const int collective = i % WEFT_COLLECTIVE_COUNT;
        if (collective == WEFT_SEND_RECV) continue; /* one algorithm */
        tuner->options.collective = collective;
        if (!perf_has_bytes(collective)) {
            status = size_tune(tuner, 0);
            continue;
        }
        for (uint64_t bytes = options->begin_bytes; bytes <= options->end_bytes && !status; bytes *= options->factor)
            if (bytes >= weft_dtype_size((weft_dtype)options->dtype) * tuner->measurement.rank_count)
                status = size_tune(tuner, bytes);
    }
    return status;
}

int tune_rank(const struct perf_options *options)
{
    struct tuner tuner = {.options = *options};
    char path[4096];
    weft_comm *comm = NULL;
    weft_status status = weft_comm_create_from_env(&comm);
    if (!status) status = measurement_begin(&tuner.measurement, comm, &tuner.options);
    if (status) {
        fprintf(stderr, "weft-perf: cannot tune: %s: %s\n", weft_status_name(status), weft_status_text(status));
        weft_comm_destroy(comm);
        return 1;
    }
    memset(tuner.measurement.send, 1, options->end_bytes); /* pages of their own, and floats that are normal */
    memset(tuner.measurement.recv, 1, options->end_bytes);
    snprintf(path, sizeof path, "%s.rows", options->tune_file);
    int exit_code = 0;
    if (weft_comm_rank(comm) == 0 && !(tuner.rows = fopen(path, "we"))) {
        fprintf(stderr, "weft-perf: cannot write %s: %s\n", path, strerror(errno));
        (void)weft_comm_revoke(comm);
        exit_code = 1;
    }
    status = everything_tune(&tuner);
    if (status && !exit_code)
        fprintf(stderr, "weft-perf: cannot tune: %s: %s\n", weft_status_name(status), weft_status_text(status));
    if (tuner.rows && fclose(tuner.rows) != 0) exit_code = 1;
    measurement_end(&tuner.measurement);
    weft_comm_destroy(comm);
    return status ? 1 : exit_code;
}
