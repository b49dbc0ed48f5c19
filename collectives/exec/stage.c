/* SPDX-License-Identifier: Apache-2.0 */
#include "collectives/exec/stage.h"

#include <string.h>

#include "collectives/exec/distance.h"

/* Up to so many, what ranks have told each other is still in caches when the next call comes; then nobody has to probe
 * whether steps are to be run. */
#define STEPS_AT_ONCE_PORTIONS 4u

/*
 * On the stage: an input, the next one, and a share of the result, which is as large as an input divided by the ranks.
 * So the unit is that share.
 */
static size_t unit_bytes(const struct engine *engine)
{
    return engine->config.stage_bytes / (2 * engine->config.rank_count + 1) / 64 * 64;
}

static size_t input_bytes(const struct engine *engine)
{
    return engine->config.rank_count * unit_bytes(engine);
}

/* Elements of each block that fit a stage, in whole cache lines. */
static uint64_t fitting(const struct operation *operation)
{
    const uint64_t line = 64 / operation->element_bytes;
    const uint64_t places = places_of(operation->binding->plan, shape_here(operation)->input);
    return input_bytes(operation->binding->engine) / operation->element_bytes / places / line * line;
}

/* Of a message that takes several all are alike: ranks meet for each. */
uint64_t stage_portion(const struct operation *operation)
{
    const uint64_t count = operation->call.count, left = count - operation->portion.begin;
    const uint64_t line = 64 / operation->element_bytes, most = fitting(operation);
    if (most == 0) return left;
    const uint64_t portions = (count + most - 1) / most;
    const uint64_t each = portions > 1 ? ((count + portions - 1) / portions + line - 1) / line * line : count;
    return left < each ? left : each;
}

bool stage_has_portions(const struct operation *operation)
{
    const struct operation_call *call = &operation->call;
    const uint64_t most = fitting(operation), at_once = call->steps_when_near ? STEPS_AT_ONCE_PORTIONS * most : most;
    return call->stages_when_near && most > 0 && at_once < call->count;
}

bool stage_probes(const struct operation *operation)
{
    return operation->portion.begin == 0 && stage_has_portions(operation);
}

bool stage_serves(const struct operation *operation)
{
    const struct engine *engine = operation->binding->engine;
    const struct operation_call *call = &operation->call;
    if (!engine->config.stage || fitting(operation) == 0) return false;
    if (!distance_is_near(engine)) return call->stages_when_apart;
    return call->stages_when_near && (!call->steps_when_near || stage_probes(operation));
}

const void *stage_input(const struct operation *operation, uint64_t places, struct share own)
{
    const struct portion *portion = &operation->portion;
    const struct engine *engine = operation->binding->engine;
    const size_t element_bytes = operation->element_bytes;
    uint8_t *stage = engine->config.stage + engine->exchange.stage_turn * input_bytes(engine);
    const uint8_t *input = operation->call.send;
    /* A line that readers on another core fetch from this one's cache, and that it has to take back before it is
     * written again, costs twice what it does by way of memory. */
    const bool far = !distance_is_near(engine);
    for (uint64_t place = 0; place < places; place++) {
        if (places > 1 && place == engine->config.rank) continue;
        uint8_t *to = stage + place * portion->count * element_bytes;
        const uint8_t *from = input + (place * operation->call.count + portion->begin) * element_bytes;
        const size_t after = (own.end - portion->begin) * element_bytes;
        reduce_copy(operation->combine, to, from, own.begin - portion->begin, far);
        reduce_copy(operation->combine, to + after, from + after, portion->begin + portion->count - own.end, far);
    }
    return stage;
}

void *stage_result(const struct operation *operation)
{
    return operation->binding->engine->config.stage + 2 * input_bytes(operation->binding->engine);
}

size_t stage_result_bytes(const struct operation *operation)
{
    return unit_bytes(operation->binding->engine);
}

void stage_leave(const struct operation *operation)
{
    struct engine *engine = operation->binding->engine;
    engine->exchange.borrowing = 0;
    if (operation->offered & OFFER_INPUT_STAGED && !operation->pulls)
        engine->exchange.stage_turn = !engine->exchange.stage_turn;
    engine->exchange.reading = operation->binding->exchange.peers;
    for (struct peer *peer = engine->first_peer; peer; peer = peer->next) peer->staged_cell = peer->lanes.sent;
}

bool engine_is_awaited(struct engine *engine)
{
    struct exchange *exchange = &engine->exchange;
    for (struct peer *peer = engine->first_peer; peer; peer = peer->next) {
        if (!(exchange->reading & peer->bit)) continue;
        if (peer->state != PEER_CONNECTED || lane_is_through(&peer->lanes, peer->staged_cell))
            exchange->reading &= ~peer->bit;
    }
    return exchange->reading;
}
