/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "collectives/select/tuning.h"
#include "tests/fuzz/target.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static struct tuning tuning, untouched;
    struct diagnostic diagnostic = {0};
    memset(&tuning, 0x5a, sizeof tuning);
    memset(&untouched, 0x5a, sizeof untouched);
    weft_status status = tuning_parse("input", (const char *)bytes, size, "shm", 2, &tuning, &diagnostic);
    PROMISE(status == WEFT_OK || status == WEFT_BAD_FORMAT || status == WEFT_OUT_OF_MEMORY);
    PROMISE((diagnostic.text[0] != '\0') == (status != WEFT_OK));
    if (status != WEFT_OK) {
        PROMISE(memcmp(&tuning, &untouched, sizeof tuning) == 0);
        return 0;
    }
    PROMISE(tuning.entry_count <= TUNING_ENTRIES);
    for (uint32_t i = 0; i < tuning.entry_count; i++) {
        const struct tuning_entry *entry = &tuning.entries[i], *next = entry + 1;
        PROMISE((unsigned)entry->collective < WEFT_COLLECTIVE_COUNT);
        PROMISE(entry->algorithm > WEFT_ALGORITHM_AUTO && entry->algorithm < WEFT_ALGORITHM_COUNT);
        PROMISE(entry->channel_units <= tuning.channel_units_most && entry->channel_units <= TUNING_CHANNELS_MOST);
        PROMISE(entry->slice_bytes <= tuning.slice_bytes_most && entry->slice_bytes <= TUNING_SLICE_MOST);
        PROMISE(tuning_find(&tuning, entry->collective, entry->from_bytes) == entry);
        if (i + 1 == tuning.entry_count) break;
        PROMISE(entry->collective < next->collective ||
                (entry->collective == next->collective && entry->from_bytes < next->from_bytes));
    }
    return 0;
}
