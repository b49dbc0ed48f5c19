/* SPDX-License-Identifier: Apache-2.0 */
/* Writing weft's YAML, between weft_entries.c (one node or link) and weft_write.c (shapes and the whole). */
#ifndef TOPOLOGY_FORMAT_WEFT_WRITE_H
#define TOPOLOGY_FORMAT_WEFT_WRITE_H

#include "base/text.h"
#include "topology/format/weft_yaml.h"

struct host_block {
    uint32_t first, end;           /* its nodes: first is the host */
    uint32_t link_first, link_end; /* its own links */
    char *body;                    /* the shape's text; NULL where it is written out */
    uint32_t shape;                /* its number; equal bodies have equal ones */
};

struct writing {
    const weft_topology *topology;
    struct text text;
    struct arena arena;
    struct name_table names; /* "gpu 0" and "HOST\x1fgpu 0" to the node, SEVERAL where there are more */
    struct host_block *blocks;
    uint32_t block_count;
    uint32_t *block_of; /* by node: its host's block if that has a shape, else TOPOLOGY_NONE */
    bool *referred;     /* by node: does something name it */
    bool failed;
};

/* The range of nodes within which a name has to be unique, and what comes before it in the table. */
struct view {
    struct writing *writing;
    struct text *text;
    uint32_t first; /* local names are looked up in [first, ...): a shape's host, or 0 */
    bool in_shape;
};

/* Learn which names are unique. */
void names_learn(struct writing *writing);
/* An entry without its end, "{gpu: 0, os_index: 0". @p host: what contains nodes that do not say it. */
void node_write(struct view *view, uint32_t node, uint32_t host);
void node_attributes_write(struct text *text, const struct topology_node *node);
/* A whole line. */
void link_write(struct view *view, uint32_t link, const char *indent);
/* How a node is referred to from where @p view writes. */
void end_write(struct view *view, uint32_t node);
/* Would the name be taken for a pattern of names? */
bool is_pattern(const char *name);
#endif
