/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files that lie beside topologies and are none: known in order to be refused by name, which tells a person more than
 * "no known format" does.
 */
#include <string.h>

#include "topology/format/format_internal.h"

static bool begins(const struct format_source *source, const char *bytes, size_t size)
{
    return source->size >= size && memcmp(source->bytes, bytes, size) == 0;
}

static unsigned archive_recognise(const struct format_source *source)
{
    bool archive = begins(source, "BZh", 3) || begins(source, "\x1f\x8b", 2) ||
                   begins(source,
                          "\xfd"
                          "7zXZ",
                          5) ||
                   begins(source, "PK\x03\x04", 4) || begins(source, "\x28\xb5\x2f\xfd", 4);
    return archive ? 100 : 0;
}

const struct format_reader format_archive = {
    .name = "archive",
    .title = "a compressed file",
    .recognise = archive_recognise,
};
