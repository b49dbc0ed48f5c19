/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "base/clock.h"
#include "base/config.h"
#include "tests/fuzz/target.h"

enum { MOST_LINES = 64 };

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    setenv("WEFT_LOG_FILE", "/dev/null", 1); /* warnings of unknown names are written, but not shown */
    return 0;
}

#define IN_RANGE_U(value, low, high) PROMISE((value) + 1 >= (uint64_t)(low) + 1 && (value) <= (uint64_t)(high));
#define IN_RANGE_T(value, low, high) IN_RANGE_U(value, low, high)
#define IN_RANGE_B(value, low, high) PROMISE((value) == 0 || (value) == 1);
#define IN_RANGE_S(value, low, high) PROMISE(memchr((value), '\0', CONFIG_STRING_BYTES));
#define IN_RANGE_C(value, low, high) PROMISE((value) >= 0 && (value) < 4); /* no table has more words */
#define IN_RANGE(field, variable, kind, default_text, low, high, help) IN_RANGE_##kind(config.field, low, high)

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    char *text = malloc(size + 1);
    if (!text) return 0;
    memcpy(text, bytes, size);
    text[size] = '\0';

    char *environment[MOST_LINES + 1] = {NULL};
    int count = 0;
    for (char *line = strtok(text, "\n"); line && count < MOST_LINES; line = strtok(NULL, "\n")) {
        environment[count++] = line;
    }

    struct config config, again;
    struct diagnostic diagnostic = {0};
    weft_status status = config_parse(environment, &config, &diagnostic);
    PROMISE(status == WEFT_OK || status == WEFT_INVALID_ARGUMENT);
    PROMISE(diagnostic.status == status);
    PROMISE((diagnostic.text[0] != '\0') == (status != WEFT_OK));
    PROMISE(memchr(diagnostic.text, '\0', sizeof diagnostic.text));
    CONFIG_TABLE(IN_RANGE)

    PROMISE(config_parse(environment, &again, NULL) == status);
    PROMISE(memcmp(&config, &again, sizeof config) == 0);
    free(text);
    return 0;
}
