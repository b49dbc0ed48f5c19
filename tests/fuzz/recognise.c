/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "tests/fuzz/target.h"
#include "topology/format/format_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    const struct format_source source = {"input", bytes ? bytes : (const uint8_t *)"", size};
    size_t count;
    const struct format_reader *const *readers = format_readers(&count), *best = format_recognise(&source);
    for (size_t i = 0; i < count; i++) {
        unsigned sure = readers[i]->recognise(&source);
        PROMISE(sure <= 100);
        PROMISE(best || sure == 0);
        PROMISE(!best || sure <= best->recognise(&source));
    }
    /* Whatever it is, it is read or refused, and a refusal says which file and why. */
    struct diagnostic diagnostic = {0};
    weft_topology *topology = NULL;
    weft_status status = topology_read("input", bytes, size, &topology, &diagnostic);
    PROMISE(status == WEFT_OK || status == WEFT_BAD_FORMAT || status == WEFT_UNSUPPORTED ||
            status == WEFT_OUT_OF_MEMORY);
    PROMISE((topology != NULL) == (status == WEFT_OK));
    PROMISE(status == WEFT_OK || strncmp(diagnostic.text, "input", 5) == 0 || status == WEFT_OUT_OF_MEMORY);
    weft_topology_destroy(topology);
    return 0;
}
