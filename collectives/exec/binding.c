/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "base/log.h"
#include "collectives/exec/exec_internal.h"

/* Note that @p track uses @p stream, once. Few streams per track, so a walk back over its own uses is enough. */
static void use_add(struct binding *binding, uint32_t track, struct stream *stream)
{
    for (uint32_t i = binding->use_count; i > 0 && binding->uses[i - 1].track == track; i--)
        if (binding->uses[i - 1].stream == stream) return;
    binding->uses[binding->use_count++] = (struct binding_use){.stream = stream, .track = track};
}

static weft_status step_bind(struct binding *binding, uint32_t track, const struct plan_step *step)
{
    uint32_t channel = binding->first_channel + binding->program.tracks[track].channel;
    for (uint32_t i = 0; i < (uint32_t)step->source_count + step->destination_count; i++) {
        const struct plan_operand *operand = &binding->program.operands[step->first_operand + i];
        if (operand->space != SPACE_SLOT) continue;
        struct peer *peer;
        weft_status status = peer_get(binding->engine, operand->rank, &peer);
        if (status != WEFT_OK) return status;
        struct stream *stream = i < step->source_count ? &peer->incoming[channel] : &peer->outgoing[channel];
        binding->streams[step->first_operand + i] = stream;
        use_add(binding, track, stream);
    }
    return WEFT_OK;
}

static weft_status streams_bind(struct binding *binding)
{
    const struct plan_program *program = &binding->program;
    for (uint32_t track = 0; track < program->track_count; track++) {
        binding->first_use[track] = binding->use_count;
        for (uint32_t step = 0; step < program->tracks[track].step_count; step++) {
            weft_status status = step_bind(binding, track, &program->steps[program->tracks[track].first_step + step]);
            if (status != WEFT_OK) return status;
        }
    }
    binding->first_use[program->track_count] = binding->use_count;
    for (uint32_t i = 0; i < binding->use_count; i++)
        binding->uses[i].landing_step = landing_step(binding, binding->uses[i].track, binding->uses[i].stream);
    return WEFT_OK;
}

/* A track that sends a part of the input as it is, and does nothing else. */
static bool track_departs(const struct plan_program *program, uint32_t track)
{
    const struct plan_step *step = &program->steps[program->tracks[track].first_step];
    const struct plan_operand *operands = &program->operands[step->first_operand];
    return program->tracks[track].step_count == 1 && step->repeat == 1 && step->source_count == 1 &&
           step->destination_count == 1 && operands[0].space == SPACE_INPUT && operands[1].space == SPACE_SLOT;
}

static bool same_part(const struct plan_program *program, uint32_t track, const struct plan_step *step, uint32_t other)
{
    const struct plan_track *one = &program->tracks[track], *two = &program->tracks[other];
    return one->window_begin == two->window_begin && one->window_end == two->window_end &&
           one->chunk_count == two->chunk_count && one->chunk_stride == two->chunk_stride && step->repeat == 1 &&
           step->chunk == program->steps[two->first_step].chunk;
}

/*
 * Does every output come after the departure of the same part of the input, and does nothing else depart? Then the two
 * may be one buffer without a copy of the input, if outputs wait until what has departed has also left.
 */
static bool outputs_follow(const struct plan_program *program)
{
    for (uint32_t track = 0; track < program->track_count; track++) {
        for (uint32_t s = 0; s < program->tracks[track].step_count && !track_departs(program, track); s++) {
            const struct plan_step *step = &program->steps[program->tracks[track].first_step + s];
            const struct plan_operand *destinations = &program->operands[step->first_operand + step->source_count];
            if (step->destination_count != 1 || destinations->space != SPACE_OUTPUT || step->after_track == PLAN_NONE ||
                !track_departs(program, step->after_track) || !same_part(program, track, step, step->after_track))
                return false;
        }
    }
    return true;
}

weft_status binding_create(struct engine *engine, const struct weft_plan *plan, uint32_t first_channel,
                           struct binding **binding)
{
    const struct engine_config *config = &engine->config;
    bool is_exchange = exchange_runs(engine, plan);
    if (is_exchange) first_channel = config->exchange_channel;
    if (plan->rank_count != config->rank_count || first_channel > config->channel_limit ||
        plan->channel_count > config->channel_limit - first_channel || plan->slot_depth > config->slot_depth)
        return WEFT_INVALID_ARGUMENT;
    struct binding *made = calloc(1, sizeof *made);
    if (!made) return WEFT_OUT_OF_MEMORY;
    made->engine = engine;
    made->plan = plan;
    made->first_channel = first_channel;
    weft_status status = plan_program(plan, config->rank, &made->program);
    if (status != WEFT_OK) goto destroy;
    struct diagnostic diagnostic;
    status = plan_check_program(plan, config->rank, &made->program, &diagnostic);
    if (status != WEFT_OK) {
        log_error("plan unusable: %s", diagnostic.text);
        goto destroy;
    }
    made->streams = calloc(made->program.operand_count + 1, sizeof *made->streams);
    made->uses = calloc(made->program.operand_count + 1, sizeof *made->uses);
    made->first_use = calloc(made->program.track_count + 1, sizeof *made->first_use);
    status = made->streams && made->uses && made->first_use ? streams_bind(made) : WEFT_OUT_OF_MEMORY;
    made->is_exchange = is_exchange;
    made->outputs_follow = outputs_follow(&made->program);
    if (status == WEFT_OK && is_exchange) status = exchange_bind(engine, plan, &made->exchange);
    if (status != WEFT_OK) goto destroy;
    *binding = made;
    return WEFT_OK;

destroy:
    binding_destroy(made);
    return status;
}

weft_status binding_follow(struct binding *binding, const struct weft_plan *plan)
{
    if (!binding->is_exchange || binding->near || exchange_runs(binding->engine, plan)) return WEFT_INVALID_ARGUMENT;
    return binding_create(binding->engine, plan, binding->first_channel, &binding->near);
}

void binding_destroy(struct binding *binding)
{
    if (!binding) return;
    binding_destroy(binding->near);
    program_free(&binding->program);
    free(binding->streams);
    free(binding->uses);
    free(binding->first_use);
    free(binding);
}
