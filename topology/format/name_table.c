/* SPDX-License-Identifier: Apache-2.0 */
/* Open addressing, linear probing. */
#include "topology/format/name_table.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"

static struct name_slot *slot_of(const struct name_table *table, struct span name)
{
    uint32_t mask = table->capacity - 1;
    uint32_t at = (uint32_t)bytes_hash(BYTES_HASH_START, name.at, name.size) & mask;
    for (;; at = (at + 1) & mask) {
        struct name_slot *slot = &table->slots[at];
        if (!slot->name.at) return slot;
        if (slot->name.size == name.size && memcmp(slot->name.at, name.at, name.size) == 0) return slot;
    }
}

static bool table_grow(struct name_table *table)
{
    struct name_table larger = {.capacity = table->capacity ? table->capacity * 2 : 64, .count = table->count};
    if (larger.capacity <= table->capacity) return false;
    larger.slots = calloc(larger.capacity, sizeof *larger.slots);
    if (!larger.slots) return false;
    for (uint32_t i = 0; i < table->capacity; i++)
        if (table->slots[i].name.at) *slot_of(&larger, table->slots[i].name) = table->slots[i];
    free(table->slots);
    *table = larger;
    return true;
}

uint32_t *name_table_at(struct name_table *table, struct span name)
{
    if (table->count >= table->capacity / 2 && !table_grow(table)) return NULL;
    struct name_slot *slot = slot_of(table, name);
    if (!slot->name.at) {
        *slot = (struct name_slot){name, TOPOLOGY_NONE};
        table->count++;
    }
    return &slot->value;
}

uint32_t name_table_find(const struct name_table *table, struct span name)
{
    if (table->count == 0) return TOPOLOGY_NONE;
    const struct name_slot *slot = slot_of(table, name);
    return slot->name.at ? slot->value : TOPOLOGY_NONE;
}

void name_table_free(struct name_table *table)
{
    free(table->slots);
    *table = (struct name_table){0};
}
