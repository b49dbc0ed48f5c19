/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Gradients against finite differences.
 *
 * The layers compute in float32, so a difference quotient has two errors: rounding (about 1e-7 of the value over the
 * step) and truncation. The five-point formula (error O(h^4)) allows a step as large as 0.02, which keeps both near
 * 1e-5 for values around 1. The tolerance, 5e-4 of the largest gradient in the array, is far above that and far below
 * what a wrong term costs.
 */
#ifndef TESTS_TRAINER_GRADIENT_CHECK_H
#define TESTS_TRAINER_GRADIENT_CHECK_H

#include <stddef.h>
#include <stdint.h>

/* The scalar whose gradient is checked, of whatever values hold at the moment. */
typedef double (*objective)(void *context);

/*
 * Fail unless gradient[0..count) is that of @p function with respect to values[0..count). At most 200 elements are
 * tried, spread evenly. @p name is said on failure.
 */
void check_gradient(const char *name, float *values, size_t count, const float *gradient, objective function,
                    void *context);

/* The same numbers for the same seed: normal-ish, between -1.7 and 1.7. */
void fill_random(float *values, size_t count, uint64_t seed);
/* sum of weights[i] * values[i] */
double weighted_sum(const float *weights, const float *values, size_t count);

#endif
