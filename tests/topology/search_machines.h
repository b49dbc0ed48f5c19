/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Machines built through the model, one call each; the caller destroys them. A bandwidth of 0 is a figure that nobody
 * knows.
 */
#ifndef TESTS_TOPOLOGY_SEARCH_MACHINES_H
#define TESTS_TOPOLOGY_SEARCH_MACHINES_H

#include "topology/model/model.h"

uint32_t machine_add(weft_topology *topology, enum node_kind kind, uint32_t parent, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
void machine_link(weft_topology *topology, enum link_kind kind, uint32_t from, uint32_t to, double bandwidth);
/* Different each way. */
void machine_link_uneven(weft_topology *topology, enum link_kind kind, uint32_t from, uint32_t to, double bandwidth,
                         double reverse_bandwidth);
weft_topology *machine_seal(weft_topology *topology);

/* GPUs of one host by direct links of one bandwidth, counted by pair (only where the first is below the second). */
weft_topology *machine_direct(uint32_t gpu_count, const uint8_t *link_counts, double link_bandwidth);
/* DGX-1V: hybrid cube mesh of 24 NVLinks; bandwidth of one each way. */
weft_topology *machine_dgx1v(double link_bandwidth);
/* Every pair of GPUs by one link. */
weft_topology *machine_complete(uint32_t gpu_count, double link_bandwidth);
/* AMD's 8-GPU box of three xGMI links a GPU. */
weft_topology *machine_xgmi8(double link_bandwidth);

/*
 * Boxes of GPUs behind one NVSwitch, a NIC beside each GPU on a PCI bridge of their own, and a fabric: NICs of one rail
 * (all first ones, all second ones, ...) on one switch each, and rails joined by `spine_bandwidth` each way (0: no
 * spine).
 */
struct boxes {
    uint32_t box_count, gpus_per_box;
    double nvlink_bandwidth, nic_bandwidth, spine_bandwidth;
    bool one_switch; /* all NICs on one switch instead of rails */
};
weft_topology *machine_boxes(const struct boxes *boxes);

/*
 * Hosts without GPUs on a two-level fat tree, each leaf with one link to every spine. @p scattered: neighbours in the
 * topology's order are on different leaves.
 */
weft_topology *machine_fat_tree(uint32_t leaf_count, uint32_t hosts_per_leaf, uint32_t spine_count, double bandwidth,
                                bool scattered);

/* The nodes of some GPUs by number, for a search over those alone. */
void machine_gpus(const weft_topology *topology, const uint32_t *numbers, uint32_t count, uint32_t *nodes);
#endif
