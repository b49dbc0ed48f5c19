/* SPDX-License-Identifier: Apache-2.0 */
#include "collectives/exec/stage.h"

#include <string.h>

#include "collectives/exec/distance.h"

/* Up to so many, what ranks have told each other is still in caches when the next call comes; then nobody has to probe
 * whether steps are to be run. */
#define STEPS_AT_ONCE_PORTIONS 4u

/* Of those that have found each other near before, every so many probe again. */
#define PROBED_CALLS 8u

/* Of the stage, in this order: for an input, for the output, and for the next input. */
static size_t third_bytes(const struct operation *operation)
{
    return operation->binding->engine->config.stage_bytes / 3 / 64 * 64;
}

/* Elements of each block that fit a stage, in whole cache lines. */
static uint64_t fitting(const struct operation *operation)
{
    const uint64_t line = 64 / operation->element_bytes;
    const uint64_t places = plan_block_count(operation->binding->plan) > 1 ? operation->binding->plan->rank_count : 1;
    return third_bytes(operation) / operation->element_bytes / places / line * line;
}

uint64_t stage_portion(const struct operation *operation)
{
    const uint64_t left = operation->call.count - operation->portion.begin, most = fitting(operation);
    return most == 0 || left < most ? left : most;
}

bool stage_has_portions(const struct operation *operation)
{
    const struct operation_call *call = &operation->call;
    const uint64_t most = fitting(operation), at_once = call->steps_when_near ? STEPS_AT_ONCE_PORTIONS * most : most;
    return call->stages_when_near && most > 0 && at_once < call->count;
}

bool stage_probes_alone(const struct operation *operation)
{
    return operation->binding->engine->config.rank_count >= STAGE_PROBES_FROM_RANKS && stage_has_portions(operation);
}

bool stage_probes(const struct operation *operation)
{
    return operation->portion.begin == 0 && operation->probes < STAGE_PROBES && stage_has_portions(operation);
}

bool stage_serves(const struct operation *operation)
{
    const struct engine *engine = operation->binding->engine;
    if (!operation->call.stages_when_near || !engine->config.stage || fitting(operation) == 0) return false;
    if (!distance_is_near(engine)) return false;
    if (stage_probes_alone(operation) && stage_probes(operation)) return operation->ticket % PROBED_CALLS != 0;
    return !operation->call.steps_when_near || stage_probes(operation);
}

const void *stage_input(const struct operation *operation, uint64_t places)
{
    const size_t bytes = operation->portion.count * operation->element_bytes;
    const struct engine *engine = operation->binding->engine;
    uint8_t *stage = engine->config.stage + engine->exchange.stage_turn * 2 * third_bytes(operation);
    const uint8_t *input = operation->call.send;
    input += operation->portion.begin * operation->element_bytes;
    for (uint64_t place = 0; place < places; place++)
        memcpy(stage + place * bytes, input + place * operation->call.count * operation->element_bytes, bytes);
    return stage;
}

void *stage_output(const struct operation *operation)
{
    return operation->binding->engine->config.stage + third_bytes(operation);
}

void stage_collect(const struct operation *operation, uint64_t places)
{
    const size_t bytes = operation->portion.count * operation->element_bytes;
    const uint8_t *stage = stage_output(operation);
    uint8_t *output = operation->call.recv;
    output += operation->portion.begin * operation->element_bytes;
    for (uint64_t place = 0; place < places; place++) {
        const void *source = stage + place * bytes;
        void *destination = output + place * operation->call.count * operation->element_bytes;
        const struct reduce_call copy = {.destinations = &destination,
                                         .sources = &source,
                                         .destination_count = 1,
                                         .source_count = 1,
                                         .count = operation->portion.count,
                                         .streaming = operation->bypasses_caches};
        operation->combine(&copy);
    }
}

void stage_leave(const struct operation *operation)
{
    struct engine *engine = operation->binding->engine;
    engine->exchange.borrowing = 0;
    if (operation->offered & OFFER_INPUT_STAGED) engine->exchange.stage_turn = !engine->exchange.stage_turn;
    engine->exchange.reading = operation->binding->exchange.peers;
    for (struct peer *peer = engine->first_peer; peer; peer = peer->next) peer->staged_cell = peer->lanes.sent;
}

bool engine_is_awaited(struct engine *engine)
{
    struct exchange *exchange = &engine->exchange;
    for (struct peer *peer = engine->first_peer; peer; peer = peer->next) {
        if (!(exchange->reading & peer->bit)) continue;
        const bool gone = peer->state != PEER_CONNECTED || lane_look(&peer->lanes);
        if (gone || (int32_t)(peer->lanes.taken - peer->staged_cell) >= 0) exchange->reading &= ~peer->bit;
    }
    return exchange->reading;
}
