/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One endpoint out of several: each peer is reached over the transport that the caller chooses for it, such as shared
 * memory on this host and TCP to others. Connections are the chosen transport's own, so nothing is added to a put.
 */
#ifndef TRANSPORT_ROUTE_H
#define TRANSPORT_ROUTE_H

#include "transport/core/transport.h"

#define ROUTE_LIMIT 4u

struct route_config {
    uint32_t rank, rank_count;
    struct endpoint *routes[ROUTE_LIMIT]; /* taken over: endpoint_destroy() destroys them */
    uint32_t route_count;
    uint32_t (*choose)(void *context, uint32_t peer); /* index below route_count; the same at both ends */
    void *context;                                    /* outlives the endpoint */
};

/*
 * Owner: the caller, endpoint_destroy(). Threads: one at a time. Capabilities are those that all routes have; whether a
 * connection maps or lends is asked of the connection. Memory is shared with the peers of the one route that lends.
 * Errors: WEFT_INVALID_ARGUMENT, WEFT_OUT_OF_MEMORY, WEFT_RESOURCE_LIMIT (descriptors): nothing is taken over.
 */
weft_status route_endpoint_create(const struct route_config *config, struct endpoint **endpoint);
#endif
