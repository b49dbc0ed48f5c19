/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The whole model: gradients of every parameter, when they are final, and bfloat16 beside float32. Run a second time
 * with DNNL_MAX_CPU_ISA=AVX2, it shows the same for a processor without bfloat16 arithmetic.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/trainer/gradient_check.h"
#include "trainer/model/transformer.h"

enum { BATCH = 2, CONTEXT = 12 };
static const struct transformer_shape shape = {.layers = 2, .width = 24, .heads = 3, .context = CONTEXT};

struct fixture {
    struct products *products;
    struct transformer *model;
    uint8_t inputs[BATCH * CONTEXT], targets[BATCH * CONTEXT];
};

/* First values as usual, but larger and without zeros, so that every gradient matters. */
static struct fixture fixture_make(bool bfloat16)
{
    struct fixture fixture = {.products = products_create(bfloat16)};
    assert_non_null(fixture.products);
    fixture.model = transformer_create(&shape, BATCH, fixture.products);
    assert_non_null(fixture.model);
    const struct parameter_layout *layout = transformer_layout(fixture.model);
    float *parameters = transformer_parameters(fixture.model);
    parameters_initialize(layout, 3, parameters);
    for (size_t i = 0; i < layout->parameter_count; i++) {
        const struct parameter *parameter = &layout->parameters[i];
        for (size_t j = 0; j < parameter->count; j++) {
            float value;
            fill_random(&value, 1, parameter->first + j);
            parameters[parameter->first + j] += 0.2f * value;
        }
    }
    transformer_parameters_changed(fixture.model);
    for (size_t i = 0; i < BATCH * CONTEXT; i++) {
        fixture.inputs[i] = (uint8_t)(i * i % 7 * 30);
        fixture.targets[i] = (uint8_t)(i * 5 % 9 * 28);
    }
    return fixture;
}

static void fixture_release(struct fixture *fixture)
{
    transformer_destroy(fixture->model);
    products_destroy(fixture->products);
}

static double loss_now(void *context)
{
    struct fixture *fixture = context;
    transformer_parameters_changed(fixture->model);
    transformer_forward(fixture->model, fixture->inputs, BATCH);
    const float *losses = transformer_losses(fixture->model, fixture->targets, BATCH);
    double sum = 0;
    for (size_t i = 0; i < BATCH * CONTEXT; i++) sum += (double)losses[i];
    return sum / (BATCH * CONTEXT);
}

static void gradients_of_every_parameter_are_right(void **state)
{
    (void)state;
    struct fixture fixture = fixture_make(false);
    const struct parameter_layout *layout = transformer_layout(fixture.model);
    float loss;
    transformer_gradient(fixture.model, fixture.inputs, fixture.targets, BATCH, &loss, NULL, NULL);
    assert_null(products_error(fixture.products));
    assert_true(fabs((double)loss - loss_now(&fixture)) < 1e-5);
    for (size_t i = 0; i < layout->parameter_count; i++) {
        const struct parameter *parameter = &layout->parameters[i];
        check_gradient(parameter->name, transformer_parameters(fixture.model) + parameter->first, parameter->count,
                       transformer_gradients(fixture.model) + parameter->first, loss_now, &fixture);
    }
    fixture_release(&fixture);
}

struct watch {
    struct transformer *model;
    size_t count, last_first, calls;
    float *seen; /* gradients as they were when they were called final */
    const float *loss;
};

static void watch_ready(void *context, size_t first)
{
    struct watch *watch = context;
    assert_true(first < watch->last_first);
    assert_false(isnan(*watch->loss));
    memcpy(watch->seen + first, transformer_gradients(watch->model) + first,
           (watch->last_first - first) * sizeof(float));
    watch->last_first = first;
    watch->calls++;
}

static void gradients_are_final_when_they_are_said_to_be(void **state)
{
    (void)state;
    struct fixture fixture = fixture_make(false);
    size_t count = transformer_layout(fixture.model)->count;
    float loss = NAN;
    struct watch watch = {fixture.model, count, count, 0, calloc(count, sizeof(float)), &loss};
    assert_non_null(watch.seen);
    transformer_gradient(fixture.model, fixture.inputs, fixture.targets, BATCH, &loss, watch_ready, &watch);
    assert_int_equal(watch.last_first, 0);
    assert_int_equal(watch.calls, shape.layers + 2);
    assert_memory_equal(watch.seen, transformer_gradients(fixture.model), count * sizeof(float));
    free(watch.seen);
    fixture_release(&fixture);
}

static void a_smaller_batch_gives_the_same_losses(void **state)
{
    (void)state;
    struct fixture fixture = fixture_make(false);
    float both[BATCH * CONTEXT];
    transformer_forward(fixture.model, fixture.inputs, BATCH);
    memcpy(both, transformer_losses(fixture.model, fixture.targets, BATCH), sizeof(both));
    transformer_forward(fixture.model, fixture.inputs + CONTEXT, 1);
    const float *second = transformer_losses(fixture.model, fixture.targets + CONTEXT, 1);
    for (size_t i = 0; i < CONTEXT; i++) assert_true(fabsf(second[i] - both[CONTEXT + i]) < 1e-4f);
    fixture_release(&fixture);
}

static void the_same_call_gives_the_same_bits(void **state)
{
    (void)state;
    for (int bfloat16 = 0; bfloat16 < 2; bfloat16++) {
        struct fixture first = fixture_make(bfloat16), second = fixture_make(bfloat16);
        float loss[2];
        transformer_gradient(first.model, first.inputs, first.targets, BATCH, &loss[0], NULL, NULL);
        transformer_gradient(second.model, second.inputs, second.targets, BATCH, &loss[1], NULL, NULL);
        assert_memory_equal(&loss[0], &loss[1], sizeof(float));
        assert_memory_equal(transformer_gradients(first.model), transformer_gradients(second.model),
                            transformer_layout(first.model)->count * sizeof(float));
        fixture_release(&second);
        fixture_release(&first);
    }
}

/* bfloat16 has 8 bits of precision: a gradient of many roundings keeps its direction within a few per cent. */
static void bfloat16_gradients_point_the_same_way(void **state)
{
    (void)state;
    struct fixture exact = fixture_make(false), rounded = fixture_make(true);
    print_message("precision: %s\n", precision_name(products_precision(rounded.products)));
    size_t count = transformer_layout(exact.model)->count;
    float loss, rounded_loss;
    transformer_gradient(exact.model, exact.inputs, exact.targets, BATCH, &loss, NULL, NULL);
    transformer_gradient(rounded.model, rounded.inputs, rounded.targets, BATCH, &rounded_loss, NULL, NULL);
    assert_null(products_error(rounded.products));
    const float *a = transformer_gradients(exact.model), *b = transformer_gradients(rounded.model);
    double aligned = weighted_sum(a, b, count) / sqrt(weighted_sum(a, a, count) * weighted_sum(b, b, count));
    assert_true(fabsf(loss - rounded_loss) < 0.02f * loss);
    assert_true(aligned > 0.999);
    assert_memory_not_equal(a, b, count * sizeof(float));
    fixture_release(&rounded);
    fixture_release(&exact);
}

static void first_values_depend_on_the_seed_alone(void **state)
{
    (void)state;
    static struct parameter_layout layout;
    parameter_layout_make(&shape, &layout);
    float *values = malloc(3 * layout.count * sizeof(float));
    assert_non_null(values);
    parameters_initialize(&layout, 1, values);
    parameters_initialize(&layout, 1, values + layout.count);
    parameters_initialize(&layout, 2, values + 2 * layout.count);
    assert_memory_equal(values, values + layout.count, layout.count * sizeof(float));
    assert_memory_not_equal(values, values + 2 * layout.count, layout.count * sizeof(float));
    double sum = 0, squares = 0;
    const size_t tables = TOKEN_COUNT * shape.width;
    for (size_t i = 0; i < tables; i++) {
        sum += (double)values[i];
        squares += (double)values[i] * (double)values[i];
    }
    double deviation = 0.55 / sqrt(shape.width);
    assert_true(fabs(sum / tables) < 0.05 * deviation);
    assert_true(fabs(sqrt(squares / tables) - deviation) < 0.05 * deviation);
    free(values);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients_of_every_parameter_are_right),
        cmocka_unit_test(gradients_are_final_when_they_are_said_to_be),
        cmocka_unit_test(a_smaller_batch_gives_the_same_losses),
        cmocka_unit_test(the_same_call_gives_the_same_bits),
        cmocka_unit_test(bfloat16_gradients_point_the_same_way),
        cmocka_unit_test(first_values_depend_on_the_seed_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
