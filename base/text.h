/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A growing string, and JSON on top of it. Running out of memory is remembered, so that only the end has to be checked:
 *     struct text text = {0};
 *     text_add(&text, "%u ranks", n);
 *     char *result = text_take(&text);     NULL when out of memory anywhere
 */
#ifndef BASE_TEXT_H
#define BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct text {
    char *bytes; /* terminated once anything was added */
    size_t length, capacity;
    bool failed;
    /* JSON state: is a comma due at this depth */
    uint8_t depth;
    bool comma[64];
};

__attribute__((format(printf, 2, 3))) void text_add(struct text *text, const char *format, ...);
/* A finite number, as few digits as read back as the same value, with a point whatever locale the program set. */
void text_add_number(struct text *text, double value);
/* The string, which the caller frees; "" when nothing was added; NULL when out of memory. @p text is then empty. */
char *text_take(struct text *text);
void text_free(struct text *text);

/*
 * @p key is NULL inside an array and at the top. Strings are escaped, and bytes that are not UTF-8 become U+FFFD; a
 * NULL string and the numbers that JSON lacks (NaN, infinity) are null. Numbers read back as the same value.
 */
void json_object_begin(struct text *text, const char *key);
void json_object_end(struct text *text);
void json_array_begin(struct text *text, const char *key);
void json_array_end(struct text *text);
void json_string(struct text *text, const char *key, const char *value);
void json_integer(struct text *text, const char *key, int64_t value);
void json_unsigned(struct text *text, const char *key, uint64_t value);
void json_number(struct text *text, const char *key, double value);
void json_bool(struct text *text, const char *key, bool value);
#endif
