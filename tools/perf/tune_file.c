/* SPDX-License-Identifier: Apache-2.0 */
/* The supervisor's part of --tune: runs of ranks, the choice from their rows, the file. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/perf/tune.h"

enum { ROWS_MOST = 65536, PATH_BYTES = 4096, RANKS = 2 };

struct results {
    const struct perf_options *options;
    const char *transport;
    uint64_t ranks;
    uint32_t row_count;
    struct tune_row rows[ROWS_MOST];
};

static int file_error(const char *path)
{
    fprintf(stderr, "weft-perf: cannot write %s: %s\n", path, strerror(errno));
    return 1;
}

/* What rank 0 has left. */
static int rows_take(struct results *results)
{
    char path[PATH_BYTES];
    int collective, algorithm, chosen;
    struct tune_row row = {0};
    snprintf(path, sizeof path, "%s.rows", results->options->tune_file);
    FILE *file = fopen(path, "re");
    if (!file) return file_error(path);
    while (results->row_count < ROWS_MOST &&
           fscanf(file, "%u %d %" SCNu64 " %d %d %" SCNu64 " %" SCNu64 " %lf %lf", &row.pass, &collective, &row.bytes,
                  &algorithm, &chosen, &row.channels, &row.slice_bytes, &row.time_us, &row.ping_us) == 9) {
        row.collective = (weft_collective)collective;
        row.algorithm = (weft_algorithm)algorithm;
        row.chosen = (weft_algorithm)chosen;
        results->rows[results->row_count++] = row;
    }
    fclose(file);
    unlink(path);
    return 0;
}

static int ranks_run(struct results *results, char *const argv[])
{
    setenv("WEFT_TRANSPORT", results->transport, 1);
    fprintf(stderr, "tuning %" PRIu64 " ranks over %s\n", results->ranks, results->transport);
    int exit_code = 1;
    weft_status status = weft_local_run((uint32_t)results->ranks, argv, &exit_code);
    if (status)
        fprintf(stderr, "weft-perf: cannot start %" PRIu64 " ranks: %s\n", results->ranks, weft_status_text(status));
    return exit_code ? exit_code : rows_take(results);
}

static int row_compare(const void *left, const void *right)
{
    const struct tune_row *a = left, *b = right;
    if (a->collective != b->collective) return (a->collective > b->collective) - (a->collective < b->collective);
    return (a->bytes > b->bytes) - (a->bytes < b->bytes);
}

/* Entries of one transport and number of ranks, a line each; a choice begins half-way, in octaves, from the size
 * before.
 */
static void entries_write(FILE *file, struct results *results, bool *first)
{
    const struct tune_row *last = NULL;
    uint64_t bytes_before = 0;
    qsort(results->rows, results->row_count, sizeof results->rows[0], row_compare);
    for (uint32_t i = 0, end; i < results->row_count; i = end) {
        const struct tune_row *row = &results->rows[i];
        for (end = i; end < results->row_count && row_compare(&results->rows[end], row) == 0;) end++;
        /* Of blocks that differ no rank knows all: a communicator has one choice for them, that of the largest size. */
        const bool larger_follows = end < results->row_count && results->rows[end].collective == row->collective;
        if (row->collective == WEFT_ALL_TO_ALLV && larger_follows) continue;
        const struct tune_row *best = tune_best(row, end - i, strcmp(results->transport, "shm") == 0);
        bool begins = !last || last->collective != row->collective;
        bool same = !begins && last->algorithm == best->algorithm && last->channels == best->channels &&
                    last->slice_bytes == best->slice_bytes;
        uint64_t from = begins ? 0 : (uint64_t)sqrt((double)bytes_before * (double)row->bytes);
        bytes_before = row->bytes;
        last = best;
        if (same) continue;
        fprintf(file,
                "%s\n{\"collective\":\"%s\",\"transport\":\"%s\",\"ranks\":%" PRIu64 ",\"from_bytes\":%" PRIu64
                ",\"algorithm\":\"%s\"",
                *first ? "" : ",", weft_collective_name(best->collective), results->transport, results->ranks, from,
                weft_algorithm_name(best->algorithm));
        if (best->channels) fprintf(file, ",\"channels\":%" PRIu64, best->channels);
        if (best->slice_bytes) fprintf(file, ",\"slice_bytes\":%" PRIu64, best->slice_bytes);
        fprintf(file, "}");
        *first = false;
    }
}

/* The lines of an older file that are of other transports or ranks. */
static void others_keep(FILE *file, const struct results *results, bool *first)
{
    char line[1024], mine[96];
    FILE *old = fopen(results->options->tune_file, "re");
    snprintf(mine, sizeof mine, "\"transport\":\"%s\",\"ranks\":%" PRIu64 ",", results->transport, results->ranks);
    while (old && fgets(line, sizeof line, old)) {
        line[strcspn(line, "\r\n")] = '\0';
        size_t length = strlen(line);
        if (length > 0 && line[length - 1] == ',') line[length - 1] = '\0';
        if (strncmp(line, "{\"collective\"", 13) != 0 || strstr(line, mine)) continue;
        fprintf(file, "%s\n%s", *first ? "" : ",", line);
        *first = false;
    }
    if (old) fclose(old);
}

/* Beside its place first: readers see the old file or the new one, whole. */
static int file_write(struct results *results)
{
    char beside[PATH_BYTES];
    const char *path = results->options->tune_file;
    bool first = true;
    snprintf(beside, sizeof beside, "%s.new", path);
    FILE *file = fopen(beside, "we");
    if (!file) return file_error(beside);
    fprintf(file, "{\"weft_tuning\":1,\"entries\":[");
    others_keep(file, results, &first);
    entries_write(file, results, &first);
    fprintf(file, "\n]}\n");
    bool written = fflush(file) == 0 && !ferror(file);
    written &= fclose(file) == 0;
    if (written && rename(beside, path) == 0) return 0;
    file_error(path);
    unlink(beside);
    return 1;
}

/* Every candidate's time, for those who want to look. */
static void json_rows(FILE *file, const struct results *results, bool *first)
{
    for (uint32_t i = 0; i < results->row_count; i++) {
        const struct tune_row *row = &results->rows[i];
        fprintf(file,
                "%s\n{\"transport\":\"%s\",\"ranks\":%" PRIu64 ",\"collective\":\"%s\",\"bytes\":%" PRIu64
                ",\"algorithm\":\"%s\",\"chosen\":\"%s\",\"channels\":%" PRIu64 ",\"slice_bytes\":%" PRIu64
                ",\"time_us\":%.4f,\"ping_us\":%.4f}",
                *first ? "" : ",", results->transport, results->ranks, weft_collective_name(row->collective),
                row->bytes, weft_algorithm_name(row->algorithm), weft_algorithm_name(row->chosen), row->channels,
                row->slice_bytes, row->time_us, row->ping_us);
        *first = false;
    }
}

int tune_supervise(const struct perf_options *options, const char *const transports[], char *const argv[])
{
    struct results *results = calloc(1, sizeof *results);
    FILE *json = options->json_file ? fopen(options->json_file, "we") : NULL;
    int exit_code = 0;
    bool first = true;
    if (!results || (options->json_file && !json)) {
        exit_code = file_error(options->json_file ? options->json_file : options->tune_file);
        goto done;
    }
    if (!options->compare) unsetenv("WEFT_TUNING"); /* it is the model that is to be bettered */
    unsetenv("WEFT_CHANNELS");                      /* what they force would be all that there is */
    unsetenv("WEFT_SLICE");
    if (json) fprintf(json, "{\"rows\":[");
    for (size_t i = 0; transports[i] && !exit_code; i++) {
        *results = (struct results){.options = options, .transport = transports[i]};
        results->ranks = options->rank_count ? options->rank_count : RANKS;
        exit_code = ranks_run(results, argv);
        if (!exit_code) exit_code = file_write(results);
        if (json) json_rows(json, results, &first);
    }
    if (json) fprintf(json, "\n]}\n");
done:
    if (json && fclose(json) != 0) exit_code = file_error(options->json_file);
    free(results);
    return exit_code;
}
