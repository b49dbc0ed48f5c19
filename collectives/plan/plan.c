/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "collectives/plan/layout.h"

#define DEFAULT_SLOT_DEPTH 4u /* two slices on their way, one being read, one being given back */

weft_status weft_plan_create(const weft_plan_spec *spec, weft_plan **plan)
{
    if (!spec || !plan || spec->size != sizeof *spec) return WEFT_INVALID_ARGUMENT;
    if (spec->rank_count == 0 || spec->rank_count > PLAN_MAX_RANKS || spec->root >= spec->rank_count ||
        spec->channel_count > 64 || spec->slot_depth == 1 || spec->slot_depth > PLAN_MAX_SLOT_DEPTH)
        return WEFT_INVALID_ARGUMENT;
    if ((unsigned)spec->collective >= WEFT_COLLECTIVE_COUNT || (unsigned)spec->algorithm >= WEFT_ALGORITHM_COUNT ||
        spec->algorithm == WEFT_ALGORITHM_AUTO)
        return WEFT_INVALID_ARGUMENT;
    if (!shape_of(spec->collective)->rooted && spec->root != 0) return WEFT_INVALID_ARGUMENT;
    if (spec->peer >= (spec->collective == WEFT_SEND_RECV ? spec->rank_count : 1)) return WEFT_INVALID_ARGUMENT;

    const struct plan_generator *generator = spec->canonical
                                                 ? plan_generator_find_canonical(spec->collective, spec->algorithm)
                                                 : plan_generator_find(spec->collective, spec->algorithm);
    if (!generator || !plan_generator_serves(generator, spec->rank_count, spec->layout != NULL))
        return WEFT_UNSUPPORTED;

    weft_plan *made = malloc(sizeof *made);
    if (!made) return WEFT_OUT_OF_MEMORY;
    uint32_t units = spec->collective == WEFT_BARRIER || spec->channel_count == 0 ? 1 : spec->channel_count;
    uint32_t shares = units * generator->shares_per_unit;
    *made = (weft_plan){
        .collective = spec->collective,
        .algorithm = spec->algorithm,
        .rank_count = spec->rank_count,
        .root = spec->root,
        .peer = spec->peer,
        .channel_count = units * generator->channels_per_unit,
        .slot_depth = spec->slot_depth ? spec->slot_depth : DEFAULT_SLOT_DEPTH,
        .generate = generator->generate,
        .instance_count = shares,
        .canonical = spec->canonical && shape_of(spec->collective)->combines,
    };
    uint64_t share_count = shares * plan_block_count(made);
    made->share_denominator = (uint32_t)share_count;
    weft_status status = share_count > UINT32_MAX ? WEFT_INVALID_ARGUMENT : WEFT_OK;
    if (spec->layout || spec->algorithm == WEFT_ALGORITHM_HIERARCHICAL) status = layout_create(spec, &made->layout);
    if (status != WEFT_OK) {
        free(made);
        return status;
    }
    if (made->layout) {
        made->channel_count = layout_channel_count(made->layout);
        made->share_denominator = layout_share_count(made->layout);
    }
    *plan = made;
    return WEFT_OK;
}

void weft_plan_destroy(weft_plan *plan)
{
    if (!plan) return;
    if (plan->programs)
        for (uint32_t rank = 0; rank < plan->rank_count; rank++) program_free(&plan->programs[rank]);
    free(plan->programs);
    layout_destroy(plan->layout);
    free(plan);
}

/* An array of its own for the caller; an empty one is NULL. */
static bool copy_array(void **copy, const void *array, size_t count, size_t size)
{
    *copy = NULL;
    if (count == 0) return true;
    *copy = malloc(count * size);
    if (!*copy) return false;
    memcpy(*copy, array, count * size);
    return true;
}

static weft_status program_copy(const struct plan_program *from, struct plan_program *to)
{
    struct plan_program made = *from;
    bool whole = copy_array((void **)&made.tracks, from->tracks, from->track_count, sizeof *from->tracks);
    whole &= copy_array((void **)&made.steps, from->steps, from->step_count, sizeof *from->steps);
    whole &= copy_array((void **)&made.operands, from->operands, from->operand_count, sizeof *from->operands);
    if (!whole) {
        program_free(&made);
        return WEFT_OUT_OF_MEMORY;
    }
    *to = made;
    return WEFT_OK;
}

weft_status plan_program(const struct weft_plan *plan, uint32_t rank, struct plan_program *program)
{
    if (rank >= plan->rank_count) return WEFT_INVALID_ARGUMENT;
    if (plan->programs) return program_copy(&plan->programs[rank], program);

    struct program_builder builder = {0};
    weft_status status = plan->generate(plan, rank, &builder);
    if (status == WEFT_OK && builder.failed) status = WEFT_OUT_OF_MEMORY;
    if (status != WEFT_OK) {
        program_free(&builder.program);
        return status;
    }
    *program = builder.program;
    return WEFT_OK;
}

void program_free(struct plan_program *program)
{
    free(program->tracks);
    free(program->steps);
    free(program->operands);
    *program = (struct plan_program){0};
}
