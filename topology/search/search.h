/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The best rings and trees for a machine or a cluster, and how good any could be.
 *
 * A rank sits on each GPU, or on each host where a topology has no GPU. Between ranks data flows over the topology's
 * links as far as their bandwidth goes, each direction on its own; switches, bridges, processors and NICs pass it on;
 * so do ranks, in software. docs/design/search.md says which paths count and why.
 *
 * Units: bandwidths are exact fractions of bytes per second. Where a topology has no figure at all every link counts 1
 * and `unit_is_link` is set: bandwidths are then in links. A collective's bandwidth is M/T ("algbw"): bytes of the
 * whole message (all-gather: of the result) over the time at which it is done, latency left aside.
 *
 * Pure: no I/O, no clock, no threads; equal topologies and requests give equal results unless the budget strikes.
 */
#ifndef TOPOLOGY_SEARCH_H
#define TOPOLOGY_SEARCH_H

#include "topology/model/model.h"
#include "topology/search/rational.h"

enum search_collective {
    SEARCH_ALL_REDUCE,
    SEARCH_ALL_GATHER,
    SEARCH_REDUCE_SCATTER,
    SEARCH_BROADCAST,
    SEARCH_REDUCE,
    SEARCH_COLLECTIVE_COUNT
};

/* When to stop and return the best so far. Asked often (every millisecond or so): read a clock, compare. */
struct search_budget {
    bool (*expired)(void *context); /* NULL: never */
    void *context;
};

enum search_parts {
    SEARCH_BOUNDS = 1,
    SEARCH_TREES = 2,
    SEARCH_RINGS = 4, /* edge-disjoint and, for up to 14 ranks, fractional ones */
    SEARCH_EVERYTHING = 7,
};

struct search_request {
    enum search_collective collective;
    uint32_t parts;            /* of enum search_parts; 0 is SEARCH_EVERYTHING */
    const uint32_t *endpoints; /* nodes of the ranks, in rank order; NULL: every GPU, or every host if there is none */
    uint32_t endpoint_count;
    uint32_t root; /* broadcast, reduce: a rank */
    struct search_budget budget;
};

/*
 * Why nothing can be faster. Ranks (and switches) are in parts; what enters (for all-gather: what leaves part 0) takes
 * its time.
 *   cut         part 0 holds `inside_ranks` ranks, part 1 the others; `bandwidth` leads from 0 to 1
 *   partition   parts 0 to part_count - 1 hold a rank each at least; `bandwidth` is the sum of what leads into them;
 *               switches outside of every part have TOPOLOGY_NONE
 */
struct search_bound {
    struct rational algbw; /* no number: not asked for, or only one rank, which needs no time */
    bool exact;            /* false: the best proven so far; the true bound may be tighter */
    uint32_t part_count;   /* 2 for a cut; 0 when there is none */
    uint32_t inside_ranks;
    struct rational bandwidth;
    struct rational share;        /* of the message that has to cross: algbw is bandwidth / share */
    const uint32_t *part_of_rank; /* rank_count */
    const uint32_t *part_of_node; /* the topology's node_count; TOPOLOGY_NONE for what no data passes */
};

/* One directed use of a topology's link: link * 2, plus 1 from its `to` to its `from`. */
#define SEARCH_HOP(link, reversed) ((link)*2 + ((reversed) ? 1u : 0u))
/* A NIC's port into a network of which the topology shows nothing (see docs/design/search.md); no link to load. */
#define SEARCH_HOP_UNSEEN UINT32_MAX

struct search_route {
    const uint32_t *hops; /* in the order of travel */
    uint32_t hop_count;
};

struct search_edge {
    uint32_t parent, child; /* ranks */
    uint32_t route;         /* index into search_result.routes, in the direction in which data travels */
};

/*
 * A tree carries its share of the message, pipelined: towards its root over `reduce_edges` (data goes from child to
 * parent), then away from it over `edges` (from parent to child). Parents come before their children in both arrays
 * (walk reduce_edges backwards for the order of time). All-gather and broadcast have no reduce_edges, reduce-scatter
 * and reduce no edges; all-reduce has both, which need not be one another's mirror image.
 */
struct search_tree {
    uint32_t root;
    struct rational bandwidth; /* of this tree; the share of the message is bandwidth / algbw of the forest */
    const struct search_edge *edges;
    const struct search_edge *reduce_edges;
    uint32_t edge_count; /* of either that is there: rank_count - 1 */
};

/*
 * All trees run at once; no link carries more than its bandwidth. All-gather: the trees of a root together carry what
 * that rank contributes. `rotated`: only the trees of the ranks on hosts.order[0] are listed; those of the host at
 * place k in the order are the same with every rank replaced by search_rotate(result, rank, k), and `algbw` counts all
 * of them; routes of rotated trees are not listed: search_route_between() finds one for a pair of ranks.
 */
struct search_forest {
    uint32_t tree_count;
    const struct search_tree *trees;
    struct rational algbw; /* of the collective; no number where there is no tree */
    struct rational gap;   /* algbw / bound, at most 1; no number without a bound */
    bool rotated;
    const char *method; /* "spanning-tree packing", ... */
    /* By tree: the first with the same root and the same edges, whatever links they take; to a plan they are one. */
    const uint32_t *same_as;
    uint32_t different_count; /* trees that are their own first */
};

struct search_ring {
    const uint32_t *order;  /* ranks; data travels from order[i] to order[i + 1], from the last to the first */
    const uint32_t *routes; /* rank_count indices: from order[i] to the next */
    struct rational bandwidth;
};

/* All rings run at once. A ring of bandwidth b all-gathers at b n/(n-1), all-reduces at half of that, broadcasts at b.
 */
struct search_rings {
    uint32_t ring_count;
    const struct search_ring *rings;
    struct rational bandwidth; /* of all together */
    struct rational algbw;     /* of the collective asked for */
    struct rational gap;
    bool optimal; /* no set of rings of this sort (edge-disjoint, fractional) has more */
};

/* One path of a host into the fabric that all hosts have alike: the k-th NIC with the ranks that are nearest to it. */
struct search_lane {
    uint32_t nic;  /* node, or TOPOLOGY_NONE: the host is linked to the fabric itself */
    uint32_t rank; /* the rank that sends and receives on it */
};

struct search_hosts {
    uint32_t host_count;
    const uint32_t *order;    /* host nodes, neighbours in the fabric next to each other */
    const uint32_t *class_of; /* by place in order: hosts of equal class have the same shape */
    uint32_t class_count;
    const uint32_t *first_rank;      /* host_count + 1 offsets into `ranks` */
    const uint32_t *ranks;           /* by place: a host's ranks */
    const uint32_t *place_of_rank;   /* the place of its host */
    const uint32_t *index_of_rank;   /* its place among its host's ranks */
    uint32_t lane_count;             /* of every host; 0 when hosts differ too much to have lanes in common */
    const struct search_lane *lanes; /* by place: lanes[place * lane_count + lane] */
    uint32_t switch_hops;            /* links between switches that one tour in this order uses */
    uint32_t switch_hops_as_listed;  /* and a tour in the topology's own order */
    /* Double binary trees across hosts, by place in the order: parent's place, TOPOLOGY_NONE at the root. No host has
     * children in both but one where host_count is odd (Sanders, Speck, Träff 2009). */
    const uint32_t *binary_parents[2];
};

struct search_result {
    enum search_collective collective;
    uint32_t root;
    uint32_t rank_count;
    const uint32_t *rank_nodes; /* a rank's GPU or host */
    bool unit_is_link;
    uint32_t assumed_links;   /* links without a figure that were given one; `notes` says which */
    const char *const *notes; /* sentences: what was assumed, restricted, left out */
    uint32_t note_count;
    bool expired; /* the budget struck: plans are the best so far, bounds that are not `exact` could be tighter */

    struct search_bound bound;           /* of the collective */
    struct search_bound two_phase_bound; /* all-reduce: the optimum of reduce-scatter, then all-gather */
    struct search_forest forest;         /* the best trees */
    struct search_forest two_phase; /* all-reduce: trees of reduce-scatter and all-gather, run at half rate at once */
    struct search_rings rings;      /* edge-disjoint: each takes its links as whole units */
    struct search_rings fractional_rings;
    struct search_hosts hosts;

    const struct search_route *routes;
    uint32_t route_count;
    /* 2 * link_count bandwidths by hop, in bytes/s: what a link offers, and what it carries at full rate. */
    const double *hop_capacity, *forest_load, *ring_load;

    struct search_flow_graph *graph; /* internal */
    struct arena arena;
};

/**
 * Search @p topology, which is sealed and outlives nothing: the result keeps no pointer to it.
 * Owner: the caller, topology_search_free(). Thread: any.
 * Errors: WEFT_INVALID_ARGUMENT (endpoints that are not GPUs or hosts, or named twice; a root that is no rank; no rank
 * at all), WEFT_UNSUPPORTED (a rank that another cannot reach: the sentence names both), WEFT_OUT_OF_MEMORY. *result is
 * untouched on error. The budget is no error.
 */
weft_status topology_search(const weft_topology *topology, const struct search_request *request,
                            struct search_result **result, struct diagnostic *diagnostic);
void topology_search_free(struct search_result *result);

/* Of all trees that are the same as @p tree, which is the first of them; down to a whole number if it has to be. */
struct rational search_same_bandwidth(const struct search_forest *forest, uint32_t tree);

/* The rank at the same place of the host that comes @p places after this rank's in hosts.order, around the end. */
uint32_t search_rotate(const struct search_result *result, uint32_t rank, uint32_t places);

/*
 * The hops of a path between two ranks: of the shortest ones over switches only the widest (over other ranks only where
 * nothing else leads there). *hops (free() it) has *count. WEFT_INVALID_ARGUMENT,
 * WEFT_OUT_OF_MEMORY.
 */
weft_status search_route_between(const struct search_result *result, uint32_t from, uint32_t to, uint32_t **hops,
                                 uint32_t *count);

const char *search_collective_name(enum search_collective collective); /* "all_reduce", ... */
#endif
