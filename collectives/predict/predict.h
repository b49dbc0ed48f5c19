/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How long a plan takes on a topology: its programs are run, all ranks', on the simulator.
 *
 * What is simulated: a step starts when all slices that it reads have arrived, all slots that it fills are free, and
 * the step before it on its track has started; it costs its rank an overhead. Then its slices leave, each stream's in
 * order, over the route between the two ranks; routes share their links max-min fairly, and a rank's streams share its
 * engine, which combines or copies what passes. A slot is given back when the step that read it has sent everything on,
 * and the news takes as long as a message without payload.
 *
 * What stands for more than it is, and is said in the result: fewer slices than would really be in flight; and, for
 * plans of very many messages, long runs of equal steps of which two lengths are simulated and the rest follows in a
 * straight line.
 *
 * Pure. Thread: any; topology and plan are only read.
 */
#ifndef COLLECTIVES_PREDICT_H
#define COLLECTIVES_PREDICT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/diagnostic.h"
#include "collectives/plan/plan.h"
#include "topology/cost/cost.h"
#include "topology/model/model.h"

struct predict_request {
    const weft_topology *topology;
    const struct cost_model_figures *figures; /* NULL: the built-in ones */
    const double *assumed; /* by route link: bytes per second of links that have no figure; NULL: the figures' */
    const weft_plan *plan;
    const uint32_t *endpoints; /* a GPU or host node for each rank of the plan */
    uint64_t bytes;            /* of the message */
    uint64_t slice_bytes;      /* that a run would use; 0: 128 KiB, or for GPUs 512 KiB */
    uint32_t slice_count;      /* slices of the largest chunk to simulate; 0: as many as there really are, while that
                                  makes at most half a million messages */
    uint64_t message_budget;   /* messages to simulate at most; 0: 4 million */
    uint64_t work_budget;      /* flows given a rate at most, beyond which fewer slices are tried; 0: 20 million */
    bool (*go_on)(void *context, double share_done); /* may be NULL; false: WEFT_DEADLINE_EXCEEDED */
    void *context;
};

/* One transfer on the critical path. Times in seconds since the beginning. */
struct predict_hop {
    uint32_t from, to; /* ranks; equal: combined or copied in place */
    uint32_t channel;
    uint64_t bytes;
    double start_s; /* what it waited for last was over */
    double begin_s; /* its first byte moves: after overhead, latency, and those before it in its stream */
    double end_s;
};

/* What went over one direction of a link. */
struct predict_load {
    uint32_t link; /* ROUTE_LINK of topology/simulate/route.h */
    double capacity, bytes;
    double used; /* bytes over capacity times the whole time */
    double busy; /* share of the time with at least one message on it */
};

struct prediction {
    double seconds;
    double algbw, busbw; /* bytes per second; 0 without bytes */
    uint64_t messages;   /* of the plan, with the slices below */
    uint64_t simulated_messages;
    uint32_t slices;            /* of the largest chunk, as simulated */
    uint64_t real_slices;       /* as a run would have */
    bool extrapolated;          /* long runs of equal steps were shortened */
    uint32_t assumed_links;     /* links on the routes that have no bandwidth of their own */
    struct predict_load *loads; /* links that carried something, most used first */
    uint32_t load_count;
    struct predict_hop *path; /* the critical path, in order of time */
    uint32_t path_count;
    double path_latency_s, path_transfer_s; /* its time up to the end, until bytes move and while they do */
};

/*
 * Owner: the caller, prediction_free(). *prediction is untouched on error.
 * Errors: WEFT_UNSUPPORTED (ranks that nothing joins; a plan of too many messages whose runs do not match),
 * WEFT_INVALID_PLAN (it cannot end), WEFT_DEADLINE_EXCEEDED (go_on), WEFT_OUT_OF_MEMORY.
 */
weft_status predict_plan(const struct predict_request *request, struct prediction *prediction,
                         struct diagnostic *diagnostic);
void prediction_free(struct prediction *prediction);

/* "simulated", or "coarse: ..." with what was shortened. */
void prediction_method(const struct prediction *prediction, char text[160]);
/* By what busbw is more than algbw (nccl-tests' definition). */
double predict_busbw_factor(weft_collective collective, uint32_t rank_count);
#endif
