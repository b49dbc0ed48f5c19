/* SPDX-License-Identifier: Apache-2.0 */
/* What several formats say about PCI devices and the links between GPUs, and data sheets' figures for them. */
#ifndef TOPOLOGY_FORMAT_PCI_H
#define TOPOLOGY_FORMAT_PCI_H

#include "topology/format/format_internal.h"

/* "0000:17:00.0": domain (up to 8 hexadecimal digits), bus, device, function; false if it is not one. */
bool pci_address_read(struct span span, struct pci_identity *pci);
/* "0000:17:00.0", at most 24 bytes with the end. */
void pci_address_write(const struct pci_identity *pci, char address[24]);

/* What a PCI class code makes a device (PCI Code and ID Assignment): a bridge, a GPU, a NIC, an NVSwitch, a PCI_DEVICE.
 */
enum node_kind pci_class_kind(uint32_t class_code);
/*
 * What a function among all of a machine's is, from base class and subclass (0x0302) and vendor: a GPU, a NIC, an
 * NVSwitch, or NODE_KIND_COUNT for what no topology has, such as a management processor's display.
 */
enum node_kind pci_function_kind(uint32_t class_id, uint16_t vendor_id);

/*
 * A link of a lane rate in GT/s (2.5, 5, 8, 16, 32, 64) and a width of 1 to 32: its name ("PCIe 4.0 x16") and what it
 * delivers each way, marked as a data sheet's. False: no such rate; a lane's data rate in GB/s, as hwloc states it, is
 * none of them.
 */
bool pci_link_describe(double lane_rate_gts, uint32_t width, char name[24], struct figure *bandwidth);

/* One way over one xGMI link of a GPU of this architecture ("gfx90a", or RCCL's "910"); unknown where no data sheet
 * says. */
struct figure xgmi_bandwidth(const char *architecture);
#endif
