/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command line. One table makes the struct, the parser and --help.
 *
 * X(field, NAME, KIND, default, low, high, VALUE, help)
 * KIND: U whole number, F number, S text, C one of the words in OPTION_WORDS_<field>, B present or not
 */
#ifndef TRAINER_OPTIONS_H
#define TRAINER_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "trainer/optimizer.h"

#define OPTION_TABLE(X)                                                                                                \
    X(data, "data", S, "", 0, 0, "FILE", "text to train on, read as bytes; its last 5 % are held out")                 \
    X(ranks, "ranks", U, 0, 1, 1024, "N", "start N ranks on this host; left out, the launcher's environment decides")  \
    X(layers, "layers", U, 4, 1, 64, "N", "transformer layers")                                                        \
    X(width, "width", U, 128, 1, 16384, "N", "numbers per token; a multiple of heads")                                 \
    X(heads, "heads", U, 4, 1, 256, "N", "attention heads per layer")                                                  \
    X(context, "context", U, 128, 2, 8192, "N", "bytes the model sees at once")                                        \
    X(batch, "batch", U, 16, 1, 65536, "N", "sequences per rank and step")                                             \
    X(steps, "steps", U, 1000, 1, 1000000000, "N", "steps to train")                                                   \
    X(stop_at, "stop-at", U, 0, 1, 1000000000, "N", "end after step N, as if interrupted there; see --resume")         \
    X(learning_rate, "lr", F, 3e-3, 0, 1e3, "RATE", "highest learning rate")                                           \
    X(warmup, "warmup", U, 100, 0, 1000000000, "N", "steps until the learning rate is highest")                        \
    X(optimizer, "optimizer", C, OPTIMIZER_ADAMW, 0, 0, "NAME", "sgd, momentum, adam or adamw")                        \
    X(weight_decay, "weight-decay", F, 0.1, 0, 1e3, "RATE", "pull of matrices towards zero")                           \
    X(clip, "clip", F, 1.0, 0, 1e9, "NORM", "longest gradient; a longer one is scaled down. 0: never")                 \
    X(dtype, "dtype", C, DTYPE_F32, 0, 0, "TYPE", "f32, or bf16 for the inputs of matrix products")                    \
    X(seed, "seed", U, 1, 0, 1e18, "N", "first values, order of samples, and the final text")                          \
    X(bucket_bytes, "bucket-bytes", U, 524288, 64, 1 << 30, "N", "gradient bytes per all-reduce")                      \
    X(eval_every, "eval-every", U, 200, 0, 1000000000, "N", "steps between evaluations; 0: only at the end")           \
    X(sample, "sample", U, 0, 0, 1000000, "N", "bytes of text to write at the end")                                    \
    X(temperature, "temperature", F, 0.8, 0.01, 100, "T", "of that text: low is likely, high is varied")               \
    X(checkpoint, "checkpoint", S, "", 0, 0, "DIR", "keep the training state in DIR/checkpoint")                       \
    X(checkpoint_every, "checkpoint-every", U, 200, 1, 1000000000, "N", "steps between checkpoints; also at the end")  \
    X(resume, "resume", B, false, 0, 0, "", "go on from DIR/checkpoint")                                               \
    X(log, "log", S, "", 0, 0, "FILE", "write a JSON line per step")

enum dtype { DTYPE_F32, DTYPE_BF16 };
#define OPTION_WORDS_optimizer                                                                                         \
    {                                                                                                                  \
        "sgd", "momentum", "adam", "adamw", NULL                                                                       \
    }
#define OPTION_WORDS_dtype                                                                                             \
    {                                                                                                                  \
        "f32", "bf16", NULL                                                                                            \
    }

#define OPTION_FIELD_U(field) uint64_t field;
#define OPTION_FIELD_F(field) double field;
#define OPTION_FIELD_S(field) const char *field;
#define OPTION_FIELD_C(field) int field;
#define OPTION_FIELD_B(field) bool field;
#define OPTION_FIELD(field, name, kind, ...) OPTION_FIELD_##kind(field)
struct options {
    OPTION_TABLE(OPTION_FIELD)
};

enum options_outcome { OPTIONS_RUN, OPTIONS_HELP, OPTIONS_VERSION, OPTIONS_WRONG };

/*
 * Parse a command line; texts point into @p arguments. OPTIONS_WRONG: @p error (512 bytes) has one sentence with the
 * nearest right thing. Thread: any.
 */
enum options_outcome options_parse(int argument_count, char *const arguments[], struct options *options, char *error);
void options_help(FILE *file);

#endif
