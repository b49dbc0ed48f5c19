/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/perf/report.h"

#include <inttypes.h>
#include <time.h>
#include <unistd.h>

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

const char *bytes_format(uint64_t bytes, char text[24])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB"};
    size_t unit = 0;
    while (unit + 1 < sizeof units / sizeof *units && bytes >= 1024 && bytes % 1024 == 0) bytes /= 1024, unit++;
    snprintf(text, 24, "%" PRIu64 " %s", bytes, units[unit]);
    return text;
}

static const char *op_column(const struct perf_options *options)
{
    return perf_has_op(options->collective) ? weft_op_name((weft_op)options->op) : "none";
}

static const char *dtype_column(const struct perf_options *options)
{
    return perf_has_bytes(options->collective) ? weft_dtype_name((weft_dtype)options->dtype) : "none";
}

static const char *buffers_word(const struct perf_options *options)
{
    return options->buffers == PERF_BUFFERS_REGISTERED ? "registered" : "plain";
}

void report_header(const struct perf_options *options, const char *transport, uint32_t rank_count)
{
    char batch[48] = "";
    if (options->batch > 1) snprintf(batch, sizeof batch, ", batches of %" PRIu64, options->batch);
    printf("# weft-perf %s: %s, %" PRIu32 " rank%s, transport %s, algorithm %s%s, %s buffers%s\n", weft_version(),
           weft_collective_name((weft_collective)options->collective), rank_count, rank_count == 1 ? "" : "s",
           transport, weft_algorithm_name((weft_algorithm)options->algorithm), options->canonical ? ", canonical" : "",
           buffers_word(options), batch);
    printf("#\n# %54s%24s%12s  %22s\n", "", "out-of-place", "", "in-place");
    printf("# %10s %13s %11s %10s %6s %9s %8s %8s %7s  %9s %8s %8s %7s\n", "size", "count", "type", "redop", "root",
           "time", "algbw", "busbw", "#wrong", "time", "algbw", "busbw", "#wrong");
    printf("# %10s %13s %11s %10s %6s %9s %8s %8s %7s  %9s %8s %8s\n", "(B)", "(elements)", "", "", "", "(us)",
           "(GB/s)", "(GB/s)", "", "(us)", "(GB/s)", "(GB/s)");
    fflush(stdout);
}

static void half_print(const struct perf_options *options, const struct perf_row *row)
{
    char wrong[24] = "N/A";
    if (!row) {
        printf("  %9s %8s %8s %7s", "N/A", "N/A", "N/A", "N/A");
        return;
    }
    if (!options->no_check && perf_has_bytes(options->collective))
        snprintf(wrong, sizeof wrong, "%" PRIu64, row->wrong);
    printf(" %9.*f %8.2f %8.2f %7s", row->time_us < 1000 ? 2 : 1, row->time_us, row->algbw_gbps, row->busbw_gbps,
           wrong);
}

void report_rows(const struct perf_options *options, const struct perf_row *out_of_place,
                 const struct perf_row *in_place)
{
    int64_t root = perf_has_root(options->collective) ? (int64_t)options->root : -1;
    printf("  %10" PRIu64 " %13" PRIu64 " %11s %10s %6" PRId64, out_of_place->bytes, out_of_place->count,
           dtype_column(options), op_column(options), root);
    half_print(options, out_of_place);
    if (in_place) putchar(' ');
    half_print(options, in_place);
    putchar('\n');
    fflush(stdout);
}

void report_summary(const struct perf_row *rows, size_t row_count, bool checked)
{
    uint64_t wrong = 0;
    double busbw = 0;
    for (size_t i = 0; i < row_count; i++) {
        wrong += rows[i].wrong;
        busbw += rows[i].busbw_gbps;
    }
    if (checked)
        printf("# wrong elements: %" PRIu64 "\n", wrong);
    else
        printf("# wrong elements: not checked\n");
    if (row_count && busbw > 0) printf("# average bus bandwidth: %.3f GB/s\n", busbw / (double)row_count);
}

int report_json(FILE *file, const struct perf_options *options, const char *transport, uint32_t rank_count,
                const struct perf_row *rows, size_t row_count)
{
    fprintf(file,
            "{\"collective\":\"%s\",\"ranks\":%" PRIu32 ",\"transport\":\"%s\",\"dtype\":\"%s\",\"op\":\"%s\","
            "\"buffers\":\"%s\",\"rows\":[",
            weft_collective_name((weft_collective)options->collective), rank_count, transport, dtype_column(options),
            op_column(options), buffers_word(options));
    for (size_t i = 0; i < row_count; i++) {
        const struct perf_row *row = &rows[i];
        fprintf(file,
                "%s\n{\"bytes\":%" PRIu64 ",\"in_place\":%s,\"algorithm\":\"%s\",\"time_us\":%.3f,\"p99_us\":%.3f,"
                "\"algbw_gbps\":%.6g,\"busbw_gbps\":%.6g,\"wrong\":",
                i ? "," : "", row->bytes, row->in_place ? "true" : "false", weft_algorithm_name(row->algorithm),
                row->time_us, row->p99_us, row->algbw_gbps, row->busbw_gbps);
        if (options->no_check)
            fprintf(file, "null}");
        else
            fprintf(file, "%" PRIu64 "}", row->wrong);
    }
    fprintf(file, "\n]}\n");
    return fflush(file) == 0 && !ferror(file) ? 0 : -1;
}

void progress_begin(struct progress *progress, size_t row_count)
{
    *progress = (struct progress){.begin_s = now_s(), .row_count = row_count, .possible = isatty(STDERR_FILENO)};
}

void progress_show(struct progress *progress, size_t done, uint64_t bytes, bool in_place)
{
    char size[24];
    double elapsed_s = now_s() - progress->begin_s;
    if (!progress->possible || elapsed_s < 1) return;
    fprintf(stderr, "\r\033[K%zu of %zu rows, now %s %s, %.0f s so far", done, progress->row_count,
            bytes_format(bytes, size), in_place ? "in place" : "out of place", elapsed_s);
    fflush(stderr);
    progress->shown = true;
}

void progress_clear(struct progress *progress)
{
    if (!progress->shown) return;
    fputs("\r\033[K", stderr);
    fflush(stderr);
    progress->shown = false;
}
