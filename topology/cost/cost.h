/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What moving and combining bytes costs: the figures that a topology lacks, and three models to put them into.
 *
 * Alpha-beta:  a message costs a latency (alpha) for each link on its way, and its bytes over the bandwidth (beta) that
 *              it gets on the narrowest; each step of a plan costs an overhead at the rank that runs it.
 * LogGOPS:     Culler et al. 1993 (LogP), Alexandrov et al. 1995 (G), Ino et al. 2001 (S), Hoefler et al. 2010 (O).
 * NCCL:        latencies of its tuning model, to compare with.
 *
 * Pure. Thread: any.
 */
#ifndef TOPOLOGY_COST_H
#define TOPOLOGY_COST_H

#include <stdbool.h>
#include <stdint.h>

#include "topology/model/model.h"

/* A link whose description does not say: how long a byte is under way, and how many of them pass a second each way. */
struct link_cost {
    double latency_s;
    double bandwidth; /* bytes per second, of a single link */
    const char *source;
};

/* What a rank costs by itself. */
struct rank_cost {
    double step_s;           /* overhead of one step of a plan: finding out that it may run, and starting it */
    double engine_bandwidth; /* bytes per second that it combines or copies while it sends them on */
    bool one_engine;         /* its steps' overheads queue up (one thread), else only those of one track do */
    const char *source;
};

struct cost_model_figures {
    struct link_cost links[LINK_KIND_COUNT];
    struct rank_cost host, gpu;
};

extern const struct cost_model_figures cost_figures_built_in;

/* The link's own figure where it has one, else the kind's, for each of the links that it stands for. */
double cost_link_bandwidth(const struct cost_model_figures *figures, const struct topology_link *link, bool reverse);
double cost_link_latency(const struct cost_model_figures *figures, const struct topology_link *link);
/* Of a NIC into a network that the topology does not show. */
double cost_port_bandwidth(const struct cost_model_figures *figures, const struct topology_node *nic);
bool cost_link_is_assumed(const struct topology_link *link, bool reverse);

/* Times in seconds, bytes; see the sources above. */
struct loggops {
    double L;   /* wire latency */
    double o;   /* overhead of a message at the processor, at either end */
    double g;   /* least time between messages of one sender */
    double G;   /* time per byte on the wire */
    double O;   /* overhead per byte at the processor, at either end */
    uint64_t S; /* messages larger than this meet first (rendezvous): one round trip more */
    const char *source;
};

extern const struct loggops loggops_built_in;

/* From the sender's call to the receiver's having it. */
double loggops_message(const struct loggops *model, double bytes);
/* Ring all-reduce: 2(n-1) dependent messages of bytes/n. */
double loggops_ring_all_reduce(const struct loggops *model, uint32_t rank_count, double bytes);
/*
 * Double binary tree all-reduce, each tree half of the bytes in @p slice_count slices: two ways of floor(log2 n)
 * messages fill the pipeline, and every further slice follows after what the busiest rank needs for one.
 */
double loggops_tree_all_reduce(const struct loggops *model, uint32_t rank_count, double bytes, uint32_t slice_count);

/* NCCL's protocols, and the latencies its model has for each. Seconds. */
enum nccl_protocol { NCCL_LL, NCCL_LL128, NCCL_SIMPLE, NCCL_PROTOCOL_COUNT };
enum nccl_hop { NCCL_NVLINK, NCCL_PCI, NCCL_NETWORK, NCCL_HOP_COUNT };
struct nccl_latency {
    double base_s;
    double hop_s[NCCL_HOP_COUNT];
};
extern const struct nccl_latency nccl_ring[NCCL_PROTOCOL_COUNT], nccl_tree[NCCL_PROTOCOL_COUNT];
extern const char nccl_source[];

/* The latency, without bytes, of an all-reduce over @p node_count nodes of @p ranks_per_node ranks each. */
double nccl_ring_latency(enum nccl_protocol protocol, enum nccl_hop inside, uint32_t node_count,
                         uint32_t ranks_per_node);
double nccl_tree_latency(enum nccl_protocol protocol, enum nccl_hop inside, uint32_t node_count,
                         uint32_t ranks_per_node);
#endif
