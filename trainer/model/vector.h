/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loops that the compiler turns into vector instructions, once per instruction set, chosen when the program is loaded.
 *
 * A function marked VECTORIZED holds plain loops; sums say `#pragma omp simd reduction` (-fopenmp-simd: no OpenMP
 * runtime), because without it the compiler may not reorder additions. So results differ in the last bits between
 * machines with different vector widths, never between two runs on one machine.
 */
#ifndef TRAINER_MODEL_VECTOR_H
#define TRAINER_MODEL_VECTOR_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
#define VECTORIZED __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define VECTORIZED
#endif

static inline uint32_t float_bits(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    return bits;
}

static inline float float_from_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

/* To the nearest bfloat16, ties to even; a NaN stays one. */
static inline uint16_t bfloat16_from_float(float value)
{
    uint32_t bits = float_bits(value);
    uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    return (uint16_t)(value == value ? rounded : 0x7fc0);
}

static inline float float_from_bfloat16(uint16_t bits)
{
    return float_from_bits((uint32_t)bits << 16);
}

/*
 * e^x within 2.5e-7 relative for -87 <= x <= 88, and the value at the nearer end outside; NaN for NaN. No branch, no
 * table and no call, so that a loop over it vectorizes. Splits x into n ln 2 + r with |r| <= (ln 2)/2, ln 2 in two
 * parts so that n times the first is exact, and takes the minimax polynomial of e^r from S. Moshier's Cephes library.
 */
static inline float exp_approximate(float x)
{
    x = x < -87.0f ? -87.0f : x;
    x = x > 88.0f ? 88.0f : x;
    const float round_to_integer = 12582912.0f;         /* 1.5 * 2^23: adding it leaves no fraction bits */
    float shifted = x * 1.44269504f + round_to_integer; /* its last bits are n; NaN has no integer */
    float n = shifted - round_to_integer;
    float r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    float power = float_from_bits((float_bits(shifted) - float_bits(round_to_integer) + 127) << 23);
    return (p * r * r + r + 1.0f) * power;
}

/*
 * The largest of count > 0 numbers. Compared as integers that sort as the floats do: a maximum of floats is not
 * vectorized by every compiler (a NaN would make it depend on the order).
 */
static inline float highest_of(const float *numbers, size_t count)
{
    int32_t highest = INT32_MIN;
#pragma omp simd reduction(max : highest)
    for (size_t i = 0; i < count; i++) {
        int32_t bits = (int32_t)float_bits(numbers[i]);
        int32_t sortable = bits ^ ((bits >> 31) & INT32_MAX);
        highest = sortable > highest ? sortable : highest;
    }
    return float_from_bits((uint32_t)(highest ^ ((highest >> 31) & INT32_MAX)));
}

#endif
