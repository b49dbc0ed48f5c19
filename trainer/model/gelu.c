/* SPDX-License-Identifier: Apache-2.0 */
#include "trainer/model/layers.h"
#include "trainer/model/vector.h"

/*
 * (1 + tanh(u))/2 is the logistic function of 2u, which needs one exponential and cancels nowhere:
 * gelu(x) = x s(x) with s(x) = 1 / (1 + exp(-2u)), 2u = 2 sqrt(2/pi) (x + 0.044715 x^3).
 */
#define TWICE_ROOT_TWO_OVER_PI 1.5957691216057308f
#define CUBIC 0.044715f

/* Elements converted at a time: small enough to stay in the first-level cache. */
enum { BLOCK = 1024 };

static inline float gate(float x)
{
    return 1.0f / (1.0f + exp_approximate(-TWICE_ROOT_TWO_OVER_PI * (x + CUBIC * x * x * x)));
}

VECTORIZED static void gelu_block(float *x, size_t count)
{
    for (size_t i = 0; i < count; i++) x[i] = x[i] * gate(x[i]);
}

/* d gelu/dx = s + x s (1 - s) d(2u)/dx */
VECTORIZED static void gelu_slope_block(const float *restrict x, size_t count, float *restrict gradient)
{
    for (size_t i = 0; i < count; i++) {
        float s = gate(x[i]);
        float inner = TWICE_ROOT_TWO_OVER_PI * (1.0f + 3.0f * CUBIC * x[i] * x[i]);
        gradient[i] *= s + x[i] * s * (1.0f - s) * inner;
    }
}

void gelu_forward(enum precision precision, const void *x, size_t count, void *out)
{
    float block[BLOCK];
    for (size_t first = 0; first < count; first += BLOCK) {
        size_t length = count - first < BLOCK ? count - first : BLOCK;
        operand_load(precision, x, first, length, block);
        gelu_block(block, length);
        operand_store(precision, block, out, first, length);
    }
}

void gelu_backward(enum precision precision, const void *x, const void *dout, size_t count, void *dx)
{
    float block[BLOCK], gradient[BLOCK];
    for (size_t first = 0; first < count; first += BLOCK) {
        size_t length = count - first < BLOCK ? count - first : BLOCK;
        operand_load(precision, x, first, length, block);
        operand_load(precision, dout, first, length, gradient);
        gelu_slope_block(block, length, gradient);
        operand_store(precision, gradient, dx, first, length);
    }
}
