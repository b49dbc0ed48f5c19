/* SPDX-License-Identifier: Apache-2.0 */
#include "base/text.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool text_reserve(struct text *text, size_t more)
{
    if (text->failed) return false;
    if (text->capacity - text->length > more) return true; /* one byte stays for the terminator */
    size_t capacity = text->capacity ? text->capacity : 256;
    while (capacity - text->length <= more) {
        if (__builtin_mul_overflow(capacity, 2, &capacity)) goto fail;
    }
    char *bytes = realloc(text->bytes, capacity);
    if (!bytes) goto fail;
    text->bytes = bytes;
    text->capacity = capacity;
    return true;
fail:
    text->failed = true;
    return false;
}

static void text_append(struct text *text, const char *bytes, size_t size)
{
    if (!text_reserve(text, size)) return;
    memcpy(text->bytes + text->length, bytes, size);
    text->length += size;
    text->bytes[text->length] = '\0';
}

void text_add(struct text *text, const char *format, ...)
{
    va_list arguments, again;
    va_start(arguments, format);
    va_copy(again, arguments);
    if (text_reserve(text, 64)) {
        size_t room = text->capacity - text->length;
        int length = vsnprintf(text->bytes + text->length, room, format, arguments);
        if (length < 0) {
            text->failed = true;
        } else if ((size_t)length < room) {
            text->length += (size_t)length;
        } else if (text_reserve(text, (size_t)length)) {
            vsnprintf(text->bytes + text->length, (size_t)length + 1, format, again);
            text->length += (size_t)length;
        }
    }
    va_end(again);
    va_end(arguments);
}

char *text_take(struct text *text)
{
    text_append(text, "", 0);
    char *result = text->failed ? NULL : text->bytes;
    if (text->failed) free(text->bytes);
    *text = (struct text){0};
    return result;
}

void text_free(struct text *text)
{
    free(text->bytes);
    *text = (struct text){0};
}

/*
 * Length of the well-formed UTF-8 sequence at @p at (RFC 3629: no overlong forms, no surrogates, nothing above
 * U+10FFFF), or 0. Reads no further than the terminator, which is no continuation byte.
 */
static size_t utf8_length(const unsigned char *at)
{
    if (at[0] < 0x80) return 1;
    unsigned char low = 0x80, high = 0xbf; /* bounds of the second byte */
    size_t length;
    if (at[0] >= 0xc2 && at[0] <= 0xdf) {
        length = 2;
    } else if (at[0] >= 0xe0 && at[0] <= 0xef) {
        length = 3;
        if (at[0] == 0xe0) low = 0xa0;
        if (at[0] == 0xed) high = 0x9f;
    } else if (at[0] >= 0xf0 && at[0] <= 0xf4) {
        length = 4;
        if (at[0] == 0xf0) low = 0x90;
        if (at[0] == 0xf4) high = 0x8f;
    } else {
        return 0;
    }
    if (at[1] < low || at[1] > high) return 0;
    for (size_t i = 2; i < length; i++) {
        if (at[i] < 0x80 || at[i] > 0xbf) return 0;
    }
    return length;
}

/* Quoted. A byte that is part of no character becomes U+FFFD: device names and paths are whatever the kernel gives. */
static void json_quote(struct text *text, const char *value)
{
    text_append(text, "\"", 1);
    const unsigned char *at = (const unsigned char *)value;
    while (*at) {
        size_t length = utf8_length(at);
        if (length == 0) {
            text_append(text, "\\ufffd", 6);
            length = 1;
        } else if (*at == '"' || *at == '\\') {
            char escaped[2] = {'\\', (char)*at};
            text_append(text, escaped, 2);
        } else if (*at == '\n') {
            text_append(text, "\\n", 2);
        } else if (*at == '\t') {
            text_append(text, "\\t", 2);
        } else if (*at < 0x20 || *at == 0x7f) {
            text_add(text, "\\u%04x", *at);
        } else {
            text_append(text, (const char *)at, length);
        }
        at += length;
    }
    text_append(text, "\"", 1);
}

/* What precedes a value: the comma after its elder sibling, and its key. */
static void json_member(struct text *text, const char *key)
{
    if (text->depth > 0) {
        if (text->comma[text->depth]) text_append(text, ",", 1);
        text->comma[text->depth] = true;
    }
    if (key) {
        json_quote(text, key);
        text_append(text, ":", 1);
    }
}

static void json_begin(struct text *text, const char *key, const char *bracket)
{
    json_member(text, key);
    text_append(text, bracket, 1);
    if (text->depth + 1u >= sizeof text->comma / sizeof text->comma[0]) {
        text->failed = true; /* deeper than any document we write: a begin without its end in a loop */
        return;
    }
    text->comma[++text->depth] = false;
}

static void json_end(struct text *text, const char *bracket)
{
    if (text->depth > 0) text->depth--;
    text_append(text, bracket, 1);
}

void json_object_begin(struct text *text, const char *key)
{
    json_begin(text, key, "{");
}

void json_object_end(struct text *text)
{
    json_end(text, "}");
}

void json_array_begin(struct text *text, const char *key)
{
    json_begin(text, key, "[");
}

void json_array_end(struct text *text)
{
    json_end(text, "]");
}

void json_string(struct text *text, const char *key, const char *value)
{
    json_member(text, key);
    if (value) {
        json_quote(text, value);
    } else {
        text_append(text, "null", 4);
    }
}

void json_integer(struct text *text, const char *key, int64_t value)
{
    json_member(text, key);
    text_add(text, "%lld", (long long)value);
}

void json_unsigned(struct text *text, const char *key, uint64_t value)
{
    json_member(text, key);
    text_add(text, "%llu", (unsigned long long)value);
}

/* 17 digits always read back as the same double (IEEE 754-2019, 5.12.2). */
void text_add_number(struct text *text, double value)
{
    char digits[64];
    for (int precision = 15; precision <= 17; precision++) {
        snprintf(digits, sizeof digits, "%.*g", precision, value);
        if (strtod(digits, NULL) == value) break;
    }
    /* printf() writes the decimal point of the program's locale, of whatever length. */
    size_t whole = strspn(digits, "+-0123456789e");
    text_append(text, digits, whole);
    size_t point = strcspn(digits + whole, "0123456789");
    if (point > 0) {
        text_append(text, ".", 1);
        text_append(text, digits + whole + point, strlen(digits + whole + point));
    }
}

void json_number(struct text *text, const char *key, double value)
{
    json_member(text, key);
    if (isfinite(value))
        text_add_number(text, value);
    else
        text_append(text, "null", 4);
}

void json_bool(struct text *text, const char *key, bool value)
{
    json_member(text, key);
    text_append(text, value ? "true" : "false", value ? 4 : 5);
}
