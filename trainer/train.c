/* SPDX-License-Identifier: Apache-2.0 */
#include "trainer/train.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <time.h>

#include "trainer/checkpoint.h"
#include "trainer/error.h"
#include "trainer/trainer_internal.h"

/* An evaluation on the way is an estimate: enough windows for two digits, few enough not to matter. */
enum { WINDOWS_ON_THE_WAY = 256 };

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static struct transformer_shape model_shape(const struct options *options)
{
    return (struct transformer_shape){(uint32_t)options->layers, (uint32_t)options->width, (uint32_t)options->heads,
                                      (uint32_t)options->context};
}

static bool make_model(struct run *run, char *error)
{
    const struct options *options = run->options;
    struct transformer_shape shape = model_shape(options);
    size_t batch_bytes = options->batch * options->context;
    run->products = products_create(options->dtype == DTYPE_BF16);
    if (!run->products) return error_set(error, "oneDNN cannot use this processor");
    run->model = transformer_create(&shape, (uint32_t)options->batch, run->products);
    run->inputs = malloc(batch_bytes);
    run->targets = malloc(batch_bytes);
    if (!run->model || !run->inputs || !run->targets ||
        !optimizer_prepare(&run->optimizer, (enum optimizer_kind)options->optimizer, options->weight_decay,
                           transformer_layout(run->model)->count))
        return error_set(error, "not enough memory for this model; lower --batch, --width or --layers");
    parameters_initialize(transformer_layout(run->model), options->seed, transformer_parameters(run->model));
    transformer_parameters_changed(run->model);
    return true;
}

static struct checkpoint describe_state(struct run *run)
{
    struct checkpoint checkpoint = {
        .shape = model_shape(run->options),
        .optimizer = run->optimizer.kind,
        .seed = run->options->seed,
        .step = run->step,
        .count = transformer_layout(run->model)->count,
        .array_count = 1 + run->optimizer.moment_count,
        .arrays = {transformer_parameters(run->model), run->optimizer.moments[0], run->optimizer.moments[1]},
    };
    return checkpoint;
}

/*
 * Rank 0 reads, the others get its state: the directory need not be visible to them. They must hear of a failure too,
 * before they wait for parameters that will not come.
 */
static bool resume(struct run *run, char *error)
{
    struct checkpoint checkpoint = describe_state(run);
    int64_t step = -1;
    bool good = true;
    if (sync_rank(run->sync) == 0) {
        good = checkpoint_read(run->options->checkpoint, &checkpoint, error);
        if (good) step = (int64_t)checkpoint.step;
        if (good && checkpoint.step > run->options->steps) {
            good = error_set(error, "%s/checkpoint is at step %" PRIu64 ", beyond --steps %" PRIu64,
                             run->options->checkpoint, checkpoint.step, run->options->steps);
            step = -1;
        }
    }
    char sharing_error[ERROR_BYTES];
    if (!sync_share_int64(run->sync, &step, 1, good ? error : sharing_error) || !good) return false;
    if (step < 0) return error_set(error, "rank 0 could not resume");
    for (uint32_t i = 0; i < checkpoint.array_count; i++)
        if (!sync_share_floats(run->sync, checkpoint.arrays[i], checkpoint.count, error)) return false;
    run->step = (uint64_t)step;
    transformer_parameters_changed(run->model);
    return true;
}

static bool run_open(struct run *run, char *error)
{
    const struct options *options = run->options;
    if (!text_open(options->data, options->context, &run->text, error) || !make_model(run, error)) return false;
    size_t gradient_count = transformer_layout(run->model)->count + GRADIENT_EXTRA;
    if (!sync_open(options->ranks == 1, options->bucket_bytes, gradient_count, &run->sync, error)) return false;
    if (options->resume && !resume(run, error)) return false;
    if (sync_rank(run->sync) != 0) return true;
    return journal_open(&run->journal, options->log, options->resume, options->steps, error);
}

static void run_close(struct run *run)
{
    journal_close(&run->journal);
    sync_close(run->sync);
    optimizer_release(&run->optimizer);
    free(run->targets);
    free(run->inputs);
    transformer_destroy(run->model);
    products_destroy(run->products);
    text_close(&run->text);
}

static void print_beginning(const struct run *run)
{
    const struct options *options = run->options;
    const struct parameter_layout *layout = transformer_layout(run->model);
    uint32_t ranks = sync_rank_count(run->sync);
    fprintf(stderr,
            "weft-train: %zu parameters, %s, %" PRIu32 " rank%s, %" PRIu64
            " bytes of text per step, %zu to learn from, "
            "%zu held out\n",
            parameter_layout_learned(layout), precision_name(products_precision(run->products)), ranks,
            ranks > 1 ? "s" : "", ranks * options->batch * options->context, run->text.training_count,
            run->text.count - run->text.training_count);
    if (run->step) fprintf(stderr, "weft-train: resumed after step %" PRIu64 "\n", run->step);
}

/* Everything of one step: samples, gradient, its average over the ranks, update. */
static bool train_step(struct run *run, struct journal_row *row, char *error)
{
    const struct options *options = run->options;
    const struct parameter_layout *layout = transformer_layout(run->model);
    uint64_t start_ns = now_ns(), step = run->step + 1;
    for (uint64_t i = 0; i < options->batch; i++)
        text_sample(&run->text, options->seed, step, sync_rank(run->sync) * options->batch + i, options->context,
                    run->inputs + i * options->context, run->targets + i * options->context);

    /* The loss lies behind the gradients and is averaged with them. */
    float *gradients = transformer_gradients(run->model), *loss = gradients + layout->count;
    sync_gradients_begin(run->sync, gradients);
    transformer_gradient(run->model, run->inputs, run->targets, (uint32_t)options->batch, loss, sync_gradients_ready,
                         run->sync);
    struct sync_times times;
    if (!sync_gradients_finish(run->sync, &times, error)) return false;
    if (products_error(run->products)) return error_set(error, "%s", products_error(run->products));

    double norm = gradient_norm(gradients, layout->count);
    if (!isfinite(norm) || !isfinite(*loss))
        return error_set(error, "the loss is no longer a number at step %" PRIu64 "; try a lower --lr", step);
    double rate = learning_rate_at(step, options->steps, options->warmup, options->learning_rate);
    optimizer_step(&run->optimizer, layout, step, rate, clip_scale(norm, options->clip), gradients,
                   transformer_parameters(run->model));
    transformer_parameters_changed(run->model);
    run->step = step;
    *row = (struct journal_row){
        .step = step,
        .tokens = sync_rank_count(run->sync) * options->batch * options->context,
        .loss = *loss,
        .learning_rate = rate,
        .gradient_norm = norm,
        .elapsed_ns = now_ns() - start_ns,
        .comm_ns = times.busy_ns,
        .comm_exposed_ns = times.exposed_ns,
        .held_out_loss = NAN,
    };
    return true;
}

static bool save(struct run *run, char *error)
{
    if (!*run->options->checkpoint || sync_rank(run->sync) != 0) return true;
    struct checkpoint checkpoint = describe_state(run);
    return checkpoint_write(run->options->checkpoint, &checkpoint, error);
}

static bool train_all(struct run *run, uint64_t last_step, char *error)
{
    const struct options *options = run->options;
    while (run->step < last_step) {
        struct journal_row row;
        if (!train_step(run, &row, error)) return false;
        bool last = run->step == last_step;
        if (!last && options->eval_every && run->step % options->eval_every == 0 &&
            !evaluate(run, WINDOWS_ON_THE_WAY, &row.held_out_loss, error))
            return false;
        if (sync_rank(run->sync) == 0 && !journal_row(&run->journal, &row, error)) return false;
        if ((last || run->step % options->checkpoint_every == 0) && !save(run, error)) return false;
    }
    return true;
}

bool train(const struct options *options, char *error)
{
    struct run run = {.options = options};
    uint64_t last_step = options->stop_at && options->stop_at < options->steps ? options->stop_at : options->steps;
    bool good = run_open(&run, error);
    if (good && sync_rank(run.sync) == 0) print_beginning(&run);
    good = good && train_all(&run, last_step, error) && report(&run, error);
    run_close(&run);
    return good;
}
