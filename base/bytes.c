/* SPDX-License-Identifier: Apache-2.0 */
#include "base/bytes.h"

#include <stdlib.h>

uint64_t bytes_hash(uint64_t hash, const void *bytes, size_t size)
{
    const uint8_t *at = bytes;
    for (size_t i = 0; i < size; i++) hash = (hash ^ at[i]) * UINT64_C(0x100000001b3);
    return hash;
}

bool array_reserve(void **array, uint32_t count, uint32_t *capacity, size_t element_bytes)
{
    if (count < *capacity) return true;
    uint32_t wanted = *capacity ? *capacity * 2 : 64;
    void *larger = wanted > *capacity ? reallocarray(*array, wanted, element_bytes) : NULL;
    if (!larger) return false;
    *array = larger;
    *capacity = wanted;
    return true;
}
