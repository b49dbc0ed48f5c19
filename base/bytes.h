/* SPDX-License-Identifier: Apache-2.0 */
/* Little-endian fields at any alignment, a hash, and arithmetic that says when it overflows. */
#ifndef BASE_BYTES_H
#define BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline void bytes_put_u16(uint8_t *at, uint16_t value)
{
    for (int i = 0; i < 2; i++) at[i] = (uint8_t)(value >> (8 * i));
}
static inline void bytes_put_u32(uint8_t *at, uint32_t value)
{
    for (int i = 0; i < 4; i++) at[i] = (uint8_t)(value >> (8 * i));
}
static inline void bytes_put_u64(uint8_t *at, uint64_t value)
{
    for (int i = 0; i < 8; i++) at[i] = (uint8_t)(value >> (8 * i));
}
static inline uint16_t bytes_get_u16(const uint8_t *at)
{
    return (uint16_t)(at[0] | at[1] << 8);
}
static inline uint32_t bytes_get_u32(const uint8_t *at)
{
    uint32_t value = 0;
    for (int i = 0; i < 4; i++) value |= (uint32_t)at[i] << (8 * i);
    return value;
}
static inline uint64_t bytes_get_u64(const uint8_t *at)
{
    uint64_t value = 0;
    for (int i = 0; i < 8; i++) value |= (uint64_t)at[i] << (8 * i);
    return value;
}

/* FNV-1a, 64 bits; start with BYTES_HASH_START and chain. Not for secrets. */
#define BYTES_HASH_START UINT64_C(0xcbf29ce484222325)
uint64_t bytes_hash(uint64_t hash, const void *bytes, size_t size);

/*
 * Make room for one element more than @p count, by doubling from 64. False, with nothing changed, when out of memory.
 */
bool array_reserve(void **array, uint32_t count, uint32_t *capacity, size_t element_bytes);

/* False, with *result untouched, on overflow. */
static inline bool size_multiply(size_t a, size_t b, size_t *result)
{
    size_t product;
    if (__builtin_mul_overflow(a, b, &product)) return false;
    *result = product;
    return true;
}
#endif
