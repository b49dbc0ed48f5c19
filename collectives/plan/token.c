/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "collectives/plan/text_internal.h"

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_word(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

/* From the start of a line to its first token, over lines that have none. */
static void line_begin(struct token_reader *reader)
{
    while (reader->at < reader->end) {
        reader->line++;
        while (reader->at < reader->end && *reader->at == ' ') reader->at++;
        if (reader->at < reader->end && *reader->at != '\n' && *reader->at != '#') {
            token_next(reader);
            return;
        }
        const char *newline = memchr(reader->at, '\n', (size_t)(reader->end - reader->at));
        reader->at = newline ? newline + 1 : reader->end;
    }
    reader->token = reader->token_end = NULL;
}

void token_begin(struct token_reader *reader, const char *text, size_t bytes, struct diagnostic *diagnostic)
{
    *reader = (struct token_reader){.at = text, .end = text + bytes, .diagnostic = diagnostic};
    line_begin(reader);
}

void token_next(struct token_reader *reader)
{
    const char *at = reader->at, *end = reader->end;
    while (at < end && *at == ' ') at++;
    reader->token = at;
    if (at < end && *at != '\n') {
        at++;
        if (*reader->token == '-' && at < end && *at == '>')
            at++;
        else if (is_word(*reader->token) || *reader->token == '-')
            while (at < end && is_word(*at)) at++;
    }
    reader->at = reader->token_end = at;
}

static size_t token_length(const struct token_reader *reader)
{
    return (size_t)(reader->token_end - reader->token);
}

bool token_is(const struct token_reader *reader, const char *word)
{
    size_t length = strlen(word);
    return reader->token && token_length(reader) == length && memcmp(reader->token, word, length) == 0;
}

/* Nothing that a terminal would take for a command, and no more than fits in a sentence. */
static void token_quote(const struct token_reader *reader, char quoted[40])
{
    size_t length = token_length(reader), shown = length < 24 ? length : 24, used = 0;
    quoted[used++] = '"';
    for (size_t i = 0; i < shown; i++)
        quoted[used++] = reader->token[i] > ' ' && reader->token[i] < 127 ? reader->token[i] : '?';
    snprintf(&quoted[used], 40 - used, "\"%s", shown < length ? "..." : "");
}

weft_status token_unexpected(const struct token_reader *reader, const char *expected)
{
    char found[40];
    if (!reader->token)
        snprintf(found, sizeof found, "the end of the text");
    else if (token_length(reader) == 0)
        snprintf(found, sizeof found, "the end of the line");
    else
        token_quote(reader, found);
    return diagnose(reader->diagnostic, WEFT_BAD_FORMAT, "line %u: found %s, expected %s", reader->line, found,
                    expected);
}

weft_status token_take(struct token_reader *reader, const char *word)
{
    char expected[40];
    if (token_is(reader, word)) {
        token_next(reader);
        return WEFT_OK;
    }
    snprintf(expected, sizeof expected, "\"%s\"", word);
    return token_unexpected(reader, expected);
}

/* Digits without leading zeros: each number has one form. False when it is none, or above UINT32_MAX. */
static bool parse_number(const char *at, const char *end, uint32_t *value)
{
    uint32_t number = 0;
    if (!at || at == end || (*at == '0' && end - at > 1)) return false;
    for (; at < end; at++) {
        if (!is_digit(*at) || __builtin_mul_overflow(number, 10u, &number) ||
            __builtin_add_overflow(number, (uint32_t)(*at - '0'), &number))
            return false;
    }
    *value = number;
    return true;
}

weft_status token_take_number(struct token_reader *reader, uint32_t low, uint32_t high, uint32_t *value)
{
    uint32_t number;
    if (parse_number(reader->token, reader->token_end, &number) && number >= low && number <= high) {
        *value = number;
        token_next(reader);
        return WEFT_OK;
    }
    char expected[64];
    snprintf(expected, sizeof expected, low == high ? "%u" : "a number from %u to %u", low, high);
    return token_unexpected(reader, expected);
}

weft_status token_take_signed(struct token_reader *reader, int32_t *value)
{
    bool negative = reader->token && reader->token < reader->token_end && *reader->token == '-';
    uint32_t number;
    if (parse_number(negative ? reader->token + 1 : reader->token, reader->token_end, &number) &&
        number <= (uint32_t)INT32_MAX + negative && !(negative && number == 0)) {
        *value = (int32_t)(negative ? -(int64_t)number : (int64_t)number);
        token_next(reader);
        return WEFT_OK;
    }
    return token_unexpected(reader, "a number from -2147483648 to 2147483647");
}

weft_status token_take_line_end(struct token_reader *reader)
{
    if (reader->token && token_length(reader) > 0) return token_unexpected(reader, "the end of the line");
    if (reader->at < reader->end) reader->at++; /* the newline */
    line_begin(reader);
    return WEFT_OK;
}

weft_status token_take_choice(struct token_reader *reader, const char *(*word)(uint32_t index), uint32_t count,
                              const char *expected, uint32_t *index)
{
    for (uint32_t i = 0; i < count; i++) {
        if (!token_is(reader, word(i))) continue;
        *index = i;
        token_next(reader);
        return WEFT_OK;
    }
    return token_unexpected(reader, expected);
}
