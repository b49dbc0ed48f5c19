/* SPDX-License-Identifier: Apache-2.0 */
/* Puts between being accepted and landing. */
#include <assert.h>
#include <string.h>

#include "base/clock.h"
#include "transport/sim/sim_internal.h"

void sim_event_add(struct sim_connection *connection, enum event_kind kind, uint32_t tag, uint8_t path,
                   weft_status status)
{
    struct sim_endpoint *endpoint = (struct sim_endpoint *)connection->base.endpoint;

    assert(connection->event_count < connection->event_capacity);
    const uint32_t at = (connection->event_first + connection->event_count++) % connection->event_capacity;
    connection->events[at] = (struct event){
        .kind = (uint8_t)kind, .path = path, .status = (uint16_t)status, .peer = connection->base.peer, .tag = tag};
    endpoint->pending++;
}

void sim_writable_plan(struct sim_connection *connection, uint64_t at_ns)
{
    if (!connection->refused || connection->writable_planned) return;
    connection->writable_planned = true;
    sim_plan(connection->fabric, at_ns, SIM_WRITABLE, connection, 0);
}

/* Equal hints always give the same path, or the one its puts were diverted to. */
static uint32_t path_of_hint(const struct sim_connection *connection, uint16_t hint)
{
    const uint32_t path_count = connection->fabric->config.path_count;
    uint32_t path = hint % path_count;

    while (connection->paths[path].down) path = (path + 1) % path_count;
    return path;
}

static void path_append(struct sim_connection *connection, uint32_t index, struct sim_put *flying)
{
    struct sim_path *path = &connection->paths[index];

    if (flying->lands_ns < path->lands_ns) flying->lands_ns = path->lands_ns; /* no overtaking within a path */
    path->lands_ns = flying->lands_ns;
    flying->next = NULL;
    if (!path->first) sim_plan(connection->fabric, flying->lands_ns, SIM_LANDS, connection, index);
    *path->last = flying;
    path->last = &flying->next;
}

static uint64_t landing_ns(struct sim_connection *connection, struct sim_path *path, uint32_t bytes)
{
    struct sim_fabric *fabric = connection->fabric;
    const struct sim_config *config = &fabric->config;

    if (path->free_ns < fabric->now_ns) path->free_ns = fabric->now_ns;
    if (config->bytes_per_s) path->free_ns += bytes * NS_PER_S / config->bytes_per_s;
    return path->free_ns + config->latency_ns + sim_random_up_to(fabric, config->jitter_ns) +
           sim_fault_delay_ns(fabric, connection->base.endpoint->rank, connection->base.peer);
}

static bool refuse(struct sim_connection *connection, bool by_chance)
{
    struct sim_fabric *fabric = connection->fabric;

    connection->refused = true;
    if (by_chance) {
        const uint64_t pause_ns = 1 + sim_random_up_to(fabric, fabric->config.latency_ns);
        sim_writable_plan(connection, fabric->now_ns + pause_ns);
    }
    return false;
}

bool sim_flight_add(struct sim_connection *connection, const struct put *put)
{
    struct sim_fabric *fabric = connection->fabric;
    const struct sim_config *config = &fabric->config;

    if (!transport_put_fits(&connection->base, put)) return false;
    if (connection->outstanding == config->queue_depth ||
        ((put->flags & PUT_LOCAL_DONE) && connection->done_outstanding == config->queue_depth))
        return refuse(connection, false);
    if (config->refuse_per_mille && random_below(&fabric->random, 1000) < config->refuse_per_mille)
        return refuse(connection, true);

    connection->outstanding++;
    if (put->flags & PUT_LOCAL_DONE) connection->done_outstanding++;
    if (connection->severed) return true; /* and is never heard of again */

    const uint32_t path = path_of_hint(connection, put->path_hint);
    struct sim_put *flying = connection->free_puts;
    connection->free_puts = flying->next;
    *flying = (struct sim_put){.put = *put, .lands_ns = landing_ns(connection, &connection->paths[path], put->bytes)};
    path_append(connection, path, flying);
    if (put->flags & PUT_STEADY && put->flags & PUT_LOCAL_DONE) {
        flying->put.flags &= (uint16_t)~PUT_LOCAL_DONE;
        sim_event_add(connection, EVENT_LOCAL_DONE, put->tag, (uint8_t)path, WEFT_OK);
    }
    return true;
}

void sim_flight_land(struct sim_connection *connection, uint32_t index)
{
    struct sim_path *path = &connection->paths[index];
    struct sim_connection *peer = connection->peer;
    struct sim_put *flying = path->first;

    /* Planned for a put that has since been lost or diverted. */
    if (!flying || flying->lands_ns > connection->fabric->now_ns) return;

    path->first = flying->next;
    if (!path->first) path->last = &path->first;
    if (path->first) sim_plan(connection->fabric, path->first->lands_ns, SIM_LANDS, connection, index);

    const struct put put = flying->put;
    flying->next = connection->free_puts;
    connection->free_puts = flying;

    if (connection->joined && (peer->state == SIM_CONNECTING || peer->state == SIM_OPEN)) {
        const struct connection *base = &peer->base;
        const bool asks = connection->fabric->config.lands && base->land && put.bytes && put.flags & PUT_NOTIFY;
        uint8_t *place = asks ? base->land(base->land_context, &put) : NULL;
        const enum event_kind kind = place ? EVENT_LANDED : EVENT_ARRIVED;
        if (!place) place = peer->own->bytes + put.remote_offset;
        if (put.bytes) memcpy(place, put.source, put.bytes);
        if (put.flags & PUT_NOTIFY) sim_event_add(peer, kind, put.tag, (uint8_t)index, WEFT_OK);
    }
    if (put.flags & PUT_LOCAL_DONE) sim_event_add(connection, EVENT_LOCAL_DONE, put.tag, (uint8_t)index, WEFT_OK);
    if (!(put.flags & PUT_NOTIFY)) {
        connection->outstanding--;
        sim_writable_plan(connection, connection->fabric->now_ns + connection->fabric->config.latency_ns);
    }
}

void sim_flight_cut(struct sim_connection *connection, bool randomly)
{
    for (uint32_t i = 0; i < connection->fabric->config.path_count; i++) {
        struct sim_path *path = &connection->paths[i];
        struct sim_put **link = &path->first;

        while (*link && randomly && random_below(&connection->fabric->random, 4)) link = &(*link)->next;
        while (*link) { /* what comes after a lost one is lost too */
            struct sim_put *lost = *link;
            *link = lost->next;
            lost->next = connection->free_puts;
            connection->free_puts = lost;
        }
        path->last = link;
    }
}

bool sim_flight_divert(struct sim_connection *connection, uint32_t index)
{
    struct sim_fabric *fabric = connection->fabric;
    struct sim_path *path = &connection->paths[index];
    bool any = false;

    path->down = true;
    for (uint32_t i = 0; i < fabric->config.path_count; i++) any |= !connection->paths[i].down;
    if (!any) return false;

    const uint32_t other = path_of_hint(connection, (uint16_t)index);
    struct sim_put *next;
    for (struct sim_put *flying = path->first; flying; flying = next) {
        next = flying->next;
        flying->lands_ns = landing_ns(connection, &connection->paths[other], flying->put.bytes);
        path_append(connection, other, flying);
    }
    path->first = NULL;
    path->last = &path->first;
    return true;
}

void sim_flight_reset(struct sim_connection *connection)
{
    const struct sim_config *config = &connection->fabric->config;

    connection->outstanding = connection->done_outstanding = 0;
    connection->free_puts = NULL;
    for (uint32_t i = config->queue_depth; i-- > 0;) {
        connection->puts[i].next = connection->free_puts;
        connection->free_puts = &connection->puts[i];
    }
    for (uint32_t i = 0; i < config->path_count; i++) {
        connection->paths[i] = (struct sim_path){0};
        connection->paths[i].last = &connection->paths[i].first;
    }
}
