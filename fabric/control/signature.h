/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What this rank has posted lately. Written by the poster without a lock, read by the control thread: each slot is a
 * sequence lock of its own. Programs repeat themselves, so a slot stands for a run of operations that follow each other
 * and differ in nothing else: to post one more touches two lines that are at hand, and a run is remembered whole.
 */
#ifndef FABRIC_CONTROL_SIGNATURE_H
#define FABRIC_CONTROL_SIGNATURE_H

#include "control.h"

enum { SIGNATURES_KEPT = 4096 }; /* runs, so at least as many operations */

struct signature_slot {
    _Atomic uint64_t first; /* sequence; 0 while the slot is being written */
    _Atomic uint64_t last;
    _Atomic uint64_t count, rest;
    _Atomic uint32_t plan;
};

struct signature_ring {
    _Atomic uint64_t posted; /* the latest sequence */
    _Atomic uint64_t runs;   /* begun so far; run r is in slot r % SIGNATURES_KEPT, the first is run 1 */
    struct signature latest; /* the poster's own */
    struct signature_slot slots[SIGNATURES_KEPT];
};

/* Thread: the poster, in ascending order. Pairs with signature_ring_find() and signature_ring_posted(). */
void signature_ring_put(struct signature_ring *ring, const struct signature *signature);
/* How many operations this rank has posted. Thread: any. */
uint64_t signature_ring_posted(const struct signature_ring *ring);
/* False: not posted yet, or posted so long ago that it is forgotten. Thread: any. */
bool signature_ring_find(const struct signature_ring *ring, uint64_t sequence, struct signature *signature);

bool signature_equal(const struct signature *a, const struct signature *b);
#endif
