/* SPDX-License-Identifier: Apache-2.0 */
#include "canonical_reference.h"

#include <math.h>
#include <string.h>

/* Where the tree over ranks lo up to hi splits: lo plus the largest power of two below hi - lo. */
static uint32_t split(uint32_t lo, uint32_t hi)
{
    uint32_t left = 1;
    while (2 * left < hi - lo) left *= 2;
    return lo + left;
}

static float tree_float32(weft_dtype dtype, weft_op op, const struct reduce_call *call, uint32_t lo, uint32_t hi,
                          size_t at)
{
    if (hi - lo == 1) {
        float leaf = (float)element_value(dtype, call->sources[lo], at);
        return call->scales ? leaf * (float)call->scales[lo] : leaf;
    }
    float left = tree_float32(dtype, op, call, lo, split(lo, hi), at);
    float right = tree_float32(dtype, op, call, split(lo, hi), hi, at);
    return op == WEFT_PROD ? left * right : left + right;
}

static double tree_float64(weft_op op, const struct reduce_call *call, uint32_t lo, uint32_t hi, size_t at)
{
    if (hi - lo == 1) {
        double leaf = element_value(WEFT_FLOAT64, call->sources[lo], at);
        return call->scales ? leaf * call->scales[lo] : leaf;
    }
    double left = tree_float64(op, call, lo, split(lo, hi), at);
    double right = tree_float64(op, call, split(lo, hi), hi, at);
    return op == WEFT_PROD ? left * right : left + right;
}

/* There is one NaN, and it is positive, whatever the arithmetic made. */
static void store(weft_dtype dtype, void *array, size_t at, double value)
{
    element_store(dtype, array, at, isnan(value) ? (double)NAN : value);
}

void canonical_reference(weft_dtype dtype, weft_op op, const struct reduce_call *call, void *expected)
{
    bool ordered = dtype_is_float(dtype) && op != WEFT_MIN && op != WEFT_MAX;
    if (!ordered || (call->source_count == 1 && call->divisor <= 1 && !call->scales)) {
        reference_combine(dtype, op, call, expected); /* the same in any order, or a copy */
        return;
    }
    for (size_t at = 0; at < call->count; at++) {
        if (dtype == WEFT_FLOAT64) {
            double value = tree_float64(op, call, 0, call->source_count, at);
            store(dtype, expected, at, call->divisor > 1 ? value / call->divisor : value);
        } else {
            float value = tree_float32(dtype, op, call, 0, call->source_count, at);
            store(dtype, expected, at, (double)(call->divisor > 1 ? value / (float)call->divisor : value));
        }
    }
}
