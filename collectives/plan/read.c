/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads the text form of docs/formats/plan.md, which may come from anywhere: memory is taken as the text goes on, never
 * because of a number it declares, and every program has passed plan_check_program() in the end.
 */
#include <stdlib.h>
#include <string.h>

#include "collectives/plan/check_internal.h"
#include "collectives/plan/text_internal.h"

/* Takes what stands between two operators of a step: "slot 2, input", or "nothing". */
static weft_status read_operands(struct token_reader *reader, struct program_builder *builder, uint32_t rank,
                                 bool sources)
{
    if (token_is(reader, "nothing")) return token_take(reader, "nothing");
    for (uint32_t count = 0; count < PLAN_MAX_OPERANDS; count++) {
        enum plan_space space = SPACE_SLOT;
        uint32_t peer = rank;
        weft_status status = WEFT_OK;
        enum plan_form form = token_is(reader, "leaf")      ? FORM_LEAF
                              : token_is(reader, "partial") ? FORM_PARTIAL
                                                            : FORM_ELEMENT;
        if (form != FORM_ELEMENT) token_next(reader);
        if (token_is(reader, "input")) {
            space = SPACE_INPUT;
            token_next(reader);
        } else if (token_is(reader, "output")) {
            space = SPACE_OUTPUT;
            token_next(reader);
        } else if (token_is(reader, "slot")) {
            token_next(reader);
            status = token_take_number(reader, 0, PLAN_MAX_RANKS, &peer);
        } else {
            status = token_unexpected(reader, count > 0 ? "input, output or slot" : "input, output, slot or nothing");
        }
        if (status != WEFT_OK) return status;
        if (sources)
            builder_source(builder, space, peer);
        else
            builder_destination(builder, space, peer);
        builder_form(builder, form);
        if (!token_is(reader, ",")) return WEFT_OK;
        token_next(reader);
    }
    return token_unexpected(reader, "at most 255 operands");
}

/* The parts of a step that are left out when they have their usual value. They come in this order. */
static weft_status read_options(struct token_reader *reader, struct plan_step *step)
{
    weft_status status = WEFT_OK;
    if (token_is(reader, "stride")) {
        token_next(reader);
        status = token_take_signed(reader, &step->stride);
    }
    if (status == WEFT_OK && token_is(reader, "repeat")) {
        token_next(reader);
        status = token_take_number(reader, 1, PLAN_MAX_REPEAT, &step->repeat);
    }
    if (status == WEFT_OK && token_is(reader, "after")) {
        token_next(reader);
        status = token_take_number(reader, 0, PLAN_NONE - 1, &step->after_track);
        if (status == WEFT_OK) status = token_take_number(reader, 0, PLAN_NONE - 1, &step->after_step);
    }
    if (status == WEFT_OK && token_is(reader, "final")) {
        token_next(reader);
        step->flags |= STEP_FINAL;
    }
    if (status == WEFT_OK && token_is(reader, "tree")) {
        token_next(reader);
        step->flags |= STEP_TREE;
    }
    return status;
}

static const char *verb_name(uint32_t index)
{
    static const char *const names[] = {"put", "copy", "reduce", "fused", "signal", "wait", "idle"};
    return names[index];
}

static weft_status read_step(struct token_reader *reader, struct program_builder *builder, uint32_t rank,
                             uint32_t index)
{
    struct plan_step fields = {.repeat = 1, .after_track = PLAN_NONE, .after_step = PLAN_NONE};
    uint32_t ignored, verb, line = reader->line;
    weft_status status = token_take(reader, "step");
    if (status == WEFT_OK) status = token_take_number(reader, index, index, &ignored);
    if (status == WEFT_OK)
        status = token_take_choice(reader, verb_name, 7, "put, copy, reduce, fused, signal, wait or idle", &verb);
    if (status == WEFT_OK) status = token_take(reader, "chunk");
    if (status == WEFT_OK) status = token_take_number(reader, 0, PLAN_MAX_REPEAT, &fields.chunk);
    if (status == WEFT_OK) status = read_options(reader, &fields);
    if (status == WEFT_OK) status = token_take(reader, ":");
    if (status != WEFT_OK) return status;

    struct plan_step *step = builder_step(builder);
    fields.first_operand = step->first_operand;
    *step = fields;
    status = read_operands(reader, builder, rank, true);
    if (status == WEFT_OK) status = token_take(reader, "->");
    if (status == WEFT_OK) status = read_operands(reader, builder, rank, false);
    if (status != WEFT_OK || builder->failed) return status;

    const struct plan_program *program = &builder->program;
    const char *right = step_verb(program, &program->steps[program->step_count - 1]);
    if (strcmp(verb_name(verb), right) != 0)
        return diagnose(reader->diagnostic, WEFT_BAD_FORMAT,
                        "line %u: found \"%s\", expected \"%s\" for these operands", line, verb_name(verb), right);
    return token_take_line_end(reader);
}

static weft_status read_track(struct token_reader *reader, const struct weft_plan *plan,
                              struct program_builder *builder, uint32_t rank, uint32_t index)
{
    uint32_t ignored, channel = 0, path = 0, begin = 0, end = 0, chunk_count = 0, stride = 0;
    weft_status status = token_take(reader, "track");
    if (status == WEFT_OK) status = token_take_number(reader, index, index, &ignored);
    if (status == WEFT_OK) status = token_take(reader, "channel");
    if (status == WEFT_OK) status = token_take_number(reader, 0, plan->channel_count - 1, &channel);
    if (status == WEFT_OK) status = token_take(reader, "path");
    if (status == WEFT_OK) status = token_take_number(reader, 0, UINT16_MAX, &path);
    if (status == WEFT_OK) status = token_take(reader, "window");
    if (status == WEFT_OK) status = token_take_number(reader, 0, plan->share_denominator - 1, &begin);
    if (status == WEFT_OK) status = token_take_number(reader, begin + 1, plan->share_denominator, &end);
    if (status == WEFT_OK) status = token_take(reader, "chunks");
    if (status == WEFT_OK) status = token_take_number(reader, 1, PLAN_MAX_REPEAT, &chunk_count);
    if (status == WEFT_OK && token_is(reader, "stride")) {
        token_next(reader);
        status = token_take_number(reader, 1, plan->share_denominator, &stride);
    }
    if (status == WEFT_OK) status = token_take_line_end(reader);
    if (status != WEFT_OK) return status;
    struct plan_track *track = builder_track(builder, channel, begin, end, chunk_count);
    track->path_hint = (uint16_t)path;
    track->chunk_stride = stride;
    for (uint32_t step = 0; token_is(reader, "step") && !builder->failed; step++) {
        status = read_step(reader, builder, rank, step);
        if (status != WEFT_OK) return status;
    }
    return WEFT_OK;
}

/* On error the builder's program is still to be freed. */
static weft_status read_program(struct token_reader *reader, const struct weft_plan *plan, uint32_t rank,
                                struct program_builder *builder)
{
    uint32_t ignored, line = reader->line;
    weft_status status = token_take(reader, "rank");
    if (status == WEFT_OK) status = token_take_number(reader, rank, rank, &ignored);
    if (status == WEFT_OK) status = token_take_line_end(reader);
    for (uint32_t track = 0; status == WEFT_OK && token_is(reader, "track") && !builder->failed; track++)
        status = read_track(reader, plan, builder, rank, track);
    if (status == WEFT_OK && builder->failed)
        return diagnose(reader->diagnostic, WEFT_OUT_OF_MEMORY, "line %u: out of memory", reader->line);
    if (status != WEFT_OK) return status;

    struct diagnostic structure;
    status = plan_check_program(plan, rank, &builder->program, &structure);
    if (status == WEFT_OK) return WEFT_OK;
    return diagnose(reader->diagnostic, status == WEFT_INVALID_PLAN ? WEFT_BAD_FORMAT : status, "line %u: %.230s", line,
                    structure.text);
}

/* One more element; false when out of memory. */
static bool programs_grow(struct weft_plan *plan, uint32_t count, uint32_t *capacity)
{
    if (count < *capacity) return true;
    uint32_t grown = *capacity ? 2 * *capacity : 16;
    struct plan_program *programs = realloc(plan->programs, grown * sizeof *programs);
    if (!programs) return false;
    plan->programs = programs;
    *capacity = grown;
    return true;
}

/* plan->rank_count is the number of programs read so far until all are. */
static weft_status read_programs(struct token_reader *reader, struct weft_plan *plan)
{
    uint32_t rank_count = plan->rank_count, capacity = 0;
    weft_status status = WEFT_OK;
    uint32_t rank = 0;
    for (; rank < rank_count; rank++) {
        struct program_builder builder = {0};
        status = read_program(reader, plan, rank, &builder);
        if (status == WEFT_OK && !programs_grow(plan, rank, &capacity))
            status = diagnose(reader->diagnostic, WEFT_OUT_OF_MEMORY, "line %u: out of memory", reader->line);
        if (status != WEFT_OK) {
            program_free(&builder.program);
            break;
        }
        plan->programs[rank] = builder.program;
    }
    if (status == WEFT_OK && reader->token) status = token_unexpected(reader, "the end of the text");
    if (status != WEFT_OK) plan->rank_count = rank;
    return status;
}

static const char *collective_word(uint32_t index)
{
    return weft_collective_name((weft_collective)index);
}

static const char *algorithm_word(uint32_t index)
{
    return weft_algorithm_name((weft_algorithm)index);
}

static weft_status read_field(struct token_reader *reader, const char *name, uint32_t low, uint32_t high,
                              uint32_t *value)
{
    weft_status status = token_take(reader, name);
    if (status == WEFT_OK) status = token_take_number(reader, low, high, value);
    return status == WEFT_OK ? token_take_line_end(reader) : status;
}

static weft_status read_word_field(struct token_reader *reader, const char *name, const char *(*word)(uint32_t index),
                                   uint32_t count, const char *expected, uint32_t *value)
{
    weft_status status = token_take(reader, name);
    if (status == WEFT_OK) status = token_take_choice(reader, word, count, expected, value);
    return status == WEFT_OK ? token_take_line_end(reader) : status;
}

static weft_status read_header(struct token_reader *reader, struct weft_plan *plan)
{
    uint32_t version, collective = 0, algorithm = 0;
    weft_status status = read_field(reader, "weft_plan", PLAN_TEXT_VERSION, PLAN_TEXT_VERSION, &version);
    if (status == WEFT_OK)
        status = read_word_field(reader, "collective", collective_word, WEFT_COLLECTIVE_COUNT,
                                 "a collective, such as all_reduce", &collective);
    if (status == WEFT_OK)
        status = read_word_field(reader, "algorithm", algorithm_word, WEFT_ALGORITHM_COUNT,
                                 "an algorithm, such as ring", &algorithm);
    plan->collective = (weft_collective)collective;
    plan->algorithm = (weft_algorithm)algorithm;
    if (status == WEFT_OK) status = read_field(reader, "ranks", 1, PLAN_MAX_RANKS, &plan->rank_count);
    uint32_t last_root = shape_of(plan->collective)->rooted ? plan->rank_count - 1 : 0;
    if (status == WEFT_OK) status = read_field(reader, "root", 0, last_root, &plan->root);
    if (status == WEFT_OK && plan->collective == WEFT_SEND_RECV)
        status = read_field(reader, "peer", 0, plan->rank_count - 1, &plan->peer);
    if (status == WEFT_OK) status = read_field(reader, "channels", 1, PLAN_MAX_CHANNELS, &plan->channel_count);
    if (status == WEFT_OK) status = read_field(reader, "slots", 1, PLAN_MAX_SLOT_DEPTH, &plan->slot_depth);
    if (status == WEFT_OK) status = read_field(reader, "shares", 1, UINT32_MAX, &plan->share_denominator);
    if (status != WEFT_OK || !token_is(reader, "canonical")) return status;
    plan->canonical = true;
    token_next(reader);
    return token_take_line_end(reader);
}

weft_status weft_plan_read(const char *text, size_t bytes, weft_plan **plan, char *error)
{
    if ((!text && bytes > 0) || !plan) return WEFT_INVALID_ARGUMENT;
    struct diagnostic diagnostic = {.status = WEFT_OK};
    weft_plan *made = calloc(1, sizeof *made);
    if (!made) return WEFT_OUT_OF_MEMORY;
    struct token_reader reader;
    token_begin(&reader, bytes > 0 ? text : "", bytes, &diagnostic);
    weft_status status = read_header(&reader, made);
    if (status == WEFT_OK) status = read_programs(&reader, made);
    if (status != WEFT_OK) {
        weft_plan_destroy(made);
        if (error) memcpy(error, diagnostic.text, sizeof diagnostic.text);
        return status;
    }
    *plan = made;
    return WEFT_OK;
}
