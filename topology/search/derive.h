/* SPDX-License-Identifier: Apache-2.0 */
/* What derive.c and layers.c share while a flow graph is made. */
#ifndef TOPOLOGY_SEARCH_DERIVE_H
#define TOPOLOGY_SEARCH_DERIVE_H

#include "topology/search/flow_graph.h"

enum derivation_role {
    ROLE_TRANSIT, /* passes data on */
    ROLE_RANK,
    ROLE_NIC,    /* passes data on between its host and the network, never from the network into the network */
    ROLE_ABSENT, /* no data passes */
};

/* How a link direction of a layered host may be used; never both ways, see layers.c. */
enum { USE_OUT = 1, USE_IN = 2 };

struct derivation {
    const weft_topology *topology;
    struct arena arena; /* of this struct; the graph has its own */
    uint8_t *role;      /* enum derivation_role, by topology node */
    uint32_t *alias;    /* the node that it is one with */
    uint32_t *host_of;
    uint32_t *host_ranks; /* by host: how many ranks */
    bool *layered;        /* by host: links among GPUs join its ranks */
    bool *has_network;    /* by node: a NETWORK link, seen or not */
    uint8_t *use;         /* by hop */
    uint32_t *rank_nodes;
    uint32_t rank_count, rank_hosts;
    bool ranks_are_hosts, unseen_network, restricted;
    struct flow_sketch sketch;
};

/* NVLink or xGMI among GPUs and NVSwitches; what leads from a GPU to its package is a way to the network like PCI. */
static inline bool derive_joins_gpus(const weft_topology *topology, const struct topology_link *link)
{
    if (link->kind != LINK_NVLINK && link->kind != LINK_XGMI) return false;
    enum node_kind from = topology->nodes[link->from].kind, to = topology->nodes[link->to].kind;
    return (from == NODE_GPU || from == NODE_NVSWITCH) && (to == NODE_GPU || to == NODE_NVSWITCH);
}

/* Fill d->use for all layered hosts. WEFT_OUT_OF_MEMORY. */
weft_status derive_layers(struct derivation *d);
#endif
