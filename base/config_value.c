/* SPDX-License-Identifier: Apache-2.0 */
/* One value of the environment: numbers with suffixes, times, words, and how far a misspelt name is from a right one.
 */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/config_internal.h"

struct unit {
    const char *suffix;
    uint64_t scale;
};

static const struct unit size_units[] = {{"", 1},        {"K", 1 << 10}, {"k", 1 << 10}, {"M", 1 << 20},
                                         {"m", 1 << 20}, {"G", 1 << 30}, {"g", 1 << 30}, {NULL, 0}};
static const struct unit time_units[] = {{"", NS_PER_S},    {"s", NS_PER_S}, {"ms", NS_PER_MS},
                                         {"us", NS_PER_US}, {"ns", 1},       {NULL, 0}};

/*
 * "1.5ms" in the smallest unit. Written out because strtod() takes its decimal point from the program's locale and
 * rounds. False when @p text is no number, has no known suffix, does not fit 64 bits or is finer than the smallest
 * unit.
 */
static bool number_parse(const char *text, const struct unit *units, uint64_t *result)
{
    const char *suffix = text + strspn(text, "0123456789.");
    if (suffix == text || *text == '.') return false;
    while (units->suffix && strcmp(units->suffix, suffix) != 0) units++;
    if (!units->suffix) return false;

    uint64_t whole = 0, value, scale = units->scale;
    const char *at = text;
    for (; at < suffix && *at != '.'; at++) {
        if (__builtin_mul_overflow(whole, 10, &whole)) return false;
        if (__builtin_add_overflow(whole, (uint64_t)(*at - '0'), &whole)) return false;
    }
    if (__builtin_mul_overflow(whole, scale, &value)) return false;
    if (at < suffix && ++at == suffix) return false; /* "1." */
    for (; at < suffix; at++) {
        if (*at == '.') return false;
        if (scale % 10 != 0 && *at != '0') return false;
        scale /= 10;
        if (__builtin_add_overflow(value, scale * (uint64_t)(*at - '0'), &value)) return false;
    }
    *result = value;
    return true;
}

/* "20us": the largest unit that says it exactly. */
static void time_print(uint64_t time_ns, char *text, size_t size)
{
    const struct unit *unit = time_units + 1;
    while (time_ns % unit->scale != 0) unit++;
    snprintf(text, size, "%llu%s", (unsigned long long)(time_ns / unit->scale), unit->suffix);
}

static weft_status range_diagnose(const struct config_option *option, const char *text, struct diagnostic *diagnostic)
{
    char low[32], high[32];
    if (option->kind == KIND_T) {
        time_print(option->low, low, sizeof low);
        time_print(option->high, high, sizeof high);
        return diagnose(diagnostic, WEFT_INVALID_ARGUMENT,
                        "%s is \"%.64s\"; expected a time from %s to %s, such as 500us, 20ms or 1.5s", option->variable,
                        text, low, high);
    }
    return diagnose(diagnostic, WEFT_INVALID_ARGUMENT,
                    "%s is \"%.64s\"; expected a number from %llu to %llu, with K, M or G for powers of 1024",
                    option->variable, text, (unsigned long long)option->low, (unsigned long long)option->high);
}

static weft_status word_parse(const struct config_option *option, const char *text, int *index,
                              struct diagnostic *diagnostic)
{
    char expected[128] = "";
    for (int i = 0; option->words[i]; i++) {
        if (strcmp(option->words[i], text) == 0) {
            *index = i;
            return WEFT_OK;
        }
        size_t length = strlen(expected);
        const char *separator = i == 0 ? "" : option->words[i + 1] ? ", " : " or ";
        snprintf(expected + length, sizeof expected - length, "%s%s", separator, option->words[i]);
    }
    return diagnose(diagnostic, WEFT_INVALID_ARGUMENT, "%s is \"%.64s\"; expected %s", option->variable, text,
                    expected);
}

weft_status config_value_parse(const struct config_option *option, const char *text, struct config *config,
                               struct diagnostic *diagnostic)
{
    void *field = (char *)config + option->offset;
    uint64_t number;
    switch (option->kind) {
    case KIND_U:
    case KIND_T:
        if (!number_parse(text, option->kind == KIND_T ? time_units : size_units, &number) || number < option->low ||
            number > option->high) {
            return range_diagnose(option, text, diagnostic);
        }
        memcpy(field, &number, sizeof number);
        return WEFT_OK;
    case KIND_B:
        if (strcmp(text, "0") != 0 && strcmp(text, "1") != 0) {
            return diagnose(diagnostic, WEFT_INVALID_ARGUMENT, "%s is \"%.64s\"; expected 0 or 1", option->variable,
                            text);
        }
        *(bool *)field = text[0] == '1';
        return WEFT_OK;
    case KIND_S:
        if (strlen(text) >= CONFIG_STRING_BYTES) {
            return diagnose(diagnostic, WEFT_INVALID_ARGUMENT, "%s has %zu bytes; expected at most %d",
                            option->variable, strlen(text), CONFIG_STRING_BYTES - 1);
        }
        strcpy(field, text);
        return WEFT_OK;
    case KIND_C:
        return word_parse(option, text, field, diagnostic);
    }
    return WEFT_INVALID_ARGUMENT;
}

unsigned config_name_distance(const char *one, const char *other)
{
    enum { LONGEST = 63 };
    unsigned row[LONGEST + 1]; /* distances from the first i characters of one to the first j of other, for one i */
    size_t one_length = strnlen(one, LONGEST), other_length = strnlen(other, LONGEST);
    for (size_t j = 0; j <= other_length; j++) row[j] = (unsigned)j;
    for (size_t i = 1; i <= one_length; i++) {
        unsigned diagonal = row[0];
        row[0] = (unsigned)i;
        for (size_t j = 1; j <= other_length; j++) {
            unsigned best = diagonal + (one[i - 1] != other[j - 1]);
            if (row[j] + 1 < best) best = row[j] + 1;
            if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
            diagonal = row[j];
            row[j] = best;
        }
    }
    return row[other_length];
}
