/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections made in advance: those of the all-reduce over rings and over trees, which is whom a rank talks to most.
 * They would be made at the first call anyway, where a network that keeps two ranks apart shows as a deadline that
 * passes; here it has a name, and at a time when somebody is looking. Each rank connects to a few others, all ranks at
 * once, so the time does not grow with their number.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/config.h"
#include "base/log.h"
#include "collectives/comm/comm_internal.h"

/* Between two looks at connections, which take a round trip or more. */
#define LOOK_NS (100 * NS_PER_US)

static bool is_wanted(const struct weft_comm *comm)
{
    switch ((enum config_link_check)config_get()->check_links) {
    case LINK_CHECK_OFF:
        return false;
    case LINK_CHECK_ON:
        return comm->identity.rank_count > 1;
    default:
        return comm->local_rank_count < comm->identity.rank_count;
    }
}

static void report(struct weft_comm *comm, uint32_t peer, weft_status status, const char *why,
                   struct diagnostic *diagnostic)
{
    char own[64], other[64];
    weft_failure failure = {
        .size = sizeof failure,
        .status = WEFT_LINK_DOWN,
        .rank = (int32_t)comm->identity.rank,
        .other_rank = (int32_t)peer,
        .reporter_rank = (int32_t)comm->identity.rank,
        .track = -1,
        .step = -1,
    };
    control_contact_text(comm->control, comm->identity.rank, own);
    control_contact_text(comm->control, peer, other);
    snprintf(failure.device, sizeof failure.device, "%s", comm->endpoint->ops->name);
    snprintf(
        failure.message, sizeof failure.message,
        "rank %u at %s and rank %u at %s cannot connect over %s: %s; is there a firewall, or another network between?",
        comm->identity.rank, own, peer, other, comm->endpoint->ops->name, why[0] ? why : weft_status_text(status));
    control_report(comm->control, &failure);
    diagnose(diagnostic, WEFT_LINK_DOWN, "%s", failure.message);
}

/* Why nothing came of it so far, as far as is known. */
static void say_late(const struct weft_comm *comm, uint32_t peer, char why[96])
{
    int cause = control_reach_cause(comm->control, peer);
    snprintf(why, 96, "not within %.3g s (%s)", (double)config_get()->link_timeout_ns / 1e9,
             cause ? strerror(cause) : "no answer");
}

weft_status comm_links_check(struct weft_comm *comm, struct diagnostic *diagnostic)
{
    static const weft_algorithm joining[] = {WEFT_ALGORITHM_RING, WEFT_ALGORITHM_TREE};
    if (!is_wanted(comm)) return WEFT_OK;
    for (size_t i = 0; i < sizeof joining / sizeof *joining; i++) {
        const struct plan_key key = {.algorithm = joining[i],
                                     .channel_units = comm->channel_units ? comm->channel_units : 1,
                                     .canonical = comm->canonical};
        struct binding *binding;
        weft_status status = comm_plan(comm, WEFT_ALL_REDUCE, &key, &binding);
        if (status != WEFT_OK && status != WEFT_UNSUPPORTED)
            return diagnose(diagnostic, status, "no plan to connect for: %s", weft_status_text(status));
    }
    uint64_t begun_ns = clock_now_ns(), now_ns = begun_ns;
    for (;; now_ns = clock_now_ns()) {
        uint32_t peer = 0;
        weft_status status = WEFT_OK;
        char why[96] = "";
        engine_poll(comm->engine, now_ns);
        uint32_t left = engine_connecting(comm->engine, &peer, &status);
        if (status == WEFT_OK && left == 0) break;
        if (control_failed(comm->control)) {
            weft_failure failure;
            control_failure(comm->control, &failure);
            return diagnose(diagnostic, failure.status, "%s", failure.message);
        }
        /* Of two ranks the lower one dials, and knows what came of it: the higher one lets it speak first. So it does
         * where a connection was ended by its peer, which says nothing of the link: whoever gives up on another pair
         * ends all of its own, and the control graph says who did so, and on whom, or that the peer is dead. */
        bool is_hearsay = status == WEFT_PEER_FAILED;
        uint64_t patience_ns = config_get()->link_timeout_ns;
        if (peer < comm->identity.rank || is_hearsay) patience_ns += patience_ns / 4;
        bool late = now_ns - begun_ns > patience_ns;
        if (late) say_late(comm, peer, why);
        if (late || (status != WEFT_OK && !is_hearsay)) {
            report(comm, peer, status, why, diagnostic);
            return WEFT_LINK_DOWN;
        }
        nanosleep(&(struct timespec){.tv_nsec = LOOK_NS}, NULL);
    }
    log_info("links checked rank %u us %llu", comm->identity.rank,
             (unsigned long long)((now_ns - begun_ns) / NS_PER_US));
    return WEFT_OK;
}
