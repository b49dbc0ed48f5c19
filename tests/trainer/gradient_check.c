/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/trainer/gradient_check.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "trainer/model/parameters.h"

static double value_at(float *element, float at, objective function, void *context)
{
    float before = *element;
    *element = at;
    double value = function(context);
    *element = before;
    return value;
}

static double slope(float *element, objective function, void *context)
{
    const float step = 0.02f;
    float x = *element;
    /* The steps that are really taken, in float32. */
    float right = x + step, left = x - step, far_right = x + 2 * step, far_left = x - 2 * step;
    double near = (value_at(element, right, function, context) - value_at(element, left, function, context)) /
                  ((double)right - (double)left);
    double far = (value_at(element, far_right, function, context) - value_at(element, far_left, function, context)) /
                 ((double)far_right - (double)far_left);
    return (4 * near - far) / 3;
}

void check_gradient(const char *name, float *values, size_t count, const float *gradient, objective function,
                    void *context)
{
    size_t stride = count / 200 + 1;
    double largest = 0;
    for (size_t i = 0; i < count; i++) largest = fmax(largest, fabs((double)gradient[i]));
    assert_true(largest > 0);
    for (size_t i = 0; i < count; i += stride) {
        double expected = slope(&values[i], function, context);
        if (fabs(expected - (double)gradient[i]) > 5e-4 * largest)
            fail_msg("%s: gradient of element %zu is %.6g, finite differences say %.6g (largest %.3g)", name, i,
                     (double)gradient[i], expected, largest);
    }
}

void fill_random(float *values, size_t count, uint64_t seed)
{
    for (size_t i = 0; i < count; i++) {
        uint64_t bits = mix_bits(mix_bits(seed) ^ i);
        values[i] = ((float)(bits >> 40) * 0x1p-24f - 0.5f) * 3.4f;
    }
}

double weighted_sum(const float *weights, const float *values, size_t count)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++) sum += (double)weights[i] * (double)values[i];
    return sum;
}
