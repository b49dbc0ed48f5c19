/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <string.h>

#include "collectives/plan/verify_internal.h"

/* Programs one after another, grown as they are made: a plan's total size is not known before. */
struct load {
    struct verify *verify;
    struct plan_program *programs;
    uint64_t track_count, step_count, operand_count;
};

/* Every rank needs the same windows, or some of its chunks would have no counterpart. */
static weft_status load_windows(struct verify *verify, uint32_t rank, const struct plan_program *program)
{
    size_t room = program->track_count ? program->track_count : 1;
    struct plan_window *windows = arena_alloc(&verify->arena, room, sizeof *windows);
    if (!windows) return verify_out_of_memory(verify);
    uint32_t count;
    weft_status status = plan_check_windows(verify->plan, rank, program, windows, &count, &verify->diagnostic);
    if (status != WEFT_OK) return status;
    if (program->track_count == 0 && verify->plan->collective == WEFT_SEND_RECV) return WEFT_OK; /* takes no part */
    if (!verify->windows) {
        verify->windows = windows;
        verify->window_count = count;
    }
    for (uint32_t i = 0; i < count && i < verify->window_count; i++)
        if (!plan_window_equal(&windows[i], &verify->windows[i]))
            return diagnose(&verify->diagnostic, WEFT_INVALID_PLAN,
                            "rank %u has window %u to %u in %u chunks where rank 0 has %u to %u in %u", rank,
                            windows[i].begin, windows[i].end, windows[i].chunk_count, verify->windows[i].begin,
                            verify->windows[i].end, verify->windows[i].chunk_count);
    if (count != verify->window_count)
        return diagnose(&verify->diagnostic, WEFT_INVALID_PLAN, "rank %u has %u windows where rank 0 has %u", rank,
                        count, verify->window_count);
    return WEFT_OK;
}

static weft_status load_program(struct load *load, uint32_t rank)
{
    struct verify *verify = load->verify;
    struct plan_program *program = &load->programs[rank];
    weft_status status = plan_program(verify->plan, rank, program);
    if (status != WEFT_OK) return diagnose(&verify->diagnostic, status, "rank %u: no program", rank);
    status = plan_check_program(verify->plan, rank, program, &verify->diagnostic);
    if (status == WEFT_OK) status = load_windows(verify, rank, program);
    load->track_count += program->track_count;
    load->step_count += program->step_count;
    load->operand_count += program->operand_count;
    return status;
}

static uint32_t window_index(const struct verify *verify, const struct plan_track *track)
{
    uint32_t low = 0, high = verify->window_count;
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        if (verify->windows[middle].begin <= track->window_begin)
            low = middle;
        else
            high = middle;
    }
    return low;
}

/* Append a track's steps; all tracks of its rank are there already. */
static void place_steps(struct verify *verify, const struct plan_program *program, uint32_t track_number,
                        const struct plan_track *from)
{
    const struct verify_track *track = &verify->tracks[track_number], *rank_tracks = track - track->index;
    uint32_t position = 0;
    for (uint32_t s = 0; s < from->step_count; s++) {
        const struct plan_step *original = &program->steps[from->first_step + s];
        struct plan_step *step = &verify->steps[track->first_step + s];
        uint32_t count = (uint32_t)original->source_count + original->destination_count;
        *step = *original;
        step->first_operand = verify->operand_count;
        if (count > 0)
            memcpy(&verify->operands[verify->operand_count], &program->operands[original->first_operand],
                   count * sizeof *verify->operands);
        verify->operand_count += count;
        verify->step_position[track->first_step + s] = position;
        position += step->repeat;
        if (step->after_track != PLAN_NONE) {
            step->after_step += rank_tracks[step->after_track].first_step;
            step->after_track += track_number - track->index;
            verify->step_watched[step->after_step] = true;
        }
    }
}

static void place_program(struct verify *verify, uint32_t rank, const struct plan_program *program)
{
    uint32_t first_track = verify->track_count;
    verify->rank_first_track[rank] = first_track;
    for (uint32_t t = 0; t < program->track_count; t++) {
        const struct plan_track *from = &program->tracks[t];
        verify->tracks[verify->track_count++] = (struct verify_track){
            .rank = rank,
            .index = t,
            .channel = from->channel,
            .chunk_count = from->chunk_count,
            .window = window_index(verify, from),
            .first_step = verify->step_count,
            .end_step = verify->step_count + from->step_count,
            .step = verify->step_count,
        };
        verify->step_count += from->step_count;
    }
    for (uint32_t t = 0; t < program->track_count; t++)
        place_steps(verify, program, first_track + t, &program->tracks[t]);
}

static bool load_allocate(const struct load *load)
{
    struct verify *verify = load->verify;
    struct arena *arena = &verify->arena;
    size_t ranks = verify->plan->rank_count;
    size_t track_count = load->track_count, step_count = load->step_count, operand_count = load->operand_count;
    verify->tracks = arena_alloc(arena, track_count, sizeof *verify->tracks);
    verify->ready = arena_alloc(arena, track_count, sizeof *verify->ready);
    verify->rank_first_track = arena_alloc(arena, ranks + 1, sizeof *verify->rank_first_track);
    verify->steps = arena_alloc(arena, step_count, sizeof *verify->steps);
    verify->step_position = arena_alloc(arena, step_count, sizeof *verify->step_position);
    verify->step_messages = arena_alloc(arena, step_count, sizeof *verify->step_messages);
    verify->step_watched = arena_alloc(arena, step_count, sizeof *verify->step_watched);
    verify->operands = arena_alloc(arena, operand_count, sizeof *verify->operands);
    verify->operand_use = arena_alloc(arena, operand_count, sizeof *verify->operand_use);
    verify->uses = arena_alloc(arena, operand_count, sizeof *verify->uses);
    verify->window_first_cell = arena_alloc(arena, verify->window_count, sizeof *verify->window_first_cell);
    verify->walk.known = arena_alloc(arena, track_count, sizeof *verify->walk.known);
    verify->walk.scanned = arena_alloc(arena, track_count, sizeof *verify->walk.scanned);
    verify->walk.frontier = arena_alloc(arena, track_count, sizeof *verify->walk.frontier);
    verify->walk.touched = arena_alloc(arena, track_count, sizeof *verify->walk.touched);
    if (verify->plan->collective == WEFT_BARRIER)
        verify->step_heard = arena_alloc(arena, step_count, sizeof *verify->step_heard);
    return verify->tracks && verify->ready && verify->rank_first_track && verify->steps && verify->step_position &&
           verify->step_messages && verify->step_watched && verify->operands && verify->operand_use && verify->uses &&
           verify->window_first_cell && verify->walk.known && verify->walk.scanned && verify->walk.frontier &&
           verify->walk.touched && (verify->step_heard || verify->plan->collective != WEFT_BARRIER);
}

/*
 * A plan from a file may declare any number of chunks. Memory is taken only for as many as its steps could work on:
 * each rank's where each has all of the input or output, else those of all of them.
 */
static weft_status check_chunk_count(struct verify *verify)
{
    const struct shape *shape = shape_of(verify->plan->collective);
    bool each = shape->output == HOLDER_ALL || shape->input == HOLDER_ALL;
    uint64_t total = 0;
    for (uint32_t rank = 0; rank < verify->plan->rank_count; rank++) {
        uint32_t begin = verify->rank_first_track[rank], end = verify->rank_first_track[rank + 1];
        uint64_t repetitions = 0;
        for (uint32_t t = begin; t < end; t++)
            for (uint32_t s = verify->tracks[t].first_step; s < verify->tracks[t].end_step; s++)
                repetitions += verify->steps[s].repeat;
        total += repetitions;
        if (each && repetitions < verify->cells_per_rank)
            return diagnose(&verify->diagnostic, WEFT_INVALID_PLAN,
                            "rank %u: %" PRIu64 " repetitions of steps cannot work on %" PRIu64 " chunks", rank,
                            repetitions, verify->cells_per_rank);
    }
    if (!each && total < verify->cells_per_rank)
        return diagnose(&verify->diagnostic, WEFT_INVALID_PLAN,
                        "rank 0: %" PRIu64 " repetitions of all ranks' steps cannot work on %" PRIu64 " chunks", total,
                        verify->cells_per_rank);
    return WEFT_OK;
}

/*
 * Buffers of a rank: a cell for each chunk of each window. Of the chunks for pairs a rank has those that it sends or
 * gets: one of each kind for every rank. A barrier has none.
 */
weft_status verify_load_cells(struct verify *verify)
{
    if (verify->plan->collective == WEFT_BARRIER) return WEFT_OK;
    for (uint32_t i = 0; i < verify->window_count; i++) {
        if (verify->cells_per_rank > UINT32_MAX) break;
        verify->window_first_cell[i] = (uint32_t)verify->cells_per_rank;
        verify->cells_per_rank += verify_window_cells(verify, i);
    }
    if (verify->cells_per_rank > UINT32_MAX)
        return diagnose(&verify->diagnostic, WEFT_INVALID_PLAN, "more than %u chunks", UINT32_MAX);
    weft_status status = check_chunk_count(verify);
    if (status != WEFT_OK) return status;
    size_t count;
    if (__builtin_mul_overflow(verify->cells_per_rank, verify->plan->rank_count, &count))
        return verify_out_of_memory(verify);
    verify->cells = arena_alloc(&verify->arena, count, sizeof *verify->cells);
    return verify->cells ? WEFT_OK : verify_out_of_memory(verify);
}

static weft_status load_all(struct load *load)
{
    struct verify *verify = load->verify;
    for (uint32_t rank = 0; rank < verify->plan->rank_count; rank++) {
        weft_status status = load_program(load, rank);
        if (status != WEFT_OK) return status;
    }
    if (load->track_count >= UINT32_MAX || load->step_count >= UINT32_MAX || load->operand_count >= UINT32_MAX)
        return diagnose(&verify->diagnostic, WEFT_INVALID_PLAN, "more than %u tracks, steps or operands", UINT32_MAX);
    if (!load_allocate(load)) return verify_out_of_memory(verify);
    for (uint32_t rank = 0; rank < verify->plan->rank_count; rank++) place_program(verify, rank, &load->programs[rank]);
    verify->rank_first_track[verify->plan->rank_count] = verify->track_count;
    return WEFT_OK;
}

weft_status verify_load(struct verify *verify)
{
    struct load load = {.verify = verify};
    load.programs = arena_alloc(&verify->arena, verify->plan->rank_count, sizeof *load.programs);
    if (!load.programs) return verify_out_of_memory(verify);
    weft_status status = load_all(&load);
    for (uint32_t rank = 0; rank < verify->plan->rank_count; rank++) program_free(&load.programs[rank]);
    return status;
}
