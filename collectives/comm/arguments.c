/* SPDX-License-Identifier: Apache-2.0 */
/* What of a call can be wrong but its buffers, each with a sentence. Off the path of calls that repeat another. */
#include <float.h>
#include <math.h>
#include <stdio.h>

#include "base/diagnostic.h"
#include "collectives/comm/comm_internal.h"
#include "collectives/plan/plan.h"

/* Can the type be multiplied by the scale as it is, but for rounding to float32? NaN is outside of all of it. */
static bool scale_fits(weft_dtype dtype, double scale)
{
    double bound = 2.0 * (double)(UINT64_C(1) << (weft_dtype_size(dtype) * 8 - 1));
    switch (dtype) {
    case WEFT_FLOAT64:
        return isfinite(scale);
    case WEFT_INT8:
    case WEFT_INT32:
    case WEFT_INT64:
        return scale >= -bound / 2 && scale < bound / 2 && scale == (double)(int64_t)scale;
    case WEFT_UINT8:
    case WEFT_UINT32:
    case WEFT_UINT64:
        return scale >= 0 && scale < bound && scale == (double)(uint64_t)scale;
    default:
        return scale >= -FLT_MAX && scale <= FLT_MAX;
    }
}

static weft_status ranks_check(const struct weft_comm *comm, const struct collective_call *call,
                               struct diagnostic *diagnostic)
{
    const uint32_t ranks = comm->identity.rank_count, rank = comm->identity.rank;
    bool pair = call->collective == WEFT_SEND_RECV;
    uint32_t named = pair && !call->receives ? call->peer : call->root;
    if (named >= ranks)
        return diagnose(diagnostic, WEFT_INVALID_ARGUMENT, "%s %u is no rank: there are %u", pair ? "peer" : "root",
                        named, ranks);
    if (call->collective != WEFT_ALL_TO_ALLV) return WEFT_OK;
    const struct operation_blocks *blocks = call->blocks;
    if (!blocks->send_counts || !blocks->send_offsets || !blocks->recv_counts || !blocks->recv_offsets)
        return diagnose(diagnostic, WEFT_INVALID_ARGUMENT, "an array of counts or offsets is NULL");
    if (blocks->send_counts[rank] != blocks->recv_counts[rank])
        return diagnose(diagnostic, WEFT_INVALID_ARGUMENT, "this rank sends itself %llu elements and receives %llu",
                        (unsigned long long)blocks->send_counts[rank], (unsigned long long)blocks->recv_counts[rank]);
    return WEFT_OK;
}

weft_status call_check_arguments(const struct weft_comm *comm, const struct collective_call *call,
                                 const weft_call *options, weft_request **out, struct diagnostic *diagnostic)
{
    if ((unsigned)call->dtype >= WEFT_DTYPE_COUNT)
        return diagnose(diagnostic, WEFT_INVALID_ARGUMENT, "there is no dtype %d", (int)call->dtype);
    if ((unsigned)call->op >= WEFT_OP_COUNT)
        return diagnose(diagnostic, WEFT_INVALID_ARGUMENT, "there is no op %d", (int)call->op);
    if (options->size != sizeof *options)
        return diagnose(diagnostic, WEFT_INVALID_ARGUMENT, "size of the weft_call is %zu; set it to its sizeof, %zu",
                        options->size, sizeof *options);
    if ((unsigned)options->algorithm >= WEFT_ALGORITHM_COUNT)
        return diagnose(diagnostic, WEFT_INVALID_ARGUMENT, "there is no algorithm %d", (int)options->algorithm);
    if (call->op == WEFT_PREMUL_SUM && !scale_fits(call->dtype, options->scale))
        return diagnose(diagnostic, WEFT_INVALID_ARGUMENT, "%s cannot be multiplied by %g; a weft_call gives the scale",
                        weft_dtype_name(call->dtype), options->scale);
    if (comm->grouping && out)
        return diagnose(diagnostic, WEFT_INVALID_ARGUMENT,
                        "a request is asked for inside a group; weft_group_end() has the one for all of it");
    return ranks_check(comm, call, diagnostic);
}

weft_status call_check_failed_choice(const struct weft_comm *comm, const struct collective_call *call,
                                     weft_algorithm forced, bool canonical, weft_status status,
                                     struct diagnostic *diagnostic)
{
    char names[128] = "";
    size_t length = 0;
    for (int i = WEFT_ALGORITHM_AUTO + 1; i < WEFT_ALGORITHM_COUNT; i++) {
        weft_algorithm algorithm = (weft_algorithm)i;
        bool arranged = comm_layout(comm, call->collective, algorithm) != NULL;
        const struct plan_generator *generator = canonical ? plan_generator_find_canonical(call->collective, algorithm)
                                                           : plan_generator_find(call->collective, algorithm);
        if (!generator || !plan_generator_serves(generator, comm->identity.rank_count, arranged && !canonical))
            continue;
        length += (size_t)snprintf(names + length, sizeof names - length, " %s", weft_algorithm_name(algorithm));
    }
    return diagnose(diagnostic, status, "there is no %s%s plan of %u ranks for it; there is%s",
                    canonical ? "canonical " : "", weft_algorithm_name(forced), comm->identity.rank_count, names);
}
