/* SPDX-License-Identifier: Apache-2.0 */
/* Copies a manual page from standard input to standard output, with the table of variables where the page asks for it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/config.h"

#define MARK ".\\\" environment table\n"

/* Text in a line of its own: a dot or quote at its begin would be a request. */
static void text_print(const char *text, size_t length)
{
    if (length && (text[0] == '.' || text[0] == '\'')) fputs("\\&", stdout);
    for (size_t i = 0; i < length; i++) {
        if (text[i] == '\\' || text[i] == '-') putchar('\\');
        putchar(text[i] == '\\' ? 'e' : text[i]);
    }
}

/* config_help() has a line a variable: name, default and help in columns, the default possibly empty. */
static void variable_print(const char *line, size_t length)
{
    size_t name = strcspn(line, " ");
    size_t begin = name + strspn(line + name, " ");
    size_t value = begin < 30 ? strcspn(line + begin, " ") : 0;
    printf(".TP\n.B %.*s\n", (int)name, line);
    size_t help = begin + value + strspn(line + begin + value, " ");
    text_print(line + help, length - help);
    if (value) {
        printf(".\nDefault: ");
        text_print(line + begin, value);
    }
    printf(".\n");
}

static int table_print(void)
{
    char *table = config_help();
    if (!table) return -1;
    for (const char *line = table; *line;) {
        size_t length = strcspn(line, "\n");
        variable_print(line, length);
        line += length + (line[length] == '\n');
    }
    free(table);
    return 0;
}

int main(void)
{
    char line[1024];
    while (fgets(line, sizeof line, stdin)) {
        if (strcmp(line, MARK) != 0)
            fputs(line, stdout);
        else if (table_print() != 0)
            return 1;
    }
    return ferror(stdin) || fflush(stdout) ? 1 : 0;
}
