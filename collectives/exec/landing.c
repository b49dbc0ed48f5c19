/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Slices that are only copied into an output, received there: transports that know what has come before they have
 * stored it (transport.h, land) ask, and the copy from the slot is spared. The slot counts as taken all the same, until
 * the step has run.
 *
 * A slice may land before its step could run, so the output must not be anything that this operation still reads:
 * outputs are written once, and not over inputs (operation_call.overwrites).
 */
#include "collectives/exec/exec_internal.h"

static bool writes_output(const struct plan_program *program, const struct plan_step *step)
{
    for (uint32_t i = 0; i < step->destination_count; i++)
        if (program->operands[step->first_operand + step->source_count + i].space == SPACE_OUTPUT) return true;
    return false;
}

uint32_t landing_step(const struct binding *binding, uint32_t track, const struct stream *stream)
{
    const struct plan_program *program = &binding->program;
    uint32_t found = PLAN_NONE;
    if (stream != &stream->peer->incoming[stream->channel]) return PLAN_NONE;
    for (uint32_t s = 0; s < program->tracks[track].step_count; s++) {
        const uint32_t number = program->tracks[track].first_step + s;
        const struct plan_step *step = &program->steps[number];
        for (uint32_t i = 0; i < step->source_count; i++) {
            if (binding->streams[step->first_operand + i] != stream) continue;
            /* One slice of the stream for each of the track, or where a place belongs would have to be counted out. */
            const bool copies = step->source_count == 1 && step->repeat == 1 && writes_output(program, step) &&
                                program->operands[step->first_operand].form == FORM_ELEMENT;
            if (found != PLAN_NONE || !copies) return PLAN_NONE;
            found = number;
        }
    }
    return found;
}

void landing_begin(struct operation *operation, const struct binding_use *use)
{
    const struct operation_call *call = &operation->call;
    struct stream *stream = use->stream;
    if (use->landing_step == PLAN_NONE || call->overwrites) return;
    if (operation->binding->program.steps[use->landing_step].flags & STEP_FINAL && call->divisor > 1) return;
    stream->landing = operation;
    stream->landing_step = use->landing_step;
    stream->landing_cursor = &operation->cursors[use->track];
    stream->landing_begin = stream->position;
}

void *landing_place(void *context, const struct put *put)
{
    struct peer *peer = context;
    const struct engine_config *config = &peer->engine->config;
    const uint32_t channel = put->tag >> TAG_CHANNEL_SHIFT & 0x7f, place = put->tag >> TAG_SLOT_SHIFT & 0x3f;
    if (put->tag & TAG_CREDIT || channel >= config->channel_limit || place >= config->slot_depth) return NULL;
    struct stream *stream = &peer->incoming[channel];
    const struct operation *operation = stream->landing;
    if (!operation || stream->arrived >> place & 1 || stream->landed[place]) return NULL;

    const uint64_t ahead = (place + config->slot_depth - stream->position % config->slot_depth) % config->slot_depth;
    const uint64_t slice = stream->position + ahead - stream->landing_begin;
    struct cursor cursor = *stream->landing_cursor;
    if (slice >= cursor.slicing.slice_count || put->remote_offset != slot_offset(config, channel, place)) return NULL;
    cursor.slice = (uint32_t)slice;
    cursor.repetition = 0;
    const struct plan_step *step = &operation->binding->program.steps[stream->landing_step];
    uint32_t output = step->first_operand + step->source_count;
    while (operation->binding->program.operands[output].space != SPACE_OUTPUT) output++;
    const struct operand_slice slice_there = operand_slice_at(operation, &cursor, step, output);
    if (slice_there.check != (put->tag & TAG_CHECK_MASK) || slice_there.bytes != put->bytes) return NULL;
    return stream->landed[place] = slice_there.address;
}

void landing_recall(const struct operation *operation)
{
    const struct binding *binding = operation->binding;
    for (uint32_t i = 0; i < binding->use_count; i++) {
        struct stream *stream = binding->uses[i].stream;
        if (stream->landing != operation) continue;
        stream->landing = NULL;
        for (uint32_t place = 0; place < binding->engine->config.slot_depth; place++) stream->landed[place] = NULL;
        connection_recall(stream->peer->connection);
    }
}
