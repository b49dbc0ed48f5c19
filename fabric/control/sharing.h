/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Gathers: some ranks give bytes, and all ranks get them. Pure, as protocol.c, of which it is a part.
 *
 * What rank s gives travels along the binomial tree that the control graph holds for it: the rank at distance p after s
 * has it from the one at distance p less its highest power of two, and passes each piece on as it comes. So nobody has
 * to wait for a round, or to have asked for the gather already; every rank receives every byte once, over at most
 * log2 n others, and sends it log2 n times at most and once on average.
 *
 * Gathers are numbered in the order in which ranks ask for them, the same on all ranks. A rank may be given pieces of
 * later ones than it has asked for: SHARING_AHEAD of them, which bounds what a peer can make it keep.
 */
#ifndef FABRIC_CONTROL_SHARING_H
#define FABRIC_CONTROL_SHARING_H

#include <stdbool.h>
#include <stdint.h>
#include <weft/types.h>

enum { SHARING_AHEAD = 4 };
/* Of all ranks' shares that one rank keeps at a time. */
#define SHARING_BYTES_MAX (UINT64_C(256) << 20)

struct share {
    uint8_t *bytes;
    uint32_t total, filled;
    bool begun;
};

struct sharing {
    uint32_t first;                       /* the gather that this rank has asked for last, or is to ask for first */
    struct share *gathers[SHARING_AHEAD]; /* gather g, by rank, at g % SHARING_AHEAD; NULL: nothing has come */
    uint64_t bytes;                       /* kept */
};

struct protocol;
struct message;

/* A piece has come from a neighbour. Returns what is wrong with it, or NULL. */
const char *sharing_receive(struct protocol *protocol, uint32_t neighbour, const struct message *message);
/* All ranks are there now: pass on what has come before. */
void sharing_joined(struct protocol *protocol);
/* Give @p size bytes to gather @p number. WEFT_OUT_OF_MEMORY. */
weft_status sharing_give(struct protocol *protocol, uint32_t number, const void *bytes, uint32_t size);
/* All of what @p source gives has come. NULL: not yet. The protocol's, until sharing_forget(). */
const struct share *sharing_complete(const struct protocol *protocol, uint32_t number, uint32_t source);
/* Gathers below @p number are over for this rank. */
void sharing_forget(struct protocol *protocol, uint32_t number);
void sharing_free(struct protocol *protocol);
#endif
