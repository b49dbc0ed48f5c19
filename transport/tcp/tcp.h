/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TCP between ranks: a framed stream over several sockets ("lanes") per peer, received straight into its destination.
 */
#ifndef TRANSPORT_TCP_H
#define TRANSPORT_TCP_H

#include <stdint.h>

#include "base/diagnostic.h"
#include "transport/core/transport.h"

#define TCP_MAX_LANES 16u
/* One lane is the fastest where one thread serves them all; docs/design/tcp.md has the figures. */
#define TCP_DEFAULT_LANES 1u

struct tcp_config {
    uint32_t rank, rank_count;
    uint32_t lanes; /* to each peer, at most TCP_MAX_LANES; 0: TCP_DEFAULT_LANES. The lower rank's number counts. */
    uint32_t socket_buffer_bytes; /* SO_SNDBUF and SO_RCVBUF; 0: the kernel sizes them as the path needs */
    enum tcp_references {
        TCP_REFER_WHERE_COPIES_ARE_SLOW, /* over loopback, as sends turn out to be */
        TCP_REFER_ALWAYS,                /* for tests: connections want steady memory from the start */
        TCP_REFER_NEVER,
    } references;          /* to the memory of PUT_STEADY, instead of a copy of it */
    uint64_t keepalive_ns; /* a peer's kernel that answers nothing for so long is gone; 0: wait for ever. The kernel
                              counts seconds, so an idle connection may take up to 3 s more. */
    uint64_t linger_ns;    /* longest that disconnect() and endpoint_destroy() wait for accepted puts to leave */
};

/*
 * Make a rank's endpoint. @p rendezvous must give connected stream sockets, as many to each peer as there are lanes;
 * its context has to outlive the endpoint. The endpoint does not map; it can be armed. Puts of one path go by one lane;
 * different paths go round the lanes.
 *
 * LOCAL_DONE: the kernel has a copy. It says nothing of the peer.
 *
 * Costs:   one descriptor, one for each lane, and about 24 KiB of memory for each lane, plus what has been touched of
 *          the granted regions.
 * Owner:   the caller, endpoint_destroy().
 * Threads: endpoints are independent; one thread at a time for each.
 * Fork:    a child must not use its parent's endpoints; it may make its own. As long as it holds the parent's sockets
 *          open, the parent's death is not seen on them.
 * Errors:  WEFT_INVALID_ARGUMENT, WEFT_OUT_OF_MEMORY, WEFT_RESOURCE_LIMIT (descriptors). *endpoint is untouched then.
 */
weft_status tcp_endpoint_create(const struct tcp_config *config, struct rendezvous rendezvous,
                                struct endpoint **endpoint, struct diagnostic *diagnostic);
#endif
