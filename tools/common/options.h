/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A tool's command line as one table: it makes the parser, the help text, and the one line that a mistake is answered
 * with. A mistake names what was written, what would be right, and the nearest right thing where there is one.
 */
#ifndef TOOLS_OPTIONS_H
#define TOOLS_OPTIONS_H

#include <stddef.h>
#include <stdint.h>

enum option_kind {
    OPTION_FLAG,   /* bool */
    OPTION_NUMBER, /* uint64_t from low to high */
    OPTION_BYTES,  /* uint64_t from low to high; K, M, G (or KiB, ...) are powers of 1024 */
    OPTION_TEXT,   /* const char *, into argv */
    OPTION_WORD,   /* int, the value of one of words */
};

/* A word an option takes. With a refusal it is one that users may expect and this version lacks: it says why. */
struct option_word {
    const char *name; /* NULL ends a list */
    int value;
    const char *refusal;
};

struct option_entry {
    const char *name; /* "--iters", "-b" */
    enum option_kind kind;
    const char *placeholder; /* "N"; NULL for a flag */
    const char *help;
    size_t offset; /* of the field in the tool's own struct */
    uint64_t low, high;
    const struct option_word *words;
    const char *refusal; /* not NULL: the option is known and this version lacks it */
};

struct command {
    const char *name;  /* "weft-perf" */
    const char *usage; /* "weft-perf COLLECTIVE [options]" */
    const char *intro; /* a paragraph below the usage */
    const char *notes; /* below the options: examples, columns; may be NULL */
    const struct option_entry *entries;
    size_t entry_count;
};

enum { POSITIONAL_MAX = 1024 };
struct positionals {
    const char *values[POSITIONAL_MAX];
    size_t count;
};

enum options_outcome { OPTIONS_GO_ON, OPTIONS_HELP, OPTIONS_VERSION, OPTIONS_MISTAKE };
enum { OPTIONS_ERROR_BYTES = 256 };

/*
 * Read argv[1..argc) into @p values (the struct that the offsets are of; fields of options not given are left alone)
 * and @p positionals. "--name value", "--name=value" and "--" are understood; options and positionals may alternate.
 * OPTIONS_MISTAKE: @p error says what is wrong. Pure.
 */
enum options_outcome options_parse(const struct command *command, int argc, char *const argv[], void *values,
                                   struct positionals *positionals, char error[OPTIONS_ERROR_BYTES]);

/* Read @p text as the OPTION_WORD @p entry, for a tool whose positional argument is such a word. */
enum options_outcome option_word_parse(const struct option_entry *entry, const char *text, void *values,
                                       char error[OPTIONS_ERROR_BYTES]);

/*
 * For anything but OPTIONS_GO_ON: print the help or version to standard output, or the one line to standard error.
 * Returns the exit code: 0, or 2 for a mistake.
 */
int options_answer(const struct command *command, enum options_outcome outcome, const char *error);

/* A number with an optional K, M or G (also KiB, MiB, GiB). 0 on success, -1 if it is none or overflows. */
int bytes_parse(const char *text, uint64_t *bytes);
/* The same without a suffix. */
int number_parse(const char *text, uint64_t *number);

/* The index of the candidate that @p word most likely meant, or -1 if none is near. */
int nearest_word(const char *word, const char *const candidates[], size_t count);
/* Restricted Damerau-Levenshtein distance: insertions, deletions, changes and swaps of neighbours. */
size_t edit_distance(const char *left, const char *right);
#endif
