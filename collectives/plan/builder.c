/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "collectives/plan/shape.h"

/* Make room for one more element of @p size bytes; false, remembered, when out of memory. */
static bool builder_reserve(struct program_builder *builder, void **array, uint32_t count, uint32_t *capacity,
                            size_t size)
{
    if (builder->failed) return false;
    if (count < *capacity) return true;
    uint32_t grown = *capacity ? *capacity * 2 : 8;
    void *moved = realloc(*array, (size_t)grown * size);
    if (!moved) {
        builder->failed = true;
        return false;
    }
    *array = moved;
    *capacity = grown;
    return true;
}

/* What callers write into once memory has run out: the result is thrown away by plan_program(). */
static _Thread_local union {
    struct plan_track track;
    struct plan_step step;
} builder_discard;

struct plan_track *builder_track(struct program_builder *builder, uint32_t channel, uint32_t window_begin,
                                 uint32_t window_end, uint32_t chunk_count)
{
    struct plan_program *program = &builder->program;
    if (!builder_reserve(builder, (void **)&program->tracks, program->track_count, &builder->track_capacity,
                         sizeof *program->tracks))
        return &builder_discard.track;
    struct plan_track *track = &program->tracks[program->track_count++];
    *track = (struct plan_track){
        .channel = (uint16_t)channel,
        .path_hint = (uint16_t)channel,
        .first_step = program->step_count,
        .window_begin = window_begin,
        .window_end = window_end,
        .chunk_count = chunk_count,
    };
    return track;
}

struct plan_track *builder_block_track(struct program_builder *builder, const struct weft_plan *plan, uint32_t channel,
                                       uint32_t window_begin, uint32_t window_end)
{
    uint32_t count = (uint32_t)plan_block_count(plan);
    struct plan_track *track = builder_track(builder, channel, window_begin, window_end, count);
    if (count > 1) track->chunk_stride = plan->share_denominator / count;
    return track;
}

struct plan_step *builder_step(struct program_builder *builder)
{
    struct plan_program *program = &builder->program;
    if (!builder_reserve(builder, (void **)&program->steps, program->step_count, &builder->step_capacity,
                         sizeof *program->steps))
        return &builder_discard.step;
    struct plan_step *step = &program->steps[program->step_count++];
    *step = (struct plan_step){
        .first_operand = program->operand_count,
        .repeat = 1,
        .after_track = PLAN_NONE,
        .after_step = PLAN_NONE,
    };
    program->tracks[program->track_count - 1].step_count++;
    return step;
}

static void builder_operand(struct program_builder *builder, enum plan_space space, uint32_t rank)
{
    struct plan_program *program = &builder->program;
    if (!builder_reserve(builder, (void **)&program->operands, program->operand_count, &builder->operand_capacity,
                         sizeof *program->operands))
        return;
    program->operands[program->operand_count++] = (struct plan_operand){.space = space, .rank = rank};
}

void builder_form(struct program_builder *builder, enum plan_form form)
{
    if (!builder->failed) builder->program.operands[builder->program.operand_count - 1].form = form;
}

void builder_source(struct program_builder *builder, enum plan_space space, uint32_t rank)
{
    builder_operand(builder, space, rank);
    if (!builder->failed) builder->program.steps[builder->program.step_count - 1].source_count++;
}

void builder_destination(struct program_builder *builder, enum plan_space space, uint32_t rank)
{
    builder_operand(builder, space, rank);
    if (!builder->failed) builder->program.steps[builder->program.step_count - 1].destination_count++;
}
