/* SPDX-License-Identifier: Apache-2.0 */
#include "base/bytes.h"
#include "collectives/plan/plan.h"

static uint64_t hash_fields(uint64_t hash, const uint32_t *fields, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint8_t bytes[4]; /* in one byte order, whatever the machine's */
        bytes_put_u32(bytes, fields[i]);
        hash = bytes_hash(hash, bytes, sizeof bytes);
    }
    return hash;
}

#define HASH_FIELDS(hash, ...)                                                                                         \
    hash_fields(hash, (const uint32_t[]){__VA_ARGS__}, sizeof((const uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t))

/* Counts come before what they count, so no two programs give the same sequence of fields. */
static uint64_t hash_program(uint64_t hash, const struct plan_program *program)
{
    hash = HASH_FIELDS(hash, program->track_count);
    for (uint32_t t = 0; t < program->track_count; t++) {
        const struct plan_track *track = &program->tracks[t];
        hash = HASH_FIELDS(hash, track->channel, track->path_hint, track->window_begin, track->window_end,
                           track->chunk_count, track->chunk_stride, track->step_count);
        for (uint32_t s = 0; s < track->step_count; s++) {
            const struct plan_step *step = &program->steps[track->first_step + s];
            hash = HASH_FIELDS(hash, step->source_count, step->destination_count, step->flags, step->chunk,
                               (uint32_t)step->stride, step->repeat, step->after_track, step->after_step);
            for (uint32_t i = 0; i < (uint32_t)step->source_count + step->destination_count; i++) {
                const struct plan_operand *operand = &program->operands[step->first_operand + i];
                hash = HASH_FIELDS(hash, operand->space, operand->rank);
                if (operand->form != FORM_ELEMENT) hash = HASH_FIELDS(hash, operand->form);
            }
        }
    }
    return hash;
}

/*
 * Over what a run of the plan depends on: not over the algorithm's name, nor over whether programs are generated or
 * were read. 0, which no plan has, when out of memory.
 */
uint64_t weft_plan_hash(const weft_plan *plan)
{
    uint64_t hash = HASH_FIELDS(BYTES_HASH_START, plan->collective, plan->rank_count, plan->root, plan->peer,
                                plan->channel_count, plan->slot_depth, plan->share_denominator);
    if (plan->canonical) hash = HASH_FIELDS(hash, plan->canonical);
    for (uint32_t rank = 0; rank < plan->rank_count; rank++) {
        struct plan_program program;
        if (plan_program(plan, rank, &program) != WEFT_OK) return 0;
        hash = hash_program(hash, &program);
        program_free(&program);
    }
    return hash ? hash : 1;
}
