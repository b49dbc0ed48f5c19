/* SPDX-License-Identifier: Apache-2.0 */
#include "trainer/sync.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <weft/weft.h>

#include "trainer/error.h"

struct sync {
    weft_comm *comm; /* NULL with one rank */
    uint32_t rank, rank_count;
    size_t gradient_count, bucket_elements;

    /* The step under way. Gradients from posted_from on are on their way; requests holds their all-reduces. */
    float *gradients;
    size_t posted_from, request_count;
    weft_status status;
    uint64_t busy_before_ns;
    weft_request **requests;
};

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static bool succeeded(const struct sync *sync, const char *what, weft_status status, char *error)
{
    if (status == WEFT_OK) return true;
    weft_failure failure = {.size = sizeof(failure)};
    if (sync->comm && weft_comm_failure(sync->comm, &failure) == WEFT_OK && failure.status != WEFT_OK)
        return error_set(error, "%s: %s: %s", what, weft_status_name(failure.status), failure.message);
    return error_set(error, "%s: %s: %s", what, weft_status_name(status), weft_status_text(status));
}

static uint64_t busy_ns(const struct sync *sync)
{
    weft_statistics statistics = {.size = sizeof(statistics)};
    return weft_comm_statistics(sync->comm, &statistics) == WEFT_OK ? statistics.busy_ns : 0;
}

bool sync_open(bool alone, uint64_t bucket_bytes, size_t gradient_count, struct sync **sync, char *error)
{
    struct sync *opened = calloc(1, sizeof(*opened));
    if (!opened) return error_set(error, "out of memory");
    opened->rank_count = 1;
    opened->gradient_count = gradient_count;
    opened->bucket_elements = bucket_bytes / sizeof(float);
    opened->requests = calloc(gradient_count / opened->bucket_elements + 2, sizeof(weft_request *));
    if (!opened->requests) {
        sync_close(opened);
        return error_set(error, "out of memory");
    }
    if (!alone) {
        /* All-reduces must go on while this thread computes. Said already in the environment, that counts. */
        setenv("WEFT_PROGRESS_THREAD", "1", 0);
        if (!succeeded(opened, "cannot join the other ranks", weft_comm_create_from_env(&opened->comm), error)) {
            sync_close(opened);
            return false;
        }
        opened->rank = weft_comm_rank(opened->comm);
        opened->rank_count = weft_comm_rank_count(opened->comm);
    }
    *sync = opened;
    return true;
}

void sync_close(struct sync *sync)
{
    if (!sync) return;
    weft_comm_destroy(sync->comm);
    free(sync->requests);
    free(sync);
}

uint32_t sync_rank(const struct sync *sync)
{
    return sync->rank;
}

uint32_t sync_rank_count(const struct sync *sync)
{
    return sync->rank_count;
}

void sync_gradients_begin(struct sync *sync, float *gradients)
{
    sync->gradients = gradients;
    sync->posted_from = sync->gradient_count;
    sync->request_count = 0;
    sync->status = WEFT_OK;
    if (sync->rank_count > 1) sync->busy_before_ns = busy_ns(sync);
}

/* Buckets are cut by position alone, so all ranks post the same ones in the same order. */
void sync_gradients_ready(void *context, size_t first)
{
    struct sync *sync = context;
    if (sync->rank_count == 1) return;
    while (sync->status == WEFT_OK && sync->posted_from > first) {
        size_t ready = sync->posted_from - first;
        if (ready < sync->bucket_elements && first > 0) return; /* wait for more to fill the bucket */
        size_t count = ready < sync->bucket_elements ? ready : sync->bucket_elements;
        float *bucket = sync->gradients + sync->posted_from - count;
        sync->status = weft_all_reduce(sync->comm, bucket, bucket, count, WEFT_FLOAT32, WEFT_AVG, NULL,
                                       &sync->requests[sync->request_count]);
        if (sync->status == WEFT_OK) sync->request_count++;
        sync->posted_from -= count;
    }
}

bool sync_gradients_finish(struct sync *sync, struct sync_times *times, char *error)
{
    *times = (struct sync_times){0};
    if (sync->rank_count == 1) return true;
    uint64_t start_ns = now_ns();
    for (size_t i = 0; i < sync->request_count; i++) {
        weft_status status = weft_wait(&sync->requests[i]);
        if (sync->status == WEFT_OK) sync->status = status;
    }
    times->exposed_ns = now_ns() - start_ns;
    times->busy_ns = busy_ns(sync) - sync->busy_before_ns;
    return succeeded(sync, "cannot average the gradients", sync->status, error);
}

bool sync_sum(struct sync *sync, double *values, size_t count, char *error)
{
    if (sync->rank_count == 1) return true;
    return succeeded(sync, "cannot sum over the ranks",
                     weft_all_reduce(sync->comm, values, values, count, WEFT_FLOAT64, WEFT_SUM, NULL, NULL), error);
}

bool sync_range(struct sync *sync, int64_t value, int64_t *lowest, int64_t *highest, char *error)
{
    *lowest = *highest = value;
    if (sync->rank_count == 1) return true;
    weft_status status = weft_all_reduce(sync->comm, &value, lowest, 1, WEFT_INT64, WEFT_MIN, NULL, NULL);
    if (status == WEFT_OK) status = weft_all_reduce(sync->comm, &value, highest, 1, WEFT_INT64, WEFT_MAX, NULL, NULL);
    return succeeded(sync, "cannot compare over the ranks", status, error);
}

static bool share(struct sync *sync, void *values, size_t count, weft_dtype dtype, char *error)
{
    if (sync->rank_count == 1) return true;
    return succeeded(sync, "cannot share rank 0's state",
                     weft_broadcast(sync->comm, values, values, count, dtype, 0, NULL, NULL), error);
}

bool sync_share_int64(struct sync *sync, int64_t *values, size_t count, char *error)
{
    return share(sync, values, count, WEFT_INT64, error);
}

bool sync_share_floats(struct sync *sync, float *values, size_t count, char *error)
{
    return share(sync, values, count, WEFT_FLOAT32, error);
}
