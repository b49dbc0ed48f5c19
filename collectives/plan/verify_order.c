/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Does one step repetition come before another in every run? Walks backwards from the later one. Everything before a
 * position of a track precedes whatever that position precedes, and slices of a stream keep their order, so of a step's
 * repetitions only the last that is known has to be followed: the walk looks at each step at most a few times.
 */
#include "collectives/plan/verify_internal.h"

uint32_t verify_step_at(const struct verify *verify, uint32_t track, uint32_t position)
{
    uint32_t low = verify->tracks[track].first_step, high = verify->tracks[track].end_step;
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        if (verify->step_position[middle] <= position)
            low = middle;
        else
            high = middle;
    }
    return low;
}

/* All positions of @p track below @p end precede. */
static void learn(struct verify_walk *walk, uint32_t track, uint32_t end)
{
    if (end <= walk->known[track]) return;
    if (walk->known[track] == 0) walk->touched[walk->touched_count++] = track;
    if (walk->known[track] == walk->scanned[track]) walk->frontier[walk->frontier_count++] = track;
    walk->known[track] = end;
}

/* The end of the repetition, among uses [begin, end) of one end of a stream, that puts or takes @p slice. */
static uint32_t slice_position_end(const struct verify *verify, uint32_t begin, uint32_t end, uint32_t slice)
{
    while (end - begin > 1) {
        uint32_t middle = begin + (end - begin) / 2;
        if (verify->uses[middle].first <= slice)
            begin = middle;
        else
            end = middle;
    }
    const struct verify_use *use = &verify->uses[begin];
    return verify->step_position[use->step] + (slice - use->first) + 1;
}

/* What has to be over before the given repetition of a step, other tracks only. */
static void learn_from_step(struct verify *verify, uint32_t index, uint32_t repetition)
{
    const struct plan_step *step = &verify->steps[index];
    struct verify_walk *walk = &verify->walk;
    if (step->after_track != PLAN_NONE)
        learn(walk, step->after_track,
              verify->step_position[step->after_step] + verify->steps[step->after_step].repeat);
    uint32_t end = step->first_operand + step->source_count + step->destination_count;
    for (uint32_t o = step->first_operand; o < end; o++) {
        if (verify->operands[o].space != SPACE_SLOT) continue;
        const struct verify_use *use = verify_operand_use(verify, o);
        const struct verify_stream *stream = &verify->streams[use->stream];
        uint32_t slice = use->first + repetition, depth = verify->plan->slot_depth;
        if (use->take)
            learn(walk, stream->sender, slice_position_end(verify, stream->first_put, stream->first_take, slice));
        else if (slice >= depth)
            learn(walk, stream->receiver,
                  slice_position_end(verify, stream->first_take, stream->end_use, slice - depth));
    }
}

static void walk_track(struct verify *verify, uint32_t track)
{
    struct verify_walk *walk = &verify->walk;
    uint32_t from = walk->scanned[track], end = walk->known[track];
    walk->scanned[track] = end;
    for (uint32_t step = verify_step_at(verify, track, end - 1);; step--) {
        uint32_t first = verify->step_position[step], last = verify->steps[step].repeat - 1;
        learn_from_step(verify, step, end - 1 - first < last ? end - 1 - first : last);
        if (first <= from) break;
    }
}

bool verify_precedes(struct verify *verify, uint32_t early_track, uint32_t early_position, uint32_t late_track,
                     uint32_t late_position)
{
    struct verify_walk *walk = &verify->walk;
    learn(walk, late_track, late_position + 1);
    while (walk->frontier_count > 0 && walk->known[early_track] <= early_position)
        walk_track(verify, walk->frontier[--walk->frontier_count]);
    bool precedes = walk->known[early_track] > early_position;
    while (walk->touched_count > 0) {
        uint32_t track = walk->touched[--walk->touched_count];
        walk->known[track] = walk->scanned[track] = 0;
    }
    walk->frontier_count = 0;
    return precedes;
}
