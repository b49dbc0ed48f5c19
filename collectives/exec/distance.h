/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How near the ranks' caches are. Between threads of one core a line that a peer has just stored is in the own cache,
 * and slots are faster than the kernel's copy; between cores each line has to come over, and they are slower. A host
 * moves virtual processors from one to the other while a program runs, and says nothing; so it is timed: now and then a
 * rank stores some lines along with an offer, and the receiver times how long it takes to load them.
 *
 * What a rank finds out goes with its next offer, so all ranks decide alike. Steps and loans give the same bits.
 */
#ifndef COLLECTIVES_DISTANCE_H
#define COLLECTIVES_DISTANCE_H

#include "collectives/exec/exec_internal.h"

/* Before the next cell of @p lanes is sent: store what its receiver is to load, if it is due. */
void distance_mark(const struct operation *operation, const struct lanes *lanes);
/* The peer's cell, with a loan of its, has come: load what it stored, if it was due. */
void distance_look(const struct operation *operation, struct peer *peer, const struct loan *loan);
/* Were all peers near, whenever last looked at? */
bool distance_is_near(const struct engine *engine);
#endif
