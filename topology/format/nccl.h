/* SPDX-License-Identifier: Apache-2.0 */
/* Reading NCCL's and RCCL's topology XML: hosts and their PCI trees (nccl_pci.c), then links of GPUs (nccl_links.c). */
#ifndef TOPOLOGY_FORMAT_NCCL_H
#define TOPOLOGY_FORMAT_NCCL_H

#include "topology/format/name_table.h"
#include "topology/format/xml.h"

enum { NCCL_CPUS_MAX = 16384 };

struct nccl {
    const struct format_source *source;
    struct diagnostic *diagnostic;
    weft_topology *topology;
    struct arena arena;
    struct name_table devices; /* "HOST\x1fbus id" to its node, or SEVERAL_DEVICES; names of siblings */
    struct nccl_gpu {          /* every gpu element */
        const struct xml_element *element;
        uint32_t node, package;
    } * gpus;
    uint32_t gpu_count, gpu_capacity;
    uint32_t cpus[NCCL_CPUS_MAX]; /* of the cpu element that is read */
};

#define SEVERAL_DEVICES (TOPOLOGY_NONE - 1)

/* What a table's key is made of: a node, and a text in lower case. {NULL}: out of memory. */
struct span nccl_key(struct nccl *nccl, uint32_t node, const char *what, const char *text);
__attribute__((format(printf, 3, 4))) weft_status nccl_error(struct nccl *nccl, const struct xml_element *element,
                                                             const char *format, ...);
weft_status nccl_no_memory(struct nccl *nccl);
weft_status nccl_unsigned(struct nccl *nccl, const struct xml_element *element, const char *name, uint64_t most,
                          uint64_t *value);
/* Add a node under a name that no sibling of its kind has: "NAME", else "NAME#2", ... */
weft_status nccl_node_add(struct nccl *nccl, struct topology_node *node, uint32_t *index);

/* Everything inside of a cpu element, whose package is @p package. */
weft_status nccl_devices_read(struct nccl *nccl, const struct xml_element *element, uint32_t parent, uint32_t package);
/* After all devices: NVLink, xGMI and C2C. */
weft_status nccl_links_read(struct nccl *nccl);
#endif
