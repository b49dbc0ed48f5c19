/* SPDX-License-Identifier: Apache-2.0 */
/*
 * MPI's side of bench/peers: time MPI_Allreduce of float32 sums, out of place, as weft-perf times weft's.
 *
 * usage: mpi_all_reduce BEGIN_BYTES END_BYTES FACTOR [ITERATIONS]      under mpirun; prints lines `bytes time_us`
 *
 * time_us is the median over iterations of the slowest rank's time for one call after a barrier. Warm-up, buffers and
 * the number of iterations where none is given are weft-perf's too: 10 calls below 1 MiB and else 2, ordinary pages,
 * and as many iterations as fit 0.15 s, but 5 to 2000.
 */
#include <mpi.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

enum { ITERATIONS_LEAST = 5, ITERATIONS_MOST = 2000, WARMUP_SMALL = 10, WARMUP_LARGE = 2, SMALL_BYTES = 1 << 20 };
static const double row_time_s = 0.15;

struct bench {
    int rank, rank_count;
    uint64_t begin_bytes, end_bytes, factor, iterations; /* iterations 0: as many as fit row_time_s */
    float *send, *recv;
    double *times_s;
};

static void fail(const struct bench *bench, const char *what)
{
    fprintf(stderr, "mpi_all_reduce: rank %d: %s\n", bench->rank, what);
    MPI_Abort(MPI_COMM_WORLD, 1);
}

static bool arguments_read(struct bench *bench, int argc, char **argv)
{
    uint64_t *const fields[] = {&bench->begin_bytes, &bench->end_bytes, &bench->factor, &bench->iterations};
    if (argc < 4 || argc > 5) return false;
    for (int i = 1; i < argc; i++) {
        char *end;
        *fields[i - 1] = strtoull(argv[i], &end, 10);
        if (end == argv[i] || *end) return false;
    }
    return bench->begin_bytes >= sizeof(float) && bench->begin_bytes <= bench->end_bytes && bench->factor > 1 &&
           bench->end_bytes / sizeof(float) <= INT32_MAX;
}

static void buffers_create(struct bench *bench)
{
    size_t count = bench->end_bytes / sizeof(float);
    bench->send = malloc(bench->end_bytes);
    bench->recv = malloc(bench->end_bytes);
    bench->times_s = calloc(bench->iterations ? bench->iterations : ITERATIONS_MOST, sizeof *bench->times_s);
    if (!bench->send || !bench->recv || !bench->times_s) fail(bench, "no memory");
    for (size_t i = 0; i < count; i++) {
        bench->send[i] = (float)(bench->rank + (int)(i % 1000));
        bench->recv[i] = -1;
    }
}

static void buffers_destroy(struct bench *bench)
{
    free(bench->send);
    free(bench->recv);
    free(bench->times_s);
}

static double call_timed(const struct bench *bench, uint64_t bytes)
{
    MPI_Barrier(MPI_COMM_WORLD);
    double begin_s = MPI_Wtime();
    MPI_Allreduce(bench->send, bench->recv, (int)(bytes / sizeof(float)), MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
    return MPI_Wtime() - begin_s;
}

/* Small whole numbers: every order of adding them gives the same float. */
static void result_check(const struct bench *bench, uint64_t bytes)
{
    int ranks_sum = bench->rank_count * (bench->rank_count - 1) / 2;
    for (size_t i = 0; i < bytes / sizeof(float); i++) {
        float expected = (float)(ranks_sum + bench->rank_count * (int)(i % 1000));
        if (bench->recv[i] != expected) fail(bench, "wrong result");
    }
}

/* All ranks must do the same number of calls, so it follows from the slowest rank's warm-up. */
static uint64_t warm_up(const struct bench *bench, uint64_t bytes)
{
    int calls = bytes < SMALL_BYTES ? WARMUP_SMALL : WARMUP_LARGE;
    double begin_s = MPI_Wtime();
    for (int i = 0; i < calls; i++) call_timed(bench, bytes);
    double each_s = (MPI_Wtime() - begin_s) / calls, slowest_s;
    MPI_Allreduce(&each_s, &slowest_s, 1, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
    if (bench->iterations) return bench->iterations;
    double fitting = row_time_s / slowest_s;
    if (fitting < ITERATIONS_LEAST) return ITERATIONS_LEAST;
    return fitting < ITERATIONS_MOST ? (uint64_t)fitting : ITERATIONS_MOST;
}

static int compare_times(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

static void size_measure(const struct bench *bench, uint64_t bytes)
{
    double *times_s = bench->times_s;
    uint64_t iterations = warm_up(bench, bytes);
    for (uint64_t i = 0; i < iterations; i++) times_s[i] = call_timed(bench, bytes);
    MPI_Allreduce(MPI_IN_PLACE, times_s, (int)iterations, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
    result_check(bench, bytes);
    if (bench->rank != 0) return;
    qsort(times_s, iterations, sizeof *times_s, compare_times);
    double median_s = (times_s[(iterations - 1) / 2] + times_s[iterations / 2]) / 2;
    printf("%llu %.3f\n", (unsigned long long)bytes, median_s * 1e6);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    struct bench bench = {0};
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &bench.rank);
    MPI_Comm_size(MPI_COMM_WORLD, &bench.rank_count);
    if (!arguments_read(&bench, argc, argv)) fail(&bench, "expected BEGIN_BYTES END_BYTES FACTOR [ITERATIONS]");
    buffers_create(&bench);
    for (uint64_t bytes = bench.begin_bytes; bytes <= bench.end_bytes; bytes *= bench.factor) {
        size_measure(&bench, bytes);
    }
    buffers_destroy(&bench);
    MPI_Finalize();
    return 0;
}
