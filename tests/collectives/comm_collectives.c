/* SPDX-License-Identifier: Apache-2.0 */
/* Collectives through the public interface, ranks as threads over shared memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/collectives/comm_ranks.h"

/* A rank's verdict: cmocka's asserts are for the main thread alone. */
struct verdicts {
    uint64_t wrong[64];
    weft_status status[64];
    uint64_t hash[64];
};

struct reduce_case {
    uint64_t count;
    weft_algorithm algorithm;
    bool in_place;
    uint32_t repetitions;
};

static void reduce_rank(weft_comm *comm, uint32_t rank, void *argument, void *results)
{
    const struct reduce_case *reduce = argument;
    struct verdicts *verdicts = results;
    uint32_t n = weft_comm_rank_count(comm);
    float *send = malloc((reduce->count + 1) * sizeof *send), *recv = malloc((reduce->count + 1) * sizeof *recv);
    const weft_call call = {.size = sizeof call, .algorithm = reduce->algorithm};
    for (uint32_t repetition = 0; repetition < reduce->repetitions; repetition++) {
        float *input = reduce->in_place ? recv : send;
        memset(recv, 0xff, (reduce->count + 1) * sizeof *recv);
        for (uint64_t i = 0; i < reduce->count; i++) input[i] = (float)((rank + 1) * (i % 509) + repetition);
        recv[reduce->count] = 42;
        weft_status status = weft_all_reduce(comm, input, recv, reduce->count, WEFT_FLOAT32, WEFT_SUM, &call, NULL);
        if (status != WEFT_OK) verdicts->status[rank] = status;
        for (uint64_t i = 0; i < reduce->count; i++)
            verdicts->wrong[rank] += recv[i] != (float)(n * (n + 1) / 2 * (i % 509) + n * repetition);
        verdicts->wrong[rank] += recv[reduce->count] != 42;
    }
    free(send);
    free(recv);
}

static void check_all_good(const struct verdicts *verdicts, uint32_t rank_count)
{
    for (uint32_t rank = 0; rank < rank_count; rank++) {
        assert_int_equal(verdicts->status[rank], WEFT_OK);
        assert_int_equal(verdicts->wrong[rank], 0);
    }
}

static void run_reduce(uint32_t rank_count, struct reduce_case reduce, bool progress_thread)
{
    struct verdicts verdicts = {0};
    const struct ranks_config config = {
        .rank_count = rank_count, .progress_thread = progress_thread, .function = reduce_rank, .argument = &reduce};
    ranks_as_threads(&config, &verdicts);
    check_all_good(&verdicts, rank_count);
}

static void all_reduce_sums_at_every_size(void **state)
{
    (void)state;
    static const uint64_t counts[] = {0, 1, 7, 1000, 65537, 1 << 20};
    for (uint32_t ranks = 1; ranks <= 5; ranks++)
        for (int algorithm = WEFT_ALGORITHM_AUTO; algorithm <= WEFT_ALGORITHM_DIRECT; algorithm++)
            for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++)
                run_reduce(ranks, (struct reduce_case){counts[i], (weft_algorithm)algorithm, i % 2, 2}, false);
}

static void progress_threads_give_the_same_results(void **state)
{
    (void)state;
    for (uint32_t ranks = 1; ranks <= 4; ranks++)
        run_reduce(ranks, (struct reduce_case){100001, WEFT_ALGORITHM_AUTO, true, 5}, true);
}

static void many_ranks_share_few_cores(void **state)
{
    (void)state;
    run_reduce(16, (struct reduce_case){10000, WEFT_ALGORITHM_RING, false, 3}, false);
    run_reduce(33, (struct reduce_case){1000, WEFT_ALGORITHM_TREE, false, 2}, false);
}

static void broadcast_rank(weft_comm *comm, uint32_t rank, void *argument, void *results)
{
    uint64_t count = *(uint64_t *)argument;
    struct verdicts *verdicts = results;
    uint32_t n = weft_comm_rank_count(comm);
    int32_t *send = malloc((count + 1) * sizeof *send), *recv = malloc((count + 1) * sizeof *recv);
    for (uint32_t root = 0; root < n; root++)
        for (int algorithm = WEFT_ALGORITHM_RING; algorithm <= WEFT_ALGORITHM_TREE; algorithm++) {
            const weft_call call = {.size = sizeof call, .algorithm = (weft_algorithm)algorithm};
            memset(recv, 0, count * sizeof *recv);
            for (uint64_t i = 0; i < count; i++) send[i] = (int32_t)(i * 3 + root + 1);
            weft_status status =
                weft_broadcast(comm, rank == root ? send : NULL, recv, count, WEFT_INT32, root, &call, NULL);
            if (status != WEFT_OK) verdicts->status[rank] = status;
            for (uint64_t i = 0; i < count; i++) verdicts->wrong[rank] += recv[i] != (int32_t)(i * 3 + root + 1);
        }
    free(send);
    free(recv);
}

static void broadcast_copies_from_every_root(void **state)
{
    (void)state;
    for (uint32_t ranks = 1; ranks <= 5; ranks++)
        for (uint64_t count = 0; count <= 100000; count = count * 50 + 1) {
            struct verdicts verdicts = {0};
            const struct ranks_config config = {.rank_count = ranks, .function = broadcast_rank, .argument = &count};
            ranks_as_threads(&config, &verdicts);
            check_all_good(&verdicts, ranks);
        }
}

/* Each rank counts itself in before the barrier; after it, all must have been counted. */
static void barrier_rank(weft_comm *comm, uint32_t rank, void *argument, void *results)
{
    struct verdicts *verdicts = results;
    _Atomic uint32_t *arrived = argument;
    uint32_t n = weft_comm_rank_count(comm);
    for (uint32_t round = 1; round <= 50; round++) {
        const weft_call call = {.size = sizeof call,
                                .algorithm = round % 2 ? WEFT_ALGORITHM_RING : WEFT_ALGORITHM_TREE};
        __atomic_fetch_add((uint32_t *)arrived, 1, __ATOMIC_SEQ_CST);
        weft_status status = weft_barrier(comm, &call, NULL);
        if (status != WEFT_OK) verdicts->status[rank] = status;
        verdicts->wrong[rank] += __atomic_load_n((uint32_t *)arrived, __ATOMIC_SEQ_CST) < round * n;
    }
}

static void no_rank_leaves_a_barrier_before_all_have_entered(void **state)
{
    (void)state;
    for (uint32_t ranks = 1; ranks <= 6; ranks++) {
        struct verdicts verdicts = {0};
        uint32_t arrived = 0;
        const struct ranks_config config = {.rank_count = ranks, .function = barrier_rank, .argument = &arrived};
        ranks_as_threads(&config, &verdicts);
        check_all_good(&verdicts, ranks);
    }
}

#define IN_FLIGHT 24u

static void requests_rank(weft_comm *comm, uint32_t rank, void *argument, void *results)
{
    (void)argument;
    struct verdicts *verdicts = results;
    uint32_t n = weft_comm_rank_count(comm);
    double *buffers[IN_FLIGHT];
    weft_request *requests[IN_FLIGHT];
    for (uint32_t r = 0; r < IN_FLIGHT; r++) {
        uint64_t count = 1 + r * 997;
        buffers[r] = malloc(count * sizeof(double));
        for (uint64_t i = 0; i < count; i++) buffers[r][i] = rank + r;
        weft_status status =
            weft_all_reduce(comm, buffers[r], buffers[r], count, WEFT_FLOAT64, WEFT_SUM, NULL, &requests[r]);
        if (status != WEFT_OK) verdicts->status[rank] = status;
    }
    for (uint32_t i = 0; i < IN_FLIGHT; i++) { /* not the order of posting */
        uint32_t r = (i * 7 + rank) % IN_FLIGHT;
        weft_status status;
        if (i % 2)
            status = weft_wait(&requests[r]);
        else
            while ((status = weft_test(&requests[r])) == WEFT_IN_PROGRESS) continue;
        if (status != WEFT_OK) verdicts->status[rank] = status;
        verdicts->wrong[rank] += requests[r] != NULL;
        verdicts->wrong[rank] += buffers[r][r * 997] != n * (n - 1) / 2.0 + n * r;
        free(buffers[r]);
    }
    weft_statistics statistics = {.size = sizeof statistics};
    weft_comm_statistics(comm, &statistics);
    verdicts->wrong[rank] += statistics.operations != IN_FLIGHT || statistics.busy_ns == 0;
}

static void requests_complete_in_any_order_of_waiting(void **state)
{
    (void)state;
    for (int threaded = 0; threaded < 2; threaded++)
        for (uint32_t ranks = 1; ranks <= 4; ranks++) {
            struct verdicts verdicts = {0};
            const struct ranks_config config = {
                .rank_count = ranks, .progress_thread = threaded, .function = requests_rank};
            ranks_as_threads(&config, &verdicts);
            check_all_good(&verdicts, ranks);
        }
}

static void refusals_rank(weft_comm *comm, uint32_t rank, void *argument, void *results)
{
    (void)argument;
    struct verdicts *verdicts = results;
    float buffer[64] = {0};
    const weft_call small = {.size = 1};
    const weft_call odd = {.size = sizeof odd, .algorithm = (weft_algorithm)99};
#define REFUSED(call) verdicts->wrong[rank] += (call) != WEFT_INVALID_ARGUMENT
    REFUSED(weft_all_reduce(NULL, buffer, buffer, 1, WEFT_FLOAT32, WEFT_SUM, NULL, NULL));
    REFUSED(weft_all_reduce(comm, buffer, buffer + 8, 16, WEFT_FLOAT32, WEFT_SUM, NULL, NULL)); /* overlap */
    REFUSED(weft_all_reduce(comm, NULL, buffer, 1, WEFT_FLOAT32, WEFT_SUM, NULL, NULL));
    REFUSED(weft_all_reduce(comm, buffer, NULL, 1, WEFT_FLOAT32, WEFT_SUM, NULL, NULL));
    REFUSED(weft_all_reduce(comm, buffer, buffer, 1, (weft_dtype)77, WEFT_SUM, NULL, NULL));
    REFUSED(weft_all_reduce(comm, buffer, buffer, 1, WEFT_FLOAT32, (weft_op)77, NULL, NULL));
    REFUSED(weft_all_reduce(comm, buffer, buffer, UINT64_MAX / 2, WEFT_FLOAT32, WEFT_SUM, NULL, NULL));
    REFUSED(weft_all_reduce(comm, buffer, buffer, 1, WEFT_FLOAT32, WEFT_SUM, &small, NULL));
    REFUSED(weft_all_reduce(comm, buffer, buffer, 1, WEFT_FLOAT32, WEFT_SUM, &odd, NULL));
    REFUSED(weft_broadcast(comm, buffer, buffer, 1, WEFT_FLOAT32, 99, NULL, NULL));
    REFUSED(weft_all_reduce(comm, (char *)buffer + 1, (char *)buffer + 1, 1, WEFT_FLOAT32, WEFT_SUM, NULL, NULL));
    weft_request *none = NULL;
    REFUSED(weft_wait(&none));
    REFUSED(weft_test(NULL));
    verdicts->status[rank] = weft_barrier(comm, NULL, NULL); /* and nothing of it had any effect */
}

static void bad_arguments_are_refused_without_effect(void **state)
{
    (void)state;
    struct verdicts verdicts = {0};
    const struct ranks_config config = {.rank_count = 2, .function = refusals_rank};
    ranks_as_threads(&config, &verdicts);
    check_all_good(&verdicts, 2);
}

static void hash_rank(weft_comm *comm, uint32_t rank, void *argument, void *results)
{
    (void)argument;
    struct verdicts *verdicts = results;
    enum { COUNT = 40000 };
    float *values = malloc(COUNT * sizeof *values);
    for (uint32_t i = 0; i < COUNT; i++) values[i] = 1.0f / (float)(i + rank * 7919 + 1);
    verdicts->status[rank] = weft_all_reduce(comm, values, values, COUNT, WEFT_FLOAT32, WEFT_SUM, NULL, NULL);
    uint64_t hash = 14695981039346656037u;
    for (uint32_t i = 0; i < COUNT * sizeof *values; i++) hash = (hash ^ ((uint8_t *)values)[i]) * 1099511628211u;
    verdicts->hash[rank] = hash;
    free(values);
}

static void results_are_bitwise_equal_on_all_ranks_and_from_run_to_run(void **state)
{
    (void)state;
    uint64_t first = 0;
    for (int run = 0; run < 5; run++) {
        struct verdicts verdicts = {0};
        const struct ranks_config config = {.rank_count = 4, .progress_thread = run % 2, .function = hash_rank};
        ranks_as_threads(&config, &verdicts);
        check_all_good(&verdicts, 4);
        if (run == 0) first = verdicts.hash[0];
        for (uint32_t rank = 0; rank < 4; rank++) assert_true(verdicts.hash[rank] == first);
    }
}

static void describe_rank(weft_comm *comm, uint32_t rank, void *argument, void *results)
{
    (void)argument;
    struct verdicts *verdicts = results;
    verdicts->status[rank] = weft_barrier(comm, NULL, NULL);
    char *text = NULL, *json = NULL;
    verdicts->wrong[rank] +=
        weft_comm_describe(comm, WEFT_TEXT, &text) != WEFT_OK || !strstr(text, weft_comm_transport(comm));
    verdicts->wrong[rank] += weft_comm_describe(comm, WEFT_JSON, &json) != WEFT_OK || !strstr(json, "\"plans\"");
    verdicts->wrong[rank] += weft_comm_algorithm(comm, WEFT_ALL_REDUCE, 1 << 20) == WEFT_ALGORITHM_AUTO;
    verdicts->wrong[rank] += weft_comm_algorithm(comm, WEFT_COLLECTIVE_COUNT, 8) != WEFT_ALGORITHM_AUTO;
    free(text);
    free(json);
}

static void a_communicator_describes_itself(void **state)
{
    (void)state;
    struct verdicts verdicts = {0};
    const struct ranks_config config = {.rank_count = 2, .function = describe_rank};
    ranks_as_threads(&config, &verdicts);
    check_all_good(&verdicts, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_reduce_sums_at_every_size),
        cmocka_unit_test(progress_threads_give_the_same_results),
        cmocka_unit_test(many_ranks_share_few_cores),
        cmocka_unit_test(broadcast_copies_from_every_root),
        cmocka_unit_test(no_rank_leaves_a_barrier_before_all_have_entered),
        cmocka_unit_test(requests_complete_in_any_order_of_waiting),
        cmocka_unit_test(bad_arguments_are_refused_without_effect),
        cmocka_unit_test(results_are_bitwise_equal_on_all_ranks_and_from_run_to_run),
        cmocka_unit_test(a_communicator_describes_itself),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
