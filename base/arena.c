/* SPDX-License-Identifier: Apache-2.0 */
#include "base/arena.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"

enum { ALIGNMENT = 16, FIRST_BLOCK_BYTES = 4 << 10, LARGEST_STEP_BYTES = 1 << 20 };

struct arena_block {
    struct arena_block *older;
    size_t used, capacity;
    _Alignas(ALIGNMENT) unsigned char bytes[];
};

void arena_free(struct arena *arena)
{
    while (arena->blocks) {
        struct arena_block *older = arena->blocks->older;
        free(arena->blocks);
        arena->blocks = older;
    }
}

/* Blocks double up to a limit, so that a small arena stays small and a large one asks seldom. */
static struct arena_block *block_add(struct arena *arena, size_t bytes)
{
    size_t capacity = FIRST_BLOCK_BYTES;
    if (arena->blocks) {
        capacity = 2 * arena->blocks->capacity;
        if (capacity > LARGEST_STEP_BYTES) capacity = LARGEST_STEP_BYTES;
    }
    if (capacity < bytes) capacity = bytes;
    if (capacity > SIZE_MAX - sizeof(struct arena_block)) return NULL;
    struct arena_block *block = calloc(1, sizeof *block + capacity);
    if (!block) return NULL;
    *block = (struct arena_block){.older = arena->blocks, .capacity = capacity};
    arena->blocks = block;
    return block;
}

void *arena_alloc(struct arena *arena, size_t count, size_t size)
{
    size_t bytes;
    if (!size_multiply(count, size, &bytes) || bytes > SIZE_MAX - ALIGNMENT) return NULL;
    bytes = bytes ? (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT : ALIGNMENT;
    struct arena_block *block = arena->blocks;
    if (!block || block->capacity - block->used < bytes) block = block_add(arena, bytes);
    if (!block) return NULL;
    void *result = block->bytes + block->used;
    block->used += bytes;
    return result;
}

char *arena_strdup(struct arena *arena, const char *text)
{
    size_t bytes = strlen(text) + 1;
    char *copy = arena_alloc(arena, bytes, 1);
    return copy ? memcpy(copy, text, bytes) : NULL;
}
