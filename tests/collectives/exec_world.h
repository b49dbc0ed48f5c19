/* SPDX-License-Identifier: Apache-2.0 */
/* All ranks of a run in one process over simulated endpoints: engines, buffers with known contents, and a check of the
 * results. */
#ifndef TESTS_EXEC_WORLD_H
#define TESTS_EXEC_WORLD_H

#include "base/random.h"
#include "collectives/exec/exec.h"
#include "transport/sim/sim.h"

struct world_config {
    weft_plan_spec spec;
    struct sim_config sim;
    uint64_t count; /* elements of a block; all_to_allv: of the largest */
    weft_op op;
    uint32_t slice_bytes;
    uint32_t operations; /* posted at once, each with buffers of its own */
    bool in_place;
    bool acknowledged;
    uint32_t overwriting_rank; /* plus one: says that it is in place, even if it is not; 0: nobody */
    uint32_t first_channel;    /* of the engine's, for the plan's channel 0 */
    uint32_t disagreeing_rank; /* plus one: signs its operations differently; 0: nobody */
};

struct world;
struct world *world_create(const struct world_config *config, struct weft_plan *plan);
void world_destroy(struct world *world);

/* Run to the end in virtual time, ranks in an order drawn from the seed. WEFT_OK, or the first failing operation's
 * status; WEFT_DEADLINE_EXCEEDED: deadlock. */
weft_status world_run(struct world *world, uint64_t seed);
/* Number of elements, over all ranks and operations, that are not what they should be. */
uint64_t world_wrong(const struct world *world);
/* Where rank @p rank's first operation stands, and what it came to. */
weft_status world_status(const struct world *world, uint32_t rank);
struct operation_stall world_stall(const struct world *world, uint32_t rank);
struct sim_fabric *world_fabric(struct world *world);
#endif
