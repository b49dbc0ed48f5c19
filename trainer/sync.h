/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Everything the ranks tell each other, through weft. A single rank needs none of it: with one rank every function here
 * returns at once and no communicator exists.
 *
 * Thread: one at a time per struct sync.
 * Errors: false with a sentence, which for a failed collective is weft_comm_failure()'s. After one, only sync_close().
 */
#ifndef TRAINER_SYNC_H
#define TRAINER_SYNC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sync;

/*
 * Join the other ranks: those of weft_local_run() or of the launcher. With @p alone nobody is asked. Buckets of
 * @p bucket_bytes cut @p gradient_count floats. Owner: the caller, sync_close().
 */
bool sync_open(bool alone, uint64_t bucket_bytes, size_t gradient_count, struct sync **sync, char *error);
void sync_close(struct sync *sync);
uint32_t sync_rank(const struct sync *sync);
uint32_t sync_rank_count(const struct sync *sync);

/*
 * Average the gradients of one step while they are being computed: begin; gradient_ready() with falling positions, the
 * last time 0 (it is a gradients_ready of model/transformer.h); finish, which waits for what is still on its way.
 */
void sync_gradients_begin(struct sync *sync, float *gradients);
void sync_gradients_ready(void *sync, size_t first);
struct sync_times {
    uint64_t busy_ns;    /* with an all-reduce in flight */
    uint64_t exposed_ns; /* of which this rank did nothing but wait */
};
bool sync_gradients_finish(struct sync *sync, struct sync_times *times, char *error);

/* Sums over all ranks, in place. */
bool sync_sum(struct sync *sync, double *values, size_t count, char *error);
/* Lowest and highest over all ranks. */
bool sync_range(struct sync *sync, int64_t value, int64_t *lowest, int64_t *highest, char *error);
/* Rank 0's data to all. count elements of 8 or 4 bytes. */
bool sync_share_int64(struct sync *sync, int64_t *values, size_t count, char *error);
bool sync_share_floats(struct sync *sync, float *values, size_t count, char *error);

#endif
