/* SPDX-License-Identifier: Apache-2.0 */
/* One call of the measured collective: what it reads and writes, and which parts of the pattern those are. */
#ifndef TOOLS_CALLS_H
#define TOOLS_CALLS_H

#include "tools/perf/pattern.h"
#include "tools/perf/perf.h"

/* One rank's part in a collective over blocks of @c count elements. */
struct call_site {
    weft_comm *comm;
    const struct perf_options *options;
    uint32_t rank, rank_count;
    uint64_t count;
    uint8_t *send, *recv;                   /* where the call's buffers begin */
    uint64_t *block_counts, *block_offsets; /* all_to_allv: one per rank each */
};

/* Set the site's buffers: in place both are in @p first, and where one side is a block of the other, at this rank's. */
void call_place(struct call_site *site, uint8_t *first, uint8_t *second, bool in_place);
/* Fresh input, and an output that is wrong all over. */
void call_prepare(const struct call_site *site, const struct pattern *pattern);
weft_status call_make(const struct call_site *site);
/* Wrong elements of this rank's output. */
uint64_t call_wrong(const struct call_site *site, const struct pattern *pattern);
#endif
