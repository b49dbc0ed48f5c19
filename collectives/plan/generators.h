/* SPDX-License-Identifier: Apache-2.0 */
/* The generators that plan_generator_find() knows. Each emits one rank's program into the builder. */
#ifndef COLLECTIVES_PLAN_GENERATORS_H
#define COLLECTIVES_PLAN_GENERATORS_H

#include "collectives/plan/layout.h"

typedef weft_status plan_generate(const struct weft_plan *plan, uint32_t rank, struct program_builder *builder);

plan_generate ring_all_reduce, ring_broadcast, ring_barrier, ring_all_gather, ring_reduce_scatter, ring_reduce;
plan_generate tree_all_reduce, tree_broadcast, tree_barrier, tree_all_gather, tree_reduce_scatter, tree_reduce;
plan_generate binomial_gather, binomial_scatter;
plan_generate direct_all_reduce, direct_broadcast, direct_barrier, direct_all_gather, direct_reduce_scatter,
    direct_reduce, direct_gather, direct_scatter, direct_all_to_all, direct_send_recv;
plan_generate halving_all_gather, halving_barrier;
plan_generate hierarchy_all_reduce, hierarchy_barrier, hierarchy_broadcast, hierarchy_reduce;
plan_generate hierarchy_shares_all_reduce, hierarchy_reduce_scatter, hierarchy_all_gather;
plan_generate canonical_tree_all_reduce, canonical_tree_reduce, canonical_halving_reduce_scatter,
    canonical_halving_all_reduce;

/*
 * The two tracks of a halving all-gather, into the newest track: what this rank has it sends on, and what comes it
 * keeps; the second has to follow the first. A rank's own chunk is in its input, with @p after_track PLAN_NONE, or in
 * its output after the given step.
 */
void halving_spread(const struct weft_plan *plan, uint32_t rank, struct program_builder *builder, uint32_t after_track,
                    uint32_t after_step);
void halving_collect(const struct weft_plan *plan, uint32_t rank, struct program_builder *builder);
#endif
