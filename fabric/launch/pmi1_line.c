/* SPDX-License-Identifier: Apache-2.0 */
#include "pmi1_line.h"

#include <stdbool.h>
#include <string.h>

static weft_status line_refuse(struct diagnostic *diagnostic, const char *what, size_t at)
{
    return diagnose(diagnostic, WEFT_PROTOCOL_ERROR, "the launcher's line has %s at byte %zu", what, at + 1);
}

static bool is_name_character(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

weft_status pmi1_line_parse(struct pmi1_line *line, const char *bytes, size_t size, struct diagnostic *diagnostic)
{
    line->count = 0;
    if (size == 0 || size > sizeof line->text || bytes[size - 1] != '\n')
        return diagnose(diagnostic, WEFT_PROTOCOL_ERROR, "the launcher's line does not end within %d bytes",
                        PMI1_LINE_BYTES);
    for (size_t at = 0; at + 1 < size; at++)
        if (bytes[at] < ' ' || bytes[at] > '~') return line_refuse(diagnostic, "a byte that is not printable", at);
    memcpy(line->text, bytes, size);
    line->text[size - 1] = '\0';

    for (char *at = line->text; *at;) {
        if (*at == ' ') {
            at++;
            continue;
        }
        char *name = at;
        while (is_name_character(*at)) at++;
        if (at == name || *at != '=') return line_refuse(diagnostic, "no field=value", (size_t)(name - line->text));
        if (line->count == PMI1_FIELDS_MAX)
            return line_refuse(diagnostic, "more fields than expected", (size_t)(name - line->text));
        *at++ = '\0';
        if (pmi1_line_field(line, name)) return line_refuse(diagnostic, "a field twice", (size_t)(name - line->text));
        line->fields[line->count].name = name;
        line->fields[line->count++].value = at;
        while (*at && *at != ' ') at++;
        if (*at) *at++ = '\0';
    }
    if (line->count == 0 || strcmp(line->fields[0].name, "cmd") != 0 || !line->fields[0].value[0])
        return line_refuse(diagnostic, "no cmd=", 0);
    return WEFT_OK;
}

const char *pmi1_line_field(const struct pmi1_line *line, const char *name)
{
    for (size_t i = 0; i < line->count; i++)
        if (strcmp(line->fields[i].name, name) == 0) return line->fields[i].value;
    return NULL;
}
