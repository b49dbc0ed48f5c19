/* SPDX-License-Identifier: Apache-2.0 */
/* The public functions, and the one place of this folder that touches a file: it fills a buffer, which is then read. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "topology/format/format_internal.h"

static void error_report(const struct diagnostic *diagnostic, weft_status status, char *error)
{
    if (error && status) memcpy(error, diagnostic->text, sizeof diagnostic->text);
}

weft_status weft_topology_parse(const char *name, const void *bytes, size_t size, weft_topology **topology, char *error)
{
    if (!name || (!bytes && size > 0) || !topology) return WEFT_INVALID_ARGUMENT;
    struct diagnostic diagnostic = {0};
    weft_status status = topology_read(name, bytes, size, topology, &diagnostic);
    error_report(&diagnostic, status, error);
    return status;
}

/* The whole file, or one byte more than is allowed; its length is not asked for, so that pipes and /proc work. */
static weft_status file_load(const char *path, uint8_t **bytes, size_t *size, struct diagnostic *diagnostic)
{
    FILE *file = fopen(path, "rbe");
    if (!file) return diagnose(diagnostic, WEFT_SYSTEM_ERROR, "%s: %s", path, strerror(errno));
    weft_status status = WEFT_OK;
    uint8_t *loaded = NULL;
    size_t length = 0, capacity = 0;
    for (;;) {
        if (length == capacity) {
            capacity = capacity ? capacity * 2 : (size_t)64 << 10;
            uint8_t *larger = realloc(loaded, capacity);
            if (!larger) {
                status = diagnose(diagnostic, WEFT_OUT_OF_MEMORY, "%s: no memory to read it", path);
                break;
            }
            loaded = larger;
        }
        size_t count = fread(loaded + length, 1, capacity - length, file);
        if (count == 0) {
            if (ferror(file)) status = diagnose(diagnostic, WEFT_SYSTEM_ERROR, "%s: %s", path, strerror(errno));
            break;
        }
        length += count;
        if (length > FORMAT_BYTES_MAX) break;
    }
    fclose(file);
    if (status) {
        free(loaded);
        return status;
    }
    *bytes = loaded;
    *size = length;
    return WEFT_OK;
}

weft_status weft_topology_read(const char *path, weft_topology **topology, char *error)
{
    if (!path || !topology) return WEFT_INVALID_ARGUMENT;
    struct diagnostic diagnostic = {0};
    uint8_t *bytes = NULL;
    size_t size = 0;
    weft_status status = file_load(path, &bytes, &size, &diagnostic);
    if (!status) {
        status = topology_read(path, bytes, size, topology, &diagnostic);
        free(bytes);
    }
    error_report(&diagnostic, status, error);
    return status;
}
