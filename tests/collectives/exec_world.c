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
    int64_t *send, *recv; /* per operation: places * room */
    struct operation_blocks blocks;
    uint64_t *numbers; /* what `blocks` points into */
};

struct world {
    struct world_config config;
    struct sim_fabric *fabric;
    struct member *members;
    uint32_t rank_count, places; /* places: blocks that a buffer has room for */
    uint64_t room;               /* elements from the beginning of one block to that of the next */
};

static bool per_pair(const struct world *world)
{
    weft_collective collective = world->config.spec.collective;
    return collective == WEFT_ALL_TO_ALL || collective == WEFT_ALL_TO_ALLV;
}

/* Which block lies at a place of a rank's input, or -1: none. Pairs are numbered sender * ranks + receiver. */
static int64_t input_block(const struct world *world, uint32_t rank, uint32_t place)
{
    const weft_plan_spec *spec = &world->config.spec;
    switch (spec->collective) {
    case WEFT_ALL_REDUCE:
    case WEFT_REDUCE:
        return place == 0 ? 0 : -1;
    case WEFT_BROADCAST:
    case WEFT_SEND_RECV:
        return place == 0 && rank == spec->root ? 0 : -1;
    case WEFT_ALL_GATHER:
    case WEFT_GATHER:
        return place == 0 ? (int64_t)rank : -1;
    case WEFT_REDUCE_SCATTER:
        return place;
    case WEFT_SCATTER:
        return rank == spec->root ? (int64_t)place : -1;
    case WEFT_ALL_TO_ALL:
    case WEFT_ALL_TO_ALLV:
        return rank * world->rank_count + place;
    default:
        return -1;
    }
}

static int64_t output_block(const struct world *world, uint32_t rank, uint32_t place)
{
    const weft_plan_spec *spec = &world->config.spec;
    switch (spec->collective) {
    case WEFT_ALL_REDUCE:
    case WEFT_BROADCAST:
        return place == 0 ? 0 : -1;
    case WEFT_REDUCE:
        return place == 0 && rank == spec->root ? 0 : -1;
    case WEFT_SEND_RECV:
        return place == 0 && rank == spec->peer ? 0 : -1;
    case WEFT_ALL_GATHER:
        return place;
    case WEFT_GATHER:
        return rank == spec->root ? (int64_t)place : -1;
    case WEFT_REDUCE_SCATTER:
    case WEFT_SCATTER:
        return place == 0 ? (int64_t)rank : -1;
    case WEFT_ALL_TO_ALL:
    case WEFT_ALL_TO_ALLV:
        return place * world->rank_count + rank;
    default:
        return -1;
    }
}

/*
 * Elements of a block; all_to_allv has some of none, and none of the same size as its neighbours. In place, what two
 * ranks exchange is of one size.
 */
static uint64_t block_elements(const struct world *world, int64_t block)
{
    if (world->config.spec.collective != WEFT_ALL_TO_ALLV) return world->config.count;
    int64_t ranks = world->rank_count, back = block % ranks * ranks + block / ranks;
    if (world->config.in_place && back < block) block = back;
    return (uint64_t)(block * 389 + 5) % (world->config.count + 1);
}

static int64_t contribution(uint32_t rank, uint32_t operation, int64_t block, uint64_t element)
{
    return (int64_t)(rank + 1) * (int64_t)(element % 1021 + 1) + operation + 1000003 * block;
}

/* From -2 to 2: one of five ranks takes no part, and one leaves its input as it is. */
static double scale_of(uint32_t rank)
{
    return (double)(rank % 5) - 2;
}

/* What the contribution counts in the operation. */
static int64_t term(const struct world *world, uint32_t rank, uint32_t operation, int64_t block, uint64_t element)
{
    int64_t value = contribution(rank, operation, block, element);
    return world->config.op == WEFT_PREMUL_SUM ? (int64_t)scale_of(rank) * value : value;
}

static int64_t expected(const struct world *world, uint32_t operation, int64_t block, uint64_t element)
{
    switch (world->config.spec.collective) {
    case WEFT_ALL_GATHER:
    case WEFT_GATHER:
        return contribution((uint32_t)block, operation, block, element);
    case WEFT_ALL_TO_ALL:
    case WEFT_ALL_TO_ALLV:
        return contribution((uint32_t)block / world->rank_count, operation, block, element);
    case WEFT_BROADCAST:
    case WEFT_SCATTER:
    case WEFT_SEND_RECV:
        return contribution(world->config.spec.root, operation, block, element);
    default:
        break;
    }
    int64_t result = term(world, 0, operation, block, element);
    for (uint32_t rank = 1; rank < world->rank_count; rank++) {
        int64_t value = term(world, rank, operation, block, element);
        if (world->config.op == WEFT_MAX)
            result = value > result ? value : result;
        else
            result += value;
    }
    return world->config.op == WEFT_AVG ? result / world->rank_count : result;
}

/*
 * In place the two buffers are one; where a side is a single block, it is this rank's place of the other side. The
 * buffers of either side therefore begin at place 0 or at this rank's.
 */
static int64_t *side_of(const struct world *world, uint32_t rank, int64_t *base, uint32_t operation, bool input)
{
    weft_collective collective = world->config.spec.collective;
    bool single = input ? collective == WEFT_ALL_GATHER || collective == WEFT_GATHER
                        : collective == WEFT_REDUCE_SCATTER || collective == WEFT_SCATTER;
    int64_t *begin = base + (size_t)operation * world->places * world->room;
    return world->config.in_place && single ? begin + rank * world->room : begin;
}

static int64_t *send_of(const struct world *world, uint32_t rank, uint32_t operation)
{
    return side_of(world, rank, world->members[rank].send, operation, true);
}

static int64_t *recv_of(const struct world *world, uint32_t rank, uint32_t operation)
{
    return side_of(world, rank, world->members[rank].recv, operation, false);
}

static void blocks_create(struct world *world, uint32_t rank)
{
    struct member *member = &world->members[rank];
    uint32_t ranks = world->rank_count;
    member->numbers = calloc((size_t)ranks * 3, sizeof *member->numbers);
    uint64_t *sends = member->numbers, *recvs = sends + ranks, *offsets = recvs + ranks;
    for (uint32_t place = 0; place < ranks; place++) {
        sends[place] = block_elements(world, rank * ranks + place);
        recvs[place] = block_elements(world, place * ranks + rank);
        offsets[place] = place * world->room;
    }
    member->blocks = (struct operation_blocks){sends, offsets, recvs, offsets};
}

static void buffers_create(struct world *world, uint32_t rank)
{
    struct member *member = &world->members[rank];
    const struct world_config *config = &world->config;
    size_t elements = (size_t)config->operations * world->places * world->room + 1;
    member->recv = calloc(elements, sizeof *member->recv);
    member->send = config->in_place ? member->recv : calloc(elements, sizeof *member->send);
    for (uint32_t o = 0; o < config->operations; o++)
        for (uint32_t place = 0; place < world->places; place++) {
            int64_t block = input_block(world, rank, place);
            if (block < 0) continue;
            int64_t *begin = send_of(world, rank, o) + place * world->room;
            for (uint64_t i = 0; i < block_elements(world, block); i++) begin[i] = contribution(rank, o, block, i);
        }
}

static void engine_begin(struct world *world, uint32_t rank, struct weft_plan *plan)
{
    struct member *member = &world->members[rank];
    const struct world_config *config = &world->config;
    if (sim_endpoint_create(world->fabric, rank, &member->endpoint) != WEFT_OK) abort();
    const struct engine_config engine = {
        .endpoint = member->endpoint,
        .rank = rank,
        .rank_count = world->rank_count,
        .channel_limit = 8 + plan->channel_count,
        .slot_depth = config->spec.slot_depth ? config->spec.slot_depth : 4,
        .slot_bytes = config->slice_bytes,
        .exchanges = config->sim.maps && world->rank_count <= EXCHANGE_RANKS,
        .exchange_channel = config->first_channel,
    };
    if (engine_create(&engine, &member->engine) != WEFT_OK) abort();
    if (binding_create(member->engine, plan, config->first_channel, &member->binding) != WEFT_OK) abort();
}

static void member_create(struct world *world, uint32_t rank, struct weft_plan *plan)
{
    struct member *member = &world->members[rank];
    const struct world_config *config = &world->config;
    bool uneven = config->spec.collective == WEFT_ALL_TO_ALLV;
    engine_begin(world, rank, plan);
    if (uneven) blocks_create(world, rank);
    buffers_create(world, rank);
    member->operations = calloc(config->operations, sizeof *member->operations);
    member->statuses = calloc(config->operations, sizeof *member->statuses);
    for (uint32_t o = 0; o < config->operations; o++) {
        member->statuses[o] = WEFT_IN_PROGRESS;
        const struct operation_call call = {
            .send = send_of(world, rank, o),
            .recv = recv_of(world, rank, o),
            .count = uneven ? 0 : config->count,
            .blocks = uneven ? &member->blocks : NULL,
            .dtype = WEFT_INT64,
            .op = config->op,
            .divisor = config->op == WEFT_AVG ? world->rank_count : 1,
            .scale = scale_of(rank),
            .slice_bytes = config->slice_bytes,
            .check = 77 + o + (config->disagreeing_rank == rank + 1 ? 1000 : 0),
            .overwrites = config->in_place || config->overwriting_rank == rank + 1,
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
    bool blocks = config->spec.collective == WEFT_ALL_GATHER || config->spec.collective == WEFT_GATHER ||
                  config->spec.collective == WEFT_REDUCE_SCATTER || config->spec.collective == WEFT_SCATTER;
    world->places = blocks || per_pair(world) ? world->rank_count : 1;
    /* Blocks of sizes of their own have gaps between them, which nothing may be written to. */
    world->room = config->count + (config->spec.collective == WEFT_ALL_TO_ALLV ? 3 : 0);
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
        free(member->numbers);
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

/* Wrong elements of one rank's output; where it has none, nothing is looked at. */
static uint64_t member_wrong(const struct world *world, uint32_t rank, uint32_t operation)
{
    uint64_t wrong = 0;
    bool gaps = world->config.spec.collective == WEFT_ALL_TO_ALLV && !world->config.in_place;
    for (uint32_t place = 0; place < world->places; place++) {
        int64_t block = output_block(world, rank, place);
        if (block < 0) continue;
        const int64_t *begin = recv_of(world, rank, operation) + place * world->room;
        uint64_t count = block_elements(world, block);
        for (uint64_t i = 0; i < count; i++) wrong += begin[i] != expected(world, operation, block, i);
        for (uint64_t i = count; gaps && i < world->room; i++) wrong += begin[i] != 0;
    }
    return wrong;
}

uint64_t world_wrong(const struct world *world)
{
    uint64_t wrong = 0;
    for (uint32_t o = 0; o < world->config.operations; o++)
        for (uint32_t rank = 0; rank < world->rank_count; rank++) wrong += member_wrong(world, rank, o);
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
