/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/collectives/plan_edit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void step_take_apart(const struct plan_program *program, const struct plan_step *step, struct edit_step *edit)
{
    assert_true(step->source_count <= EDIT_OPERANDS && step->destination_count <= EDIT_OPERANDS);
    *edit = (struct edit_step){
        .fields = *step, .source_count = step->source_count, .destination_count = step->destination_count};
    for (uint32_t i = 0; i < step->source_count; i++) edit->sources[i] = program->operands[step->first_operand + i];
    for (uint32_t i = 0; i < step->destination_count; i++)
        edit->destinations[i] = program->operands[step->first_operand + step->source_count + i];
}

void edit_take_apart(const struct weft_plan *plan, struct edit_plan *edit)
{
    memset(edit, 0, sizeof *edit);
    edit->header = *plan;
    assert_true(plan->rank_count <= EDIT_RANKS);
    for (uint32_t rank = 0; rank < plan->rank_count; rank++) {
        struct plan_program program;
        assert_int_equal(plan_program(plan, rank, &program), WEFT_OK);
        struct edit_program *apart = &edit->programs[rank];
        assert_true(program.track_count <= EDIT_TRACKS);
        apart->track_count = program.track_count;
        for (uint32_t t = 0; t < program.track_count; t++) {
            const struct plan_track *track = &program.tracks[t];
            assert_true(track->step_count <= EDIT_STEPS);
            apart->tracks[t].fields = *track;
            apart->tracks[t].step_count = track->step_count;
            for (uint32_t s = 0; s < track->step_count; s++)
                step_take_apart(&program, &program.steps[track->first_step + s], &apart->tracks[t].steps[s]);
        }
        program_free(&program);
    }
}

static void step_put_together(const struct edit_step *edit, struct program_builder *builder)
{
    struct plan_step *step = builder_step(builder);
    uint32_t first_operand = step->first_operand;
    *step = edit->fields;
    step->first_operand = first_operand;
    step->source_count = step->destination_count = 0;
    for (uint32_t i = 0; i < edit->source_count; i++)
        builder_source(builder, (enum plan_space)edit->sources[i].space, edit->sources[i].rank);
    for (uint32_t i = 0; i < edit->destination_count; i++)
        builder_destination(builder, (enum plan_space)edit->destinations[i].space, edit->destinations[i].rank);
}

struct weft_plan *edit_put_together(const struct edit_plan *edit)
{
    struct weft_plan *plan = malloc(sizeof *plan);
    assert_non_null(plan);
    *plan = edit->header;
    plan->generate = NULL;
    plan->layout = NULL;
    plan->programs = calloc(plan->rank_count, sizeof *plan->programs);
    assert_non_null(plan->programs);
    for (uint32_t rank = 0; rank < plan->rank_count; rank++) {
        struct program_builder builder = {0};
        const struct edit_program *apart = &edit->programs[rank];
        for (uint32_t t = 0; t < apart->track_count; t++) {
            const struct plan_track *fields = &apart->tracks[t].fields;
            struct plan_track *track =
                builder_track(&builder, fields->channel, fields->window_begin, fields->window_end, fields->chunk_count);
            track->path_hint = fields->path_hint;
            track->chunk_stride = fields->chunk_stride;
            for (uint32_t s = 0; s < apart->tracks[t].step_count; s++)
                step_put_together(&apart->tracks[t].steps[s], &builder);
        }
        assert_false(builder.failed);
        plan->programs[rank] = builder.program;
    }
    return plan;
}

void edit_remove_step(struct edit_track *track, uint32_t at)
{
    track->step_count--;
    memmove(&track->steps[at], &track->steps[at + 1], (track->step_count - at) * sizeof track->steps[0]);
}

void edit_insert_step(struct edit_track *track, uint32_t at, const struct edit_step *step)
{
    struct edit_step copy = *step; /* it may be one of those that move */
    assert_true(track->step_count < EDIT_STEPS);
    memmove(&track->steps[at + 1], &track->steps[at], (track->step_count - at) * sizeof track->steps[0]);
    track->steps[at] = copy;
    track->step_count++;
}

void edit_remove_operand(struct plan_operand *operands, uint32_t *count, uint32_t at)
{
    --*count;
    memmove(&operands[at], &operands[at + 1], (*count - at) * sizeof *operands);
}

struct weft_plan *plan_make(weft_collective collective, weft_algorithm algorithm, uint32_t rank_count, uint32_t root,
                            uint32_t channel_count, uint32_t slot_depth)
{
    weft_plan_spec spec = {
        .size = sizeof spec,
        .collective = collective,
        .algorithm = algorithm,
        .rank_count = rank_count,
        .root = root,
        .channel_count = channel_count,
        .slot_depth = slot_depth,
    };
    weft_plan *plan = NULL;
    assert_int_equal(weft_plan_create(&spec, &plan), WEFT_OK);
    return plan;
}

struct weft_plan *plan_from_text(const char *text)
{
    weft_plan *plan = NULL;
    char error[256] = "";
    if (weft_plan_read(text, strlen(text), &plan, error) != WEFT_OK) fail_msg("%s in\n%s", error, text);
    return plan;
}

void plan_must_verify(const struct weft_plan *plan, weft_plan_report *report)
{
    weft_plan_report own = {.size = sizeof own};
    if (!report) report = &own;
    report->size = sizeof *report;
    weft_status status = weft_plan_verify(plan, report);
    if (status != WEFT_OK)
        fail_msg("%s %s, %u ranks, root %u, %u channels, %u slots: %s: %s", weft_collective_name(plan->collective),
                 weft_algorithm_name(plan->algorithm), plan->rank_count, plan->root, plan->channel_count,
                 plan->slot_depth, weft_status_name(status), report->message);
}
