/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers and words as people write them. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tools/common/options.h"

/* Digits only: strtoull() alone would take a sign and spaces. Returns what follows them, NULL if there are none. */
static const char *digits_parse(const char *text, uint64_t *number)
{
    char *end;
    if (text[0] < '0' || text[0] > '9') return NULL;
    errno = 0;
    *number = strtoull(text, &end, 10);
    return errno ? NULL : end;
}

int number_parse(const char *text, uint64_t *number)
{
    uint64_t value;
    const char *end = digits_parse(text, &value);
    if (!end || *end) return -1;
    *number = value;
    return 0;
}

int bytes_parse(const char *text, uint64_t *bytes)
{
    static const struct {
        const char *suffix;
        unsigned shift;
    } units[] = {{"", 0},   {"K", 10}, {"M", 20},   {"G", 30},   {"k", 10},
                 {"m", 20}, {"g", 30}, {"KiB", 10}, {"MiB", 20}, {"GiB", 30}};
    uint64_t value;
    const char *end = digits_parse(text, &value);
    if (!end) return -1;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        if (strcmp(end, units[i].suffix) != 0) continue;
        if (value > UINT64_MAX >> units[i].shift) return -1;
        *bytes = value << units[i].shift;
        return 0;
    }
    return -1;
}

static size_t smaller(size_t left, size_t right)
{
    return left < right ? left : right;
}

enum { WORD_MAX = 63 };

size_t edit_distance(const char *left, const char *right)
{
    size_t left_length = strlen(left), right_length = strlen(right);
    if (left_length > WORD_MAX || right_length > WORD_MAX) return left_length + right_length;
    size_t cost[WORD_MAX + 1][WORD_MAX + 1];
    for (size_t i = 0; i <= left_length; i++) cost[i][0] = i;
    for (size_t j = 0; j <= right_length; j++) cost[0][j] = j;
    for (size_t i = 1; i <= left_length; i++) {
        for (size_t j = 1; j <= right_length; j++) {
            size_t change = cost[i - 1][j - 1] + (left[i - 1] != right[j - 1]);
            cost[i][j] = smaller(change, smaller(cost[i - 1][j], cost[i][j - 1]) + 1);
            if (i > 1 && j > 1 && left[i - 1] == right[j - 2] && left[i - 2] == right[j - 1])
                cost[i][j] = smaller(cost[i][j], cost[i - 2][j - 2] + 1);
        }
    }
    return cost[left_length][right_length];
}

int nearest_word(const char *word, const char *const candidates[], size_t count)
{
    size_t length = strlen(word), best_distance = SIZE_MAX;
    int best = -1;
    for (size_t i = 0; i < count; i++) {
        size_t distance = edit_distance(word, candidates[i]);
        /* A word cut short is meant more often than one that happens to be spelled alike. */
        if (length >= 3 && !strncmp(word, candidates[i], length)) distance = 1;
        if (distance >= best_distance) continue;
        best_distance = distance;
        best = (int)i;
    }
    /* A third of the letters wrong is a slip; more is another word. */
    return best_distance <= (length + 2) / 3 ? best : -1;
}
