/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a communicator's ranks are on a machine or a cluster, and what its plans make of it.
 * docs/design/communicator-topology.md has the rules and what they cost.
 *
 * All ranks have the same: the topology of WEFT_TOPOLOGY, which they compare by its hash while they join; or, where
 * there are several hosts and nothing was said, what one rank of each host discovers and tells the others.
 */
#ifndef COLLECTIVES_COMM_TOPOLOGY_H
#define COLLECTIVES_COMM_TOPOLOGY_H

#include <stdatomic.h>

#include "base/diagnostic.h"
#include "base/text.h"
#include "collectives/arrange/book.h"
#include "collectives/select/select.h"

struct weft_comm;
struct control;

/* Of rings and trees together. Each takes slots at every connection: 16 of 4 times 256 KiB are 16 MiB. */
enum { TOPOLOGY_CHANNELS_MAX = 16 };

enum topology_origin { ORIGIN_NOWHERE, ORIGIN_FILE, ORIGIN_DISCOVERED, ORIGIN_PARENT };

struct comm_topology {
    enum topology_origin origin;
    weft_topology *graph;          /* NULL: nothing is known, and ranks are planned for in their order */
    _Atomic uint32_t *graph_users; /* communicators that share it: graph_share() in topology.c, with graph_release() */
    uint32_t *nodes;               /* by rank: its GPU or host in the graph */
    uint64_t hash;                 /* of the graph */
    struct book *book;             /* NULL: plans are of ranks in order */
    struct grouping grouping;      /* of hierarchical plans; none: consecutive ranks */
    struct select_links links;
    char source[320];       /* "file a.yaml (weft topology)" */
    char in_order_why[256]; /* why there is no graph, or no book */
    weft_status failed;     /* of reading it: told to the others before it ends this rank */
    struct diagnostic failure;
};

/* What a part of a communicator gets from the whole. */
struct topology_heritage {
    const struct comm_topology *whole; /* on which all of the part's ranks are */
    const uint32_t *ranks;             /* of the whole, by rank of the part */
};

/*
 * Before ranks meet: read what WEFT_TOPOLOGY names, or take what @p heritage has (may be NULL). *token: equal on ranks
 * that have the same. A topology that cannot be read is no error yet.
 */
void comm_topology_open(struct weft_comm *comm, const struct topology_heritage *heritage, uint64_t *token);
/*
 * After they have met: make sure that all have the same, or find it together; then plan. On error all ranks fail, with
 * the same sentence where it is about differences. WEFT_MISMATCH, what reading failed with, what control_gather() does.
 */
weft_status comm_topology_settle(struct weft_comm *comm, struct diagnostic *diagnostic);
void comm_topology_close(struct weft_comm *comm);

/* NULL where plans are of ranks in order. */
const weft_plan_layout *comm_layout(const struct weft_comm *comm, weft_collective collective, weft_algorithm algorithm);
const struct select_links *comm_links(const struct weft_comm *comm);

/* topology_ranks.c: which rank is where on a graph that was given. WEFT_INVALID_ARGUMENT with the counts. */
weft_status topology_place_ranks(const weft_topology *graph, const char *name, uint32_t rank_count, uint32_t *nodes,
                                 struct diagnostic *diagnostic);

/*
 * topology_hosts.c: discover this host, if this rank is its lowest, tell the others, and put all hosts on one network.
 * Fills in nodes, hash and source; the graph is the caller's. Errors of control_gather(), WEFT_OUT_OF_MEMORY.
 */
weft_status topology_discover_hosts(struct control *control, uint32_t rank, uint32_t rank_count, uint64_t deadline_ns,
                                    struct comm_topology *topology, weft_topology **graph,
                                    struct diagnostic *diagnostic);
/* What plans depend on of a discovered host: no names, addresses, cores or caches, so that like hosts are equal. */
weft_topology *topology_essence(const weft_topology *discovered);
/* Hosts next to each other on one switch; shapes[i] is host i's. NULL: out of memory or not sound. */
weft_topology *topology_join_hosts(const weft_topology *const *shapes, const char *const *names, uint32_t host_count,
                                   struct diagnostic *diagnostic);

/* topology_describe.c */
void comm_topology_text(const struct weft_comm *comm, struct text *text);
void comm_topology_json(const struct weft_comm *comm, struct text *text);
#endif
