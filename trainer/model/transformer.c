/* SPDX-License-Identifier: Apache-2.0 */
#include "trainer/model/transformer.h"

#include <stdlib.h>
#include <string.h>

#include "trainer/model/layers.h"

/* What the forward pass of one layer leaves for the backward pass. */
struct layer_activations {
    float *normalized1, *inverse1, *normalized2, *inverse2;
    void *norm1, *qkv, *probabilities, *heads, *norm2, *hidden, *active; /* operands */
};

struct transformer {
    struct transformer_shape shape;
    uint32_t batch_limit;
    struct products *products;
    enum precision precision;
    struct parameter_layout layout;

    float *parameters, *gradients;
    void *operands; /* the parameters as operands; the parameters themselves when that is the same */

    float *residual; /* forward: x */
    struct layer_activations layers[LAYER_LIMIT];
    float *last_normalized, *last_inverse, *logits, *losses;
    void *last_norm;

    /* Backward: gradients of activations, shared by the layers. */
    float *dresidual, *dnorm;
    void *dresidual_operand, *dlogits, *dhidden, *dheads, *dqkv;
    struct attention_scratch scratch;

    void *memory; /* all of the above in one piece */
};

/* Hands out pieces of one allocation; with no memory yet it only adds up. */
struct carver {
    char *memory;
    size_t used_bytes;
};

static void *carve(struct carver *carver, size_t bytes)
{
    void *piece = carver->memory ? carver->memory + carver->used_bytes : NULL;
    carver->used_bytes += (bytes + 63) / 64 * 64;
    return piece;
}

static float *carve_floats(struct carver *carver, size_t count)
{
    return carve(carver, count * sizeof(float));
}

static void carve_layer(struct transformer *model, struct carver *carver, struct layer_activations *layer)
{
    size_t operand = operand_bytes(model->precision);
    size_t width = model->shape.width, context = model->shape.context, rows = model->batch_limit * context;
    layer->normalized1 = carve_floats(carver, rows * width);
    layer->normalized2 = carve_floats(carver, rows * width);
    layer->inverse1 = carve_floats(carver, rows);
    layer->inverse2 = carve_floats(carver, rows);
    layer->norm1 = carve(carver, rows * width * operand);
    layer->norm2 = carve(carver, rows * width * operand);
    layer->qkv = carve(carver, rows * 3 * width * operand);
    layer->probabilities = carve(carver, rows * model->shape.heads * context * operand);
    layer->heads = carve(carver, rows * width * operand);
    layer->hidden = carve(carver, rows * 4 * width * operand);
    layer->active = carve(carver, rows * 4 * width * operand);
}

static void carve_all(struct transformer *model, struct carver *carver)
{
    size_t operand = operand_bytes(model->precision);
    size_t width = model->shape.width, context = model->shape.context, rows = model->batch_limit * context;
    model->parameters = carve_floats(carver, model->layout.count);
    model->gradients = carve_floats(carver, model->layout.count + GRADIENT_EXTRA);
    model->operands = model->precision == PRECISION_FLOAT32 ? (void *)model->parameters
                                                            : carve(carver, model->layout.count * operand);
    model->residual = carve_floats(carver, rows * width);
    for (uint32_t i = 0; i < model->shape.layers; i++) carve_layer(model, carver, &model->layers[i]);
    model->last_normalized = carve_floats(carver, rows * width);
    model->last_inverse = carve_floats(carver, rows);
    model->logits = carve_floats(carver, rows * TOKEN_COUNT);
    model->losses = carve_floats(carver, rows);
    model->last_norm = carve(carver, rows * width * operand);
    model->dresidual = carve_floats(carver, rows * width);
    model->dnorm = carve_floats(carver, rows * width);
    model->dresidual_operand = carve(carver, rows * width * operand);
    model->dlogits = carve(carver, rows * TOKEN_COUNT * operand);
    model->dhidden = carve(carver, rows * 4 * width * operand);
    model->dheads = carve(carver, rows * width * operand);
    model->dqkv = carve(carver, rows * 3 * width * operand);
    size_t scores = (size_t)model->shape.heads * context * context;
    model->scratch.scores = carve_floats(carver, scores);
    model->scratch.row = carve_floats(carver, context);
    model->scratch.dscores = carve(carver, scores * operand);
}

struct transformer *transformer_create(const struct transformer_shape *shape, uint32_t batch, struct products *products)
{
    struct transformer *model = calloc(1, sizeof(*model));
    if (!model) return NULL;
    model->shape = *shape;
    model->batch_limit = batch;
    model->products = products;
    model->precision = products_precision(products);
    parameter_layout_make(shape, &model->layout);
    struct carver carver = {0};
    carve_all(model, &carver);
    model->memory = aligned_alloc(64, carver.used_bytes);
    if (!model->memory) {
        free(model);
        return NULL;
    }
    memset(model->memory, 0, carver.used_bytes);
    carver = (struct carver){.memory = model->memory};
    carve_all(model, &carver);
    return model;
}

void transformer_destroy(struct transformer *model)
{
    if (!model) return;
    free(model->memory);
    free(model);
}

const struct parameter_layout *transformer_layout(const struct transformer *model)
{
    return &model->layout;
}

float *transformer_parameters(struct transformer *model)
{
    return model->parameters;
}

float *transformer_gradients(struct transformer *model)
{
    return model->gradients;
}

void transformer_parameters_changed(struct transformer *model)
{
    if (model->operands != model->parameters)
        operand_store(model->precision, model->parameters, model->operands, 0, model->layout.count);
}

static const void *weight(const struct transformer *model, size_t offset)
{
    return operand_at(model->precision, model->operands, offset);
}

static struct attention_shape attention_shape(const struct transformer *model, uint32_t batch)
{
    const struct transformer_shape *shape = &model->shape;
    return (struct attention_shape){batch, shape->heads, shape->context, shape->width / shape->heads};
}

static void layer_forward(struct transformer *model, uint32_t index, uint32_t batch)
{
    const struct layer_offsets *at = &model->layout.layers[index];
    struct layer_activations *kept = &model->layers[index];
    struct products *products = model->products;
    const float *parameters = model->parameters;
    size_t width = model->shape.width, rows = (size_t)batch * model->shape.context;

    layer_norm_forward(model->precision, model->residual, parameters + at->norm1_gain, parameters + at->norm1_bias,
                       rows, width, kept->normalized1, kept->inverse1, kept->norm1);
    linear_forward(products, (struct linear_shape){rows, width, 3 * width}, kept->norm1, weight(model, at->qkv_weight),
                   parameters + at->qkv_bias, PRODUCT_BIAS | PRODUCT_OUT_OPERAND, kept->qkv);
    attention_forward(products, attention_shape(model, batch), kept->qkv, &model->scratch, kept->probabilities,
                      kept->heads);
    linear_forward(products, (struct linear_shape){rows, width, width}, kept->heads, weight(model, at->join_weight),
                   parameters + at->join_bias, PRODUCT_BIAS | PRODUCT_ACCUMULATE, model->residual);

    layer_norm_forward(model->precision, model->residual, parameters + at->norm2_gain, parameters + at->norm2_bias,
                       rows, width, kept->normalized2, kept->inverse2, kept->norm2);
    linear_forward(products, (struct linear_shape){rows, width, 4 * width}, kept->norm2, weight(model, at->up_weight),
                   parameters + at->up_bias, PRODUCT_BIAS | PRODUCT_OUT_OPERAND, kept->hidden);
    gelu_forward(model->precision, kept->hidden, rows * 4 * width, kept->active);
    linear_forward(products, (struct linear_shape){rows, 4 * width, width}, kept->active,
                   weight(model, at->down_weight), parameters + at->down_bias, PRODUCT_BIAS | PRODUCT_ACCUMULATE,
                   model->residual);
}

/* logits = last_norm token_table^T */
static void output_forward(struct transformer *model, size_t rows)
{
    int64_t width = model->shape.width;
    struct product product = {
        .batch = 1,
        .rows = (uint32_t)rows,
        .columns = TOKEN_COUNT,
        .inner = (uint32_t)width,
        .left = {.row = width, .column = 1},
        .right = {.row = 1, .column = width},
        .out = {.row = TOKEN_COUNT, .column = 1},
    };
    product_run(model->products, &product, model->last_norm, weight(model, model->layout.token_table), NULL,
                model->logits);
}

const float *transformer_forward(struct transformer *model, const uint8_t *inputs, uint32_t batch)
{
    const struct parameter_layout *layout = &model->layout;
    size_t width = model->shape.width, context = model->shape.context, rows = batch * context;
    embedding_forward(inputs, rows, context, width, model->parameters + layout->token_table,
                      model->parameters + layout->position_table, model->residual);
    for (uint32_t i = 0; i < model->shape.layers; i++) layer_forward(model, i, batch);
    layer_norm_forward(model->precision, model->residual, model->parameters + layout->last_gain,
                       model->parameters + layout->last_bias, rows, width, model->last_normalized, model->last_inverse,
                       model->last_norm);
    output_forward(model, rows);
    return model->logits;
}

const float *transformer_losses(struct transformer *model, const uint8_t *targets, uint32_t batch)
{
    size_t rows = (size_t)batch * model->shape.context;
    cross_entropy(model->precision, model->logits, targets, rows, TOKEN_COUNT, 0, model->losses, NULL);
    return model->losses;
}

/* dnorm = dlogits token_table; dtoken_table = dlogits^T last_norm, to which the embedding adds its share later. */
static void output_backward(struct transformer *model, size_t rows)
{
    int64_t width = model->shape.width;
    struct product to_norm = {
        .batch = 1,
        .rows = (uint32_t)rows,
        .columns = (uint32_t)width,
        .inner = TOKEN_COUNT,
        .left = {.row = TOKEN_COUNT, .column = 1},
        .right = {.row = width, .column = 1},
        .out = {.row = width, .column = 1},
    };
    struct product to_table = {
        .batch = 1,
        .rows = TOKEN_COUNT,
        .columns = (uint32_t)width,
        .inner = (uint32_t)rows,
        .left = {.row = 1, .column = TOKEN_COUNT},
        .right = {.row = width, .column = 1},
        .out = {.row = width, .column = 1},
    };
    size_t table = model->layout.token_table;
    product_run(model->products, &to_norm, model->dlogits, weight(model, table), NULL, model->dnorm);
    product_run(model->products, &to_table, model->dlogits, model->last_norm, NULL, model->gradients + table);
}

static void layer_backward(struct transformer *model, uint32_t index, uint32_t batch)
{
    const struct layer_offsets *at = &model->layout.layers[index];
    struct layer_activations *kept = &model->layers[index];
    struct products *products = model->products;
    enum precision precision = model->precision;
    float *gradients = model->gradients;
    size_t width = model->shape.width, rows = (size_t)batch * model->shape.context;

    operand_store(precision, model->dresidual, model->dresidual_operand, 0, rows * width);
    linear_backward(products, (struct linear_shape){rows, 4 * width, width}, kept->active,
                    weight(model, at->down_weight), model->dresidual_operand, PRODUCT_OUT_OPERAND, model->dhidden,
                    gradients + at->down_weight, gradients + at->down_bias);
    gelu_backward(precision, kept->hidden, model->dhidden, rows * 4 * width, model->dhidden);
    linear_backward(products, (struct linear_shape){rows, width, 4 * width}, kept->norm2, weight(model, at->up_weight),
                    model->dhidden, 0, model->dnorm, gradients + at->up_weight, gradients + at->up_bias);
    layer_norm_backward(model->dnorm, model->parameters + at->norm2_gain, kept->normalized2, kept->inverse2, rows,
                        width, model->dresidual, gradients + at->norm2_gain, gradients + at->norm2_bias);

    operand_store(precision, model->dresidual, model->dresidual_operand, 0, rows * width);
    linear_backward(products, (struct linear_shape){rows, width, width}, kept->heads, weight(model, at->join_weight),
                    model->dresidual_operand, PRODUCT_OUT_OPERAND, model->dheads, gradients + at->join_weight,
                    gradients + at->join_bias);
    attention_backward(products, attention_shape(model, batch), kept->qkv, kept->probabilities, model->dheads,
                       &model->scratch, model->dqkv);
    linear_backward(products, (struct linear_shape){rows, width, 3 * width}, kept->norm1, weight(model, at->qkv_weight),
                    model->dqkv, 0, model->dnorm, gradients + at->qkv_weight, gradients + at->qkv_bias);
    layer_norm_backward(model->dnorm, model->parameters + at->norm1_gain, kept->normalized1, kept->inverse1, rows,
                        width, model->dresidual, gradients + at->norm1_gain, gradients + at->norm1_bias);
}

static void nobody_waits(void *context, size_t first)
{
    (void)context;
    (void)first;
}

void transformer_gradient(struct transformer *model, const uint8_t *inputs, const uint8_t *targets, uint32_t batch,
                          float *loss, gradients_ready ready, void *context)
{
    const struct parameter_layout *layout = &model->layout;
    size_t width = model->shape.width, rows = (size_t)batch * model->shape.context;
    if (!ready) ready = nobody_waits;

    transformer_forward(model, inputs, batch);
    cross_entropy(model->precision, model->logits, targets, rows, TOKEN_COUNT, 1.0f / (float)rows, model->losses,
                  model->dlogits);
    double sum = 0;
    for (size_t i = 0; i < rows; i++) sum += model->losses[i];
    *loss = (float)(sum / (double)rows);

    output_backward(model, rows);
    memset(model->dresidual, 0, rows * width * sizeof(float));
    layer_norm_backward(model->dnorm, model->parameters + layout->last_gain, model->last_normalized,
                        model->last_inverse, rows, width, model->dresidual, model->gradients + layout->last_gain,
                        model->gradients + layout->last_bias);
    ready(context, layout->last_gain);
    for (uint32_t i = model->shape.layers; i-- > 0;) {
        layer_backward(model, i, batch);
        ready(context, layout->layers[i].norm1_gain);
    }
    embedding_backward(inputs, rows, model->shape.context, width, model->dresidual,
                       model->gradients + layout->token_table, model->gradients + layout->position_table);
    ready(context, 0);
}
