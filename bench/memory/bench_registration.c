/* SPDX-License-Identifier: Apache-2.0 */
/* What the registration cache itself costs, over a backend that does nothing. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "base/clock.h"
#include "base/random.h"
#include "fabric/memory/registration.h"

#define PAGE 4096u
#define ROUNDS 401
#define LOOKUPS 1000u

static struct registration_cache *cache;

static void die(const char *what)
{
    fprintf(stderr, "bench_registration: %s\n", what);
    exit(1);
}

static weft_status backend_make(void *context, void *address, size_t bytes, void **handle,
                                struct diagnostic *diagnostic)
{
    (void)context, (void)bytes, (void)diagnostic;
    *handle = address;
    return WEFT_OK;
}

static void backend_unmake(void *context, void *handle)
{
    (void)context, (void)handle;
}

static void cache_open(uint32_t max_count)
{
    const struct registration_config config = {
        .backend = {.make = backend_make, .unmake = backend_unmake},
        .max_count = max_count,
        .max_bytes = SIZE_MAX,
        .transparent = true,
    };
    if (registration_cache_create(&config, &cache)) die("no memory");
    if (registration_cache_obstacle(cache)) die(registration_cache_obstacle(cache));
}

static uint8_t *pages(size_t count)
{
    uint8_t *memory = mmap(NULL, count * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) die("no memory");
    return memory;
}

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values)
{
    qsort(values, ROUNDS, sizeof *values, compare);
    return values[ROUNDS / 2];
}

/* Lookups at random among @p count registrations with a page between each two. */
static void lookups(uint32_t count)
{
    struct random random;
    double find_ns[ROUNDS], acquire_ns[ROUNDS];
    struct registration *held, *registration;
    uint8_t *memory = pages(2u * count), *at[LOOKUPS];
    cache_open(count);
    for (uint32_t i = 0; i < count; i++) {
        if (registration_cache_acquire(cache, memory + 2 * i * PAGE, PAGE, &held, NULL)) die("cannot register");
    }
    random_seed(&random, 1);
    for (uint32_t i = 0; i < LOOKUPS; i++) at[i] = memory + 2 * random_below(&random, count) * PAGE + 100;
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t begin_ns = clock_now_ns();
        for (uint32_t i = 0; i < LOOKUPS; i++)
            if (!registration_cache_find(cache, at[i], 1000)) die("not found");
        find_ns[round] = (double)(clock_now_ns() - begin_ns) / LOOKUPS;
        begin_ns = clock_now_ns();
        for (uint32_t i = 0; i < LOOKUPS; i++) {
            if (registration_cache_acquire(cache, at[i], 1000, &registration, NULL)) die("not found");
            registration_cache_release(cache, registration);
        }
        acquire_ns[round] = (double)(clock_now_ns() - begin_ns) / LOOKUPS;
    }
    printf("among %4u: find %.1f ns, acquire and release %.1f ns\n", count, median(find_ns), median(acquire_ns));
    for (uint32_t i = 0; i < count; i++)
        registration_cache_release(cache, registration_cache_find(cache, memory + 2 * i * PAGE, 1));
    registration_cache_destroy(cache);
    munmap(memory, 2u * count * PAGE);
}

static void misses(void)
{
    double miss_ns[ROUNDS], watched_ns[ROUNDS], plain_ns[ROUNDS];
    cache_open(64);
    for (int round = 0; round < ROUNDS; round++) {
        struct registration *registration;
        uint8_t *plain = pages(1), *watched = pages(1);
        *plain = *watched = 1;
        uint64_t begin_ns = clock_now_ns();
        if (registration_cache_acquire(cache, watched, PAGE, &registration, NULL)) die("cannot register");
        miss_ns[round] = (double)(clock_now_ns() - begin_ns);
        registration_cache_release(cache, registration);
        begin_ns = clock_now_ns();
        munmap(plain, PAGE);
        plain_ns[round] = (double)(clock_now_ns() - begin_ns);
        begin_ns = clock_now_ns();
        munmap(watched, PAGE);
        watched_ns[round] = (double)(clock_now_ns() - begin_ns);
    }
    printf("a miss: %.0f ns; munmap(): %.0f ns, of watched memory %.0f ns\n", median(miss_ns), median(plain_ns),
           median(watched_ns));
    registration_cache_destroy(cache);
}

int main(void)
{
    lookups(1);
    lookups(64);
    lookups(1024);
    misses();
    return 0;
}
