/* SPDX-License-Identifier: Apache-2.0 */
/* rdma_cm's connections: queue pairs, requests, answers, ends. */
#include <errno.h>
#include <string.h>

#include "tests/mockverbs/cm_internal.h"

static int refuse(int error)
{
    mock_unlock();
    errno = error;
    return -1;
}

/* ---- Queue pairs ---- */

/* The last RoCE v2 GID of the address's family: its own, as the link-local one comes first. */
static uint8_t gid_index_of(const struct cm_id *id)
{
    const uint32_t port = id->base.port_num - 1u;
    const bool six = id->base.route.addr.src_addr.sa_family == AF_INET6;
    return (uint8_t)(six && id->device->config.ports[port].ipv4 ? 5 : 3);
}

/* What the connection says of a queue pair's next state; the mask, or 0 where it cannot say yet. */
static int qp_attr_fill(const struct cm_id *id, enum ibv_qp_state state, struct ibv_qp_attr *attr)
{
    *attr = (struct ibv_qp_attr){.qp_state = state};
    if (!id->device) return 0;
    if (state == IBV_QPS_INIT) {
        attr->port_num = id->base.port_num;
        attr->qp_access_flags = IBV_ACCESS_REMOTE_WRITE;
        return IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS;
    }
    if (!id->remote_qp_num) return 0;
    if (state == IBV_QPS_RTR) {
        attr->path_mtu = IBV_MTU_4096;
        attr->dest_qp_num = id->remote_qp_num;
        attr->ah_attr = (struct ibv_ah_attr){
            .is_global = 1,
            .port_num = id->base.port_num,
            .grh = {.hop_limit = 64, .traffic_class = id->traffic_class, .sgid_index = gid_index_of(id)},
        };
        return IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN | IBV_QP_RQ_PSN |
               IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER;
    }
    if (state != IBV_QPS_RTS) return 0;
    attr->timeout = id->ack_timeout;
    attr->retry_cnt = id->retry_count;
    attr->rnr_retry = id->rnr_retry;
    return IBV_QP_STATE | IBV_QP_SQ_PSN | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY |
           IBV_QP_MAX_QP_RD_ATOMIC;
}

static int qp_move(struct cm_id *id, enum ibv_qp_state state)
{
    struct ibv_qp_attr attr;
    int mask = qp_attr_fill(id, state, &attr);
    return mask ? mock_modify_qp(mock_container(id->base.qp, struct mock_qp, base), &attr, mask) : EINVAL;
}

int cm_qp_to_rts(struct cm_id *id)
{
    int error = qp_move(id, IBV_QPS_RTR);
    return error ? error : qp_move(id, IBV_QPS_RTS);
}

int rdma_init_qp_attr(struct rdma_cm_id *base, struct ibv_qp_attr *attr, int *mask)
{
    mock_lock();
    *mask = qp_attr_fill(cm_of(base), attr->qp_state, attr);
    if (!*mask) return refuse(EINVAL);
    mock_unlock();
    return 0;
}

int rdma_create_qp(struct rdma_cm_id *base, struct ibv_pd *pd, struct ibv_qp_init_attr *init)
{
    struct cm_id *id = cm_of(base);
    mock_lock();
    int error = mock_call(MOCKVERBS_CM_CREATE_QP);
    if (!error && (!base->verbs || !pd || base->verbs != pd->context || base->qp)) error = EINVAL;
    if (error) return refuse(error);
    struct ibv_qp *qp = mock_create_qp(pd, init, &error);
    if (!qp) return refuse(error);
    base->qp = qp;
    base->pd = pd;
    base->send_cq = init->send_cq;
    base->recv_cq = init->recv_cq;
    error = qp_move(id, IBV_QPS_INIT);
    if (error) {
        mock_destroy_qp(mock_container(qp, struct mock_qp, base));
        base->qp = NULL;
        return refuse(error);
    }
    id->own_qp_num = qp->qp_num;
    mock_unlock();
    return 0;
}

void rdma_destroy_qp(struct rdma_cm_id *base)
{
    mock_lock();
    mock_destroy_qp(mock_container(base->qp, struct mock_qp, base));
    base->qp = NULL;
    mock_unlock();
}

/* ---- Making a connection ---- */

bool cm_lost(int *reason)
{
    if (!mock.cm_lossy) return false;
    if (mock.cm_lose_after) {
        mock.cm_lose_after--;
        return false;
    }
    mock.cm_lossy = false;
    *reason = mock.cm_lose_reason;
    return true;
}

static struct cm_id *listener_at(const struct sockaddr *address, const struct mock_device *device)
{
    for (struct cm_id *id = cm_next(NULL); id; id = cm_next(id)) {
        const struct sockaddr *own = &id->base.route.addr.src_addr;
        if (id->state != CM_LISTENING || own->sa_family != address->sa_family) continue;
        if (cm_port_of(own) != cm_port_of(address)) continue;
        if (id->device ? cm_same_host_address(own, address)
                       : id->host == MOCKVERBS_ALL_HOSTS || id->host == device->config.host)
            return id;
    }
    return NULL;
}

static void connection_ends(struct cm_id *id, int reason)
{
    id->state = CM_DISCONNECTED;
    if (reason)
        cm_announce(id, RDMA_CM_EVENT_REJECTED, reason, NULL, 0, CM_REJECT_BYTES);
    else
        cm_announce(id, RDMA_CM_EVENT_UNREACHABLE, -ETIMEDOUT, NULL, 0, 0);
}

static void request_send(struct cm_id *id, const struct rdma_conn_param *param)
{
    uint8_t port;
    int reason;
    const struct sockaddr *to = &id->base.route.addr.dst_addr;
    struct mock_device *device = cm_device_at(to, &port);
    if (!device || !device->up[port - 1] || !id->device->up[id->base.port_num - 1]) {
        connection_ends(id, 0);
        return;
    }
    if (cm_lost(&reason)) {
        connection_ends(id, reason);
        return;
    }
    struct cm_id *listener = listener_at(to, device);
    if (!listener || listener->waiting >= (uint32_t)listener->backlog) {
        connection_ends(id, CM_NO_SUCH_SERVICE);
        return;
    }
    struct cm_id *made = cm_id_make(mock_container(listener->base.channel, struct cm_channel, base),
                                    listener->base.context, listener->base.ps);
    cm_bind_device(made, device, port);
    made->base.route.addr.src_storage = id->base.route.addr.dst_storage;
    made->base.route.addr.dst_storage = id->base.route.addr.src_storage;
    made->listener = listener;
    made->host = listener->host;
    made->state = CM_REQUEST_RECEIVED;
    made->peer = id;
    made->traffic_class = id->traffic_class;
    made->ack_timeout = id->ack_timeout;
    made->remote_qp_num = id->own_qp_num;
    /* A request's retry counts are for the queue pair of the one who gets it. */
    made->retry_count = id->retry_count;
    made->rnr_retry = param->rnr_retry_count;
    id->peer = made;
    listener->waiting++;
    cm_announce(made, RDMA_CM_EVENT_CONNECT_REQUEST, 0, param->private_data, param->private_data_len, CM_REQUEST_BYTES);
}

static const struct rdma_conn_param no_param;

int rdma_connect(struct rdma_cm_id *base, struct rdma_conn_param *param)
{
    struct cm_id *id = cm_of(base);
    const struct rdma_conn_param *wishes = param ? param : &no_param;
    mock_lock();
    int error = mock_call(MOCKVERBS_CM_CONNECT);
    if (!error && (id->state != CM_ROUTE_RESOLVED || wishes->private_data_len > CM_REQUEST_BYTES)) error = EINVAL;
    if (!error && (wishes->retry_count > 7 || wishes->rnr_retry_count > 7)) error = EINVAL;
    if (!error && id->device->removed) error = ENODEV;
    if (error) return refuse(error);
    if (!base->qp) id->own_qp_num = wishes->qp_num;
    id->retry_count = wishes->retry_count;
    id->state = CM_REQUEST_SENT;
    request_send(id, wishes);
    mock_unlock();
    return 0;
}

static void listener_answered(struct cm_id *id)
{
    if (id->listener) id->listener->waiting--;
    id->listener = NULL;
}

int rdma_accept(struct rdma_cm_id *base, struct rdma_conn_param *param)
{
    struct cm_id *id = cm_of(base);
    const struct rdma_conn_param *wishes = param ? param : &no_param;
    int reason;
    mock_lock();
    int error = mock_call(MOCKVERBS_CM_ACCEPT);
    if (!error && (id->state != CM_REQUEST_RECEIVED || wishes->private_data_len > CM_REPLY_BYTES)) error = EINVAL;
    if (!error && wishes->rnr_retry_count > 7) error = EINVAL;
    if (!error && (id->device->removed || !id->peer)) error = id->peer ? ENODEV : EINVAL;
    if (!error && base->qp) error = cm_qp_to_rts(id);
    if (error) return refuse(error);
    if (!base->qp) id->own_qp_num = wishes->qp_num;
    listener_answered(id);
    id->state = CM_REPLY_SENT;
    struct cm_id *peer = id->peer;
    if (cm_lost(&reason)) {
        id->peer = peer->peer = NULL;
        connection_ends(peer, reason);
    } else {
        peer->remote_qp_num = id->own_qp_num;
        peer->rnr_retry = wishes->rnr_retry_count;
        /* One whose queue pair is not rdma_cm's goes on with rdma_establish(). */
        cm_announce(peer, peer->base.qp ? RDMA_CM_EVENT_ESTABLISHED : RDMA_CM_EVENT_CONNECT_RESPONSE, 0,
                    wishes->private_data, wishes->private_data_len, CM_REPLY_BYTES);
    }
    mock_unlock();
    return 0;
}

int rdma_establish(struct rdma_cm_id *base)
{
    struct cm_id *id = cm_of(base);
    mock_lock();
    if (base->qp || id->state != CM_REQUEST_SENT || !id->peer || !id->remote_qp_num) return refuse(EINVAL);
    cm_established(id);
    mock_unlock();
    return 0;
}

int rdma_reject(struct rdma_cm_id *base, const void *private_data, uint8_t bytes)
{
    struct cm_id *id = cm_of(base);
    mock_lock();
    int error = mock_call(MOCKVERBS_CM_REJECT);
    if (!error && (id->state != CM_REQUEST_RECEIVED || bytes > CM_REJECT_BYTES)) error = EINVAL;
    if (error) return refuse(error);
    listener_answered(id);
    id->state = CM_DISCONNECTED;
    if (id->peer) {
        id->peer->state = CM_DISCONNECTED;
        id->peer->peer = NULL;
        cm_announce(id->peer, RDMA_CM_EVENT_REJECTED, CM_CONSUMER_REJECT, private_data, bytes, CM_REJECT_BYTES);
        id->peer = NULL;
    }
    mock_unlock();
    return 0;
}

/* ---- Ending it ---- */

/* Both have said so. */
static void disconnected(struct cm_id *id)
{
    id->state = CM_DISCONNECTED;
    cm_announce(id, RDMA_CM_EVENT_DISCONNECTED, 0, NULL, 0, 0);
    cm_announce(id, RDMA_CM_EVENT_TIMEWAIT_EXIT, 0, NULL, 0, 0);
}

void cm_part(struct cm_id *id)
{
    struct cm_id *peer = id->peer;
    listener_answered(id);
    id->peer = NULL;
    if (!peer) return;
    peer->peer = NULL;
    switch (peer->state) {
    case CM_CONNECTED:
    case CM_REPLY_SENT:
    case CM_DISCONNECTING:
        disconnected(peer);
        break;
    case CM_REQUEST_SENT:
        peer->state = CM_DISCONNECTED;
        cm_announce(peer, RDMA_CM_EVENT_REJECTED, CM_CONSUMER_REJECT, NULL, 0, CM_REJECT_BYTES);
        break;
    default: /* its request has been withdrawn; accepting it fails */
        break;
    }
}

int rdma_disconnect(struct rdma_cm_id *base)
{
    struct cm_id *id = cm_of(base);
    mock_lock();
    int error = mock_call(MOCKVERBS_CM_DISCONNECT);
    if (!error && id->state < CM_REQUEST_SENT) error = EINVAL;
    if (error) return refuse(error);
    if (base->qp) mock_qp_to_error(mock_container(base->qp, struct mock_qp, base));
    struct cm_id *peer = id->peer;
    if (id->state == CM_CONNECTED || id->state == CM_REPLY_SENT) {
        id->state = CM_DISCONNECTING;
        if (peer && peer->state == CM_DISCONNECTING) { /* the answer that it waits for */
            id->peer = peer->peer = NULL;
            id->state = CM_DISCONNECTED;
            disconnected(peer);
        } else if (peer) {
            cm_announce(id->peer, RDMA_CM_EVENT_DISCONNECTED, 0, NULL, 0, 0);
        }
    }
    mock_unlock();
    return 0;
}
