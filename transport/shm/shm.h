/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shared memory between ranks of one host: processes, or threads of one process.
 */
#ifndef TRANSPORT_SHM_H
#define TRANSPORT_SHM_H

#include <stdint.h>

#include "base/diagnostic.h"
#include "transport/core/transport.h"

/*
 * Make rank @p rank's endpoint. @p rendezvous must give connected Unix stream sockets; its context has to outlive the
 * endpoint. The endpoint maps (TRANSPORT_MAPS) and can be armed.
 *
 * Costs:   one descriptor, and two for each connection; 8 KiB of memory for each connection and direction, plus what
 *          has been touched of the granted region.
 * Owner:   the caller, endpoint_destroy().
 * Threads: endpoints are independent; one thread at a time for each.
 * Fork:    a child gets neither memory nor use of its parent's endpoints; it may make its own.
 * Errors:  WEFT_INVALID_ARGUMENT, WEFT_OUT_OF_MEMORY, WEFT_RESOURCE_LIMIT (descriptors). *endpoint is untouched then.
 */
weft_status shm_endpoint_create(uint32_t rank, uint32_t rank_count, struct rendezvous rendezvous,
                                struct endpoint **endpoint, struct diagnostic *diagnostic);
#endif
