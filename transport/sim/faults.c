/* SPDX-License-Identifier: Apache-2.0 */
/* What goes wrong, when told to. */
#include <inttypes.h>

#include "transport/sim/sim_internal.h"

static bool fault_has_peer(enum sim_fault_kind kind)
{
    return kind == SIM_DROP_CONNECTION || kind == SIM_LOSE_PATH || kind == SIM_DELAY_PUTS;
}

bool sim_fault_is_valid(const struct sim_fault *fault, const struct sim_config *config)
{
    if (fault->kind >= SIM_FAULT_KINDS || fault->rank >= config->rank_count) return false;
    if (fault_has_peer(fault->kind) && (fault->peer >= config->rank_count || fault->peer == fault->rank)) return false;
    return fault->kind != SIM_LOSE_PATH || fault->path < config->path_count;
}

uint64_t sim_fault_delay_ns(const struct sim_fabric *fabric, uint32_t of, uint32_t to)
{
    uint64_t delay_ns = 0;

    for (size_t i = 0; i < fabric->config.fault_count; i++) {
        const struct sim_fault *fault = &fabric->faults[i];
        const bool meant = fault->kind == SIM_DELAY_PUTS  ? fault->rank == of && fault->peer == to
                           : fault->kind == SIM_SLOW_RANK ? fault->rank == of || fault->rank == to
                                                          : false;
        if (meant && fabric->now_ns >= fault->at_ns && fabric->now_ns < fault->until_ns) delay_ns += fault->delay_ns;
    }
    return delay_ns;
}

static uint64_t later(uint64_t a_ns, uint64_t b_ns)
{
    return a_ns > b_ns ? a_ns : b_ns;
}

/* Each side is told when the last that still lands of the other has landed, and no earlier than news can travel. */
static void connection_fail_later(struct sim_connection *told, uint64_t landed_ns, weft_status status)
{
    struct sim_fabric *fabric = told->fabric;
    const uint64_t news_ns = fabric->now_ns + fabric->config.latency_ns +
                             sim_random_up_to(fabric, fabric->config.latency_ns + fabric->config.jitter_ns);

    if (told->state != SIM_ENDED) sim_plan(fabric, later(news_ns, landed_ns + 1), SIM_FAILS, told, status);
}

static void connection_drop(struct sim_connection *a)
{
    struct sim_connection *b = a->peer;

    if (!a->joined || a->severed || b->severed) return;
    const uint64_t a_landed_ns = sim_connection_sever(a), b_landed_ns = sim_connection_sever(b);
    connection_fail_later(a, b_landed_ns, WEFT_LINK_DOWN);
    connection_fail_later(b, a_landed_ns, WEFT_LINK_DOWN);
}

static void path_lose(struct sim_connection *a, uint32_t path)
{
    struct sim_connection *b = a->peer;

    if (!a->joined || a->severed || b->severed || a->paths[path].down) return;
    const bool a_goes_on = sim_flight_divert(a, path), b_goes_on = sim_flight_divert(b, path);
    if (a_goes_on && b_goes_on) {
        sim_event_add(a, EVENT_PATH_DOWN, 0, (uint8_t)path, WEFT_OK);
        sim_event_add(b, EVENT_PATH_DOWN, 0, (uint8_t)path, WEFT_OK);
    } else {
        connection_drop(a);
    }
}

void sim_kill(struct sim_fabric *fabric, uint32_t rank)
{
    if (fabric->dead[rank]) return;
    fabric->dead[rank] = true;
    for (uint32_t peer = 0; peer < fabric->config.rank_count; peer++) {
        struct sim_connection *told = sim_end(fabric, peer, rank), *ended = sim_end(fabric, rank, peer);
        uint64_t landed_ns = 0;
        if (ended && ended->joined && !ended->severed) landed_ns = sim_connection_sever(ended);
        if (told) connection_fail_later(told, landed_ns, WEFT_PEER_FAILED);
    }
}

void sim_fault_strike(struct sim_fabric *fabric, const struct sim_fault *fault)
{
    if (fault->kind == SIM_KILL_RANK) {
        sim_kill(fabric, fault->rank);
        return;
    }
    struct sim_connection *connection = fault_has_peer(fault->kind) ? sim_end(fabric, fault->rank, fault->peer) : NULL;
    if (!connection) return; /* there is nothing yet to go wrong */
    if (fault->kind == SIM_DROP_CONNECTION) connection_drop(connection);
    if (fault->kind == SIM_LOSE_PATH) path_lose(connection, fault->path);
}

struct sim_fault sim_fault_draw(struct random *random, const struct sim_config *config, uint32_t kinds,
                                uint64_t horizon_ns)
{
    const uint32_t rank_count = config->rank_count, path_count = config->path_count ? config->path_count : 1;
    struct sim_fault fault = {0};

    do {
        fault.kind = (enum sim_fault_kind)random_below(random, SIM_FAULT_KINDS);
    } while (!(kinds & 1u << fault.kind));
    fault.rank = (uint32_t)random_below(random, rank_count);
    fault.peer = (fault.rank + 1 + (uint32_t)random_below(random, rank_count - 1)) % rank_count;
    fault.path = (uint32_t)random_below(random, path_count);
    fault.at_ns = random_below(random, horizon_ns + 1);
    fault.until_ns = fault.at_ns + random_below(random, horizon_ns + 1);
    fault.delay_ns = random_below(random, horizon_ns + 1);
    return fault;
}

void sim_describe(const struct sim_fabric *fabric, struct text *text)
{
    static const char *const names[] = {"kill", "drop", "lose path", "delay", "slow"};
    const struct sim_config *config = &fabric->config;

    text_add(text,
             "sim: seed %" PRIu64 " ranks %u latency %" PRIu64 " ns jitter %" PRIu64 " ns bandwidth %" PRIu64
             " bytes/s paths %u depth %u refuse %u per mille maps %d, now %" PRIu64 " ns\n",
             config->seed, config->rank_count, config->latency_ns, config->jitter_ns, config->bytes_per_s,
             config->path_count, config->queue_depth, config->refuse_per_mille, config->maps, fabric->now_ns);
    for (size_t i = 0; i < config->fault_count; i++) {
        const struct sim_fault *fault = &fabric->faults[i];
        text_add(text, "  fault: %s rank %u", names[fault->kind], fault->rank);
        if (fault_has_peer(fault->kind)) text_add(text, " peer %u", fault->peer);
        if (fault->kind == SIM_LOSE_PATH) text_add(text, " path %u", fault->path);
        text_add(text, " at %" PRIu64 " ns", fault->at_ns);
        if (fault->kind == SIM_DELAY_PUTS || fault->kind == SIM_SLOW_RANK)
            text_add(text, " until %" PRIu64 " ns by %" PRIu64 " ns", fault->until_ns, fault->delay_ns);
        text_add(text, "\n");
    }
}
