/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <string.h>

#include "collectives/select/calibration.h"
#include "tests/fuzz/target.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct calibration calibration, untouched;
    struct diagnostic diagnostic = {0};
    memset(&calibration, 0x5a, sizeof calibration);
    memset(&untouched, 0x5a, sizeof untouched);
    weft_status status = calibration_parse("input", (const char *)bytes, size, &calibration, &diagnostic);
    PROMISE(status == WEFT_OK || status == WEFT_BAD_FORMAT || status == WEFT_OUT_OF_MEMORY);
    PROMISE((diagnostic.text[0] != '\0') == (status != WEFT_OK));
    if (status != WEFT_OK) {
        PROMISE(memcmp(&calibration, &untouched, sizeof calibration) == 0);
        return 0;
    }
    PROMISE(memchr(calibration.host, '\0', sizeof calibration.host));
    PROMISE(memchr(calibration.date, '\0', sizeof calibration.date));
    for (int i = 0; i < CALIBRATION_TRANSPORTS; i++) {
        const struct calibration_figures *figures = &calibration.figures[i];
        if (!figures->present) continue;
        PROMISE(isfinite(figures->message_ns) && figures->message_ns > 0);
        PROMISE(isfinite(figures->byte_ns) && figures->byte_ns > 0);
        PROMISE(figures->message_spread_ns >= 0 && figures->byte_spread_ns >= 0);
        const double optional[] = {figures->lone_byte_ns, figures->round_ns,     figures->cell_byte_ns,
                                   figures->copy_ns,      figures->copy_byte_ns, figures->exchange_ns};
        for (size_t k = 0; k < sizeof optional / sizeof *optional; k++)
            PROMISE(isfinite(optional[k]) && optional[k] >= 0);
    }
    return 0;
}
