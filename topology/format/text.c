/* SPDX-License-Identifier: Apache-2.0 */
/* Errors with a place, and text by lines, words and numbers. */
#include <locale.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "topology/format/format_internal.h"

enum { NAME_BYTES_MAX = 80 }; /* of a path in a message, whose sentence matters more */

weft_status format_error(const struct format_source *source, struct place place, struct diagnostic *diagnostic,
                         const char *format, ...)
{
    char sentence[sizeof diagnostic->text];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(sentence, sizeof sentence, format, arguments);
    va_end(arguments);
    const char *name = source->name, *cut = "";
    size_t length = strlen(name);
    if (length > NAME_BYTES_MAX) {
        name += length - NAME_BYTES_MAX;
        cut = "...";
    }
    if (place.line && place.column)
        return diagnose(diagnostic, WEFT_BAD_FORMAT, "%s%s:%u:%u: %s", cut, name, place.line, place.column, sentence);
    if (place.line) return diagnose(diagnostic, WEFT_BAD_FORMAT, "%s%s:%u: %s", cut, name, place.line, sentence);
    return diagnose(diagnostic, WEFT_BAD_FORMAT, "%s%s: %s", cut, name, sentence);
}

bool line_next(struct line_walk *walk, struct span *line)
{
    const struct format_source *source = walk->source;
    if (walk->at >= source->size) return false;
    const char *begin = (const char *)source->bytes + walk->at;
    const char *end = memchr(begin, '\n', source->size - walk->at);
    size_t size = end ? (size_t)(end - begin) : source->size - walk->at;
    walk->at += size + (end ? 1 : 0);
    walk->line++;
    if (size > 0 && begin[size - 1] == '\r') size--;
    *line = (struct span){begin, size};
    return true;
}

struct place line_place(const struct line_walk *walk, struct span line, const char *inside)
{
    return (struct place){walk->line, (uint32_t)(inside - line.at) + 1};
}

bool span_equal(struct span span, const char *word)
{
    return span.size == strlen(word) && memcmp(span.at, word, span.size) == 0;
}

bool span_begins(struct span span, const char *word)
{
    size_t size = strlen(word);
    return span.size >= size && memcmp(span.at, word, size) == 0;
}

static bool is_blank(char byte)
{
    return byte == ' ' || byte == '\t';
}

struct span span_trim(struct span span)
{
    while (span.size > 0 && is_blank(span.at[0])) span.at++, span.size--;
    while (span.size > 0 && is_blank(span.at[span.size - 1])) span.size--;
    return span;
}

bool span_word(struct span *rest, struct span *word)
{
    struct span left = span_trim(*rest);
    size_t size = 0;
    while (size < left.size && !is_blank(left.at[size])) size++;
    *word = (struct span){left.at, size};
    *rest = (struct span){left.at + size, left.size - size};
    return size > 0;
}

static int digit_of(char byte)
{
    if (byte >= '0' && byte <= '9') return byte - '0';
    if (byte >= 'a' && byte <= 'f') return byte - 'a' + 10;
    if (byte >= 'A' && byte <= 'F') return byte - 'A' + 10;
    return 16;
}

bool span_unsigned(struct span span, uint64_t most, uint64_t *value)
{
    unsigned base = 10;
    if (span_begins(span, "0x") || span_begins(span, "0X")) {
        base = 16;
        span = (struct span){span.at + 2, span.size - 2};
    }
    uint64_t number = 0;
    for (size_t i = 0; i < span.size; i++) {
        unsigned digit = (unsigned)digit_of(span.at[i]);
        if (digit >= base || __builtin_mul_overflow(number, (uint64_t)base, &number) ||
            __builtin_add_overflow(number, (uint64_t)digit, &number))
            return false;
    }
    if (span.size == 0 || number > most) return false;
    *value = number;
    return true;
}

bool span_number(struct span span, double *value)
{
    /* strtod() would also take hexadecimal, "inf" and "nan", and skip blanks. */
    char digits[64];
    if (span.size == 0 || span.size >= sizeof digits) return false;
    for (size_t i = 0; i < span.size; i++)
        if (span.at[i] == '\0' || !strchr("0123456789.eE+-", span.at[i])) return false;
    memcpy(digits, span.at, span.size);
    digits[span.size] = '\0';
    char *end;
    locale_t plain = newlocale(LC_ALL_MASK, "C", (locale_t)0); /* glibc keeps this one ready: nothing is allocated */
    if (plain == (locale_t)0) return false;
    double number = strtod_l(digits, &end, plain);
    freelocale(plain);
    if (*end != '\0' || number - number != 0) return false;
    *value = number;
    return true;
}

char *span_copy(weft_topology *topology, struct span span)
{
    char *copy = arena_alloc(&topology->arena, span.size + 1, 1);
    if (copy)
        memcpy(copy, span.at, span.size);
    else
        topology->failed = true;
    return copy;
}

bool source_contains(const struct format_source *source, const char *word, size_t window)
{
    size_t size = source->size < window ? source->size : window;
    return memmem(source->bytes, size, word, strlen(word)) != NULL;
}
