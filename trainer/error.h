/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Errors of the trainer: a function that can fail returns a bool and writes one sentence into @p error, an array of
 * ERROR_BYTES. Nobody prints but main.
 */
#ifndef TRAINER_ERROR_H
#define TRAINER_ERROR_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>

enum { ERROR_BYTES = 512 };

/* Always false, so that `return error_set(error, ...)` reads well. */
__attribute__((format(printf, 2, 3))) static inline bool error_set(char *error, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(error, ERROR_BYTES, format, arguments);
    va_end(arguments);
    return false;
}

#endif
