/* SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_BYTES ((size_t)64 << 10)

/* Until the end, or one byte more than is allowed. False with errno. */
static bool read_all(FILE *file, size_t most_bytes, char **bytes, size_t *size)
{
    size_t capacity = 0;
    for (;;) {
        if (*size == capacity) {
            capacity = capacity ? capacity * 2 : FIRST_BYTES;
            char *larger = realloc(*bytes, capacity);
            if (!larger) return false;
            *bytes = larger;
        }
        size_t count = fread(*bytes + *size, 1, capacity - *size, file);
        *size += count;
        if (*size > most_bytes) return true;
        if (count == 0) return !ferror(file);
    }
}

weft_status file_load(const char *path, size_t most_bytes, char **bytes, size_t *size, struct diagnostic *diagnostic)
{
    FILE *file = fopen(path, "rbe");
    if (!file) return diagnose(diagnostic, WEFT_SYSTEM_ERROR, "%.180s: %s", path, strerror(errno));
    char *loaded = NULL;
    size_t length = 0;
    weft_status status = WEFT_OK;
    if (!read_all(file, most_bytes, &loaded, &length))
        status = diagnose(diagnostic, errno == ENOMEM ? WEFT_OUT_OF_MEMORY : WEFT_SYSTEM_ERROR, "%.180s: %s", path,
                          strerror(errno));
    else if (length > most_bytes)
        status = diagnose(diagnostic, WEFT_SYSTEM_ERROR, "%.180s: longer than %zu bytes", path, most_bytes);
    fclose(file);
    if (status != WEFT_OK) {
        free(loaded);
        return status;
    }
    *bytes = loaded;
    *size = length;
    return WEFT_OK;
}
