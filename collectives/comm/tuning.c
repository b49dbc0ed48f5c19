/* SPDX-License-Identifier: Apache-2.0 */
/* Measured choices in place of the cost model's, from a file that all ranks are to read. */
#include "collectives/select/tuning.h"

#include <stdlib.h>

#include "base/config.h"
#include "collectives/comm/comm_internal.h"

weft_status comm_tune(struct weft_comm *comm, struct diagnostic *diagnostic)
{
    const char *path = config_get()->tuning;
    if (!path[0]) return WEFT_OK;
    struct tuning *tuning = malloc(sizeof *tuning);
    if (!tuning) return diagnose(diagnostic, WEFT_OUT_OF_MEMORY, "no memory for a tuning");
    /* It was asked for by name: a rank that goes on without would only be found to disagree with the others. */
    weft_status status = tuning_load(path, comm->endpoint->ops->name, comm->identity.rank_count, tuning, diagnostic);
    if (status) {
        free(tuning);
        return status;
    }
    comm->tuning = tuning;
    comm->measured_model = *comm->model;
    comm->measured_model.tuning = tuning;
    comm->model = &comm->measured_model;
    return WEFT_OK;
}
