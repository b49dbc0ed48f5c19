/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "trainer/error.h"
#include "trainer/model/vector.h"
#include "trainer/trainer_internal.h"

/* Sums of one rank: nats and bytes. */
struct score {
    double nats, bytes;
};

/* The windows of one batch, already in run->inputs and run->targets. */
static void score_batch(struct run *run, const struct text_window *windows, uint32_t count, struct score *score)
{
    size_t context = run->options->context;
    transformer_forward(run->model, run->inputs, count);
    const float *losses = transformer_losses(run->model, run->targets, count);
    for (uint32_t i = 0; i < count; i++) {
        const float *scored = losses + i * context + windows[i].first_scored;
        for (size_t j = 0; j < windows[i].scored; j++) score->nats += scored[j];
        score->bytes += (double)windows[i].scored;
    }
}

bool evaluate(struct run *run, size_t window_limit, double *loss, char *error)
{
    size_t context = run->options->context, total = text_window_count(&run->text, context);
    size_t limit = window_limit && window_limit < total ? window_limit : total;
    uint32_t batch = (uint32_t)run->options->batch, filled = 0;
    struct text_window *windows = calloc(batch, sizeof(*windows));
    if (!windows) return error_set(error, "out of memory");
    struct score score = {0};
    for (size_t i = sync_rank(run->sync); i < limit; i += sync_rank_count(run->sync)) {
        windows[filled] = text_window(&run->text, context, i * total / limit);
        memcpy(run->inputs + filled * context, windows[filled].inputs, context);
        memcpy(run->targets + filled * context, windows[filled].inputs + 1, context);
        if (++filled < batch) continue;
        score_batch(run, windows, filled, &score);
        filled = 0;
    }
    if (filled) score_batch(run, windows, filled, &score);
    free(windows);
    double sums[2] = {score.nats, score.bytes};
    if (products_error(run->products)) return error_set(error, "%s", products_error(run->products));
    if (!sync_sum(run->sync, sums, 2, error)) return false;
    *loss = sums[0] / sums[1];
    return true;
}

/* One byte out of softmax(logits / temperature), by a uniform number in [0, 1). */
static uint8_t draw(const float *logits, double temperature, double uniform)
{
    float scaled[TOKEN_COUNT], sum = 0, inverse = (float)(1.0 / temperature), highest = highest_of(logits, TOKEN_COUNT);
    for (int i = 0; i < TOKEN_COUNT; i++) {
        scaled[i] = exp_approximate((logits[i] - highest) * inverse);
        sum += scaled[i];
    }
    double left = uniform * (double)sum;
    int byte = 0;
    while (byte < TOKEN_COUNT - 1 && left >= (double)scaled[byte]) left -= (double)scaled[byte++];
    return (uint8_t)byte;
}

bool write_sample(struct run *run, FILE *file, char *error)
{
    const struct options *options = run->options;
    size_t context = options->context, known = 1;
    uint8_t *window = run->inputs; /* bytes after the known ones are not looked at: attention is causal */
    memset(window, 0, context);
    window[0] = '\n'; /* as if a line had just ended */
    for (uint64_t i = 0; i < options->sample; i++) {
        const float *logits = transformer_forward(run->model, window, 1) + (known - 1) * TOKEN_COUNT;
        if (products_error(run->products)) return error_set(error, "%s", products_error(run->products));
        double uniform = (double)(mix_bits(mix_bits(options->seed) ^ i) >> 11) * 0x1p-53;
        uint8_t byte = draw(logits, options->temperature, uniform);
        if (known == context) {
            memmove(window, window + 1, context - 1);
            known--;
        }
        window[known++] = byte;
        fputc(byte >= ' ' || byte == '\n' || byte == '\t' ? byte : '.', file);
    }
    fputc('\n', file);
    return true;
}
