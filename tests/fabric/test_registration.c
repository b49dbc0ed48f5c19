/* SPDX-License-Identifier: Apache-2.0 */
/* The registration cache over a backend that counts. */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "fabric/memory/registration.h"

#define PAGE 4096u
#if defined(__SANITIZE_THREAD__)
#define CHILD_MAY_START_THREADS 0
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define CHILD_MAY_START_THREADS 0
#endif
#endif
#ifndef CHILD_MAY_START_THREADS
#define CHILD_MAY_START_THREADS 1
#endif

/* ---- The backend: a handle is the number that stands at the start of the memory when it is registered ---- */

static struct {
    pthread_mutex_t lock;
    unsigned made, unmade;
    size_t room; /* registrations at a time before WEFT_RESOURCE_LIMIT; 0: any number */
    void *unmap; /* pages that the next unmake() unmaps */
} backend = {.lock = PTHREAD_MUTEX_INITIALIZER};

static weft_status backend_make(void *context, void *address, size_t bytes, void **handle,
                                struct diagnostic *diagnostic)
{
    (void)context, (void)bytes;
    pthread_mutex_lock(&backend.lock);
    const bool full = backend.room && backend.made - backend.unmade >= backend.room;
    backend.made += !full;
    pthread_mutex_unlock(&backend.lock);
    if (full) return diagnose(diagnostic, WEFT_RESOURCE_LIMIT, "full");
    *handle = (void *)*(volatile uintptr_t *)address;
    return WEFT_OK;
}

static void backend_unmake(void *context, void *handle)
{
    (void)context, (void)handle;
    pthread_mutex_lock(&backend.lock);
    backend.unmade++;
    void *unmap = backend.unmap;
    backend.unmap = NULL;
    pthread_mutex_unlock(&backend.lock);
    if (unmap) munmap(unmap, PAGE);
}

static struct registration_cache *cache;

static int setup_with(uint32_t max_count, size_t max_bytes)
{
    const struct registration_config config = {
        .backend = {.make = backend_make, .unmake = backend_unmake},
        .max_count = max_count,
        .max_bytes = max_bytes,
        .transparent = true,
    };
    backend.made = backend.unmade = 0;
    backend.room = 0;
    return registration_cache_create(&config, &cache) != WEFT_OK;
}

static int setup(void **state)
{
    (void)state;
    return setup_with(8, 1024 * PAGE);
}

static int teardown(void **state)
{
    (void)state;
    registration_cache_destroy(cache);
    cache = NULL;
    return backend.made != backend.unmade;
}

static void need_watching(void)
{
    if (!registration_cache_obstacle(cache)) return;
    print_message("%s\n", registration_cache_obstacle(cache));
    skip();
}

static uint8_t *map_at(void *address, size_t pages, uintptr_t number)
{
    uint8_t *mapped = mmap(address, pages * PAGE, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | (address ? MAP_FIXED : 0), -1, 0);
    assert_ptr_not_equal(mapped, MAP_FAILED);
    for (size_t page = 0; page < pages; page++) *(uintptr_t *)(void *)(mapped + page * PAGE) = number;
    return mapped;
}

static weft_status acquire(const void *address, size_t bytes, struct registration **registration)
{
    return registration_cache_acquire(cache, address, bytes, registration, NULL);
}

static struct registration *acquired(const void *address, size_t bytes)
{
    struct registration *registration = NULL;
    assert_int_equal(acquire(address, bytes, &registration), WEFT_OK);
    return registration;
}

static void touch(const void *address, size_t bytes)
{
    registration_cache_release(cache, acquired(address, bytes));
}

/* ---- Lookup ---- */

static void a_buffer_is_registered_once(void **state)
{
    (void)state;
    need_watching();
    uint8_t *memory = map_at(NULL, 4, 7);
    struct registration *registration = acquired(memory, 3 * PAGE);
    assert_int_equal((uintptr_t)registration->handle, 7);
    registration_cache_release(cache, registration);
    for (size_t offset = 0; offset < 2 * PAGE; offset += 100) touch(memory + offset, PAGE);
    assert_int_equal(backend.made, 1);
    touch(memory + 3 * PAGE - 1, 1); /* the whole last page was registered */
    assert_int_equal(backend.made, 1);
    struct registration_statistics statistics;
    registration_cache_statistics(cache, &statistics);
    assert_int_equal(statistics.count, 1);
    assert_int_equal(statistics.bytes, 3 * PAGE);
    assert_int_equal(statistics.misses, 1);
    munmap(memory, 4 * PAGE);
}

static void overlapping_and_adjacent_ranges_are_told_apart(void **state)
{
    (void)state;
    need_watching();
    uint8_t *memory = map_at(NULL, 8, 1);
    touch(memory, 2 * PAGE);
    touch(memory + 2 * PAGE, 2 * PAGE); /* adjacent */
    assert_int_equal(backend.made, 2);
    touch(memory + PAGE, 2 * PAGE); /* half in each: in neither */
    assert_int_equal(backend.made, 3);
    touch(memory, 8 * PAGE);
    assert_int_equal(backend.made, 4);
    touch(memory + 3 * PAGE, 5 * PAGE);
    touch(memory, 1);
    assert_int_equal(backend.made, 4);
    munmap(memory + 7 * PAGE, PAGE); /* ends the largest alone */
    touch(memory + PAGE, 2 * PAGE);
    assert_int_equal(backend.made, 4);
    touch(memory + 4 * PAGE, PAGE);
    assert_int_equal(backend.made, 5);
    munmap(memory, 7 * PAGE);
}

static void find_gives_what_somebody_holds(void **state)
{
    (void)state;
    need_watching();
    uint8_t *memory = map_at(NULL, 2, 5);
    assert_null(registration_cache_find(cache, memory, 1));
    struct registration *registration = acquired(memory, 2 * PAGE);
    assert_ptr_equal(registration_cache_find(cache, memory + 9, PAGE), registration);
    assert_null(registration_cache_find(cache, memory + PAGE, PAGE + 1));
    registration_cache_release(cache, registration);
    assert_null(registration_cache_find(cache, memory, 1)); /* might be evicted any time */
    assert_null(registration_cache_find(cache, memory, SIZE_MAX));
    munmap(memory, 2 * PAGE);
}

/* ---- Memory that goes away ---- */

static void expect_forgotten(uint8_t *memory, uintptr_t number)
{
    const unsigned made = backend.made;
    struct registration *registration = acquired(memory, PAGE);
    assert_int_equal((uintptr_t)registration->handle, number);
    assert_int_equal(backend.made, made + 1);
    registration_cache_release(cache, registration);
}

static void unmapped_memory_is_forgotten(void **state)
{
    (void)state;
    need_watching();
    uint8_t *memory = map_at(NULL, 2, 1);
    touch(memory, PAGE);
    munmap(memory, 2 * PAGE);
    map_at(memory, 2, 2);
    expect_forgotten(memory, 2);
    map_at(memory, 2, 3); /* over it, without an unmap in between */
    expect_forgotten(memory, 3);
    assert_int_equal(backend.unmade, 2);
    munmap(memory, 2 * PAGE);
}

static void moved_memory_is_forgotten(void **state)
{
    (void)state;
    need_watching();
    uint8_t *memory = map_at(NULL, 1, 1), *elsewhere = map_at(NULL, 1, 9);
    touch(memory, PAGE);
    assert_ptr_equal(mremap(memory, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, elsewhere), elsewhere);
    map_at(memory, 1, 2);
    expect_forgotten(memory, 2);
    expect_forgotten(elsewhere, 1);
    munmap(memory, PAGE);
    munmap(elsewhere, PAGE);
}

static void dropped_pages_are_forgotten(void **state)
{
    (void)state;
    need_watching();
    uint8_t *memory = map_at(NULL, 1, 1);
    touch(memory, PAGE);
    assert_int_equal(madvise(memory, PAGE, MADV_DONTNEED), 0);
    expect_forgotten(memory, 0);
    munmap(memory, PAGE);
}

static void shared_memory_is_watched_too(void **state)
{
    (void)state;
    need_watching();
    const int descriptor = memfd_create("test", MFD_CLOEXEC);
    assert_int_equal(ftruncate(descriptor, PAGE), 0);
    uint8_t *memory = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    struct registration *registration;
    const weft_status status = acquire(memory, PAGE, &registration);
    if (status == WEFT_OK) { /* Linux 5.19 and later */
        registration_cache_release(cache, registration);
        munmap(memory, PAGE);
        map_at(memory, 1, 6);
        expect_forgotten(memory, 6);
    } else {
        assert_int_equal(status, WEFT_UNSUPPORTED);
    }
    munmap(memory, PAGE);
    close(descriptor);
}

static void what_cannot_be_watched_is_not_cached(void **state)
{
    (void)state;
    need_watching();
    struct registration *registration;
    struct registration_statistics statistics;
    FILE *file = tmpfile();
    assert_int_equal(ftruncate(fileno(file), PAGE), 0);
    uint8_t *memory = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fileno(file), 0);
    assert_ptr_not_equal(memory, MAP_FAILED);
    const weft_status status = acquire(memory, PAGE, &registration);
    if (status == WEFT_OK) { /* a file in memory: of the watchable kinds */
        registration_cache_release(cache, registration);
    } else {
        assert_int_equal(status, WEFT_UNSUPPORTED);
        registration_cache_statistics(cache, &statistics);
        assert_int_equal(statistics.refusals, 1);
        assert_int_equal(statistics.count, 0);
    }
    assert_int_equal(acquire((void *)PAGE, PAGE, &registration), WEFT_UNSUPPORTED); /* nothing is mapped there */
    munmap(memory, PAGE);
    fclose(file);
}

static void what_is_held_stays_registered_until_released(void **state)
{
    (void)state;
    need_watching();
    uint8_t *memory = map_at(NULL, 1, 1);
    struct registration *held = acquired(memory, PAGE);
    munmap(memory, PAGE);
    assert_null(registration_cache_find(cache, memory, PAGE));
    assert_int_equal(backend.unmade, 0);
    map_at(memory, 1, 2);
    expect_forgotten(memory, 2);
    assert_int_equal(backend.unmade, 0);
    registration_cache_release(cache, held);
    assert_int_equal(backend.unmade, 1);
    munmap(memory, PAGE);
}

static void a_backend_may_unmap_watched_memory(void **state)
{
    (void)state;
    need_watching();
    uint8_t *memory = map_at(NULL, 1, 1), *nodes = map_at(NULL, 1, 2), *other = map_at(NULL, 1, 3);
    touch(nodes, PAGE);
    touch(memory, PAGE);
    backend.unmap = nodes;
    munmap(memory, PAGE);
    touch(other, PAGE); /* deregisters, and so unmaps, and so waits for the watching thread */
    assert_null(backend.unmap);
    munmap(other, PAGE);
}

/* ---- Bounds ---- */

static void the_least_recently_used_idle_one_makes_room(void **state)
{
    (void)state;
    need_watching();
    registration_cache_destroy(cache);
    assert_int_equal(setup_with(3, 4 * PAGE), 0);
    uint8_t *memory = map_at(NULL, 16, 1);
    touch(memory, PAGE);
    touch(memory + 4 * PAGE, PAGE);
    struct registration *held = acquired(memory + 8 * PAGE, PAGE);
    touch(memory, PAGE);             /* now 4 is the oldest */
    touch(memory + 12 * PAGE, PAGE); /* by count: instead of 4 */
    touch(memory, PAGE);
    assert_int_equal(backend.made, 4);
    touch(memory + 4 * PAGE,
          3 * PAGE); /* by bytes: both idle ones have to go, and the held one leaves no room beyond */
    assert_int_equal(backend.made, 5);
    assert_int_equal(backend.unmade, 3);
    struct registration *none;
    assert_int_equal(acquire(memory, 4 * PAGE, &none), WEFT_RESOURCE_LIMIT);
    assert_int_equal(acquire(memory, 5 * PAGE, &none), WEFT_RESOURCE_LIMIT);
    assert_ptr_equal(registration_cache_find(cache, memory + 8 * PAGE, PAGE), held);
    registration_cache_release(cache, held);
    touch(memory, 4 * PAGE);
    munmap(memory, 16 * PAGE);
}

static void a_backend_without_room_gets_some(void **state)
{
    (void)state;
    need_watching();
    backend.room = 2;
    uint8_t *memory = map_at(NULL, 8, 1);
    touch(memory, PAGE);
    touch(memory + 2 * PAGE, PAGE);
    struct registration *held = acquired(memory + 4 * PAGE, PAGE), *none;
    struct registration *other = acquired(memory + 6 * PAGE, PAGE);
    assert_int_equal(acquire(memory, PAGE, &none), WEFT_RESOURCE_LIMIT);
    registration_cache_release(cache, held);
    registration_cache_release(cache, other);
    touch(memory, PAGE);
    munmap(memory, 8 * PAGE);
}

/* ---- What the program adds ---- */

static void what_was_added_stays_until_removed(void **state)
{
    (void)state;
    registration_cache_destroy(cache);
    assert_int_equal(setup_with(2, 8 * PAGE), 0);
    uint8_t *memory = map_at(NULL, 8, 4);
    struct registration *added, *none;
    assert_int_equal(registration_cache_add(cache, memory, 100, &added, NULL), WEFT_OK);
    assert_ptr_equal(registration_cache_find(cache, memory + 50, 50), added);
    assert_null(registration_cache_find(cache, memory + 50, 51)); /* exactly these bytes */
    if (!registration_cache_obstacle(cache))
        for (size_t page = 1; page < 8; page++) touch(memory + page * PAGE, 1);
    struct registration *held = acquired(memory, 100);
    assert_ptr_equal(held, added);
    assert_int_equal(registration_cache_remove(cache, added), WEFT_INVALID_STATE);
    registration_cache_release(cache, held);
    assert_int_equal(registration_cache_remove(cache, added), WEFT_OK);
    assert_null(registration_cache_find(cache, memory, 100));
    assert_int_equal(registration_cache_add(cache, memory, 9 * PAGE, &none, NULL), WEFT_RESOURCE_LIMIT);
    assert_int_equal(registration_cache_add(cache, memory, 0, &none, NULL), WEFT_INVALID_ARGUMENT);
    assert_int_equal(registration_cache_add(cache, memory, SIZE_MAX, &none, NULL), WEFT_INVALID_ARGUMENT);
    assert_int_equal(registration_cache_add(cache, memory, PAGE, &added, NULL), WEFT_OK); /* left to destroy */
    munmap(memory, 8 * PAGE);
}

static uint32_t thread_count(void)
{
    char line[128];
    unsigned threads = 0;
    FILE *file = fopen("/proc/self/status", "re");
    while (file && fgets(line, sizeof line, file)) (void)sscanf(line, "Threads: %u", &threads);
    if (file) fclose(file);
    return threads;
}

static void switched_off_there_is_no_thread_and_nothing_is_cached(void **state)
{
    (void)state;
    const struct registration_config config = {
        .backend = {.make = backend_make, .unmake = backend_unmake}, .max_count = 4, .max_bytes = 64 * PAGE};
    struct registration *registration;
    uint8_t *memory = map_at(NULL, 1, 3);
    registration_cache_destroy(cache);
    const uint32_t threads = thread_count();
    assert_int_equal(registration_cache_create(&config, &cache), WEFT_OK);
    assert_true(thread_count() <= threads); /* one that has ended may still be counted before */
    assert_non_null(registration_cache_obstacle(cache));
    assert_int_equal(acquire(memory, PAGE, &registration), WEFT_UNSUPPORTED);
    assert_int_equal(registration_cache_add(cache, memory, PAGE, &registration, NULL), WEFT_OK);
    assert_ptr_equal(acquired(memory, PAGE), registration);
    registration_cache_release(cache, registration);
    munmap(memory, PAGE);
}

/* ---- Where userfaultfd is not permitted ---- */

static void without_userfaultfd_only_added_memory_is_found(void **state)
{
    (void)state;
    fflush(NULL);
    registration_cache_destroy(cache);
    cache = NULL;
    const pid_t child = fork();
    if (child == 0) {
        struct sock_filter code[] = {
            BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
            BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_userfaultfd, 0, 1),
            BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
            BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        };
        struct sock_fprog program = {sizeof code / sizeof *code, code};
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
            _exit(77);
        struct registration *registration;
        uint8_t *memory = map_at(NULL, 1, 3);
        if (setup_with(8, 64 * PAGE) != 0 || !registration_cache_obstacle(cache)) _exit(1);
        if (!strstr(registration_cache_obstacle(cache), "Operation not permitted")) _exit(2);
        if (acquire(memory, PAGE, &registration) != WEFT_UNSUPPORTED) _exit(3);
        if (registration_cache_add(cache, memory, PAGE, &registration, NULL) != WEFT_OK) _exit(4);
        if (registration_cache_find(cache, memory, PAGE) != registration) _exit(5);
        registration_cache_destroy(cache);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77) skip();
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* ---- Fork ---- */

static void a_child_finds_nothing_and_does_not_hold_up_its_parent(void **state)
{
    (void)state;
    need_watching();
    uint8_t *memory = map_at(NULL, 1, 1);
    struct registration *held = acquired(memory, PAGE);
    int to_child[2];
    assert_int_equal(pipe(to_child), 0);
    fflush(NULL);
    const pid_t child = fork();
    if (child == 0) {
        struct registration *registration;
        char byte;
        if (registration_cache_find(cache, memory, PAGE)) _exit(1);
        if (acquire(memory, PAGE, &registration) != WEFT_INVALID_STATE) _exit(2);
        if (registration_cache_add(cache, memory, PAGE, &registration, NULL) != WEFT_INVALID_STATE) _exit(3);
        munmap(memory, PAGE); /* nobody is told */
#if CHILD_MAY_START_THREADS   /* the thread sanitizer ends it otherwise */
        uint8_t *own = map_at(NULL, 1, 5);
        if (setup(NULL) != 0 || acquire(own, PAGE, &registration) != WEFT_OK) _exit(4); /* one of its own */
        registration_cache_release(cache, registration);
        registration_cache_destroy(cache);
#endif
        _exit(read(to_child[0], &byte, 1) == 1 ? 0 : 5);
    }
    registration_cache_release(cache, held);
    registration_cache_destroy(cache); /* the child lives, and must not keep the memory watched */
    munmap(memory, PAGE);
    assert_int_equal(write(to_child[1], "x", 1), 1);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    close(to_child[0]);
    close(to_child[1]);
    assert_int_equal(setup(NULL), 0);
}

/* ---- Threads ---- */

#define THREADS 3
#define ROUNDS 300

/* Each maps, registers and unmaps at one address of its own again and again: no registration outlives its memory. */
static void *remap_often(void *argument)
{
    uint8_t *address = argument;
    for (uintptr_t round = 1; round <= ROUNDS; round++) {
        struct registration *registration;
        uintptr_t *memory = mmap(address, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
        *memory = round;
        const weft_status status = acquire(memory, PAGE, &registration);
        if (status == WEFT_OK) {
            const bool stale = (uintptr_t)registration->handle != round;
            registration_cache_release(cache, registration);
            if (stale) return argument;
        } else if (status != WEFT_RESOURCE_LIMIT && status != WEFT_AGAIN) {
            return argument;
        }
        munmap(memory, PAGE);
        if (registration_cache_find(cache, memory, PAGE)) return argument;
    }
    return NULL;
}

static void no_thread_finds_what_is_no_longer_there(void **state)
{
    (void)state;
    need_watching();
    pthread_t threads[THREADS];
    uint8_t *memory = map_at(NULL, 2 * THREADS, 0);
    for (size_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, remap_often, memory + 2 * i * PAGE), 0);
    for (size_t i = 0; i < THREADS; i++) {
        void *stale;
        assert_int_equal(pthread_join(threads[i], &stale), 0);
        assert_null(stale);
    }
    munmap(memory, 2 * THREADS * PAGE);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_buffer_is_registered_once),
        TEST(overlapping_and_adjacent_ranges_are_told_apart),
        TEST(find_gives_what_somebody_holds),
        TEST(unmapped_memory_is_forgotten),
        TEST(moved_memory_is_forgotten),
        TEST(dropped_pages_are_forgotten),
        TEST(shared_memory_is_watched_too),
        TEST(what_cannot_be_watched_is_not_cached),
        TEST(what_is_held_stays_registered_until_released),
        TEST(a_backend_may_unmap_watched_memory),
        TEST(the_least_recently_used_idle_one_makes_room),
        TEST(a_backend_without_room_gets_some),
        TEST(what_was_added_stays_until_removed),
        TEST(switched_off_there_is_no_thread_and_nothing_is_cached),
        TEST(without_userfaultfd_only_added_memory_is_found),
        TEST(a_child_finds_nothing_and_does_not_hold_up_its_parent),
        TEST(no_thread_finds_what_is_no_longer_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
