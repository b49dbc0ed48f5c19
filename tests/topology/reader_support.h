/* SPDX-License-Identifier: Apache-2.0 */
/* Reading text and fixtures in tests, and finding things in what came of it. */
#ifndef TESTS_TOPOLOGY_READER_SUPPORT_H
#define TESTS_TOPOLOGY_READER_SUPPORT_H

#include "topology/format/format.h"

/* The whole file, one byte more than its size and zero there; the test fails if there is none. To be freed. */
uint8_t *file_bytes(const char *path, size_t *size);

/* Read a description that has to be right, and be recognised as @p format ("ibsim"). */
weft_topology *must_read(const char *format, const char *text);
weft_topology *must_read_file(const char *format, const char *path);
/* Read one that has to be refused: with a sentence that holds @p words. */
void must_refuse(const char *text, const char *words);

struct expected_counts {
    uint32_t hosts, gpus, nics, switches, links;
};
void expect_counts(const weft_topology *topology, struct expected_counts expected);
/* The one node of this kind and name; the test fails if there is none or another. */
uint32_t node_named(const weft_topology *topology, enum node_kind kind, const char *name);
/* The first link between two nodes; the test fails if there is none. */
const struct topology_link *link_between(const weft_topology *topology, uint32_t one, uint32_t other);
uint32_t count_links(const weft_topology *topology, enum link_kind kind);
bool has_note(const weft_topology *topology, const char *words);

/*
 * Cut the file at every 64th of its length: what is left is read or refused, never half of it taken silently for more
 * than it says: no more of anything than in the whole. Returns how many of the 64 were read.
 */
uint32_t cut_everywhere(const char *path);
#endif
