/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shared memory between ranks of one host: processes, or threads of one process.
 */
#ifndef TRANSPORT_SHM_H
#define TRANSPORT_SHM_H

#include <stdbool.h>
#include <stdint.h>

#include "base/diagnostic.h"
#include "transport/core/transport.h"

/* Whether the kernel may copy between buffers of this process and of its peers for either side; see README.md. */
enum shm_attach {
    SHM_ATTACH_AUTO,   /* where it lets us */
    SHM_ATTACH_OFF,    /* never */
    SHM_ATTACH_PERMIT, /* and it is asked to let others: any process of this user may then attach to this one */
};

struct shm_config {
    uint32_t rank, rank_count;
    enum shm_attach attach;
    bool apart; /* deal with ranks of this process as with those of others: for tests */
};

/*
 * Make a rank's endpoint. @p rendezvous must give connected Unix stream sockets; its context has to outlive the
 * endpoint. The endpoint maps (TRANSPORT_MAPS), lends (TRANSPORT_LENDS) and can be armed.
 *
 * Costs:   one descriptor, two for each connection, and one for each share; 8 KiB of memory for each connection and
 *          direction, plus what has been touched of the granted region.
 * Owner:   the caller, endpoint_destroy().
 * Threads: endpoints are independent; one thread at a time for each.
 * Fork:    a child gets neither memory nor use of its parent's endpoints; it may make its own.
 * Errors:  WEFT_INVALID_ARGUMENT, WEFT_OUT_OF_MEMORY, WEFT_RESOURCE_LIMIT (descriptors). *endpoint is untouched then.
 */
weft_status shm_endpoint_create(const struct shm_config *config, struct rendezvous rendezvous,
                                struct endpoint **endpoint, struct diagnostic *diagnostic);
#endif
