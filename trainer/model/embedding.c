/* SPDX-License-Identifier: Apache-2.0 */
#include "trainer/model/layers.h"
#include "trainer/model/vector.h"

VECTORIZED static void add_rows(const float *restrict a, const float *restrict b, size_t width, float *restrict out)
{
    for (size_t i = 0; i < width; i++) out[i] = a[i] + b[i];
}

VECTORIZED static void add_to_both(const float *restrict from, size_t width, float *restrict a, float *restrict b)
{
    for (size_t i = 0; i < width; i++) {
        a[i] += from[i];
        b[i] += from[i];
    }
}

void embedding_forward(const uint8_t *tokens, size_t rows, size_t context, size_t width, const float *token_table,
                       const float *position_table, float *x)
{
    for (size_t row = 0; row < rows; row++)
        add_rows(token_table + tokens[row] * width, position_table + row % context * width, width, x + row * width);
}

void embedding_backward(const uint8_t *tokens, size_t rows, size_t context, size_t width, const float *dx,
                        float *dtoken_table, float *dposition_table)
{
    memset(dposition_table, 0, context * width * sizeof(*dposition_table));
    for (size_t row = 0; row < rows; row++)
        add_to_both(dx + row * width, width, dtoken_table + tokens[row] * width,
                    dposition_table + row % context * width);
}
