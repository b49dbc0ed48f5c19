/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weft/plan.h: make, read, verify, price and print plans without a communicator.
 *
 * A plan says, for every rank, which pieces of the message it reads, combines and sends, and in which order. It holds
 * no buffer, no count and no address: the same plan serves every message of its collective. docs/formats/plan.md
 * describes its text form, docs/design/plan.md what its parts mean.
 */
#ifndef WEFT_PLAN_H
#define WEFT_PLAN_H

#include <stdbool.h>
#include <weft/types.h>
#include <weft/weft.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weft_plan weft_plan;

/** A ring: all ranks in the order of travel, back to the first from the last. Data go one way only. */
typedef struct weft_plan_ring {
    const uint32_t *order; /* rank_count ranks, each once */
    uint32_t weight;       /* 1 or more: its part of the message is this over the sum of all rings' */
} weft_plan_ring;

/** A spanning tree of all ranks. Data go from the root towards the leaves, and the same way back to be reduced. */
typedef struct weft_plan_tree {
    uint32_t root;
    const uint32_t *parents; /* by rank: whom it is fed by; the root's own entry is not read */
    const uint32_t
        *reduce_parents; /* by rank: whom it hands partial results to, ending at the same root; NULL: parents */
    uint32_t weight;     /* 1 or more */
} weft_plan_tree;

/**
 * Rings, trees and groups that a plan is to be made of, chosen for a topology. Only read during weft_plan_create().
 *
 * WEFT_ALGORITHM_RING uses the rings, each for its weight's part of the message (of every rank's block where there is
 * one per rank). WEFT_ALGORITHM_TREE uses the trees:
 *   all_gather, reduce_scatter  a rank's block goes over the trees rooted at that rank, divided by weight among them;
 *                               every rank has to have one
 *   all_reduce                  the message is divided by weight among all trees: each reduces its part up to its root
 *                               and broadcasts it down. Over a packing with trees at every rank this is a
 *                               reduce-scatter followed by an all-gather
 *   broadcast, reduce           the trees of the spec's root; if there are none all trees, turned round towards it,
 *                               which is right but uses their links in other directions
 *   barrier                     the first tree
 * WEFT_ALGORITHM_HIERARCHICAL uses the groups. At each level every rank is in one; those of a level lie within those of
 * the next. Without a layout consecutive ranks are grouped, about as many in each group as there are groups.
 *
 * Rings or trees that share an ordered pair of ranks get different channels, as few as greedy colouring needs; at most
 * 128 (WEFT_RESOURCE_LIMIT beyond).
 */
typedef struct weft_plan_layout {
    size_t size; /* sizeof(weft_plan_layout) of the caller */
    const weft_plan_ring *rings;
    uint32_t ring_count;
    const weft_plan_tree *trees;
    uint32_t tree_count;
    const uint32_t *groups; /* level by level, the finest first: a number by rank, equal for those of one group */
    uint32_t level_count;
} weft_plan_layout;

typedef struct weft_plan_spec {
    size_t size; /* sizeof(weft_plan_spec) of the caller */
    weft_collective collective;
    weft_algorithm algorithm; /* not AUTO */
    uint32_t rank_count;      /* 1 or more */
    uint32_t root;            /* broadcast, reduce, gather, scatter; send_recv: the sender; else 0 */
    /*
     * 1 to 64; 0 means 1. A double binary tree needs two per unit, one for each tree. A hierarchical all_reduce goes
     * through one rank of each group with 1, which takes least time for a few bytes, and by a share of every rank with
     * more, which takes least for many.
     */
    uint32_t channel_count;
    uint32_t slot_depth;            /* slots of staging per connection, channel and direction; 2 to 64, 0 means 4 */
    uint32_t peer;                  /* send_recv: the receiver; else 0 */
    const weft_plan_layout *layout; /* what to use; NULL: ranks in order. Rings and trees do not read channel_count */
    bool canonical; /* combine by the one tree of weft_call's canonical; nothing else where nothing is combined */
} weft_plan_spec;

/**
 * Make a plan. Thread: any. Owner: the caller frees *plan with weft_plan_destroy().
 * A canonical plan is direct, tree or halving, without a layout.
 * Errors: WEFT_INVALID_ARGUMENT (also a layout whose rings, trees or groups are none), WEFT_UNSUPPORTED (no such
 * algorithm for this collective, or none over a given layout), WEFT_RESOURCE_LIMIT (a layout of too many channels, or
 * of groups that together with the ranks of one are more than 256), WEFT_OUT_OF_MEMORY.
 */
WEFT_API weft_status weft_plan_create(const weft_plan_spec *spec, weft_plan **plan);

/**
 * Read a plan's text form, @p bytes long, not necessarily terminated. A plan that was read is not yet known to be
 * correct: weft_plan_verify() tells.
 * Errors: WEFT_BAD_FORMAT, with @p error (256 bytes, may be NULL) saying line, what was found and what was expected.
 */
WEFT_API weft_status weft_plan_read(const char *text, size_t bytes, weft_plan **plan, char *error);

/** NULL is allowed. */
WEFT_API void weft_plan_destroy(weft_plan *plan);

/** What the verifier counted. */
typedef struct weft_plan_report {
    size_t size;                /* sizeof(weft_plan_report) of the caller, set before the call */
    uint64_t steps;             /* over all ranks, for one slice */
    uint64_t messages;          /* puts, for one slice */
    uint64_t critical_messages; /* longest chain of messages one after another */
    double max_rank_sent_share; /* most that one rank sends, as a share of the message */
    double max_link_share;      /* most that one ordered pair of ranks carries, as a share of the message */
    char message[256];          /* on WEFT_INVALID_PLAN: rank, track, step and what is wrong */
} weft_plan_report;

/**
 * Prove a plan right for every count and number of slices, or say what is wrong with it: every rank ends with each
 * contribution to each chunk exactly once (or the root's data, or having heard of every rank); nothing is read before
 * it is written or overwritten before it is read, also in place; sends and receives pair up; nothing can deadlock at
 * the declared slot depth; and of a canonical plan that every element is combined by the documented tree.
 *
 * Cost:   linear in the steps of all ranks, times the rank count over 64 for all-reduce.
 * Thread: any. @p report may be NULL.
 * Errors: WEFT_INVALID_PLAN, WEFT_OUT_OF_MEMORY.
 */
WEFT_API weft_status weft_plan_verify(const weft_plan *plan, weft_plan_report *report);

/** What one ordered pair of ranks has to carry. */
typedef struct weft_plan_load {
    uint32_t from, to;
    double share;      /* of the message, which is all ranks' blocks together where there are several */
    uint64_t messages; /* puts, for one slice */
} weft_plan_load;

/**
 * Call @p each for every ordered pair of ranks that the plan sends over, in ascending order, to compare with what the
 * links between them can do. The plan is checked as far as is needed for that: sends and receives pair up.
 * Thread: any. Errors: WEFT_INVALID_PLAN, WEFT_OUT_OF_MEMORY.
 */
WEFT_API weft_status weft_plan_loads(const weft_plan *plan, void (*each)(void *context, const weft_plan_load *load),
                                     void *context);

/** Equal for equal plans, on every machine. */
WEFT_API uint64_t weft_plan_hash(const weft_plan *plan);

#define WEFT_ALL_RANKS UINT32_MAX
/**
 * Write a plan as its text form (which weft_plan_read() reads when @p rank is WEFT_ALL_RANKS) or as JSON. *text is
 * allocated and terminated; the caller frees it with free().
 */
WEFT_API weft_status weft_plan_print(const weft_plan *plan, uint32_t rank, weft_format format, char **text);

#ifdef __cplusplus
}
#endif
#endif
