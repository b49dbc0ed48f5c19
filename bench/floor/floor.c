/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What this machine allows: a float32 sum all-reduce of two processes on two cores, written by hand, with nothing
 * around it. Its time is the floor under that of any library that keeps the buffers where the caller put them.
 *
 * usage: floor [--cells-to BYTES] [--stream-from BYTES] [--stream-in-place-from BYTES]
 *              BEGIN_BYTES END_BYTES FACTOR ITERATIONS BATCH
 *
 * Both processes map all four buffers. Two ways, whichever is the faster for the size:
 *   cells   (up to --cells-to)  each copies its input into a cell of its own, its first line together with a sequence
 *           number, waits for the other's number, and adds everything. One exchange of a cache line. A cell is used
 *           every other call: who has seen number k + 1 knows that the other has done with its cell of call k.
 *   halves  (above)  "my input is there"; each adds its half of both inputs and stores it to both outputs; "my half is
 *           written". From --stream-from on (in place from --stream-in-place-from on, where stores go to lines that
 * were just read) the stores bypass the caches, and the loads are fetched ahead. Where that begins to pay was measured
 * on 32 MiB of last-level cache, together with the marks of collectives/exec/loan.c. Prints lines `bytes time_us
 * in_place_us`, timed as bench/scheme.h says. Results are checked. Two cores are needed.
 */
#include <errno.h>
#include <immintrin.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench/scheme.h"

enum { RANKS = 2, LINE_BYTES = 64, LINE_FLOATS = LINE_BYTES / sizeof(float) };
enum { CELL_BYTES = 64 << 10, FIRST_BYTES = LINE_BYTES - sizeof(uint64_t) };
#define HUGE_PAGE_BYTES ((size_t)2 << 20)

struct cell {
    _Alignas(LINE_BYTES) uint8_t first[FIRST_BYTES]; /* beside the number: a small message is one line */
    _Atomic uint64_t number;                         /* of the call; cell_fill() releases, flag_await() acquires */
    uint8_t rest[CELL_BYTES];
};

/* Numbers only grow: nothing is ever set back. Each is written by its owner with release, and awaited with acquire. */
struct flags {
    _Alignas(LINE_BYTES) _Atomic uint64_t barrier;
    _Alignas(LINE_BYTES) _Atomic uint64_t present; /* my input is there */
    _Alignas(LINE_BYTES) _Atomic uint64_t written; /* my half is in both outputs */
    _Alignas(LINE_BYTES) double slowest_s;         /* handed over by two barriers */
};

struct shared {
    struct flags flags[RANKS];
    struct cell cells[RANKS][2];
};

/* target = left + right, whole cache lines of floats. */
typedef void add_lines(float *first_target, float *second_target, const float *left, const float *right, size_t count);

struct floor {
    struct scheme scheme;
    uint64_t cells_to_bytes, stream_from_bytes, stream_in_place_from_bytes;
    int rank;
    uint64_t barriers, calls, cell_calls;
    struct shared *shared;
    float *send[RANKS], *recv[RANKS]; /* in place both are the outputs */
    float *kept[RANKS];               /* the inputs */
    double *times_s[RANKS];           /* shared too */
    add_lines *add, *add_streaming;
};

static void add_portable(float *first, float *second, const float *left, const float *right, size_t count)
{
    for (size_t i = 0; i < count; i++) first[i] = second[i] = left[i] + right[i];
}

/* How far ahead of its loads a loop that bypasses the caches fetches: the processor begins anew with every page. */
enum { AHEAD_FLOATS = 512 / sizeof(float) };

#define ADD_LINES(name, isa, vector, load, add, store, floats, ahead)                                                  \
    __attribute__((target(isa))) static void name(float *first, float *second, const float *left, const float *right,  \
                                                  size_t count)                                                        \
    {                                                                                                                  \
        for (size_t i = 0; i < count; i += (floats)) {                                                                 \
            if (ahead) __builtin_prefetch(left + i + AHEAD_FLOATS);                                                    \
            if (ahead) __builtin_prefetch(right + i + AHEAD_FLOATS);                                                   \
            vector sum = add(load(left + i), load(right + i));                                                         \
            store(first + i, sum);                                                                                     \
            store(second + i, sum);                                                                                    \
        }                                                                                                              \
    }
ADD_LINES(add_avx2, "avx2", __m256, _mm256_load_ps, _mm256_add_ps, _mm256_store_ps, 8, false)
ADD_LINES(add_avx2_streaming, "avx2", __m256, _mm256_load_ps, _mm256_add_ps, _mm256_stream_ps, 8, true)
ADD_LINES(add_avx512, "avx512f", __m512, _mm512_load_ps, _mm512_add_ps, _mm512_store_ps, 16, false)
ADD_LINES(add_avx512_streaming, "avx512f", __m512, _mm512_load_ps, _mm512_add_ps, _mm512_stream_ps, 16, true)

static void kernels_choose(struct floor *floor)
{
    bool wide = __builtin_cpu_supports("avx512f"), some = __builtin_cpu_supports("avx2");
    floor->add = wide ? add_avx512 : some ? add_avx2 : add_portable;
    floor->add_streaming = wide ? add_avx512_streaming : some ? add_avx2_streaming : add_portable;
}

static void fail(const char *what)
{
    fprintf(stderr, "floor: %s\n", what);
    _exit(1);
}

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void flag_await(const _Atomic uint64_t *flag, uint64_t number)
{
    while (atomic_load_explicit(flag, memory_order_acquire) < number) _mm_pause();
}

static void barrier(struct floor *floor)
{
    atomic_store_explicit(&floor->shared->flags[floor->rank].barrier, ++floor->barriers, memory_order_release);
    flag_await(&floor->shared->flags[!floor->rank].barrier, floor->barriers);
}

static void cell_fill(struct cell *cell, const void *message, uint64_t bytes, uint64_t number)
{
    const uint8_t *from = message;
    uint64_t first = bytes < FIRST_BYTES ? bytes : FIRST_BYTES;
    if (bytes == sizeof(uint64_t)) /* one store */
        memcpy(cell->first, from, sizeof(uint64_t));
    else
        memcpy(cell->first, from, first);
    if (bytes > first) memcpy(cell->rest, from + first, bytes - first);
    atomic_store_explicit(&cell->number, number, memory_order_release);
}

static void floats_add(float *sum, const void *left, const float *right, uint64_t count)
{
    const float *values = left;
    for (uint64_t i = 0; i < count; i++) sum[i] = values[i] + right[i];
}

static void all_reduce_cells(struct floor *floor, uint64_t bytes)
{
    uint64_t number = ++floor->cell_calls, first = bytes < FIRST_BYTES ? bytes : FIRST_BYTES;
    const float *mine = floor->send[floor->rank];
    float *sum = floor->recv[floor->rank];
    struct cell *theirs = &floor->shared->cells[!floor->rank][number % 2];
    cell_fill(&floor->shared->cells[floor->rank][number % 2], mine, bytes, number);
    flag_await(&theirs->number, number);
    floats_add(sum, theirs->first, mine, first / sizeof(float));
    if (bytes > first)
        floats_add(sum + first / sizeof(float), theirs->rest, mine + first / sizeof(float),
                   (bytes - first) / sizeof(float));
}

static void all_reduce_halves(struct floor *floor, uint64_t bytes)
{
    struct flags *mine = &floor->shared->flags[floor->rank], *theirs = &floor->shared->flags[!floor->rank];
    bool in_place = floor->send[0] == floor->recv[0];
    bool streaming = bytes >= (in_place ? floor->stream_in_place_from_bytes : floor->stream_from_bytes);
    size_t lines = (bytes + LINE_BYTES - 1) / LINE_BYTES, half = lines / 2;
    size_t begin = floor->rank ? half * LINE_FLOATS : 0, count = (floor->rank ? lines - half : half) * LINE_FLOATS;
    uint64_t number = ++floor->calls;
    atomic_store_explicit(&mine->present, number, memory_order_release);
    flag_await(&theirs->present, number);
    (streaming ? floor->add_streaming : floor->add)(floor->recv[0] + begin, floor->recv[1] + begin,
                                                    floor->send[0] + begin, floor->send[1] + begin, count);
    if (streaming) _mm_sfence(); /* streaming stores are in no order with the flag's */
    atomic_store_explicit(&mine->written, number, memory_order_release);
    flag_await(&theirs->written, number);
}

static void all_reduce(struct floor *floor, uint64_t bytes)
{
    if (bytes <= floor->cells_to_bytes)
        all_reduce_cells(floor, bytes);
    else
        all_reduce_halves(floor, bytes);
}

static double iteration_time(struct floor *floor, uint64_t bytes)
{
    barrier(floor);
    double begin_s = now_s();
    for (uint64_t i = 0; i < floor->scheme.batch; i++) all_reduce(floor, bytes);
    return (now_s() - begin_s) / (double)floor->scheme.batch;
}

static uint64_t warm_up(struct floor *floor, uint64_t bytes)
{
    struct flags *flags = floor->shared->flags;
    uint64_t iterations = scheme_warmup(bytes);
    double begin_s = now_s();
    for (uint64_t i = 0; i < iterations; i++) iteration_time(floor, bytes);
    flags[floor->rank].slowest_s = (now_s() - begin_s) / (double)iterations;
    barrier(floor);
    double slowest_s = flags[0].slowest_s > flags[1].slowest_s ? flags[0].slowest_s : flags[1].slowest_s;
    barrier(floor);
    return scheme_iterations(&floor->scheme, slowest_s);
}

/* Small whole numbers, of which every sum is exact. */
static float sent(int rank, uint64_t index)
{
    return (float)(rank + (int)(index % 1000));
}

static void result_check(const struct floor *floor, uint64_t bytes)
{
    for (uint64_t i = 0; i < bytes / sizeof(float); i++)
        if (floor->recv[floor->rank][i] != sent(0, i) + sent(1, i)) fail("wrong result");
}

/* The median, for rank 0. */
static double way_measure(struct floor *floor, uint64_t bytes)
{
    uint64_t iterations = warm_up(floor, bytes);
    for (uint64_t i = 0; i < iterations; i++) floor->times_s[floor->rank][i] = iteration_time(floor, bytes);
    barrier(floor);
    double *slowest_s = floor->times_s[0], median_s = 0;
    if (floor->rank == 0) {
        for (uint64_t i = 0; i < iterations; i++)
            if (floor->times_s[1][i] > slowest_s[i]) slowest_s[i] = floor->times_s[1][i];
        median_s = scheme_median(slowest_s, iterations);
    }
    barrier(floor);
    return median_s;
}

static void size_measure(struct floor *floor, uint64_t bytes)
{
    for (int rank = 0; rank < RANKS; rank++) floor->send[rank] = floor->kept[rank];
    double median_s = way_measure(floor, bytes);
    result_check(floor, bytes);
    /* In place: sums of sums, which nobody looks at; zeros, so that they stay numbers. */
    for (int rank = 0; rank < RANKS; rank++) floor->send[rank] = floor->recv[rank];
    memset(floor->recv[floor->rank], 0, bytes);
    barrier(floor);
    double in_place_s = way_measure(floor, bytes);
    if (floor->rank != 0) return;
    printf("%llu %.3f %.3f\n", (unsigned long long)bytes, median_s * 1e6, in_place_s * 1e6);
    fflush(stdout);
}

/* Shared with the child, on huge pages as far as weft_mem_alloc()'s would be. */
static void *shared_new(size_t bytes)
{
    size_t rounded = (bytes + HUGE_PAGE_BYTES - 1) / HUGE_PAGE_BYTES * HUGE_PAGE_BYTES;
    bool large = bytes >= HUGE_PAGE_BYTES;
    int flags = MAP_SHARED | MAP_ANONYMOUS;
    void *memory = large ? mmap(NULL, rounded, PROT_READ | PROT_WRITE, flags | MAP_HUGETLB, -1, 0) : MAP_FAILED;
    if (memory == MAP_FAILED) memory = mmap(NULL, rounded, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (memory == MAP_FAILED) fail("no memory");
    if (large) (void)madvise(memory, rounded, MADV_HUGEPAGE);
    return memory;
}

static void floor_prepare(struct floor *floor)
{
    const struct scheme *scheme = &floor->scheme;
    uint64_t iterations = scheme->iterations ? scheme->iterations : SCHEME_ITERATIONS_MOST;
    floor->shared = shared_new(sizeof *floor->shared);
    for (int rank = 0; rank < RANKS; rank++) {
        floor->kept[rank] = floor->send[rank] = shared_new(scheme->end_bytes + LINE_BYTES);
        floor->recv[rank] = shared_new(scheme->end_bytes + LINE_BYTES);
        floor->times_s[rank] = shared_new(iterations * sizeof(double));
    }
    kernels_choose(floor);
}

/* The first two processors of those that this process may use, one for each. */
static bool rank_bind(int rank)
{
    cpu_set_t allowed, one;
    CPU_ZERO(&one);
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return false;
    for (int cpu = 0, found = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &allowed) && found++ == rank) {
            CPU_SET(cpu, &one);
            return sched_setaffinity(0, sizeof one, &one) == 0;
        }
    return false;
}

static void rank_run(struct floor *floor, int rank)
{
    floor->rank = rank;
    if (!rank_bind(rank)) fail("two processors are needed");
    for (uint64_t i = 0; i < floor->scheme.end_bytes / sizeof(float); i++) {
        floor->send[rank][i] = sent(rank, i);
        floor->recv[rank][i] = -1;
    }
    barrier(floor);
    const struct scheme *scheme = &floor->scheme;
    for (uint64_t bytes = scheme->begin_bytes; bytes <= scheme->end_bytes; bytes = scheme_next_bytes(scheme, bytes))
        size_measure(floor, bytes);
}

static bool arguments_read(struct floor *floor, char **argv)
{
    *floor =
        (struct floor){.cells_to_bytes = 256, .stream_from_bytes = 2 << 20, .stream_in_place_from_bytes = 96 << 20};
    for (argv++; argv[0] && argv[0][0] == '-' && argv[1]; argv += 2) {
        uint64_t *field = !strcmp(argv[0], "--cells-to")               ? &floor->cells_to_bytes
                          : !strcmp(argv[0], "--stream-from")          ? &floor->stream_from_bytes
                          : !strcmp(argv[0], "--stream-in-place-from") ? &floor->stream_in_place_from_bytes
                                                                       : NULL;
        if (!field) return false;
        *field = strtoull(argv[1], NULL, 10);
    }
    return scheme_read(&floor->scheme, argv) && floor->scheme.begin_bytes >= sizeof(float) &&
           floor->cells_to_bytes <= CELL_BYTES;
}

int main(int argc, char **argv)
{
    struct floor floor;
    int status = 0;
    (void)argc;
    if (!arguments_read(&floor, argv)) {
        fprintf(stderr,
                "usage: floor [--cells-to BYTES] [--stream-from BYTES] [--stream-in-place-from BYTES] " SCHEME_ARGUMENTS
                "\n");
        return 2;
    }
    if (sysconf(_SC_NPROCESSORS_ONLN) < RANKS) fail("two processors are needed");
    floor_prepare(&floor);
    pid_t parent = getpid(), child = fork();
    if (child < 0) fail(strerror(errno));
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* else it would wait for ever */
        if (getppid() != parent) _exit(1);
        rank_run(&floor, 1);
        _exit(0);
    }
    rank_run(&floor, 0);
    return waitpid(child, &status, 0) == child && status == 0 ? 0 : 1;
}
