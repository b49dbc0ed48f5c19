/* SPDX-License-Identifier: Apache-2.0 */
/* The clock, and who is joined to whom. */
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "transport/sim/sim_internal.h"

#define DEFAULT_QUEUE_DEPTH 64
#define MAX_QUEUE_DEPTH 65536

void sim_plan(struct sim_fabric *fabric, uint64_t at_ns, enum sim_happening happening,
              struct sim_connection *connection, uint32_t detail)
{
    sim_queue_push(&fabric->queue, (struct sim_entry){.at_ns = at_ns,
                                                      .connection = connection,
                                                      .incarnation = connection ? connection->incarnation : 0,
                                                      .detail = detail,
                                                      .happening = (uint8_t)happening});
}

uint64_t sim_random_up_to(struct sim_fabric *fabric, uint64_t bound)
{
    return bound ? random_below(&fabric->random, bound + 1) : 0;
}

struct sim_connection *sim_end(const struct sim_fabric *fabric, uint32_t of, uint32_t to)
{
    return fabric->ends[(size_t)of * fabric->config.rank_count + to];
}

static bool config_is_valid(const struct sim_config *config)
{
    if (config->rank_count == 0 || config->path_count > SIM_MAX_PATHS || config->queue_depth > MAX_QUEUE_DEPTH ||
        config->refuse_per_mille > 999 || config->lending >= SIM_LENDING_KINDS)
        return false;
    for (size_t i = 0; i < config->fault_count; i++) {
        if (!sim_fault_is_valid(&config->faults[i], config)) return false;
    }
    return true;
}

static void faults_plan(struct sim_fabric *fabric)
{
    for (size_t i = 0; i < fabric->config.fault_count; i++)
        sim_plan(fabric, fabric->faults[i].at_ns, SIM_FAULT, NULL, (uint32_t)i);
}

weft_status sim_fabric_create(const struct sim_config *config, struct sim_fabric **fabric)
{
    struct sim_config settled = *config;

    if (settled.path_count == 0) settled.path_count = 1;
    if (settled.queue_depth == 0) settled.queue_depth = DEFAULT_QUEUE_DEPTH;
    if (!config_is_valid(&settled)) return WEFT_INVALID_ARGUMENT;

    const size_t rank_count = settled.rank_count;
    struct sim_fabric *made = calloc(1, sizeof *made);
    if (!made) return WEFT_OUT_OF_MEMORY;
    made->config = settled;
    made->hash = BYTES_HASH_START;
    random_seed(&made->random, settled.seed);
    made->dead = calloc(rank_count, sizeof *made->dead);
    made->endpoints = calloc(rank_count, sizeof(struct sim_endpoint *));
    made->ends = calloc(rank_count * rank_count, sizeof(struct sim_connection *));
    made->faults = calloc(settled.fault_count + 1, sizeof *made->faults);
    if (!made->dead || !made->endpoints || !made->ends || !made->faults ||
        !sim_queue_reserve(&made->queue, settled.fault_count)) {
        sim_fabric_destroy(made);
        return WEFT_OUT_OF_MEMORY;
    }
    if (settled.fault_count) memcpy(made->faults, settled.faults, settled.fault_count * sizeof *made->faults);
    made->config.faults = made->faults;
    faults_plan(made);
    *fabric = made;
    return WEFT_OK;
}

void sim_fabric_destroy(struct sim_fabric *fabric)
{
    if (!fabric) return;
    const size_t rank_count = fabric->config.rank_count;
    for (size_t i = 0; fabric->ends && i < rank_count * rank_count; i++) sim_connection_free(fabric->ends[i]);
    free(fabric->queue.entries);
    free(fabric->faults);
    free(fabric->ends);
    free(fabric->endpoints);
    free(fabric->dead);
    free(fabric);
}

weft_status sim_endpoint_create(struct sim_fabric *fabric, uint32_t rank, struct endpoint **endpoint)
{
    const uint32_t rank_count = fabric->config.rank_count;

    if (rank >= rank_count || fabric->endpoints[rank]) return WEFT_INVALID_ARGUMENT;
    struct sim_endpoint *made = calloc(1, sizeof *made + rank_count * sizeof(struct sim_connection *));
    if (!made) return WEFT_OUT_OF_MEMORY;
    made->base = (struct endpoint){.ops = sim_ops_of(&fabric->config), .rank = rank, .rank_count = rank_count};
    made->fabric = fabric;
    fabric->endpoints[rank] = made;
    *endpoint = &made->base;
    return WEFT_OK;
}

uint64_t sim_now_ns(const struct sim_fabric *fabric)
{
    return fabric->now_ns;
}

bool sim_alive(const struct sim_fabric *fabric, uint32_t rank)
{
    return !fabric->dead[rank];
}

uint64_t sim_hash(const struct sim_fabric *fabric)
{
    return fabric->hash;
}

static void happen(struct sim_fabric *fabric, const struct sim_entry *entry)
{
    if (entry->happening == SIM_FAULT)
        sim_fault_strike(fabric, &fabric->faults[entry->detail]);
    else if (entry->connection->incarnation == entry->incarnation) /* else of a life that has ended */
        sim_connection_happens(entry->connection, (enum sim_happening)entry->happening, entry->detail);
}

bool sim_step(struct sim_fabric *fabric)
{
    const struct sim_entry *first = sim_queue_first(&fabric->queue);

    if (!first) return false;
    sim_advance_to(fabric, first->at_ns);
    return true;
}

void sim_advance_to(struct sim_fabric *fabric, uint64_t now_ns)
{
    for (;;) {
        const struct sim_entry *first = sim_queue_first(&fabric->queue);
        if (!first || first->at_ns > now_ns) break;
        const struct sim_entry entry = *first;
        sim_queue_pop(&fabric->queue);
        fabric->now_ns = entry.at_ns;
        happen(fabric, &entry);
    }
    fabric->now_ns = now_ns;
}
