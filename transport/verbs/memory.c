/* SPDX-License-Identifier: Apache-2.0 */
/* Memory registered with all ports of an endpoint. */
#include <errno.h>
#include <stdlib.h>

#include "transport/verbs/verbs_internal.h"

struct registration {
    struct ibv_mr *regions[VERBS_MAX_RAILS]; /* by port; NULL: the device is gone */
};

weft_status verbs_memory_register(struct endpoint *base, void *address, size_t bytes, void **out,
                                  struct diagnostic *diagnostic)
{
    struct verbs_endpoint *endpoint = verbs_endpoint_of(base);
    struct registration *made = calloc(1, sizeof *made);

    if (!made) return diagnose(diagnostic, WEFT_OUT_OF_MEMORY, "no memory for a registration");
    for (uint32_t i = 0; i < endpoint->port_count; i++) {
        const struct verbs_device *device = endpoint->ports[i].device;
        if (atomic_load_explicit(&device->removed, memory_order_relaxed)) continue;
        /* Sources only: a peer writes granted regions and nothing else. Read-only memory is a source too. */
        made->regions[i] = ibv_reg_mr(device->pd, address, bytes, 0);
        if (made->regions[i]) continue;
        const int error = errno;
        verbs_memory_deregister(base, made);
        if (error == EFAULT)
            return diagnose(diagnostic, WEFT_INVALID_ARGUMENT, "no memory of %zu bytes at %p", bytes, address);
        return verbs_registration_failed(diagnostic, device->name, bytes, error);
    }
    *out = made;
    return WEFT_OK;
}

void verbs_memory_deregister(struct endpoint *base, void *registration)
{
    struct registration *made = registration;

    (void)base;
    for (uint32_t i = 0; i < VERBS_MAX_RAILS; i++) {
        if (made->regions[i]) (void)ibv_dereg_mr(made->regions[i]);
    }
    free(made);
}

const struct ibv_mr *verbs_registered_region(void *registration, const struct verbs_port *port)
{
    const struct registration *made = registration;

    return made ? made->regions[port - port->endpoint->ports] : NULL;
}
