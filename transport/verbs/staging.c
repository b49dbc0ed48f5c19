/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "transport/verbs/verbs_internal.h"

/* Copies begin on cache lines. */
#define COPY_ALIGN 64u

weft_status verbs_staging_open(struct verbs_staging *staging, size_t bytes)
{
    staging->block_count = (uint32_t)((bytes + VERBS_BLOCK_BYTES - 1) / VERBS_BLOCK_BYTES);
    staging->bytes = (size_t)staging->block_count * VERBS_BLOCK_BYTES;
    staging->blocks = calloc(staging->block_count, sizeof *staging->blocks);
    if (!staging->blocks) return WEFT_OUT_OF_MEMORY;
    void *memory = mmap(NULL, staging->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        free(staging->blocks);
        staging->blocks = NULL;
        return WEFT_OUT_OF_MEMORY;
    }
    staging->memory = memory;
    for (uint32_t i = staging->block_count; i-- > 0;) {
        staging->blocks[i].next = staging->free;
        staging->free = &staging->blocks[i];
    }
    return WEFT_OK;
}

void verbs_staging_close(struct verbs_staging *staging)
{
    if (!staging->blocks) return;
    (void)munmap(staging->memory, staging->bytes);
    free(staging->blocks);
    staging->blocks = NULL;
}

static uint8_t *block_memory(const struct verbs_staging *staging, const struct verbs_block *block)
{
    return staging->memory + (size_t)(block - staging->blocks) * VERBS_BLOCK_BYTES;
}

uint8_t *verbs_staging_take(struct verbs_staging *staging, struct verbs_block **current, uint32_t *bytes)
{
    struct verbs_block *block = *current;

    if (*bytes > VERBS_BLOCK_BYTES) *bytes = VERBS_BLOCK_BYTES;
    if (!block || VERBS_BLOCK_BYTES - block->used < *bytes) {
        if (!staging->free) return NULL;
        if (block) block->current = NULL; /* its requests still read it */
        block = staging->free;
        staging->free = block->next;
        *block = (struct verbs_block){.current = current};
        *current = block;
    }
    uint8_t *taken = block_memory(staging, block) + block->used;
    block->used += (*bytes + COPY_ALIGN - 1) & ~(COPY_ALIGN - 1);
    block->users++;
    return taken;
}

void verbs_staging_release(struct verbs_staging *staging, struct verbs_block *block)
{
    if (--block->users > 0) return;
    if (block->current) *block->current = NULL;
    block->next = staging->free;
    staging->free = block;
}
