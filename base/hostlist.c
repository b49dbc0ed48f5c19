/* SPDX-License-Identifier: Apache-2.0 */
#include "base/hostlist.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

enum { DIGITS_MAX = 9 }; /* of a number: fits 32 bits */

struct range {
    uint32_t low, high;
    int width; /* digits of the low end, which tell the zeros in front */
};

/* A place in the list. Readers move it on, and leave it where something is wrong. */
struct reader {
    const char *at;
};

/* One name with its brackets. */
struct pattern {
    uint64_t counts[HOSTLIST_GROUPS_MAX]; /* numbers in each bracket */
    int group_count;
    uint64_t host_count;
    size_t longest; /* bytes of the longest host name that it stands for */
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

static int number_write(char text[DIGITS_MAX + 2], uint32_t number, int width)
{
    return snprintf(text, DIGITS_MAX + 2, "%0*u", width, number);
}

/* "[01-03,7]": how many numbers; *chosen is number @p index of them, as text, where there are that many. */
static bool group_read(struct reader *reader, uint64_t index, uint64_t *count, size_t *longest,
                       char chosen[DIGITS_MAX + 2])
{
    char text[DIGITS_MAX + 2];
    *count = 0;
    *longest = 0;
    do {
        struct range range;
        reader->at++; /* the bracket, or a comma */
        if (!range_read(reader, &range)) return false;
        uint64_t numbers = (uint64_t)range.high - range.low + 1;
        size_t length = (size_t)number_write(text, range.high, range.width);
        if (length > *longest) *longest = length;
        if (index >= *count && index - *count < numbers)
            number_write(chosen, range.low + (uint32_t)(index - *count), range.width);
        *count += numbers;
    } while (*reader->at == ',');
    if (*reader->at != ']') return false;
    reader->at++;
    return true;
}

static bool pattern_read(struct reader *reader, struct pattern *pattern)
{
    const char *start = reader->at;
    char unused[DIGITS_MAX + 2];
    size_t longest;
    *pattern = (struct pattern){.host_count = 1};
    while (is_name_character(*reader->at) || *reader->at == '[') {
        if (*reader->at != '[') {
            reader->at++;
            pattern->longest++;
            continue;
        }
        uint64_t *count = &pattern->counts[pattern->group_count];
        if (pattern->group_count == HOSTLIST_GROUPS_MAX || !group_read(reader, 0, count, &longest, unused))
            return false;
        /* A number has nine digits and a list some thousand ranges at most, but four of them multiplied overflow. */
        if (__builtin_mul_overflow(pattern->host_count, *count, &pattern->host_count)) return false;
        pattern->group_count++;
        pattern->longest += longest;
    }
    return reader->at != start;
}

/* Write host @p index of the name at @p reader, which is what @p pattern says; with room for a number to spare. */
static void pattern_write(struct reader reader, const struct pattern *pattern, uint64_t index, char *host)
{
    uint64_t indices[HOSTLIST_GROUPS_MAX] = {0}, count;
    for (int i = pattern->group_count; i-- > 0; index /= pattern->counts[i]) indices[i] = index % pattern->counts[i];
    size_t length = 0, longest;
    for (int group = 0; is_name_character(*reader.at) || *reader.at == '[';) {
        if (*reader.at == '[') {
            group_read(&reader, indices[group++], &count, &longest, host + length);
            length += strlen(host + length);
        } else {
            host[length++] = *reader.at++;
        }
    }
    host[length] = '\0';
}

/* Check the whole list, count its hosts, and write number @p index of them unless @p found is NULL or it has fewer. */
static weft_status list_read(const char *list, uint64_t index, char *found, uint64_t *count,
                             struct diagnostic *diagnostic)
{
    struct reader reader = {.at = list};
    uint64_t before = 0;
    for (;; reader.at++) {
        struct pattern pattern;
        struct reader name = reader;
        if (!pattern_read(&reader, &pattern) || (*reader.at && *reader.at != ',') ||
            __builtin_add_overflow(before, pattern.host_count, &before))
            return diagnose(diagnostic, WEFT_INVALID_ARGUMENT,
                            "'%.80s' is no list of hosts such as node[01-03,7],gpu5: look at byte %zu", list,
                            (size_t)(reader.at - list) + 1);
        /* The brackets' digits have a byte to spare for their own end. */
        if (pattern.longest >= HOSTLIST_NAME_BYTES)
            return diagnose(diagnostic, WEFT_INVALID_ARGUMENT, "'%.80s' holds a name longer than %d bytes", list,
                            HOSTLIST_NAME_BYTES - 1);
        uint64_t first = before - pattern.host_count;
        if (found && index >= first && index < before) pattern_write(name, &pattern, index - first, found);
        if (!*reader.at) break;
    }
    *count = before;
    return WEFT_OK;
}

weft_status hostlist_count(const char *list, uint64_t *count, struct diagnostic *diagnostic)
{
    return list_read(list, 0, NULL, count, diagnostic);
}

weft_status hostlist_host(const char *list, uint64_t index, char *host, size_t size, struct diagnostic *diagnostic)
{
    char found[HOSTLIST_NAME_BYTES + DIGITS_MAX + 2] = "";
    uint64_t count;
    weft_status status = list_read(list, index, found, &count, diagnostic);
    if (status) return status;
    if (index >= count)
        return diagnose(diagnostic, WEFT_INVALID_ARGUMENT, "'%.80s' has no host number %llu", list,
                        (unsigned long long)index);
    if (strlen(found) >= size)
        return diagnose(diagnostic, WEFT_INVALID_ARGUMENT, "'%.80s' is longer than %zu bytes", found, size - 1);
    strcpy(host, found);
    return WEFT_OK;
}

/* Start the range at @p at, which has been read before. */
static void group_start(struct hostlist_group *group, const char *at)
{
    struct reader reader = {at};
    struct range range;
    bool read = range_read(&reader, &range);
    assert(read);
    *group = (struct hostlist_group){group->begin, group->end, reader.at, range.low, range.high, (uint32_t)range.width};
}

/* Start the name at @p at: every bracket at its first number. */
static void walk_start(struct hostlist_walk *walk, const char *at)
{
    walk->name = at;
    walk->group_count = 0;
    for (; *at && *at != ','; at++) {
        if (*at != '[') continue;
        struct hostlist_group *group = &walk->groups[walk->group_count++];
        group->begin = at;
        at = strchr(at, ']');
        group->end = at + 1;
        group_start(group, group->begin + 1);
    }
    walk->next = *at ? at + 1 : NULL;
}

/* One further, the last bracket first, as an odometer does; false when all have gone round. */
static bool walk_step(struct hostlist_walk *walk)
{
    for (int i = walk->group_count; i-- > 0;) {
        struct hostlist_group *group = &walk->groups[i];
        if (group->number < group->high) {
            group->number++;
            return true;
        }
        if (*group->behind == ',') {
            group_start(group, group->behind + 1);
            return true;
        }
        group_start(group, group->begin + 1);
    }
    return false;
}

struct hostlist_walk hostlist_walk_begin(const char *list)
{
    return (struct hostlist_walk){.next = list};
}

bool hostlist_walk_next(struct hostlist_walk *walk, char host[HOSTLIST_NAME_BYTES])
{
    if (!walk->name || !walk_step(walk)) {
        walk->name = NULL;
        if (!walk->next) return false;
        walk_start(walk, walk->next);
    }
    size_t length = 0;
    const struct hostlist_group *group = walk->groups;
    for (const char *at = walk->name; *at && *at != ',';) {
        if (*at != '[') {
            host[length++] = *at++;
            continue;
        }
        char text[DIGITS_MAX + 2];
        int digits = number_write(text, group->number, (int)group->width);
        memcpy(host + length, text, (size_t)digits);
        length += (size_t)digits;
        at = group++->end;
    }
    host[length] = '\0';
    return true;
}
