/* SPDX-License-Identifier: Apache-2.0 */
/* Ranks with RDMA devices of tests/mockverbs, one host each, and a rendezvous that can be cut. */
#ifndef TESTS_TRANSPORT_VERBS_HOSTS_H
#define TESTS_TRANSPORT_VERBS_HOSTS_H

#include "tests/transport/pairs.h"
#include "transport/verbs/verbs.h"

#define VERBS_HOSTS_MAX_RAILS 4u

struct verbs_hosts {
    struct pairs pairs;
    uint32_t rank_count, rail_count;
    bool ipv6, shared; /* shared: all ranks are on the first host */
    struct verbs_hosts_rank {
        struct verbs_hosts *hosts;
        uint32_t rank, given_count;
        int given[64]; /* copies of the sockets that were given: shut down when the rank dies */
    } ranks[PAIRS_MAX_RANKS];
};

/* Devices "mock<rank>_<rail>" for each rank. */
void verbs_hosts_open(struct verbs_hosts *hosts, uint32_t rank_count, uint32_t rail_count);
void verbs_hosts_close(struct verbs_hosts *hosts);
/* @p config without ranks, rails and key, which are filled in. */
weft_status verbs_hosts_endpoint(struct verbs_hosts *hosts, uint32_t rank, const struct verbs_config *config,
                                 struct endpoint **endpoint, struct diagnostic *diagnostic);
/* As when a process dies: its sockets end, its queue pairs answer nothing. */
void verbs_hosts_kill(struct verbs_hosts *hosts, uint32_t rank);
#endif
