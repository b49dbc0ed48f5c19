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

enum { ROUNDS = 5, PROBES = 3, CALLS_LEAST = 3, CALLS_MOST = 200, ATTEMPTS = 4, PASSES = 5, SEEN_MOST = 16 };
static const double turn_us = 3e3;          /* a candidate's turn, within the bounds */
static const double sure_enough = 0.95;     /* the best of some twenty medians is below its own by some percent */
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

/* The median of its times in a state, so that one spoiled pass settles nothing; 0: not measured there. */
static double time_in(const struct rows *rows, const struct tune_row *candidate, int state)
{
    double times_us[SEEN_MOST], median_us = 0, p99_us;
    uint32_t count = 0;
    for (uint32_t i = 0; i < rows->count && count < SEEN_MOST; i++)
        if (same_candidate(&rows->at[i], candidate) && state_of(rows, &rows->at[i]) == state)
            times_us[count++] = rows->at[i].time_us;
    if (count > 0) summarize(times_us, count, &median_us, &p99_us);
    return median_us;
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

static const struct tune_row *time_of_pass(const struct rows *rows, const struct tune_row *candidate, uint32_t pass)
{
    for (uint32_t i = 0; i < rows->count; i++)
        if (rows->at[i].pass == pass && same_candidate(&rows->at[i], candidate)) return &rows->at[i];
    return NULL;
}

/*
 * In states where @p one is surely faster than @p other, is it so in every pass? Of twenty candidates that are all the
 * same, the best median is some percent below the others', but hardly ever the same one's each time.
 */
static bool is_steadily_faster(const struct rows *rows, const struct tune_row *one, const struct tune_row *other)
{
    for (uint32_t i = 0; i < rows->count; i++) {
        const struct tune_row *here = &rows->at[i];
        const int state = state_of(rows, here);
        if (!same_candidate(here, one) || time_in(rows, one, state) >= sure_enough * time_in(rows, other, state))
            continue;
        const struct tune_row *there = time_of_pass(rows, other, here->pass);
        if (there && there->time_us <= here->time_us) return false;
    }
    return true;
}

const struct tune_row *tune_best(const struct tune_row *at, uint32_t row_count, bool shares_memory)
{
    struct rows rows = {.at = at, .count = row_count};
    const struct tune_row *automatic = NULL, *kept = NULL, *best = NULL;
    states_split(&rows);
    for (uint32_t i = 0; i < row_count; i++)
        if (at[i].algorithm == WEFT_ALGORITHM_AUTO) automatic = &at[i];
    for (uint32_t i = 0; i < row_count && automatic; i++)
        if (at[i].algorithm == automatic->chosen && !at[i].channels && !at[i].slice_bytes) kept = &at[i];
    const double kept_regret = kept ? regret_of(&rows, kept) : INFINITY;
    double best_regret = INFINITY;
    for (uint32_t i = 0; i < row_count; i++) {
        if (at[i].algorithm == WEFT_ALGORITHM_AUTO) continue;
        double regret = regret_of(&rows, &at[i]);
        if (best && regret >= best_regret) continue;
        if (kept && !same_candidate(&at[i], kept) && !is_steadily_faster(&rows, &at[i], kept)) continue;
        best = &at[i];
        best_regret = regret;
    }
    const bool follows = shares_memory && rows.split_us <= 0 && kept && kept->algorithm == WEFT_ALGORITHM_DIRECT;
    return kept && best_regret > (follows ? worth_following : sure_enough) * kept_regret ? kept : best;
}

/* ---- Times ---- */

/*
 * What candidates differ in besides their algorithm; the first is the model's own choice. Slices and channels matter
 * where a message is more than a few slices.
 */
static const struct variant {
    uint32_t channels, slice_bytes; /* 0: the model's */
    uint64_t from_bytes;            /* of the message; ascending */
} variants[] = {{0, 0, 0}, {0, 64 << 10, 128 << 10}, {2, 0, 128 << 10}, {0, 256 << 10, 512 << 10}};
enum { VARIANTS = sizeof variants / sizeof *variants };

struct tuner {
    struct perf_options options;               /* with the collective and algorithm of the moment */
    struct measurement measurements[VARIANTS]; /* each over a communicator of its own */
    uint32_t variant_count;
    uint64_t calls_most; /* of a turn */
    uint32_t pass;
    FILE *rows; /* rank 0's; NULL on others */
};

/* One of those that have a turn in each round. */
struct candidate {
    int algorithm;
    uint32_t variant;
    uint64_t calls; /* of a turn */
    double times_us[ROUNDS];
};
struct candidates {
    uint32_t count;
    struct candidate at[VARIANTS * WEFT_ALGORITHM_COUNT];
    double ping_us[ROUNDS + 1]; /* before the first round and after each */
};

/* The first call finds the caches as another candidate left them, and is not counted. */
static weft_status turn(struct tuner *tuner, const struct candidate *candidate, uint64_t calls, double *median_us)
{
    struct measurement *measurement = &tuner->measurements[candidate->variant];
    double p99_us;
    tuner->options.algorithm = candidate->algorithm;
    weft_status status = measure_calls(measurement, calls + 1);
    if (!status) summarize(measurement->times_us + 1, calls, median_us, &p99_us);
    return status;
}

/* Is there such a candidate, and how many calls make a turn? All ranks know the same times, and find the same. */
static weft_status probe(struct tuner *tuner, struct candidate *candidate, bool *possible)
{
    double each_us = 0;
    tuner->options.algorithm = candidate->algorithm;
    weft_status status = call_make(&tuner->measurements[candidate->variant].site);
    *possible = status != WEFT_UNSUPPORTED && status != WEFT_INVALID_ARGUMENT;
    if (status) return *possible ? status : WEFT_OK;
    status = turn(tuner, candidate, PROBES, &each_us);
    double fitting = each_us > 0 ? turn_us / each_us : CALLS_MOST;
    candidate->calls = fitting < CALLS_LEAST ? CALLS_LEAST : fitting > CALLS_MOST ? CALLS_MOST : (uint64_t)fitting;
    if (candidate->calls > tuner->calls_most) candidate->calls = tuner->calls_most;
    return status;
}

/* The automatic choice is a communicator's that was told nothing. */
static weft_status candidates_find(struct tuner *tuner, uint64_t bytes, struct candidates *candidates)
{
    const uint64_t blocks = perf_has_blocks(tuner->options.collective) ? tuner->measurements[0].rank_count : 1;
    weft_status status = WEFT_OK;
    for (uint32_t i = 0; i < tuner->variant_count && bytes >= variants[i].from_bytes; i++) {
        struct measurement *measurement = &tuner->measurements[i];
        measurement->site.count = bytes / weft_dtype_size((weft_dtype)tuner->options.dtype) / blocks;
        call_place(&measurement->site, measurement->send, measurement->recv, false);
        for (int k = i == 0 ? WEFT_ALGORITHM_AUTO : WEFT_ALGORITHM_AUTO + 1; k < WEFT_ALGORITHM_COUNT; k++) {
            struct candidate *candidate = &candidates->at[candidates->count];
            bool possible = false;
            *candidate = (struct candidate){.algorithm = k, .variant = i};
            status = probe(tuner, candidate, &possible);
            if (status) return status;
            candidates->count += possible;
        }
    }
    return WEFT_OK;
}

static void row_write(const struct tuner *tuner, const struct candidate *candidate, double time_us, double ping_us)
{
    const struct call_site *site = &tuner->measurements[candidate->variant].site;
    const struct variant *variant = &variants[candidate->variant];
    uint64_t bytes = site->count * weft_dtype_size((weft_dtype)tuner->options.dtype);
    weft_collective collective = (weft_collective)tuner->options.collective;
    int chosen = candidate->algorithm == WEFT_ALGORITHM_AUTO ? (int)weft_comm_algorithm(site->comm, collective, bytes)
                                                             : candidate->algorithm;
    if (tuner->rows)
        fprintf(tuner->rows, "%u %d %" PRIu64 " %d %d %u %u %.4f %.4f\n", tuner->pass, (int)collective, bytes,
                candidate->algorithm, chosen, variant->channels, variant->slice_bytes, time_us, ping_us);
}

/* Each round begins with another candidate, so that none always comes after the same one. */
static weft_status rounds_run(struct tuner *tuner, struct candidates *candidates)
{
    weft_comm *comm = tuner->measurements[0].comm;
    weft_status status = ping_measure(comm, &candidates->ping_us[0]);
    for (uint32_t round = 0; round < ROUNDS && !status; round++) {
        for (uint32_t k = 0; k < candidates->count && !status; k++) {
            struct candidate *candidate = &candidates->at[(round + k) % candidates->count];
            status = turn(tuner, candidate, candidate->calls, &candidate->times_us[round]);
        }
        if (!status) status = ping_measure(comm, &candidates->ping_us[round + 1]);
    }
    return status;
}

/* Did the ranks' processors stay as far apart as they were? All ranks know the same pings. */
static bool state_was_steady(const struct candidates *candidates)
{
    double least = candidates->ping_us[0], most = candidates->ping_us[0];
    for (int i = 1; i <= ROUNDS; i++) {
        if (candidates->ping_us[i] < least) least = candidates->ping_us[i];
        if (candidates->ping_us[i] > most) most = candidates->ping_us[i];
    }
    return most <= steady * least;
}

/* One size, again where the machine changed meanwhile; what the last attempt finds stays. */
static weft_status size_tune(struct tuner *tuner, uint64_t bytes)
{
    struct candidates candidates = {0};
    weft_status status = candidates_find(tuner, bytes, &candidates);
    for (int attempt = 0; attempt < ATTEMPTS && !status; attempt++) {
        status = rounds_run(tuner, &candidates);
        if (!status && state_was_steady(&candidates)) break;
    }
    if (status) return status;
    double ping_us, median_us, p99_us;
    summarize(candidates.ping_us, ROUNDS + 1, &ping_us, &p99_us);
    for (uint32_t i = 0; i < candidates.count; i++) {
        summarize(candidates.at[i].times_us, ROUNDS, &median_us, &p99_us);
        row_write(tuner, &candidates.at[i], median_us, ping_us);
    }
    return WEFT_OK;
}

static weft_status everything_tune(struct tuner *tuner)
{
    const struct perf_options *options = &tuner->options;
    /* Several, for a state that the machine is in for some seconds is not to settle the matter. */
    const int passes = options->compare ? 1 : PASSES;
    weft_status status = WEFT_OK;
    for (int i = 0; i < passes * WEFT_COLLECTIVE_COUNT && !status; i++) {
        const int collective = i % WEFT_COLLECTIVE_COUNT;
        if (collective == WEFT_SEND_RECV) continue; /* one algorithm */
        tuner->options.collective = collective;
        tuner->pass = (uint32_t)(i / WEFT_COLLECTIVE_COUNT);
        if (!perf_has_bytes(collective)) {
            status = size_tune(tuner, 0);
            continue;
        }
        for (uint64_t bytes = options->begin_bytes; bytes <= options->end_bytes && !status; bytes *= options->factor)
            if (bytes >= weft_dtype_size((weft_dtype)options->dtype) * tuner->measurements[0].rank_count)
                status = size_tune(tuner, bytes);
    }
    return status;
}

/* ---- Communicators ---- */

/* Another one of the same ranks, told which channels and slices to use. Collective over @p first. */
static weft_status comm_like(weft_comm *first, const struct variant *variant, weft_comm **comm)
{
    weft_unique_id id = {{0}};
    const weft_comm_config config = {.size = sizeof config,
                                     .id = &id,
                                     .rank = weft_comm_rank(first),
                                     .rank_count = weft_comm_rank_count(first),
                                     .channel_count = variant->channels,
                                     .slice_bytes = variant->slice_bytes};
    weft_status status = config.rank == 0 ? weft_unique_id_create(&id) : WEFT_OK;
    /* Ranks that wait for an id are told when there is none: then it is all zero, and refused. */
    weft_status sent = weft_broadcast(first, &id, &id, sizeof id, WEFT_UINT8, 0, NULL, NULL);
    if (!status) status = sent;
    return status ? status : weft_comm_create(&config, comm);
}

static void tuner_end(struct tuner *tuner)
{
    for (uint32_t i = tuner->variant_count; i-- > 0;) {
        weft_comm *comm = tuner->measurements[i].comm;
        measurement_end(&tuner->measurements[i]);
        weft_comm_destroy(comm);
    }
}

/* A communicator for each variant that is to be measured; on the same buffers, so that none finds them colder. */
static weft_status tuner_begin(struct tuner *tuner)
{
    const struct perf_options *options = &tuner->options;
    const uint32_t most = options->plain_only ? 1 : VARIANTS;
    weft_status status = WEFT_OK;
    for (uint32_t i = 0; i < most && !status && variants[i].from_bytes <= options->end_bytes; i++) {
        struct measurement *measurement = &tuner->measurements[i];
        weft_comm *comm = NULL;
        status =
            i == 0 ? weft_comm_create_from_env(&comm) : comm_like(tuner->measurements[0].comm, &variants[i], &comm);
        if (!status) status = measurement_begin(measurement, comm, options, i > 0 ? &tuner->measurements[0] : NULL);
        if (status) {
            weft_comm_destroy(comm);
            break;
        }
        tuner->variant_count++;
        memset(measurement->send, 1, options->end_bytes); /* pages of their own, and floats that are normal */
        memset(measurement->recv, 1, options->end_bytes);
    }
    if (status) tuner_end(tuner);
    return status;
}

int tune_rank(const struct perf_options *options)
{
    struct tuner tuner = {.options = *options, .calls_most = options->iterations ? options->iterations : CALLS_MOST};
    char path[4096];
    tuner.options.iterations = 0; /* measurements have room for as many as they like */
    weft_status status = tuner_begin(&tuner);
    if (status) {
        fprintf(stderr, "weft-perf: cannot tune: %s: %s\n", weft_status_name(status), weft_status_text(status));
        return 1;
    }
    weft_comm *comm = tuner.measurements[0].comm;
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
    tuner_end(&tuner);
    return status ? 1 : exit_code;
}
