/* SPDX-License-Identifier: Apache-2.0 */
/* What weft-perf prints: nccl-tests' columns, the progress line, the JSON file. Only rank 0 reports. */
#ifndef TOOLS_REPORT_H
#define TOOLS_REPORT_H

#include <stdio.h>

#include "tools/perf/perf.h"

void report_header(const struct perf_options *options, const char *transport, uint32_t rank_count);
/* @p in_place is NULL for a collective without buffers. */
void report_rows(const struct perf_options *options, const struct perf_row *out_of_place,
                 const struct perf_row *in_place);
void report_summary(const struct perf_row *rows, size_t row_count, bool checked);

/* 0, or -1 when writing failed. */
int report_json(FILE *file, const struct perf_options *options, const char *transport, uint32_t rank_count,
                const struct perf_row *rows, size_t row_count);

/*
 * A line on standard error that is overwritten, from the second second on, when standard error is a terminal.
 * progress_clear() takes it away before anything else is printed.
 */
struct progress {
    double begin_s;
    size_t row_count;
    bool possible, shown;
};
void progress_begin(struct progress *progress, size_t row_count);
void progress_show(struct progress *progress, size_t done, uint64_t bytes, bool in_place);
void progress_clear(struct progress *progress);

/* "64 MiB", in a buffer of 24 bytes. */
const char *bytes_format(uint64_t bytes, char text[24]);
#endif
