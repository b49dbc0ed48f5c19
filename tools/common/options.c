/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/common/options.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <weft/types.h>

/* Names of a table's options, or of a list's words that are offered. */
enum { CANDIDATE_MAX = 64 };

static void *field_of(const struct option_entry *entry, void *values)
{
    return (char *)values + entry->offset;
}

static const struct option_entry *entry_find(const struct command *command, const char *name, size_t length)
{
    for (size_t i = 0; i < command->entry_count; i++) {
        const char *candidate = command->entries[i].name;
        if (strlen(candidate) == length && !memcmp(candidate, name, length)) return &command->entries[i];
    }
    return NULL;
}

static enum options_outcome unknown_option(const struct command *command, const char *name, char *error)
{
    const char *candidates[CANDIDATE_MAX];
    size_t count = 0;
    for (size_t i = 0; i < command->entry_count && count < CANDIDATE_MAX - 2; i++)
        if (!command->entries[i].refusal) candidates[count++] = command->entries[i].name;
    candidates[count++] = "--help";
    candidates[count++] = "--version";
    int nearest = nearest_word(name, candidates, count);
    if (nearest >= 0)
        snprintf(error, OPTIONS_ERROR_BYTES, "there is no option %.64s; did you mean %s?", name, candidates[nearest]);
    else
        snprintf(error, OPTIONS_ERROR_BYTES, "there is no option %.64s; %s --help lists them", name, command->name);
    return OPTIONS_MISTAKE;
}

/* "auto, ring, tree": the words that are offered. */
static void words_list(const struct option_word *words, char *list, size_t size)
{
    size_t length = 0;
    list[0] = '\0';
    for (; words->name; words++) {
        if (words->refusal) continue;
        int written = snprintf(list + length, size - length, "%s%s", length ? ", " : "", words->name);
        if (written < 0 || (size_t)written >= size - length) return;
        length += (size_t)written;
    }
}

enum options_outcome option_word_parse(const struct option_entry *entry, const char *text, void *values,
                                       char error[OPTIONS_ERROR_BYTES])
{
    const char *candidates[CANDIDATE_MAX];
    size_t count = 0;
    char list[128];
    words_list(entry->words, list, sizeof list);
    for (const struct option_word *word = entry->words; word->name; word++) {
        if (!strcmp(word->name, text)) {
            if (word->refusal) {
                snprintf(error, OPTIONS_ERROR_BYTES, "%s %s %s; there is %s", entry->name, text, word->refusal, list);
                return OPTIONS_MISTAKE;
            }
            *(int *)field_of(entry, values) = word->value;
            return OPTIONS_GO_ON;
        }
        if (!word->refusal && count < CANDIDATE_MAX) candidates[count++] = word->name;
    }
    int nearest = nearest_word(text, candidates, count);
    if (nearest >= 0)
        snprintf(error, OPTIONS_ERROR_BYTES, "there is no %s \"%.32s\"; did you mean %s? (%s)", entry->name, text,
                 candidates[nearest], list);
    else
        snprintf(error, OPTIONS_ERROR_BYTES, "there is no %s \"%.32s\"; there is %s", entry->name, text, list);
    return OPTIONS_MISTAKE;
}

static enum options_outcome number_option_parse(const struct option_entry *entry, const char *text, void *values,
                                                char *error)
{
    uint64_t number;
    bool bytes = entry->kind == OPTION_BYTES;
    if ((bytes ? bytes_parse(text, &number) : number_parse(text, &number)) != 0) {
        snprintf(error, OPTIONS_ERROR_BYTES, "%s \"%.32s\" is no number%s", entry->name, text,
                 bytes ? " of bytes; write it as 65536, 64K or 1M" : "");
        return OPTIONS_MISTAKE;
    }
    if (number < entry->low || number > entry->high) {
        uint64_t nearest = number < entry->low ? entry->low : entry->high;
        snprintf(error, OPTIONS_ERROR_BYTES, "%s %.32s is out of range: %" PRIu64 " to %" PRIu64 ", so at %s %" PRIu64,
                 entry->name, text, entry->low, entry->high, nearest == entry->low ? "least" : "most", nearest);
        return OPTIONS_MISTAKE;
    }
    *(uint64_t *)field_of(entry, values) = number;
    return OPTIONS_GO_ON;
}

static enum options_outcome value_parse(const struct option_entry *entry, const char *text, void *values, char *error)
{
    switch (entry->kind) {
    case OPTION_WORD:
        return option_word_parse(entry, text, values, error);
    case OPTION_NUMBER:
    case OPTION_BYTES:
        return number_option_parse(entry, text, values, error);
    case OPTION_TEXT:
        *(const char **)field_of(entry, values) = text;
        return OPTIONS_GO_ON;
    case OPTION_FLAG:
        break;
    }
    return OPTIONS_GO_ON;
}

/* One option at argv[*index], with its value from the same word or the next; *index ends on the last word used. */
static enum options_outcome option_parse(const struct command *command, int argc, char *const argv[], int *index,
                                         void *values, char *error)
{
    const char *word = argv[*index];
    size_t length = strncmp(word, "--", 2) == 0 ? strcspn(word, "=") : strlen(word);
    const struct option_entry *entry = entry_find(command, word, length);
    const char *value = word[length] == '=' ? word + length + 1 : NULL;
    if (!entry) {
        char name[72];
        snprintf(name, sizeof name, "%.*s", (int)(length < 64 ? length : 64), word);
        return unknown_option(command, name, error);
    }
    if (entry->refusal) {
        snprintf(error, OPTIONS_ERROR_BYTES, "%s %s", entry->name, entry->refusal);
        return OPTIONS_MISTAKE;
    }
    if (entry->kind == OPTION_FLAG) {
        if (value) {
            snprintf(error, OPTIONS_ERROR_BYTES, "%s takes no value", entry->name);
            return OPTIONS_MISTAKE;
        }
        *(bool *)field_of(entry, values) = true;
        return OPTIONS_GO_ON;
    }
    if (!value && *index + 1 < argc) value = argv[++*index];
    if (!value) {
        snprintf(error, OPTIONS_ERROR_BYTES, "%s needs a value: %s %s", entry->name, entry->name, entry->placeholder);
        return OPTIONS_MISTAKE;
    }
    return value_parse(entry, value, values, error);
}

enum options_outcome options_parse(const struct command *command, int argc, char *const argv[], void *values,
                                   struct positionals *positionals, char error[OPTIONS_ERROR_BYTES])
{
    bool options_over = false;
    positionals->count = 0;
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i];
        if (options_over || word[0] != '-' || word[1] == '\0') {
            if (positionals->count == POSITIONAL_MAX) {
                snprintf(error, OPTIONS_ERROR_BYTES, "too many arguments, from \"%.64s\" on", word);
                return OPTIONS_MISTAKE;
            }
            positionals->values[positionals->count++] = word;
        } else if (!strcmp(word, "--")) {
            options_over = true;
        } else if (!strcmp(word, "--help") || !strcmp(word, "-h")) {
            return OPTIONS_HELP;
        } else if (!strcmp(word, "--version")) {
            return OPTIONS_VERSION;
        } else {
            enum options_outcome outcome = option_parse(command, argc, argv, &i, values, error);
            if (outcome != OPTIONS_GO_ON) return outcome;
        }
    }
    return OPTIONS_GO_ON;
}

static void help_print(const struct command *command)
{
    enum { COLUMN = 26 };
    printf("usage: %s\n\n%s\n\noptions:\n", command->usage, command->intro);
    for (size_t i = 0; i < command->entry_count; i++) {
        const struct option_entry *entry = &command->entries[i];
        if (entry->refusal) continue;
        int length = printf("  %s%s%s", entry->name, entry->placeholder ? " " : "",
                            entry->placeholder ? entry->placeholder : "");
        printf("%*s%s", length < COLUMN ? COLUMN - length : 1, "", entry->help);
        if (entry->words) {
            char list[128];
            words_list(entry->words, list, sizeof list);
            printf(": %s", list);
        }
        putchar('\n');
    }
    printf("  %-*s%s\n  %-*s%s\n", COLUMN - 2, "--help", "this text", COLUMN - 2, "--version", "the library's version");
    if (command->notes) printf("\n%s", command->notes);
}

int options_answer(const struct command *command, enum options_outcome outcome, const char *error)
{
    switch (outcome) {
    case OPTIONS_HELP:
        help_print(command);
        return 0;
    case OPTIONS_VERSION:
        printf("%s %s\n", command->name, weft_version());
        return 0;
    case OPTIONS_MISTAKE:
        fprintf(stderr, "%s: %s\n", command->name, error);
        return 2;
    case OPTIONS_GO_ON:
        break;
    }
    return 0;
}
