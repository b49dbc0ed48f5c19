/* SPDX-License-Identifier: Apache-2.0 */
#include "base/text.h"
#include "collectives/plan/text_internal.h"

const char *step_verb(const struct plan_program *program, const struct plan_step *step)
{
    bool takes = false, sends = false;
    for (uint32_t i = 0; i < (uint32_t)step->source_count + step->destination_count; i++) {
        if (program->operands[step->first_operand + i].space != SPACE_SLOT) continue;
        if (i < step->source_count)
            takes = true;
        else
            sends = true;
    }
    if (step->source_count == 0) return step->destination_count == 0 ? "idle" : "signal";
    if (step->destination_count == 0) return "wait";
    if (sends) return takes ? "fused" : "put";
    return step->source_count == 1 ? "copy" : "reduce";
}

const char *plan_form_name(uint32_t form)
{
    static const char *const names[] = {[FORM_ELEMENT] = "element", [FORM_LEAF] = "leaf", [FORM_PARTIAL] = "partial"};
    return names[form];
}

static void print_operands(struct text *text, const struct plan_operand *operands, uint32_t count)
{
    if (count == 0) text_add(text, "nothing");
    for (uint32_t i = 0; i < count; i++) {
        if (i > 0) text_add(text, ", ");
        if (operands[i].form != FORM_ELEMENT) text_add(text, "%s ", plan_form_name(operands[i].form));
        if (operands[i].space == SPACE_SLOT)
            text_add(text, "slot %u", operands[i].rank);
        else
            text_add(text, "%s", operands[i].space == SPACE_INPUT ? "input" : "output");
    }
}

static void print_step(struct text *text, uint32_t index, const struct plan_program *program,
                       const struct plan_step *step)
{
    const struct plan_operand *operands =
        step->source_count + step->destination_count > 0 ? &program->operands[step->first_operand] : NULL;
    text_add(text, "    step %u %s chunk %u", index, step_verb(program, step), step->chunk);
    if (step->stride != 0) text_add(text, " stride %d", step->stride);
    if (step->repeat != 1) text_add(text, " repeat %u", step->repeat);
    if (step->after_track != PLAN_NONE) text_add(text, " after %u %u", step->after_track, step->after_step);
    if (step->flags & STEP_FINAL) text_add(text, " final");
    if (step->flags & STEP_TREE) text_add(text, " tree");
    text_add(text, ": ");
    print_operands(text, operands, step->source_count);
    text_add(text, " -> ");
    print_operands(text, operands ? operands + step->source_count : NULL, step->destination_count);
    text_add(text, "\n");
}

static void print_header(struct text *text, const weft_plan *plan)
{
    text_add(text, "weft_plan %u\n", PLAN_TEXT_VERSION);
    text_add(text, "collective %s\n", weft_collective_name(plan->collective));
    text_add(text, "algorithm %s\n", weft_algorithm_name(plan->algorithm));
    text_add(text, "ranks %u\n", plan->rank_count);
    text_add(text, "root %u\n", plan->root);
    if (plan->collective == WEFT_SEND_RECV) text_add(text, "peer %u\n", plan->peer);
    text_add(text, "channels %u\n", plan->channel_count);
    text_add(text, "slots %u\n", plan->slot_depth);
    text_add(text, "shares %u\n", plan->share_denominator);
    if (plan->canonical) text_add(text, "canonical\n");
}

static void print_program(struct text *text, uint32_t rank, const struct plan_program *program)
{
    text_add(text, "\nrank %u\n", rank);
    for (uint32_t t = 0; t < program->track_count; t++) {
        const struct plan_track *track = &program->tracks[t];
        text_add(text, "  track %u channel %u path %u window %u %u chunks %u", t, track->channel, track->path_hint,
                 track->window_begin, track->window_end, track->chunk_count);
        if (track->chunk_stride) text_add(text, " stride %u", track->chunk_stride);
        text_add(text, "\n");
        for (uint32_t s = 0; s < track->step_count; s++)
            print_step(text, s, program, &program->steps[track->first_step + s]);
    }
}

static void json_operands(struct text *text, const char *key, const struct plan_program *program, uint32_t first,
                          uint32_t count)
{
    static const char *const names[] = {[SPACE_INPUT] = "input", [SPACE_OUTPUT] = "output", [SPACE_SLOT] = "slot"};
    json_array_begin(text, key);
    for (uint32_t i = first; i < first + count; i++) {
        json_object_begin(text, NULL);
        json_string(text, "space", names[program->operands[i].space]);
        if (program->operands[i].space == SPACE_SLOT) json_unsigned(text, "rank", program->operands[i].rank);
        if (program->operands[i].form != FORM_ELEMENT)
            json_string(text, "form", plan_form_name(program->operands[i].form));
        json_object_end(text);
    }
    json_array_end(text);
}

static void json_step(struct text *text, const struct plan_program *program, const struct plan_step *step)
{
    json_object_begin(text, NULL);
    json_string(text, "verb", step_verb(program, step));
    json_unsigned(text, "chunk", step->chunk);
    json_integer(text, "stride", step->stride);
    json_unsigned(text, "repeat", step->repeat);
    json_bool(text, "final", step->flags & STEP_FINAL);
    if (step->flags & STEP_TREE) json_bool(text, "tree", true);
    if (step->after_track != PLAN_NONE) {
        json_object_begin(text, "after");
        json_unsigned(text, "track", step->after_track);
        json_unsigned(text, "step", step->after_step);
        json_object_end(text);
    }
    json_operands(text, "sources", program, step->first_operand, step->source_count);
    json_operands(text, "destinations", program, step->first_operand + step->source_count, step->destination_count);
    json_object_end(text);
}

static void json_program(struct text *text, uint32_t rank, const struct plan_program *program)
{
    json_object_begin(text, NULL);
    json_unsigned(text, "rank", rank);
    json_array_begin(text, "tracks");
    for (uint32_t t = 0; t < program->track_count; t++) {
        const struct plan_track *track = &program->tracks[t];
        json_object_begin(text, NULL);
        json_unsigned(text, "channel", track->channel);
        json_unsigned(text, "path", track->path_hint);
        json_array_begin(text, "window");
        json_unsigned(text, NULL, track->window_begin);
        json_unsigned(text, NULL, track->window_end);
        json_array_end(text);
        json_unsigned(text, "chunks", track->chunk_count);
        if (track->chunk_stride) json_unsigned(text, "stride", track->chunk_stride);
        json_array_begin(text, "steps");
        for (uint32_t s = 0; s < track->step_count; s++)
            json_step(text, program, &program->steps[track->first_step + s]);
        json_array_end(text);
        json_object_end(text);
    }
    json_array_end(text);
    json_object_end(text);
}

static void json_header(struct text *text, const weft_plan *plan)
{
    json_unsigned(text, "version", PLAN_TEXT_VERSION);
    json_string(text, "collective", weft_collective_name(plan->collective));
    json_string(text, "algorithm", weft_algorithm_name(plan->algorithm));
    json_unsigned(text, "ranks", plan->rank_count);
    json_unsigned(text, "root", plan->root);
    if (plan->collective == WEFT_SEND_RECV) json_unsigned(text, "peer", plan->peer);
    json_unsigned(text, "channels", plan->channel_count);
    json_unsigned(text, "slots", plan->slot_depth);
    json_unsigned(text, "shares", plan->share_denominator);
    if (plan->canonical) json_bool(text, "canonical", true);
}

static weft_status print_ranks(struct text *text, const weft_plan *plan, uint32_t rank, weft_format format)
{
    uint32_t begin = rank == WEFT_ALL_RANKS ? 0 : rank, end = rank == WEFT_ALL_RANKS ? plan->rank_count : rank + 1;
    for (uint32_t r = begin; r < end && !text->failed; r++) {
        struct plan_program program;
        weft_status status = plan_program(plan, r, &program);
        if (status != WEFT_OK) return status;
        if (format == WEFT_JSON)
            json_program(text, r, &program);
        else
            print_program(text, r, &program);
        program_free(&program);
    }
    return WEFT_OK;
}

weft_status weft_plan_print(const weft_plan *plan, uint32_t rank, weft_format format, char **text)
{
    if (!plan || !text || (rank != WEFT_ALL_RANKS && rank >= plan->rank_count)) return WEFT_INVALID_ARGUMENT;
    struct text out = {0};
    weft_status status;
    if (format == WEFT_JSON) {
        json_object_begin(&out, NULL);
        json_header(&out, plan);
        json_array_begin(&out, "programs");
        status = print_ranks(&out, plan, rank, format);
        json_array_end(&out);
        json_object_end(&out);
    } else {
        print_header(&out, plan);
        status = print_ranks(&out, plan, rank, format);
    }
    if (status != WEFT_OK) {
        text_free(&out);
        return status;
    }
    char *made = text_take(&out);
    if (!made) return WEFT_OUT_OF_MEMORY;
    *text = made;
    return WEFT_OK;
}
