/* SPDX-License-Identifier: Apache-2.0 */
/* Structure checks that the reader and the verifier share. */
#ifndef COLLECTIVES_PLAN_CHECK_INTERNAL_H
#define COLLECTIVES_PLAN_CHECK_INTERNAL_H

#include "collectives/plan/shape.h"

#define PLAN_MAX_REPEAT (1u << 24) /* repetitions of a step, and chunks of a window: a chunk for each possible rank */

/* A part of the message that tracks share. Two windows of a plan are the same or have nothing in common. */
struct plan_window {
    uint32_t begin, end; /* in units of 1 / plan->share_denominator */
    uint32_t chunk_count, chunk_stride;
};

static inline bool plan_window_equal(const struct plan_window *a, const struct plan_window *b)
{
    return a->begin == b->begin && a->end == b->end && a->chunk_count == b->chunk_count &&
           a->chunk_stride == b->chunk_stride;
}

/* The fields that do not belong to a rank. */
weft_status plan_check_header(const struct weft_plan *plan, struct diagnostic *diagnostic);

/* The block that a chunk lies in; all of a chunk is in one. */
static inline uint32_t plan_window_block(const struct weft_plan *plan, const struct plan_window *window, uint32_t chunk)
{
    uint64_t first = (uint64_t)window->begin + (uint64_t)window->chunk_stride * chunk;
    return (uint32_t)(first / (plan->share_denominator / plan_block_count(plan)));
}

/*
 * The different windows of a rank's tracks, in order; @p windows has room for one per track. Says so when two overlap
 * or, where there is one block that every rank has a part in, when they leave some of it out.
 */
weft_status plan_check_windows(const struct weft_plan *plan, uint32_t rank, const struct plan_program *program,
                               struct plan_window *windows, uint32_t *window_count, struct diagnostic *diagnostic);
#endif
