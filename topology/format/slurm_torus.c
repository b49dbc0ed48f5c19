/* SPDX-License-Identifier: Apache-2.0 */
/* The 3D torus of topology.yaml: nodes in boxes of cells, each linked with its six neighbours. */
#include <string.h>

#include "base/hostlist.h"
#include "topology/format/slurm.h"

static size_t cell_index(struct slurm_cell size, struct slurm_cell at)
{
    return ((size_t)at.z * size.y + at.y) * size.x + at.x;
}

weft_status slurm_torus_fill(struct slurm *slurm, struct slurm_cell size, struct slurm_cell anchor,
                             struct slurm_cell extent, const char *nodes, uint32_t *cells, struct place place)
{
    char name[HOSTLIST_NAME_BYTES];
    uint64_t count, taken = 0, room = (uint64_t)extent.x * extent.y * extent.z;
    weft_status status = slurm_list_count(slurm, nodes, place, &count);
    if (status) return status;
    if (count > room)
        return format_error(slurm->source, place, slurm->diagnostic,
                            "found %llu nodes for %llu cells; expected no more than cells", (unsigned long long)count,
                            (unsigned long long)room);
    struct hostlist_walk walk = hostlist_walk_begin(nodes);
    for (; hostlist_walk_next(&walk, name); taken++) {
        struct slurm_cell at = {anchor.x + (uint32_t)(taken % extent.x),
                                anchor.y + (uint32_t)(taken / extent.x % extent.y),
                                anchor.z + (uint32_t)(taken / extent.x / extent.y)};
        uint32_t *cell = &cells[cell_index(size, at)];
        if (*cell != TOPOLOGY_NONE ||
            name_table_find(&slurm->hosts, (struct span){name, strlen(name)}) != TOPOLOGY_NONE)
            return slurm_error(slurm, place, (struct span){name, strlen(name)}, "every node and every cell once");
        *cell = slurm_host(slurm, name);
        if (*cell == TOPOLOGY_NONE)
            return diagnose(slurm->diagnostic, WEFT_OUT_OF_MEMORY, "no memory to read %s", slurm->source->name);
    }
    return WEFT_OK;
}

/* The neighbour ahead along one axis of @p length, where there is one that was not met from its own side. */
static bool next_along(uint32_t at, uint32_t length, uint32_t *next)
{
    *next = (at + 1) % length;
    return length > 2 || *next > at;
}

void slurm_torus_link(struct slurm *slurm, struct slurm_cell size, const uint32_t *cells)
{
    for (struct slurm_cell at = {0}; at.z < size.z; at.z++)
        for (at.y = 0; at.y < size.y; at.y++)
            for (at.x = 0; at.x < size.x; at.x++) {
                uint32_t here = cells[cell_index(size, at)], there;
                struct slurm_cell ahead[3] = {at, at, at};
                bool is_there[3] = {next_along(at.x, size.x, &ahead[0].x), next_along(at.y, size.y, &ahead[1].y),
                                    next_along(at.z, size.z, &ahead[2].z)};
                for (int axis = 0; axis < 3 && here != TOPOLOGY_NONE; axis++) {
                    there = is_there[axis] ? cells[cell_index(size, ahead[axis])] : TOPOLOGY_NONE;
                    if (there != TOPOLOGY_NONE) slurm_link(slurm, here, there, NULL);
                }
            }
}
