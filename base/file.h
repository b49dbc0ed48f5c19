/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_FILE_H
#define BASE_FILE_H

#include <stddef.h>
#include <weft/types.h>

#include "base/diagnostic.h"

/*
 * The whole of a file, pipes and /proc included, whose length nobody knows before.
 *
 * Owner:  the caller, *bytes by free().
 * Errors: WEFT_OUT_OF_MEMORY; WEFT_SYSTEM_ERROR (it cannot be read, or has more than @p most_bytes). The diagnostic
 *         begins with the path; *bytes and *size are untouched then.
 */
weft_status file_load(const char *path, size_t most_bytes, char **bytes, size_t *size, struct diagnostic *diagnostic);
#endif
