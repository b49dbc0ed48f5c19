/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The text: what is trained on, what is held out, which piece a sample is, and how well counting pairs does.
 */
#ifndef TRAINER_TEXT_H
#define TRAINER_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct text {
    uint8_t *bytes;
    size_t count, training_count; /* the rest, the last 5 %, is held out */
};

/*
 * Read a file. Errors (false, with a sentence): it cannot be read, is empty, or either part is shorter than one sample
 * of context + 1 bytes. Owner: the caller, text_close().
 */
bool text_open(const char *path, size_t context, struct text *text, char *error);
void text_close(struct text *text);

/*
 * Sample number @p index of step @p step: context bytes of the training part into inputs, the same one byte later into
 * targets. Depends on these arguments alone, not on how many ranks share the step.
 */
void text_sample(const struct text *text, uint64_t seed, uint64_t step, uint64_t index, size_t context, uint8_t *inputs,
                 uint8_t *targets);

/*
 * Nats per byte of the held-out part under the frequencies of byte pairs in the training part, a tenth of an occurrence
 * added to each of the 256 that may follow.
 */
double text_bigram_loss(const struct text *text);

/* The held-out part in windows of context bytes that overlap by half. */
struct text_window {
    const uint8_t *inputs;       /* context bytes; the targets are one byte later */
    size_t first_scored, scored; /* positions whose target counts: all held-out bytes but the first, each once */
};
size_t text_window_count(const struct text *text, size_t context);
struct text_window text_window(const struct text *text, size_t context, size_t index);

#endif
