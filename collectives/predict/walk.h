/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All ranks' programs side by side, as far as time depends on them: which streams a step takes slices from and puts
 * slices into, and how often. What the slices hold is the verifier's business.
 */
#ifndef COLLECTIVES_PREDICT_WALK_H
#define COLLECTIVES_PREDICT_WALK_H

#include "collectives/predict/predict.h"
#include "topology/simulate/route.h"
#include "topology/simulate/simulate.h"

/* In a transfer's tag, instead of a stream: combined or copied inside the rank, and the track's number follows. */
#define WALK_LOCAL UINT32_MAX

struct walk_step {
    uint32_t first_use; /* streams taken from, then streams put into */
    uint16_t take_count, put_count;
    uint32_t repeat;
    uint32_t after_track, after_step; /* numbered through; or PLAN_NONE */
    bool moves;                       /* reads and writes payload */
};

struct walk_track {
    uint32_t rank, channel;
    uint32_t first_step, end_step;
    uint32_t slice_count;
    uint64_t slice_bytes;
    /* Progress. */
    uint32_t step, repetition, slice;
    bool queued;
    uint64_t free_ps; /* when it can start its next step */
    uint32_t free_cause;
};

/* When a slot was filled or given back, and by which record. */
struct walk_moment {
    uint64_t at_ps;
    uint32_t record;
};

struct walk_stream {
    uint32_t from, to, channel;     /* ranks */
    uint32_t sender, receiver;      /* tracks */
    uint32_t put_total, take_total; /* for one slice: equal in a sound plan */
    uint64_t put_count, arrived_count, taken_count, credited_count;
    uint64_t latency_ps;
    uint32_t first_link, link_count; /* of walk.links */
};

struct walk {
    const struct predict_request *request;
    uint32_t repeat_limit; /* longer runs are cut to it */
    double slice_divisor;  /* every chunk gets its real slices over this, at least one */
    uint32_t forced_slices;
    uint64_t work_max; /* of the simulation */

    struct walk_track *tracks;
    struct walk_step *steps;
    uint32_t *uses; /* stream numbers */
    struct walk_stream *streams;
    uint32_t *rank_first_track; /* rank_count + 1 */
    uint32_t track_count, step_count, use_count, stream_count;
    uint32_t track_capacity, step_capacity, use_capacity, stream_capacity;
    uint32_t *stream_table; /* by hash; stream + 1 */
    uint32_t stream_table_size;
    uint64_t messages;      /* puts over all slices */
    uint64_t full_messages; /* the same with no run cut */
    uint32_t slices;        /* of the largest chunk */
    uint64_t real_slices;

    struct route_links route_links;
    uint32_t *links; /* of streams: the engine of the sender, then the route */
    uint32_t hop_max;
    uint32_t engine_first; /* links from here are ranks' engines */
    uint64_t *capacities;
    uint32_t link_count;

    /* The run. */
    struct simulation *simulation;
    struct walk_moment *arrivals, *credits; /* slot_depth of each to a stream */
    uint64_t *rank_free_ps;
    uint32_t *engines; /* by rank: the link that is its engine */
    bool has_after;
    struct walk_flight *flights; /* by the simulation's number of a transfer */
    uint32_t flight_capacity;
    struct walk_instance *instances;
    uint32_t instance_used, instance_capacity, instance_free;
    uint32_t *ready, ready_count;
    uint64_t finish_ps;
    uint64_t started;
    bool failed;
};

/* Lay the programs side by side; only @p walk->request, repeat_limit, slice_divisor and forced_slices are set before.
 */
weft_status walk_load(struct walk *walk, struct diagnostic *diagnostic);
/* Find the streams' routes. */
weft_status walk_route(struct walk *walk, struct diagnostic *diagnostic);
weft_status walk_run(struct walk *walk, struct diagnostic *diagnostic);
void walk_free(struct walk *walk);
const struct rank_cost *walk_rank_cost(const struct walk *walk, uint32_t rank);
#endif
