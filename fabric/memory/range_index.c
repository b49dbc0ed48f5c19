/* SPDX-License-Identifier: Apache-2.0 */
#include "fabric/memory/range_index.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

weft_status range_index_create(uint32_t room, struct range_index *index)
{
    struct range_entry *entries = calloc(room ? room : 1, sizeof *entries);
    if (!entries) return WEFT_OUT_OF_MEMORY;
    *index = (struct range_index){.entries = entries, .room = room};
    return WEFT_OK;
}

void range_index_destroy(struct range_index *index)
{
    free(index->entries);
}

/* Entries from @p at on have moved or changed. */
static void max_ends_renew(struct range_index *index, uint32_t at)
{
    uintptr_t max_end = at ? index->entries[at - 1].max_end : 0;
    for (; at < index->count; at++) {
        if (index->entries[at].end > max_end) max_end = index->entries[at].end;
        index->entries[at].max_end = max_end;
    }
}

bool range_index_insert(struct range_index *index, uintptr_t start, uintptr_t end, void *value)
{
    assert(end > start);
    if (index->count == index->room) return false;
    const uint32_t at = (uint32_t)(range_index_bisect(index, start) + 1);
    memmove(&index->entries[at + 1], &index->entries[at], (index->count - at) * sizeof *index->entries);
    index->entries[at] = (struct range_entry){.start = start, .end = end, .value = value};
    index->count++;
    max_ends_renew(index, at);
    return true;
}

void range_index_remove(struct range_index *index, uintptr_t start, const void *value)
{
    int64_t at = range_index_bisect(index, start);
    while (at >= 0 && index->entries[at].value != value) at--;
    assert(at >= 0 && index->entries[at].start == start);
    index->count--;
    memmove(&index->entries[at], &index->entries[at + 1], (index->count - (uint32_t)at) * sizeof *index->entries);
    max_ends_renew(index, (uint32_t)at);
}
