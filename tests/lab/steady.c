/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lab_steady ELEMENTS FILE: all-reduce vectors of so many float32, and check every element, until rank 0 sees FILE.
 * Whoever pulls cables meanwhile decides how long it takes. Writes how many operations there were and how many elements
 * were wrong; on failure what weft says, and how long the call that failed had lasted.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
#include <weft/weft.h>

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* Small integers, other ones in each operation and rank: their sums are exact. */
static float value(uint32_t rank, uint64_t operation, size_t element)
{
    return (float)((element * 7 + operation * 3 + rank * 5) % 101);
}

static uint64_t wrong_count(const float *values, size_t count, uint64_t operation, uint32_t rank_count)
{
    uint64_t wrong = 0;
    for (size_t i = 0; i < count; i++) {
        float expected = 0;
        for (uint32_t rank = 0; rank < rank_count; rank++) expected += value(rank, operation, i);
        wrong += values[i] != expected;
    }
    return wrong;
}

/* Until rank 0 says in the last element that it is enough. */
static weft_status run(weft_comm *comm, float *values, size_t count, const char *file, uint64_t *wrong)
{
    const uint32_t rank = weft_comm_rank(comm), rank_count = weft_comm_rank_count(comm);
    for (uint64_t operation = 0;; operation++) {
        for (size_t i = 0; i < count; i++) values[i] = value(rank, operation, i);
        values[count] = rank == 0 && access(file, F_OK) == 0;
        const double begin = now_s();
        const weft_status status = weft_all_reduce(comm, values, values, count + 1, WEFT_FLOAT32, WEFT_SUM, NULL, NULL);
        if (status) {
            weft_failure failure = {.size = sizeof failure};
            weft_comm_failure(comm, &failure);
            printf("after %.3f s in operation %llu: %s: %s\n", now_s() - begin, (unsigned long long)operation,
                   weft_status_name(status), failure.message);
            return status;
        }
        *wrong += wrong_count(values, count, operation, rank_count);
        if (operation == 0) printf("begun\n"), fflush(stdout);
        if (values[count] > 0) {
            printf("%llu operations, %llu elements wrong\n", (unsigned long long)operation + 1,
                   (unsigned long long)*wrong);
            return WEFT_OK;
        }
    }
}

int main(int argc, char *argv[])
{
    const size_t count = argc == 3 ? strtoull(argv[1], NULL, 10) : 0;
    if (count == 0 || count > 1 << 28) {
        fprintf(stderr, "lab_steady: say how many elements, and the file whose appearance ends it\n");
        return 2;
    }
    float *values = calloc(count + 1, sizeof *values);
    weft_comm *comm = NULL;
    weft_status status = values ? weft_comm_create_from_env(&comm) : WEFT_OUT_OF_MEMORY;
    if (status) {
        fprintf(stderr, "cannot join: %s\n", weft_status_text(status));
        free(values);
        return 1;
    }
    uint64_t wrong = 0;
    status = run(comm, values, count, argv[2], &wrong);
    weft_comm_destroy(comm);
    free(values);
    return status || wrong ? 1 : 0;
}
