/* SPDX-License-Identifier: Apache-2.0 */
#include "trainer/model/parameters.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { ALIGNMENT = 16 }; /* elements */

static size_t take(struct parameter_layout *layout, const char *name, int layer, size_t count, float mean,
                   float deviation)
{
    struct parameter *parameter = &layout->parameters[layout->parameter_count++];
    *parameter = (struct parameter){.first = layout->count,
                                    .count = count,
                                    .initial_mean = mean,
                                    .initial_deviation = deviation,
                                    .decays = deviation > 0};
    if (layer < 0)
        snprintf(parameter->name, sizeof(parameter->name), "%s", name);
    else
        snprintf(parameter->name, sizeof(parameter->name), "layer %d %s", layer, name);
    layout->count += (count + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    return parameter->first;
}

void parameter_layout_make(const struct transformer_shape *shape, struct parameter_layout *layout)
{
    const float deviation = 0.55f / sqrtf((float)shape->width);
    const float into_residual = deviation / sqrtf(2.0f * (float)shape->layers);
    size_t width = shape->width;
    memset(layout, 0, sizeof(*layout));
    layout->token_table = take(layout, "token table", -1, TOKEN_COUNT * width, 0, deviation);
    layout->position_table = take(layout, "position table", -1, shape->context * width, 0, deviation);
    for (int i = 0; i < (int)shape->layers; i++) {
        struct layer_offsets *layer = &layout->layers[i];
        layer->norm1_gain = take(layout, "first gain", i, width, 1, 0);
        layer->norm1_bias = take(layout, "first shift", i, width, 0, 0);
        layer->qkv_weight = take(layout, "query, key, value weight", i, 3 * width * width, 0, deviation);
        layer->qkv_bias = take(layout, "query, key, value bias", i, 3 * width, 0, 0);
        layer->join_weight = take(layout, "join weight", i, width * width, 0, into_residual);
        layer->join_bias = take(layout, "join bias", i, width, 0, 0);
        layer->norm2_gain = take(layout, "second gain", i, width, 1, 0);
        layer->norm2_bias = take(layout, "second shift", i, width, 0, 0);
        layer->up_weight = take(layout, "up weight", i, 4 * width * width, 0, deviation);
        layer->up_bias = take(layout, "up bias", i, 4 * width, 0, 0);
        layer->down_weight = take(layout, "down weight", i, 4 * width * width, 0, into_residual);
        layer->down_bias = take(layout, "down bias", i, width, 0, 0);
    }
    layout->last_gain = take(layout, "last gain", -1, width, 1, 0);
    layout->last_bias = take(layout, "last shift", -1, width, 0, 0);
}

size_t parameter_layout_learned(const struct parameter_layout *layout)
{
    size_t learned = 0;
    for (size_t i = 0; i < layout->parameter_count; i++) learned += layout->parameters[i].count;
    return learned;
}

/* A normal number out of a counter (Box and Muller 1958), so that element i does not depend on the others. */
static float normal(uint64_t seed, uint64_t index)
{
    uint64_t bits = mix_bits(mix_bits(seed) ^ index);
    double radius = ((double)(bits >> 32) + 0.5) * 0x1p-32, angle = (double)(bits & UINT32_MAX) * 0x1p-32;
    return (float)(sqrt(-2.0 * log(radius)) * cos(2.0 * 3.14159265358979323846 * angle));
}

void parameters_initialize(const struct parameter_layout *layout, uint64_t seed, float *values)
{
    memset(values, 0, layout->count * sizeof(*values));
    for (size_t i = 0; i < layout->parameter_count; i++) {
        const struct parameter *parameter = &layout->parameters[i];
        for (size_t j = parameter->first; j < parameter->first + parameter->count; j++) {
            values[j] = parameter->initial_mean;
            if (parameter->initial_deviation > 0) values[j] += parameter->initial_deviation * normal(seed, j);
        }
    }
}
