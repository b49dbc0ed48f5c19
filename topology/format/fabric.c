/* SPDX-License-Identifier: Apache-2.0 */
/* A fabric's nodes and cables: collecting them, checking each cable at both ends, and drawing the graph. */
#include "topology/format/fabric.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"

#define SPEED_NAME(name, lane_rate) [FABRIC_##name] = #name,
#define SPEED_RATE(name, lane_rate) [FABRIC_##name] = lane_rate,
static const char *const speed_names[FABRIC_SPEED_COUNT] = {FABRIC_SPEEDS(SPEED_NAME)};
static const double lane_rates[FABRIC_SPEED_COUNT] = {FABRIC_SPEEDS(SPEED_RATE)};

const char *fabric_speed_name(enum fabric_speed speed)
{
    return speed_names[speed];
}

uint8_t fabric_lanes_of_code(uint64_t code)
{
    static const uint8_t lanes[] = {1, 4, 8, 12, 2};
    uint8_t most = 0;
    for (unsigned bit = 0; bit < sizeof lanes; bit++)
        if ((code >> bit & 1) && lanes[bit] > most) most = lanes[bit];
    return most;
}

enum fabric_speed fabric_speed_of_code(uint64_t code)
{
    return code & 4 ? FABRIC_QDR : code & 2 ? FABRIC_DDR : code & 1 ? FABRIC_SDR : FABRIC_SPEED_UNKNOWN;
}

void fabric_rate_name(struct fabric_rate rate, char name[24])
{
    name[0] = '\0';
    if (rate.lanes && rate.speed) snprintf(name, 24, "%ux%s", (unsigned)rate.lanes, speed_names[rate.speed]);
}

struct figure fabric_rate_bandwidth(struct fabric_rate rate)
{
    if (!rate.lanes || !rate.speed) return (struct figure){0};
    return (struct figure){rate.lanes * lane_rates[rate.speed] / 8, FIGURE_DATASHEET};
}

static weft_status no_memory(const struct fabric *fabric)
{
    return diagnose(fabric->diagnostic, WEFT_OUT_OF_MEMORY, "no memory to read %s", fabric->source->name);
}

static bool span_same(struct span one, struct span other)
{
    return one.size == other.size && memcmp(one.at, other.at, one.size) == 0;
}

weft_status fabric_add_node(struct fabric *fabric, const struct fabric_node *node, uint32_t *index)
{
    uint32_t *known = name_table_at(&fabric->ids, node->id);
    if (!known) return no_memory(fabric);
    if (*known != TOPOLOGY_NONE) {
        const struct fabric_node *first = &fabric->nodes[*known];
        if (first->kind != node->kind || first->port_count != node->port_count ||
            !span_same(first->description, node->description))
            return format_error(fabric->source, (struct place){node->line, 0}, fabric->diagnostic,
                                "found \"%.*s\" again, and not as in line %" PRIu32 "; expected one record per node",
                                SPAN_ARGS(node->id), first->line);
        *index = *known;
        return WEFT_OK;
    }
    if (!array_reserve((void **)&fabric->nodes, fabric->node_count, &fabric->node_capacity, sizeof *fabric->nodes))
        return no_memory(fabric);
    *known = *index = fabric->node_count++;
    fabric->nodes[*index] = *node;
    fabric->nodes[*index].in_topology = TOPOLOGY_NONE;
    return WEFT_OK;
}

weft_status fabric_add_port(struct fabric *fabric, const struct fabric_port *port)
{
    const struct fabric_node *node = &fabric->nodes[port->node];
    if (port->number == 0 || port->number > node->port_count)
        return format_error(fabric->source, (struct place){port->line, 0}, fabric->diagnostic,
                            "found port [%" PRIu32 "] of \"%.*s\"; expected 1 to %" PRIu32, port->number,
                            SPAN_ARGS(node->id), node->port_count);
    if (!array_reserve((void **)&fabric->ports, fabric->port_count, &fabric->port_capacity, sizeof *fabric->ports))
        return no_memory(fabric);
    fabric->ports[fabric->port_count++] = *port;
    return WEFT_OK;
}

static int port_compare(const void *left, const void *right)
{
    const struct fabric_port *a = left, *b = right;
    if (a->node != b->node) return a->node < b->node ? -1 : 1;
    if (a->number != b->number) return a->number < b->number ? -1 : 1;
    return a->line < b->line ? -1 : a->line > b->line;
}

/* Sort the ports by node and number, and keep one of those that are listed twice in the same words. */
static weft_status ports_sort(struct fabric *fabric)
{
    uint32_t kept = 0;
    if (fabric->port_count) qsort(fabric->ports, fabric->port_count, sizeof *fabric->ports, port_compare);
    for (uint32_t i = 0; i < fabric->port_count; i++) {
        const struct fabric_port *port = &fabric->ports[i], *last = kept ? &fabric->ports[kept - 1] : NULL;
        if (!last || last->node != port->node || last->number != port->number) {
            fabric->ports[kept++] = *port;
            continue;
        }
        if (!span_same(last->peer_id, port->peer_id) || last->peer_port != port->peer_port)
            return format_error(fabric->source, (struct place){port->line, 0}, fabric->diagnostic,
                                "found port [%" PRIu32 "] of \"%.*s\" connected to something else than in line %" PRIu32
                                "; expected one cable per port",
                                port->number, SPAN_ARGS(fabric->nodes[port->node].id), last->line);
    }
    fabric->port_count = kept;
    uint32_t at = 0;
    for (uint32_t i = 0; i < fabric->node_count; i++) {
        fabric->nodes[i].first_port = at;
        while (at < kept && fabric->ports[at].node == i) at++;
    }
    return WEFT_OK;
}

static const struct fabric_port *port_find(const struct fabric *fabric, uint32_t node, uint32_t number)
{
    uint32_t low = fabric->nodes[node].first_port;
    uint32_t high = node + 1 < fabric->node_count ? fabric->nodes[node + 1].first_port : fabric->port_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (fabric->ports[middle].number < number)
            low = middle + 1;
        else
            high = middle;
    }
    const struct fabric_port *port = fabric->ports + low;
    return low < fabric->port_count && port->node == node && port->number == number ? port : NULL;
}

/* Find the node at the other end of @p port, and that its record says the same of the cable. */
static weft_status port_connect(struct fabric *fabric, struct fabric_port *port)
{
    struct place place = {port->line, 0};
    port->peer = name_table_find(&fabric->ids, port->peer_id);
    if (port->peer == TOPOLOGY_NONE)
        return format_error(fabric->source, place, fabric->diagnostic,
                            "found a cable to \"%.*s\", which has no record; expected one for every node "
                            "(is the file complete?)",
                            SPAN_ARGS(port->peer_id));
    const struct fabric_node *node = &fabric->nodes[port->node], *peer = &fabric->nodes[port->peer];
    const struct fabric_port *back = port_find(fabric, port->peer, port->peer_port);
    if (!back)
        return format_error(fabric->source, place, fabric->diagnostic,
                            "found a cable to port [%" PRIu32 "] of \"%.*s\", whose record does not list it; "
                            "expected every cable at both ends (is the file complete?)",
                            port->peer_port, SPAN_ARGS(peer->id));
    if (!span_same(back->peer_id, node->id) || back->peer_port != port->number)
        return format_error(fabric->source, place, fabric->diagnostic,
                            "found a cable to port [%" PRIu32 "] of \"%.*s\", which line %" PRIu32
                            " connects to port [%" PRIu32 "] of \"%.*s\"; expected both ends to agree",
                            port->peer_port, SPAN_ARGS(peer->id), back->line, back->peer_port,
                            SPAN_ARGS(back->peer_id));
    return WEFT_OK;
}

/* Firmware's descriptions are for people: many a switch bears the same. */
static weft_status switches_add(struct fabric *fabric, const struct name_table *bearers)
{
    for (uint32_t i = 0; i < fabric->node_count; i++) {
        struct fabric_node *node = &fabric->nodes[i];
        if (node->kind == FABRIC_ADAPTER) continue;
        bool named = node->description.size > 0 && name_table_find(bearers, node->description) == i;
        const char *description = node->description.size ? span_copy(fabric->topology, node->description) : NULL;
        const char *id = span_copy(fabric->topology, node->id);
        if (!id) return no_memory(fabric);
        node->in_topology = topology_add_node(fabric->topology, &(struct topology_node){
                                                                    .kind = NODE_SWITCH,
                                                                    .parent = TOPOLOGY_NONE,
                                                                    .name = named && description ? description : id,
                                                                    .model = named ? NULL : description,
                                                                    .os_index = TOPOLOGY_NONE,
                                                                    .guid = node->guid,
                                                                });
    }
    return WEFT_OK;
}

enum { SEVERAL = UINT32_MAX - 1 };

/* Add every switch and router: under its description where that is its own, else under its id. */
static weft_status fabric_add_switches(struct fabric *fabric)
{
    struct name_table bearers = {0}; /* description to the one node that bears it, or SEVERAL */
    weft_status status = WEFT_OK;
    for (uint32_t i = 0; i < fabric->node_count && !status; i++) {
        if (fabric->nodes[i].kind == FABRIC_ADAPTER || fabric->nodes[i].description.size == 0) continue;
        uint32_t *bearer = name_table_at(&bearers, fabric->nodes[i].description);
        if (!bearer)
            status = no_memory(fabric);
        else
            *bearer = *bearer == TOPOLOGY_NONE ? i : (uint32_t)SEVERAL;
    }
    if (!status) status = switches_add(fabric, &bearers);
    name_table_free(&bearers);
    return status;
}

static void link_add(struct fabric *fabric, const struct fabric_port *port, const struct fabric_port *back)
{
    struct figure here = fabric_rate_bandwidth(port->rate), there = fabric_rate_bandwidth(back->rate);
    struct fabric_rate rate = port->rate;
    /* A cable has one width and speed. Where its ends say different ones, the slower can be trusted. */
    if (here.source == FIGURE_UNKNOWN || (there.source != FIGURE_UNKNOWN && there.value < here.value))
        rate = back->rate;
    if (here.source != FIGURE_UNKNOWN && there.source != FIGURE_UNKNOWN && here.value != there.value)
        topology_note(fabric->topology, "lines %" PRIu32 " and %" PRIu32 " give one cable two rates: the slower holds",
                      port->line, back->line);
    char name[24];
    fabric_rate_name(rate, name);
    topology_add_link(fabric->topology, &(struct topology_link){
                                            .kind = LINK_NETWORK,
                                            .from = fabric->nodes[port->node].in_topology,
                                            .to = fabric->nodes[port->peer].in_topology,
                                            .bandwidth = fabric_rate_bandwidth(rate),
                                            .reverse_bandwidth = fabric_rate_bandwidth(rate),
                                            .name = name[0] ? name : NULL,
                                            .from_port = port->number,
                                            .to_port = port->peer_port,
                                        });
}

static weft_status cables_add(struct fabric *fabric)
{
    for (uint32_t i = 0; i < fabric->port_count; i++) {
        const struct fabric_port *port = &fabric->ports[i];
        const struct fabric_port *back = port_find(fabric, port->peer, port->peer_port);
        if (back < port) continue; /* drawn from its other end */
        if (port->node == port->peer)
            topology_note(fabric->topology, "line %" PRIu32 ": left out a cable from \"%.*s\" to itself", port->line,
                          SPAN_ARGS(port->peer_id));
        else
            link_add(fabric, port, back);
    }
    return WEFT_OK;
}

weft_status fabric_build(struct fabric *fabric)
{
    weft_status status = ports_sort(fabric);
    for (uint32_t i = 0; i < fabric->port_count && !status; i++) status = port_connect(fabric, &fabric->ports[i]);
    if (!status) status = fabric_add_hosts(fabric);
    if (!status) status = fabric_add_switches(fabric);
    if (!status) status = cables_add(fabric);
    return status;
}

void fabric_free(struct fabric *fabric)
{
    name_table_free(&fabric->ids);
    free(fabric->ports);
    free(fabric->nodes);
    fabric->nodes = NULL;
    fabric->ports = NULL;
}
