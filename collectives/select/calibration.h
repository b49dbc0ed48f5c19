/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Figures of this machine's transports that `weft-perf --calibrate` measured, kept in a file between runs.
 *
 * All ranks of a communicator must price with equal figures, or they would choose different plans. So a file in a
 * user's cache is taken only where all ranks are on its host; for ranks of several hosts WEFT_CALIBRATION names one
 * that all of them read. The figures are part of what ranks compare before they exchange data: ranks that read
 * different files end with a mismatch that names them, never with different plans.
 *
 * The file is JSON, docs/formats/calibration.md. It is written beside its place and renamed into it.
 */
#ifndef COLLECTIVES_SELECT_CALIBRATION_H
#define COLLECTIVES_SELECT_CALIBRATION_H

#include <stdbool.h>
#include <stddef.h>
#include <weft/topology.h>

#include "base/diagnostic.h"
#include "collectives/select/select.h"

enum { CALIBRATION_TRANSPORTS = 3, CALIBRATION_TEXT = 128, CALIBRATION_PATH = 1024 };
extern const char *const calibration_transports[CALIBRATION_TRANSPORTS]; /* "shm", "tcp", "verbs" */

struct calibration {
    char host[CALIBRATION_TEXT]; /* calibration_host() of where it was measured */
    char date[CALIBRATION_TEXT]; /* ISO 8601, UTC */
    struct calibration_figures {
        bool present;
        double message_ns, message_spread_ns, byte_ns, byte_spread_ns;
        uint32_t samples;
        /* 0: not measured. As in weft_calibration. */
        double lone_byte_ns, lone_byte_spread_ns;
        double round_ns, round_spread_ns, cell_byte_ns, cell_byte_spread_ns;
        double copy_ns, copy_spread_ns, copy_byte_ns, copy_byte_spread_ns;
        double exchange_ns;
    } figures[CALIBRATION_TRANSPORTS];
};

/* Pure. WEFT_BAD_FORMAT, with a sentence that names line and column; *calibration is untouched then. */
weft_status calibration_parse(const char *name, const char *bytes, size_t size, struct calibration *calibration,
                              struct diagnostic *diagnostic);

/* WEFT_CALIBRATION, else weft/calibration.json in XDG_CACHE_HOME or ~/.cache; "" when there is none, or "0". */
void calibration_path(char path[CALIBRATION_PATH]);
/* Was the path named by WEFT_CALIBRATION? */
bool calibration_is_named(void);
/* What tells this machine from another: name, kernel's machine, number of processors. */
void calibration_host(char host[CALIBRATION_TEXT]);
/* WEFT_SYSTEM_ERROR: there is none, or it cannot be read. */
weft_status calibration_load(const char *path, struct calibration *calibration, struct diagnostic *diagnostic);

/*
 * @p built_in with the figures measured for @p transport, if there are any; the most uncertain of them is the model's
 * doubt. @p source has room for CALIBRATION_PATH.
 */
bool calibration_apply(const struct calibration *calibration, const char *transport, const struct cost_model *built_in,
                       struct cost_model *model, char *source);
#endif
