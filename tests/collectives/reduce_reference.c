/* SPDX-License-Identifier: Apache-2.0 */
#include "reduce_reference.h"

#include <math.h>
#include <string.h>

__extension__ typedef __int128 wide_integer;

const struct float_format format_float16 = {16, 11, -14, 0x7bff, 0x7e00, true, false};
const struct float_format format_bfloat16 = {16, 8, -126, 0x7f7f, 0x7fc0, true, false};
const struct float_format format_float8_e4m3 = {8, 4, -6, 0x7e, 0x7f, false, true};
const struct float_format format_float8_e5m2 = {8, 3, -14, 0x7b, 0x7e, true, true};

static const struct float_format *format_of(weft_dtype dtype)
{
    switch (dtype) {
    case WEFT_FLOAT16:
        return &format_float16;
    case WEFT_BFLOAT16:
        return &format_bfloat16;
    case WEFT_FLOAT8_E4M3:
        return &format_float8_e4m3;
    default:
        return &format_float8_e5m2;
    }
}

double format_decode(const struct float_format *format, uint16_t bits)
{
    int fraction_bits = format->precision - 1;
    int magnitude = bits & ((1 << (format->width - 1)) - 1);
    int fraction = bits & ((1 << fraction_bits) - 1);
    int exponent = magnitude >> fraction_bits;
    double sign = magnitude == bits ? 1 : -1;
    if (exponent == 0) return sign * ldexp(fraction, format->minimum_exponent - fraction_bits);
    if (magnitude > format->largest)
        return format->has_infinity && magnitude == format->largest + 1 ? sign * INFINITY : NAN;
    return sign * ldexp(fraction + (1 << fraction_bits), exponent - 1 + format->minimum_exponent - fraction_bits);
}

uint16_t format_encode(const struct float_format *format, double value)
{
    int fraction_bits = format->precision - 1;
    int overflow = format->saturates ? format->largest : format->largest + 1;
    if (isnan(value)) return (uint16_t)format->nan;

    int sign = signbit(value) ? 1 << (format->width - 1) : 0;
    double magnitude = fabs(value);
    if (magnitude == 0) return (uint16_t)sign;
    if (isinf(magnitude)) return (uint16_t)(sign | overflow);

    int exponent = ilogb(magnitude);
    if (exponent < format->minimum_exponent) exponent = format->minimum_exponent;
    double units = nearbyint(ldexp(magnitude, fraction_bits - exponent)); /* of the last place; exact but for this */
    /* A carry out of the significand is a carry into the exponent; a missing hidden bit makes the exponent 0. */
    int bits = ((exponent - format->minimum_exponent) << fraction_bits) + (int)units;
    return (uint16_t)(sign | (bits > format->largest ? overflow : bits));
}

bool dtype_is_float(weft_dtype dtype)
{
    switch (dtype) {
    case WEFT_INT8:
    case WEFT_UINT8:
    case WEFT_INT32:
    case WEFT_UINT32:
    case WEFT_INT64:
    case WEFT_UINT64:
        return false;
    default:
        return true;
    }
}

static uint64_t element_bits(weft_dtype dtype, const void *array, size_t at)
{
    size_t size = weft_dtype_size(dtype);
    uint16_t half;
    uint32_t word;
    uint64_t wide;
    const uint8_t *from = (const uint8_t *)array + at * size;
    switch (size) {
    case 1:
        return *from;
    case 2:
        memcpy(&half, from, size);
        return half;
    case 4:
        memcpy(&word, from, size);
        return word;
    default:
        memcpy(&wide, from, size);
        return wide;
    }
}

static void element_set(weft_dtype dtype, void *array, size_t at, uint64_t bits)
{
    size_t size = weft_dtype_size(dtype);
    uint8_t byte = (uint8_t)bits;
    uint16_t half = (uint16_t)bits;
    uint32_t word = (uint32_t)bits;
    const void *const from[] = {[1] = &byte, [2] = &half, [4] = &word, [8] = &bits};
    memcpy((char *)array + at * size, from[size], size);
}

double element_value(weft_dtype dtype, const void *array, size_t at)
{
    uint64_t bits = element_bits(dtype, array, at);
    uint32_t word = (uint32_t)bits;
    float narrow;
    double wide;
    switch (dtype) {
    case WEFT_FLOAT64:
        memcpy(&wide, &bits, sizeof wide);
        return wide;
    case WEFT_FLOAT32:
        memcpy(&narrow, &word, sizeof narrow);
        return narrow;
    default:
        return format_decode(format_of(dtype), (uint16_t)bits);
    }
}

/* -0 is less than +0; a NaN wins. */
static double lesser(double a, double b)
{
    if (isnan(a) || isnan(b)) return NAN;
    if (a == b) return signbit(a) ? a : b;
    return a < b ? a : b;
}

static float combine_float32(weft_op op, float a, float b)
{
    switch (op) {
    case WEFT_PROD:
        return a * b;
    case WEFT_MIN:
        return (float)lesser(a, b);
    case WEFT_MAX:
        return (float)-lesser(-a, -b);
    default:
        return a + b;
    }
}

static double combine_float64(weft_op op, double a, double b)
{
    switch (op) {
    case WEFT_PROD:
        return a * b;
    case WEFT_MIN:
        return lesser(a, b);
    case WEFT_MAX:
        return -lesser(-a, -b);
    default:
        return a + b;
    }
}

/* The integer of the type that has these bits, or these after those that do not fit were dropped. */
static wide_integer integer_value(weft_dtype dtype, uint64_t bits)
{
    switch (dtype) {
    case WEFT_INT8:
        return (int8_t)bits;
    case WEFT_UINT8:
        return (uint8_t)bits;
    case WEFT_INT32:
        return (int32_t)bits;
    case WEFT_UINT32:
        return (uint32_t)bits;
    case WEFT_INT64:
        return (int64_t)bits;
    default:
        return bits;
    }
}

static uint64_t combine_integer(weft_op op, wide_integer a, wide_integer b)
{
    switch (op) {
    case WEFT_PROD:
        return (uint64_t)a * (uint64_t)b;
    case WEFT_MIN:
        return (uint64_t)(a < b ? a : b);
    case WEFT_MAX:
        return (uint64_t)(a > b ? a : b);
    default:
        return (uint64_t)a + (uint64_t)b;
    }
}

static double scaled_float64(const struct reduce_call *call, uint32_t source, size_t at)
{
    double value = element_value(WEFT_FLOAT64, call->sources[source], at);
    return call->scales ? value * call->scales[source] : value;
}

static float scaled_float32(weft_dtype dtype, const struct reduce_call *call, uint32_t source, size_t at)
{
    float value = (float)element_value(dtype, call->sources[source], at);
    return call->scales ? value * (float)call->scales[source] : value;
}

static wide_integer scaled_integer(weft_dtype dtype, const struct reduce_call *call, uint32_t source, size_t at)
{
    wide_integer value = integer_value(dtype, element_bits(dtype, call->sources[source], at));
    if (!call->scales) return value;
    return integer_value(dtype, (uint64_t)value * (uint64_t)(wide_integer)call->scales[source]);
}

static uint64_t combined_float64(weft_op op, const struct reduce_call *call, size_t at)
{
    double value = scaled_float64(call, 0, at);
    for (uint32_t i = 1; i < call->source_count; i++) value = combine_float64(op, value, scaled_float64(call, i, at));
    if (call->divisor > 1) value /= call->divisor;
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return isnan(value) ? 0x7ff8000000000000 : bits;
}

static uint64_t combined_float32(weft_dtype dtype, weft_op op, const struct reduce_call *call, size_t at)
{
    float value = scaled_float32(dtype, call, 0, at);
    for (uint32_t i = 1; i < call->source_count; i++) {
        value = combine_float32(op, value, scaled_float32(dtype, call, i, at));
    }
    if (call->divisor > 1) value /= (float)call->divisor;
    if (dtype != WEFT_FLOAT32) return format_encode(format_of(dtype), value);
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return isnan(value) ? 0x7fc00000 : bits;
}

static uint64_t combined_integer(weft_dtype dtype, weft_op op, const struct reduce_call *call, size_t at)
{
    wide_integer value = scaled_integer(dtype, call, 0, at);
    for (uint32_t i = 1; i < call->source_count; i++) {
        value = integer_value(dtype, combine_integer(op, value, scaled_integer(dtype, call, i, at)));
    }
    if (call->divisor > 1) value /= call->divisor;
    return (uint64_t)value;
}

void reference_combine(weft_dtype dtype, weft_op op, const struct reduce_call *call, void *expected)
{
    for (size_t at = 0; at < call->count; at++) {
        uint64_t bits;
        if (call->source_count == 1 && call->divisor <= 1 && !call->scales) {
            bits = element_bits(dtype, call->sources[0], at);
        } else if (!dtype_is_float(dtype)) {
            bits = combined_integer(dtype, op, call, at);
        } else if (dtype == WEFT_FLOAT64) {
            bits = combined_float64(op, call, at);
        } else {
            bits = combined_float32(dtype, op, call, at);
        }
        element_set(dtype, expected, at, bits);
    }
}

/* A number of the format nearest to @p value, as bits. */
static uint64_t bits_of(weft_dtype dtype, double value)
{
    uint64_t wide;
    uint32_t word;
    float narrow = (float)value;
    switch (dtype) {
    case WEFT_FLOAT64:
        memcpy(&wide, &value, sizeof wide);
        return wide;
    case WEFT_FLOAT32:
        memcpy(&word, &narrow, sizeof word);
        return word;
    default:
        return dtype_is_float(dtype) ? format_encode(format_of(dtype), value) : (uint64_t)(int64_t)value;
    }
}

void element_store(weft_dtype dtype, void *array, size_t at, double value)
{
    element_set(dtype, array, at, bits_of(dtype, value));
}

double any_scale(weft_dtype dtype, struct random *random)
{
    double unit = random_unit(random);
    if (dtype_is_float(dtype)) return random_below(random, 4) ? unit * 4 - 2 : (double)random_below(random, 2);
    bool is_unsigned = integer_value(dtype, UINT64_MAX) > 0;
    double range = ldexp(1, (int)weft_dtype_size(dtype) * 8);
    return floor((is_unsigned ? unit : unit - 0.5) * (random_below(random, 2) ? range : 8));
}

/* Bit patterns at the edges: next to zero, to the least normal number, to infinity and among the NaNs. */
static uint64_t edge_bits(weft_dtype dtype, struct random *random)
{
    int width = (int)weft_dtype_size(dtype) * 8;
    int fraction_bits = dtype == WEFT_FLOAT64 ? 52 : dtype == WEFT_FLOAT32 ? 23 : format_of(dtype)->precision - 1;
    uint64_t sign = UINT64_C(1) << (width - 1);
    uint64_t least_normal = UINT64_C(1) << fraction_bits;
    uint64_t infinity = (sign - 1) & ~(least_normal - 1);
    const uint64_t edges[] = {
        0,       1, least_normal - 1, least_normal, infinity - 1, infinity, infinity + 1, infinity + least_normal / 2,
        sign - 1};
    const uint64_t integer_edges[] = {0, 1, sign - 1, sign, sign + 1, sign / 2, 2 * sign - 1, 2 * sign - 2, 46341};
    uint64_t pick = random_below(random, sizeof edges / sizeof edges[0]);
    if (!dtype_is_float(dtype)) return integer_edges[pick];
    return edges[pick] | (random_below(random, 2) ? sign : 0);
}

void fill_wild(weft_dtype dtype, struct random *random, void *array, size_t count)
{
    for (size_t at = 0; at < count; at++) {
        uint64_t bits;
        switch (random_below(random, 8)) {
        case 0:
            bits = edge_bits(dtype, random);
            break;
        case 1:
        case 2:
            bits = random_next(random);
            break;
        case 3:
            bits = bits_of(dtype, (double)random_below(random, 7) - 3); /* equal numbers, exact ties */
            break;
        default:
            bits = bits_of(dtype, (random_unit(random) - 0.5) * 200);
        }
        element_set(dtype, array, at, bits);
    }
}

void fill_tame(weft_dtype dtype, struct random *random, void *array, size_t count)
{
    for (size_t at = 0; at < count; at++) {
        double magnitude = dtype_is_float(dtype) ? 0.5 + 1.25 * random_unit(random) : (double)random_below(random, 100);
        element_set(dtype, array, at, bits_of(dtype, random_below(random, 2) ? magnitude : -magnitude));
    }
}
