/* SPDX-License-Identifier: Apache-2.0 */
#include "trainer/options.h"

#include <errno.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "trainer/error.h"

struct option_row {
    const char *name;
    char kind;
    size_t offset;
    double low, high;
    const char *const *words;
    const char *value, *help;
};

#define WORDS_U(field) NULL
#define WORDS_F(field) NULL
#define WORDS_S(field) NULL
#define WORDS_B(field) NULL
#define WORDS_C(field) (const char *const[]) OPTION_WORDS_##field
#define OPTION_ROW(field, name, kind, standard, low, high, value, help)                                                \
    {name, #kind[0], offsetof(struct options, field), low, high, WORDS_##kind(field), value, help},
static const struct option_row rows[] = {OPTION_TABLE(OPTION_ROW)};
enum { ROW_COUNT = sizeof(rows) / sizeof(rows[0]), NAME_LIMIT = 32 };

#define OPTION_DEFAULT(field, name, kind, standard, ...) .field = standard,
static const struct options defaults = {OPTION_TABLE(OPTION_DEFAULT)};

/* Edits (insert, drop, replace a letter) that turn one word into the other (Levenshtein 1966). */
static size_t edit_distance(const char *a, const char *b)
{
    size_t length = strnlen(b, NAME_LIMIT), line[NAME_LIMIT + 1];
    for (size_t j = 0; j <= length; j++) line[j] = j;
    for (size_t i = 0; a[i]; i++) {
        size_t diagonal = line[0];
        line[0] = i + 1;
        for (size_t j = 0; j < length; j++) {
            size_t replaced = diagonal + (a[i] != b[j]);
            size_t shorter = (line[j] < line[j + 1] ? line[j] : line[j + 1]) + 1;
            diagonal = line[j + 1];
            line[j + 1] = replaced < shorter ? replaced : shorter;
        }
    }
    return line[length];
}

static const char *nearest_option(const char *name)
{
    const char *nearest = "help";
    size_t best = edit_distance(name, nearest);
    for (size_t i = 0; i < ROW_COUNT; i++) {
        size_t distance = edit_distance(name, rows[i].name);
        if (distance < best) best = distance, nearest = rows[i].name;
    }
    return nearest;
}

static const char *nearest_word(const char *const *words, const char *text)
{
    const char *nearest = words[0];
    for (size_t i = 1; words[i]; i++)
        if (edit_distance(text, words[i]) < edit_distance(text, nearest)) nearest = words[i];
    return nearest;
}

static bool store_whole(const struct option_row *row, const char *text, void *field, char *error)
{
    char *end;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    bool whole = text[0] >= '0' && text[0] <= '9' && !*end && errno == 0;
    if (!whole || (double)number < row->low || (double)number > row->high)
        return error_set(error, "--%s takes a whole number from %.0f to %.0f, not '%s'", row->name, row->low, row->high,
                         text);
    *(uint64_t *)field = number;
    return true;
}

static bool store_number(const struct option_row *row, const char *text, void *field, char *error)
{
    char *end;
    double number = strtod(text, &end);
    if (end == text || *end || !isfinite(number) || number < row->low || number > row->high)
        return error_set(error, "--%s takes a number from %g to %g, not '%s'", row->name, row->low, row->high, text);
    *(double *)field = number;
    return true;
}

static bool store_choice(const struct option_row *row, const char *text, void *field, char *error)
{
    for (int i = 0; row->words[i]; i++)
        if (strcmp(row->words[i], text) == 0) {
            *(int *)field = i;
            return true;
        }
    return error_set(error, "--%s takes %s, not '%s'; the nearest is '%s'", row->name, row->help, text,
                     nearest_word(row->words, text));
}

static bool store(const struct option_row *row, const char *text, struct options *options, char *error)
{
    void *field = (char *)options + row->offset;
    switch (row->kind) {
    case 'U':
        return store_whole(row, text, field, error);
    case 'F':
        return store_number(row, text, field, error);
    case 'C':
        return store_choice(row, text, field, error);
    default:
        if (!*text) return error_set(error, "--%s takes %s, not an empty text", row->name, row->value);
        *(const char **)field = text;
        return true;
    }
}

/* One option and, where it has one, its value: "--name value" or "--name=value". Moves *at to the last word used. */
static bool parse_one(int argument_count, char *const arguments[], int *at, struct options *options, char *error)
{
    const char *word = arguments[*at];
    if (strncmp(word, "--", 2) != 0)
        return error_set(error, "'%s' is not an option; a file to train on is given as --data %s", word, word);
    const char *equals = strchr(word, '=');
    size_t length = equals ? (size_t)(equals - word - 2) : strlen(word + 2);
    char name[NAME_LIMIT];
    snprintf(name, sizeof(name), "%.*s", (int)(length < NAME_LIMIT ? length : NAME_LIMIT - 1), word + 2);
    const struct option_row *row = rows;
    while (row < rows + ROW_COUNT && strcmp(row->name, name) != 0) row++;
    if (row == rows + ROW_COUNT)
        return error_set(error, "no option --%s; the nearest is --%s", name, nearest_option(name));
    if (row->kind == 'B') {
        if (equals) return error_set(error, "--%s takes no value", row->name);
        *(bool *)((char *)options + row->offset) = true;
        return true;
    }
    if (equals) return store(row, equals + 1, options, error);
    if (*at + 1 == argument_count) return error_set(error, "--%s takes a value: --%s %s", name, name, row->value);
    return store(row, arguments[++*at], options, error);
}

/* What no single option can know. */
static bool options_agree(const struct options *options, char *error)
{
    if (!*options->data) return error_set(error, "no text to train on; say --data FILE");
    if (options->width % options->heads)
        return error_set(error, "--width %llu is not a multiple of --heads %llu; the nearest is --width %llu",
                         (unsigned long long)options->width, (unsigned long long)options->heads,
                         (unsigned long long)((options->width / options->heads + 1) * options->heads));
    if (options->resume && !*options->checkpoint)
        return error_set(error, "--resume needs to know where from; say --checkpoint DIR");
    if (options->learning_rate == 0) return error_set(error, "--lr 0 learns nothing; the usual is --lr 0.003");
    if (options->batch * options->context > 1 << 22)
        return error_set(error, "--batch times --context is more than 4194304 bytes per rank and step; lower --batch");
    return true;
}

enum options_outcome options_parse(int argument_count, char *const arguments[], struct options *options, char *error)
{
    *options = defaults;
    for (int at = 1; at < argument_count; at++) {
        if (strcmp(arguments[at], "--help") == 0) return OPTIONS_HELP;
        if (strcmp(arguments[at], "--version") == 0) return OPTIONS_VERSION;
        if (!parse_one(argument_count, arguments, &at, options, error)) return OPTIONS_WRONG;
    }
    return options_agree(options, error) ? OPTIONS_RUN : OPTIONS_WRONG;
}

static void print_default(FILE *file, const struct option_row *row)
{
    const void *field = (const char *)&defaults + row->offset;
    if (row->kind == 'C') fprintf(file, " (%s)", row->words[*(const int *)field]);
    if (row->kind == 'U' && *(const uint64_t *)field >= row->low)
        fprintf(file, " (%llu)", (unsigned long long)*(const uint64_t *)field);
    if (row->kind == 'F') fprintf(file, " (%g)", *(const double *)field);
}

void options_help(FILE *file)
{
    fputs("usage: weft-train --data FILE [options]\n\n"
          "Train a transformer over bytes, the samples of each step shared among ranks and the gradients averaged\n"
          "by weft while they are still being computed.\n\n",
          file);
    for (const struct option_row *row = rows; row < rows + ROW_COUNT; row++) {
        char left[64];
        snprintf(left, sizeof(left), "--%s %s", row->name, row->value);
        fprintf(file, "  %-22s %s", left, row->help);
        print_default(file, row);
        fputc('\n', file);
    }
    fputs("  --help                 this text\n  --version              the version\n\n"
          "Exit status: 0 trained, 1 failed, 2 called wrongly.\n",
          file);
}
