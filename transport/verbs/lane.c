/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A lane's queue pair: posting what the ledger gives out, and telling it what has become of that.
 *
 * A completion names the lane's slot, the generation of its queue pair and the number of the request, so that what
 * comes late, of a queue pair that is gone, is recognised. Only some requests ask for a completion; it stands for all
 * before.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "transport/verbs/verbs_internal.h"

#define BATCH 32u
#define RECEIVE_BIT (UINT64_C(1) << 63)
#define REQUEST_MAX_BYTES (UINT32_C(1) << 30) /* the least that a port's max_msg_sz is */
#define RNR_RETRY 6                           /* 7 would be for ever; with credits it is never needed */
#define MIN_RNR_TIMER 12                      /* 0.64 ms */

/* ---- Names of requests ---- */

static uint64_t name_make(const struct verbs_lane *lane, uint32_t number)
{
    return (uint64_t)lane->slot << 40 | (uint64_t)lane->generation << 32 | number;
}

static struct verbs_lane *lane_named(const struct verbs_endpoint *endpoint, uint64_t name)
{
    const uint32_t slot = (uint32_t)(name >> 40) & 0x7fffff;
    struct verbs_lane *lane = slot < endpoint->lane_slots ? endpoint->lanes[slot] : NULL;

    return lane && lane->qp && lane->generation == (uint8_t)(name >> 32) ? lane : NULL;
}

static struct verbs_rail_end *lane_rail(const struct verbs_lane *lane)
{
    return &lane->connection->rails[lane->rail];
}

static uint32_t lane_receive_limit(const struct verbs_lane *lane)
{
    return lane->connection->ledger_config.depth + LEDGER_RESERVE;
}

static uint32_t lane_send_limit(const struct verbs_lane *lane)
{
    return lane->connection->ledger_config.send_depth + VERBS_EXTRA_SENDS;
}

/* ---- The queue pair ---- */

weft_status verbs_lane_create_qp(struct verbs_lane *lane)
{
    struct verbs_port *port = lane_rail(lane)->port;
    struct verbs_endpoint *endpoint = port->endpoint;
    const uint32_t entries = lane_receive_limit(lane) + lane_send_limit(lane);

    lane->queue = verbs_queue_get(port, entries);
    if (!lane->queue) return verbs_status_of_errno(errno);
    struct ibv_qp_init_attr attributes = {
        .qp_context = lane,
        .send_cq = lane->queue->cq,
        .recv_cq = lane->queue->cq,
        .qp_type = IBV_QPT_RC,
        .cap = {.max_send_wr = lane_send_limit(lane),
                .max_recv_wr = lane_receive_limit(lane),
                .max_send_sge = 1,
                .max_recv_sge = 1,
                .max_inline_data = port->inline_bytes},
    };
    /* Devices say how much only by accepting or refusing. */
    while (!(lane->qp = ibv_create_qp(port->device->pd, &attributes)) && attributes.cap.max_inline_data > 0)
        attributes.cap.max_inline_data = port->inline_bytes /= 2;
    if (!lane->qp) {
        verbs_queue_put(lane->queue, entries);
        lane->queue = NULL;
        return verbs_status_of_errno(errno);
    }
    if (attributes.cap.max_inline_data < port->inline_bytes) port->inline_bytes = attributes.cap.max_inline_data;
    lane->generation = ++endpoint->generation;
    lane->established = false;
    atomic_store_explicit(&lane->async, 0, memory_order_relaxed);
    lane->posted = lane->complete = lane->signalled = 0;
    lane->receives = lane->repost_count = 0;
    return WEFT_OK;
}

bool verbs_lane_modify(struct verbs_lane *lane, enum ibv_qp_state state)
{
    const struct verbs_config *config = &verbs_endpoint_of_connection(lane->connection)->config;
    struct ibv_qp_attr attributes = {.qp_state = state};
    int mask;

    if (rdma_init_qp_attr(lane->id, &attributes, &mask) != 0) return false;
    switch (state) {
    case IBV_QPS_INIT:
        attributes.qp_access_flags = IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE;
        if (config->pkey_index) attributes.pkey_index = config->pkey_index;
        break;
    case IBV_QPS_RTR:
        attributes.min_rnr_timer = MIN_RNR_TIMER;
        mask |= IBV_QP_MIN_RNR_TIMER;
        if (config->service_level) attributes.ah_attr.sl = config->service_level;
        if (config->traffic_class) attributes.ah_attr.grh.traffic_class = config->traffic_class;
        break;
    case IBV_QPS_RTS:
        attributes.timeout = config->timeout;
        attributes.retry_cnt = config->retry_count;
        attributes.rnr_retry = RNR_RETRY;
        break;
    default:
        break;
    }
    const int error = ibv_modify_qp(lane->qp, &attributes, mask);
    if (error) errno = error;
    return error == 0;
}

bool verbs_lane_quiet(const struct verbs_lane *lane)
{
    return !lane->qp || (lane->receives == 0 && lane->complete == lane->posted);
}

void verbs_lane_destroy(struct verbs_lane *lane)
{
    struct verbs_endpoint *endpoint = verbs_endpoint_of_connection(lane->connection);

    if (lane->waiting.linked) TAILQ_REMOVE(&endpoint->waiting, lane, waiting.link);
    lane->waiting.linked = false;
    if (lane->qp) {
        (void)ibv_destroy_qp(lane->qp);
        lane->qp = NULL;
        verbs_queue_put(lane->queue, lane_receive_limit(lane) + lane_send_limit(lane));
        lane->queue = NULL;
    }
    if (lane->id) (void)rdma_destroy_id(lane->id);
    lane->id = NULL;
    lane->established = false;
}

/* ---- Receives: each has room for one message; notifications take none of it ---- */

static uint8_t *message_buffer(const struct verbs_lane *lane, uint32_t slot)
{
    const uint32_t slots = lane_receive_limit(lane) + lane_send_limit(lane);

    return lane->connection->message_buffers + ((size_t)lane->index * slots + slot) * WIRE_MESSAGE_BYTES;
}

static bool receives_post(struct verbs_lane *lane, const uint16_t *slots, uint32_t count)
{
    struct ibv_recv_wr requests[VERBS_RECEIVE_BATCH], *bad;
    struct ibv_sge pieces[VERBS_RECEIVE_BATCH];

    for (uint32_t i = 0; i < count; i++) {
        pieces[i] = (struct ibv_sge){.addr = (uintptr_t)message_buffer(lane, slots[i]),
                                     .length = WIRE_MESSAGE_BYTES,
                                     .lkey = lane_rail(lane)->messages->lkey};
        requests[i] = (struct ibv_recv_wr){.wr_id = RECEIVE_BIT | name_make(lane, slots[i]),
                                           .next = i + 1 < count ? &requests[i + 1] : NULL,
                                           .sg_list = &pieces[i],
                                           .num_sge = 1};
    }
    const int error = ibv_post_recv(lane->qp, requests, &bad);
    if (error) {
        errno = error;
        return false;
    }
    lane->receives += count;
    return true;
}

bool verbs_lane_post_receives(struct verbs_lane *lane)
{
    uint16_t slots[VERBS_RECEIVE_BATCH];

    for (uint32_t slot = 0; slot < lane_receive_limit(lane);) {
        uint32_t count = 0;
        while (count < VERBS_RECEIVE_BATCH && slot < lane_receive_limit(lane)) slots[count++] = (uint16_t)slot++;
        if (!receives_post(lane, slots, count)) return false;
    }
    return true;
}

/* The device may have said why: that comes first, and then the rail has failed already. */
static void post_failed(struct verbs_lane *lane, const char *what, int error)
{
    struct verbs_port *port = lane_rail(lane)->port;

    verbs_device_take_events(port->device);
    verbs_port_check(port);
    verbs_rail_fail(lane->connection, lane->rail, "%s cannot be posted: %s", what, strerror(error));
}

static void repost(struct verbs_lane *lane)
{
    const uint32_t count = lane->repost_count;

    lane->repost_count = 0;
    if (count && !receives_post(lane, lane->repost, count)) post_failed(lane, "receives", errno);
}

/* ---- Sends ---- */

/* A list of requests being made, to be posted with one call. */
struct batch {
    uint32_t count;
    struct ibv_send_wr requests[BATCH];
    struct ibv_sge pieces[BATCH];
    uint8_t messages[BATCH][WIRE_MESSAGE_BYTES];
    bool staged; /* one of them reads staging */
};

static struct ibv_send_wr *batch_add(struct batch *batch, struct verbs_lane *lane, enum ibv_wr_opcode opcode,
                                     const void *source, uint32_t bytes)
{
    struct ibv_send_wr *request = &batch->requests[batch->count];
    struct ibv_sge *piece = &batch->pieces[batch->count];

    if (batch->count > 0) batch->requests[batch->count - 1].next = request;
    batch->count++;
    piece->addr = (uintptr_t)source;
    piece->length = bytes;
    piece->lkey = 0;
    request->wr_id = name_make(lane, ++lane->posted);
    request->next = NULL;
    request->sg_list = piece;
    request->num_sge = bytes > 0;
    request->opcode = opcode;
    request->send_flags = 0;
    return request;
}

static void request_signal(struct verbs_lane *lane, struct ibv_send_wr *request, uint32_t number)
{
    request->send_flags |= IBV_SEND_SIGNALED;
    lane->signalled = number;
}

static bool has_send_slot(const struct verbs_lane *lane, uint32_t reserved)
{
    return lane->posted - lane->complete < lane_send_limit(lane) - reserved;
}

/* How the bytes of an item get to the device. */
struct payload {
    const uint8_t *source;
    struct verbs_block *block; /* of staging, or NULL */
    uint32_t bytes, lkey;
    bool is_inline;
};

static bool stage(struct verbs_lane *lane, struct payload *payload)
{
    struct verbs_endpoint *endpoint = verbs_endpoint_of_connection(lane->connection);
    uint8_t *copy = verbs_staging_take(&endpoint->staging, &lane->block, &payload->bytes);

    if (!copy) {
        if (!lane->waiting.linked) TAILQ_INSERT_TAIL(&endpoint->waiting, lane, waiting.link);
        lane->waiting.linked = true;
        return false;
    }
    memcpy(copy, payload->source, payload->bytes);
    payload->source = copy;
    payload->block = lane->block;
    payload->lkey = lane_rail(lane)->port->staging->lkey;
    return true;
}

/* False: no staging is free for now. */
static bool payload_find(struct verbs_lane *lane, const struct ledger_item *item, struct payload *payload)
{
    const struct verbs_rail_end *rail = lane_rail(lane);

    *payload = (struct payload){.source = item->source,
                                .bytes = item->bytes < REQUEST_MAX_BYTES ? item->bytes : REQUEST_MAX_BYTES};
    if (payload->bytes <= rail->port->inline_bytes) {
        payload->is_inline = true;
        return true;
    }
    if (item->staged) { /* posted before, on a lane that was lost */
        payload->lkey = rail->port->staging->lkey;
        return true;
    }
    if (verbs_source_key(lane->connection, rail, item->source, payload->bytes, &payload->lkey)) return true;
    return stage(lane, payload);
}

/* A note, a fragment or a credit, which is in batch->messages already. */
static void add_message(struct batch *batch, struct verbs_lane *lane, const uint8_t *message)
{
    const bool fits = lane_rail(lane)->port->inline_bytes >= WIRE_MESSAGE_BYTES;
    /* Behind the receives, a place for each request that can be posted. */
    uint8_t *copy = message_buffer(lane, lane_receive_limit(lane) + (lane->posted + 1) % lane_send_limit(lane));

    if (!fits) memcpy(copy, message, WIRE_MESSAGE_BYTES);
    struct ibv_send_wr *request = batch_add(batch, lane, IBV_WR_SEND, fits ? message : copy, WIRE_MESSAGE_BYTES);
    request->send_flags = fits ? IBV_SEND_INLINE : 0;
    request->sg_list->lkey = lane_rail(lane)->messages->lkey;
}

static bool add_note(struct batch *batch, struct verbs_lane *lane, struct ledger_item *item)
{
    uint8_t *message = batch->messages[batch->count];

    wire_note_encode(item, message);
    add_message(batch, lane, message);
    (void)outbox_post(&lane->connection->outbox, lane->index, item, item->bytes, lane->posted);
    return true;
}

static bool add_write(struct batch *batch, struct verbs_lane *lane, struct ledger_item *item)
{
    const struct verbs_rail_end *rail = lane_rail(lane);
    struct outbox *outbox = &lane->connection->outbox;
    struct payload payload;

    if (!payload_find(lane, item, &payload)) return false;
    item = outbox_post(outbox, lane->index, item, payload.bytes, lane->posted + 1);
    if (!item) { /* no memory to split it for now */
        if (payload.block)
            verbs_staging_release(&verbs_endpoint_of_connection(lane->connection)->staging, payload.block);
        return false;
    }
    struct ibv_send_wr *request =
        batch_add(batch, lane, item->kind == LEDGER_NOTIFY ? IBV_WR_RDMA_WRITE_WITH_IMM : IBV_WR_RDMA_WRITE,
                  payload.source, payload.bytes);
    request->sg_list->lkey = payload.lkey;
    request->imm_data = htonl(item->tag);
    request->wr.rdma.remote_addr = rail->remote_address + item->remote_offset;
    request->wr.rdma.rkey = rail->rkey;
    if (payload.is_inline) request->send_flags = IBV_SEND_INLINE;
    if (payload.block) {
        item->source = payload.source;
        item->staged = payload.block;
        batch->staged = true;
    }
    /* What was inline may have to be sent again, on another rail where there is one: then it is still the caller's. */
    if (item->staged || (payload.is_inline && lane->connection->rail_count == 1)) outbox_copied(outbox, item);
    if (item->done_due) request_signal(lane, request, lane->posted);
    return true;
}

static void add_credit(struct batch *batch, struct verbs_lane *lane)
{
    struct inbox *inbox = &lane->connection->inbox;
    uint8_t *message = batch->messages[batch->count];

    if (!inbox_credit_due(inbox, lane->index) || !has_send_slot(lane, 2)) return;
    /* The peer may use what it is told of at once. */
    repost(lane);
    struct ledger_credit credit = inbox_credit_take(inbox, lane->index);
    wire_credit_encode(&credit, message);
    add_message(batch, lane, message);
}

static void batch_post(struct batch *batch, struct verbs_lane *lane)
{
    struct ibv_send_wr *last = &batch->requests[batch->count - 1], *bad;
    const uint32_t half = lane->connection->ledger_config.send_depth / 2;

    /* Copies are to be free again without anything following. */
    if ((batch->staged || lane->posted - lane->signalled >= half) && !(last->send_flags & IBV_SEND_SIGNALED))
        request_signal(lane, last, lane->posted);
    const int error = ibv_post_send(lane->qp, batch->requests, &bad);
    if (error) post_failed(lane, "requests", error);
}

/* False: this was all there is for now. */
static bool batch_fill(struct batch *batch, struct verbs_lane *lane)
{
    batch->count = 0;
    batch->staged = false;
    add_credit(batch, lane);
    while (batch->count < BATCH) {
        struct ledger_item *item = outbox_head(&lane->connection->outbox, lane->index);
        if (!item || !has_send_slot(lane, VERBS_EXTRA_SENDS)) return false;
        const bool is_write = item->kind == LEDGER_WRITE || item->kind == LEDGER_NOTIFY;
        if (!(is_write ? add_write(batch, lane, item) : add_note(batch, lane, item))) return false;
    }
    return true;
}

void verbs_lane_advance(struct verbs_lane *lane)
{
    struct batch batch;
    bool more = true;

    while (more && lane->connection->rails[lane->rail].state == RAIL_UP) {
        more = batch_fill(&batch, lane);
        if (batch.count > 0) batch_post(&batch, lane);
    }
}

/* Writes nothing, and tells of its completion. */
static void request_empty(struct batch *batch, struct verbs_lane *lane)
{
    struct ibv_send_wr *request = batch_add(batch, lane, IBV_WR_RDMA_WRITE, NULL, 0);

    request->wr.rdma.remote_addr = lane_rail(lane)->remote_address;
    request->wr.rdma.rkey = lane_rail(lane)->rkey;
    request_signal(lane, request, lane->posted);
}

void verbs_lane_mark(struct verbs_lane *lane)
{
    struct batch batch = {.count = 0};

    if (!lane->qp || lane->signalled == lane->posted || !has_send_slot(lane, 1)) return;
    request_empty(&batch, lane);
    batch_post(&batch, lane);
}

void verbs_lane_stop(struct verbs_lane *lane)
{
    struct ibv_qp_attr attributes = {.qp_state = IBV_QPS_ERR};
    struct batch batch = {.count = 0};
    struct ibv_send_wr *bad;

    outbox_lane_stop(&lane->connection->outbox, lane->index);
    if (!lane->qp) return;
    (void)ibv_modify_qp(lane->qp, &attributes, IBV_QP_STATE);
    /* Requests that are done without a completion of their own have none to come: so one more, which is flushed. */
    request_empty(&batch, lane);
    if (ibv_post_send(lane->qp, batch.requests, &bad) != 0) lane->complete = lane->posted;
}

/* ---- Completions ---- */

void verbs_item_release(void *context, struct ledger_item *item)
{
    struct verbs_endpoint *endpoint = context;

    verbs_staging_release(&endpoint->staging, item->staged);
    item->staged = NULL;
}

static const char *note_wrong(const struct ledger_note *note)
{
    switch (note->kind) {
    case LEDGER_STRIPED:
        return "speaks of a striped put that cannot be, or sends more than it has credits for";
    case LEDGER_FRAGMENT:
        return "sends a fragment of a striped put that cannot be";
    case LEDGER_SYNC:
        return "wants to wait for what it has never sent";
    default:
        return "sends more than it has credits for";
    }
}

static weft_status message_take(struct verbs_lane *lane, const struct wire_message *message, const char **reason)
{
    struct verbs_connection *connection = lane->connection;

    if (message->is_credit) {
        *reason = "returns credits that it was not given";
        return outbox_credit(&connection->outbox, lane->index, message->credit.messages, message->credit.notes,
                             message->credit.stripes);
    }
    *reason = note_wrong(&message->note);
    return inbox_receive(&connection->inbox, lane->index, &message->note);
}

static void receive_take(struct verbs_lane *lane, const struct ibv_wc *completion, uint32_t slot)
{
    struct verbs_connection *connection = lane->connection;
    struct wire_message message = {.note = {.kind = LEDGER_NOTIFY}};
    const char *reason = "sends a message of another size";
    weft_status status = WEFT_PROTOCOL_ERROR;

    if (completion->opcode == IBV_WC_RECV_RDMA_WITH_IMM) {
        message.note.tag = ntohl(completion->imm_data);
        status = message_take(lane, &message, &reason);
    } else if (completion->byte_len == WIRE_MESSAGE_BYTES) {
        status = wire_message_decode(message_buffer(lane, slot), &message, &reason);
        if (status == WEFT_OK) status = message_take(lane, &message, &reason);
    }
    if (status != WEFT_OK) {
        verbs_connection_refuse(connection, status, reason);
        return;
    }
    if (lane_rail(lane)->state < RAIL_DRAINING) {
        lane->repost[lane->repost_count++] = (uint16_t)slot;
        if (lane->repost_count == VERBS_RECEIVE_BATCH) repost(lane);
    }
    connection->dirty |= UINT32_C(1) << lane->index;
    verbs_connection_attend(connection);
}

static void failure_take(struct verbs_lane *lane, const struct ibv_wc *completion)
{
    struct verbs_rail_end *rail = lane_rail(lane);

    if (rail->state >= RAIL_DRAINING) return;
    if (completion->status == IBV_WC_WR_FLUSH_ERR) { /* which says nothing about why */
        verbs_device_take_events(rail->port->device);
        verbs_port_check(rail->port);
        if (rail->state >= RAIL_DRAINING) return;
    }
    const char *hint = verbs_completion_hint(completion->status);
    verbs_rail_fail(lane->connection, lane->rail, "%s%s%s (status %d, vendor code 0x%x, qp %u)",
                    verbs_completion_text(completion->status), hint[0] ? ": " : "", hint, (int)completion->status,
                    completion->vendor_err, lane->qp->qp_num);
}

void verbs_lane_completion(struct verbs_endpoint *endpoint, const struct ibv_wc *completion)
{
    struct verbs_lane *lane = lane_named(endpoint, completion->wr_id);
    const uint32_t number = (uint32_t)completion->wr_id;
    const bool failed = completion->status != IBV_WC_SUCCESS;

    if (!lane) return;
    struct verbs_connection *connection = lane->connection;
    if (completion->wr_id & RECEIVE_BIT) {
        lane->receives--;
        if (failed)
            failure_take(lane, completion);
        else
            receive_take(lane, completion, number);
        if (failed) verbs_connection_attend(connection);
        return;
    }
    if (failed) {
        /* Those before it without a completion of their own were flushed too, or have arrived: the peer's count says.
         */
        failure_take(lane, completion);
        if (lane->qp && (int32_t)(number - lane->complete) > 0) lane->complete = number;
    } else {
        lane->complete = number;
        outbox_completed(&connection->outbox, lane->index, number, verbs_item_release, endpoint);
        connection->dirty |= UINT32_C(1) << lane->index;
    }
    verbs_connection_attend(connection);
}
