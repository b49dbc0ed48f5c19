/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cells between two ranks that share memory: each has a lane to the other, where it stores one cell after another, and
 * a flag and what goes with it share a cache line.
 *
 * A cell's place is used again once the peer is done with what was in it. That needs no message where both send: who
 * sends a cell has finished all operations before that one, and so with all cells they brought. Where only one sends,
 * or where a cell only says where the contents are, the other stores how many it is done with.
 *
 * Functions that store leave it to connection_wake() to wake a peer that sleeps.
 */
#ifndef COLLECTIVES_CELL_H
#define COLLECTIVES_CELL_H

#include <stdalign.h>
#include <stdatomic.h>
#include <string.h>

#include "collectives/exec/exec.h"

enum {
    CELL_BESIDE_BYTES = 56,  /* of a message that fits the flag's own line */
    CELL_TRAIL_BYTES = 4096, /* for distance.h */
    LANE_CELLS = 2,          /* enough for an exchange: nobody is two cells ahead of anybody */
};

struct cell {
    /* By reference << 63 | number (from 1, modulo 2^31) << 32 | check. cell_send() releases, cell_come() acquires. */
    alignas(64) _Atomic uint64_t flag;
    uint8_t beside[CELL_BESIDE_BYTES];
    uint8_t payload[EXCHANGE_BYTES];
    uint8_t trail[CELL_TRAIL_BYTES];
};

/* From one rank to another, in a region that the receiver grants and the sender writes. */
struct lane {
    struct cell cells[LANE_CELLS];
    /* LANE_LEFT; or the number of the last cell of the other lane that the writer of this one is done with, and maybe
     * LANE_THROUGH. lane_say() releases, lane_look() and lane_is_through() acquire. */
    alignas(64) _Atomic uint64_t taken;
    /* To its writer the caches that it reads the other lane from are far away (distance.h). No order: it is a hint. */
    _Atomic uint32_t finds_apart;
};

/* What a rank knows of its lanes to and from a peer. Counts are modulo 2^32. */
struct lanes {
    struct lane *to, *from;
    uint32_t sent, taken; /* cells to the peer, and those of them that it is done with, as far as known */
    uint32_t come;        /* cells from the peer */
};

#define CELL_BY_REFERENCE (UINT64_C(1) << 63)
#define CELL_NUMBER_MASK UINT64_C(0x7fffffff)
#define LANE_LEFT (UINT64_C(1) << 32)
/* Not only with what came with the cell, but with all of the operation. */
#define LANE_THROUGH (UINT64_C(1) << 33)

static inline uint64_t cell_flag(uint32_t number, uint32_t check)
{
    return (number & CELL_NUMBER_MASK) << 32 | check;
}

/* The peer is done with so many of the cells that were sent. */
static inline void lane_note_taken(struct lanes *lanes, uint32_t taken)
{
    if ((int32_t)(taken - lanes->taken) > 0) lanes->taken = taken;
}

/* Look whether the peer is done with more cells. What one that has left was at may not be done. True: it has left. */
static inline bool lane_look(struct lanes *lanes)
{
    uint64_t said = atomic_load_explicit(&lanes->from->taken, memory_order_acquire); /* pairs with lane_say() */
    if (said & LANE_LEFT) return true;
    lane_note_taken(lanes, (uint32_t)said);
    return false;
}

/* May the next cell be written? */
static inline bool lane_has_room(struct lanes *lanes)
{
    if (lanes->sent - lanes->taken < LANE_CELLS) return true;
    lane_look(lanes);
    return lanes->sent - lanes->taken < LANE_CELLS;
}

/* Is the peer done with all that was sent? */
static inline bool lane_is_taken(struct lanes *lanes)
{
    if (lanes->taken != lanes->sent) lane_look(lanes);
    return lanes->taken == lanes->sent;
}

/* Is the peer through with the operation of cell @p number, or gone? */
static inline bool lane_is_through(const struct lanes *lanes, uint32_t number)
{
    const uint64_t said = atomic_load_explicit(&lanes->from->taken, memory_order_acquire); /* pairs with lane_say() */
    if (said & LANE_LEFT) return true;
    return (uint32_t)said == number ? said & LANE_THROUGH : (int32_t)((uint32_t)said - number) > 0;
}

/* This rank is done with all cells that have come. @p through: LANE_THROUGH, or 0: not yet with what they lent. */
static inline void lane_say(struct lanes *lanes, uint64_t through)
{
    /* Release: what was read is read, and what was written to the peer's memory is there. Pairs with lane_look(). */
    atomic_store_explicit(&lanes->to->taken, lanes->come | through, memory_order_release);
}

/* This rank will not get at the peer's memory any more, though it has not done its part. */
static inline void lane_leave(struct lanes *lanes)
{
    atomic_store_explicit(&lanes->to->taken, LANE_LEFT, memory_order_release); /* with lane_look() */
}

/* The cell to be written next. */
static inline struct cell *cell_next(const struct lanes *lanes)
{
    return &lanes->to->cells[(lanes->sent + 1) % LANE_CELLS];
}

/* Where a message of so many bytes is. */
static inline uint8_t *cell_contents(struct cell *cell, size_t bytes)
{
    return bytes <= CELL_BESIDE_BYTES ? cell->beside : cell->payload;
}

/* A number or two are stored by two words, which may overlap: a call of memcpy() takes longer. */
static inline void cell_store(struct cell *cell, const uint8_t *contents, size_t bytes)
{
    const size_t word = sizeof(uint64_t);
    uint64_t first, last;
    if (bytes - word <= word) {
        memcpy(&first, contents, word);
        memcpy(&last, contents + bytes - word, word);
        memcpy(cell->beside, &first, word);
        memcpy(cell->beside + bytes - word, &last, word);
    } else if (bytes > 0) {
        memcpy(cell_contents(cell, bytes), contents, bytes);
    }
}

/* @p cell is cell_next(), and all of it that there is to be is stored. */
static inline void cell_send(struct lanes *lanes, struct cell *cell, uint64_t flags, uint32_t check)
{
    lanes->sent++;
    /* Release: pairs with cell_come() in the peer, which reads the rest of the cell after it. */
    atomic_store_explicit(&cell->flag, flags | cell_flag(lanes->sent, check), memory_order_release);
}

/* Make the last cell that was sent one of an operation that its sender has left. */
static inline void cell_spoil(struct lanes *lanes, uint32_t check)
{
    struct cell *cell = &lanes->to->cells[lanes->sent % LANE_CELLS];
    atomic_store_explicit(&cell->flag, cell_flag(lanes->sent, ~check), memory_order_release); /* with cell_come() */
}

/* The last cell that has come. */
static inline struct cell *cell_last(const struct lanes *lanes)
{
    return &lanes->from->cells[lanes->come % LANE_CELLS];
}

/*
 * Has the next cell come, of an operation with this check? WEFT_OK: yes; *flags is CELL_BY_REFERENCE or 0.
 * WEFT_IN_PROGRESS: not yet, or the peer has left the operation.
 */
static inline weft_status cell_come(const struct lanes *lanes, uint32_t check, uint64_t *flags)
{
    uint32_t number = lanes->come + 1;
    /* Acquire: pairs with cell_send(). */
    uint64_t flag = atomic_load_explicit(&lanes->from->cells[number % LANE_CELLS].flag, memory_order_acquire);
    *flags = flag & CELL_BY_REFERENCE;
    flag &= ~CELL_BY_REFERENCE;
    if (flag == cell_flag(number, check)) return WEFT_OK;
    uint64_t found = flag >> 32;
    if (flag == 0 || found == ((number - LANE_CELLS) & CELL_NUMBER_MASK)) return WEFT_IN_PROGRESS;
    if (found != (number & CELL_NUMBER_MASK)) return WEFT_PROTOCOL_ERROR;
    return flag == cell_flag(number, ~check) ? WEFT_IN_PROGRESS : WEFT_MISMATCH;
}

/* Has the next cell come, of whatever operation? */
static inline bool cell_is_there(const struct lanes *lanes)
{
    uint32_t number = lanes->come + 1;
    uint64_t flag = atomic_load_explicit(&lanes->from->cells[number % LANE_CELLS].flag, memory_order_acquire);
    return (flag >> 32 & CELL_NUMBER_MASK) == (number & CELL_NUMBER_MASK);
}

/*
 * Get hold of the next cell's first line while there is time: it was the peer's to read, and taking it back at the
 * next call would cost that one a trip between the cores. (Not of all lines: the peer may be at reading them.)
 */
static inline void cell_fetch(const struct lanes *lanes)
{
    struct cell *cell = cell_next(lanes);
#ifdef __x86_64__
    /* What the compiler makes of __builtin_prefetch() for the oldest x86-64 only reads. */
    __asm__ volatile("prefetchw %0" ::"m"(*(const char *)cell));
#else
    __builtin_prefetch(cell, 1);
#endif
}
#endif
