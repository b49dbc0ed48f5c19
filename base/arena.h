/* SPDX-License-Identifier: Apache-2.0 */
/* Many small allocations that end together. Memory is zeroed and aligned to 16 bytes. Not thread-safe. */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include <stddef.h>

struct arena {
    struct arena_block *blocks; /* newest first */
};

/* An all-zero arena is empty and ready. */
void arena_free(struct arena *arena);
/* NULL when out of memory or when count * size overflows. A size of 0 gives a valid pointer. */
void *arena_alloc(struct arena *arena, size_t count, size_t size);
char *arena_strdup(struct arena *arena, const char *text);
#endif
