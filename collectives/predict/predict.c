/* SPDX-License-Identifier: Apache-2.0 */
#include "collectives/predict/predict.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "collectives/predict/walk.h"

#define PS_PER_S 1e12
#define BUDGET_DEFAULT UINT64_C(4000000)
/* Beyond so many messages fewer slices are simulated: the result hardly changes any more, the time it takes does. */
#define SLICES_BUDGET UINT64_C(500000)
/*
 * A message over a network where much depends on each other costs more than one where little does. What it costs is
 * counted, not timed, so that equal questions get equal answers: some seconds' worth, then fewer slices are tried.
 */
#define WORK_DEFAULT UINT64_C(20000000)
#define FEWER_SLICES 8
/* Two lengths to which long runs are cut: far enough apart for the second to tell what one repetition more takes. */
enum { SHORT_RUN = 8, LONG_RUN = 16 };
enum { PATH_MAX_HOPS = 100000 };

double predict_busbw_factor(weft_collective collective, uint32_t rank_count)
{
    double n = rank_count;
    if (rank_count < 2) return 1;
    switch (collective) {
    case WEFT_ALL_REDUCE:
        return 2 * (n - 1) / n;
    case WEFT_BROADCAST:
    case WEFT_BARRIER:
    case WEFT_REDUCE:
    case WEFT_SEND_RECV:
        return 1;
    default:
        return (n - 1) / n;
    }
}

static uint64_t slice_bytes_default(const struct predict_request *request)
{
    bool gpu = request->plan->rank_count > 0 && request->topology->nodes[request->endpoints[0]].kind == NODE_GPU;
    return gpu ? 512 << 10 : 128 << 10;
}

static int load_compare(const void *left, const void *right)
{
    const struct predict_load *a = left, *b = right;
    if (a->used != b->used) return a->used < b->used ? 1 : -1;
    return (a->link > b->link) - (a->link < b->link);
}

/* One link's, as its share of what went over the one that leads it. */
static struct predict_load load_of(const struct walk *walk, uint32_t link, double bytes, double busy_s, double seconds)
{
    uint32_t lead = walk->route_links.leads[link];
    double own = (double)walk->route_links.own[link], together = (double)walk->capacities[lead];
    double over = seconds > 0 ? seconds : 1;
    return (struct predict_load){.link = link,
                                 .capacity = own,
                                 .bytes = bytes * own / together,
                                 .used = bytes / together / over,
                                 .busy = busy_s / over};
}

/* What went over links; with @p before, a shorter run's, it is drawn out by @p stretch times the difference. */
static weft_status loads_collect(const struct walk *walk, const struct walk *before, double stretch,
                                 struct prediction *prediction)
{
    const struct simulation_load *loads = simulation_loads(walk->simulation);
    const struct simulation_load *shorter = before ? simulation_loads(before->simulation) : NULL;
    const uint32_t *leads = walk->route_links.leads;
    uint32_t count = 0;
    for (uint32_t i = 0; i < walk->engine_first; i++) count += loads[leads[i]].bytes > 0;
    prediction->loads = calloc((size_t)count + 1, sizeof *prediction->loads);
    if (!prediction->loads) return WEFT_OUT_OF_MEMORY;
    for (uint32_t i = 0; i < walk->engine_first; i++) {
        uint32_t lead = leads[i];
        if (loads[lead].bytes == 0) continue;
        double bytes = (double)loads[lead].bytes, busy_ps = (double)loads[lead].busy_ps;
        if (shorter) {
            bytes += stretch * (bytes - (double)shorter[lead].bytes);
            busy_ps += stretch * (busy_ps - (double)shorter[lead].busy_ps);
        }
        prediction->loads[prediction->load_count++] = load_of(walk, i, bytes, busy_ps / PS_PER_S, prediction->seconds);
        const weft_topology *topology = walk->request->topology;
        if (i / 2 >= topology->link_count || cost_link_is_assumed(&topology->links[i / 2], i % 2))
            prediction->assumed_links++;
    }
    qsort(prediction->loads, prediction->load_count, sizeof *prediction->loads, load_compare);
    return WEFT_OK;
}

static struct predict_hop hop_of(const struct walk *walk, const struct simulation_record *record)
{
    uint32_t number = (uint32_t)(record->tag >> 32), low = (uint32_t)record->tag;
    struct predict_hop hop = {.bytes = record->bytes,
                              .start_s = (double)record->start_ps / PS_PER_S,
                              .begin_s = (double)record->begin_ps / PS_PER_S,
                              .end_s = (double)record->end_ps / PS_PER_S};
    if (number == WALK_LOCAL) {
        hop.from = hop.to = walk->tracks[low].rank;
        hop.channel = walk->tracks[low].channel;
    } else {
        hop.from = walk->streams[number].from;
        hop.to = walk->streams[number].to;
        hop.channel = walk->streams[number].channel;
    }
    return hop;
}

/* From the last transfer back over what each waited for. */
static weft_status path_collect(const struct walk *walk, struct prediction *prediction)
{
    uint32_t count = 0, last = simulation_last(walk->simulation);
    for (uint32_t record = last; record != SIMULATION_NONE; count++)
        record = simulation_record(walk->simulation, record)->cause;
    uint32_t kept = count < PATH_MAX_HOPS ? count : PATH_MAX_HOPS, place = count;
    prediction->path = calloc((size_t)kept + 1, sizeof *prediction->path);
    if (!prediction->path) return WEFT_OUT_OF_MEMORY;
    for (uint32_t record = last; record != SIMULATION_NONE;) {
        const struct simulation_record *at = simulation_record(walk->simulation, record);
        struct predict_hop hop = hop_of(walk, at);
        if (--place < kept) prediction->path[place] = hop;
        record = at->cause;
        double before_s =
            record == SIMULATION_NONE ? 0 : (double)simulation_record(walk->simulation, record)->end_ps / PS_PER_S;
        double begin_s = hop.begin_s > before_s ? hop.begin_s : before_s;
        prediction->path_latency_s += begin_s - before_s;
        prediction->path_transfer_s += hop.end_s - begin_s;
    }
    prediction->path_count = kept;
    return WEFT_OK;
}

/* Load, and see how many slices the budget leaves. */
static weft_status walk_fit(struct walk *walk, struct diagnostic *diagnostic)
{
    const struct walk empty = *walk;
    uint64_t budget = walk->request->message_budget < SLICES_BUDGET ? walk->request->message_budget : SLICES_BUDGET;
    for (;;) {
        weft_status status = walk_load(walk, diagnostic);
        if (status != WEFT_OK || walk->messages <= budget || walk->slices <= 1 || walk->forced_slices) return status;
        double divisor = walk->slice_divisor * fmax(2, ceil((double)walk->messages / (double)budget));
        walk_free(walk);
        *walk = empty;
        walk->slice_divisor = divisor;
    }
}

static weft_status walk_once(struct walk *walk, struct diagnostic *diagnostic)
{
    weft_status status = walk_route(walk, diagnostic);
    return status == WEFT_OK ? walk_run(walk, diagnostic) : status;
}

static void results_begin(const struct walk *walk, struct prediction *prediction)
{
    prediction->slices = walk->slices;
    prediction->real_slices = walk->real_slices;
    prediction->messages = walk->full_messages;
    prediction->simulated_messages = walk->messages;
    prediction->seconds = (double)walk->finish_ps / PS_PER_S;
}

/* Two runs of different length; what one repetition more takes, and moves, is what lies between them. */
static weft_status predict_stretched(const struct predict_request *request, struct prediction *prediction,
                                     struct diagnostic *diagnostic)
{
    uint64_t work = request->work_budget;
    struct walk shorter = {.request = request, .repeat_limit = SHORT_RUN, .forced_slices = 1, .work_max = work};
    struct walk longer = {.request = request, .repeat_limit = LONG_RUN, .forced_slices = 1, .work_max = 2 * work};
    weft_status status = walk_load(&shorter, diagnostic);
    if (status == WEFT_OK) status = walk_once(&shorter, diagnostic);
    if (status == WEFT_OK) status = walk_load(&longer, diagnostic);
    if (status == WEFT_OK && longer.messages > 4 * request->message_budget)
        status = diagnose(diagnostic, WEFT_UNSUPPORTED,
                          "%llu messages are too many to simulate, and no runs of equal steps make them fewer",
                          (unsigned long long)longer.messages);
    if (status == WEFT_OK) status = walk_once(&longer, diagnostic);
    if (status == WEFT_OK) {
        double more = (double)longer.messages - (double)shorter.messages;
        double stretch = more > 0 ? ((double)longer.full_messages - (double)longer.messages) / more : 0;
        results_begin(&longer, prediction);
        prediction->real_slices = shorter.real_slices;
        prediction->simulated_messages += shorter.messages;
        prediction->extrapolated = true;
        prediction->seconds += stretch * (prediction->seconds - (double)shorter.finish_ps / PS_PER_S);
        status = loads_collect(&longer, &shorter, stretch, prediction);
    }
    if (status == WEFT_OK) status = path_collect(&longer, prediction);
    walk_free(&shorter);
    walk_free(&longer);
    return status;
}

/* Simulate the plan with 1 / @p divisor of its slices, or fewer; *divisor is then what it came to. */
static weft_status predict_sliced(const struct predict_request *request, double *divisor, struct prediction *prediction,
                                  struct diagnostic *diagnostic, bool *too_many)
{
    struct walk walk = {.request = request,
                        .repeat_limit = UINT32_MAX,
                        .slice_divisor = *divisor,
                        .forced_slices = request->slice_count,
                        .work_max = request->work_budget};
    weft_status status = walk_fit(&walk, diagnostic);
    *divisor = walk.slice_divisor;
    *too_many = status == WEFT_OK && walk.messages > request->message_budget;
    if (walk.forced_slices) walk.work_max = 0; /* as it was asked for */
    if (status == WEFT_OK && !*too_many) {
        status = walk_once(&walk, diagnostic);
        if (status == WEFT_RESOURCE_LIMIT && walk.slices <= 1) status = WEFT_UNSUPPORTED;
        if (status == WEFT_OK) {
            results_begin(&walk, prediction);
            status = loads_collect(&walk, NULL, 0, prediction);
        }
        if (status == WEFT_OK) status = path_collect(&walk, prediction);
    }
    walk_free(&walk);
    return status;
}

static weft_status predict_full(const struct predict_request *request, struct prediction *prediction,
                                struct diagnostic *diagnostic, bool *too_many)
{
    weft_status status;
    double divisor = 1;
    while ((status = predict_sliced(request, &divisor, prediction, diagnostic, too_many)) == WEFT_RESOURCE_LIMIT)
        divisor *= FEWER_SLICES;
    return status;
}

weft_status predict_plan(const struct predict_request *request, struct prediction *prediction,
                         struct diagnostic *diagnostic)
{
    struct predict_request filled = *request;
    struct prediction made = {0};
    if (!filled.figures) filled.figures = &cost_figures_built_in;
    if (!filled.slice_bytes) filled.slice_bytes = slice_bytes_default(request);
    if (!filled.message_budget) filled.message_budget = BUDGET_DEFAULT;
    if (!filled.work_budget) filled.work_budget = WORK_DEFAULT;
    bool too_many;
    weft_status status = predict_full(&filled, &made, diagnostic, &too_many);
    if (status == WEFT_OK && too_many) status = predict_stretched(&filled, &made, diagnostic);
    if (status == WEFT_RESOURCE_LIMIT) status = WEFT_UNSUPPORTED;
    if (status != WEFT_OK) {
        prediction_free(&made);
        if (status == WEFT_OUT_OF_MEMORY) diagnose(diagnostic, status, "no memory for a prediction");
        return status;
    }
    if (made.seconds > 0) {
        made.algbw = (double)request->bytes / made.seconds;
        made.busbw = made.algbw * predict_busbw_factor(request->plan->collective, request->plan->rank_count);
    }
    *prediction = made;
    return WEFT_OK;
}

void prediction_free(struct prediction *prediction)
{
    free(prediction->loads);
    free(prediction->path);
    *prediction = (struct prediction){0};
}

void prediction_method(const struct prediction *prediction, char text[160])
{
    if (prediction->extrapolated)
        snprintf(text, 160, "coarse: runs of equal steps cut to %d and %d and drawn out, 1 slice where a run has %llu",
                 SHORT_RUN, LONG_RUN, (unsigned long long)prediction->real_slices);
    else if (prediction->slices < prediction->real_slices)
        snprintf(text, 160, "coarse: simulated with %u slice%s of a chunk where a run has %llu", prediction->slices,
                 prediction->slices == 1 ? "" : "s", (unsigned long long)prediction->real_slices);
    else
        snprintf(text, 160, "simulated");
}
