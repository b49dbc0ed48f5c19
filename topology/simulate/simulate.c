/* SPDX-License-Identifier: Apache-2.0 */
#include "topology/simulate/simulate.h"

#include <stdlib.h>
#include <string.h>

#include "topology/simulate/network.h"

#define PS_PER_S 1000000000000.0
/* Between two questions whether to go on: transfers, and flows given a rate. */
#define ASK_EVERY 65536u
#define ASK_EVERY_WORK UINT64_C(4000000)
enum { RECORD_BLOCK = 1 << 16 };

enum phase { PHASE_DELAYED, PHASE_QUEUED, PHASE_FLOWING };

struct activity {
    uint64_t settled_ps; /* flowing: when `left` was true */
    double left;         /* bytes */
    uint64_t rate;
    const uint32_t *links; /* the driver's */
    uint32_t link_count;
    uint32_t lane, record, flow;
    uint32_t place; /* in the heap, or SIMULATION_NONE */
    uint32_t next;  /* in the lane's queue, or free */
    enum phase phase;
};

/* When an activity needs attention; first come first served within an instant. */
struct heap_entry {
    uint64_t key_ps;
    uint32_t order; /* may wrap around: order within an instant is all it is for */
    uint32_t activity;
};

struct lane {
    uint32_t first, last; /* the one that flows, then those that wait */
};

struct simulation {
    struct simulation_config config;
    struct network *network;
    struct simulation_load *loads;
    uint32_t *load_flows; /* transfers on each link now */
    uint64_t *load_since; /* when the first of them came */
    struct lane *lanes;
    struct activity *activities;
    uint32_t activity_used, activity_capacity, first_free;
    struct heap_entry *heap;
    uint32_t heap_count;
    uint32_t *flow_activity, flow_capacity; /* by the network's number */
    struct simulation_record **blocks;
    uint32_t block_count, record_count;
    uint32_t last_record;
    uint64_t now_ps;
    uint32_t order;
    bool failed;
};

struct simulation *simulation_create(const struct simulation_config *config)
{
    struct simulation *simulation = calloc(1, sizeof *simulation);
    if (!simulation) return NULL;
    size_t links = config->link_count ? config->link_count : 1, lanes = config->lane_count ? config->lane_count : 1;
    simulation->config = *config;
    simulation->first_free = simulation->last_record = SIMULATION_NONE;
    simulation->network = network_create(config->capacities, config->link_count, config->hop_max);
    simulation->loads = calloc(links, sizeof *simulation->loads);
    simulation->load_flows = calloc(links, sizeof *simulation->load_flows);
    simulation->load_since = calloc(links, sizeof *simulation->load_since);
    simulation->lanes = calloc(lanes, sizeof *simulation->lanes);
    if (!simulation->network || !simulation->loads || !simulation->load_flows || !simulation->load_since ||
        !simulation->lanes) {
        simulation_destroy(simulation);
        return NULL;
    }
    simulation->config.capacities = NULL; /* the network has its own */
    for (uint32_t i = 0; i < config->lane_count; i++)
        simulation->lanes[i] = (struct lane){SIMULATION_NONE, SIMULATION_NONE};
    return simulation;
}

void simulation_destroy(struct simulation *simulation)
{
    if (!simulation) return;
    network_destroy(simulation->network);
    free(simulation->loads);
    free(simulation->load_flows);
    free(simulation->load_since);
    free(simulation->lanes);
    free(simulation->activities);
    free(simulation->heap);
    free(simulation->flow_activity);
    for (uint32_t i = 0; i < simulation->block_count; i++) free(simulation->blocks[i]);
    free(simulation->blocks);
    free(simulation);
}

static bool grow(void *array, size_t count, size_t size)
{
    void **place = array, *moved = realloc(*place, count * size);
    if (moved) *place = moved;
    return moved != NULL;
}

static struct simulation_record *record_at(const struct simulation *simulation, uint32_t record)
{
    return &simulation->blocks[record / RECORD_BLOCK][record % RECORD_BLOCK];
}

static uint32_t record_add(struct simulation *simulation)
{
    if (simulation->record_count == SIMULATION_NONE) return SIMULATION_NONE;
    if (simulation->record_count == simulation->block_count * (uint32_t)RECORD_BLOCK) {
        if (!grow(&simulation->blocks, simulation->block_count + 1, sizeof(void *))) return SIMULATION_NONE;
        struct simulation_record *block = malloc(RECORD_BLOCK * sizeof *block);
        if (!block) return SIMULATION_NONE;
        simulation->blocks[simulation->block_count++] = block;
    }
    return simulation->record_count++;
}

/* The heap: four children to a place, earliest first. */
static bool comes_before(struct heap_entry a, struct heap_entry b)
{
    return a.key_ps != b.key_ps ? a.key_ps < b.key_ps : (int32_t)(a.order - b.order) < 0;
}

static void heap_put(struct simulation *simulation, uint32_t place, struct heap_entry entry)
{
    simulation->heap[place] = entry;
    simulation->activities[entry.activity].place = place;
}

static void heap_rise(struct simulation *simulation, uint32_t place, struct heap_entry entry)
{
    for (uint32_t above; place > 0; place = above) {
        above = (place - 1) / 4;
        if (!comes_before(entry, simulation->heap[above])) break;
        heap_put(simulation, place, simulation->heap[above]);
    }
    heap_put(simulation, place, entry);
}

static void heap_sink(struct simulation *simulation, uint32_t place, struct heap_entry entry)
{
    uint32_t count = simulation->heap_count;
    for (uint32_t first; (first = 4 * place + 1) < count;) {
        uint32_t least = first, end = first + 4 < count ? first + 4 : count;
        for (uint32_t child = first + 1; child < end; child++)
            if (comes_before(simulation->heap[child], simulation->heap[least])) least = child;
        if (!comes_before(simulation->heap[least], entry)) break;
        heap_put(simulation, place, simulation->heap[least]);
        place = least;
    }
    heap_put(simulation, place, entry);
}

/* Give the activity this time, whether it had one or not. */
static void heap_set(struct simulation *simulation, uint32_t activity, uint64_t key_ps)
{
    uint32_t place = simulation->activities[activity].place;
    struct heap_entry entry = {key_ps, simulation->order++, activity};
    if (place == SIMULATION_NONE)
        heap_rise(simulation, simulation->heap_count++, entry);
    else if (key_ps < simulation->heap[place].key_ps)
        heap_rise(simulation, place, entry);
    else
        heap_sink(simulation, place, entry);
}

static uint32_t heap_pop(struct simulation *simulation)
{
    uint32_t first = simulation->heap[0].activity;
    struct heap_entry last = simulation->heap[--simulation->heap_count];
    if (simulation->heap_count > 0) heap_sink(simulation, 0, last);
    simulation->activities[first].place = SIMULATION_NONE;
    return first;
}

static uint32_t activity_take(struct simulation *simulation)
{
    uint32_t index = simulation->first_free;
    if (index != SIMULATION_NONE) {
        simulation->first_free = simulation->activities[index].next;
        return index;
    }
    if (simulation->activity_used == simulation->activity_capacity) {
        size_t grown = simulation->activity_capacity ? (size_t)simulation->activity_capacity * 2 : 256;
        if (grown >= SIMULATION_NONE || !grow(&simulation->activities, grown, sizeof *simulation->activities) ||
            !grow(&simulation->heap, grown, sizeof *simulation->heap))
            return SIMULATION_NONE;
        simulation->activity_capacity = (uint32_t)grown;
    }
    return simulation->activity_used++;
}

uint32_t simulation_start(struct simulation *simulation, const struct transfer *transfer)
{
    uint32_t index = activity_take(simulation), record = record_add(simulation);
    if (index == SIMULATION_NONE || record == SIMULATION_NONE) {
        simulation->failed = true;
        return SIMULATION_NONE;
    }
    *record_at(simulation, record) = (struct simulation_record){
        .start_ps = transfer->start_ps, .tag = transfer->tag, .bytes = transfer->bytes, .cause = transfer->cause};
    simulation->activities[index] = (struct activity){
        .left = (double)transfer->bytes,
        .links = transfer->links,
        .link_count = transfer->link_count,
        .lane = transfer->lane,
        .record = record,
        .flow = NETWORK_NONE,
        .place = SIMULATION_NONE,
        .next = SIMULATION_NONE,
        .phase = PHASE_DELAYED,
    };
    uint64_t begin_ps = transfer->start_ps + transfer->delay_ps;
    heap_set(simulation, index, begin_ps > simulation->now_ps ? begin_ps : simulation->now_ps);
    return index;
}

uint64_t simulation_now(const struct simulation *simulation)
{
    return simulation->now_ps;
}

static void loads_begin(struct simulation *simulation, const struct activity *activity)
{
    for (uint32_t i = 0; i < activity->link_count; i++)
        if (simulation->load_flows[activity->links[i]]++ == 0)
            simulation->load_since[activity->links[i]] = simulation->now_ps;
}

static void loads_end(struct simulation *simulation, const struct activity *activity, uint64_t bytes)
{
    for (uint32_t i = 0; i < activity->link_count; i++) {
        uint32_t link = activity->links[i];
        simulation->loads[link].bytes += bytes;
        if (--simulation->load_flows[link] == 0)
            simulation->loads[link].busy_ps += simulation->now_ps - simulation->load_since[link];
    }
}

/* Its bytes begin to move, for a time that the settling of this instant tells; with none, or over no link, for none. */
static void activity_flow(struct simulation *simulation, uint32_t index)
{
    struct activity *activity = &simulation->activities[index];
    activity->phase = PHASE_FLOWING;
    activity->settled_ps = simulation->now_ps;
    struct simulation_record *record = record_at(simulation, activity->record);
    record->begin_ps = simulation->now_ps;
    if (record->bytes == 0 || activity->link_count == 0) {
        activity->left = 0;
        heap_set(simulation, index, simulation->now_ps);
        return;
    }
    uint32_t flow = network_add(simulation->network, activity->links, activity->link_count);
    if (flow != NETWORK_NONE && flow >= simulation->flow_capacity) {
        size_t grown = ((size_t)flow + 1) * 2;
        if (grow(&simulation->flow_activity, grown, sizeof *simulation->flow_activity))
            simulation->flow_capacity = (uint32_t)grown;
    }
    if (flow == NETWORK_NONE || flow >= simulation->flow_capacity) {
        simulation->failed = true;
        return;
    }
    activity->flow = flow;
    simulation->flow_activity[flow] = index;
    loads_begin(simulation, activity);
}

/* The delay is over: flow, or stand in line. */
static void activity_queue(struct simulation *simulation, uint32_t index)
{
    struct activity *activity = &simulation->activities[index];
    if (activity->lane == SIMULATION_NONE) {
        activity_flow(simulation, index);
        return;
    }
    struct lane *lane = &simulation->lanes[activity->lane];
    activity->phase = PHASE_QUEUED;
    if (lane->last != SIMULATION_NONE) {
        simulation->activities[lane->last].next = index;
        lane->last = index;
        return;
    }
    lane->first = lane->last = index;
    activity_flow(simulation, index);
}

static void activity_end(struct simulation *simulation, uint32_t index)
{
    struct activity *activity = &simulation->activities[index];
    struct simulation_record *record = record_at(simulation, activity->record);
    uint64_t tag = record->tag;
    uint32_t record_index = activity->record;
    record->end_ps = simulation->now_ps;
    simulation->last_record = record_index;
    if (activity->flow != NETWORK_NONE) {
        network_remove(simulation->network, activity->flow);
        loads_end(simulation, activity, record->bytes);
    }
    if (activity->lane != SIMULATION_NONE) {
        struct lane *lane = &simulation->lanes[activity->lane];
        lane->first = activity->next;
        if (lane->first == SIMULATION_NONE)
            lane->last = SIMULATION_NONE;
        else {
            record_at(simulation, simulation->activities[lane->first].record)->cause = record_index;
            activity_flow(simulation, lane->first);
        }
    }
    activity = &simulation->activities[index];
    activity->next = simulation->first_free;
    simulation->first_free = index;
    simulation->config.done(simulation->config.context, index, record_index, tag);
}

static void rates_settle(struct simulation *simulation)
{
    const uint32_t *changed;
    uint32_t count = network_settle(simulation->network, &changed);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t index = simulation->flow_activity[changed[i]];
        struct activity *activity = &simulation->activities[index];
        double seconds = (double)(simulation->now_ps - activity->settled_ps) / PS_PER_S;
        activity->left -= seconds * (double)activity->rate;
        if (activity->left < 0) activity->left = 0;
        activity->rate = network_rate(simulation->network, changed[i]);
        activity->settled_ps = simulation->now_ps;
        /* To the nearest, so that rounding of sums cannot tear apart what ends together. */
        uint64_t takes_ps = (uint64_t)(activity->left / (double)activity->rate * PS_PER_S + 0.5);
        heap_set(simulation, index, simulation->now_ps + takes_ps);
    }
}

/* Everything that happens at the earliest instant, and what comes of it in the same instant. */
static void instant_run(struct simulation *simulation)
{
    while (simulation->heap_count > 0 && !simulation->failed) {
        if (simulation->heap[0].key_ps != simulation->now_ps) break;
        uint32_t index = heap_pop(simulation);
        if (simulation->activities[index].phase == PHASE_DELAYED)
            activity_queue(simulation, index);
        else
            activity_end(simulation, index);
    }
    rates_settle(simulation);
}

weft_status simulation_run(struct simulation *simulation)
{
    uint32_t asked = 0;
    uint64_t asked_work = 0;
    while (simulation->heap_count > 0 && !simulation->failed) {
        simulation->now_ps = simulation->heap[0].key_ps;
        instant_run(simulation);
        uint64_t work = network_work(simulation->network);
        if (simulation->config.work_max && work > simulation->config.work_max) return WEFT_RESOURCE_LIMIT;
        if (!simulation->config.go_on) continue;
        if (simulation->record_count - asked < ASK_EVERY && work - asked_work < ASK_EVERY_WORK) continue;
        asked = simulation->record_count;
        asked_work = work;
        if (!simulation->config.go_on(simulation->config.context, asked)) return WEFT_DEADLINE_EXCEEDED;
    }
    return simulation->failed ? WEFT_OUT_OF_MEMORY : WEFT_OK;
}

const struct simulation_record *simulation_record(const struct simulation *simulation, uint32_t record)
{
    return record_at(simulation, record);
}

uint32_t simulation_record_count(const struct simulation *simulation)
{
    return simulation->record_count;
}

uint32_t simulation_last(const struct simulation *simulation)
{
    return simulation->last_record;
}

const struct simulation_load *simulation_loads(const struct simulation *simulation)
{
    return simulation->loads;
}
