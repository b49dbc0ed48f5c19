/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From shares to elements: where a plan's chunks and slices begin and end in a message of a given count.
 *
 * Boundaries are floors of exact fractions, so chunks partition each block whatever its count; in messages large enough
 * they are rounded down to cache lines, so that no two ranks ever write one line. Every rank computes the same.
 */
#ifndef COLLECTIVES_PARTITION_H
#define COLLECTIVES_PARTITION_H

#include <stdint.h>
#include <weft/types.h>

#include "collectives/plan/plan.h"

struct partition {
    uint64_t count;        /* elements of a block, of which the message may have several */
    uint64_t quantum;      /* elements that boundaries are multiples of */
    uint64_t slice_limit;  /* most elements of one slice */
    uint32_t denominator;  /* the plan's share_denominator */
    uint32_t block_shares; /* of them, those of a block */
};

struct range {
    uint64_t begin, end; /* elements of its block */
};

/* @p slice_bytes: at least one element's. Unless it is a multiple of 64, boundaries are not kept to lines. */
struct partition partition_make(const struct weft_plan *plan, uint64_t count, size_t element_bytes,
                                uint64_t slice_bytes);

/* How a track cuts its chunks: equal numbers of elements but for the last slice of a chunk. */
struct slicing {
    uint32_t slice_count; /* 1 or more; some slices of the smaller chunks may be empty */
    uint64_t slice_elements;
};
struct slicing partition_slicing(const struct partition *partition, const struct plan_track *track);

/* The block that a chunk lies in, and its part of that. */
uint32_t partition_block(const struct partition *partition, const struct plan_track *track, uint32_t chunk);
struct range partition_chunk(const struct partition *partition, const struct plan_track *track, uint32_t chunk);
struct range partition_slice(const struct partition *partition, const struct plan_track *track,
                             const struct slicing *slicing, uint32_t chunk, uint32_t slice);
#endif
