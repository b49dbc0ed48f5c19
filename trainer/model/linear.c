/* SPDX-License-Identifier: Apache-2.0 */
#include "trainer/model/layers.h"
#include "trainer/model/vector.h"

void linear_forward(struct products *products, struct linear_shape shape, const void *x, const void *weight,
                    const float *bias, uint64_t flags, void *out)
{
    struct product product = {
        .batch = 1,
        .rows = (uint32_t)shape.rows,
        .columns = (uint32_t)shape.columns,
        .inner = (uint32_t)shape.inner,
        .left = {.row = (int64_t)shape.inner, .column = 1},
        .right = {.row = (int64_t)shape.columns, .column = 1},
        .out = {.row = (int64_t)shape.columns, .column = 1},
        .flags = flags,
    };
    product_run(products, &product, x, weight, bias, out);
}

void linear_backward(struct products *products, struct linear_shape shape, const void *x, const void *weight,
                     const void *dout, uint64_t flags, void *dx, float *dweight, float *dbias)
{
    struct product to_input = {
        .batch = 1,
        .rows = (uint32_t)shape.rows,
        .columns = (uint32_t)shape.inner,
        .inner = (uint32_t)shape.columns,
        .left = {.row = (int64_t)shape.columns, .column = 1},
        .right = {.row = 1, .column = (int64_t)shape.columns}, /* transposed */
        .out = {.row = (int64_t)shape.inner, .column = 1},
        .flags = flags & PRODUCT_OUT_OPERAND,
    };
    struct product to_weight = {
        .batch = 1,
        .rows = (uint32_t)shape.inner,
        .columns = (uint32_t)shape.columns,
        .inner = (uint32_t)shape.rows,
        .left = {.row = 1, .column = (int64_t)shape.inner}, /* transposed */
        .right = {.row = (int64_t)shape.columns, .column = 1},
        .out = {.row = (int64_t)shape.columns, .column = 1},
    };
    product_run(products, &to_input, dout, weight, NULL, dx);
    product_run(products, &to_weight, x, dout, NULL, dweight);
    column_sums(products_precision(products), dout, shape.rows, shape.columns, dbias);
}

VECTORIZED static void add_floats(const float *restrict row, size_t columns, float *restrict sums)
{
    for (size_t i = 0; i < columns; i++) sums[i] += row[i];
}

VECTORIZED static void add_bfloat16(const uint16_t *restrict row, size_t columns, float *restrict sums)
{
    for (size_t i = 0; i < columns; i++) sums[i] += float_from_bfloat16(row[i]);
}

void column_sums(enum precision precision, const void *matrix, size_t rows, size_t columns, float *sums)
{
    memset(sums, 0, columns * sizeof(*sums));
    for (size_t row = 0; row < rows; row++) {
        const void *from = operand_at(precision, matrix, row * columns);
        if (precision == PRECISION_BFLOAT16)
            add_bfloat16(from, columns, sums);
        else
            add_floats(from, columns, sums);
    }
}
