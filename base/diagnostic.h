/* SPDX-License-Identifier: Apache-2.0 */
/* A status with a sentence for a person: what was found, what was expected, what to do next. */
#ifndef BASE_DIAGNOSTIC_H
#define BASE_DIAGNOSTIC_H

#include <weft/types.h>

struct diagnostic {
    weft_status status;
    char text[256];
};

/* Fill @p diagnostic (may be NULL) and return @p status, so that a caller can `return diagnose(...)`. */
__attribute__((format(printf, 3, 4))) weft_status diagnose(struct diagnostic *diagnostic, weft_status status,
                                                           const char *format, ...);
#endif
