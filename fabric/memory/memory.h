/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory by its kind: where it comes from and how others can reach it. One table row per kind; registration with
 * devices is fabric/memory/registration.h's.
 */
#ifndef FABRIC_MEMORY_H
#define FABRIC_MEMORY_H

#include <stddef.h>
#include <stdint.h>
#include <weft/types.h>

#include "base/diagnostic.h"

enum memory_kind {
    MEMORY_HOST,   /* private to this process */
    MEMORY_SHARED, /* a memfd: whoever is given the descriptor can map it */
    MEMORY_CUDA,   /* a GPU's */
    MEMORY_KIND_COUNT,
};

struct memory {
    enum memory_kind kind;
    void *address;
    size_t bytes;        /* as asked for */
    size_t mapped_bytes; /* what is there: whole pages */
    size_t page_bytes;   /* of the pages behind it: 4 KiB, or 2 MiB where the machine has reserved huge ones */
    int descriptor;      /* MEMORY_SHARED: owned; else -1 */
};

/*
 * Allocate zeroed memory, aligned to its pages. MEMORY_SHARED takes reserved huge pages from 2 MiB on where there are
 * enough, else asks for transparent ones; it cannot be resized by whoever gets the descriptor.
 *
 * Owner:  the caller; memory_free().
 * Thread: any.
 * Errors: WEFT_INVALID_ARGUMENT (0 bytes, no such kind), WEFT_OUT_OF_MEMORY, WEFT_RESOURCE_LIMIT (descriptors),
 *         WEFT_UNSUPPORTED (a kind that this build or machine lacks). *memory is untouched then.
 */
weft_status memory_allocate(enum memory_kind kind, size_t bytes, struct memory *memory, struct diagnostic *diagnostic);
void memory_free(struct memory *memory);
#endif
