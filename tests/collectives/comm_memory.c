/* SPDX-License-Identifier: Apache-2.0 */
/* weft_mem_...: what is allocated and registered, and what is refused. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/collectives/comm_ranks.h"

#define COUNT 50000u /* floats: 200 kB, more than a slice */

/* ---- Operations on such memory ---- */

static void reduce_in(weft_comm *comm, uint32_t rank, float *send, float *recv, bool *right)
{
    for (uint32_t i = 0; i < COUNT; i++) send[i] = (float)(rank + 1);
    *right = weft_all_reduce(comm, send, recv, COUNT, WEFT_FLOAT32, WEFT_SUM, NULL, NULL) == WEFT_OK;
    for (uint32_t i = 0; i < COUNT; i++) *right &= recv[i] == 6.0f; /* 1 + 2 + 3 */
}

static void allocated_body(weft_comm *comm, uint32_t rank, void *argument, void *results)
{
    (void)argument;
    bool *right = (bool *)results + rank;
    void *send, *recv;
    if (weft_mem_alloc(comm, COUNT * sizeof(float), WEFT_MEMORY_SHARED, &send) != WEFT_OK) return;
    if (weft_mem_alloc(comm, COUNT * sizeof(float), WEFT_MEMORY_HOST, &recv) != WEFT_OK) return;
    reduce_in(comm, rank, send, recv, right);
    *right &= weft_mem_free(comm, send) == WEFT_OK;
    /* recv goes with the communicator */
}

static void allocated_memory_serves_as_buffers(void **state)
{
    (void)state;
    bool right[3] = {false};
    ranks_as_threads(&(struct ranks_config){.rank_count = 3, .function = allocated_body}, right);
    for (int rank = 0; rank < 3; rank++) assert_true(right[rank]);
}

static void registered_body(weft_comm *comm, uint32_t rank, void *argument, void *results)
{
    (void)argument;
    bool *right = (bool *)results + rank;
    const size_t bytes = 2 * COUNT * sizeof(float);
    int descriptor = memfd_create("buffers", MFD_CLOEXEC);
    if (descriptor < 0 || ftruncate(descriptor, (off_t)bytes) != 0) return;
    float *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    if (memory == MAP_FAILED) return;
    if (weft_mem_register(comm, memory, bytes, descriptor, 0) != WEFT_OK) return;
    close(descriptor); /* it was duplicated */
    reduce_in(comm, rank, memory, memory + COUNT, right);
    *right &= weft_mem_deregister(comm, memory) == WEFT_OK;
    *right &= weft_mem_deregister(comm, memory) == WEFT_INVALID_ARGUMENT;
    munmap(memory, bytes);
}

static void registered_memory_serves_as_buffers(void **state)
{
    (void)state;
    for (int thread = 0; thread < 2; thread++) {
        bool right[3] = {false};
        ranks_as_threads(
            &(struct ranks_config){.rank_count = 3, .function = registered_body, .progress_thread = thread}, right);
        for (int rank = 0; rank < 3; rank++) assert_true(right[rank]);
    }
}

/* ---- Shared memory that an operation uses ---- */

static pthread_barrier_t refused;

/* Rank 0 alone has posted, so its operation cannot have ended. */
static void used_body(weft_comm *comm, uint32_t rank, void *argument, void *results)
{
    (void)argument;
    bool *right = (bool *)results + rank;
    void *memory;
    weft_request *request = NULL;
    if (weft_mem_alloc(comm, COUNT * sizeof(float), WEFT_MEMORY_SHARED, &memory) != WEFT_OK) return;
    if (rank == 0) {
        *right = weft_all_reduce(comm, memory, memory, COUNT, WEFT_FLOAT32, WEFT_SUM, NULL, &request) == WEFT_OK;
        *right &= weft_test(&request) == WEFT_IN_PROGRESS;
        *right &= weft_mem_free(comm, memory) == WEFT_INVALID_STATE;
    }
    (void)pthread_barrier_wait(&refused);
    if (rank == 0)
        *right &= weft_wait(&request) == WEFT_OK;
    else
        *right = weft_all_reduce(comm, memory, memory, COUNT, WEFT_FLOAT32, WEFT_SUM, NULL, NULL) == WEFT_OK;
    *right &= weft_mem_free(comm, memory) == WEFT_OK;
}

static void shared_memory_in_use_is_not_freed(void **state)
{
    (void)state;
    bool right[2] = {false};
    assert_int_equal(pthread_barrier_init(&refused, NULL, 2), 0);
    ranks_as_threads(&(struct ranks_config){.rank_count = 2, .function = used_body}, right);
    pthread_barrier_destroy(&refused);
    assert_true(right[0] && right[1]);
}

/* ---- Refusals: one rank is enough ---- */

static void refusals_body(weft_comm *comm, uint32_t rank, void *argument, void *results)
{
    (void)rank, (void)argument, (void)results;
    static char buffer[100];
    void *memory = buffer, *host;
    assert_int_equal(weft_mem_alloc(comm, 0, WEFT_MEMORY_HOST, &memory), WEFT_INVALID_ARGUMENT);
    assert_int_equal(weft_mem_alloc(comm, 1, (weft_memory_kind)7, &memory), WEFT_INVALID_ARGUMENT);
    assert_int_equal(weft_mem_alloc(NULL, 1, WEFT_MEMORY_HOST, &memory), WEFT_INVALID_ARGUMENT);
    assert_int_equal(weft_mem_alloc(comm, 1, WEFT_MEMORY_CUDA, &memory), WEFT_UNSUPPORTED);
    assert_int_equal(weft_mem_alloc(comm, UINT64_MAX / 2, WEFT_MEMORY_HOST, &memory), WEFT_OUT_OF_MEMORY);
    assert_ptr_equal(memory, buffer); /* untouched */

    assert_int_equal(weft_mem_register(comm, NULL, 1, -1, 0), WEFT_INVALID_ARGUMENT);
    assert_int_equal(weft_mem_register(comm, buffer, 0, -1, 0), WEFT_INVALID_ARGUMENT);
    assert_int_equal(weft_mem_register(comm, buffer, 1, -2, 0), WEFT_INVALID_ARGUMENT);
    assert_int_equal(weft_mem_register(comm, buffer, 1, 1 << 20, 0), WEFT_INVALID_ARGUMENT);
    int descriptor = memfd_create("short", MFD_CLOEXEC);
    assert_int_equal(ftruncate(descriptor, 50), 0);
    assert_int_equal(weft_mem_register(comm, buffer, 51, descriptor, 0), WEFT_INVALID_ARGUMENT);
    assert_int_equal(weft_mem_register(comm, buffer, 1, descriptor, UINT64_MAX), WEFT_INVALID_ARGUMENT);
    close(descriptor);

    assert_int_equal(weft_mem_register(comm, buffer, 100, -1, 0), WEFT_OK);
    assert_int_equal(weft_mem_register(comm, buffer, 10, -1, 0), WEFT_INVALID_STATE);
    assert_int_equal(weft_mem_register(comm, buffer + 50, 10, -1, 0), WEFT_OK);
    assert_int_equal(weft_mem_free(comm, buffer), WEFT_INVALID_ARGUMENT);
    assert_int_equal(weft_mem_deregister(comm, buffer + 1), WEFT_INVALID_ARGUMENT);
    assert_int_equal(weft_mem_deregister(comm, buffer), WEFT_OK);

    assert_int_equal(weft_mem_alloc(comm, 1, WEFT_MEMORY_HOST, &host), WEFT_OK);
    assert_int_equal(weft_mem_deregister(comm, host), WEFT_INVALID_ARGUMENT);
    assert_int_equal(weft_mem_free(comm, host), WEFT_OK);
    assert_int_equal(weft_mem_free(comm, host), WEFT_INVALID_ARGUMENT);
    assert_int_equal(weft_mem_free(comm, NULL), WEFT_OK);
}

static void what_cannot_be_is_refused(void **state)
{
    (void)state;
    const weft_comm_config config = {.size = sizeof config, .rank_count = 1};
    weft_unique_id id;
    assert_int_equal(weft_unique_id_create(&id), WEFT_OK);
    weft_comm_config with_id = config;
    weft_comm *comm;
    with_id.id = &id;
    assert_int_equal(weft_comm_create(&with_id, &comm), WEFT_OK);
    refusals_body(comm, 0, NULL, NULL);
    weft_comm_destroy(comm);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(allocated_memory_serves_as_buffers),
        cmocka_unit_test(registered_memory_serves_as_buffers),
        cmocka_unit_test(shared_memory_in_use_is_not_freed),
        cmocka_unit_test(what_cannot_be_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
