/* SPDX-License-Identifier: Apache-2.0 */
/*
 * MPI's side of bench/peers: time one collective of float32 as weft-perf times weft's.
 *
 * usage: mpi_collective COLLECTIVE BEGIN_BYTES END_BYTES FACTOR ITERATIONS BATCH   under mpirun
 *
 * Prints lines `bytes time_us`, for all_reduce `bytes time_us in_place_us`; bench/scheme.h says how they are timed.
 * Bytes are weft-perf's: of the whole message, which for all_gather, reduce_scatter, gather, scatter and all_to_all is
 * rank_count blocks.
 */
#include <mpi.h>
#include <stdio.h>
#include <string.h>

#include "bench/scheme.h"

struct bench;
struct collective {
    const char *name;
    bool in_blocks; /* the message is rank_count equal blocks, and what is left over is left out */
    void (*call)(const struct bench *bench, int count);             /* count of floats: of a block, or of the message */
    bool (*right)(const struct bench *bench, int count, int index); /* is what was received there right? */
};

struct bench {
    int rank, rank_count;
    const struct collective *collective;
    struct scheme scheme;
    bool in_place;
    float *send, *recv;
    double *times_s;
};

/* What rank @p rank sends at @p index: small whole numbers, of which every order of adding gives the same float. */
static float sent(int rank, int index)
{
    return (float)(rank + index % 1000);
}

static float sum_at(const struct bench *bench, int index)
{
    return (float)(bench->rank_count * (bench->rank_count - 1) / 2 + bench->rank_count * (index % 1000));
}

static void all_reduce(const struct bench *bench, int count)
{
    MPI_Allreduce(bench->in_place ? MPI_IN_PLACE : bench->send, bench->recv, count, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
}

static bool all_reduce_right(const struct bench *bench, int count, int index)
{
    return index >= count || bench->recv[index] == sum_at(bench, index);
}

static void reduce(const struct bench *bench, int count)
{
    MPI_Reduce(bench->send, bench->recv, count, MPI_FLOAT, MPI_SUM, 0, MPI_COMM_WORLD);
}

static bool reduce_right(const struct bench *bench, int count, int index)
{
    return bench->rank != 0 || all_reduce_right(bench, count, index);
}

static void reduce_scatter(const struct bench *bench, int count)
{
    MPI_Reduce_scatter_block(bench->send, bench->recv, count, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
}

static bool reduce_scatter_right(const struct bench *bench, int count, int index)
{
    return index >= count || bench->recv[index] == sum_at(bench, bench->rank * count + index);
}

static void all_gather(const struct bench *bench, int count)
{
    MPI_Allgather(bench->send, count, MPI_FLOAT, bench->recv, count, MPI_FLOAT, MPI_COMM_WORLD);
}

static bool all_gather_right(const struct bench *bench, int count, int index)
{
    return bench->recv[index] == sent(index / count, index % count);
}

static void gather(const struct bench *bench, int count)
{
    MPI_Gather(bench->send, count, MPI_FLOAT, bench->recv, count, MPI_FLOAT, 0, MPI_COMM_WORLD);
}

static bool gather_right(const struct bench *bench, int count, int index)
{
    return bench->rank != 0 || all_gather_right(bench, count, index);
}

static void scatter(const struct bench *bench, int count)
{
    MPI_Scatter(bench->send, count, MPI_FLOAT, bench->recv, count, MPI_FLOAT, 0, MPI_COMM_WORLD);
}

static bool scatter_right(const struct bench *bench, int count, int index)
{
    return index >= count || bench->recv[index] == sent(0, bench->rank * count + index);
}

static void all_to_all(const struct bench *bench, int count)
{
    MPI_Alltoall(bench->send, count, MPI_FLOAT, bench->recv, count, MPI_FLOAT, MPI_COMM_WORLD);
}

static bool all_to_all_right(const struct bench *bench, int count, int index)
{
    return bench->recv[index] == sent(index / count, bench->rank * count + index % count);
}

/* MPI's broadcast has one buffer: the root's is the send buffer, as it would be for a caller that had the two. */
static void broadcast(const struct bench *bench, int count)
{
    MPI_Bcast(bench->rank == 0 ? bench->send : bench->recv, count, MPI_FLOAT, 0, MPI_COMM_WORLD);
}

static bool broadcast_right(const struct bench *bench, int count, int index)
{
    return bench->rank == 0 || index >= count || bench->recv[index] == sent(0, index);
}

static void barrier(const struct bench *bench, int count)
{
    (void)bench;
    (void)count;
    MPI_Barrier(MPI_COMM_WORLD);
}

static bool barrier_right(const struct bench *bench, int count, int index)
{
    (void)bench;
    (void)count;
    (void)index;
    return true;
}

static const struct collective collectives[] = {
    {"all_reduce", false, all_reduce, all_reduce_right},
    {"reduce", false, reduce, reduce_right},
    {"reduce_scatter", true, reduce_scatter, reduce_scatter_right},
    {"all_gather", true, all_gather, all_gather_right},
    {"gather", true, gather, gather_right},
    {"scatter", true, scatter, scatter_right},
    {"all_to_all", true, all_to_all, all_to_all_right},
    {"broadcast", false, broadcast, broadcast_right},
    {"barrier", false, barrier, barrier_right},
};

static void fail(const struct bench *bench, const char *what)
{
    fprintf(stderr, "mpi_collective: rank %d: %s\n", bench->rank, what);
    MPI_Abort(MPI_COMM_WORLD, 1);
}

static bool arguments_read(struct bench *bench, int argc, char **argv)
{
    if (argc != 7) return false;
    for (size_t i = 0; i < sizeof collectives / sizeof *collectives; i++)
        if (!strcmp(argv[1], collectives[i].name)) bench->collective = &collectives[i];
    return bench->collective && scheme_read(&bench->scheme, argv + 2) &&
           bench->scheme.end_bytes / sizeof(float) <= INT32_MAX;
}

static void buffers_create(struct bench *bench)
{
    size_t bytes = bench->scheme.end_bytes + sizeof(float), count = bytes / sizeof(float);
    bench->send = malloc(bytes);
    bench->recv = malloc(bytes);
    bench->times_s = scheme_times(&bench->scheme);
    if (!bench->send || !bench->recv || !bench->times_s) fail(bench, "no memory");
    for (size_t i = 0; i < count; i++) {
        bench->send[i] = sent(bench->rank, (int)i);
        bench->recv[i] = -1;
    }
}

static void buffers_destroy(struct bench *bench)
{
    free(bench->send);
    free(bench->recv);
    free(bench->times_s);
}

/* The floats that a call is told of for a message of @p bytes. */
static int call_count(const struct bench *bench, uint64_t bytes)
{
    uint64_t count = bytes / sizeof(float);
    return (int)(bench->collective->in_blocks ? count / (uint64_t)bench->rank_count : count);
}

static double iteration_time(const struct bench *bench, int count)
{
    MPI_Barrier(MPI_COMM_WORLD);
    double begin_s = MPI_Wtime();
    for (uint64_t i = 0; i < bench->scheme.batch; i++) bench->collective->call(bench, count);
    return (MPI_Wtime() - begin_s) / (double)bench->scheme.batch;
}

static void result_check(const struct bench *bench, int count)
{
    int all = bench->collective->in_blocks ? count * bench->rank_count : count;
    for (int i = 0; i < all; i++)
        if (!bench->collective->right(bench, count, i)) fail(bench, "wrong result");
}

static uint64_t warm_up(const struct bench *bench, uint64_t bytes)
{
    uint64_t iterations = scheme_warmup(bytes);
    double begin_s = MPI_Wtime();
    for (uint64_t i = 0; i < iterations; i++) iteration_time(bench, call_count(bench, bytes));
    double each_s = (MPI_Wtime() - begin_s) / (double)iterations, slowest_s;
    MPI_Allreduce(&each_s, &slowest_s, 1, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
    return scheme_iterations(&bench->scheme, slowest_s);
}

/* The figure, on rank 0. */
static double size_time(const struct bench *bench, uint64_t bytes)
{
    double *times_s = bench->times_s;
    int count = call_count(bench, bytes);
    uint64_t iterations = warm_up(bench, bytes);
    for (uint64_t i = 0; i < iterations; i++) times_s[i] = iteration_time(bench, count);
    MPI_Allreduce(MPI_IN_PLACE, times_s, (int)iterations, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
    return scheme_median(times_s, iterations);
}

static void size_measure(struct bench *bench, uint64_t bytes)
{
    double out_of_place_s = size_time(bench, bytes), in_place_s = 0;
    result_check(bench, call_count(bench, bytes));
    if (bench->collective->call == all_reduce) { /* what it sums grows out of float32, which costs no time */
        bench->in_place = true;
        in_place_s = size_time(bench, bytes);
        bench->in_place = false;
    }
    if (bench->rank != 0) return;
    printf("%llu %.3f", (unsigned long long)bytes, out_of_place_s * 1e6);
    if (in_place_s > 0) printf(" %.3f", in_place_s * 1e6);
    printf("\n");
    fflush(stdout);
}

int main(int argc, char **argv)
{
    struct bench bench = {0};
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &bench.rank);
    MPI_Comm_size(MPI_COMM_WORLD, &bench.rank_count);
    if (!arguments_read(&bench, argc, argv)) fail(&bench, "expected COLLECTIVE " SCHEME_ARGUMENTS);
    buffers_create(&bench);
    const struct scheme *scheme = &bench.scheme;
    for (uint64_t bytes = scheme->begin_bytes; bytes <= scheme->end_bytes; bytes = scheme_next_bytes(scheme, bytes))
        size_measure(&bench, bytes);
    buffers_destroy(&bench);
    MPI_Finalize();
    return 0;
}
