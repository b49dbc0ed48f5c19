/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Matrix products: out = left x right (+ bias) (+ out), by oneDNN, on the calling thread alone.
 *
 * What a product reads is an *operand*: float32, or bfloat16 when the model trains in bfloat16. Products always sum in
 * float32. On a processor without bfloat16 arithmetic the operands are float32 numbers rounded to bfloat16, so training
 * in bfloat16 gives (nearly) the same there, without its speed.
 *
 * Thread: a struct products belongs to one thread at a time.
 * Errors: a product that fails leaves its output undefined and is remembered; products_error() tells. So the layers
 *         need not pass statuses upwards, and the trainer asks once per step.
 */
#ifndef TRAINER_MODEL_PRODUCT_H
#define TRAINER_MODEL_PRODUCT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum precision { PRECISION_FLOAT32, PRECISION_BFLOAT16, PRECISION_BFLOAT16_EMULATED };

struct products;

/* NULL when oneDNN cannot start. Owner: the caller, products_destroy(). */
struct products *products_create(bool bfloat16);
void products_destroy(struct products *products);
enum precision products_precision(const struct products *products);
/* "float32", "bfloat16" or "bfloat16 (emulated)" */
const char *precision_name(enum precision precision);
/* What the first failing product failed with, or NULL. */
const char *products_error(const struct products *products);

enum product_flags {
    PRODUCT_ACCUMULATE = 1,  /* add to what is in out */
    PRODUCT_BIAS = 2,        /* add bias[columns] (float32) to every row */
    PRODUCT_OUT_OPERAND = 4, /* out is an operand; else float32. Emulated bfloat16 is not rounded here. */
};

/* Distances in elements. A transposed matrix is one with row and column exchanged. */
struct product_strides {
    int64_t batch, row, column;
};

struct product {
    uint32_t batch, rows, columns, inner; /* batch products of (rows x inner) with (inner x columns) */
    struct product_strides left, right, out;
    uint64_t flags;
};

void product_run(struct products *products, const struct product *product, const void *left, const void *right,
                 const float *bias, void *out);

/* Operands: their size, and conversion from and to float32. For float32, loading and storing are copies. */
size_t operand_bytes(enum precision precision);
void operand_store(enum precision precision, const float *from, void *to, size_t first, size_t count);
void operand_load(enum precision precision, const void *from, size_t first, size_t count, float *to);

static inline const void *operand_at(enum precision precision, const void *operand, size_t index)
{
    return (const char *)operand + index * operand_bytes(precision);
}

static inline void *operand_at_mutable(enum precision precision, void *operand, size_t index)
{
    return (char *)operand + index * operand_bytes(precision);
}

#endif
