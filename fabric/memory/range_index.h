/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ranges of addresses, overlapping or not, in a sorted array of fixed room: which one covers given bytes?
 *
 * Each entry knows the largest end among itself and those before it, so that the walk back from where bisection lands
 * stops as soon as no earlier range reaches far enough. With few overlaps that is one step; an interval tree would be
 * no faster below some thousand entries, and needs nodes.
 */
#ifndef FABRIC_MEMORY_RANGE_INDEX_H
#define FABRIC_MEMORY_RANGE_INDEX_H

#include <stdbool.h>
#include <stdint.h>
#include <weft/types.h>

struct range_entry {
    uintptr_t start, end; /* end > start: the first byte after */
    uintptr_t max_end;    /* the largest `end` up to this entry */
    void *value;
};

struct range_index {
    struct range_entry *entries; /* by start; equal starts in order of insertion */
    uint32_t count, room;
};

/* WEFT_OUT_OF_MEMORY. */
weft_status range_index_create(uint32_t room, struct range_index *index);
void range_index_destroy(struct range_index *index);

/* False: it is full. */
bool range_index_insert(struct range_index *index, uintptr_t start, uintptr_t end, void *value);
/* The entry of this range and value has to be there. */
void range_index_remove(struct range_index *index, uintptr_t start, const void *value);

/* The last entry that begins at or before @p start, or -1: where a search begins. */
static inline int64_t range_index_bisect(const struct range_index *index, uintptr_t start)
{
    uint32_t low = 0, high = index->count; /* entries[low - 1].start <= start < entries[high].start */
    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        if (index->entries[middle].start <= start)
            low = middle + 1;
        else
            high = middle;
    }
    return (int64_t)low - 1;
}

/* The next entry, from @p at backwards, that covers [.., end); -1: none. */
static inline int64_t range_index_covering(const struct range_index *index, int64_t at, uintptr_t end)
{
    for (; at >= 0 && index->entries[at].max_end >= end; at--)
        if (index->entries[at].end >= end) return at;
    return -1;
}

/* The next entry, from @p at backwards, that has a byte at or after @p start; -1: none. */
static inline int64_t range_index_reaching(const struct range_index *index, int64_t at, uintptr_t start)
{
    for (; at >= 0 && index->entries[at].max_end > start; at--)
        if (index->entries[at].end > start) return at;
    return -1;
}
#endif
