/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The verifier's rules a second time, as plainly as they can be put: every slice is written out, every "comes before"
 * is a bit in a matrix. Far too slow for use, and so different from the verifier that the two hardly err alike.
 */
#ifndef TESTS_COLLECTIVES_PLAN_ORACLE_H
#define TESTS_COLLECTIVES_PLAN_ORACLE_H

#include "tests/collectives/plan_edit.h"

/* Is a plan of well-formed programs right for a message of @p slice_count slices? If not, *reason says why. */
bool oracle_accepts(const struct edit_plan *plan, uint32_t slice_count, const char **reason);
#endif
