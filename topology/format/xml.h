/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An XML document as a tree of elements, each with its place. Refused: entities that the document declares (a few bytes
 * could stand for gigabytes; nothing outside is ever opened), more than 200 levels, more than a million elements.
 */
#ifndef TOPOLOGY_FORMAT_XML_H
#define TOPOLOGY_FORMAT_XML_H

#include "base/arena.h"
#include "topology/format/format_internal.h"

struct xml_element {
    const char *name;
    struct place place;
    const char **attributes; /* name, value, name, value, ..., NULL; names are unique */
    struct span text;        /* between its begin and its first child, as one piece; terminated */
    struct xml_element *parent, *first, *last, *next;
};

/* *root lives as long as @p arena. WEFT_BAD_FORMAT, WEFT_OUT_OF_MEMORY. */
weft_status xml_parse(const struct format_source *source, struct arena *arena, const struct xml_element **root,
                      struct diagnostic *diagnostic);

/* The value of an attribute, NULL where it is missing or empty: files have both for what they do not know. */
const char *xml_attribute(const struct xml_element *element, const char *name);
/*
 * The same as a number in decimal or "0x" form, *value untouched where there is none. An error where it is something
 * else, or greater than @p most.
 */
weft_status xml_unsigned(const struct format_source *source, const struct xml_element *element, const char *name,
                         uint64_t most, uint64_t *value, struct diagnostic *diagnostic);
bool xml_is(const struct xml_element *element, const char *name);

/* Is this the name of the root element, behind the declaration, comments and the document type? */
bool xml_root_is(const struct format_source *source, const char *name);
#endif
