/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A discrete-event simulation of transfers over shared links. It knows links, transfers, and what let each of them
 * start; what depends on what is the driver's: whenever a transfer is over the driver's function is called, and starts
 * whatever may start now.
 *
 * A transfer starts, takes its delay (overheads and latency), waits until the ones before it in its lane are through,
 * and then shares the links of its route max-min fairly (network.h) until its bytes are over.
 *
 * Time is in picoseconds, whole ones: equal transfers end in the same instant, and rates are settled once for all that
 * happens in one. 2^64 of them are 213 days.
 *
 * Owner: simulation_create(), simulation_destroy(). Thread: one at a time; pure. Out of memory is remembered: starts
 * return SIMULATION_NONE, simulation_run() returns WEFT_OUT_OF_MEMORY.
 */
#ifndef TOPOLOGY_SIMULATE_H
#define TOPOLOGY_SIMULATE_H

#include <stdbool.h>
#include <stdint.h>
#include <weft/types.h>

#define SIMULATION_NONE UINT32_MAX

struct simulation;

struct simulation_config {
    const uint64_t *capacities; /* bytes per second of each link */
    uint32_t link_count;
    uint32_t hop_max; /* most links on a route */
    uint32_t lane_count;
    /* A transfer is over. @p transfer is its number, used again afterwards; @p record is the one of its trace. */
    void (*done)(void *context, uint32_t transfer, uint32_t record, uint64_t tag);
    uint64_t work_max; /* 0: none; how often flows may get a rate before the run ends with WEFT_RESOURCE_LIMIT */
    /* Asked now and then, if not NULL: false ends the run with WEFT_DEADLINE_EXCEEDED. */
    bool (*go_on)(void *context, uint64_t transfers_done);
    void *context;
};

struct transfer {
    const uint32_t *links; /* different ones; the driver's, unchanged until the transfer is over */
    uint32_t link_count;
    uint32_t lane; /* or SIMULATION_NONE: waits for no other */
    uint64_t bytes;
    uint64_t start_ps; /* when what it depends on was over; may lie before now, as long as start + delay does not */
    uint64_t delay_ps;
    uint64_t tag;   /* the driver's */
    uint32_t cause; /* the record of what it waited for last, or SIMULATION_NONE */
};

/* What is kept of a transfer. */
struct simulation_record {
    uint64_t start_ps, begin_ps, end_ps; /* begin: the first byte moves */
    uint64_t tag;
    uint64_t bytes;
    uint32_t cause; /* an earlier record, or SIMULATION_NONE */
};

/* What went over a link. */
struct simulation_load {
    uint64_t bytes;
    uint64_t busy_ps; /* with at least one transfer on it */
};

struct simulation *simulation_create(const struct simulation_config *config);
void simulation_destroy(struct simulation *simulation);

/* Before the run or from within done(). Returns the transfer's number. */
uint32_t simulation_start(struct simulation *simulation, const struct transfer *transfer);
uint64_t simulation_now(const struct simulation *simulation);

/* Until nothing is under way. */
weft_status simulation_run(struct simulation *simulation);

const struct simulation_record *simulation_record(const struct simulation *simulation, uint32_t record);
uint32_t simulation_record_count(const struct simulation *simulation);
/* The record that ended last, SIMULATION_NONE if there is none: the critical path is its causes, back to the first. */
uint32_t simulation_last(const struct simulation *simulation);
const struct simulation_load *simulation_loads(const struct simulation *simulation);
#endif
