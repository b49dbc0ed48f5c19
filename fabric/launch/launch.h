/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who this process is in its job, from whatever started it: mpirun, srun, torchrun, weft_local_run(), or two shells.
 * The result is the same for all of them: a unique id, a rank and a rank count, as weft_comm_create() takes them.
 */
#ifndef FABRIC_LAUNCH_H
#define FABRIC_LAUNCH_H

#include <stdint.h>
#include <weft/weft.h>

#include "base/diagnostic.h"

/*
 * The first of these that the environment speaks of decides (docs/guide/launching.md has the variables):
 * a descriptor from weft_local_run(); torchrun; PMIx; PMI-1; RANK, WORLD_SIZE and MASTER_ADDR; a Slurm step; one rank.
 * A source that cannot serve here (no libpmix, or an MPI library owns the PMI descriptor) leaves the turn to the next,
 * but never to "one rank".
 *
 * An id serves one communicator, so the n-th call returns the n-th id that follows from the one of the job: all ranks
 * must make their communicators in the same order.
 *
 * Wait:   collective where the launcher's store carries the id. At most the configured deadline, in all.
 * Thread: any; calls follow one another.
 * Errors: WEFT_INVALID_ARGUMENT (contradictions, no key), WEFT_UNSUPPORTED (the launcher's store cannot be used here),
 *         WEFT_DEADLINE_EXCEEDED, WEFT_PROTOCOL_ERROR (nonsense from the launcher), WEFT_SYSTEM_ERROR,
 *         WEFT_OUT_OF_MEMORY; outputs are untouched, and the sentence names what was read or waited for.
 */
weft_status launch_identify(weft_unique_id *id, uint32_t *rank, uint32_t *rank_count, struct diagnostic *diagnostic);
#endif
