/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fuzz/reader_target.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    written_fuzz(bytes, size);
    return reader_fuzz(&format_weft_yaml, bytes, size);
}
