/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/perf/ping.h"

#include <pthread.h>
#include <sched.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#if defined(__x86_64__)
#include <immintrin.h>
#define relax() _mm_pause()
#else
#define relax() sched_yield()
#endif

/* Batches are short, so that most of them are between two interruptions; the first ones bring the lines into place. */
enum { BATCHES = 15, EXCHANGES = 64 };

struct line {
    alignas(64) _Atomic uint32_t number; /* of the exchange; line_exchange() releases and acquires */
};

struct ping {
    struct line lines[2];
    _Atomic uint32_t unbound; /* threads that could not be bound; relaxed, read after they have been joined */
    int cpus[2];
    double batch_us[BATCHES]; /* the first thread's */
};

struct ping_thread {
    struct ping *ping;
    int side;
};

static double now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

static void line_exchange(struct ping *ping, int side, uint32_t number)
{
    /* Pairs with itself in the other thread. */
    atomic_store_explicit(&ping->lines[side].number, number, memory_order_release);
    while (atomic_load_explicit(&ping->lines[!side].number, memory_order_acquire) < number) relax();
}

static void *side_run(void *context)
{
    const struct ping_thread *thread = context;
    struct ping *ping = thread->ping;
    uint32_t number = 0;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(ping->cpus[thread->side], &one);
    if (sched_setaffinity(0, sizeof one, &one) != 0) atomic_fetch_add_explicit(&ping->unbound, 1, memory_order_relaxed);
    line_exchange(ping, thread->side, ++number); /* both have begun */
    for (int batch = 0; batch < BATCHES; batch++) {
        double begun_us = now_us();
        for (int i = 0; i < EXCHANGES; i++) line_exchange(ping, thread->side, ++number);
        if (thread->side == 0) ping->batch_us[batch] = (now_us() - begun_us) / EXCHANGES;
    }
    return NULL;
}

static int time_compare(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

double ping_between(int first_cpu, int second_cpu)
{
    struct ping ping = {.cpus = {first_cpu, second_cpu}};
    struct ping_thread sides[2] = {{&ping, 0}, {&ping, 1}};
    pthread_t threads[2];
    if (pthread_create(&threads[0], NULL, side_run, &sides[0]) != 0) return 0;
    if (pthread_create(&threads[1], NULL, side_run, &sides[1]) != 0) {
        side_run(&sides[1]); /* the first one waits for somebody */
        pthread_join(threads[0], NULL);
        return 0;
    }
    pthread_join(threads[0], NULL);
    pthread_join(threads[1], NULL);
    if (atomic_load_explicit(&ping.unbound, memory_order_relaxed) > 0) return 0;
    qsort(ping.batch_us, BATCHES, sizeof ping.batch_us[0], time_compare);
    return ping.batch_us[BATCHES / 2];
}

/* One that this process may use besides @p cpu, or -1. */
static int other_cpu(int cpu)
{
    cpu_set_t allowed;
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return -1;
    for (int i = 0; i < CPU_SETSIZE; i++)
        if (i != cpu && CPU_ISSET(i, &allowed)) return i;
    return -1;
}

weft_status ping_measure(weft_comm *comm, double *exchange_us)
{
    const uint32_t rank_count = weft_comm_rank_count(comm);
    const int32_t here = sched_getcpu();
    int32_t *cpus = calloc(rank_count, sizeof *cpus);
    if (!cpus) return WEFT_OUT_OF_MEMORY;
    weft_status status = weft_all_gather(comm, &here, cpus, 1, WEFT_INT32, NULL, NULL);
    *exchange_us = 0;
    if (!status && weft_comm_rank(comm) == 0) {
        int there = -1;
        for (uint32_t i = rank_count; i-- > 1;)
            if (cpus[i] != here) there = cpus[i];
        if (there < 0) there = other_cpu(here); /* ranks share processors, and all happen to be on one */
        if (here >= 0 && there >= 0) *exchange_us = ping_between(here, there);
    }
    free(cpus);
    return status ? status : weft_broadcast(comm, exchange_us, exchange_us, 1, WEFT_FLOAT64, 0, NULL, NULL);
}
