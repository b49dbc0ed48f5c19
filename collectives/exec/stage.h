/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Buffers that peers cannot map, by way of memory that they can: the stage, of which each rank has one, where it alone
 * writes. A rank copies its input there before it lends it, and what it makes for others it puts there for them to pull
 * (pull.c). That is two copies for one of the kernel's, and takes half its time where the stage's lines need not go
 * from core to core: half of what the kernel does is to find pages.
 *
 * Each rank decides for itself, buffer by buffer, and says so in its offer. All that the others have to know is where
 * in the loan an element lies; and that they are to work on as much of each block as fits a stage, then on the next
 * such portion, with new offers.
 */
#ifndef COLLECTIVES_STAGE_H
#define COLLECTIVES_STAGE_H

#include "collectives/exec/exec_internal.h"
#include "collectives/exec/task.h"

/* Elements of each block that are worked on at a time if anybody stages; all that are left where no stage holds any. */
uint64_t stage_portion(const struct operation *operation);
/* Is the message more than one portion, where it is not better to run steps at once? */
bool stage_has_portions(const struct operation *operation);
/* Is this the first of several portions, whose offers come too early for a look? */
bool stage_probes(const struct operation *operation);
/* May this rank stage its buffers, and had it better? Between cores it is worth as much where the kernel would have to
 * copy often (select/price.c); then what is staged goes past the caches. */
bool stage_serves(const struct operation *operation);
/*
 * Copy this portion of the input, of so many blocks, to the stage, but for what peers do not read: this rank's own
 * block of several, and elements @p own of each. Returns where it is.
 */
const void *stage_input(const struct operation *operation, uint64_t places, struct share own);
/* Where this rank puts its share of the result for others to pull, and how much there is at most. */
void *stage_result(const struct operation *operation);
size_t stage_result_bytes(const struct operation *operation);
/*
 * Peers get at nothing of this rank but what it has on the stage: go on, and let them. The next input is staged
 * elsewhere, and when all peers have sent their offers of that one, they are done with this one. The next result is
 * made when they have.
 */
void stage_leave(const struct operation *operation);
#endif
