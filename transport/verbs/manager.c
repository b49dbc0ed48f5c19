/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rdma_cm: a lane's queue pair finds its other end.
 *
 *     dialling                                  accepting
 *     rdma_resolve_addr, rdma_resolve_route
 *     queue pair to INIT, receives posted
 *     rdma_connect, with a greeting        ->   the greeting names the connection and proves who asks
 *                                               queue pair to RTS, receives posted
 *     the greeting proves who answers      <-   rdma_accept, with a greeting
 *     queue pair to RTS, rdma_establish    ->   ESTABLISHED
 *
 * A greeting travels in clear. It holds a nonce that the asked side chose for this connection and told over the
 * authenticated stream, and a proof made with a key of the job's own: seen by others, it is of no use for another
 * connection, lane or incarnation, and a second one for the same lane is refused.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "base/log.h"
#include "fabric/bootstrap/keyed_hash.h"
#include "transport/verbs/verbs_internal.h"

#define RESOLVE_MS 2000
#define BACKLOG 256
#define EVENTS_AT_ONCE 64

/* What the proof is of: who says it to whom, in answer to which nonces. */
static void proof_make(const struct verbs_connection *connection, bool by_dialling, uint16_t lane, uint32_t incarnation,
                       uint8_t proof[16])
{
    const struct verbs_endpoint *endpoint = verbs_endpoint_of_connection(connection);
    const bool dials = verbs_dials(connection);
    uint8_t text[16 + 2 * WIRE_NONCE_BYTES] = {by_dialling};

    bytes_put_u16(text + 2, lane);
    bytes_put_u32(text + 4, incarnation);
    bytes_put_u32(text + 8, dials ? connection->base.endpoint->rank : connection->base.peer);
    bytes_put_u32(text + 12, dials ? connection->base.peer : connection->base.endpoint->rank);
    memcpy(text + 16, dials ? connection->own.nonce : connection->card.nonce, WIRE_NONCE_BYTES);
    memcpy(text + 16 + WIRE_NONCE_BYTES, dials ? connection->card.nonce : connection->own.nonce, WIRE_NONCE_BYTES);
    keyed_tag(endpoint->proof_key, text, sizeof text, proof);
}

static void greeting_make(const struct verbs_lane *lane, uint8_t wire[WIRE_GREETING_BYTES])
{
    const struct verbs_connection *connection = lane->connection;
    struct wire_greeting greeting = {.lane = lane->index, .incarnation = connection->rails[lane->rail].incarnation};

    memcpy(greeting.nonce, connection->card.nonce, WIRE_NONCE_BYTES);
    proof_make(connection, verbs_dials(connection), greeting.lane, greeting.incarnation, greeting.proof);
    wire_greeting_encode(&greeting, wire);
}

static bool proof_is_right(const struct verbs_connection *connection, const struct wire_greeting *greeting)
{
    uint8_t proof[16], difference = 0;

    proof_make(connection, !verbs_dials(connection), greeting->lane, greeting->incarnation, proof);
    /* In constant time: what is compared is a secret until it is right. */
    for (uint32_t i = 0; i < sizeof proof; i++) difference |= proof[i] ^ greeting->proof[i];
    return difference == 0;
}

static struct rdma_conn_param parameters(const struct verbs_lane *lane, const uint8_t *greeting)
{
    const struct verbs_config *config = &verbs_endpoint_of_connection(lane->connection)->config;

    return (struct rdma_conn_param){
        .private_data = greeting,
        .private_data_len = WIRE_GREETING_BYTES,
        .responder_resources = 1,
        .initiator_depth = 1,
        .flow_control = 1,
        .retry_count = config->retry_count,
        .rnr_retry_count = 6,
        .qp_num = lane->qp->qp_num,
    };
}

/* ---- Dialling ---- */

/* How an event finds its lane: one that is gone, or has another queue pair by now, is nobody's. */
static void *id_context(const struct verbs_lane *lane)
{
    return (void *)((uintptr_t)(lane->slot + 1));
}

static struct verbs_lane *lane_of_id(const struct verbs_endpoint *endpoint, const struct rdma_cm_id *id)
{
    const uintptr_t slot = (uintptr_t)id->context - 1;
    struct verbs_lane *lane = id->context && slot < endpoint->lane_slots ? endpoint->lanes[slot] : NULL;

    return lane && lane->id == id ? lane : NULL;
}

static socklen_t address_of_card(const struct verbs_rail_end *rail, struct sockaddr_storage *address)
{
    const struct wire_card_rail *card = &rail->peer_card;

    memset(address, 0, sizeof *address);
    if (card->family == 4) {
        struct sockaddr_in *v4 = (struct sockaddr_in *)address;
        v4->sin_family = AF_INET;
        v4->sin_port = htons(card->port);
        memcpy(&v4->sin_addr, card->address, 4);
        return sizeof *v4;
    }
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)address;
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(card->port);
    memcpy(&v6->sin6_addr, card->address, 16);
    /* The number of an interface means nothing on another host: ours is where the packets leave. */
    if (IN6_IS_ADDR_LINKLOCAL(&v6->sin6_addr))
        v6->sin6_scope_id = ((const struct sockaddr_in6 *)&rail->port->config.address)->sin6_scope_id;
    return sizeof *v6;
}

bool verbs_lane_dial(struct verbs_lane *lane)
{
    struct verbs_connection *connection = lane->connection;
    struct verbs_endpoint *endpoint = verbs_endpoint_of_connection(connection);
    const struct verbs_rail_end *rail = &connection->rails[lane->rail];
    struct sockaddr_storage to, from = rail->port->config.address;
    uint8_t service = endpoint->config.traffic_class;

    (void)address_of_card(rail, &to);
    if (from.ss_family == AF_INET) ((struct sockaddr_in *)&from)->sin_port = 0;
    if (from.ss_family == AF_INET6) ((struct sockaddr_in6 *)&from)->sin6_port = 0;
    if (rdma_create_id(endpoint->events, &lane->id, id_context(lane), RDMA_PS_TCP) != 0) {
        lane->id = NULL;
        return false;
    }
    if (service) (void)rdma_set_option(lane->id, RDMA_OPTION_ID, RDMA_OPTION_ID_TOS, &service, sizeof service);
    return rdma_resolve_addr(lane->id, (struct sockaddr *)&from, (struct sockaddr *)&to, RESOLVE_MS) == 0;
}

static void lane_fail(struct verbs_lane *lane, const char *what)
{
    verbs_rail_fail(lane->connection, lane->rail, "%s: %s", what, strerror(errno));
}

static void lane_connect(struct verbs_lane *lane)
{
    uint8_t greeting[WIRE_GREETING_BYTES];
    const weft_status status = verbs_lane_create_qp(lane);

    if (status != WEFT_OK) {
        lane_fail(lane, "no queue pair can be made");
        return;
    }
    greeting_make(lane, greeting);
    struct rdma_conn_param parameter = parameters(lane, greeting);
    if (!verbs_lane_modify(lane, IBV_QPS_INIT) || !verbs_lane_post_receives(lane) ||
        rdma_connect(lane->id, &parameter) != 0)
        lane_fail(lane, "cannot connect");
}

static void lane_answered(struct verbs_lane *lane, const uint8_t *data, size_t size)
{
    struct wire_greeting greeting;
    const char *reason;

    if (wire_greeting_decode(data, size, &greeting, &reason) != WEFT_OK || greeting.lane != lane->index ||
        greeting.incarnation != lane->connection->rails[lane->rail].incarnation ||
        !proof_is_right(lane->connection, &greeting)) {
        verbs_rail_fail(lane->connection, lane->rail, "whoever answered did not prove to be rank %u",
                        lane->connection->base.peer);
        return;
    }
    if (!verbs_lane_modify(lane, IBV_QPS_RTR) || !verbs_lane_modify(lane, IBV_QPS_RTS) ||
        rdma_establish(lane->id) != 0) {
        lane_fail(lane, "cannot go on after the answer");
        return;
    }
    lane->established = true;
    verbs_connection_attend(lane->connection);
}

/* ---- Accepting ---- */

weft_status verbs_listen(struct verbs_port *port, struct diagnostic *diagnostic)
{
    struct sockaddr_storage address = port->config.address;

    if (rdma_create_id(port->endpoint->events, &port->listener, NULL, RDMA_PS_TCP) != 0) {
        port->listener = NULL;
        return diagnose(diagnostic, verbs_status_of_errno(errno), "%s: rdma_cm gives no id: %s", port->config.device,
                        strerror(errno));
    }
    if (rdma_bind_addr(port->listener, (struct sockaddr *)&address) != 0 || rdma_listen(port->listener, BACKLOG) != 0)
        return diagnose(diagnostic, verbs_status_of_errno(errno), "%s: cannot listen at its address: %s",
                        port->config.device, strerror(errno));
    if (!port->listener->verbs || strcmp(ibv_get_device_name(port->listener->verbs->device), port->config.device) != 0)
        return diagnose(diagnostic, WEFT_UNSUPPORTED, "%s: its address belongs to %s", port->config.device,
                        port->listener->verbs ? ibv_get_device_name(port->listener->verbs->device) : "no device");
    port->listen_port = ntohs(rdma_get_src_port(port->listener));
    return WEFT_OK;
}

/* The connection that a greeting names, if whoever sends it may. */
static struct verbs_lane *lane_asked_for(struct verbs_endpoint *endpoint, const struct rdma_cm_id *listener,
                                         const struct wire_greeting *greeting)
{
    for (uint32_t peer = 0; peer < endpoint->base.rank_count; peer++) {
        struct verbs_connection *connection = endpoint->of_peer[peer];
        if (!connection || !connection->lanes || verbs_dials(connection) ||
            memcmp(connection->own.nonce, greeting->nonce, WIRE_NONCE_BYTES) != 0)
            continue;
        if (connection->state != VERBS_JOINING && connection->state != VERBS_CONNECTED) return NULL;
        if (greeting->lane >= connection->rail_count * connection->lanes_per_rail ||
            !proof_is_right(connection, greeting))
            return NULL;
        struct verbs_lane *lane = &connection->lanes[greeting->lane];
        struct verbs_rail_end *rail = &connection->rails[lane->rail];
        if (rail->port->listener != listener) return NULL;
        if (rail->state == RAIL_DOWN && greeting->incarnation == rail->incarnation + 1) {
            rail->incarnation++;
            verbs_rail_join(rail, connection);
        }
        return rail->state == RAIL_JOINING && greeting->incarnation == rail->incarnation && !lane->id ? lane : NULL;
    }
    return NULL;
}

static void lane_accept(struct verbs_lane *lane, struct rdma_cm_id *id)
{
    uint8_t greeting[WIRE_GREETING_BYTES];

    lane->id = id;
    id->context = id_context(lane);
    if (verbs_lane_create_qp(lane) != WEFT_OK) {
        (void)rdma_reject(id, NULL, 0);
        lane_fail(lane, "no queue pair can be made");
        return;
    }
    greeting_make(lane, greeting);
    struct rdma_conn_param parameter = parameters(lane, greeting);
    if (!verbs_lane_modify(lane, IBV_QPS_INIT) || !verbs_lane_post_receives(lane) ||
        !verbs_lane_modify(lane, IBV_QPS_RTR) || !verbs_lane_modify(lane, IBV_QPS_RTS) ||
        rdma_accept(id, &parameter) != 0)
        lane_fail(lane, "cannot accept");
}

static void request_take(struct verbs_endpoint *endpoint, const struct rdma_cm_id *listener, struct rdma_cm_id *id,
                         const uint8_t *data, size_t size)
{
    struct wire_greeting greeting;
    const char *reason = "does not say what was agreed on";
    struct verbs_lane *lane = NULL;

    id->context = NULL;
    if (wire_greeting_decode(data, size, &greeting, &reason) == WEFT_OK)
        lane = lane_asked_for(endpoint, listener, &greeting);
    if (lane) {
        lane_accept(lane, id);
        return;
    }
    log_info("verbs stranger refused rank %u reason \"it %s\"", endpoint->base.rank, reason);
    (void)rdma_reject(id, NULL, 0);
    (void)rdma_destroy_id(id);
}

/* ---- Events ---- */

static void removal_take(struct verbs_endpoint *endpoint, const struct rdma_cm_id *id)
{
    for (uint32_t i = 0; i < endpoint->port_count; i++) {
        struct verbs_port *port = &endpoint->ports[i];
        if (id->verbs && strcmp(ibv_get_device_name(id->verbs->device), port->config.device) != 0) continue;
        atomic_store_explicit(&port->device->removed, true, memory_order_relaxed);
        atomic_fetch_add_explicit(&port->device->events, 1, memory_order_release);
        verbs_port_check(port);
    }
}

static void lane_event(struct verbs_lane *lane, enum rdma_cm_event_type type, int status, const uint8_t *data,
                       size_t size)
{
    struct verbs_rail_end *rail = &lane->connection->rails[lane->rail];

    if (rail->state >= RAIL_DRAINING) return;
    switch (type) {
    case RDMA_CM_EVENT_ADDR_RESOLVED:
        if (rdma_resolve_route(lane->id, RESOLVE_MS) != 0) lane_fail(lane, "no route can be asked for");
        break;
    case RDMA_CM_EVENT_ROUTE_RESOLVED:
        lane_connect(lane);
        break;
    case RDMA_CM_EVENT_CONNECT_RESPONSE:
        lane_answered(lane, data, size);
        break;
    case RDMA_CM_EVENT_ESTABLISHED:
        lane->established = true;
        verbs_connection_attend(lane->connection);
        break;
    case RDMA_CM_EVENT_ADDR_ERROR:
    case RDMA_CM_EVENT_ROUTE_ERROR:
    case RDMA_CM_EVENT_CONNECT_ERROR:
    case RDMA_CM_EVENT_UNREACHABLE:
    case RDMA_CM_EVENT_REJECTED:
        verbs_rail_fail(lane->connection, lane->rail, "%s (%d%s%s)", rdma_event_str(type), status,
                        status < 0 ? ": " : "", status < 0 ? strerror(-status) : "");
        break;
    default: /* the peer's end of a queue pair: the stream or a completion says so as well */
        break;
    }
}

static void event_take(struct verbs_endpoint *endpoint, struct rdma_cm_event *event)
{
    const enum rdma_cm_event_type type = event->event;
    const struct rdma_cm_id *listener = event->listen_id;
    struct rdma_cm_id *id = event->id;
    const int status = event->status;
    uint8_t data[WIRE_GREETING_BYTES];
    size_t size = event->param.conn.private_data ? event->param.conn.private_data_len : 0;

    if (size > sizeof data) size = sizeof data;
    if (size) memcpy(data, event->param.conn.private_data, size);
    /* An id cannot be destroyed before its events are acknowledged. */
    (void)rdma_ack_cm_event(event);
    if (type == RDMA_CM_EVENT_CONNECT_REQUEST) {
        request_take(endpoint, listener, id, data, size);
    } else if (type == RDMA_CM_EVENT_DEVICE_REMOVAL) {
        removal_take(endpoint, id);
    } else {
        struct verbs_lane *lane = lane_of_id(endpoint, id);
        if (lane) lane_event(lane, type, status, data, size);
    }
}

void verbs_manager_take_events(struct verbs_endpoint *endpoint)
{
    struct rdma_cm_event *event;

    for (uint32_t i = 0; i < EVENTS_AT_ONCE && rdma_get_cm_event(endpoint->events, &event) == 0; i++)
        event_take(endpoint, event);
}
