/* SPDX-License-Identifier: Apache-2.0 */
/* One rank's run from first values (or a checkpoint) to the report. */
#ifndef TRAINER_TRAIN_H
#define TRAINER_TRAIN_H

#include <stdbool.h>

#include "trainer/options.h"

/*
 * Train as one rank: of the communicator the environment names, or alone with options->ranks == 1. Rank 0 prints the
 * report on standard output. False with a sentence; the other ranks then learn of it from their own collectives.
 */
bool train(const struct options *options, char *error);

#endif
