/* SPDX-License-Identifier: Apache-2.0 */
/* The two forms of weft_topology_print(), and words that both use. */
#ifndef TOPOLOGY_MODEL_INTERNAL_H
#define TOPOLOGY_MODEL_INTERNAL_H

#include "base/text.h"
#include "topology/model/model.h"

/* Of topology->notes; more are only counted. */
enum { NOTES_KEPT = 100 };

void topology_draw(const weft_topology *topology, struct text *text);
void topology_write_json(const weft_topology *topology, struct text *text);
weft_topology_counts topology_counts(const weft_topology *topology);
/* "0000:17:00.0", at most 24 bytes with the terminator. */
void pci_address_format(const struct pci_identity *pci, char address[24]);
#endif
