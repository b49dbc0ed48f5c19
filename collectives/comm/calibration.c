/* SPDX-License-Identifier: Apache-2.0 */
/* Measured figures in place of the built-in ones, where all ranks are sure to read the same. */
#include "collectives/select/calibration.h"

#include <string.h>

#include "base/log.h"
#include "collectives/comm/comm_internal.h"

static const char *transport_of(const struct cost_model *built_in)
{
    return built_in == &cost_model_shm ? "shm" : built_in == &cost_model_tcp ? "tcp" : "verbs";
}

void comm_model_calibrate(struct weft_comm *comm)
{
    char path[CALIBRATION_PATH], host[CALIBRATION_TEXT];
    struct calibration calibration;
    struct diagnostic diagnostic = {0};
    bool one_host = comm->local_rank_count == comm->identity.rank_count;
    calibration_path(path);
    if (!path[0] || (!one_host && !calibration_is_named())) return;
    weft_status status = calibration_load(path, &calibration, &diagnostic);
    if (status != WEFT_OK) {
        if (calibration_is_named()) log_warning("calibration not used: %s", diagnostic.text);
        return;
    }
    calibration_host(host);
    if (!calibration_is_named() && strcmp(host, calibration.host) != 0) {
        log_info("calibration not used: %s is of %s, this is %s", path, calibration.host, host);
        return;
    }
    if (calibration_apply(&calibration, transport_of(comm->model), comm->model, &comm->measured_model,
                          comm->measured_source))
        comm->model = &comm->measured_model;
}
