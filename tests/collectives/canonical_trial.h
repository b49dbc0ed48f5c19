/* SPDX-License-Identifier: Apache-2.0 */
/* One run of a canonical plan by all its ranks, in one thread, against the reference. */
#ifndef TESTS_CANONICAL_TRIAL_H
#define TESTS_CANONICAL_TRIAL_H

#include <stdbool.h>
#include <stdint.h>
#include <weft/plan.h>

#include "base/random.h"
#include "transport/core/transport.h"

enum { CANONICAL_TRIAL_RANKS = 33 }; /* at most */

struct canonical_trial {
    weft_plan_spec spec;
    weft_dtype dtype;
    weft_op op;
    uint64_t count; /* elements of a block */
    uint32_t slice_bytes;
    bool in_place;
};

/* A plan of canonical_plans.h, number @p which, and everything else as @p random says. */
struct canonical_trial canonical_trial_draw(struct random *random, uint32_t which, uint32_t ranks);
/* Does every rank get a block of its own? */
bool canonical_trial_scatters(const struct canonical_trial *trial);

/* What joins the ranks, and its clock. */
struct canonical_fabric {
    void *context;
    weft_status (*open)(void *context, uint32_t rank, struct endpoint **endpoint);
    uint64_t (*now_ns)(void *context);
    bool (*step)(void *context); /* time goes on; false: nothing is left to happen */
    bool maps;                   /* every connection does */
    const char *description;     /* for a person who reads of a failure */
};

/* Run the plan, and end it. Fails the test, naming all of this, where any rank has other bits than the reference. */
void canonical_trial_run(const struct canonical_trial *trial, const struct canonical_fabric *fabric, weft_plan *plan,
                         uint64_t seed);
#endif
