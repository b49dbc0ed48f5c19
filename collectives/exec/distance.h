/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How near the ranks' caches are. Between threads of one core a line that a peer has just stored is in the own cache,
 * and slots are faster than the kernel's copy; between cores each line has to come over, and they are slower. A host
 * moves virtual processors from one to the other while a program runs, and says nothing; so it is timed: now and then a
 * rank stores some lines along with an offer, and the receiver times how long it takes to load them.
 *
 * What a rank finds out goes with its next offer, so all ranks decide alike. Steps and loans give the same bits. Small
 * messages go the same way near and apart, but are stored differently: their receiver tells their sender which it is.
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

/* Of small messages, those of so many bytes and more are looked at, too. */
#define DISTANCE_BYTES 2048u
/* The same for a small message that goes with the next cell, or has come with the last one. */
void distance_mark_small(const struct peer *peer);
void distance_look_small(struct peer *peer);
/*
 * Has the peer found that its processor's caches are apart from this one's? Then what it is to read had better be
 * stored past the caches: it comes faster out of memory than line by line out of another cache. Near, it would be twice
 * as slow.
 */
static inline bool distance_is_apart(const struct peer *peer)
{
    return atomic_load_explicit(&peer->lanes.from->finds_apart, memory_order_relaxed); /* with what looks find */
}
#endif
