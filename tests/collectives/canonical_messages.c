/* SPDX-License-Identifier: Apache-2.0 */
#include "canonical_messages.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "canonical_reference.h"

/* Every rank knows every rank's input. */
static void input_of(uint32_t rank, weft_dtype dtype, weft_op op, uint64_t count, void *input, double *scale)
{
    struct random random;
    random_seed(&random, rank * 1000003 + count * 101 + (uint64_t)dtype * 7 + (uint64_t)op);
    fill_wild(dtype, &random, input, count);
    *scale = any_scale(dtype, &random);
}

/* This rank's input and scale, and what those of all ranks come to. */
static double expect(weft_comm *comm, weft_dtype dtype, weft_op op, uint64_t count, uint8_t *input, uint8_t *expected)
{
    uint32_t ranks = weft_comm_rank_count(comm), rank = weft_comm_rank(comm);
    size_t bytes = count * weft_dtype_size(dtype);
    const void *sources[CANONICAL_MAX_RANKS];
    double scales[CANONICAL_MAX_RANKS];
    uint8_t *inputs = malloc(bytes * ranks + 1);
    for (uint32_t i = 0; i < ranks; i++) {
        input_of(i, dtype, op, count, inputs + i * bytes, &scales[i]);
        sources[i] = inputs + i * bytes;
    }
    const struct reduce_call call = {.sources = sources,
                                     .source_count = ranks,
                                     .count = count,
                                     .divisor = op == WEFT_AVG ? ranks : 1,
                                     .scales = op == WEFT_PREMUL_SUM ? scales : NULL};
    canonical_reference(dtype, op, &call, expected);
    memcpy(input, sources[rank], bytes);
    free(inputs);
    return scales[rank];
}

static void judge(weft_comm *comm, struct canonical_results *results, weft_status status, bool right, const char *what,
                  weft_dtype dtype, weft_op op, uint64_t count)
{
    results->calls++;
    if (status == WEFT_OK && right) return;
    if (results->wrong++) return;
    snprintf(results->first, sizeof results->first, "rank %u of %u: %s %s %s count %llu: %s", weft_comm_rank(comm),
             weft_comm_rank_count(comm), what, weft_dtype_name(dtype), weft_op_name(op), (unsigned long long)count,
             status == WEFT_OK ? "other bits" : weft_status_name(status));
}

/* The message in so many calls, the first of them a third as long. */
static weft_status all_reduce_in_parts(weft_comm *comm, const weft_call *call, uint32_t parts, const uint8_t *send,
                                       uint8_t *recv, uint64_t count, weft_dtype dtype, weft_op op)
{
    uint64_t first = parts > 1 ? count / 3 : count;
    size_t skip = first * weft_dtype_size(dtype);
    weft_status status = weft_all_reduce(comm, send, recv, first, dtype, op, call, NULL);
    if (status != WEFT_OK || parts == 1) return status;
    return weft_all_reduce(comm, send + skip, recv + skip, count - first, dtype, op, call, NULL);
}

static void one_message(weft_comm *comm, const struct canonical_way *way, weft_dtype dtype, weft_op op, uint64_t count,
                        struct canonical_results *results)
{
    uint32_t ranks = weft_comm_rank_count(comm), rank = weft_comm_rank(comm);
    size_t bytes = count * weft_dtype_size(dtype);
    uint8_t *input = malloc(bytes + 1), *expected = malloc(bytes + 1);
    uint8_t *send = malloc(bytes + 1), *recv = way->in_place ? send : malloc(bytes + 1);
    weft_call call = {.size = sizeof call, .canonical = true, .algorithm = way->algorithm};
    call.scale = expect(comm, dtype, op, count, input, expected);
    memcpy(send, input, bytes);
    weft_status status = all_reduce_in_parts(comm, &call, way->parts, send, recv, count, dtype, op);
    judge(comm, results, status, memcmp(recv, expected, bytes) == 0, "all_reduce", dtype, op, count);

    uint32_t root = (uint32_t)(count % ranks);
    memcpy(send, input, bytes);
    call.algorithm = way->algorithm == WEFT_ALGORITHM_HALVING ? WEFT_ALGORITHM_TREE : way->algorithm;
    status = weft_reduce(comm, send, recv, count, dtype, op, root, &call, NULL);
    bool right = rank != root || memcmp(recv, expected, bytes) == 0;
    judge(comm, results, status, right, "reduce", dtype, op, count);

    uint64_t block = count / ranks;
    size_t skip = block * weft_dtype_size(dtype) * rank;
    memcpy(send, input, bytes);
    uint8_t *part = way->in_place ? send + skip : recv;
    call.algorithm = way->algorithm == WEFT_ALGORITHM_TREE ? WEFT_ALGORITHM_HALVING : way->algorithm;
    status = weft_reduce_scatter(comm, send, part, block, dtype, op, &call, NULL);
    right = memcmp(part, expected + skip, block * weft_dtype_size(dtype)) == 0;
    judge(comm, results, status, right, "reduce_scatter", dtype, op, count);
    if (!way->in_place) free(recv);
    free(expected);
    free(send);
    free(input);
}

void canonical_messages(weft_comm *comm, uint32_t rank, void *argument, void *results)
{
    static const uint64_t counts[] = {1, 100, 2051, 5003};
    struct canonical_results *mine = (struct canonical_results *)results + rank;
    for (int dtype = 0; dtype < WEFT_DTYPE_COUNT; dtype++)
        for (int op = 0; op < WEFT_OP_COUNT; op++)
            one_message(comm, argument, (weft_dtype)dtype, (weft_op)op, counts[(dtype + op + (int)mine->calls / 3) % 4],
                        mine);
}
