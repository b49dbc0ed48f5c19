/* SPDX-License-Identifier: Apache-2.0 */
/* Plans that a test can take apart and put together again. Small ones: the arrays have fixed room. */
#ifndef TESTS_COLLECTIVES_PLAN_EDIT_H
#define TESTS_COLLECTIVES_PLAN_EDIT_H

#include "collectives/plan/plan.h"

enum { EDIT_RANKS = 8, EDIT_TRACKS = 24, EDIT_STEPS = 12, EDIT_OPERANDS = 6 };

struct edit_step {
    struct plan_step fields; /* counts and first_operand are ignored */
    struct plan_operand sources[EDIT_OPERANDS], destinations[EDIT_OPERANDS];
    uint32_t source_count, destination_count;
};

struct edit_track {
    struct plan_track fields; /* first_step and step_count are ignored */
    struct edit_step steps[EDIT_STEPS];
    uint32_t step_count;
};

struct edit_program {
    struct edit_track tracks[EDIT_TRACKS];
    uint32_t track_count;
};

struct edit_plan {
    struct weft_plan header; /* generate and programs are ignored */
    struct edit_program programs[EDIT_RANKS];
};

/* These fail the running test when something does not fit or memory runs out. */
void edit_take_apart(const struct weft_plan *plan, struct edit_plan *edit);
/* The caller destroys it. */
struct weft_plan *edit_put_together(const struct edit_plan *edit);

void edit_remove_step(struct edit_track *track, uint32_t at);
void edit_insert_step(struct edit_track *track, uint32_t at, const struct edit_step *step);
void edit_remove_operand(struct plan_operand *operands, uint32_t *count, uint32_t at);

/* A generated plan, or a failed test. */
struct weft_plan *plan_make(weft_collective collective, weft_algorithm algorithm, uint32_t rank_count, uint32_t root,
                            uint32_t channel_count, uint32_t slot_depth);
/* A plan from its text form, or a failed test. */
struct weft_plan *plan_from_text(const char *text);
/* Verified, or a failed test with the verifier's sentence. */
void plan_must_verify(const struct weft_plan *plan, weft_plan_report *report);
#endif
