/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where each parameter of a transformer lies in one flat array, and its first value.
 *
 * The array is in forward order: token table, position table, layers, last normalization. So the backward pass finishes
 * gradients from the end of the array towards its beginning, and a piece of it can be sent while it goes on. The token
 * table, tied to the output layer, gets its last share at the very end, and stands first.
 */
#ifndef TRAINER_MODEL_PARAMETERS_H
#define TRAINER_MODEL_PARAMETERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TOKEN_COUNT = 256, LAYER_LIMIT = 64 };

struct transformer_shape {
    uint32_t layers, width, heads, context;
};

/* Offsets in elements. */
struct layer_offsets {
    size_t norm1_gain, norm1_bias, qkv_weight, qkv_bias, join_weight, join_bias;
    size_t norm2_gain, norm2_bias, up_weight, up_bias, down_weight, down_bias;
};

/* One named piece of the array. Weight decay is for matrices, not for gains and biases. */
struct parameter {
    char name[48];
    size_t first, count;
    float initial_mean, initial_deviation;
    bool decays;
};

struct parameter_layout {
    size_t token_table, position_table, last_gain, last_bias;
    struct layer_offsets layers[LAYER_LIMIT];
    size_t count; /* elements of the array, padding included: every parameter begins on a 64-byte boundary */
    size_t parameter_count;
    struct parameter parameters[4 + 12 * LAYER_LIMIT];
};

void parameter_layout_make(const struct transformer_shape *shape, struct parameter_layout *layout);
/* How many numbers are learned; padding does not count. */
size_t parameter_layout_learned(const struct parameter_layout *layout);
/*
 * First values: normal with deviation 0.55/sqrt(width), the projections into the residual path 1/sqrt(2 layers) of
 * that, gains 1, biases 0. This is GPT-2's 0.02 at its width of 768; with a fixed 0.02 a narrow model stays at the loss
 * of byte pairs for hundreds of steps. They depend on the seed alone. Padding becomes 0.
 */
void parameters_initialize(const struct parameter_layout *layout, uint64_t seed, float *values);

/* The finalizer of SplitMix64 (Steele, Lea, Flood 2014): spreads a counter over 64 bits. */
static inline uint64_t mix_bits(uint64_t value)
{
    value += 0x9e3779b97f4a7c15;
    value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9;
    value = (value ^ (value >> 27)) * 0x94d049bb133111eb;
    return value ^ (value >> 31);
}

#endif
