/* SPDX-License-Identifier: Apache-2.0 */
#include "trainer/journal.h"

#include <errno.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

#include "trainer/error.h"

bool journal_open(struct journal *journal, const char *path, bool append, uint64_t last_step, char *error)
{
    *journal = (struct journal){.last_step = last_step, .held_out_loss = NAN, .terminal = isatty(STDERR_FILENO)};
    if (!*path) return true;
    journal->log = fopen(path, append ? "ae" : "we");
    if (!journal->log) return error_set(error, "cannot write %s: %s", path, strerror(errno));
    setvbuf(journal->log, NULL, _IOLBF, 0); /* a reader never sees half a line */
    return true;
}

static double per_second(uint64_t tokens, uint64_t elapsed_ns)
{
    return elapsed_ns ? (double)tokens * 1e9 / (double)elapsed_ns : 0;
}

/* JSON has no infinity and no NaN. */
static void print_number(FILE *file, const char *name, const char *format, double value)
{
    fprintf(file, ",\"%s\":", name);
    if (isfinite(value))
        fprintf(file, format, value);
    else
        fputs("null", file);
}

static bool write_row(FILE *file, const struct journal_row *row, char *error)
{
    uint64_t compute_ns = row->elapsed_ns - row->comm_exposed_ns;
    fprintf(file, "{\"step\":%llu", (unsigned long long)row->step);
    print_number(file, "loss", "%.9g", row->loss);
    print_number(file, "tokens_per_s", "%.0f", per_second(row->tokens, row->elapsed_ns));
    print_number(file, "compute_ms", "%.3f", (double)compute_ns * 1e-6);
    print_number(file, "comm_ms", "%.3f", (double)row->comm_ns * 1e-6);
    print_number(file, "comm_exposed_ms", "%.3f", (double)row->comm_exposed_ns * 1e-6);
    print_number(file, "lr", "%.9g", row->learning_rate);
    print_number(file, "grad_norm", "%.9g", row->gradient_norm);
    if (!isnan(row->held_out_loss)) print_number(file, "held_out_loss", "%.9g", row->held_out_loss);
    fputs("}\n", file);
    return !ferror(file) || error_set(error, "cannot write the log: %s", strerror(errno));
}

static void show(const struct journal *journal, const struct journal_row *row, const char *before, const char *after)
{
    double seconds_left = (double)journal->elapsed_ns * 1e-9 / (double)journal->tokens * (double)row->tokens *
                          (double)(journal->last_step - row->step);
    fprintf(stderr, "%sstep %llu/%llu  loss %.3f", before, (unsigned long long)row->step,
            (unsigned long long)journal->last_step, row->loss);
    if (!isnan(journal->held_out_loss)) fprintf(stderr, "  held out %.3f", journal->held_out_loss);
    fprintf(stderr, "  %.0f tokens/s", journal_tokens_per_s(journal));
    double hidden = journal_hidden_share(journal);
    if (!isnan(hidden)) fprintf(stderr, "  %.0f %% of communication hidden", 100 * hidden);
    fprintf(stderr, "  %.0f s left%s", seconds_left, after);
}

bool journal_row(struct journal *journal, const struct journal_row *row, char *error)
{
    journal->tokens += row->tokens;
    journal->elapsed_ns += row->elapsed_ns;
    journal->comm_ns += row->comm_ns;
    journal->comm_exposed_ns += row->comm_exposed_ns;
    bool evaluated = !isnan(row->held_out_loss);
    if (evaluated) journal->held_out_loss = row->held_out_loss;
    /* A terminal is told ten times a second at most; a file only what is worth keeping. */
    if (journal->terminal && journal->elapsed_ns - journal->shown_ns > 100000000) {
        show(journal, row, "\r\033[K", "");
        journal->shown_ns = journal->elapsed_ns;
    } else if (!journal->terminal && evaluated) {
        show(journal, row, "", "\n");
    }
    return !journal->log || write_row(journal->log, row, error);
}

void journal_close(struct journal *journal)
{
    if (journal->terminal && journal->shown_ns) fputs("\r\033[K", stderr);
    if (journal->log) fclose(journal->log);
    journal->log = NULL;
}

double journal_tokens_per_s(const struct journal *journal)
{
    return per_second(journal->tokens, journal->elapsed_ns);
}

double journal_hidden_share(const struct journal *journal)
{
    if (!journal->comm_ns) return NAN;
    double share = 1.0 - (double)journal->comm_exposed_ns / (double)journal->comm_ns;
    return share > 0 ? share : 0;
}
