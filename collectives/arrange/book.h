/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A book of plans for ranks at given places of a topology: by which rings and trees each collective runs with each
 * algorithm, and how fast the topology's links let it. One rank makes it, all have the same bytes of it.
 *
 * Rates are those of the busiest link when each pair of ranks sends over its shortest way: all candidates, ranks in
 * order included, are measured alike, whatever ways the search had in mind for them. Latency is the cost model's
 * affair.
 *
 * Pure; equal requests give equal books: the search is limited by work, not by time.
 */
#ifndef COLLECTIVES_BOOK_H
#define COLLECTIVES_BOOK_H

#include "base/diagnostic.h"
#include "base/text.h"
#include "collectives/arrange/arrange.h"
#include "collectives/arrange/grouping.h"

struct book_request {
    const weft_topology *topology;
    const uint32_t *nodes; /* by rank: its GPU or host; several ranks may share a host */
    uint32_t rank_count;
    uint32_t channel_limit; /* rings and trees that need more channels together are made fewer; 1 to 128 */
    uint64_t work_limit;    /* of the search, in its own steps; 0: BOOK_WORK */
};

/* Some seconds for the largest machines that the search is any good for; docs/design/communicator-topology.md. */
#define BOOK_WORK UINT64_C(20000)
/* Above so many ranks plans are not rated: hosts in the fabric's order are preferred then. */
enum { BOOK_RATED_RANKS_MAX = 8192, BOOK_RATED_PAIRS_MAX = 1 << 18 };
/* Plans other than of rings and trees are rated by what all their steps send, which takes the time to make them. */
enum { BOOK_COUNTED_RANKS_MAX = 128 };
/* With more ranks, trees at every one of them share pairs of ranks so much that no plan has the channels. */
enum { BOOK_ROOTS_MAX = 128 };

/* How a collective runs by an algorithm. */
struct book_entry {
    uint32_t arrangement;         /* enum arrangement_kind; ARRANGEMENT_KIND_COUNT: ranks in order */
    uint32_t channels;            /* of its plan; 0: ranks in order */
    uint32_t messages;            /* one after another; 0: as many as with ranks in order */
    double algbw, algbw_in_order; /* bytes of the whole message a second; 0: not known */
};

struct book {
    uint32_t rank_count, place_count, host_count;
    struct arrangement arrangements[ARRANGEMENT_KIND_COUNT];              /* those that entries name */
    uint32_t found[ARRANGEMENT_KIND_COUNT], kept[ARRANGEMENT_KIND_COUNT]; /* rings, trees, or trees of a root */
    struct book_entry entries[WEFT_COLLECTIVE_COUNT][WEFT_ALGORITHM_COUNT];
    uint32_t channel_count;                     /* the most of any entry */
    double bound_algbw, ring_algbw, tree_algbw; /* of all_reduce, as the search has them; 0: not known */
    bool bound_exact, in_links, expired;        /* in_links: those three count links, not bytes a second */
    uint32_t switch_hops, switch_hops_as_listed;
    uint64_t hash; /* of its bytes */
};

/*
 * Owner: the caller, book_free(). Errors: WEFT_UNSUPPORTED (ranks that another cannot reach), WEFT_INVALID_ARGUMENT,
 * WEFT_OUT_OF_MEMORY; *book is untouched then.
 */
weft_status book_make(const struct book_request *request, struct book **book, struct diagnostic *diagnostic);
void book_free(struct book *book);

/* As bytes, for others. *bytes is the caller's to free. WEFT_OUT_OF_MEMORY. */
weft_status book_encode(const struct book *book, uint8_t **bytes, size_t *size);
/* WEFT_PROTOCOL_ERROR with what is wrong: whatever the bytes, a book that is given back holds rings and trees of its
 * ranks alone, though what they are is for weft_plan_create() to check. WEFT_OUT_OF_MEMORY. */
weft_status book_decode(const uint8_t *bytes, size_t size, uint32_t rank_count, struct book **book,
                        struct diagnostic *diagnostic);

/* The layout to make the plan with; NULL: ranks in order. */
const weft_plan_layout *book_layout(const struct book *book, weft_collective collective, weft_algorithm algorithm);

/* rate.c: what the busiest link lets through of a plan; 0: not known. False when out of memory. */
struct rating {
    const weft_topology *topology;
    const double *assumed; /* as route_links_open() */
    const uint32_t *nodes; /* by rank */
    uint32_t rank_count;
};
bool rate_plan(const struct rating *rating, const weft_plan *plan, double *algbw);
/* The same for one over @p layout, or over the ring or the trees of ranks in order, without making it. */
bool rate_layout(const struct rating *rating, weft_collective collective, const weft_plan_layout *layout,
                 double *algbw);
bool rate_in_order(const struct rating *rating, weft_collective collective, weft_algorithm algorithm, double *algbw);
#endif
