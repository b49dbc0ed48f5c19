/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdlib.h>

#include "collectives/predict/walk.h"

#define PS_PER_S 1e12

static bool reserve(void *array, uint32_t needed, uint32_t *capacity, size_t size)
{
    if (needed <= *capacity) return true;
    size_t grown = *capacity ? (size_t)*capacity * 2 : 64;
    void **place = array, *moved = grown < UINT32_MAX ? realloc(*place, grown * size) : NULL;
    if (!moved) return false;
    *place = moved;
    *capacity = (uint32_t)grown;
    return true;
}

static uint64_t stream_hash(uint32_t from, uint32_t to, uint32_t channel)
{
    uint64_t value = ((uint64_t)from << 32 | to) * UINT64_C(0x9e3779b97f4a7c15) + channel;
    return (value ^ value >> 29) * UINT64_C(0xbf58476d1ce4e5b9) >> 20;
}

static bool table_grow(struct walk *walk)
{
    uint32_t size = walk->stream_table_size ? walk->stream_table_size * 2 : 256;
    uint32_t *table = size ? calloc(size, sizeof *table) : NULL;
    if (!table) return false;
    for (uint32_t i = 0; i < walk->stream_count; i++) {
        const struct walk_stream *stream = &walk->streams[i];
        uint64_t place = stream_hash(stream->from, stream->to, stream->channel);
        while (table[place % size]) place++;
        table[place % size] = i + 1;
    }
    free(walk->stream_table);
    walk->stream_table = table;
    walk->stream_table_size = size;
    return true;
}

/* The stream's number, made at its first mention; PLAN_NONE when out of memory. */
static uint32_t stream_find(struct walk *walk, uint32_t from, uint32_t to, uint32_t channel)
{
    if (walk->stream_count >= walk->stream_table_size / 2 && !table_grow(walk)) return PLAN_NONE;
    uint64_t place = stream_hash(from, to, channel);
    for (uint32_t entry; (entry = walk->stream_table[place % walk->stream_table_size]) != 0; place++) {
        const struct walk_stream *stream = &walk->streams[entry - 1];
        if (stream->from == from && stream->to == to && stream->channel == channel) return entry - 1;
    }
    if (!reserve(&walk->streams, walk->stream_count + 1, &walk->stream_capacity, sizeof *walk->streams))
        return PLAN_NONE;
    walk->streams[walk->stream_count] =
        (struct walk_stream){.from = from, .to = to, .channel = channel, .sender = PLAN_NONE, .receiver = PLAN_NONE};
    walk->stream_table[place % walk->stream_table_size] = ++walk->stream_count;
    return walk->stream_count - 1;
}

/* How the track's chunks are cut. */
static void track_slice(struct walk *walk, const struct plan_track *from, struct walk_track *track)
{
    const struct predict_request *request = walk->request;
    double window = (double)(from->window_end - from->window_begin) / request->plan->share_denominator;
    double chunk = window * (double)request->bytes / (from->chunk_stride ? 1 : from->chunk_count);
    double real = request->slice_bytes ? ceil(chunk / (double)request->slice_bytes) : 1;
    if (real < 1) real = 1;
    double slices = walk->forced_slices ? fmin(walk->forced_slices, fmax(chunk, 1)) : ceil(real / walk->slice_divisor);
    if (slices > 1e9) slices = 1e9;
    track->slice_count = (uint32_t)slices;
    track->slice_bytes = request->bytes ? (uint64_t)fmax(1, chunk / slices + 0.5) : 0;
    if (track->slice_count > walk->slices) walk->slices = track->slice_count;
    if (real > (double)walk->real_slices) walk->real_slices = (uint64_t)real;
}

static bool use_add(struct walk *walk, uint32_t track, uint32_t peer, bool put, uint32_t repeat)
{
    const struct walk_track *user = &walk->tracks[track];
    uint32_t from = put ? user->rank : peer, to = put ? peer : user->rank;
    uint32_t number = stream_find(walk, from, to, user->channel);
    if (number == PLAN_NONE || !reserve(&walk->uses, walk->use_count + 1, &walk->use_capacity, sizeof *walk->uses))
        return false;
    struct walk_stream *stream = &walk->streams[number];
    if (put) {
        stream->sender = track;
        stream->put_total += repeat;
    } else {
        stream->receiver = track;
        stream->take_total += repeat;
    }
    walk->uses[walk->use_count++] = number;
    return true;
}

static bool step_add(struct walk *walk, uint32_t track, const struct plan_program *program,
                     const struct plan_step *from)
{
    if (!reserve(&walk->steps, walk->step_count + 1, &walk->step_capacity, sizeof *walk->steps)) return false;
    uint32_t repeat = from->repeat < walk->repeat_limit ? from->repeat : walk->repeat_limit;
    struct walk_step step = {.first_use = walk->use_count,
                             .repeat = repeat,
                             .after_track = PLAN_NONE,
                             .moves = from->source_count > 0 && from->destination_count > 0};
    if (from->after_track != PLAN_NONE) {
        step.after_track = walk->rank_first_track[walk->tracks[track].rank] + from->after_track;
        step.after_step = from->after_step; /* of that track; numbered through once the track is there */
    }
    const struct plan_operand *operands = program->operands + from->first_operand;
    for (uint32_t i = 0; i < (uint32_t)from->source_count + from->destination_count; i++) {
        bool put = i >= from->source_count;
        if (operands[i].space != SPACE_SLOT) continue;
        if (!use_add(walk, track, operands[i].rank, put, repeat)) return false;
        *(put ? &step.put_count : &step.take_count) += 1;
    }
    uint64_t slices = walk->tracks[track].slice_count;
    walk->messages += (uint64_t)step.put_count * repeat * slices;
    walk->full_messages += (uint64_t)step.put_count * from->repeat * slices;
    walk->steps[walk->step_count++] = step;
    return true;
}

static bool program_add(struct walk *walk, uint32_t rank, const struct plan_program *program)
{
    uint32_t first_track = walk->track_count;
    walk->rank_first_track[rank] = first_track;
    for (uint32_t t = 0; t < program->track_count; t++) {
        const struct plan_track *from = &program->tracks[t];
        if (!reserve(&walk->tracks, walk->track_count + 1, &walk->track_capacity, sizeof *walk->tracks)) return false;
        uint32_t number = walk->track_count++;
        walk->tracks[number] = (struct walk_track){.rank = rank,
                                                   .channel = from->channel,
                                                   .first_step = walk->step_count,
                                                   .step = walk->step_count,
                                                   .free_cause = SIMULATION_NONE};
        track_slice(walk, from, &walk->tracks[number]);
        for (uint32_t s = 0; s < from->step_count; s++)
            if (!step_add(walk, number, program, &program->steps[from->first_step + s])) return false;
        walk->tracks[number].end_step = walk->step_count;
    }
    for (uint32_t s = walk->tracks ? walk->tracks[first_track].first_step : 0; s < walk->step_count; s++)
        if (walk->steps[s].after_track != PLAN_NONE)
            walk->steps[s].after_step += walk->tracks[walk->steps[s].after_track].first_step;
    return true;
}

weft_status walk_load(struct walk *walk, struct diagnostic *diagnostic)
{
    const weft_plan *plan = walk->request->plan;
    weft_status status = WEFT_OK;
    walk->rank_first_track = calloc((size_t)plan->rank_count + 1, sizeof *walk->rank_first_track);
    if (!walk->rank_first_track) return diagnose(diagnostic, WEFT_OUT_OF_MEMORY, "no memory to load a plan");
    for (uint32_t rank = 0; rank < plan->rank_count && status == WEFT_OK; rank++) {
        struct plan_program program = {0};
        status = plan_program(plan, rank, &program);
        if (status == WEFT_OK && program.track_count > 0 && !program_add(walk, rank, &program))
            status = WEFT_OUT_OF_MEMORY;
        program_free(&program);
    }
    if (status != WEFT_OK) return diagnose(diagnostic, status, "cannot load the plan's programs");
    walk->rank_first_track[plan->rank_count] = walk->track_count;
    for (uint32_t i = 0; i < walk->stream_count; i++) {
        const struct walk_stream *stream = &walk->streams[i];
        if (stream->put_total != stream->take_total)
            return diagnose(diagnostic, walk->messages == walk->full_messages ? WEFT_INVALID_PLAN : WEFT_UNSUPPORTED,
                            "rank %u puts %u slices into its stream to rank %u, which takes %u", stream->from,
                            stream->put_total, stream->to, stream->take_total);
    }
    return WEFT_OK;
}

const struct rank_cost *walk_rank_cost(const struct walk *walk, uint32_t rank)
{
    const struct predict_request *request = walk->request;
    bool gpu = request->topology->nodes[request->endpoints[rank]].kind == NODE_GPU;
    return gpu ? &request->figures->gpu : &request->figures->host;
}

/* Spread over equal ways by channel and by the rank's place among its host's. */
static struct route_request *requests_make(const struct walk *walk)
{
    const struct predict_request *request = walk->request;
    struct route_request *requests = calloc((size_t)walk->stream_count + 1, sizeof *requests);
    uint32_t *places = calloc((size_t)request->plan->rank_count + 1, sizeof *places);
    uint32_t *counts = calloc((size_t)request->topology->node_count + 1, sizeof *counts);
    if (requests && places && counts) {
        for (uint32_t rank = 0; rank < request->plan->rank_count; rank++) {
            uint32_t host = topology_host_of(request->topology, request->endpoints[rank]);
            places[rank] = counts[host == TOPOLOGY_NONE ? request->endpoints[rank] : host]++;
        }
        for (uint32_t i = 0; i < walk->stream_count; i++) {
            const struct walk_stream *stream = &walk->streams[i];
            requests[i] = (struct route_request){.from = request->endpoints[stream->from],
                                                 .to = request->endpoints[stream->to],
                                                 .salt = places[stream->from] + stream->channel};
        }
    } else {
        free(requests);
        requests = NULL;
    }
    free(places);
    free(counts);
    return requests;
}

static bool links_place(struct walk *walk, const struct routes *routes)
{
    size_t total = walk->stream_count;
    for (uint32_t i = 0; i < routes->count; i++) total += routes->spans[i].count;
    walk->links = calloc(total + 1, sizeof *walk->links);
    if (!walk->links || total > UINT32_MAX) return false;
    uint32_t next = 0;
    for (uint32_t i = 0; i < walk->stream_count; i++) {
        struct walk_stream *stream = &walk->streams[i];
        double latency = 0;
        stream->first_link = next;
        walk->links[next++] = walk->engine_first + stream->from;
        for (uint32_t hop = 0; hop < routes->spans[i].count; hop++) {
            uint32_t link = routes->links[routes->spans[i].first + hop];
            latency += route_link_latency(walk->request->topology, walk->request->figures, link);
            walk->links[next++] = link;
        }
        stream->link_count = next - stream->first_link;
        stream->latency_ps = (uint64_t)(latency * PS_PER_S + 0.5);
    }
    return true;
}

weft_status walk_route(struct walk *walk, struct diagnostic *diagnostic)
{
    const struct predict_request *request = walk->request;
    struct routes routes = {0};
    weft_status status = WEFT_OUT_OF_MEMORY;
    if (!route_links_open(request->topology, request->figures, request->assumed, &walk->route_links))
        return diagnose(diagnostic, status, "no memory for routes");
    walk->engine_first = walk->route_links.count;
    walk->link_count = walk->engine_first + request->plan->rank_count;
    walk->capacities = calloc((size_t)walk->link_count + 1, sizeof *walk->capacities);
    struct route_request *requests = requests_make(walk);
    if (!requests || !walk->capacities) {
        diagnose(diagnostic, status, "no memory for routes");
        goto out;
    }
    status = routes_find(request->topology, request->figures, &walk->route_links, requests, walk->stream_count, &routes,
                         diagnostic);
    if (status != WEFT_OK) goto out;
    for (uint32_t i = 0; i < walk->engine_first; i++) walk->capacities[i] = walk->route_links.capacities[i];
    for (uint32_t rank = 0; rank < request->plan->rank_count; rank++)
        walk->capacities[walk->engine_first + rank] = (uint64_t)walk_rank_cost(walk, rank)->engine_bandwidth;
    walk->hop_max = routes.hop_max + 1;
    if (!links_place(walk, &routes)) status = diagnose(diagnostic, WEFT_OUT_OF_MEMORY, "no memory for routes");
out:
    routes_free(&routes);
    free(requests);
    return status;
}

void walk_free(struct walk *walk)
{
    free(walk->tracks);
    free(walk->steps);
    free(walk->uses);
    free(walk->streams);
    free(walk->rank_first_track);
    free(walk->stream_table);
    free(walk->links);
    route_links_close(&walk->route_links);
    free(walk->capacities);
    simulation_destroy(walk->simulation);
    free(walk->arrivals);
    free(walk->credits);
    free(walk->rank_free_ps);
    free(walk->engines);
    free(walk->flights);
    free(walk->instances);
    free(walk->ready);
}
