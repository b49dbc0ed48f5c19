/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How far apart two things in a host are, by what lies between them. It orders the choice of NICs for GPUs and cores,
 * where bandwidths of single links are often not known.
 *
 * Pure; reads a sealed topology. Thread: any.
 */
#ifndef TOPOLOGY_PROXIMITY_H
#define TOPOLOGY_PROXIMITY_H

#include <stdint.h>

#include "topology/model/model.h"

/*
 * X(KIND, name in JSON, words), nearest first.
 * SAME_BRIDGE      a PCI switch joins them: traffic between them stays off the host bridge
 * SAME_ROOT        they share a PCI host bridge
 * SAME_NUMA        their memory is the same NUMA node
 * SAME_PACKAGE     the same package, other NUMA nodes
 * ACROSS_PACKAGES  the same host, other packages
 * SAME_HOST        the same host; where in it is not visible
 */
#define TOPOLOGY_PROXIMITIES(X)                                                                                        \
    X(SAME_DEVICE, "same_device", "same device")                                                                       \
    X(SAME_BRIDGE, "same_bridge", "same PCI bridge")                                                                   \
    X(SAME_ROOT, "same_root", "same PCI host bridge")                                                                  \
    X(SAME_NUMA, "same_numa_node", "same NUMA node")                                                                   \
    X(SAME_PACKAGE, "same_package", "same package")                                                                    \
    X(ACROSS_PACKAGES, "across_packages", "across packages")                                                           \
    X(SAME_HOST, "same_host", "same host, place unknown")                                                              \
    X(OTHER_HOST, "other_host", "another host")

#define TOPOLOGY_ENUM_PROXIMITY(kind, name, words) PROXIMITY_##kind,
enum topology_proximity { TOPOLOGY_PROXIMITIES(TOPOLOGY_ENUM_PROXIMITY) PROXIMITY_COUNT };
#undef TOPOLOGY_ENUM_PROXIMITY

/* Between two nodes: devices, cores, NUMA nodes or packages. */
enum topology_proximity topology_proximity_between(const weft_topology *topology, uint32_t one, uint32_t other);

/* The NUMA node whose memory @p node is next to; TOPOLOGY_NONE when there are several or none is known. */
uint32_t topology_numa_of(const weft_topology *topology, uint32_t node);

/* The core that has the operating system's CPU @p cpu, or TOPOLOGY_NONE. */
uint32_t topology_core_of(const weft_topology *topology, uint32_t cpu);

const char *topology_proximity_name(enum topology_proximity proximity);  /* "same_bridge" */
const char *topology_proximity_words(enum topology_proximity proximity); /* "same PCI bridge" */
#endif
