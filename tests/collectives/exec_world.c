/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/collectives/exec_world.h"

#include <stdlib.h>
#include <string.h>

/* Turns without anything moving, and with nothing left that the clock could bring, before a run counts as deadlocked:
 * each rank has had many turns by then. */
#define IDLE_LIMIT 100u

struct member {
    struct endpoint *endpoint;
    struct engine *engine;
    struct binding *binding;
    struct operation **operations;
    weft_status *statuses;
    int64_t *send, *recv; /* operations * count */
};

struct world {
    struct world_config config;
    struct sim_fabric *fabric;
    struct member *members;
    uint32_t rank_count;
};

static int64_t contribution(uint32_t rank, uint32_t operation, uint64_t element)
{
    return (int64_t)(rank + 1) * (int64_t)(element % 1021 + 1) + operation;
}

/* From -2 to 2: one of five ranks takes no part, and one leaves its input as it is. */
static double scale_of(uint32_t rank)
{
    return (double)(rank % 5) - 2;
}

/* What the contribution counts in the operation. */
static int64_t term(const struct world *world, uint32_t rank, uint32_t operation, uint64_t element)
{
    int64_t value = contribution(rank, operation, element);
    return world->config.op == WEFT_PREMUL_SUM ? (int64_t)scale_of(rank) * value : value;
}

static int64_t expected(const struct world *world, uint32_t operation, uint64_t element)
{
    if (world->config.spec.collective == WEFT_BROADCAST)
        return contribution(world->config.spec.root, operation, element);
    int64_t result = term(world, 0, operation, element);
    for (uint32_t rank = 1; rank < world->rank_count; rank++) {
        int64_t value = term(world, rank, operation, element);
        if (world->config.op == WEFT_MAX)
            result = value > result ? value : result;
        else
            result += value;
    }
    return world->config.op == WEFT_AVG ? result / world->rank_count : result;
}

static int64_t *buffer_of(int64_t *base, const struct world *world, uint32_t operation)
{
    return base + (size_t)operation * world->config.count;
}

static void member_create(struct world *world, uint32_t rank, struct weft_plan *plan)
{
    struct member *member = &world->members[rank];
    const struct world_config *config = &world->config;
    size_t elements = (size_t)config->operations * config->count + 1;
    if (sim_endpoint_create(world->fabric, rank, &member->endpoint) != WEFT_OK) abort();
    const struct engine_config engine = {
        .endpoint = member->endpoint,
        .rank = rank,
        .rank_count = world->rank_count,
        .channel_limit = 8,
        .slot_depth = config->spec.slot_depth ? config->spec.slot_depth : 4,
        .slot_bytes = config->slice_bytes,
    };
    if (engine_create(&engine, &member->engine) != WEFT_OK) abort();
    if (binding_create(member->engine, plan, &member->binding) != WEFT_OK) abort();
    member->operations = calloc(config->operations, sizeof *member->operations);
    member->statuses = calloc(config->operations, sizeof *member->statuses);
    member->recv = calloc(elements, sizeof *member->recv);
    member->send = config->in_place ? member->recv : calloc(elements, sizeof *member->send);
    for (uint32_t o = 0; o < config->operations; o++) {
        member->statuses[o] = WEFT_IN_PROGRESS;
        for (uint64_t i = 0; i < config->count; i++) buffer_of(member->send, world, o)[i] = contribution(rank, o, i);
        const struct operation_call call = {
            .send = buffer_of(member->send, world, o),
            .recv = buffer_of(member->recv, world, o),
            .count = config->count,
            .dtype = WEFT_INT64,
            .op = config->op,
            .divisor = config->op == WEFT_AVG ? world->rank_count : 1,
            .scale = scale_of(rank),
            .slice_bytes = config->slice_bytes,
            .check = 77 + o + (config->disagreeing_rank == rank + 1 ? 1000 : 0),
            .acknowledged = config->acknowledged,
        };
        if (operation_start(member->engine, member->binding, &call, &member->operations[o]) != WEFT_OK) abort();
    }
}

struct world *world_create(const struct world_config *config, struct weft_plan *plan)
{
    struct world *world = calloc(1, sizeof *world);
    world->config = *config;
    world->rank_count = config->spec.rank_count;
    if (sim_fabric_create(&config->sim, &world->fabric) != WEFT_OK) abort();
    world->members = calloc(world->rank_count, sizeof *world->members);
    for (uint32_t rank = 0; rank < world->rank_count; rank++) member_create(world, rank, plan);
    return world;
}

void world_destroy(struct world *world)
{
    for (uint32_t rank = 0; rank < world->rank_count; rank++) {
        struct member *member = &world->members[rank];
        for (uint32_t o = 0; o < world->config.operations; o++) operation_free(member->operations[o]);
        engine_destroy(member->engine);
        binding_destroy(member->binding);
        endpoint_destroy(member->endpoint);
        free(member->operations);
        free(member->statuses);
        if (member->send != member->recv) free(member->send);
        free(member->recv);
    }
    sim_fabric_destroy(world->fabric);
    free(world->members);
    free(world);
}

/* One turn of one rank. Unfinished operations are advanced in order, as a communicator does. */
static bool member_turn(struct world *world, uint32_t rank, uint32_t *left)
{
    struct member *member = &world->members[rank];
    bool moved = engine_poll(member->engine, sim_now_ns(world->fabric));
    for (uint32_t o = 0; o < world->config.operations; o++) {
        if (member->statuses[o] != WEFT_IN_PROGRESS) continue;
        member->statuses[o] = operation_advance(member->operations[o], &moved);
        if (member->statuses[o] != WEFT_IN_PROGRESS) (*left)--;
    }
    return moved;
}

weft_status world_run(struct world *world, uint64_t seed)
{
    struct random random;
    random_seed(&random, seed);
    uint32_t left = world->rank_count * world->config.operations;
    uint32_t idle = 0;
    while (left > 0 && idle < IDLE_LIMIT) {
        bool moved = false;
        uint32_t first = (uint32_t)random_below(&random, world->rank_count);
        for (uint32_t i = 0; i < world->rank_count; i++)
            if (sim_alive(world->fabric, (first + i) % world->rank_count) &&
                random_below(&random, 4) > 0) /* now and then a rank is slow */
                moved |= member_turn(world, (first + i) % world->rank_count, &left);
        if (left > 0 && !moved && !sim_step(world->fabric))
            idle++;
        else
            idle = 0;
    }
    if (left > 0) return WEFT_DEADLINE_EXCEEDED;
    for (uint32_t rank = 0; rank < world->rank_count; rank++)
        for (uint32_t o = 0; o < world->config.operations; o++)
            if (world->members[rank].statuses[o] != WEFT_OK) return world->members[rank].statuses[o];
    return WEFT_OK;
}

uint64_t world_wrong(const struct world *world)
{
    uint64_t wrong = 0;
    for (uint32_t o = 0; o < world->config.operations; o++)
        for (uint64_t i = 0; i < world->config.count; i++) {
            int64_t value = expected(world, o, i);
            for (uint32_t rank = 0; rank < world->rank_count; rank++)
                wrong += buffer_of(world->members[rank].recv, world, o)[i] != value;
        }
    return wrong;
}

weft_status world_status(const struct world *world, uint32_t rank)
{
    return world->members[rank].statuses[0];
}

struct operation_stall world_stall(const struct world *world, uint32_t rank)
{
    return operation_stall(world->members[rank].operations[0]);
}

struct sim_fabric *world_fabric(struct world *world)
{
    return world->fabric;
}
