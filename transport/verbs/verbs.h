/* SPDX-License-Identifier: Apache-2.0 */
/*
 * RDMA verbs between ranks: puts are RDMA writes over reliable connected queue pairs, several ("lanes") on each of
 * several devices ("rails") to each peer. transport/verbs/ledger.h says how they make one connection.
 */
#ifndef TRANSPORT_VERBS_H
#define TRANSPORT_VERBS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/diagnostic.h"
#include "transport/core/transport.h"

#define VERBS_MAX_RAILS 8u
#define VERBS_MAX_LANES_PER_RAIL 4u
#define VERBS_DEVICE_NAME_BYTES 64u

/* One port of a device of this host. */
struct verbs_rail {
    char device[VERBS_DEVICE_NAME_BYTES]; /* "mlx5_0" */
    uint32_t port;                        /* from 1 */
    struct sockaddr_storage address;      /* IPv4 or IPv6, of the port's network interface; what it stands for decides
                                             the GID */
    double bandwidth; /* bytes a second, in proportion to which rails share large puts; 0: unknown */
};

/* Where sources may lie that need not be copied. */
struct verbs_memory {
    /*
     * What memory_register() gave for a range that covers these bytes, and that stays until the put is complete; or
     * NULL. Asked for each put that is not small, on the endpoint's thread.
     */
    void *(*find)(void *context, const void *source, size_t bytes);
    void *context; /* outlives the endpoint */
};

/* All that is 0 stands for the default. */
struct verbs_config {
    uint32_t rank, rank_count;
    uint8_t key[32];                /* the job's, which nobody else has: both ends prove by it who they are */
    const struct verbs_rail *rails; /* copied */
    uint32_t rail_count;
    struct verbs_memory memory;
    uint32_t lanes_per_rail; /* queue pairs to each peer on each rail; the lower of both ends' counts */
    uint32_t depth;          /* notifications of a lane that nobody has polled, a power of two */
    uint32_t send_depth;     /* work requests of a lane that are posted */
    uint32_t inline_bytes;   /* most that goes with its request; 0: what the device takes, up to 220 */
    uint32_t stripe_bytes;   /* puts from this size on are shared by all rails */
    uint32_t staging_bytes;  /* registered memory for sources that are not, of the whole endpoint */
    uint8_t traffic_class;   /* of RoCE packets: DSCP << 2 | ECN */
    uint8_t service_level;
    uint16_t pkey_index;   /* P_Key, by its index in the port's table */
    uint8_t timeout;       /* of an acknowledgement: 4.096 us << timeout, 1 to 31 */
    uint8_t retry_count;   /* 1 to 7 */
    uint64_t keepalive_ns; /* a peer's host that answers nothing for so long is gone; 0: wait for ever */
    uint64_t linger_ns;    /* longest that disconnect() waits for accepted puts to arrive */
    uint64_t reconnect_ns; /* between attempts to get a lost rail back */
};

/*
 * Make a rank's endpoint. @p rendezvous must give connected stream sockets, one to each peer; its context has to
 * outlive the endpoint. The endpoint does not map; it can be armed. A path is a lane's; large puts are on all rails at
 * once.
 *
 * LOCAL_DONE: the source was copied, or the peer's device has acknowledged the bytes.
 *
 * Costs:   for each device a completion queue and staging_bytes of locked memory; for each peer a descriptor, its
 * granted region in locked memory, and some 40 KiB for each lane. Owner:   the caller, endpoint_destroy(). Threads:
 * endpoints are independent; one thread at a time for each. Devices are opened once per process. Fork:    a child must
 * not use its parent's endpoints; it may make its own. Errors:  WEFT_INVALID_ARGUMENT, WEFT_OUT_OF_MEMORY,
 * WEFT_RESOURCE_LIMIT (descriptors, locked memory), WEFT_UNSUPPORTED (no such device), WEFT_SYSTEM_ERROR. *endpoint is
 * untouched then.
 */
weft_status verbs_endpoint_create(const struct verbs_config *config, struct rendezvous rendezvous,
                                  struct endpoint **endpoint, struct diagnostic *diagnostic);
#endif
