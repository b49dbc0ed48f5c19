/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a run tells while it goes on: a JSON line per step for programs, one line that keeps changing on a terminal (or
 * a line per evaluation elsewhere) for people, and the sums that the last report needs. Rank 0 alone has one.
 */
#ifndef TRAINER_JOURNAL_H
#define TRAINER_JOURNAL_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct journal_row {
    uint64_t step, tokens; /* tokens: of all ranks in this step */
    double loss, learning_rate, gradient_norm;
    uint64_t elapsed_ns, comm_ns, comm_exposed_ns;
    double held_out_loss; /* NaN when this step was not followed by an evaluation */
};

struct journal {
    FILE *log;     /* NULL: none asked for */
    bool terminal; /* standard error is one */
    uint64_t last_step;
    double held_out_loss; /* the newest, or NaN */
    uint64_t tokens, elapsed_ns, comm_ns, comm_exposed_ns;
    uint64_t shown_ns;
};

/* @p path empty: no log. append: a resumed run goes on in the same file. */
bool journal_open(struct journal *journal, const char *path, bool append, uint64_t last_step, char *error);
/* False: the log could not be written. */
bool journal_row(struct journal *journal, const struct journal_row *row, char *error);
/* Ends the changing line. */
void journal_close(struct journal *journal);

double journal_tokens_per_s(const struct journal *journal);
/* Share of the communication that took place behind computation; NaN where there was none. */
double journal_hidden_share(const struct journal *journal);

#endif
