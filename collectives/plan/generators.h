/* SPDX-License-Identifier: Apache-2.0 */
/* The generators that plan_generator_find() knows. Each emits one rank's program into the builder. */
#ifndef COLLECTIVES_PLAN_GENERATORS_H
#define COLLECTIVES_PLAN_GENERATORS_H

#include "collectives/plan/plan.h"

weft_status ring_all_reduce(const struct weft_plan *plan, uint32_t rank, struct program_builder *builder);
weft_status ring_broadcast(const struct weft_plan *plan, uint32_t rank, struct program_builder *builder);
weft_status ring_barrier(const struct weft_plan *plan, uint32_t rank, struct program_builder *builder);

weft_status tree_all_reduce(const struct weft_plan *plan, uint32_t rank, struct program_builder *builder);
weft_status tree_broadcast(const struct weft_plan *plan, uint32_t rank, struct program_builder *builder);
weft_status tree_barrier(const struct weft_plan *plan, uint32_t rank, struct program_builder *builder);
#endif
