/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Choices that `weft-perf --tune` found to be the fastest, in place of the cost model's.
 *
 * A file holds choices for several transports and numbers of ranks (docs/formats/tuning.md); a tuning is those of one
 * communicator. All its ranks have to read the same: the tuning's hash is part of what they compare before they
 * exchange data. It holds no pointers, and is only read once it has been parsed. Thread: any.
 */
#ifndef COLLECTIVES_SELECT_TUNING_H
#define COLLECTIVES_SELECT_TUNING_H

#include <stddef.h>
#include <stdint.h>
#include <weft/types.h>

#include "base/diagnostic.h"

enum { TUNING_ENTRIES = 512, TUNING_CHANNELS_MOST = 16, TUNING_SLICE_MOST = 16 << 20 };

struct tuning_entry {
    uint64_t from_bytes; /* of the message, or of a block where each rank has one; up to the next entry's */
    weft_collective collective;
    weft_algorithm algorithm;
    uint32_t channel_units, slice_bytes; /* 0: the model's choice */
};

struct tuning {
    uint32_t entry_count;
    uint32_t channel_units_most, slice_bytes_most; /* of all entries */
    uint64_t hash;
    struct tuning_entry entries[TUNING_ENTRIES]; /* by collective and ascending from_bytes */
};

/*
 * What the file says of @p transport among @p rank_count ranks. Pure. WEFT_BAD_FORMAT, with a sentence that names line
 * and column, also for a mistake in an entry of another transport; *tuning is untouched then.
 */
weft_status tuning_parse(const char *name, const char *bytes, size_t size, const char *transport, uint32_t rank_count,
                         struct tuning *tuning, struct diagnostic *diagnostic);
/* The same from a file. WEFT_SYSTEM_ERROR: it cannot be read. */
weft_status tuning_load(const char *path, const char *transport, uint32_t rank_count, struct tuning *tuning,
                        struct diagnostic *diagnostic);

/* NULL: nothing is known of that collective at that size, or @p tuning is NULL. Pure. */
const struct tuning_entry *tuning_find(const struct tuning *tuning, weft_collective collective, uint64_t bytes);
#endif
