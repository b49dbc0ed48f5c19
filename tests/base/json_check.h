/* SPDX-License-Identifier: Apache-2.0 */
/* Is this one JSON value (RFC 8259) in UTF-8, and nothing after it? Strict, recursive, for tests. */
#ifndef TESTS_JSON_CHECK_H
#define TESTS_JSON_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

static inline const char *json_check_value(const char *at, int depth);

/* Each returns what follows the thing it read, or NULL. */
static inline const char *json_check_character(const char *at)
{
    const unsigned char *byte = (const unsigned char *)at;
    if (byte[0] < 0x20) return NULL;
    if (byte[0] == '\\') {
        if (byte[1] == 'u') return strspn(at + 2, "0123456789abcdefABCDEF") >= 4 ? at + 6 : NULL;
        return byte[1] && strchr("\"\\/bfnrt", byte[1]) ? at + 2 : NULL;
    }
    if (byte[0] < 0x80) return at + 1;
    int more = byte[0] >= 0xf0 ? 3 : byte[0] >= 0xe0 ? 2 : 1;
    unsigned long point = byte[0] & (0x3fu >> more);
    for (int i = 1; i <= more; i++) {
        if ((byte[i] & 0xc0) != 0x80) return NULL;
        point = point << 6 | (byte[i] & 0x3f);
    }
    const unsigned long least[] = {0, 0x80, 0x800, 0x10000};
    if (byte[0] < 0xc0 || byte[0] > 0xf7 || point < least[more] || point > 0x10ffff) return NULL;
    return point >= 0xd800 && point <= 0xdfff ? NULL : at + more + 1;
}

static inline const char *json_check_string(const char *at)
{
    if (*at++ != '"') return NULL;
    while (at && *at != '"') at = json_check_character(at);
    return at ? at + 1 : NULL;
}

static inline const char *json_check_number(const char *at)
{
    if (*at == '-') at++;
    size_t digits = strspn(at, "0123456789");
    if (digits == 0 || (digits > 1 && *at == '0')) return NULL;
    at += digits;
    if (*at == '.') {
        digits = strspn(at + 1, "0123456789");
        if (digits == 0) return NULL;
        at += 1 + digits;
    }
    if (*at == 'e' || *at == 'E') {
        at++;
        if (*at == '-' || *at == '+') at++;
        digits = strspn(at, "0123456789");
        if (digits == 0) return NULL;
        at += digits;
    }
    return at;
}

static inline const char *json_check_space(const char *at)
{
    return at + strspn(at, " \t\r\n");
}

static inline const char *json_check_members(const char *at, char end, int depth)
{
    at = json_check_space(at + 1);
    if (*at == end) return at + 1;
    for (;;) {
        if (end == '}') {
            at = json_check_string(json_check_space(at));
            if (!at) return NULL;
            at = json_check_space(at);
            if (*at++ != ':') return NULL;
        }
        at = json_check_value(at, depth + 1);
        if (!at || *at == end) return at ? at + 1 : NULL;
        if (*at++ != ',') return NULL;
    }
}

static inline const char *json_check_value(const char *at, int depth)
{
    if (depth > 256) return NULL;
    at = json_check_space(at);
    if (*at == '{') {
        at = json_check_members(at, '}', depth);
    } else if (*at == '[') {
        at = json_check_members(at, ']', depth);
    } else if (*at == '"') {
        at = json_check_string(at);
    } else if (strncmp(at, "true", 4) == 0 || strncmp(at, "null", 4) == 0) {
        at += 4;
    } else if (strncmp(at, "false", 5) == 0) {
        at += 5;
    } else {
        at = json_check_number(at);
    }
    return at ? json_check_space(at) : NULL;
}

static inline bool json_is_valid(const char *text)
{
    const char *end = json_check_value(text, 0);
    return end && *end == '\0';
}
#endif
