/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "collectives/plan/verify_internal.h"

weft_status verify_out_of_memory(struct verify *verify)
{
    return diagnose(&verify->diagnostic, WEFT_OUT_OF_MEMORY, "out of memory");
}

weft_status verify_refuse(struct verify *verify, const struct verify_track *track, const char *format, ...)
{
    char what[sizeof verify->diagnostic.text];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    const struct plan_step *step = verify_step(verify, track);
    struct plan_track shape = {.chunk_count = track->chunk_count};
    return diagnose(&verify->diagnostic, WEFT_INVALID_PLAN, "rank %u track %u step %u repetition %u chunk %u: %.190s",
                    track->rank, track->index, track->step - track->first_step, track->repetition,
                    step_chunk(&shape, step, track->repetition), what);
}

static weft_status verify_create(const weft_plan *plan, struct verify **verify)
{
    struct verify *made = calloc(1, sizeof *made);
    if (!made) return WEFT_OUT_OF_MEMORY;
    made->plan = plan;
    made->values.rank_count = plan->rank_count;
    *verify = made;
    return WEFT_OK;
}

static void verify_destroy(struct verify *verify)
{
    free(verify->reads);
    arena_free(&verify->arena);
    value_space_free(&verify->values);
    free(verify);
}

/* All that has to be known before the programs can be run. */
static weft_status verify_prepare(struct verify *verify)
{
    weft_status status = plan_check_header(verify->plan, &verify->diagnostic);
    if (status == WEFT_OK) status = verify_load(verify);
    return status == WEFT_OK ? verify_pair_streams(verify) : status;
}

static weft_status verify_plan(struct verify *verify, weft_plan_report *report)
{
    weft_status status = verify_prepare(verify);
    if (status != WEFT_OK) return status;
    verify_report_loads(verify, report);
    status = verify_load_cells(verify);
    return status == WEFT_OK ? verify_run(verify, report) : status;
}

weft_status weft_plan_verify(const weft_plan *plan, weft_plan_report *report)
{
    if (!plan || (report && report->size < sizeof report->size)) return WEFT_INVALID_ARGUMENT;
    struct verify *verify;
    weft_status status = verify_create(plan, &verify);
    if (status != WEFT_OK) return status;
    weft_plan_report result = {.size = sizeof result};
    status = verify_plan(verify, &result);
    if (status != WEFT_OK) memcpy(result.message, verify->diagnostic.text, sizeof result.message);
    if (report) {
        size_t size = report->size;
        memcpy(report, &result, size < sizeof result ? size : sizeof result);
        report->size = size;
    }
    verify_destroy(verify);
    return status;
}

weft_status weft_plan_loads(const weft_plan *plan, void (*each)(void *context, const weft_plan_load *load),
                            void *context)
{
    if (!plan || !each) return WEFT_INVALID_ARGUMENT;
    struct verify *verify;
    weft_status status = verify_create(plan, &verify);
    if (status != WEFT_OK) return status;
    status = verify_prepare(verify);
    if (status == WEFT_OK) verify_visit_loads(verify, each, context);
    verify_destroy(verify);
    return status;
}
