/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One line of the PMI-1 wire protocol: "cmd=NAME field=value field=value\n". Source: Balaji et al., "PMI: A Scalable
 * Parallel Process-Management Interface for Extreme-Scale Systems" (EuroMPI 2010), and the lines that Debian's
 * mpiexec.hydra 4.0.2 and slurm 22.05 were seen to write.
 */
#ifndef FABRIC_LAUNCH_PMI1_LINE_H
#define FABRIC_LAUNCH_PMI1_LINE_H

#include <stddef.h>
#include <weft/types.h>

#include "base/diagnostic.h"

enum {
    PMI1_LINE_BYTES = 4096, /* with the line end: a value is at most 1024 in the launchers named above */
    PMI1_FIELDS_MAX = 16,
};

struct pmi1_line {
    char text[PMI1_LINE_BYTES];
    size_t count;
    struct {
        const char *name, *value; /* in text; the first is "cmd" */
    } fields[PMI1_FIELDS_MAX];
};

/*
 * Take @p size bytes apart, the last of which is the line end and the only one. WEFT_PROTOCOL_ERROR with a sentence for
 * anything but printable fields of distinct names that begin with cmd. Pure. Thread: any.
 */
weft_status pmi1_line_parse(struct pmi1_line *line, const char *bytes, size_t size, struct diagnostic *diagnostic);

/* The value of a field, or NULL. */
const char *pmi1_line_field(const struct pmi1_line *line, const char *name);
#endif
