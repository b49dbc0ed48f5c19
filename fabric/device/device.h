/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The RDMA ports of this machine that may be used, nearest first: what a transport opens, without a word about how it
 * does that (no libibverbs in here).
 *
 * Units: bytes per second. Thread: any; everything given is only read.
 */
#ifndef FABRIC_DEVICE_H
#define FABRIC_DEVICE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/diagnostic.h"
#include "topology/model/model.h"
#include "topology/model/proximity.h"

/* IBV_SYSFS_NAME_MAX and IF_NAMESIZE, which this header need not include. */
enum { DEVICE_NAME_BYTES = 64, DEVICE_INTERFACE_BYTES = 16 };

/* One port of an RDMA device, with the entry of its address table that connections over it use. */
struct device_port {
    char device[DEVICE_NAME_BYTES];         /* "mlx5_0" */
    char interface[DEVICE_INTERFACE_BYTES]; /* the network interface of its addresses, "" if it has none */
    uint32_t port;                          /* from 1 */
    bool ethernet;                          /* RoCE v2; else InfiniBand */
    uint32_t gid_index;
    uint8_t gid[16];
    double bandwidth;                  /* line rate; 0: unknown */
    uint32_t interface_mtu_bytes;      /* 0: unknown */
    uint32_t numa_node;                /* the operating system's number, or TOPOLOGY_NONE */
    uint32_t nic;                      /* its node in the topology */
    enum topology_proximity proximity; /* to what the query asked for; PROXIMITY_SAME_HOST if it asked for nothing */
};

enum device_address_family { DEVICE_ADDRESS_ANY, DEVICE_ADDRESS_IPV4, DEVICE_ADDRESS_IPV6 };

/* What to look for; zeroed, every usable port in the order of bandwidth and name. */
struct device_query {
    const char *devices; /* a filter as rdma_filter_allows() takes it; NULL or "" lets everything pass */
    uint32_t near;       /* with has_near: a node of the topology (a GPU, a NUMA node, a core) to be near to */
    bool has_near;
    const uint32_t *cpus; /* without has_near: the operating system's CPUs to be near to */
    uint32_t cpu_count;
    bool has_gid_index; /* use this entry of the address table, on every port, whatever its type */
    uint32_t gid_index;
    enum device_address_family family; /* for RoCE: ANY prefers IPv4, then global IPv6, then link-local */
};

/*
 * The usable ports of @p topology that pass the query, nearest first, then fastest, then by name and number, so that
 * all ranks of equal hosts choose alike.
 *
 * Owner:  the caller frees *ports.
 * Errors: WEFT_INVALID_ARGUMENT (the filter cannot be read), WEFT_UNSUPPORTED when no port is left, with a sentence on
 *         why the first of them is not used; WEFT_OUT_OF_MEMORY. Outputs are untouched on error.
 */
weft_status device_ports_find(const weft_topology *topology, const struct device_query *query,
                              struct device_port **ports, uint32_t *count, struct diagnostic *diagnostic);

/*
 * The IP address to bind to for connections over @p port: that of its GID on Ethernet, that of its network interface
 * (IPoIB) on InfiniBand. Reads the system's interfaces.
 * Errors: WEFT_UNSUPPORTED with a sentence when it has none.
 */
weft_status device_port_address(const struct device_port *port, struct sockaddr_storage *address,
                                struct diagnostic *diagnostic);
#endif
