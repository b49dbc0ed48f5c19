/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A YAML document as a tree of maps, lists and scalars, each with its place. Scalars are text, whatever they look like.
 * Refused: anchors, aliases and tags (a few bytes could stand for gigabytes), a second document, keys that are not
 * scalars or occur twice, more than 32 levels, more than four million values.
 */
#ifndef TOPOLOGY_FORMAT_YAML_H
#define TOPOLOGY_FORMAT_YAML_H

#include "base/arena.h"
#include "topology/format/format_internal.h"

enum yaml_kind { YAML_IS_SCALAR, YAML_IS_LIST, YAML_IS_MAP };

struct yaml_value {
    enum yaml_kind kind;
    struct place place;
    struct span text;         /* scalar; terminated too, where it holds no zero byte itself */
    struct yaml_value *first; /* list: its elements; map: key, value, key, value, ... */
    struct yaml_value *next;
    uint32_t count; /* elements, or pairs */
};

/* *root lives as long as @p arena. WEFT_BAD_FORMAT, WEFT_OUT_OF_MEMORY. An empty document is an empty map. */
weft_status yaml_parse(const struct format_source *source, struct arena *arena, const struct yaml_value **root,
                       struct diagnostic *diagnostic);

/* The value of @p key in a map, NULL where there is none. */
const struct yaml_value *yaml_find(const struct yaml_value *map, const char *key);
/* "a scalar", "a list", "a map". */
const char *yaml_kind_words(enum yaml_kind kind);
/* An error unless @p value is of that kind; @p what says what it was to be ("the list of nodes"). */
weft_status yaml_expect(const struct format_source *source, const struct yaml_value *value, enum yaml_kind kind,
                        const char *what, struct diagnostic *diagnostic);
#endif
