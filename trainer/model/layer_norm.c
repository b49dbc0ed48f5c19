/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "trainer/model/layers.h"
#include "trainer/model/vector.h"

enum { BLOCK = 256 };

VECTORIZED static float normalize_row(const float *restrict x, size_t width, float *restrict normalized)
{
    float sum = 0, squares = 0;
#pragma omp simd reduction(+ : sum)
    for (size_t i = 0; i < width; i++) sum += x[i];
    float mean = sum / (float)width;
    /* Two passes: the mean of squares minus the square of the mean cancels when the mean is large. */
#pragma omp simd reduction(+ : squares)
    for (size_t i = 0; i < width; i++) squares += (x[i] - mean) * (x[i] - mean);
    float inverse = 1.0f / sqrtf(squares / (float)width + 1e-5f);
    for (size_t i = 0; i < width; i++) normalized[i] = (x[i] - mean) * inverse;
    return inverse;
}

VECTORIZED static void scale_and_shift(const float *restrict normalized, const float *restrict gain,
                                       const float *restrict bias, size_t count, float *restrict out)
{
    for (size_t i = 0; i < count; i++) out[i] = normalized[i] * gain[i] + bias[i];
}

void layer_norm_forward(enum precision precision, const float *x, const float *gain, const float *bias, size_t rows,
                        size_t width, float *normalized, float *inverse_deviation, void *out)
{
    float block[BLOCK];
    for (size_t row = 0; row < rows; row++) {
        float *kept = normalized + row * width;
        inverse_deviation[row] = normalize_row(x + row * width, width, kept);
        for (size_t first = 0; first < width; first += BLOCK) {
            size_t count = width - first < BLOCK ? width - first : BLOCK;
            scale_and_shift(kept + first, gain + first, bias + first, count, block);
            operand_store(precision, block, out, row * width + first, count);
        }
    }
}

/*
 * With n the normalized row and g = dout * gain:  dx += inverse (g - mean(g) - n mean(g n)).
 */
VECTORIZED static void backward_row(const float *restrict dout, const float *restrict gain,
                                    const float *restrict normalized, float inverse, size_t width, float *restrict dx,
                                    float *restrict dgain, float *restrict dbias)
{
    float sum = 0, product_sum = 0;
#pragma omp simd reduction(+ : sum, product_sum)
    for (size_t i = 0; i < width; i++) {
        float g = dout[i] * gain[i];
        sum += g;
        product_sum += g * normalized[i];
    }
    float mean = sum / (float)width, product_mean = product_sum / (float)width;
    for (size_t i = 0; i < width; i++) {
        dx[i] += inverse * (dout[i] * gain[i] - mean - normalized[i] * product_mean);
        dgain[i] += dout[i] * normalized[i];
        dbias[i] += dout[i];
    }
}

void layer_norm_backward(const float *dout, const float *gain, const float *normalized, const float *inverse_deviation,
                         size_t rows, size_t width, float *dx, float *dgain, float *dbias)
{
    memset(dgain, 0, width * sizeof(*dgain));
    memset(dbias, 0, width * sizeof(*dbias));
    for (size_t row = 0; row < rows; row++) {
        size_t at = row * width;
        backward_row(dout + at, gain, normalized + at, inverse_deviation[row], width, dx + at, dgain, dbias);
    }
}
