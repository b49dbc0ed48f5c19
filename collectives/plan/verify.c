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

static weft_status verify_plan(struct verify *verify, weft_plan_report *report)
{
    weft_status status = plan_check_header(verify->plan, &verify->diagnostic);
    if (status == WEFT_OK) status = verify_load(verify);
    if (status == WEFT_OK) status = verify_pair_streams(verify, report);
    if (status == WEFT_OK) status = verify_load_cells(verify);
    return status == WEFT_OK ? verify_run(verify, report) : status;
}

weft_status weft_plan_verify(const weft_plan *plan, weft_plan_report *report)
{
    if (!plan || (report && report->size < sizeof report->size)) return WEFT_INVALID_ARGUMENT;
    struct verify *verify = calloc(1, sizeof *verify);
    if (!verify) return WEFT_OUT_OF_MEMORY;
    verify->plan = plan;
    verify->values.rank_count = plan->rank_count;

    weft_plan_report result = {.size = sizeof result};
    weft_status status = verify_plan(verify, &result);
    if (status != WEFT_OK) memcpy(result.message, verify->diagnostic.text, sizeof result.message);
    if (report) {
        size_t size = report->size;
        memcpy(report, &result, size < sizeof result ? size : sizeof result);
        report->size = size;
    }
    free(verify->reads);
    arena_free(&verify->arena);
    value_space_free(&verify->values);
    free(verify);
    return status;
}
