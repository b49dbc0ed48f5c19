/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The verifier's view of a plan: all ranks' programs side by side, streams resolved. One slice is enough
 * (docs/design/plan.md). Tracks, steps and operands are numbered through over all ranks here; a position is a track's
 * count of step repetitions.
 */
#ifndef COLLECTIVES_PLAN_VERIFY_INTERNAL_H
#define COLLECTIVES_PLAN_VERIFY_INTERNAL_H

#include "collectives/plan/check_internal.h"
#include "collectives/plan/verify_value.h"

/* What a track that cannot go on waits for. */
enum track_wait { WAIT_NOTHING, WAIT_ARRIVAL, WAIT_SLOT, WAIT_STEP };

struct verify_track {
    uint32_t rank, index; /* the index-th track of that rank */
    uint32_t channel, chunk_count;
    uint32_t window; /* of verify.windows */
    uint32_t first_step, end_step;

    /* Progress. */
    uint32_t step, repetition, position;
    uint32_t messages; /* longest chain of messages that led here */
    enum track_wait wait;
    uint32_t wait_on;   /* a stream, or the step for WAIT_STEP */
    struct value heard; /* barrier: the ranks that this track has heard of */
};

/* A step that sends into, or receives from, a stream. */
struct verify_use {
    uint32_t from, to, channel;
    bool take; /* else a put */
    uint32_t track, step, operand;
    uint32_t first; /* which of the stream's slices the step's first repetition puts or takes */
    uint32_t stream;
};

/* A slice on its way. */
struct verify_slot {
    struct value value;
    uint32_t chunk, form;
    uint32_t messages;       /* as of the put, this one included */
    uint32_t taken_messages; /* of the track that took the last one from here: the put waited for that */
};

struct verify_stream {
    uint32_t sender, receiver;               /* tracks */
    uint32_t first_put, first_take, end_use; /* uses, in program order at either end */
    uint32_t slice_count;                    /* slices that go through, for one slice of the message */
    uint32_t put_count, take_count;          /* so far */
    uint32_t first_slot, slot_count;         /* of verify.slots */
};

/*
 * What happened to one chunk at one rank. Tracks are kept plus 1, 0 meaning none. Of readers in one track the last is
 * enough: whatever it precedes, the earlier ones precede.
 */
struct verify_cell {
    uint32_t reader, reader_position;
    uint32_t reads;     /* of the input: 0, 1, or 2 for more */
    uint32_t next_read; /* reads in other tracks: index into verify.reads plus 1 */
    uint32_t writer, writer_position;
};

/* A further track that read a chunk of the input. */
struct verify_read {
    uint32_t track, position, next;
};

/* Scratch of verify_precedes(); each array has one element per track. */
struct verify_walk {
    uint32_t *known;    /* positions below this precede */
    uint32_t *scanned;  /* ... and positions below this have been followed further back */
    uint32_t *frontier; /* tracks where the two differ */
    uint32_t *touched;  /* tracks where `known` is not 0 */
    uint32_t frontier_count, touched_count;
};

struct verify {
    const struct weft_plan *plan;
    struct diagnostic diagnostic;
    struct arena arena; /* everything of known size below */
    struct value_space values;

    struct plan_window *windows;
    uint32_t *window_first_cell; /* within a rank's cells */
    uint32_t window_count;
    uint64_t cells_per_rank;

    struct verify_track *tracks;
    uint32_t *rank_first_track; /* rank_count + 1 of them */
    struct plan_step *steps;    /* first_operand, after_track and after_step numbered through */
    uint32_t *step_position;    /* of the first repetition, in its track */
    uint32_t *step_messages;    /* of the track when it had done the step */
    bool *step_watched;         /* some step is `after` this one */
    struct value *step_heard;   /* barrier: what a watched step's track had heard by then */
    struct plan_operand *operands;
    uint32_t *operand_use; /* slot operands: the use */
    uint32_t track_count, step_count, operand_count;

    struct verify_use *uses;
    struct verify_stream *streams;
    struct verify_slot *slots;
    uint32_t use_count, stream_count;

    struct verify_cell *cells;
    struct verify_read *reads;
    uint32_t read_count, read_capacity;

    /* Tracks that may be able to go on. */
    uint32_t *ready;
    uint32_t ready_count;

    struct verify_walk walk;
};

/* Lay the programs side by side, and pair up the streams. */
weft_status verify_load(struct verify *verify);
weft_status verify_pair_streams(struct verify *verify);
/* What is known of a plan whose streams pair up: loads in ascending order of pairs; the report's counts and shares. */
void verify_visit_loads(const struct verify *verify, void (*each)(void *context, const weft_plan_load *load),
                        void *context);
void verify_report_loads(const struct verify *verify, weft_plan_report *report);
/* Make room for what happens to the buffers. */
weft_status verify_load_cells(struct verify *verify);
/* Run all programs for one slice, as far as they go. */
weft_status verify_run(struct verify *verify, weft_plan_report *report);
/* Does a repetition of one track come before one of another in every run? */
bool verify_precedes(struct verify *verify, uint32_t early_track, uint32_t early_position, uint32_t late_track,
                     uint32_t late_position);

/* Consecutive ranks. */
struct verify_span {
    uint32_t begin, end;
};
/* Canonical plans: what a source holds; whether @p count sources are joined as they have to be; and whether what is
 * sent says what it is. */
weft_status verify_canonical_source(struct verify *verify, const struct verify_track *track, const struct value *value,
                                    struct verify_span *span);
weft_status verify_canonical_step(struct verify *verify, const struct verify_track *track,
                                  const struct verify_span *spans, uint32_t count);
weft_status verify_canonical_slot(struct verify *verify, const struct verify_track *track, uint32_t operand,
                                  const struct value *value);

/* The step that a track's position lies in. */
uint32_t verify_step_at(const struct verify *verify, uint32_t track, uint32_t position);

/* One check for each way to touch a buffer. The step is that which its track is at. */
weft_status verify_read_input(struct verify *verify, const struct verify_track *track, uint32_t chunk);
weft_status verify_read_output(struct verify *verify, const struct verify_track *track, uint32_t chunk);
weft_status verify_write_output(struct verify *verify, const struct verify_track *track, uint32_t chunk,
                                const struct value *value);
weft_status verify_outputs_whole(struct verify *verify);

/* Places of a rank's buffers that a window has a part in. */
static inline uint32_t verify_window_cells(const struct verify *verify, uint32_t window)
{
    bool pairs = shape_of(verify->plan->collective)->blocks == BLOCKS_PER_PAIR;
    return pairs ? verify->plan->rank_count : verify->windows[window].chunk_count;
}

static inline const struct plan_step *verify_step(const struct verify *verify, const struct verify_track *track)
{
    return &verify->steps[track->step];
}

static inline const struct verify_use *verify_operand_use(const struct verify *verify, uint32_t operand)
{
    return &verify->uses[verify->operand_use[operand]];
}

weft_status verify_out_of_memory(struct verify *verify);
/* WEFT_INVALID_PLAN with a sentence that begins with the rank, track, step, repetition and chunk of where @p track is.
 */
__attribute__((format(printf, 3, 4))) weft_status verify_refuse(struct verify *verify, const struct verify_track *track,
                                                                const char *format, ...);
#endif
