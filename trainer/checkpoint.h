/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The training state on disk: DIR/checkpoint. A new one is written beside it, forced to the disk and renamed over it,
 * so that there is always a whole one, whatever dies when.
 *
 * Format, all little-endian: "weft\ntr1"; eleven 64-bit words: layers, width, heads, context,
 * vocabulary, optimizer, seed, step, floats per array, arrays, 0; then
 * 1 + moments arrays of float32: parameters, moments; last the CRC-64 of everything before.
 */
#ifndef TRAINER_CHECKPOINT_H
#define TRAINER_CHECKPOINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "trainer/model/parameters.h"
#include "trainer/optimizer.h"

struct checkpoint {
    struct transformer_shape shape;
    enum optimizer_kind optimizer;
    uint64_t seed, step;
    size_t count; /* floats per array */
    uint32_t array_count;
    float *arrays[3]; /* parameters, first moment, second moment: the caller's */
};

/* Creates the directory where it is missing (not its parents). Thread: one writer per directory. */
bool checkpoint_write(const char *directory, const struct checkpoint *checkpoint, char *error);
/*
 * Fill the arrays and the step of @p checkpoint, whose other fields say what is expected. Errors: no file, damaged
 * (cut short, or its CRC is wrong), of another model, optimizer or seed; the arrays are then undefined.
 */
bool checkpoint_read(const char *directory, struct checkpoint *checkpoint, char *error);

#endif
