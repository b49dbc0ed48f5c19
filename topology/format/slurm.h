/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What Slurm's topology.conf and topology.yaml can say of a cluster, whichever of the two says it: a tree of switches
 * over nodes, blocks of nodes, rings of nodes, or a torus. Slurm's nodes become hosts; its names say nothing of speed,
 * so that every bandwidth is unknown.
 *
 * Lists are Slurm's host lists ("node[01-04]"), terminated. Errors have been written to the diagnostic when a call
 * returns one.
 */
#ifndef TOPOLOGY_FORMAT_SLURM_H
#define TOPOLOGY_FORMAT_SLURM_H

#include "topology/format/name_table.h"

/* A switch, or a block. */
struct slurm_group {
    struct span name;
    const char *nodes;      /* directly in it, or NULL */
    const char *switches;   /* its children, or NULL */
    const char *link_speed; /* "LinkSpeed=100", or NULL; for a person, since its unit is "arbitrary" */
    struct place place;
    uint32_t in_topology;
    uint32_t last_parent; /* while links are added: the last group that named it; skips a name listed twice */
};

struct slurm {
    const struct format_source *source;
    weft_topology *topology;
    struct diagnostic *diagnostic;
    struct name_table hosts, groups; /* to node indices; to indices into groups */
    struct slurm_group *group;
    uint32_t group_count, group_capacity;
    struct slurm_edge { /* from a switch to one of its children, in the order of parents */
        uint32_t parent, child;
    } * edges;
    uint32_t edge_count, edge_capacity;
    uint64_t listed; /* names that the lists read so far stand for */
};

weft_status slurm_error(const struct slurm *slurm, struct place place, struct span found, const char *expected);
/* Remember a switch or block, whose name must be new. */
weft_status slurm_group_add(struct slurm *slurm, const struct slurm_group *group);
/* After the last one: a tree, or several. What Slurm refuses to start with is an error: an unknown child, a circle. */
weft_status slurm_tree_build(struct slurm *slurm);
/*
 * Blocks of nodes, and above them Slurm's levels: @p sizes (ascending, @p size_count of them) in nodes, each the first
 * times a power of two; none means that blocks are joined by 2, 4 and 8. What no level joins one more switch does, as
 * jobs may span all blocks.
 */
weft_status slurm_blocks_build(struct slurm *slurm, const uint64_t *sizes, uint32_t size_count, struct place place);
/* A ring of hosts in the order of @p nodes. */
weft_status slurm_ring_add(struct slurm *slurm, const char *nodes, struct place place);

/* Where something stands in a torus, or how far it goes. */
struct slurm_cell {
    uint32_t x, y, z;
};
/*
 * A torus of @p size, of which the box from @p anchor over @p extent (inside of it) holds @p nodes, x fastest. Call it
 * for each box, with the same @p cells: size.x * size.y * size.z node indices, at first TOPOLOGY_NONE.
 */
weft_status slurm_torus_fill(struct slurm *slurm, struct slurm_cell size, struct slurm_cell anchor,
                             struct slurm_cell extent, const char *nodes, uint32_t *cells, struct place place);
/* Then link all neighbours, round the ends too. */
void slurm_torus_link(struct slurm *slurm, struct slurm_cell size, const uint32_t *cells);

/* Check the list @p text and count its names. Refuses a file that lists more names than any cluster has. */
weft_status slurm_list_count(struct slurm *slurm, const char *text, struct place place, uint64_t *count);
/* The host called @p name, added if it is new; TOPOLOGY_NONE when out of memory. */
uint32_t slurm_host(struct slurm *slurm, const char *name);
/* A link of unknown speed. */
void slurm_link(struct slurm *slurm, uint32_t from, uint32_t to, const char *name);
void slurm_free(struct slurm *slurm);
#endif
