/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a plan consists of. docs/design/plan.md gives the reasons; in short:
 *
 * A plan gives every rank a program: a few tracks, each an ordered body of steps. The message is cut into slices; a
 * track runs its whole body for the first slice, then for the second, and so on, independently of the other tracks but
 * for `after` edges. Steps of one slice never touch elements of another.
 *
 * A step reads its sources, combines them in order and writes the result to all of its destinations:
 *     put     input -> slot of a peer              copy    slot -> output
 *     reduce  slot, input -> output                fused   slot, input -> output, slot of the next rank
 *     signal  nothing -> slot of a peer            wait    slot -> nothing
 * A slot is granted staging memory for one slice at the receiving rank. A SLOT source is the oldest unread slice from
 * that peer on this track's channel: the step waits for it, and afterwards gives the slot back. A SLOT destination is
 * the next free slot at that peer: the step waits until there is one. Nothing else waits.
 *
 * A stream is all slots from one rank to another on one channel. At either end just one track may use it, so the k-th
 * slice sent is the k-th received.
 */
#ifndef COLLECTIVES_PLAN_H
#define COLLECTIVES_PLAN_H

#include <stdbool.h>
#include <stdint.h>
#include <weft/plan.h>

#include "base/arena.h"
#include "base/diagnostic.h"

#define PLAN_NONE UINT32_MAX
#define PLAN_MAX_CHANNELS 128u /* a double binary tree makes two of each of the 64 that a caller may ask for */
#define PLAN_MAX_SLOT_DEPTH 64u
#define PLAN_MAX_RANKS (1u << 24) /* keeps rank * channel * chunk products inside 64 bits */
#define PLAN_MAX_PAIR_RANKS 4096u /* with a chunk for each pair of them */
#define PLAN_MAX_OPERANDS 255u    /* sources, or destinations, of one step */

enum plan_space { SPACE_INPUT, SPACE_OUTPUT, SPACE_SLOT };

/*
 * What an operand holds, in canonical plans, where nothing is rounded on its way: all others hold elements. A leaf is
 * one rank's contribution: an element, unless it has been scaled, when it is a partial result. Partial results are in
 * the type that is combined (reduce_partial_bytes()).
 */
enum plan_form { FORM_ELEMENT, FORM_LEAF, FORM_PARTIAL };

struct plan_operand {
    uint32_t space; /* enum plan_space */
    uint32_t rank;  /* SLOT: the peer; else this rank */
    uint32_t form;  /* enum plan_form; only slots hold anything but elements */
};

enum plan_step_flags {
    STEP_FINAL = 1, /* the combined value holds every contribution: an average is divided here */
    STEP_TREE = 2,  /* canonical: sources are combined by the binary tree over them, instead of one after another */
};

struct plan_step {
    uint8_t source_count, destination_count;
    uint16_t flags;
    uint32_t first_operand; /* sources in order of combination, then destinations */
    uint32_t chunk;         /* of the track's window, all operands alike */
    int32_t stride;         /* added to chunk at each repetition, modulo the track's chunk_count */
    uint32_t repeat;        /* 1 or more */
    uint32_t after_track,
        after_step; /* wait until that step (all its repetitions) is done for this slice; or PLAN_NONE */
};

struct plan_track {
    uint16_t channel;
    uint16_t path_hint; /* for the transport: tracks of equal hint share a path */
    uint32_t first_step, step_count;
    /*
     * This track's part of the message, in units of 1 / plan->share_denominator. Without a stride the window is cut
     * into chunk_count equal chunks. With one, chunk k is the window itself, moved on by k strides: the same part of
     * every block, or of every so many.
     */
    uint32_t window_begin, window_end, chunk_count, chunk_stride;
};

/* What one rank does. Owned by whoever asked for it; program_free(). */
struct plan_program {
    struct plan_track *tracks;
    struct plan_step *steps;
    struct plan_operand *operands;
    uint32_t track_count, step_count, operand_count;
};

/* Puts a program together, front to back. Running out of memory or room is remembered until program_finish(). */
struct program_builder {
    struct plan_program program;
    uint32_t track_capacity, step_capacity, operand_capacity;
    bool failed;
};

struct weft_plan {
    weft_collective collective;
    weft_algorithm algorithm;
    uint32_t rank_count, root;
    uint32_t peer;          /* send_recv: who gets the root's message; else 0 */
    uint32_t channel_count; /* channels that tracks name are below this */
    uint32_t slot_depth;
    uint32_t share_denominator; /* of the tracks' windows */
    /* Every value is what the tree of docs/guide/reproducible.md comes to, rounded once. Only where ranks combine. */
    bool canonical;
    /* Either made on demand, a rank at a time, ... */
    weft_status (*generate)(const struct weft_plan *plan, uint32_t rank, struct program_builder *builder);
    uint32_t instance_count;    /* generators without a layout: parts of the message, or of each block */
    struct plan_layout *layout; /* generators: rings or trees to use; NULL: ranks in order */
    /* ... or read from a file: one per rank. */
    struct plan_program *programs;
};

/* One rank's program. Errors: WEFT_OUT_OF_MEMORY. Thread: any. */
weft_status plan_program(const struct weft_plan *plan, uint32_t rank, struct plan_program *program);
void program_free(struct plan_program *program);

/* The chunk that a step's given repetition works on. */
static inline uint32_t step_chunk(const struct plan_track *track, const struct plan_step *step, uint32_t repetition)
{
    int64_t chunk = (int64_t)step->chunk + (int64_t)step->stride % (int64_t)track->chunk_count * repetition;
    chunk %= (int64_t)track->chunk_count;
    return (uint32_t)(chunk < 0 ? chunk + track->chunk_count : chunk);
}

/* Builder calls, in the order of the program. */
struct plan_track *builder_track(struct program_builder *builder, uint32_t channel, uint32_t window_begin,
                                 uint32_t window_end, uint32_t chunk_count);
/* A track over the same shares of every block; chunks are numbered as the blocks are. */
struct plan_track *builder_block_track(struct program_builder *builder, const struct weft_plan *plan, uint32_t channel,
                                       uint32_t window_begin, uint32_t window_end);
/* A step of the newest track, run once on chunk 0 unless the fields are changed: the pointer is good until the next
 * builder call. */
struct plan_step *builder_step(struct program_builder *builder);
/* Operands of the newest step: all sources before the first destination. */
void builder_source(struct program_builder *builder, enum plan_space space, uint32_t rank);
void builder_destination(struct program_builder *builder, enum plan_space space, uint32_t rank);
/* What the newest operand holds; without this an element. */
void builder_form(struct program_builder *builder, enum plan_form form);

/* One entry per algorithm of a collective; adding an algorithm is adding a file and a row to the table in generators.c.
 */
enum plan_layout_use { LAYOUT_REFUSED, LAYOUT_USED, LAYOUT_NEEDED };
struct plan_generator {
    weft_collective collective;
    weft_algorithm algorithm;
    uint32_t channels_per_unit, shares_per_unit; /* without a layout */
    uint32_t rank_limit;
    enum plan_layout_use layout;
    weft_status (*generate)(const struct weft_plan *plan, uint32_t rank, struct program_builder *builder);
};
const struct plan_generator *plan_generator_find(weft_collective collective, weft_algorithm algorithm);
/* The one whose plans are canonical; collectives that combine nothing have their usual ones. */
const struct plan_generator *plan_generator_find_canonical(weft_collective collective, weft_algorithm algorithm);
/* Can it make a plan for so many ranks, with a layout or without? */
bool plan_generator_serves(const struct plan_generator *generator, uint32_t rank_count, bool layout);

/*
 * Structure only: indices in range, operands that exist, windows that cover the message, peers that are not oneself,
 * one track per stream end. What the reader, the verifier and the executor rely on. @p diagnostic names rank, track and
 * step.
 */
weft_status plan_check_program(const struct weft_plan *plan, uint32_t rank, const struct plan_program *program,
                               struct diagnostic *diagnostic);
#endif
