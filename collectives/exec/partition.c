/* SPDX-License-Identifier: Apache-2.0 */
#include "collectives/exec/partition.h"

#include "collectives/plan/shape.h"

#define CACHE_LINE_BYTES 64u
/* Below this many lines in a chunk, whole lines would leave chunks too unequal. */
#define MIN_LINES_PER_CHUNK 16u

struct partition partition_make(const struct weft_plan *plan, uint64_t count, size_t element_bytes,
                                uint64_t slice_bytes)
{
    uint32_t block_shares = (uint32_t)(plan->share_denominator / plan_block_count(plan));
    unsigned __int128 chunks = block_shares;
    if (block_shares == plan->share_denominator) chunks *= plan->rank_count;
    unsigned __int128 bytes = (unsigned __int128)count * element_bytes;
    bool large = bytes >= chunks * (MIN_LINES_PER_CHUNK * CACHE_LINE_BYTES);
    large = large && slice_bytes % CACHE_LINE_BYTES == 0;
    return (struct partition){
        .count = count,
        .quantum = large ? CACHE_LINE_BYTES / element_bytes : 1,
        .slice_limit = slice_bytes / element_bytes,
        .denominator = plan->share_denominator,
        .block_shares = block_shares,
    };
}

/* How many chunks a window of one block is cut into; with a stride the window is a chunk. */
static uint32_t window_cuts(const struct plan_track *track)
{
    return track->chunk_stride ? 1 : track->chunk_count;
}

/* Where a chunk begins in the message, in parts of a share, of which there are window_cuts() in each. */
static uint64_t chunk_part(const struct plan_track *track, uint32_t chunk)
{
    if (track->chunk_stride) return track->window_begin + (uint64_t)track->chunk_stride * chunk;
    return (uint64_t)track->window_begin * track->chunk_count +
           (uint64_t)(track->window_end - track->window_begin) * chunk;
}

uint32_t partition_block(const struct partition *partition, const struct plan_track *track, uint32_t chunk)
{
    if (partition->block_shares == partition->denominator) return 0;
    return (uint32_t)(chunk_part(track, chunk) / ((uint64_t)partition->block_shares * window_cuts(track)));
}

/* The element at so many of a block's parts. */
static uint64_t boundary(const struct partition *partition, uint64_t part, uint64_t parts)
{
    if (part == parts) return partition->count;
    uint64_t element = (uint64_t)((unsigned __int128)partition->count * part / parts);
    return element - element % partition->quantum;
}

struct range partition_chunk(const struct partition *partition, const struct plan_track *track, uint32_t chunk)
{
    uint64_t parts = (uint64_t)partition->block_shares * window_cuts(track);
    uint64_t part = chunk_part(track, chunk);
    if (partition->block_shares != partition->denominator) part %= parts;
    uint64_t end = part + (track->window_end - track->window_begin);
    return (struct range){boundary(partition, part, parts), boundary(partition, end, parts)};
}

struct slicing partition_slicing(const struct partition *partition, const struct plan_track *track)
{
    /*
     * Chunks between multiples of the quantum are at most their exact size rounded up to one; the last chunk also holds
     * what the count has beyond the last multiple.
     */
    unsigned __int128 shares = (unsigned __int128)partition->count * (track->window_end - track->window_begin);
    uint64_t parts = (uint64_t)partition->block_shares * window_cuts(track);
    uint64_t largest = (uint64_t)((shares + parts - 1) / parts);
    if (partition->count % partition->quantum != 0) largest += partition->quantum - 1;
    largest = (largest + partition->quantum - 1) / partition->quantum * partition->quantum;
    if (largest <= partition->slice_limit) return (struct slicing){1, largest};

    uint64_t slices = (largest + partition->slice_limit - 1) / partition->slice_limit;
    uint64_t elements = (largest + slices - 1) / slices;
    elements = (elements + partition->quantum - 1) / partition->quantum * partition->quantum;
    return (struct slicing){(uint32_t)slices, elements};
}

struct range partition_slice(const struct partition *partition, const struct plan_track *track,
                             const struct slicing *slicing, uint32_t chunk, uint32_t slice)
{
    struct range range = partition_chunk(partition, track, chunk);
    uint64_t length = range.end - range.begin;
    uint64_t skip = (uint64_t)slice * slicing->slice_elements;
    if (skip >= length) return (struct range){range.end, range.end};
    range.begin += skip;
    if (range.end - range.begin > slicing->slice_elements) range.end = range.begin + slicing->slice_elements;
    return range;
}
