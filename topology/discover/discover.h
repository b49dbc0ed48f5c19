/* SPDX-License-Identifier: Apache-2.0 */
/* What weft_topology_discover() is made of, for readers of captured machines and for tests. */
#ifndef TOPOLOGY_DISCOVER_H
#define TOPOLOGY_DISCOVER_H

#include <hwloc.h>
#include <stdbool.h>
#include <weft/topology.h>

#include "base/diagnostic.h"
#include "topology/discover/nvml.h"

/* Ask @p hwloc, before it is loaded, for what topology_from_hwloc() reads, without starting any device's driver. */
bool topology_hwloc_configure(hwloc_topology_t hwloc);

/*
 * Turn a loaded hwloc topology into a sealed graph. @p sysfs is where this machine's /sys is mounted, or NULL when
 * @p hwloc is of another machine: PCI speeds then come from what hwloc kept. @p nvml is what NVML says of the same
 * machine, or NULL: no NVLinks then, and every GPU on the bus is there.
 *
 * Owner:  the caller, weft_topology_destroy(). @p hwloc is only read.
 * Thread: any.
 * Errors: WEFT_OUT_OF_MEMORY; WEFT_BAD_FORMAT when hwloc's objects make no sound topology.
 */
weft_status topology_from_hwloc(hwloc_topology_t hwloc, const char *sysfs, const struct nvml_report *nvml,
                                weft_topology **topology, struct diagnostic *diagnostic);
#endif
