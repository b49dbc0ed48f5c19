/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "transport/sim/sim_internal.h"

bool sim_queue_reserve(struct sim_queue *queue, size_t more)
{
    if (queue->capacity - queue->count >= more) return true;

    const size_t capacity = 2 * (queue->count + more);
    struct sim_entry *entries = realloc(queue->entries, capacity * sizeof *entries);
    if (!entries) return false;
    queue->entries = entries;
    queue->capacity = capacity;
    return true;
}

static bool entry_is_before(const struct sim_entry *a, const struct sim_entry *b)
{
    return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : a->serial < b->serial;
}

void sim_queue_push(struct sim_queue *queue, struct sim_entry entry)
{
    size_t at = queue->count++;

    entry.serial = queue->serial++;
    while (at > 0 && entry_is_before(&entry, &queue->entries[(at - 1) / 2])) {
        queue->entries[at] = queue->entries[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    queue->entries[at] = entry;
}

const struct sim_entry *sim_queue_first(const struct sim_queue *queue)
{
    return queue->count ? &queue->entries[0] : NULL;
}

void sim_queue_pop(struct sim_queue *queue)
{
    const struct sim_entry last = queue->entries[--queue->count];
    size_t at = 0;

    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= queue->count) break;
        if (child + 1 < queue->count && entry_is_before(&queue->entries[child + 1], &queue->entries[child])) child++;
        if (!entry_is_before(&queue->entries[child], &last)) break;
        queue->entries[at] = queue->entries[child];
        at = child;
    }
    if (queue->count) queue->entries[at] = last;
}
