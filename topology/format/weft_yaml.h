/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the reader and the writer of weft's own YAML share: the attributes' names, and how figures are written. What the
 * format means is in docs/formats/topology.md.
 */
#ifndef TOPOLOGY_FORMAT_WEFT_YAML_H
#define TOPOLOGY_FORMAT_WEFT_YAML_H

#include "base/text.h"
#include "topology/format/format_internal.h"
#include "topology/format/name_table.h"
#include "topology/format/yaml.h"

enum { WEFT_YAML_VERSION = 1 };

enum value_type { VALUE_TEXT, VALUE_UINT32, VALUE_UINT64, VALUE_HEX64, VALUE_BANDWIDTH, VALUE_LATENCY };

/* A member of a struct that one scalar holds. What is equal to @p absent is not written, and stands where none is. */
struct attribute {
    const char *key;
    enum value_type type;
    size_t offset;
    uint32_t absent;
};
/* Each ends with a NULL key. */
extern const struct attribute node_attributes[], link_attributes[], rdma_attributes[], port_attributes[];

/* Reading one file. */
struct reading {
    const struct format_source *source;
    struct diagnostic *diagnostic;
    struct arena arena;   /* the tree, names, and what a node's attributes point to */
    uint64_t built_bytes; /* of what the file made so far: bounded, since a few bytes can ask for a million hosts */
    weft_topology *topology;
    struct shape *shapes; /* newest first */
    struct host_record {
        uint32_t node;
        struct shape *shape; /* NULL: written out */
    } * hosts;
    uint32_t host_count, host_capacity;
};

/* Nodes that refer to each other: a shape, or what stands outside of shapes. */
struct scope {
    weft_topology *target;   /* of a shape: a topology of its own, whose node 0 is the host */
    struct name_table names; /* "gpu 0", an id; outside of shapes also "HOST\x1fgpu 0"; SEVERAL where it is ambiguous */
    uint32_t host;           /* what contains a node that does not say so; TOPOLOGY_NONE */
    bool is_shape;
};

struct shape {
    struct shape *next;
    struct span name;
    struct scope scope;
};

#define SEVERAL (TOPOLOGY_NONE - 1)

/* Growing row of node indices. */
struct ends {
    uint32_t *nodes;
    uint32_t count, capacity;
};

/* "attribute_read": one scalar into its member of @p object. WEFT_BAD_FORMAT with its place. */
weft_status attribute_read(struct reading *reading, const struct attribute *attribute, const struct yaml_value *value,
                           void *object);
/* All that @p map has of @p attributes; the others get their absent value. */
weft_status attributes_read(struct reading *reading, const struct attribute *attributes, const struct yaml_value *map,
                            void *object);
weft_status figure_read(struct reading *reading, const struct yaml_value *value, bool is_latency,
                        struct figure *figure);
weft_status node_specials_read(struct reading *reading, const struct yaml_value *map, struct topology_node *node,
                               struct rdma_device **rdma);
/* A word that is none of @p attributes, nor of @p others (NULL-terminated), is an error. */
weft_status keys_check(struct reading *reading, const struct yaml_value *map, const struct attribute *attributes,
                       const char *const *others);
weft_status text_read(struct reading *reading, const struct yaml_value *value, const char **text);
weft_status reading_error(struct reading *reading, const struct yaml_value *value, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
weft_status reading_no_memory(struct reading *reading);
/* Count @p count things of @p bytes, before they are made. An error when the file asks for more than is allowed. */
weft_status reading_charge(struct reading *reading, const struct yaml_value *value, uint64_t count, uint64_t bytes);

/* All names that a scalar stands for, each handed to @p each, which may stop the walk with a status. */
weft_status names_each(struct reading *reading, const struct yaml_value *value, struct span names,
                       weft_status (*each)(void *context, struct span name), void *context);
uint64_t names_count(struct span names);

weft_status links_read(struct reading *reading, struct scope *scope, const struct yaml_value *list);
weft_status ends_read(struct reading *reading, struct scope *scope, const struct yaml_value *value, struct ends *ends);
weft_status distances_read(struct reading *reading, struct scope *scope, const struct yaml_value *list);
weft_status channels_read(struct reading *reading, struct scope *scope, const struct yaml_value *list);

/* " key: value" pairs of a flow map, each after ", ". */
void attributes_write(struct text *text, const struct attribute *attributes, const void *object);
void figure_write(struct text *text, const char *key, struct figure figure, bool is_latency);
void yaml_string_write(struct text *text, const char *string);
#endif
