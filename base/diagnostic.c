/* SPDX-License-Identifier: Apache-2.0 */
#include "base/diagnostic.h"

#include <stdarg.h>
#include <stdio.h>

weft_status diagnose(struct diagnostic *diagnostic, weft_status status, const char *format, ...)
{
    if (diagnostic) {
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(diagnostic->text, sizeof diagnostic->text, format, arguments);
        va_end(arguments);
        diagnostic->status = status;
    }
    return status;
}
