/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From an averaged gradient to new parameters: learning-rate schedule, clipping by global norm, and the four update
 * rules. Ranks with equal parameters and equal gradients end with equal parameters, bit for bit.
 */
#ifndef TRAINER_OPTIMIZER_H
#define TRAINER_OPTIMIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum optimizer_kind { OPTIMIZER_SGD, OPTIMIZER_MOMENTUM, OPTIMIZER_ADAM, OPTIMIZER_ADAMW };

struct parameter_layout;

struct optimizer {
    enum optimizer_kind kind;
    double weight_decay; /* adamw: apart from the gradient (Loshchilov, Hutter 2019); else added to the gradient */
    float *moments[2];   /* state, moment_count of them in use, each as long as the parameters */
    uint32_t moment_count;
};

/* False: out of memory. Owner: the caller, optimizer_release(). */
bool optimizer_prepare(struct optimizer *optimizer, enum optimizer_kind kind, double weight_decay, size_t count);
void optimizer_release(struct optimizer *optimizer);

/*
 * Step number @p step (from 1) with gradients times @p gradient_scale.
 * sgd: w -= lr g. momentum 0.9 (Polyak 1964): m = 0.9 m + g, w -= lr m. adam (Kingma, Ba 2015): decay rates 0.9 and
 * 0.99, epsilon 1e-8, both means corrected for their start at zero.
 */
void optimizer_step(struct optimizer *optimizer, const struct parameter_layout *layout, uint64_t step,
                    double learning_rate, double gradient_scale, const float *gradients, float *parameters);

/* Length of the gradient vector, summed in float64. */
double gradient_norm(const float *gradients, size_t count);
/* Factor that brings a gradient of length @p norm to at most @p clip; 1 when clip is 0. */
double clip_scale(double norm, double clip);

/* Linear from 0 over warmup steps, then half a cosine down to a twentieth of highest at the last step. */
double learning_rate_at(uint64_t step, uint64_t steps, uint64_t warmup, double highest);

#endif
