/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Descriptions of machines and fabrics, written by others and by weft, turned into a topology/model graph. Which of
 * the formats a description is in is seen from its bytes, never from its name.
 *
 * Pure: what is read is a buffer; there is no I/O, no clock, no thread and no state between calls.
 * Owner: the caller owns the buffer, which is read during the call alone, and the topology it gets.
 * Errors: the first one, as "NAME:LINE:COLUMN: what was found; expected what"; nothing half-read is given back.
 */
#ifndef TOPOLOGY_FORMAT_H
#define TOPOLOGY_FORMAT_H

#include "base/diagnostic.h"
#include "topology/model/model.h"

/* No description of a machine or of a fabric of ten thousand hosts comes near it; more is refused unread. */
#define FORMAT_BYTES_MAX ((size_t)64 << 20)
/* Of a name or any other text in a topology that was read; longer ones are cut. */
enum { FORMAT_TEXT_BYTES_MAX = 255 };

/*
 * Read a description in any format of format_readers(). @p name is what messages call it (a path).
 * WEFT_BAD_FORMAT: in no format that is known, or not what its format says; WEFT_UNSUPPORTED: known, but not a
 * description of a topology (it is named), or too large; WEFT_OUT_OF_MEMORY. *topology is sealed; untouched on error.
 */
weft_status topology_read(const char *name, const uint8_t *bytes, size_t size, weft_topology **topology,
                          struct diagnostic *diagnostic);

struct format_source {
    const char *name;
    const uint8_t *bytes; /* not terminated; never NULL, even when size is 0 */
    size_t size;
};

/* One format. Rows of format_readers(), in the order in which equally sure ones are preferred. */
struct format_reader {
    const char *name;  /* "nccl_topology_xml": one word for programs */
    const char *title; /* "NCCL topology XML": for a person */
    /* How sure the beginning of the bytes makes it, 0 (it is not) to 100; cheap, and safe on anything. */
    unsigned (*recognise)(const struct format_source *source);
    /* Build into an empty topology, which the caller seals or throws away. NULL: known in order to be refused by name.
     */
    weft_status (*read)(const struct format_source *source, weft_topology *topology, struct diagnostic *diagnostic);
};

/* All formats; those that are only known in order to be refused come last. */
const struct format_reader *const *format_readers(size_t *count);
/* The surest of them, NULL when none is. */
const struct format_reader *format_recognise(const struct format_source *source);
#endif
