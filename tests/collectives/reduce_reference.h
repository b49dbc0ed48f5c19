/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What collectives/reduce promises, said a second time: one element at a time, without vectors, rounding through double
 * arithmetic instead of bit tricks. Slow, and independent of the kernels.
 */
#ifndef TESTS_COLLECTIVES_REDUCE_REFERENCE_H
#define TESTS_COLLECTIVES_REDUCE_REFERENCE_H

#include "base/random.h"
#include "collectives/reduce/reduce.h"

/* A binary floating-point format of IEEE 754's kind: a sign, an exponent and a fraction, with subnormals. */
struct float_format {
    int width;            /* bits */
    int precision;        /* bits of the significand, the hidden one included */
    int minimum_exponent; /* of the least normal number */
    int largest, nan;     /* bits of the largest number and of the one NaN that results are given */
    bool has_infinity;    /* the bits after the largest number's */
    bool saturates;       /* what is too large becomes the largest number */
};
extern const struct float_format format_float16, format_bfloat16, format_float8_e4m3, format_float8_e5m2;

double format_decode(const struct float_format *format, uint16_t bits);
/* To nearest, ties to even. */
uint16_t format_encode(const struct float_format *format, double value);

bool dtype_is_float(weft_dtype dtype);
/* Element @p at of an array at any address; NaN and infinities as they are. Floats only. */
double element_value(weft_dtype dtype, const void *array, size_t at);

/* Write the type's number nearest to @p value. */
void element_store(weft_dtype dtype, void *array, size_t at, double value);

/* A scale for a premultiplied sum: between -2 and 2 for floats; any integer of the type's that a double is. */
double any_scale(weft_dtype dtype, struct random *random);

/* The bytes that every destination must hold after the call. */
void reference_combine(weft_dtype dtype, weft_op op, const struct reduce_call *call, void *expected);

/* Fill with zeros of both signs, subnormals, infinities, NaNs, extremes, small numbers and arbitrary bits. */
void fill_wild(weft_dtype dtype, struct random *random, void *array, size_t count);
/* Fill with numbers whose sums and products of nine do not overflow: 1/2 <= |x| < 7/4, or |x| < 100. */
void fill_tame(weft_dtype dtype, struct random *random, void *array, size_t count);
#endif
