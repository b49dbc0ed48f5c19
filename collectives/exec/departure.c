/* SPDX-License-Identifier: Apache-2.0 */
/* From where slices leave for peers whose slots are out of reach, and what waits for that. */
#include "collectives/exec/exec_internal.h"

uint32_t step_departure(const struct operation *operation, const struct plan_step *step)
{
    const struct plan_operand *operands = operation->binding->program.operands;
    uint32_t destinations = step->first_operand + step->source_count;
    for (uint32_t i = destinations; i < destinations + step->destination_count; i++)
        if (operands[i].space == SPACE_OUTPUT) return i;
    bool copy = step->source_count == 1 && operands[step->first_operand].space == SPACE_INPUT;
    copy = copy && !operand_is_scaled(operation, step->first_operand) && !step_makes_partial(operation, step);
    copy = copy && (!operation->call.overwrites || operation->binding->outputs_follow);
    return copy ? step->first_operand : PLAN_NONE;
}

bool step_is_steady(const struct operation *operation, const struct plan_step *step, size_t bytes)
{
    struct stream *const *streams = operation->binding->streams + step->first_operand + step->source_count;
    bool steady = false;
    for (uint32_t i = 0; i < step->destination_count; i++) {
        if (!streams[i] || streams[i]->peer->mapped || !steady_serves(streams[i]->peer, bytes)) continue;
        const struct engine_config *config = &streams[i]->peer->engine->config;
        steady_look(streams[i]->peer, slot_offset(config, streams[i]->channel, streams[i]->position));
        steady = true;
    }
    return steady;
}

bool departure_left(const struct operation *operation, const struct cursor *cursor, const struct plan_step *step,
                    const struct stream **waits_for)
{
    const struct binding *binding = operation->binding;
    if (!operation->call.overwrites || !binding->outputs_follow || step->after_track == PLAN_NONE) return true;
    const struct cursor *departed = &operation->cursors[step->after_track];
    const uint32_t use = binding->first_use[step->after_track];
    const struct stream *stream = binding->uses[use].stream;
    const uint64_t end = departed->done ? operation->ends[use] : stream->position;
    const uint64_t position = end - (departed->slice - cursor->slice);
    *waits_for = stream;
    return stream->peer->state == PEER_FAILED ||
           !(stream->leaving >> position % stream->peer->engine->config.slot_depth & 1);
}
