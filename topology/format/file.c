/* SPDX-License-Identifier: Apache-2.0 */
/* The public functions, and the one place of this folder that touches a file: it fills a buffer, which is then read. */
#include "base/file.h"

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

weft_status weft_topology_read(const char *path, weft_topology **topology, char *error)
{
    if (!path || !topology) return WEFT_INVALID_ARGUMENT;
    struct diagnostic diagnostic = {0};
    char *bytes = NULL;
    size_t size = 0;
    weft_status status = file_load(path, FORMAT_BYTES_MAX, &bytes, &size, &diagnostic);
    if (!status) {
        status = topology_read(path, (const uint8_t *)bytes, size, topology, &diagnostic);
        free(bytes);
    }
    error_report(&diagnostic, status, error);
    return status;
}
