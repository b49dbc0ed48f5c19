/* SPDX-License-Identifier: Apache-2.0 */
/* Gathers and tokens, as the calls of control.h. sharing.c has the protocol. */
#include <stdio.h>

#include "base/clock.h"
#include "control_internal.h"

void control_tokens(const struct control *control, uint64_t *least, uint64_t *most)
{
    /* Without the lock: they do not change any more once this rank has joined. */
    *least = control->protocol.least_token;
    *most = control->protocol.most_token;
}

/* The first rank whose bytes are still to come; -1: none. */
static int32_t missing_source(const struct control *control, uint32_t number,
                              bool (*is_source)(const void *context, uint32_t rank), const void *context)
{
    for (uint32_t rank = 0; rank < control->identity.rank_count; rank++)
        if ((!is_source || is_source(context, rank)) && !sharing_complete(&control->protocol, number, rank))
            return (int32_t)rank;
    return -1;
}

static void report(struct control *control, weft_status status, int32_t rank, const char *message)
{
    weft_failure failure = {.size = sizeof failure,
                            .status = status,
                            .rank = rank,
                            .other_rank = -1,
                            .reporter_rank = (int32_t)control->identity.rank,
                            .track = -1,
                            .step = -1};
    snprintf(failure.message, sizeof failure.message, "%s", message);
    protocol_report(&control->protocol, &failure);
    control_settle(control);
}

static void report_late(struct control *control, int32_t missing, uint64_t deadline_ns)
{
    char message[256];
    snprintf(message, sizeof message, "rank %d has not told the others its part of the topology within %.1f s", missing,
             (double)deadline_ns / 1e9);
    report(control, WEFT_DEADLINE_EXCEEDED, missing, message);
}

weft_status control_gather(struct control *control, const void *bytes, size_t size,
                           bool (*is_source)(const void *context, uint32_t rank), const void *context,
                           uint64_t deadline_ns, struct diagnostic *diagnostic)
{
    const uint32_t rank = control->identity.rank, number = control->gather++;
    uint64_t until_ns = clock_after_ns(clock_now_ns(), deadline_ns);
    engine_lock();
    sharing_forget(&control->protocol, number);
    if (!is_source || is_source(context, rank)) {
        if (size > CONTROL_SHARE_BYTES_MAX)
            report(control, WEFT_RESOURCE_LIMIT, (int32_t)rank, "more bytes to tell all ranks than there may be");
        else if (sharing_give(&control->protocol, number, bytes, (uint32_t)size) != WEFT_OK)
            report(control, WEFT_OUT_OF_MEMORY, (int32_t)rank, "no memory for what all ranks are to be told");
    }
    int32_t missing;
    while ((missing = missing_source(control, number, is_source, context)) >= 0 && !control->protocol.failed)
        if (!engine_wait(&control->changed, until_ns) && !control->protocol.failed &&
            (missing = missing_source(control, number, is_source, context)) >= 0)
            report_late(control, missing, deadline_ns);
    weft_status status = WEFT_OK;
    if (missing >= 0)
        status = diagnose(diagnostic, control->protocol.failure.status, "%s", control->protocol.failure.message);
    engine_unlock();
    return status;
}

const uint8_t *control_share(const struct control *control, uint32_t source, size_t *size)
{
    engine_lock();
    const struct share *share = sharing_complete(&control->protocol, control->gather - 1, source);
    engine_unlock();
    *size = share ? share->total : 0;
    return share ? share->bytes : NULL;
}
