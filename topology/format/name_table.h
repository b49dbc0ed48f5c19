/* SPDX-License-Identifier: Apache-2.0 */
/* Names of a source to numbers, in constant time each. Names are not copied: they live at least as long as the table.
 */
#ifndef TOPOLOGY_FORMAT_NAME_TABLE_H
#define TOPOLOGY_FORMAT_NAME_TABLE_H

#include "topology/format/format_internal.h"

struct name_table { /* all zero is empty */
    struct name_slot {
        struct span name; /* at NULL: free */
        uint32_t value;
    } * slots;
    uint32_t count, capacity; /* a power of two, at most half full */
};

/*
 * The value of @p name, which is TOPOLOGY_NONE and may be set where the name is new. NULL: out of memory. The next call
 * may move it.
 */
uint32_t *name_table_at(struct name_table *table, struct span name);
/* The value of @p name, TOPOLOGY_NONE if it is not there. */
uint32_t name_table_find(const struct name_table *table, struct span name);
void name_table_free(struct name_table *table);
#endif
