/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The layers of a decoder-only transformer, forward and backward, each callable alone.
 *
 * Rows are tokens: row r is position r % context of sequence r / context. All matrices are row-major and dense.
 * "operand" marks void pointers to numbers in the product's precision (product.h); float pointers are float32.
 * Gradients of parameters are overwritten, except where a comment says "added".
 */
#ifndef TRAINER_MODEL_LAYERS_H
#define TRAINER_MODEL_LAYERS_H

#include <stddef.h>
#include <stdint.h>

#include "trainer/model/product.h"

/*
 * Layer normalization (Ba, Kiros, Hinton 2016): out = (x - mean) / sqrt(variance + 1e-5) * gain + bias, per row.
 * Keeps normalized[rows][width] and inverse_deviation[rows] for the way back. out is an operand.
 */
void layer_norm_forward(enum precision precision, const float *x, const float *gain, const float *bias, size_t rows,
                        size_t width, float *normalized, float *inverse_deviation, void *out);
/* The gradient of x is added to dx: the residual path goes around this layer. */
void layer_norm_backward(const float *dout, const float *gain, const float *normalized, const float *inverse_deviation,
                         size_t rows, size_t width, float *dx, float *dgain, float *dbias);

/*
 * out = x weight + bias, with x operand [rows][inner], weight operand [inner][columns] and bias [columns]. flags as in
 * product.h, PRODUCT_BIAS understood: PRODUCT_ACCUMULATE adds to a float out, PRODUCT_OUT_OPERAND makes it an operand.
 */
struct linear_shape {
    size_t rows, inner, columns;
};
void linear_forward(struct products *products, struct linear_shape shape, const void *x, const void *weight,
                    const float *bias, uint64_t flags, void *out);
/* dout is an operand; dx is float, or an operand with PRODUCT_OUT_OPERAND in flags; dweight and dbias are float. */
void linear_backward(struct products *products, struct linear_shape shape, const void *x, const void *weight,
                     const void *dout, uint64_t flags, void *dx, float *dweight, float *dbias);

/*
 * GELU as GPT-2 computes it: x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) (Hendrycks, Gimpel 2016). count elements;
 * all operands; dx may be dout.
 */
void gelu_forward(enum precision precision, const void *x, size_t count, void *out);
void gelu_backward(enum precision precision, const void *x, const void *dout, size_t count, void *dx);

/*
 * Causal attention with several heads: softmax(q k^T / sqrt(head width)) v, position i seeing positions 0..i.
 *
 * qkv operand [batch * context][3][heads][head width]; probabilities operand [batch][heads][context][context], kept
 * for the way back; out operand [batch * context][heads][head width].
 */
struct attention_shape {
    uint32_t batch, heads, context, head_width;
};
/* Working memory of one sequence: floats and operands of [heads][context][context] each, and one row. */
struct attention_scratch {
    float *scores, *row;
    void *dscores;
};
void attention_forward(struct products *products, struct attention_shape shape, const void *qkv,
                       struct attention_scratch *scratch, void *probabilities, void *out);
void attention_backward(struct products *products, struct attention_shape shape, const void *qkv,
                        const void *probabilities, const void *dout, struct attention_scratch *scratch, void *dqkv);

/* x[row] = token_table[tokens[row]] + position_table[row % context]; tables and x are float [.][width]. */
void embedding_forward(const uint8_t *tokens, size_t rows, size_t context, size_t width, const float *token_table,
                       const float *position_table, float *x);
/* The token table's gradient is added: tied to the output layer, it has that layer's share already. */
void embedding_backward(const uint8_t *tokens, size_t rows, size_t context, size_t width, const float *dx,
                        float *dtoken_table, float *dposition_table);

/*
 * losses[row] = -ln softmax(logits[row])[targets[row]], in nats. dlogits (operand, may be NULL) gets the gradient of
 * gradient_scale times their sum.
 */
void cross_entropy(enum precision precision, const float *logits, const uint8_t *targets, size_t rows, size_t classes,
                   float gradient_scale, float *losses, void *dlogits);

/* sums[column] = sum over rows of an operand [rows][columns]. */
void column_sums(enum precision precision, const void *matrix, size_t rows, size_t columns, float *sums);

#endif
