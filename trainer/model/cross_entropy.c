/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "trainer/model/layers.h"
#include "trainer/model/vector.h"

enum { BLOCK = 256 };

VECTORIZED static float sum_of_exponentials(const float *logits, size_t classes, float *highest)
{
    float sum = 0, origin = highest_of(logits, classes);
#pragma omp simd reduction(+ : sum)
    for (size_t i = 0; i < classes; i++) sum += exp_approximate(logits[i] - origin);
    *highest = origin;
    return sum;
}

VECTORIZED static void scaled_exponentials(const float *restrict logits, size_t count, float highest, float scale,
                                           float *restrict out)
{
    for (size_t i = 0; i < count; i++) out[i] = scale * exp_approximate(logits[i] - highest);
}

void cross_entropy(enum precision precision, const float *logits, const uint8_t *targets, size_t rows, size_t classes,
                   float gradient_scale, float *losses, void *dlogits)
{
    float block[BLOCK];
    for (size_t row = 0; row < rows; row++) {
        const float *scores = logits + row * classes;
        size_t target = targets[row];
        float highest, sum = sum_of_exponentials(scores, classes, &highest);
        losses[row] = logf(sum) + highest - scores[target];
        for (size_t first = 0; dlogits && first < classes; first += BLOCK) {
            size_t count = classes - first < BLOCK ? classes - first : BLOCK;
            scaled_exponentials(scores + first, count, highest, gradient_scale / sum, block);
            if (target >= first && target < first + count) block[target - first] -= gradient_scale;
            operand_store(precision, block, dlogits, row * classes + first, count);
        }
    }
}
