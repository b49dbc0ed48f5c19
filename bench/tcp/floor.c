/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the kernel allows: two processes on two cores that move the bytes of a collective over loopback, by hand, in
 * several ways, which take turns. Results are checked.
 *
 * usage: bench_tcp_floor [-t TURNS] [-b BYTES]
 *
 * A call begins with a barrier in shared memory, and ends when a process has what it was to get and the kernel what it
 * was to send; the slower process counts. Sources are written anew before each call, as a caller's are: else the
 * receiver would find them in its own caches where they are sent by reference.
 *
 * A host may run its virtual processors on threads of one core at one moment and on cores of their own at the next. So
 * each turn is told to be `near` or `far` by the time that a cache line takes from one process to the other before and
 * after it, and those in between are left out.
 */
#include "bench/tcp/floor.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench/scheme.h"

enum { RANKS = 2, WAYS_MOST = 8, TURNS_MOST = 512, CALLS_MOST = 256, LARGEST_BYTES = 16 << 20 };
/* One way, seconds: threads of one core take some 0.1 us, cores some 0.3. */
static const double near_s = 0.24e-6;

enum game { SUM, SWAP, ONE_WAY, GAME_COUNT };
static const char *const game_names[GAME_COUNT] = {"sum", "swap", "one way"};

struct shared {
    struct {
        _Alignas(64) _Atomic uint64_t arrivals; /* written by its owner with release, awaited with acquire */
    } ranks[RANKS];
    double times_s[RANKS][WAYS_MOST][TURNS_MOST];
    bool is_near[WAYS_MOST][TURNS_MOST], is_clear[WAYS_MOST][TURNS_MOST], absent[RANKS][WAYS_MOST];
};

struct side {
    int rank;
    uint64_t barriers, calls;
    struct shared *shared;
    struct lane lanes[WAYS_MOST];
    float *source, *target;
};

void die(const char *what)
{
    fprintf(stderr, "bench_tcp_floor: %s: %s\n", what, strerror(errno));
    exit(1);
}

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static void barrier(struct side *side)
{
    atomic_store_explicit(&side->shared->ranks[side->rank].arrivals, ++side->barriers, memory_order_release);
    while (atomic_load_explicit(&side->shared->ranks[!side->rank].arrivals, memory_order_acquire) < side->barriers)
        continue;
}

/* Of a cache line, one way: the best of some. */
static double line_s(struct side *side)
{
    enum { TRIPS = 200, TRIES = 3 };
    double best_s = 1;
    for (int try = 0; try < TRIES; try++) {
        barrier(side);
        const double begin_s = now_s();
        for (int i = 0; i < TRIPS; i++) barrier(side);
        const double taken_s = (now_s() - begin_s) / TRIPS;
        if (taken_s < best_s) best_s = taken_s;
    }
    return best_s;
}

/* Small whole numbers, other ones in every call. */
static float sent(const struct side *side, int rank, size_t index)
{
    return (float)((uint64_t)rank + side->calls % 100 + index % 1000);
}

static void result_check(const struct side *side, enum game game, size_t bytes)
{
    if (game == ONE_WAY && side->rank == 0) return;
    for (size_t i = 0; i < bytes / sizeof(float); i++) {
        const float own = game == SUM ? sent(side, side->rank, i) : 0;
        if (side->target[i] == sent(side, !side->rank, i) + own) continue;
        errno = 0;
        die("wrong result");
    }
}

static double call(struct side *side, struct lane *lane, enum game game, size_t bytes)
{
    const struct job job = {
        .source = (const uint8_t *)side->source,
        .target = (uint8_t *)side->target,
        .out_bytes = game == ONE_WAY && side->rank == 1 ? 0 : bytes,
        .in_bytes = game == ONE_WAY && side->rank == 0 ? 0 : bytes,
        .adds = game == SUM,
    };
    side->calls++;
    for (size_t i = 0; i < bytes / sizeof(float); i++) side->source[i] = sent(side, side->rank, i);
    barrier(side);
    const double begin_s = now_s();
    lane_run(lane, &job);
    const double taken_s = now_s() - begin_s;
    barrier(side); /* nobody's source is written before everybody has read */
    return taken_s;
}

static void turn_play(struct side *side, size_t way, uint32_t turn, enum game game, size_t bytes)
{
    const uint64_t count = bytes < 64 << 10 ? 200 : bytes < 1 << 20 ? 20 : 4;
    double times_s[CALLS_MOST];
    const double before_s = line_s(side);
    (void)call(side, &side->lanes[way], game, bytes);
    for (uint64_t i = 0; i < count; i++) times_s[i] = call(side, &side->lanes[way], game, bytes);
    const double after_s = line_s(side);
    result_check(side, game, bytes);
    side->shared->times_s[side->rank][way][turn] = scheme_median(times_s, count);
    if (side->rank == 0) {
        side->shared->is_near[way][turn] = before_s < near_s;
        side->shared->is_clear[way][turn] = (before_s < near_s) == (after_s < near_s);
    }
    barrier(side);
}

static double turn_s(const struct shared *shared, size_t way, uint32_t turn)
{
    const double first_s = shared->times_s[0][way][turn], second_s = shared->times_s[1][way][turn];
    return first_s > second_s ? first_s : second_s;
}

/* The median over the turns of that kind; 0: there were none. */
static double way_s(const struct shared *shared, size_t way, uint32_t turns, bool is_near)
{
    double times_s[TURNS_MOST];
    uint32_t count = 0;
    for (uint32_t turn = 0; turn < turns; turn++)
        if (shared->is_clear[way][turn] && shared->is_near[way][turn] == is_near)
            times_s[count++] = turn_s(shared, way, turn);
    return count ? scheme_median(times_s, count) : 0;
}

static void column_print(const struct shared *shared, size_t way, uint32_t turns, bool is_near)
{
    const double whole_s = way_s(shared, 0, turns, is_near), taken_s = way_s(shared, way, turns, is_near);
    if (taken_s > 0 && whole_s > 0)
        printf(" %12.1f %6.2f", taken_s * 1e6, whole_s / taken_s);
    else
        printf(" %12s %6s", "-", "-");
}

static void game_play(struct side *side, enum game game, size_t bytes, uint32_t turns)
{
    const struct shared *shared = side->shared;
    for (uint32_t turn = 0; turn < turns; turn++) {
        for (size_t i = 0; i < way_count; i++) {
            const size_t way = (i + turn) % way_count; /* nobody is anybody's successor for ever */
            if (!shared->absent[0][way] && !shared->absent[1][way]) turn_play(side, way, turn, game, bytes);
        }
    }
    for (size_t way = 0; side->rank == 0 && way < way_count; way++) {
        if (shared->absent[0][way] || shared->absent[1][way]) continue;
        printf("%-8s %9zu %-9s", game_names[game], bytes, ways[way].name);
        column_print(shared, way, turns, true);
        column_print(shared, way, turns, false);
        printf("\n");
    }
}

static void connect_pair(const struct way *way, int fds[RANKS])
{
    static const char algorithm[] = "reno";
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    for (int i = 0; i < RANKS && !way->paced; i++)
        if (setsockopt(i ? listener : fds[0], IPPROTO_TCP, TCP_CONGESTION, algorithm, sizeof algorithm - 1) < 0)
            die(algorithm);
    if (bind(listener, (struct sockaddr *)&address, size) < 0 || listen(listener, 1) < 0 ||
        getsockname(listener, (struct sockaddr *)&address, &size) < 0 ||
        connect(fds[0], (struct sockaddr *)&address, size) < 0)
        die("connect");
    fds[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    close(listener);
    for (int i = 0; i < RANKS; i++) (void)setsockopt(fds[i], IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
}

static void *memory(size_t bytes)
{
    void *made = aligned_alloc(4096, bytes);
    if (!made) die("memory");
    memset(made, 0, bytes);
    return made;
}

static void side_play(struct side *side, size_t only_bytes, uint32_t turns)
{
    static const size_t sizes[] = {8, 32 << 10, 512 << 10, 4 << 20};
    cpu_set_t core;
    CPU_ZERO(&core);
    CPU_SET(side->rank, &core);
    (void)sched_setaffinity(0, sizeof core, &core);
    side->source = memory(LARGEST_BYTES);
    side->target = memory(LARGEST_BYTES);
    for (size_t way = 0; way < way_count; way++) {
        struct lane *lane = &side->lanes[way];
        lane->staging = memory(STAGING_BYTES);
        side->shared->absent[side->rank][way] = !lane_open(lane);
        if (side->shared->absent[side->rank][way] && side->rank == 0)
            fprintf(stderr, "bench_tcp_floor: no %s: %s\n", ways[way].name, strerror(errno));
    }
    barrier(side);
    if (side->rank == 0)
        printf("%-8s %9s %-9s %12s %6s %12s %6s\n", "game", "bytes", "way", "near us", "ratio", "far us", "ratio");
    for (int game = 0; game < GAME_COUNT; game++) {
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
            if (!only_bytes || only_bytes == sizes[i]) game_play(side, (enum game)game, sizes[i], turns);
    }
    fflush(stdout);
}

/* The other process waits without end for one that failed. */
static void child_ended(int number)
{
    int status;
    (void)number;
    if (waitpid(-1, &status, WNOHANG) > 0 && status != 0) _exit(1);
}

int main(int argc, char **argv)
{
    static struct side sides[RANKS] = {{.rank = 0}, {.rank = 1}};
    size_t only_bytes = 0;
    uint32_t turns = 24;
    int option;

    while ((option = getopt(argc, argv, "t:b:")) != -1) {
        if (option == 't') turns = (uint32_t)strtoul(optarg, NULL, 10);
        if (option == 'b') only_bytes = strtoul(optarg, NULL, 10);
        if (option == '?' || turns == 0 || turns > TURNS_MOST) {
            fprintf(stderr, "usage: bench_tcp_floor [-t TURNS, up to %d] [-b BYTES: 8, 32768, 524288, 4194304]\n",
                    TURNS_MOST);
            return 2;
        }
    }
    struct shared *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) die("mmap");
    sides[0].shared = sides[1].shared = shared;
    for (size_t way = 0; way < way_count; way++) {
        int fds[RANKS];
        connect_pair(&ways[way], fds);
        for (int rank = 0; rank < RANKS; rank++)
            sides[rank].lanes[way] = (struct lane){.way = &ways[way], .fd = fds[rank]};
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    (void)signal(SIGCHLD, child_ended);
    const pid_t child = fork();
    if (child < 0) die("fork");
    if (child == 0) (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    side_play(&sides[child == 0], only_bytes, turns);
    return 0;
}
