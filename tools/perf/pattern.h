/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inputs whose results are known exactly, so that every wrong element can be counted.
 *
 * Inputs are small integers, chosen so that every partial result, in any order of combining, is an integer that the
 * element type holds exactly: no order can round, and no tolerance is needed. They repeat after a prime number of
 * elements, which no chunk or slice is a multiple of: data that lands at a wrong place differs.
 *
 * Where nothing is combined, all inputs are parts of one sequence, the expected one: which part says which block it is.
 */
#ifndef TOOLS_PATTERN_H
#define TOOLS_PATTERN_H

#include <stddef.h>
#include <stdint.h>

#include "tools/perf/perf.h"

struct pattern {
    size_t element_bytes;
    uint8_t *input;    /* one period of this rank's input */
    uint8_t *expected; /* one period of the result */
    uint8_t *poison;   /* one period of the result with every bit turned */
};

/* 0, or -1 when out of memory. */
int pattern_create(struct pattern *pattern, const struct perf_options *options, uint32_t rank, uint32_t rank_count);
void pattern_destroy(struct pattern *pattern);

/* What @p rank scales its input by in a premultiplied sum: 1 or 2, which is exact in every type. */
double pattern_scale(uint64_t rank);
/* @p start: which element of the sequence the first one is. */
void pattern_fill_input(const struct pattern *pattern, void *buffer, uint64_t start, uint64_t count);
/* What is left of it after a collective was not written. */
void pattern_fill_poison(const struct pattern *pattern, void *buffer, uint64_t start, uint64_t count);
uint64_t pattern_count_wrong(const struct pattern *pattern, const void *buffer, uint64_t start, uint64_t count);
#endif
