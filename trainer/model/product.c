/* SPDX-License-Identifier: Apache-2.0 */
#include "trainer/model/product.h"

#include <dlfcn.h>
#include <dnnl.h>
#include <stdlib.h>
#include <string.h>

#include "trainer/model/vector.h"

/* A model needs about twenty shapes for training and a few more for evaluation and sampling. */
enum { PRODUCT_CACHE_SIZE = 96 };

enum { LEFT, RIGHT, BIAS, OUT, ARGUMENT_COUNT };

/* A shape that has been compiled: oneDNN generates code for it, which takes milliseconds, so it is kept. */
struct compiled_product {
    struct product shape;
    dnnl_primitive_t primitive;
    dnnl_memory_t memory[ARGUMENT_COUNT]; /* BIAS is NULL without one */
};

struct products {
    enum precision precision;
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    const char *error;
    size_t compiled_count;
    struct compiled_product compiled[PRODUCT_CACHE_SIZE];
};

/*
 * oneDNN runs on OpenMP threads where it was built so (Debian's is); one rank is one core, and a second rank's threads
 * would only get in the way. The function is looked up in what oneDNN brought along: linking a compiler's own OpenMP
 * runtime might add a second one next to it.
 */
static void use_one_thread(void)
{
    void (*set_num_threads)(int) = NULL;
    void *symbol = dlsym(RTLD_DEFAULT, "omp_set_num_threads");
    memcpy(&set_num_threads, &symbol, sizeof(symbol));
    if (set_num_threads) set_num_threads(1);
}

static enum precision precision_choose(bool bfloat16)
{
    if (!bfloat16) return PRECISION_FLOAT32;
    unsigned isa = (unsigned)dnnl_get_effective_cpu_isa();
    unsigned wanted = (unsigned)dnnl_cpu_isa_avx512_core_bf16;
    return (isa & wanted) == wanted ? PRECISION_BFLOAT16 : PRECISION_BFLOAT16_EMULATED;
}

struct products *products_create(bool bfloat16)
{
    struct products *products = calloc(1, sizeof(*products));
    if (!products) return NULL;
    use_one_thread();
    products->precision = precision_choose(bfloat16);
    if (dnnl_engine_create(&products->engine, dnnl_cpu, 0) != dnnl_success ||
        dnnl_stream_create(&products->stream, products->engine, dnnl_stream_default_flags) != dnnl_success) {
        products_destroy(products);
        return NULL;
    }
    return products;
}

static void compiled_release(struct compiled_product *compiled)
{
    for (int i = 0; i < ARGUMENT_COUNT; i++)
        if (compiled->memory[i]) dnnl_memory_destroy(compiled->memory[i]);
    if (compiled->primitive) dnnl_primitive_destroy(compiled->primitive);
}

void products_destroy(struct products *products)
{
    if (!products) return;
    for (size_t i = 0; i < products->compiled_count; i++) compiled_release(&products->compiled[i]);
    if (products->stream) dnnl_stream_destroy(products->stream);
    if (products->engine) dnnl_engine_destroy(products->engine);
    free(products);
}

enum precision products_precision(const struct products *products)
{
    return products->precision;
}

const char *precision_name(enum precision precision)
{
    static const char *const names[] = {"float32", "bfloat16", "bfloat16 (emulated)"};
    return names[precision];
}

const char *products_error(const struct products *products)
{
    return products->error;
}

struct matrix_shape {
    dnnl_data_type_t type;
    dnnl_dims_t dims, strides;
};

static struct matrix_shape matrix_shape(dnnl_data_type_t type, uint32_t batch, uint32_t rows, uint32_t columns,
                                        const struct product_strides *strides)
{
    struct matrix_shape shape = {.type = type};
    /* A product without a batch has two dimensions: oneDNN's fastest kernels are for those. */
    int first = batch == 1 ? 0 : 1;
    shape.dims[0] = batch;
    shape.strides[0] = strides->batch;
    shape.dims[first] = rows;
    shape.strides[first] = strides->row;
    shape.dims[first + 1] = columns;
    shape.strides[first + 1] = strides->column;
    return shape;
}

/* oneDNN changed how shapes and primitives are described in version 3 (Ubuntu 24.04 has it, Debian 12 has 2.6). */
#if DNNL_VERSION_MAJOR >= 3
typedef dnnl_memory_desc_t memory_shape;

static dnnl_status_t append_sum(dnnl_post_ops_t chain)
{
    return dnnl_post_ops_append_sum(chain, 1.0f, 0, dnnl_data_type_undef);
}

static dnnl_status_t memory_shape_create(memory_shape *memory, int dimensions, const struct matrix_shape *shape)
{
    return dnnl_memory_desc_create_with_strides(memory, dimensions, shape->dims, shape->type, shape->strides);
}

static void memory_shape_destroy(memory_shape memory)
{
    dnnl_memory_desc_destroy(memory);
}

static dnnl_status_t primitive_describe(struct products *products, const memory_shape *shapes, bool bias,
                                        dnnl_primitive_attr_t attributes, dnnl_primitive_desc_t *description)
{
    return dnnl_matmul_primitive_desc_create(description, products->engine, shapes[LEFT], shapes[RIGHT],
                                             bias ? shapes[BIAS] : NULL, shapes[OUT], attributes);
}

static dnnl_status_t memory_create(struct products *products, const memory_shape *shape, dnnl_memory_t *memory)
{
    return dnnl_memory_create(memory, *shape, products->engine, DNNL_MEMORY_NONE);
}
#else
typedef dnnl_memory_desc_t memory_shape;

static dnnl_status_t append_sum(dnnl_post_ops_t chain)
{
    return dnnl_post_ops_append_sum(chain, 1.0f);
}

static dnnl_status_t memory_shape_create(memory_shape *memory, int dimensions, const struct matrix_shape *shape)
{
    return dnnl_memory_desc_init_by_strides(memory, dimensions, shape->dims, shape->type, shape->strides);
}

static void memory_shape_destroy(memory_shape memory)
{
    (void)memory;
}

static dnnl_status_t primitive_describe(struct products *products, const memory_shape *shapes, bool bias,
                                        dnnl_primitive_attr_t attributes, dnnl_primitive_desc_t *description)
{
    dnnl_matmul_desc_t operation;
    dnnl_status_t status =
        dnnl_matmul_desc_init(&operation, &shapes[LEFT], &shapes[RIGHT], bias ? &shapes[BIAS] : NULL, &shapes[OUT]);
    if (status != dnnl_success) return status;
    return dnnl_primitive_desc_create(description, &operation, attributes, products->engine, NULL);
}

static dnnl_status_t memory_create(struct products *products, const memory_shape *shape, dnnl_memory_t *memory)
{
    return dnnl_memory_create(memory, shape, products->engine, DNNL_MEMORY_NONE);
}
#endif

static dnnl_status_t attributes_create(const struct product *shape, dnnl_primitive_attr_t *attributes)
{
    dnnl_status_t status = dnnl_primitive_attr_create(attributes);
    if (status != dnnl_success || !(shape->flags & PRODUCT_ACCUMULATE)) return status;
    dnnl_post_ops_t chain = NULL;
    status = dnnl_post_ops_create(&chain);
    if (status == dnnl_success) status = append_sum(chain);
    if (status == dnnl_success) status = dnnl_primitive_attr_set_post_ops(*attributes, chain);
    if (chain) dnnl_post_ops_destroy(chain);
    return status;
}

/* On failure what was made so far is in *compiled, for compiled_release(). */
static dnnl_status_t compile(struct products *products, const struct product *shape, struct compiled_product *compiled)
{
    dnnl_data_type_t operand = products->precision == PRECISION_BFLOAT16 ? dnnl_bf16 : dnnl_f32;
    dnnl_data_type_t out = shape->flags & PRODUCT_OUT_OPERAND ? operand : dnnl_f32;
    bool bias = shape->flags & PRODUCT_BIAS;
    struct product_strides bias_strides = {shape->columns, shape->columns, 1};
    struct matrix_shape matrices[ARGUMENT_COUNT] = {
        [LEFT] = matrix_shape(operand, shape->batch, shape->rows, shape->inner, &shape->left),
        [RIGHT] = matrix_shape(operand, shape->batch, shape->inner, shape->columns, &shape->right),
        [BIAS] = matrix_shape(dnnl_f32, 1, 1, shape->columns, &bias_strides),
        [OUT] = matrix_shape(out, shape->batch, shape->rows, shape->columns, &shape->out),
    };
    int dimensions = shape->batch == 1 ? 2 : 3;
    memory_shape shapes[ARGUMENT_COUNT];
    dnnl_primitive_attr_t attributes = NULL;
    dnnl_primitive_desc_t description = NULL;
    dnnl_status_t status = dnnl_success;
    int made = 0;
    while (made < ARGUMENT_COUNT && status == dnnl_success) {
        status = memory_shape_create(&shapes[made], dimensions, &matrices[made]);
        if (status == dnnl_success) made++;
    }
    if (status == dnnl_success) status = attributes_create(shape, &attributes);
    if (status == dnnl_success) status = primitive_describe(products, shapes, bias, attributes, &description);
    if (status == dnnl_success) status = dnnl_primitive_create(&compiled->primitive, description);
    for (int i = 0; i < ARGUMENT_COUNT && status == dnnl_success; i++)
        if (i != BIAS || bias) status = memory_create(products, &shapes[i], &compiled->memory[i]);
    if (description) dnnl_primitive_desc_destroy(description);
    if (attributes) dnnl_primitive_attr_destroy(attributes);
    while (made > 0) memory_shape_destroy(shapes[--made]);
    return status;
}

static struct compiled_product *find_or_compile(struct products *products, const struct product *shape)
{
    for (size_t i = 0; i < products->compiled_count; i++)
        if (memcmp(&products->compiled[i].shape, shape, sizeof(*shape)) == 0) return &products->compiled[i];
    /* Full: shapes come and go (the last, shorter batch of an evaluation); the newest makes room. */
    if (products->compiled_count == PRODUCT_CACHE_SIZE)
        compiled_release(&products->compiled[--products->compiled_count]);
    struct compiled_product *compiled = &products->compiled[products->compiled_count];
    *compiled = (struct compiled_product){.shape = *shape};
    if (compile(products, shape, compiled) != dnnl_success) {
        compiled_release(compiled);
        return NULL;
    }
    products->compiled_count++;
    return compiled;
}

void product_run(struct products *products, const struct product *product, const void *left, const void *right,
                 const float *bias, void *out)
{
    if (products->error) return;
    struct compiled_product *compiled = find_or_compile(products, product);
    if (!compiled) {
        products->error = "oneDNN cannot make a matrix product of this shape";
        return;
    }
    /* oneDNN's handles are not const, though it only reads through the first three. */
    union {
        const void *constant;
        void *handle;
    } data[ARGUMENT_COUNT] = {[LEFT] = {left}, [RIGHT] = {right}, [BIAS] = {bias}, [OUT] = {out}};
    static const int names[ARGUMENT_COUNT] = {DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_BIAS, DNNL_ARG_DST};
    dnnl_exec_arg_t arguments[ARGUMENT_COUNT];
    int count = 0;
    for (int i = 0; i < ARGUMENT_COUNT; i++) {
        if (!compiled->memory[i]) continue;
        dnnl_memory_set_data_handle(compiled->memory[i], data[i].handle);
        arguments[count++] = (dnnl_exec_arg_t){names[i], compiled->memory[i]};
    }
    if (dnnl_primitive_execute(compiled->primitive, products->stream, count, arguments) != dnnl_success)
        products->error = "oneDNN failed to run a matrix product";
}

size_t operand_bytes(enum precision precision)
{
    return precision == PRECISION_BFLOAT16 ? sizeof(uint16_t) : sizeof(float);
}

VECTORIZED static void round_to_bfloat16(const float *restrict from, uint16_t *restrict to, size_t count)
{
    for (size_t i = 0; i < count; i++) to[i] = bfloat16_from_float(from[i]);
}

VECTORIZED static void widen_from_bfloat16(const uint16_t *restrict from, float *restrict to, size_t count)
{
    for (size_t i = 0; i < count; i++) to[i] = float_from_bfloat16(from[i]);
}

VECTORIZED static void round_in_float(const float *restrict from, float *restrict to, size_t count)
{
    for (size_t i = 0; i < count; i++) to[i] = float_from_bfloat16(bfloat16_from_float(from[i]));
}

void operand_store(enum precision precision, const float *from, void *to, size_t first, size_t count)
{
    switch (precision) {
    case PRECISION_FLOAT32:
        memcpy((float *)to + first, from, count * sizeof(float));
        return;
    case PRECISION_BFLOAT16:
        round_to_bfloat16(from, (uint16_t *)to + first, count);
        return;
    case PRECISION_BFLOAT16_EMULATED:
        round_in_float(from, (float *)to + first, count);
        return;
    }
}

void operand_load(enum precision precision, const void *from, size_t first, size_t count, float *to)
{
    if (precision == PRECISION_BFLOAT16)
        widen_from_bfloat16((const uint16_t *)from + first, to, count);
    else
        memcpy(to, (const float *)from + first, count * sizeof(float));
}
