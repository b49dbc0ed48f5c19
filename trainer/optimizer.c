/* SPDX-License-Identifier: Apache-2.0 */
#include "trainer/optimizer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "trainer/model/parameters.h"
#include "trainer/model/vector.h"

static const float momentum_decay = 0.9f, mean_decay = 0.9f, square_decay = 0.99f, epsilon = 1e-8f;

bool optimizer_prepare(struct optimizer *optimizer, enum optimizer_kind kind, double weight_decay, size_t count)
{
    static const uint32_t moment_counts[] = {
        [OPTIMIZER_SGD] = 0, [OPTIMIZER_MOMENTUM] = 1, [OPTIMIZER_ADAM] = 2, [OPTIMIZER_ADAMW] = 2};
    *optimizer = (struct optimizer){.kind = kind, .weight_decay = weight_decay, .moment_count = moment_counts[kind]};
    for (uint32_t i = 0; i < optimizer->moment_count; i++) {
        optimizer->moments[i] = calloc(count, sizeof(float));
        if (!optimizer->moments[i]) {
            optimizer_release(optimizer);
            return false;
        }
    }
    return true;
}

void optimizer_release(struct optimizer *optimizer)
{
    for (int i = 0; i < 2; i++) free(optimizer->moments[i]);
    *optimizer = (struct optimizer){0};
}

/* What one update needs to know besides its arrays. */
struct update {
    float rate, gradient_scale;
    float coupled_decay, separate_decay;                   /* at most one is not zero */
    float mean_correction, inverse_root_square_correction; /* adam */
};

VECTORIZED static void update_sgd(struct update u, size_t count, const float *restrict g, float *restrict w)
{
    for (size_t i = 0; i < count; i++) w[i] -= u.rate * (u.gradient_scale * g[i] + u.coupled_decay * w[i]);
}

VECTORIZED static void update_momentum(struct update u, size_t count, const float *restrict g, float *restrict m,
                                       float *restrict w)
{
    for (size_t i = 0; i < count; i++) {
        m[i] = momentum_decay * m[i] + (u.gradient_scale * g[i] + u.coupled_decay * w[i]);
        w[i] -= u.rate * m[i];
    }
}

VECTORIZED static void update_adam(struct update u, size_t count, const float *restrict g, float *restrict m,
                                   float *restrict v, float *restrict w)
{
    for (size_t i = 0; i < count; i++) {
        float gradient = u.gradient_scale * g[i] + u.coupled_decay * w[i];
        m[i] = mean_decay * m[i] + (1.0f - mean_decay) * gradient;
        v[i] = square_decay * v[i] + (1.0f - square_decay) * gradient * gradient;
        float deviation = sqrtf(v[i]) * u.inverse_root_square_correction;
        w[i] -= u.rate * (m[i] * u.mean_correction / (deviation + epsilon) + u.separate_decay * w[i]);
    }
}

static void update_range(const struct optimizer *optimizer, struct update update, size_t first, size_t count,
                         const float *gradients, float *parameters)
{
    const float *g = gradients + first;
    float *w = parameters + first;
    switch (optimizer->kind) {
    case OPTIMIZER_SGD:
        update_sgd(update, count, g, w);
        return;
    case OPTIMIZER_MOMENTUM:
        update_momentum(update, count, g, optimizer->moments[0] + first, w);
        return;
    case OPTIMIZER_ADAM:
    case OPTIMIZER_ADAMW:
        update_adam(update, count, g, optimizer->moments[0] + first, optimizer->moments[1] + first, w);
        return;
    }
}

void optimizer_step(struct optimizer *optimizer, const struct parameter_layout *layout, uint64_t step,
                    double learning_rate, double gradient_scale, const float *gradients, float *parameters)
{
    struct update update = {
        .rate = (float)learning_rate,
        .gradient_scale = (float)gradient_scale,
        .mean_correction = (float)(1.0 / (1.0 - pow(mean_decay, (double)step))),
        .inverse_root_square_correction = (float)(1.0 / sqrt(1.0 - pow(square_decay, (double)step))),
    };
    for (size_t i = 0; i < layout->parameter_count; i++) {
        const struct parameter *parameter = &layout->parameters[i];
        float decay = parameter->decays ? (float)optimizer->weight_decay : 0.0f;
        bool separate = optimizer->kind == OPTIMIZER_ADAMW;
        update.separate_decay = separate ? decay : 0.0f;
        update.coupled_decay = separate ? 0.0f : decay;
        update_range(optimizer, update, parameter->first, parameter->count, gradients, parameters);
    }
}

VECTORIZED static double sum_of_squares(const float *gradients, size_t count)
{
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (size_t i = 0; i < count; i++) sum += (double)gradients[i] * (double)gradients[i];
    return sum;
}

double gradient_norm(const float *gradients, size_t count)
{
    return sqrt(sum_of_squares(gradients, count));
}

double clip_scale(double norm, double clip)
{
    return clip > 0 && norm > clip ? clip / norm : 1.0;
}

double learning_rate_at(uint64_t step, uint64_t steps, uint64_t warmup, double highest)
{
    if (step < warmup) return highest * (double)step / (double)warmup;
    if (steps <= warmup) return highest;
    const double pi = 3.14159265358979323846, lowest = highest / 20;
    double progress = (double)(step - warmup) / (double)(steps - warmup);
    return lowest + (highest - lowest) * 0.5 * (1.0 + cos(pi * (progress < 1 ? progress : 1)));
}
