/* SPDX-License-Identifier: Apache-2.0 */
/* Ranks that call different things: every one of them gets an error that names two who disagree, and what each called.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/collectives/comm_ranks.h"

/* One rank's call; the odd rank makes the second, the others the first. */
struct called {
    weft_collective collective;
    uint64_t count;
    weft_dtype dtype;
    weft_op op;
    uint32_t root;
    weft_algorithm algorithm;
};

struct mismatch_case {
    struct called usual, odd;
    uint32_t odd_rank;
    uint32_t good_before; /* collectives that agree first */
    bool one_way;         /* some ranks only send */
};

struct mismatch_results {
    weft_status status[16], later[16];
    weft_failure failure[16];
};

static weft_status call_it(weft_comm *comm, const struct called *called, void *send, void *recv)
{
    const weft_call call = {.size = sizeof call, .algorithm = called->algorithm};
    switch (called->collective) {
    case WEFT_ALL_REDUCE:
        return weft_all_reduce(comm, send, recv, called->count, called->dtype, called->op, &call, NULL);
    case WEFT_BROADCAST:
        return weft_broadcast(comm, send, recv, called->count, called->dtype, called->root, &call, NULL);
    case WEFT_ALL_GATHER:
        return weft_all_gather(comm, send, recv, called->count, called->dtype, &call, NULL);
    case WEFT_REDUCE_SCATTER:
        return weft_reduce_scatter(comm, send, recv, called->count, called->dtype, called->op, &call, NULL);
    case WEFT_REDUCE:
        return weft_reduce(comm, send, recv, called->count, called->dtype, called->op, called->root, &call, NULL);
    case WEFT_GATHER:
        return weft_gather(comm, send, recv, called->count, called->dtype, called->root, &call, NULL);
    case WEFT_SCATTER:
        return weft_scatter(comm, send, recv, called->count, called->dtype, called->root, &call, NULL);
    case WEFT_ALL_TO_ALL:
        return weft_all_to_all(comm, send, recv, called->count, called->dtype, &call, NULL);
    default:
        return weft_barrier(comm, &call, NULL);
    }
}

static void mismatch_rank(weft_comm *comm, uint32_t rank, void *argument, void *results)
{
    const struct mismatch_case *mismatch = argument;
    struct mismatch_results *out = results;
    void *send = calloc(1, 16 << 20), *recv = calloc(1, 16 << 20);
    for (uint32_t i = 0; i < mismatch->good_before; i++)
        weft_all_reduce(comm, send, recv, 100, WEFT_FLOAT32, WEFT_SUM, NULL, NULL);
    out->status[rank] = call_it(comm, rank == mismatch->odd_rank ? &mismatch->odd : &mismatch->usual, send, recv);
    /* Whoever has a cell of everybody is through, though others have found the mismatch; once, as they have stopped. */
    for (int i = 0; i < (mismatch->one_way ? 2 : 1) && out->later[rank] == WEFT_OK; i++)
        out->later[rank] = weft_barrier(comm, NULL, NULL);
    out->failure[rank].size = sizeof out->failure[rank];
    weft_comm_failure(comm, &out->failure[rank]);
    free(send);
    free(recv);
}

/* @p one_way: ranks that have all they need may complete; but the communicator has failed all the same. */
static void run_mismatch(uint32_t rank_count, struct called usual, struct called odd, bool one_way)
{
    for (uint32_t odd_rank = 0; odd_rank < rank_count; odd_rank++) {
        struct mismatch_case mismatch = {usual, odd, odd_rank, odd_rank % 3, one_way};
        struct mismatch_results results;
        memset(&results, 0, sizeof results);
        const struct ranks_config config = {.rank_count = rank_count, .function = mismatch_rank, .argument = &mismatch};
        ranks_as_threads(&config, &results);
        for (uint32_t rank = 0; rank < rank_count; rank++) {
            const weft_failure *failure = &results.failure[rank];
            if (!one_way) assert_int_equal(results.status[rank], WEFT_MISMATCH);
            assert_int_equal(results.later[rank], WEFT_MISMATCH);
            assert_int_equal(failure->status, WEFT_MISMATCH);
            bool names_odd = failure->rank == (int32_t)odd_rank || failure->other_rank == (int32_t)odd_rank;
            assert_true(names_odd);
            assert_int_not_equal(failure->rank, failure->other_rank);
            assert_string_not_equal(failure->operation, "");
            assert_string_not_equal(failure->other_operation, "");
            assert_string_not_equal(failure->operation, failure->other_operation);
        }
    }
}

static const struct called reduce_small = {WEFT_ALL_REDUCE, 1000, WEFT_FLOAT32, WEFT_SUM, 0, 0};

static void a_different_count_is_named(void **state)
{
    (void)state;
    struct called odd = reduce_small;
    odd.count = 1001;
    for (uint32_t ranks = 2; ranks <= 5; ranks++) run_mismatch(ranks, reduce_small, odd, false);
    odd.count = 0;
    run_mismatch(3, reduce_small, odd, false);
}

static void counts_that_select_different_plans_are_named(void **state)
{
    (void)state;
    struct called small = reduce_small, large = reduce_small;
    small.count = 1;
    large.count = 4 << 20;
    for (uint32_t ranks = 2; ranks <= 5; ranks++) run_mismatch(ranks, small, large, false);
    small.algorithm = WEFT_ALGORITHM_TREE;
    large.algorithm = WEFT_ALGORITHM_RING;
    for (uint32_t ranks = 2; ranks <= 5; ranks++) run_mismatch(ranks, small, large, false);
}

static void a_different_dtype_is_named(void **state)
{
    (void)state;
    struct called odd = reduce_small;
    odd.dtype = WEFT_INT32; /* of the same size */
    run_mismatch(2, reduce_small, odd, false);
    odd.dtype = WEFT_FLOAT64;
    run_mismatch(4, reduce_small, odd, false);
}

static void a_different_op_is_named(void **state)
{
    (void)state;
    struct called odd = reduce_small;
    odd.op = WEFT_MAX;
    run_mismatch(2, reduce_small, odd, false);
    run_mismatch(5, reduce_small, odd, false);
}

static void a_different_collective_is_named(void **state)
{
    (void)state;
    struct called odd = {WEFT_BARRIER, 0, 0, 0, 0, 0};
    run_mismatch(2, reduce_small, odd, false);
    run_mismatch(4, reduce_small, odd, false);
    struct called broadcast = {WEFT_BROADCAST, 1000, WEFT_FLOAT32, 0, 0, 0};
    run_mismatch(2, reduce_small, broadcast, true);
    run_mismatch(4, broadcast, odd, true);
}

static void a_different_root_is_named(void **state)
{
    (void)state;
    struct called usual = {WEFT_BROADCAST, 1000, WEFT_FLOAT32, 0, 0, 0};
    struct called odd = usual;
    odd.root = 1;
    for (uint32_t ranks = 2; ranks <= 5; ranks++) run_mismatch(ranks, usual, odd, true);
    usual.count = odd.count = 1 << 20;
    run_mismatch(3, usual, odd, true);
}

static void every_collective_is_compared(void **state)
{
    (void)state;
    static const weft_collective all[] = {WEFT_ALL_GATHER, WEFT_REDUCE_SCATTER, WEFT_REDUCE,
                                          WEFT_GATHER,     WEFT_SCATTER,        WEFT_ALL_TO_ALL};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        struct called usual = {all[i], 1000, WEFT_FLOAT32, WEFT_SUM, 0, 0}, odd = usual;
        bool rooted = all[i] == WEFT_REDUCE || all[i] == WEFT_GATHER || all[i] == WEFT_SCATTER;
        odd.count = 999;
        run_mismatch(2, usual, odd, rooted);
        odd = usual;
        odd.collective = all[(i + 1) % 6];
        run_mismatch(3, usual, odd, true);
        odd = usual;
        odd.root = 1;
        if (rooted) run_mismatch(3, usual, odd, true);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_different_count_is_named),
        cmocka_unit_test(counts_that_select_different_plans_are_named),
        cmocka_unit_test(a_different_dtype_is_named),
        cmocka_unit_test(a_different_op_is_named),
        cmocka_unit_test(a_different_collective_is_named),
        cmocka_unit_test(a_different_root_is_named),
        cmocka_unit_test(every_collective_is_compared),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
