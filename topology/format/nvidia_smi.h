/* SPDX-License-Identifier: Apache-2.0 */
/* A machine's GPUs and NICs and how each two of them reach each other: read in nvidia_smi.c, drawn in the other file.
 */
#ifndef TOPOLOGY_FORMAT_NVIDIA_SMI_H
#define TOPOLOGY_FORMAT_NVIDIA_SMI_H

#include "topology/format/format_internal.h"

enum { MATRIX_DEVICES_MAX = 256, MATRIX_NUMA_MAX = 4095 };

/* What the way from one device to another crosses; each beyond SELF crosses more than the one before it. */
enum relation {
    RELATION_SELF,
    RELATION_PIX,   /* one PCI bridge at most */
    RELATION_PXB,   /* several PCI bridges, but no host bridge */
    RELATION_PHB,   /* one PCI host bridge */
    RELATION_NODE,  /* two host bridges of a NUMA node */
    RELATION_SYS,   /* two NUMA nodes */
    RELATION_NVLINK /* NVLinks; how they are placed on PCI is not said */
};

struct matrix_cell {
    enum relation relation;
    uint8_t link_count; /* of NVLinks */
};

struct matrix_device {
    bool is_gpu;
    uint32_t index;           /* 3 of GPU3 and NIC3; TOPOLOGY_NONE for a NIC under its own name */
    const char *name;         /* "GPU3": in the topology's memory */
    const char *verbs_device; /* "mlx5_0", or NULL */
    uint32_t line;            /* of its row */
    struct span cpus;         /* "0-15,32-47", or size 0 */
    uint32_t numa_node;       /* TOPOLOGY_NONE: unknown */
    uint32_t in_topology;     /* kept by matrix_build() */
};

struct matrix {
    const struct format_source *source;
    weft_topology *topology;
    struct diagnostic *diagnostic;
    struct matrix_device devices[MATRIX_DEVICES_MAX];
    uint32_t device_count;
    struct matrix_cell *cells; /* device_count of them for each device */
};

static inline struct matrix_cell *matrix_cell(struct matrix *matrix, uint32_t row, uint32_t column)
{
    return &matrix->cells[row * matrix->device_count + column];
}

/* Check that the matrix agrees with itself, and add the machine to the topology. */
weft_status matrix_build(struct matrix *matrix);
#endif
