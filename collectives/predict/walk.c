/* SPDX-License-Identifier: Apache-2.0 */
#include "collectives/predict/walk.h"

#include <stdlib.h>

#define PS_PER_S 1e12

/* A step that has started, until all that it sends is through; then the slots that it read are given back. */
struct walk_instance {
    uint32_t step;
    uint32_t pending; /* transfers; or the next free one */
};

struct walk_flight {
    uint32_t instance;
};

static void track_wake(struct walk *walk, uint32_t track)
{
    if (walk->tracks[track].queued) return;
    walk->tracks[track].queued = true;
    walk->ready[walk->ready_count++] = track;
}

static uint32_t instance_take(struct walk *walk)
{
    uint32_t index = walk->instance_free;
    if (index != PLAN_NONE) {
        walk->instance_free = walk->instances[index].pending;
        return index;
    }
    if (walk->instance_used == walk->instance_capacity) {
        size_t grown = walk->instance_capacity ? (size_t)walk->instance_capacity * 2 : 256;
        struct walk_instance *moved = realloc(walk->instances, grown * sizeof *moved);
        if (!moved) return PLAN_NONE;
        walk->instances = moved;
        walk->instance_capacity = (uint32_t)grown;
    }
    return walk->instance_used++;
}

static bool flight_note(struct walk *walk, uint32_t transfer, uint32_t instance)
{
    if (transfer == SIMULATION_NONE) return false;
    if (transfer >= walk->flight_capacity) {
        size_t grown = ((size_t)transfer + 1) * 2;
        struct walk_flight *moved = realloc(walk->flights, grown * sizeof *moved);
        if (!moved) return false;
        walk->flights = moved;
        walk->flight_capacity = (uint32_t)grown;
    }
    walk->flights[transfer].instance = instance;
    return true;
}

/* The slots that @p step read are free again from @p at_ps on; their senders hear of it after the way back. */
static void slots_give_back(struct walk *walk, const struct walk_step *step, uint64_t at_ps, uint32_t record)
{
    uint32_t depth = walk->request->plan->slot_depth;
    for (uint32_t i = 0; i < step->take_count; i++) {
        uint32_t number = walk->uses[step->first_use + i];
        struct walk_stream *stream = &walk->streams[number];
        walk->credits[(size_t)number * depth + stream->credited_count++ % depth] =
            (struct walk_moment){at_ps + stream->latency_ps, record};
        track_wake(walk, stream->sender);
    }
}

/* When a step may start, and what it waited for last. */
struct start {
    uint64_t at_ps;
    uint32_t cause;
};

static void start_after(struct start *start, uint64_t at_ps, uint32_t record)
{
    if (at_ps < start->at_ps || (at_ps == start->at_ps && start->cause != SIMULATION_NONE)) return;
    *start = (struct start){at_ps, record};
}

/* Is everything there or on its way at a known time? */
static bool step_ready(const struct walk *walk, const struct walk_track *track, const struct walk_step *step,
                       struct start *start)
{
    uint32_t depth = walk->request->plan->slot_depth;
    *start = (struct start){track->free_ps, track->free_cause};
    if (step->after_track != PLAN_NONE) {
        const struct walk_track *other = &walk->tracks[step->after_track];
        if (other->slice < track->slice || (other->slice == track->slice && other->step <= step->after_step))
            return false;
        start_after(start, other->free_ps, other->free_cause);
    }
    const uint32_t *uses = walk->uses ? &walk->uses[step->first_use] : NULL; /* a plan of one rank uses none */
    for (uint32_t i = 0; i < step->take_count; i++) {
        const struct walk_stream *stream = &walk->streams[uses[i]];
        if (stream->taken_count == stream->arrived_count) return false;
        const struct walk_moment *arrival = &walk->arrivals[(size_t)uses[i] * depth + stream->taken_count % depth];
        start_after(start, arrival->at_ps, arrival->record);
    }
    for (uint32_t i = step->take_count; i < (uint32_t)step->take_count + step->put_count; i++) {
        const struct walk_stream *stream = &walk->streams[uses[i]];
        if (stream->put_count < depth) continue;
        if (stream->put_count - depth == stream->credited_count) return false;
        const struct walk_moment *credit = &walk->credits[(size_t)uses[i] * depth + stream->put_count % depth];
        start_after(start, credit->at_ps, credit->record);
    }
    return true;
}

static void transfer_start(struct walk *walk, struct transfer *transfer, uint32_t instance)
{
    if (!flight_note(walk, simulation_start(walk->simulation, transfer), instance)) walk->failed = true;
    walk->started++;
}

/* Take, send, and give back; or leave the giving back to the last of what is sent. */
static void step_start(struct walk *walk, struct walk_track *track, uint32_t step_number, struct start start)
{
    const struct walk_step *step = &walk->steps[step_number];
    const struct rank_cost *cost = walk_rank_cost(walk, track->rank);
    uint64_t overhead_ps = (uint64_t)(cost->step_s * PS_PER_S + 0.5);
    if (cost->one_engine) {
        if (walk->rank_free_ps[track->rank] > start.at_ps) start.at_ps = walk->rank_free_ps[track->rank];
        walk->rank_free_ps[track->rank] = start.at_ps + overhead_ps;
    }
    track->free_ps = start.at_ps + overhead_ps;
    track->free_cause = start.cause;
    if (track->free_ps > walk->finish_ps) walk->finish_ps = track->free_ps;

    const uint32_t *uses = walk->uses ? &walk->uses[step->first_use] : NULL;
    for (uint32_t i = 0; i < step->take_count; i++) walk->streams[uses[i]].taken_count++;
    bool local = step->put_count == 0 && step->moves && track->slice_bytes > 0;
    if (step->put_count == 0 && !local) {
        slots_give_back(walk, step, track->free_ps, start.cause);
        return;
    }
    uint32_t instance = instance_take(walk);
    if (instance == PLAN_NONE) {
        walk->failed = true;
        return;
    }
    walk->instances[instance] = (struct walk_instance){step_number, local ? 1 : step->put_count};
    struct transfer transfer = {.lane = SIMULATION_NONE,
                                .bytes = step->moves ? track->slice_bytes : 0,
                                .start_ps = start.at_ps,
                                .delay_ps = overhead_ps,
                                .cause = start.cause};
    if (local) {
        transfer.links = &walk->engines[track->rank];
        transfer.link_count = 1;
        transfer.tag = (uint64_t)WALK_LOCAL << 32 | (uint32_t)(track - walk->tracks);
        transfer_start(walk, &transfer, instance);
    }
    for (uint32_t i = step->take_count; i < (uint32_t)step->take_count + step->put_count; i++) {
        struct walk_stream *stream = &walk->streams[uses[i]];
        stream->put_count++;
        transfer.links = &walk->links[stream->first_link];
        transfer.link_count = stream->link_count;
        transfer.lane = uses[i];
        transfer.delay_ps = overhead_ps + stream->latency_ps;
        transfer.tag = (uint64_t)uses[i] << 32 | track->channel;
        transfer_start(walk, &transfer, instance);
    }
}

static void track_next(struct walk *walk, uint32_t number)
{
    struct walk_track *track = &walk->tracks[number];
    if (++track->repetition < walk->steps[track->step].repeat) return;
    track->repetition = 0;
    if (++track->step == track->end_step) {
        track->step = track->first_step;
        track->slice++;
    }
    if (!walk->has_after) return;
    for (uint32_t t = walk->rank_first_track[track->rank]; t < walk->rank_first_track[track->rank + 1]; t++)
        if (t != number) track_wake(walk, t);
}

static void tracks_advance(struct walk *walk)
{
    while (walk->ready_count > 0 && !walk->failed) {
        uint32_t number = walk->ready[--walk->ready_count];
        struct walk_track *track = &walk->tracks[number];
        struct start start;
        track->queued = false;
        while (track->slice < track->slice_count && track->first_step < track->end_step && !walk->failed &&
               step_ready(walk, track, &walk->steps[track->step], &start)) {
            step_start(walk, track, track->step, start);
            track_next(walk, number);
        }
    }
}

static void transfer_done(void *context, uint32_t transfer, uint32_t record, uint64_t tag)
{
    struct walk *walk = context;
    uint64_t now_ps = simulation_now(walk->simulation), through_ps = now_ps;
    uint32_t number = (uint32_t)(tag >> 32), depth = walk->request->plan->slot_depth;
    uint32_t index = walk->flights[transfer].instance;
    struct walk_instance *instance = &walk->instances[index];
    if (number != WALK_LOCAL) {
        struct walk_stream *stream = &walk->streams[number];
        walk->arrivals[(size_t)number * depth + stream->arrived_count++ % depth] = (struct walk_moment){now_ps, record};
        track_wake(walk, stream->receiver);
        /* Latency comes before the bytes here, so that they left the sender that much earlier than they arrived. */
        through_ps -= stream->latency_ps;
    }
    if (--instance->pending == 0) {
        slots_give_back(walk, &walk->steps[instance->step], through_ps, record);
        instance->pending = walk->instance_free;
        walk->instance_free = index;
    }
    if (now_ps > walk->finish_ps) walk->finish_ps = now_ps;
    tracks_advance(walk);
}

static bool walk_go_on(void *context, uint64_t transfers_done)
{
    struct walk *walk = context;
    const struct predict_request *request = walk->request;
    if (walk->failed) return false;
    return !request->go_on || request->go_on(request->context, (double)transfers_done / ((double)walk->messages + 1));
}

static weft_status walk_allocate(struct walk *walk)
{
    const weft_plan *plan = walk->request->plan;
    size_t slots = (size_t)walk->stream_count * plan->slot_depth;
    const struct simulation_config config = {.capacities = walk->capacities,
                                             .link_count = walk->link_count,
                                             .hop_max = walk->hop_max,
                                             .lane_count = walk->stream_count,
                                             .work_max = walk->work_max,
                                             .done = transfer_done,
                                             .go_on = walk_go_on,
                                             .context = walk};
    walk->simulation = simulation_create(&config);
    walk->arrivals = calloc(slots + 1, sizeof *walk->arrivals);
    walk->credits = calloc(slots + 1, sizeof *walk->credits);
    walk->rank_free_ps = calloc((size_t)plan->rank_count + 1, sizeof *walk->rank_free_ps);
    walk->engines = calloc((size_t)plan->rank_count + 1, sizeof *walk->engines);
    walk->ready = calloc((size_t)walk->track_count + 1, sizeof *walk->ready);
    walk->instance_free = PLAN_NONE;
    if (!walk->simulation || !walk->arrivals || !walk->credits || !walk->rank_free_ps || !walk->engines || !walk->ready)
        return WEFT_OUT_OF_MEMORY;
    for (uint32_t rank = 0; rank < plan->rank_count; rank++) walk->engines[rank] = walk->engine_first + rank;
    for (uint32_t s = 0; s < walk->step_count; s++) walk->has_after |= walk->steps[s].after_track != PLAN_NONE;
    return WEFT_OK;
}

weft_status walk_run(struct walk *walk, struct diagnostic *diagnostic)
{
    weft_status status = walk_allocate(walk);
    if (status != WEFT_OK) return diagnose(diagnostic, status, "no memory to simulate the plan");
    for (uint32_t t = walk->track_count; t-- > 0;) track_wake(walk, t);
    tracks_advance(walk);
    status = simulation_run(walk->simulation);
    if (walk->failed) status = WEFT_OUT_OF_MEMORY;
    if (status == WEFT_RESOURCE_LIMIT)
        return diagnose(diagnostic, status, "%u streams depend too much on each other to be simulated",
                        walk->stream_count);
    if (status == WEFT_DEADLINE_EXCEEDED) return diagnose(diagnostic, status, "the simulation was ended");
    if (status != WEFT_OK) return diagnose(diagnostic, status, "no memory to simulate the plan");
    for (uint32_t t = 0; t < walk->track_count; t++)
        if (walk->tracks[t].slice < walk->tracks[t].slice_count &&
            walk->tracks[t].first_step < walk->tracks[t].end_step)
            return diagnose(diagnostic, WEFT_INVALID_PLAN, "rank %u waits for ever on channel %u", walk->tracks[t].rank,
                            walk->tracks[t].channel);
    return WEFT_OK;
}
