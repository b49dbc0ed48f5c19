/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One sequence at a time, all of its heads in one batched product: the scores of a sequence then stay in the
 * second-level cache between the products and the softmax. Queries, keys and values are read in place, by strides,
 * from the rows that one linear layer wrote.
 */
#include <math.h>

#include "trainer/model/layers.h"
#include "trainer/model/vector.h"

static inline size_t shape_width(struct attention_shape shape)
{
    return (size_t)shape.heads * shape.head_width;
}

static inline size_t shape_scores(struct attention_shape shape)
{
    return (size_t)shape.heads * shape.context * shape.context;
}

/* Probabilities of the first @p seen scores, in place. */
VECTORIZED static void softmax_row(float *scores, size_t seen, float scale)
{
    float highest = highest_of(scores, seen), sum = 0;
#pragma omp simd reduction(+ : sum)
    for (size_t i = 0; i < seen; i++) {
        scores[i] = exp_approximate(scale * (scores[i] - highest));
        sum += scores[i];
    }
    float inverse = 1.0f / sum;
    for (size_t i = 0; i < seen; i++) scores[i] *= inverse;
}

/* dscores = scale p (dp - sum(p dp)), over dp. */
VECTORIZED static void softmax_row_backward(const float *restrict p, float *restrict dp, size_t seen, float scale)
{
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (size_t i = 0; i < seen; i++) sum += p[i] * dp[i];
    for (size_t i = 0; i < seen; i++) dp[i] = scale * p[i] * (dp[i] - sum);
}

/* The three matrices inside the rows of qkv, and those of the heads' results. */
static struct product_strides head_rows(struct attention_shape shape, size_t row_width)
{
    return (struct product_strides){.batch = shape.head_width, .row = (int64_t)row_width, .column = 1};
}

static struct product_strides square(struct attention_shape shape)
{
    int64_t context = shape.context;
    return (struct product_strides){.batch = context * context, .row = context, .column = 1};
}

static struct product_strides transposed(struct product_strides strides)
{
    return (struct product_strides){.batch = strides.batch, .row = strides.column, .column = strides.row};
}

/* out[context][context] = left right^T over the head's width */
static void multiply_to_scores(struct products *products, struct attention_shape shape, const void *left,
                               size_t left_width, const void *right, float *out)
{
    struct product product = {
        .batch = shape.heads,
        .rows = shape.context,
        .columns = shape.context,
        .inner = shape.head_width,
        .left = head_rows(shape, left_width),
        .right = transposed(head_rows(shape, 3 * shape_width(shape))),
        .out = square(shape),
    };
    product_run(products, &product, left, right, NULL, out);
}

/* out[context][head width] = scores right, or scores^T right */
static void multiply_by_scores(struct products *products, struct attention_shape shape, const void *scores,
                               bool transpose, const void *right, size_t right_width, void *out, size_t out_width)
{
    struct product product = {
        .batch = shape.heads,
        .rows = shape.context,
        .columns = shape.head_width,
        .inner = shape.context,
        .left = transpose ? transposed(square(shape)) : square(shape),
        .right = head_rows(shape, right_width),
        .out = head_rows(shape, out_width),
        .flags = PRODUCT_OUT_OPERAND,
    };
    product_run(products, &product, scores, right, NULL, out);
}

void attention_forward(struct products *products, struct attention_shape shape, const void *qkv,
                       struct attention_scratch *scratch, void *probabilities, void *out)
{
    enum precision precision = products_precision(products);
    size_t width = shape_width(shape), context = shape.context;
    float scale = 1.0f / sqrtf((float)shape.head_width);
    for (size_t sequence = 0; sequence < shape.batch; sequence++) {
        const void *q = operand_at(precision, qkv, sequence * context * 3 * width);
        const void *k = operand_at(precision, q, width), *v = operand_at(precision, q, 2 * width);
        void *kept = operand_at_mutable(precision, probabilities, sequence * shape_scores(shape));
        multiply_to_scores(products, shape, q, 3 * width, k, scratch->scores);
        for (size_t row = 0; row < shape.heads * context; row++) {
            size_t seen = row % context + 1;
            float *scores = scratch->scores + row * context;
            softmax_row(scores, seen, scale);
            memset(scores + seen, 0, (context - seen) * sizeof(*scores));
            operand_store(precision, scores, kept, row * context, context);
        }
        void *result = operand_at_mutable(precision, out, sequence * context * width);
        multiply_by_scores(products, shape, kept, false, v, 3 * width, result, width);
    }
}

void attention_backward(struct products *products, struct attention_shape shape, const void *qkv,
                        const void *probabilities, const void *dout, struct attention_scratch *scratch, void *dqkv)
{
    enum precision precision = products_precision(products);
    size_t width = shape_width(shape), context = shape.context;
    float scale = 1.0f / sqrtf((float)shape.head_width);
    for (size_t sequence = 0; sequence < shape.batch; sequence++) {
        size_t at = sequence * context * 3 * width;
        const void *q = operand_at(precision, qkv, at);
        const void *k = operand_at(precision, q, width), *v = operand_at(precision, q, 2 * width);
        void *dq = operand_at_mutable(precision, dqkv, at);
        void *dk = operand_at_mutable(precision, dq, width), *dv = operand_at_mutable(precision, dq, 2 * width);
        const void *kept = operand_at(precision, probabilities, sequence * shape_scores(shape));
        const void *dresult = operand_at(precision, dout, sequence * context * width);
        multiply_by_scores(products, shape, kept, true, dresult, width, dv, 3 * width);
        multiply_to_scores(products, shape, dresult, width, v, scratch->scores);
        for (size_t row = 0; row < shape.heads * context; row++) {
            size_t seen = row % context + 1;
            float *dscores = scratch->scores + row * context;
            operand_load(precision, kept, row * context, seen, scratch->row);
            softmax_row_backward(scratch->row, dscores, seen, scale);
            memset(dscores + seen, 0, (context - seen) * sizeof(*dscores));
            operand_store(precision, dscores, scratch->dscores, row * context, context);
        }
        multiply_by_scores(products, shape, scratch->dscores, false, k, 3 * width, dq, 3 * width);
        multiply_by_scores(products, shape, scratch->dscores, true, q, 3 * width, dk, 3 * width);
    }
}
