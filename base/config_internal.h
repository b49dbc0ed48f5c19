/* SPDX-License-Identifier: Apache-2.0 */
/* What log.c needs from config.c, what config.c needs from config_value.c: the rest of the project includes config.h.
 */
#ifndef BASE_CONFIG_INTERNAL_H
#define BASE_CONFIG_INTERNAL_H

#include "base/config.h"

/* As config_get(), but never logs: the log itself asks for its level, also while config_get() is reporting. */
const struct config *config_values(void);

enum config_kind { KIND_U, KIND_T, KIND_B, KIND_S, KIND_C };

/* A row of CONFIG_TABLE. */
struct config_option {
    const char *variable;
    enum config_kind kind;
    size_t offset; /* of the field in struct config */
    const char *default_text;
    uint64_t low, high;       /* both allowed */
    const char *const *words; /* KIND_C: NULL-terminated; the value is the index */
    const char *help;
};

/* Read @p text as @p option says and store it in @p config; untouched, with a sentence, when it is no such value. */
weft_status config_value_parse(const struct config_option *option, const char *text, struct config *config,
                               struct diagnostic *diagnostic);

/* Changes of one character (insert, delete, replace) that make one name of the other; looks at 63 characters at most.
 */
unsigned config_name_distance(const char *one, const char *other);
#endif
