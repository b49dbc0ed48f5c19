/* SPDX-License-Identifier: Apache-2.0 */
/* Each layer alone, in float32: its gradients against finite differences, and its values against plain formulas. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "tests/trainer/gradient_check.h"
#include "trainer/model/layers.h"
#include "trainer/model/vector.h"

/* A width that is no multiple of a vector's, so that loop tails are used too. */
enum { ROWS = 6, WIDTH = 37, COLUMNS = 21 };

static int start_products(void **state)
{
    *state = products_create(false);
    return *state ? 0 : -1;
}

static int stop_products(void **state)
{
    products_destroy(*state);
    return 0;
}

static void exponential_is_within_its_stated_error(void **state)
{
    (void)state;
    double worst = 0;
    for (float x = -87; x <= 88; x += 0.00073f) {
        double exact = exp((double)x);
        worst = fmax(worst, fabs((double)exp_approximate(x) - exact) / exact);
    }
    assert_true(worst < 2.5e-7);
    assert_true(exp_approximate(-1e30f) == exp_approximate(-87));
    assert_true(exp_approximate(INFINITY) == exp_approximate(88));
    assert_true(isnan(exp_approximate(NAN)));
}

static void bfloat16_rounds_to_nearest_even(void **state)
{
    (void)state;
    assert_int_equal(bfloat16_from_float(1.0f), 0x3f80);
    assert_int_equal(bfloat16_from_float(1.00390625f), 0x3f80); /* a tie: to even */
    assert_int_equal(bfloat16_from_float(1.01171875f), 0x3f82); /* a tie: to even */
    assert_int_equal(bfloat16_from_float(1.0040f), 0x3f81);
    assert_int_equal(bfloat16_from_float(-INFINITY), 0xff80);
    assert_int_equal(bfloat16_from_float(3.4e38f), 0x7f80); /* beyond the largest */
    assert_true(isnan(float_from_bfloat16(bfloat16_from_float(float_from_bits(0x7fffffff)))));
    for (uint32_t bits = 0; bits < 0x7f80; bits++)
        assert_int_equal(bfloat16_from_float(float_from_bfloat16((uint16_t)bits)), bits);
}

static void highest_is_found_anywhere(void **state)
{
    (void)state;
    float numbers[WIDTH];
    for (size_t at = 0; at < WIDTH; at++) {
        for (size_t count = at + 1; count <= WIDTH; count++) {
            for (size_t i = 0; i < WIDTH; i++) numbers[i] = -2.0f - (float)i;
            numbers[at] = -0.5f;
            assert_true(highest_of(numbers, count) == -0.5f);
            numbers[at] = 3.0f;
            assert_true(highest_of(numbers, count) == 3.0f);
        }
    }
}

struct layer_norm_case {
    float x[ROWS * WIDTH], gain[WIDTH], bias[WIDTH], weights[ROWS * WIDTH], out[ROWS * WIDTH];
    float normalized[ROWS * WIDTH], inverse[ROWS];
};

static double layer_norm_objective(void *context)
{
    struct layer_norm_case *c = context;
    layer_norm_forward(PRECISION_FLOAT32, c->x, c->gain, c->bias, ROWS, WIDTH, c->normalized, c->inverse, c->out);
    return weighted_sum(c->weights, c->out, ROWS * WIDTH);
}

static void layer_norm_gradients_are_right(void **state)
{
    (void)state;
    struct layer_norm_case c;
    float dx[ROWS * WIDTH] = {0}, dgain[WIDTH], dbias[WIDTH];
    fill_random(c.x, ROWS * WIDTH, 1);
    fill_random(c.gain, WIDTH, 2);
    fill_random(c.bias, WIDTH, 3);
    fill_random(c.weights, ROWS * WIDTH, 4);
    layer_norm_objective(&c);
    layer_norm_backward(c.weights, c.gain, c.normalized, c.inverse, ROWS, WIDTH, dx, dgain, dbias);
    check_gradient("layer norm x", c.x, ROWS * WIDTH, dx, layer_norm_objective, &c);
    check_gradient("layer norm gain", c.gain, WIDTH, dgain, layer_norm_objective, &c);
    check_gradient("layer norm bias", c.bias, WIDTH, dbias, layer_norm_objective, &c);
}

static void layer_norm_adds_to_the_residual_gradient(void **state)
{
    (void)state;
    struct layer_norm_case c;
    float once[ROWS * WIDTH] = {0}, added[ROWS * WIDTH], dgain[WIDTH], dbias[WIDTH];
    fill_random(c.x, ROWS * WIDTH, 1);
    fill_random(c.gain, WIDTH, 2);
    fill_random(c.bias, WIDTH, 3);
    fill_random(c.weights, ROWS * WIDTH, 4);
    fill_random(added, ROWS * WIDTH, 5);
    layer_norm_objective(&c);
    layer_norm_backward(c.weights, c.gain, c.normalized, c.inverse, ROWS, WIDTH, once, dgain, dbias);
    float before = added[7];
    layer_norm_backward(c.weights, c.gain, c.normalized, c.inverse, ROWS, WIDTH, added, dgain, dbias);
    assert_true(fabsf(added[7] - (before + once[7])) < 1e-5f);
}

struct linear_case {
    struct products *products;
    float x[ROWS * WIDTH], weight[WIDTH * COLUMNS], bias[COLUMNS], weights[ROWS * COLUMNS], out[ROWS * COLUMNS];
};
static const struct linear_shape linear_case_shape = {ROWS, WIDTH, COLUMNS};

static double linear_objective(void *context)
{
    struct linear_case *c = context;
    linear_forward(c->products, linear_case_shape, c->x, c->weight, c->bias, PRODUCT_BIAS, c->out);
    return weighted_sum(c->weights, c->out, ROWS * COLUMNS);
}

static void linear_gradients_are_right(void **state)
{
    struct linear_case c = {.products = *state};
    float dx[ROWS * WIDTH], dweight[WIDTH * COLUMNS], dbias[COLUMNS];
    fill_random(c.x, ROWS * WIDTH, 1);
    fill_random(c.weight, WIDTH * COLUMNS, 2);
    fill_random(c.bias, COLUMNS, 3);
    fill_random(c.weights, ROWS * COLUMNS, 4);
    linear_backward(c.products, linear_case_shape, c.x, c.weight, c.weights, 0, dx, dweight, dbias);
    assert_null(products_error(c.products));
    check_gradient("linear x", c.x, ROWS * WIDTH, dx, linear_objective, &c);
    check_gradient("linear weight", c.weight, WIDTH * COLUMNS, dweight, linear_objective, &c);
    check_gradient("linear bias", c.bias, COLUMNS, dbias, linear_objective, &c);
}

static void linear_accumulates_into_the_residual(void **state)
{
    struct linear_case c = {.products = *state};
    float sum[ROWS * COLUMNS];
    fill_random(c.x, ROWS * WIDTH, 1);
    fill_random(c.weight, WIDTH * COLUMNS, 2);
    fill_random(c.bias, COLUMNS, 3);
    fill_random(sum, ROWS * COLUMNS, 4);
    float before = sum[30];
    linear_forward(c.products, linear_case_shape, c.x, c.weight, c.bias, PRODUCT_BIAS, c.out);
    linear_forward(c.products, linear_case_shape, c.x, c.weight, c.bias, PRODUCT_BIAS | PRODUCT_ACCUMULATE, sum);
    double expected = c.bias[30 % COLUMNS];
    for (size_t k = 0; k < WIDTH; k++)
        expected += (double)c.x[30 / COLUMNS * WIDTH + k] * (double)c.weight[k * COLUMNS + 30 % COLUMNS];
    assert_true(fabs((double)c.out[30] - expected) < 1e-4);
    assert_true(fabs((double)sum[30] - (expected + (double)before)) < 1e-4);
}

struct gelu_case {
    float x[ROWS * WIDTH], weights[ROWS * WIDTH], out[ROWS * WIDTH];
};

static double gelu_objective(void *context)
{
    struct gelu_case *c = context;
    gelu_forward(PRECISION_FLOAT32, c->x, ROWS * WIDTH, c->out);
    return weighted_sum(c->weights, c->out, ROWS * WIDTH);
}

static void gelu_gradients_are_right(void **state)
{
    (void)state;
    struct gelu_case c;
    float dx[ROWS * WIDTH];
    fill_random(c.x, ROWS * WIDTH, 1);
    fill_random(c.weights, ROWS * WIDTH, 2);
    gelu_backward(PRECISION_FLOAT32, c.x, c.weights, ROWS * WIDTH, dx);
    check_gradient("gelu x", c.x, ROWS * WIDTH, dx, gelu_objective, &c);
}

static void gelu_equals_its_formula(void **state)
{
    (void)state;
    for (float x = -9; x < 9; x += 0.01f) {
        float out;
        gelu_forward(PRECISION_FLOAT32, &x, 1, &out);
        double exact = (double)x / 2 * (1 + tanh(0.7978845608028654 * ((double)x + 0.044715 * pow((double)x, 3))));
        assert_true(fabs((double)out - exact) <= 1e-6 * fmax(1, fabs((double)x)));
    }
}

enum { BATCH = 2, HEADS = 3, CONTEXT = 7, HEAD_WIDTH = 5, HEADS_WIDTH = HEADS * HEAD_WIDTH };
enum { QKV_COUNT = BATCH * CONTEXT * 3 * HEADS_WIDTH, RESULT_COUNT = BATCH * CONTEXT * HEADS_WIDTH };

struct attention_case {
    struct products *products;
    float qkv[QKV_COUNT], weights[RESULT_COUNT], out[RESULT_COUNT];
    float probabilities[BATCH * HEADS * CONTEXT * CONTEXT];
    float scores[HEADS * CONTEXT * CONTEXT], dscores[HEADS * CONTEXT * CONTEXT], row[CONTEXT];
};
static const struct attention_shape attention_case_shape = {BATCH, HEADS, CONTEXT, HEAD_WIDTH};

static double attention_objective(void *context)
{
    struct attention_case *c = context;
    struct attention_scratch scratch = {c->scores, c->row, c->dscores};
    attention_forward(c->products, attention_case_shape, c->qkv, &scratch, c->probabilities, c->out);
    return weighted_sum(c->weights, c->out, RESULT_COUNT);
}

static void attention_gradients_are_right(void **state)
{
    struct attention_case c = {.products = *state};
    float dqkv[QKV_COUNT];
    fill_random(c.qkv, QKV_COUNT, 1);
    fill_random(c.weights, RESULT_COUNT, 2);
    attention_objective(&c);
    struct attention_scratch scratch = {c.scores, c.row, c.dscores};
    attention_backward(c.products, attention_case_shape, c.qkv, c.probabilities, c.weights, &scratch, dqkv);
    assert_null(products_error(c.products));
    check_gradient("attention qkv", c.qkv, QKV_COUNT, dqkv, attention_objective, &c);
}

static void attention_does_not_see_the_future(void **state)
{
    struct attention_case c = {.products = *state};
    float before[RESULT_COUNT];
    fill_random(c.qkv, QKV_COUNT, 1);
    memset(c.weights, 0, sizeof(c.weights));
    attention_objective(&c);
    memcpy(before, c.out, sizeof(before));
    for (size_t i = 0; i < 3 * HEADS_WIDTH; i++) c.qkv[4 * 3 * HEADS_WIDTH + i] += 1; /* position 4, sequence 0 */
    attention_objective(&c);
    assert_memory_equal(before, c.out, 4 * HEADS_WIDTH * sizeof(float));
    assert_memory_not_equal(before + 4 * HEADS_WIDTH, c.out + 4 * HEADS_WIDTH, HEADS_WIDTH * sizeof(float));
    assert_memory_equal(before + CONTEXT * HEADS_WIDTH, c.out + CONTEXT * HEADS_WIDTH,
                        CONTEXT * HEADS_WIDTH * sizeof(float));
}

static void attention_equals_its_formula(void **state)
{
    struct attention_case c = {.products = *state};
    fill_random(c.qkv, QKV_COUNT, 1);
    memset(c.weights, 0, sizeof(c.weights));
    attention_objective(&c);
    /* Sequence 1, head 2, position 3, element 4. */
    const float *rows = c.qkv + 1 * CONTEXT * 3 * HEADS_WIDTH;
    double sum = 0, result = 0;
    for (size_t j = 0; j <= 3; j++) {
        double score = 0;
        for (size_t k = 0; k < HEAD_WIDTH; k++)
            score += (double)rows[3 * 3 * HEADS_WIDTH + 2 * HEAD_WIDTH + k] *
                     (double)rows[j * 3 * HEADS_WIDTH + HEADS_WIDTH + 2 * HEAD_WIDTH + k];
        double weight = exp(score / sqrt(HEAD_WIDTH));
        sum += weight;
        result += weight * (double)rows[j * 3 * HEADS_WIDTH + 2 * HEADS_WIDTH + 2 * HEAD_WIDTH + 4];
    }
    float got = c.out[(1 * CONTEXT + 3) * HEADS_WIDTH + 2 * HEAD_WIDTH + 4];
    assert_true(fabs((double)got - result / sum) < 1e-5);
}

enum { TABLE_ROWS = 256, EMBEDDED = 3 };

struct embedding_case {
    uint8_t tokens[2 * EMBEDDED];
    float table[TABLE_ROWS * WIDTH], positions[EMBEDDED * WIDTH];
    float weights[2 * EMBEDDED * WIDTH], x[2 * EMBEDDED * WIDTH];
};

static double embedding_objective(void *context)
{
    struct embedding_case *c = context;
    embedding_forward(c->tokens, 2 * EMBEDDED, EMBEDDED, WIDTH, c->table, c->positions, c->x);
    return weighted_sum(c->weights, c->x, 2 * EMBEDDED * WIDTH);
}

static void embedding_gradients_are_right(void **state)
{
    (void)state;
    static struct embedding_case c = {.tokens = {0, 255, 7, 7, 7, 0}};
    static float dtable[TABLE_ROWS * WIDTH], dpositions[EMBEDDED * WIDTH];
    fill_random(c.table, TABLE_ROWS * WIDTH, 1);
    fill_random(c.positions, EMBEDDED * WIDTH, 2);
    fill_random(c.weights, 2 * EMBEDDED * WIDTH, 3);
    embedding_backward(c.tokens, 2 * EMBEDDED, EMBEDDED, WIDTH, c.weights, dtable, dpositions);
    check_gradient("token table", c.table, 8 * WIDTH, dtable, embedding_objective, &c);
    check_gradient("last token", c.table + 255 * WIDTH, WIDTH, dtable + 255 * WIDTH, embedding_objective, &c);
    check_gradient("position table", c.positions, EMBEDDED * WIDTH, dpositions, embedding_objective, &c);
}

struct cross_entropy_case {
    uint8_t targets[ROWS];
    float logits[ROWS * WIDTH], losses[ROWS];
};

static double cross_entropy_objective(void *context)
{
    struct cross_entropy_case *c = context;
    cross_entropy(PRECISION_FLOAT32, c->logits, c->targets, ROWS, WIDTH, 0, c->losses, NULL);
    double sum = 0;
    for (size_t i = 0; i < ROWS; i++) sum += (double)c->losses[i];
    return sum / ROWS;
}

static void cross_entropy_gradients_are_right(void **state)
{
    (void)state;
    struct cross_entropy_case c = {.targets = {0, 36, 5, 5, 20, 1}};
    float dlogits[ROWS * WIDTH];
    fill_random(c.logits, ROWS * WIDTH, 1);
    cross_entropy(PRECISION_FLOAT32, c.logits, c.targets, ROWS, WIDTH, 1.0f / ROWS, c.losses, dlogits);
    check_gradient("logits", c.logits, ROWS * WIDTH, dlogits, cross_entropy_objective, &c);
}

static void cross_entropy_survives_large_logits(void **state)
{
    (void)state;
    float logits[2 * 4] = {1e4f, 0, 0, 0, -1e4f, -1e4f, -1e4f, -1e4f}, losses[2];
    const uint8_t targets[2] = {0, 3};
    cross_entropy(PRECISION_FLOAT32, logits, targets, 2, 4, 0, losses, NULL);
    assert_true(losses[0] < 1e-5f);
    assert_true(fabs((double)losses[1] - log(4)) < 1e-3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exponential_is_within_its_stated_error),
        cmocka_unit_test(bfloat16_rounds_to_nearest_even),
        cmocka_unit_test(highest_is_found_anywhere),
        cmocka_unit_test(layer_norm_gradients_are_right),
        cmocka_unit_test(layer_norm_adds_to_the_residual_gradient),
        cmocka_unit_test(linear_gradients_are_right),
        cmocka_unit_test(linear_accumulates_into_the_residual),
        cmocka_unit_test(gelu_gradients_are_right),
        cmocka_unit_test(gelu_equals_its_formula),
        cmocka_unit_test(attention_gradients_are_right),
        cmocka_unit_test(attention_does_not_see_the_future),
        cmocka_unit_test(attention_equals_its_formula),
        cmocka_unit_test(embedding_gradients_are_right),
        cmocka_unit_test(cross_entropy_gradients_are_right),
        cmocka_unit_test(cross_entropy_survives_large_logits),
    };
    return cmocka_run_group_tests(tests, start_products, stop_products);
}
