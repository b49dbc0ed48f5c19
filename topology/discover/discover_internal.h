/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TOPOLOGY_DISCOVER_INTERNAL_H
#define TOPOLOGY_DISCOVER_INTERNAL_H

#include <hwloc.h>

#include "topology/discover/nvml.h"
#include "topology/model/model.h"

/* One walk over hwloc's objects. */
struct discovery {
    hwloc_topology_t hwloc;
    const char *sysfs;              /* NULL: not this machine */
    const struct nvml_report *nvml; /* or NULL */
    weft_topology *topology;
    uint32_t *packages; /* node index by hwloc's logical index; TOPOLOGY_NONE: none */
    uint32_t *numa_nodes;
    uint32_t package_count, numa_count;
};

/* Is @p object, or anything behind it, a device that belongs into a topology? */
bool device_leads_to_one(const struct discovery *discovery, hwloc_obj_t object);
/* Is one of @p object's functions, or of those behind it, a GPU that NVML may know? */
bool device_leads_to_nvidia_gpu(hwloc_obj_t object);
/*
 * Add a PCI function, PCI bridge or bare operating system device under @p parent, with its link. Returns the new node,
 * or @p parent when @p object is nothing that belongs into a topology.
 */
uint32_t device_add(struct discovery *discovery, hwloc_obj_t object, uint32_t parent);

/*
 * Add the NVLinks between the GPUs and NVSwitches of @p topology that @p report tells of, and to @p host the NVSwitches
 * that are not on its bus. Running out of memory is remembered in the topology.
 */
void nvml_links_add(weft_topology *topology, uint32_t host, const struct nvml_report *report);

/* Where to read about RDMA devices, and which of them the person wants to be used. */
struct rdma_source {
    const char *sysfs;   /* where /sys is mounted */
    const char *devices; /* where /dev is */
    const char *filter;  /* as rdma_filter_allows() takes it */
};

/*
 * Tell the NICs of @p topology about their RDMA devices; a device without a NIC adds one to @p host. Running out of
 * memory is remembered in the topology.
 */
void rdma_devices_add(weft_topology *topology, uint32_t host, const struct rdma_source *source);

/* First line of a file, without its end; false when there is none. */
__attribute__((format(printf, 3, 4))) bool sysfs_line(char *line, size_t size, const char *format, ...);
/* Generation (1 to 6) and width that a PCI function and the port above it agree on; false when they do not tell. */
bool sysfs_pci_link(const char *sysfs, const struct pci_identity *pci, uint32_t *generation, uint32_t *lane_count);
/* Line rate of a network interface or of an RDMA device's port, in bytes per second; unknown if it has none. */
struct figure sysfs_interface_bandwidth(const char *sysfs, const char *interface);
struct figure sysfs_verbs_bandwidth(const char *sysfs, const char *device, uint32_t port);
#endif
