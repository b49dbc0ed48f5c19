/* SPDX-License-Identifier: Apache-2.0 */
#include "hostlist.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum {
    GROUPS_MAX = 4,      /* brackets in one name; Slurm itself knows as many dimensions as its machines have, up to 5 */
    DIGITS_MAX = 9,      /* of a number: fits 32 bits */
    HOST_BYTES_MAX = 256 /* RFC 1035: 255 octets */
};

struct range {
    uint32_t low, high;
    int width; /* digits of the low end, which tell the zeros in front */
};

/* A place in the list. Readers move it on, and leave it where something is wrong. */
struct reader {
    const char *at;
};

static bool is_name_character(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
           c == '_';
}

static bool number_read(struct reader *reader, uint32_t *number, int *width)
{
    *number = 0;
    for (*width = 0; *reader->at >= '0' && *reader->at <= '9'; reader->at++, ++*width) {
        if (*width == DIGITS_MAX) return false;
        *number = *number * 10 + (uint32_t)(*reader->at - '0');
    }
    return *width > 0;
}

static bool range_read(struct reader *reader, struct range *range)
{
    int width;
    if (!number_read(reader, &range->low, &range->width)) return false;
    range->high = range->low;
    if (*reader->at != '-') return true;
    reader->at++;
    const char *high_at = reader->at;
    if (!number_read(reader, &range->high, &width)) return false;
    if (range->high >= range->low) return true;
    reader->at = high_at;
    return false;
}

/* "[01-03,7]": how many numbers; *chosen is number @p index of them, as text, where there are that many. */
static bool group_read(struct reader *reader, uint64_t index, uint64_t *count, char chosen[DIGITS_MAX + 2])
{
    *count = 0;
    do {
        struct range range;
        reader->at++; /* the bracket, or a comma */
        if (!range_read(reader, &range)) return false;
        uint64_t numbers = (uint64_t)range.high - range.low + 1;
        if (index >= *count && index - *count < numbers)
            snprintf(chosen, DIGITS_MAX + 2, "%0*u", range.width, range.low + (uint32_t)(index - *count));
        *count += numbers;
    } while (*reader->at == ',');
    if (*reader->at != ']') return false;
    reader->at++;
    return true;
}

/* One name with its brackets: how many hosts it stands for. */
static bool name_read(struct reader *reader, uint64_t counts[GROUPS_MAX], int *groups, uint64_t *hosts)
{
    const char *start = reader->at;
    char unused[DIGITS_MAX + 2];
    *groups = 0;
    *hosts = 1;
    while (is_name_character(*reader->at) || *reader->at == '[') {
        if (*reader->at != '[') {
            reader->at++;
            continue;
        }
        if (*groups == GROUPS_MAX || !group_read(reader, 0, &counts[*groups], unused)) return false;
        /* A number has nine digits and a list some thousand ranges at most, but four of them multiplied overflow. */
        if (__builtin_mul_overflow(*hosts, counts[*groups], hosts)) return false;
        ++*groups;
    }
    return reader->at != start;
}

/* Write host @p index of the name at @p reader, which name_read() found right. False: longer than any host name. */
static bool name_write(struct reader *reader, const uint64_t counts[GROUPS_MAX], int groups, uint64_t index,
                       char host[HOST_BYTES_MAX])
{
    uint64_t indices[GROUPS_MAX] = {0}, count;
    for (int i = groups; i-- > 0; index /= counts[i]) indices[i] = index % counts[i];
    size_t length = 0;
    for (int group = 0; is_name_character(*reader->at) || *reader->at == '[';) {
        char number[DIGITS_MAX + 2] = "", single[2] = {*reader->at, '\0'};
        const char *piece = single;
        if (*reader->at == '[') {
            group_read(reader, indices[group++], &count, number);
            piece = number;
        } else {
            reader->at++;
        }
        size_t piece_length = strlen(piece);
        if (length + piece_length >= HOST_BYTES_MAX) return false;
        memcpy(host + length, piece, piece_length + 1);
        length += piece_length;
    }
    return true;
}

weft_status hostlist_host(const char *list, uint64_t index, char *host, size_t size, struct diagnostic *diagnostic)
{
    char found[HOST_BYTES_MAX] = "";
    struct reader reader = {.at = list};
    for (uint64_t before = 0;; reader.at++) {
        uint64_t counts[GROUPS_MAX], hosts;
        int groups;
        struct reader name = reader;
        if (!name_read(&reader, counts, &groups, &hosts) || (*reader.at && *reader.at != ',') ||
            __builtin_add_overflow(before, hosts, &before))
            return diagnose(diagnostic, WEFT_INVALID_ARGUMENT,
                            "'%.80s' is no list of hosts such as node[01-03,7],gpu5: look at byte %zu", list,
                            (size_t)(reader.at - list) + 1);
        uint64_t first = before - hosts;
        if (index >= first && index < before && !name_write(&name, counts, groups, index - first, found))
            return diagnose(diagnostic, WEFT_INVALID_ARGUMENT, "'%.80s' holds a name longer than %d bytes", list,
                            HOST_BYTES_MAX - 1);
        if (!*reader.at) break;
    }
    if (!found[0])
        return diagnose(diagnostic, WEFT_INVALID_ARGUMENT, "'%.80s' has no host number %llu", list,
                        (unsigned long long)index);
    if (strlen(found) >= size)
        return diagnose(diagnostic, WEFT_INVALID_ARGUMENT, "'%.80s' is longer than %zu bytes", found, size - 1);
    strcpy(host, found);
    return WEFT_OK;
}
