/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every collective through the public interface, ranks as threads: each algorithm, root, way of laying out the buffers
 * and size, and every type.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "collectives/plan/plan.h"
#include "tests/collectives/comm_ranks.h"

enum { MOST_RANKS = 8 };

struct verdicts {
    uint64_t wrong[MOST_RANKS];
    weft_status status[MOST_RANKS];
};

static const weft_collective collectives[] = {WEFT_ALL_REDUCE,     WEFT_BROADCAST,  WEFT_ALL_GATHER,
                                              WEFT_REDUCE_SCATTER, WEFT_REDUCE,     WEFT_GATHER,
                                              WEFT_SCATTER,        WEFT_ALL_TO_ALL, WEFT_ALL_TO_ALLV};

/* One call. Buffers have room for a block, and a gap, of every rank. */
struct called {
    weft_collective collective;
    uint64_t count, room; /* room: from one block to the next; count, but for all_to_allv */
    weft_dtype dtype;
    uint32_t root, rank, ranks;
    bool in_place;
    uint8_t *send, *recv;
    uint64_t send_counts[MOST_RANKS], recv_counts[MOST_RANKS], offsets[MOST_RANKS];
};

/* 1 and 2 in every type. */
static uint64_t element_bits(weft_dtype dtype, uint32_t value)
{
    static const uint64_t ones[] = {0x3f800000, 0x3ff0000000000000, 0x3c00, 0x3f80, 1, 1, 1, 1, 1, 1, 0x38, 0x3c};
    static const uint64_t twos[] = {0x40000000, 0x4000000000000000, 0x4000, 0x4000, 2, 2, 2, 2, 2, 2, 0x40, 0x40};
    return value == 0 ? 0 : value == 1 ? ones[dtype] : twos[dtype];
}

static bool combines(weft_collective collective)
{
    return collective == WEFT_ALL_REDUCE || collective == WEFT_REDUCE || collective == WEFT_REDUCE_SCATTER;
}

/* In a reduction two ranks, or one, contribute a 1 to each element; else bits say whose, which and where. */
static uint64_t input_bits(const struct called *called, uint32_t rank, uint32_t block, uint64_t element)
{
    if (!combines(called->collective))
        return (rank + 1) * UINT64_C(0x9e3779b97f4a7c15) + block * UINT64_C(0xbf58476d1ce4e5b9) + element * 167;
    uint64_t first = (element + block) % called->ranks, second = (3 * element + 1) % called->ranks;
    return element_bits(called->dtype, rank == first || rank == second);
}

static uint64_t combined_bits(const struct called *called, uint32_t block, uint64_t element)
{
    uint64_t first = (element + block) % called->ranks, second = (3 * element + 1) % called->ranks;
    return element_bits(called->dtype, first == second ? 1 : 2);
}

/* What rank @p rank gets at @p place of its output; false: nothing there. */
static bool expected_bits(const struct called *called, uint32_t place, uint64_t element, uint64_t *bits)
{
    switch (called->collective) {
    case WEFT_REDUCE:
        if (called->rank != called->root) return false; /* fall through */
    case WEFT_ALL_REDUCE:
        *bits = combined_bits(called, 0, element);
        return place == 0;
    case WEFT_REDUCE_SCATTER:
        *bits = combined_bits(called, called->rank, element);
        return place == 0;
    case WEFT_BROADCAST:
        *bits = input_bits(called, called->root, 0, element);
        return place == 0;
    case WEFT_GATHER:
        if (called->rank != called->root) return false; /* fall through */
    case WEFT_ALL_GATHER:
        *bits = input_bits(called, place, 0, element);
        return true;
    case WEFT_SCATTER:
        *bits = input_bits(called, called->root, called->rank, element);
        return place == 0;
    default:
        *bits = input_bits(called, place, called->rank, element);
        return true;
    }
}

static uint64_t uneven_count(const struct called *called, uint32_t from, uint32_t to)
{
    if (called->in_place && from > to) return uneven_count(called, to, from);
    return called->count * ((from * 5 + to * 3) % 4) / 3;
}

static uint64_t output_count(const struct called *called, uint32_t place)
{
    return called->collective == WEFT_ALL_TO_ALLV ? called->recv_counts[place] : called->count;
}

static uint64_t input_count(const struct called *called, uint32_t place)
{
    return called->collective == WEFT_ALL_TO_ALLV ? called->send_counts[place] : called->count;
}

/* How many blocks the call reads at @p rank. */
static uint32_t input_places(const struct called *called)
{
    switch (called->collective) {
    case WEFT_SCATTER:
        return called->rank == called->root ? called->ranks : 0;
    case WEFT_BROADCAST:
        return called->rank == called->root;
    case WEFT_REDUCE_SCATTER:
    case WEFT_ALL_TO_ALL:
    case WEFT_ALL_TO_ALLV:
        return called->ranks;
    default:
        return 1;
    }
}

static void called_fill(struct called *called, uint8_t *send, uint8_t *recv)
{
    size_t size = weft_dtype_size(called->dtype), own = called->rank * called->count * size;
    called->send = called->in_place ? recv : send;
    called->recv = recv;
    bool one_in = called->collective == WEFT_ALL_GATHER || called->collective == WEFT_GATHER;
    bool one_out = called->collective == WEFT_REDUCE_SCATTER || called->collective == WEFT_SCATTER;
    if (called->in_place && one_in) called->send += own;
    if (called->in_place && one_out) called->recv += own;
    for (uint32_t place = 0; place < called->ranks; place++) {
        called->offsets[place] = place * called->room;
        called->send_counts[place] = uneven_count(called, called->rank, place);
        called->recv_counts[place] = uneven_count(called, place, called->rank);
    }
    memset(recv, 0xa5, (called->ranks * called->room + 1) * size);
    for (uint32_t place = 0; place < input_places(called); place++)
        for (uint64_t i = 0; i < input_count(called, place); i++) {
            uint64_t bits = input_bits(called, called->rank, place, i);
            memcpy(called->send + (place * called->room + i) * size, &bits, size);
        }
}

static weft_status call_make(weft_comm *comm, const struct called *c, const weft_call *call, weft_request **request)
{
    switch (c->collective) {
    case WEFT_ALL_REDUCE:
        return weft_all_reduce(comm, c->send, c->recv, c->count, c->dtype, WEFT_SUM, call, request);
    case WEFT_BROADCAST:
        return weft_broadcast(comm, c->send, c->recv, c->count, c->dtype, c->root, call, request);
    case WEFT_ALL_GATHER:
        return weft_all_gather(comm, c->send, c->recv, c->count, c->dtype, call, request);
    case WEFT_REDUCE_SCATTER:
        return weft_reduce_scatter(comm, c->send, c->recv, c->count, c->dtype, WEFT_SUM, call, request);
    case WEFT_REDUCE:
        return weft_reduce(comm, c->send, c->recv, c->count, c->dtype, WEFT_SUM, c->root, call, request);
    case WEFT_GATHER:
        return weft_gather(comm, c->send, c->recv, c->count, c->dtype, c->root, call, request);
    case WEFT_SCATTER:
        return weft_scatter(comm, c->send, c->recv, c->count, c->dtype, c->root, call, request);
    case WEFT_ALL_TO_ALL:
        return weft_all_to_all(comm, c->send, c->recv, c->count, c->dtype, call, request);
    default:
        return weft_all_to_allv(comm, c->send, c->send_counts, c->offsets, c->recv, c->recv_counts, c->offsets,
                                c->dtype, call, request);
    }
}

static uint64_t called_wrong(const struct called *called)
{
    size_t size = weft_dtype_size(called->dtype);
    uint64_t wrong = 0, bits;
    for (uint32_t place = 0; place < called->ranks; place++)
        for (uint64_t i = 0; i < output_count(called, place) && expected_bits(called, place, i, &bits); i++)
            wrong += memcmp(called->recv + (place * called->room + i) * size, &bits, size) != 0;
    return wrong;
}

/* Buffers for the largest call. */
static uint8_t *buffer_make(uint64_t count)
{
    return calloc(MOST_RANKS * (count + 2) + 1, sizeof(uint64_t));
}

static void run_one(weft_comm *comm, struct called *called, weft_algorithm algorithm, uint8_t *send, uint8_t *recv,
                    struct verdicts *verdicts)
{
    called->rank = weft_comm_rank(comm);
    called->ranks = weft_comm_rank_count(comm);
    called->room = called->count + (called->collective == WEFT_ALL_TO_ALLV ? 2 : 0);
    called_fill(called, send, recv);
    const weft_call call = {.size = sizeof call, .algorithm = algorithm};
    weft_status status = call_make(comm, called, &call, NULL);
    if (status != WEFT_OK) verdicts->status[called->rank] = status;
    verdicts->wrong[called->rank] += called_wrong(called);
}

static bool exists(weft_collective collective, int algorithm, uint32_t ranks)
{
    if (algorithm == WEFT_ALGORITHM_AUTO) return true;
    const struct plan_generator *generator = plan_generator_find(collective, (weft_algorithm)algorithm);
    return generator && plan_generator_serves(generator, ranks, false);
}

static void sizes_rank(weft_comm *comm, uint32_t rank, void *argument, void *results)
{
    (void)rank;
    uint64_t most = *(uint64_t *)argument;
    const uint64_t counts[] = {0, 1, 5, 333, most};
    uint8_t *send = buffer_make(most), *recv = buffer_make(most);
    uint32_t ranks = weft_comm_rank_count(comm), turn = 0;
    for (size_t c = 0; c < sizeof collectives / sizeof collectives[0]; c++)
        for (int algorithm = 0; algorithm < WEFT_ALGORITHM_COUNT; algorithm++)
            for (size_t i = 0; i < 5 && exists(collectives[c], algorithm, ranks); i++)
                for (int in_place = 0; in_place < 2; in_place++) {
                    struct called called = {.collective = collectives[c],
                                            .count = counts[i],
                                            .dtype = WEFT_FLOAT32,
                                            .root = turn++ % ranks,
                                            .in_place = in_place};
                    run_one(comm, &called, (weft_algorithm)algorithm, send, recv, results);
                }
    free(send);
    free(recv);
}

static void run_ranks(struct ranks_config config)
{
    struct verdicts verdicts = {0};
    ranks_as_threads(&config, &verdicts);
    for (uint32_t rank = 0; rank < config.rank_count; rank++) {
        assert_int_equal(verdicts.status[rank], WEFT_OK);
        assert_int_equal(verdicts.wrong[rank], 0);
    }
}

static void every_collective_is_right_at_every_size_and_place(void **state)
{
    (void)state;
    uint64_t most = 20011;
    for (uint32_t ranks = 1; ranks <= 5; ranks++)
        run_ranks((struct ranks_config){.rank_count = ranks,
                                        .channel_count = ranks % 3,
                                        .slice_bytes = 16 << 10,
                                        .progress_thread = ranks == 4,
                                        .function = sizes_rank,
                                        .argument = &most});
}

static void types_rank(weft_comm *comm, uint32_t rank, void *argument, void *results)
{
    (void)rank, (void)argument;
    uint8_t *send = buffer_make(1000), *recv = buffer_make(1000);
    for (size_t c = 0; c < sizeof collectives / sizeof collectives[0]; c++)
        for (int dtype = 0; dtype < WEFT_DTYPE_COUNT; dtype++)
            for (uint64_t count = 1; count < 1000; count = count * 31 + 2) {
                struct called called = {.collective = collectives[c],
                                        .count = count,
                                        .dtype = (weft_dtype)dtype,
                                        .root = (uint32_t)dtype % weft_comm_rank_count(comm),
                                        .in_place = dtype % 2};
                run_one(comm, &called, WEFT_ALGORITHM_AUTO, send, recv, results);
            }
    free(send);
    free(recv);
}

static void every_collective_moves_every_type(void **state)
{
    (void)state;
    run_ranks((struct ranks_config){.rank_count = 3, .function = types_rank});
}

static void roots_rank(weft_comm *comm, uint32_t rank, void *argument, void *results)
{
    (void)rank, (void)argument;
    uint8_t *send = buffer_make(100), *recv = buffer_make(100);
    uint32_t ranks = weft_comm_rank_count(comm);
    for (size_t c = 0; c < sizeof collectives / sizeof collectives[0]; c++)
        for (int algorithm = 1; algorithm < WEFT_ALGORITHM_COUNT; algorithm++)
            for (uint32_t root = 0; root < ranks && exists(collectives[c], algorithm, ranks); root++) {
                struct called called = {
                    .collective = collectives[c], .count = 97, .dtype = WEFT_INT64, .root = root, .in_place = root % 2};
                run_one(comm, &called, (weft_algorithm)algorithm, send, recv, results);
            }
    free(send);
    free(recv);
}

/* Every plan that is used is proved first. */
static void every_root_serves_with_plans_that_are_verified(void **state)
{
    (void)state;
    run_ranks((struct ranks_config){.rank_count = 7, .function = roots_rank});
}

/* All collectives at once in one group, and one request for all. */
static void group_rank(weft_comm *comm, uint32_t rank, void *argument, void *results)
{
    (void)argument;
    enum { CALLS = 9 };
    struct verdicts *verdicts = results;
    struct called called[CALLS];
    uint8_t *buffers[CALLS][2];
    for (int waits = 0; waits < 3; waits++) {
        verdicts->wrong[rank] += weft_group_start(comm) != WEFT_OK;
        for (uint32_t c = 0; c < CALLS; c++) {
            called[c] = (struct called){.collective = collectives[c],
                                        .count = 1 + 700 * c,
                                        .room = 3 + 700 * c,
                                        .dtype = WEFT_FLOAT64,
                                        .rank = rank,
                                        .ranks = weft_comm_rank_count(comm),
                                        .root = c % weft_comm_rank_count(comm)};
            if (collectives[c] != WEFT_ALL_TO_ALLV) called[c].room = called[c].count;
            for (int b = 0; b < 2; b++) buffers[c][b] = buffer_make(called[c].room);
            called_fill(&called[c], buffers[c][0], buffers[c][1]);
            weft_status status = call_make(comm, &called[c], NULL, NULL);
            if (status != WEFT_OK) verdicts->status[rank] = status;
        }
        weft_request *request = NULL;
        weft_status status = weft_group_end(comm, waits ? &request : NULL);
        if (waits == 1) status = weft_wait(&request);
        if (waits == 2)
            while ((status = weft_test(&request)) == WEFT_IN_PROGRESS) continue;
        if (status != WEFT_OK) verdicts->status[rank] = status;
        verdicts->wrong[rank] += request != NULL;
        for (uint32_t c = 0; c < CALLS; c++) {
            verdicts->wrong[rank] += called_wrong(&called[c]);
            for (int b = 0; b < 2; b++) free(buffers[c][b]);
        }
    }
}

static void a_group_begins_together_and_completes_as_one(void **state)
{
    (void)state;
    for (uint32_t ranks = 1; ranks <= 4; ranks++)
        run_ranks((struct ranks_config){.rank_count = ranks, .progress_thread = ranks == 3, .function = group_rank});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_collective_is_right_at_every_size_and_place),
        cmocka_unit_test(every_collective_moves_every_type),
        cmocka_unit_test(every_root_serves_with_plans_that_are_verified),
        cmocka_unit_test(a_group_begins_together_and_completes_as_one),
    };
    setenv("WEFT_VERIFY", "1", 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
