/* SPDX-License-Identifier: Apache-2.0 */
/* One rank's run, shared by train.c (the loop), evaluate.c (held-out loss, text) and report.c. */
#ifndef TRAINER_INTERNAL_H
#define TRAINER_INTERNAL_H

#include "trainer/journal.h"
#include "trainer/model/transformer.h"
#include "trainer/optimizer.h"
#include "trainer/options.h"
#include "trainer/sync.h"
#include "trainer/text.h"

struct run {
    const struct options *options;
    struct text text;
    struct products *products;
    struct transformer *model;
    struct optimizer optimizer;
    struct sync *sync;
    struct journal journal;    /* rank 0 */
    uint8_t *inputs, *targets; /* one batch */
    uint64_t step;             /* steps done */
};

/*
 * Mean loss in nats per byte over the held-out part, on all ranks together. At most @p window_limit windows, evenly
 * spread; 0: all, so that every byte but the first is scored once.
 */
bool evaluate(struct run *run, size_t window_limit, double *loss, char *error);

/* Write options->sample bytes that the model makes up. Rank 0. */
bool write_sample(struct run *run, FILE *file, char *error);

/* All ranks; rank 0 prints. */
bool report(struct run *run, char *error);

#endif
