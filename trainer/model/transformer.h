/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A decoder-only transformer over bytes, of GPT-2's shape (Radford et al. 2019): token and learned position tables;
 * layers of x += join(attention(norm(x))), x += down(gelu(up(norm(x)))); a last normalization; logits by the token
 * table (tied).
 *
 * Thread: one at a time per model.
 */
#ifndef TRAINER_MODEL_TRANSFORMER_H
#define TRAINER_MODEL_TRANSFORMER_H

#include "trainer/model/parameters.h"
#include "trainer/model/product.h"

struct transformer;

/*
 * A model for up to @p batch sequences at a time. Its parameters are zero until transformer_initialize() or the caller
 * sets them. It borrows @p products, which must outlive it. Owner: the caller. NULL: out of memory.
 * Needs: width divisible by heads, at most LAYER_LIMIT layers.
 */
struct transformer *transformer_create(const struct transformer_shape *shape, uint32_t batch,
                                       struct products *products);
void transformer_destroy(struct transformer *model);

const struct parameter_layout *transformer_layout(const struct transformer *model);
/* Flat arrays of layout->count elements. The gradients have GRADIENT_EXTRA more, for what travels along with them. */
enum { GRADIENT_EXTRA = 16 };
float *transformer_parameters(struct transformer *model);
float *transformer_gradients(struct transformer *model);
/* To be called after every change of the parameters, before the next forward pass. */
void transformer_parameters_changed(struct transformer *model);

/*
 * Logits of @p batch sequences of context bytes, [batch * context][TOKEN_COUNT], valid until the next call.
 */
const float *transformer_forward(struct transformer *model, const uint8_t *inputs, uint32_t batch);
/* Nats per target of the last forward pass: losses[batch * context]. No gradient. */
const float *transformer_losses(struct transformer *model, const uint8_t *targets, uint32_t batch);

/* Gradients from @p first to the end of the array are final. */
typedef void (*gradients_ready)(void *context, size_t first);
/*
 * Forward and backward: returns the mean loss over the batch and leaves its gradient in transformer_gradients().
 * ready (may be NULL) is called several times during the backward pass with falling positions, the last time with 0,
 * and *loss is stored before the first of these calls.
 */
void transformer_gradient(struct transformer *model, const uint8_t *inputs, const uint8_t *targets, uint32_t batch,
                          float *loss, gradients_ready ready, void *context);

#endif
