/* SPDX-License-Identifier: Apache-2.0 */
/* The two forms of weft_topology_print(), and words that both use. */
#ifndef TOPOLOGY_MODEL_INTERNAL_H
#define TOPOLOGY_MODEL_INTERNAL_H

#include "base/text.h"
#include "topology/model/model.h"

void topology_draw(const weft_topology *topology, struct text *text);
void topology_write_json(const weft_topology *topology, struct text *text);
/* The lines below a NIC that has an RDMA device, each behind @p margin; nothing for others. */
void rdma_draw(const weft_topology *topology, uint32_t nic, const char *margin, struct text *text);
/* The key "rdma" of a NIC that has one. */
void rdma_write_json(const weft_topology *topology, uint32_t nic, struct text *text);
weft_topology_counts topology_counts(const weft_topology *topology);
/* "0000:17:00.0", at most 24 bytes with the terminator. */
void pci_address_format(const struct pci_identity *pci, char address[24]);
#endif
