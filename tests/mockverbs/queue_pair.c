/* SPDX-License-Identifier: Apache-2.0 */
/* Reliable connected queue pairs: their states, and posting. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/mockverbs/mockverbs_internal.h"

#define DEFAULT_MAX_INLINE_BYTES 256u

struct mock_qp *mock_qp_of(uint32_t qp_num)
{
    uint32_t index = qp_num - MOCK_FIRST_QP_NUM;
    return index < mock.qp_count ? mock.qps[index] : NULL;
}

/* ---- Creation and end ---- */

static int init_check(const struct ibv_pd *pd, const struct ibv_qp_init_attr *init)
{
    const struct mock_device *device = mock_context_of(pd->context)->device;
    const struct ibv_qp_cap *cap = &init->cap;
    const uint32_t max_wr = device->config.max_qp_wr ? device->config.max_qp_wr : 8192;
    const uint32_t max_inline =
        device->config.max_inline_bytes ? device->config.max_inline_bytes : DEFAULT_MAX_INLINE_BYTES;
    if (device->removed) return EIO;
    if (init->qp_type != IBV_QPT_RC || init->srq) return EOPNOTSUPP;
    if (!init->send_cq || !init->recv_cq) return EINVAL;
    if (init->send_cq->context != pd->context || init->recv_cq->context != pd->context) return EINVAL;
    if (cap->max_send_wr > max_wr || cap->max_recv_wr > max_wr || cap->max_inline_data > max_inline) return EINVAL;
    if (cap->max_send_sge > MOCK_MAX_SGE || cap->max_recv_sge > MOCK_MAX_SGE) return EINVAL;
    uint32_t alive = 0;
    for (uint32_t i = 0; i < mock.qp_count; i++) alive += mock.qps[i] && mock.qps[i]->device == device;
    return device->config.max_qp && alive >= device->config.max_qp ? ENOMEM : 0;
}

static void qp_number(struct mock_qp *qp)
{
    if (mock.qp_count == mock.qp_room) {
        mock.qp_room = mock.qp_room ? 2 * mock.qp_room : 64;
        mock.qps = realloc(mock.qps, mock.qp_room * sizeof(struct mock_qp *));
        mock.busy = realloc(mock.busy, mock.qp_room * sizeof(struct mock_qp *));
        if (!mock.qps || !mock.busy) mock_abort("no memory");
    }
    qp->base.qp_num = MOCK_FIRST_QP_NUM + mock.qp_count;
    mock.qps[mock.qp_count++] = qp;
}

struct ibv_qp *mock_create_qp(struct ibv_pd *pd, struct ibv_qp_init_attr *init, int *error)
{
    *error = mock_call(MOCKVERBS_CREATE_QP);
    if (!*error) *error = init_check(pd, init);
    if (*error) return NULL;
    struct mock_qp *qp = mock_allocate(sizeof *qp);
    qp->device = mock_context_of(pd->context)->device;
    qp->init = *init;
    qp->base = (struct ibv_qp){
        .context = pd->context,
        .qp_context = init->qp_context,
        .pd = pd,
        .send_cq = init->send_cq,
        .recv_cq = init->recv_cq,
        .state = IBV_QPS_RESET,
        .qp_type = init->qp_type,
    };
    /* Never moved while in use: what is posted must not allocate. */
    qp->sends = mock_allocate(init->cap.max_send_wr * sizeof *qp->sends);
    qp->inline_bytes = mock_allocate((size_t)init->cap.max_send_wr * init->cap.max_inline_data);
    qp->receives = mock_allocate(init->cap.max_recv_wr * sizeof *qp->receives);
    qp_number(qp);
    mock_container(pd, struct mock_pd, base)->users++;
    mock_container(init->send_cq, struct mock_cq, base)->users++;
    mock_container(init->recv_cq, struct mock_cq, base)->users++;
    mock_context_of(pd->context)->users++;
    mock_object_add(&qp->object, MOCK_QP);
    return &qp->base;
}

void mock_destroy_qp(struct mock_qp *qp)
{
    struct mock_cq *send_cq = mock_container(qp->base.send_cq, struct mock_cq, base);
    struct mock_cq *recv_cq = mock_container(qp->base.recv_cq, struct mock_cq, base);
    mock_qp_forget(qp);
    mock.qps[qp->base.qp_num - MOCK_FIRST_QP_NUM] = NULL;
    mock_forget_events(qp->base.context, &qp->base);
    mock_wait_acknowledged(&qp->async_events, "a queue pair");
    mock_cq_clean(send_cq, qp);
    mock_cq_clean(recv_cq, qp);
    send_cq->users--;
    recv_cq->users--;
    mock_container(qp->base.pd, struct mock_pd, base)->users--;
    mock_context_of(qp->base.context)->users--;
    mock_object_remove(&qp->object);
    free(qp->sends);
    free(qp->inline_bytes);
    free(qp->receives);
    free(qp);
}

struct ibv_qp *ibv_create_qp(struct ibv_pd *pd, struct ibv_qp_init_attr *init)
{
    int error;
    mock_lock();
    struct ibv_qp *qp = mock_create_qp(pd, init, &error);
    if (!qp) return mock_refuse(error);
    mock_unlock();
    return qp;
}

int ibv_destroy_qp(struct ibv_qp *base)
{
    mock_lock();
    mock_destroy_qp(mock_container(base, struct mock_qp, base));
    mock_unlock();
    return 0;
}

/* ---- States ---- */

/* What a transition needs said, as the InfiniBand Architecture Specification's table for reliable connections. */
static const struct transition {
    enum ibv_qp_state from, to;
    int required;
} transitions[] = {
    {IBV_QPS_RESET, IBV_QPS_INIT, IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS},
    {IBV_QPS_INIT, IBV_QPS_INIT, 0},
    {IBV_QPS_INIT, IBV_QPS_RTR,
     IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN | IBV_QP_RQ_PSN | IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER},
    {IBV_QPS_RTR, IBV_QPS_RTS,
     IBV_QP_SQ_PSN | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY | IBV_QP_MAX_QP_RD_ATOMIC},
    {IBV_QPS_RTS, IBV_QPS_RTS, 0},
};

static bool transition_allowed(enum ibv_qp_state from, enum ibv_qp_state to, int mask)
{
    if (to == IBV_QPS_RESET || to == IBV_QPS_ERR) return true;
    for (size_t i = 0; i < sizeof transitions / sizeof *transitions; i++)
        if (transitions[i].from == from && transitions[i].to == to)
            return (mask & transitions[i].required) == transitions[i].required;
    return false;
}

static bool attr_valid(const struct mock_qp *qp, const struct ibv_qp_attr *attr, int mask)
{
    const uint32_t ports = qp->device->config.port_count;
    if ((mask & IBV_QP_PORT) && (attr->port_num == 0 || attr->port_num > ports)) return false;
    if ((mask & IBV_QP_PKEY_INDEX) && attr->pkey_index != 0) return false;
    if ((mask & IBV_QP_RNR_RETRY) && attr->rnr_retry > 7) return false;
    if ((mask & IBV_QP_RETRY_CNT) && attr->retry_cnt > 7) return false;
    if ((mask & IBV_QP_TIMEOUT) && attr->timeout > 31) return false;
    if (!(mask & IBV_QP_AV)) return true;
    const uint8_t port = attr->ah_attr.port_num;
    return attr->ah_attr.is_global && port >= 1 && port <= ports &&
           attr->ah_attr.grh.sgid_index < qp->device->gid_count[port - 1];
}

static void attr_take(struct ibv_qp_attr *to, const struct ibv_qp_attr *from, int mask)
{
#define TAKE(bit, field)                                                                                               \
    if (mask & (bit)) to->field = from->field
    TAKE(IBV_QP_ACCESS_FLAGS, qp_access_flags);
    TAKE(IBV_QP_PKEY_INDEX, pkey_index);
    TAKE(IBV_QP_PORT, port_num);
    TAKE(IBV_QP_AV, ah_attr);
    TAKE(IBV_QP_PATH_MTU, path_mtu);
    TAKE(IBV_QP_TIMEOUT, timeout);
    TAKE(IBV_QP_RETRY_CNT, retry_cnt);
    TAKE(IBV_QP_RNR_RETRY, rnr_retry);
    TAKE(IBV_QP_RQ_PSN, rq_psn);
    TAKE(IBV_QP_SQ_PSN, sq_psn);
    TAKE(IBV_QP_MIN_RNR_TIMER, min_rnr_timer);
    TAKE(IBV_QP_MAX_QP_RD_ATOMIC, max_rd_atomic);
    TAKE(IBV_QP_MAX_DEST_RD_ATOMIC, max_dest_rd_atomic);
    TAKE(IBV_QP_DEST_QPN, dest_qp_num);
#undef TAKE
}

static void qp_reset(struct mock_qp *qp)
{
    mock_qp_forget(qp);
    mock_cq_clean(mock_container(qp->base.send_cq, struct mock_cq, base), qp);
    mock_cq_clean(mock_container(qp->base.recv_cq, struct mock_cq, base), qp);
    qp->sends_posted = qp->sends_done = qp->sends_free = 0;
    qp->receives_posted = qp->receives_done = qp->receives_free = 0;
    qp->stuck = MOCK_MOVING;
    qp->base.state = IBV_QPS_RESET;
}

int mock_modify_qp(struct mock_qp *qp, const struct ibv_qp_attr *attr, int mask)
{
    int error = mock_call(MOCKVERBS_MODIFY_QP);
    const enum ibv_qp_state to = mask & IBV_QP_STATE ? attr->qp_state : qp->base.state;
    if (error) return error;
    if (qp->device->removed && to != IBV_QPS_ERR && to != IBV_QPS_RESET) return EIO;
    if (!transition_allowed(qp->base.state, to, mask) || !attr_valid(qp, attr, mask)) return EINVAL;
    attr_take(&qp->attr, attr, mask);
    if (to == IBV_QPS_RESET)
        qp_reset(qp);
    else if (to == IBV_QPS_ERR)
        mock_qp_to_error(qp);
    else
        qp->base.state = to;
    return 0;
}

int ibv_modify_qp(struct ibv_qp *base, struct ibv_qp_attr *attr, int mask)
{
    mock_lock();
    int error = mock_modify_qp(mock_container(base, struct mock_qp, base), attr, mask);
    mock_unlock();
    return error;
}

int ibv_query_qp(struct ibv_qp *base, struct ibv_qp_attr *attr, int mask, struct ibv_qp_init_attr *init)
{
    (void)mask;
    struct mock_qp *qp = mock_container(base, struct mock_qp, base);
    mock_lock();
    *attr = qp->attr;
    attr->qp_state = attr->cur_qp_state = qp->base.state;
    attr->cap = qp->init.cap;
    if (init) *init = qp->init;
    mock_unlock();
    return 0;
}

int ibv_query_qp_data_in_order(struct ibv_qp *qp, enum ibv_wr_opcode opcode, uint32_t flags)
{
    (void)qp, (void)opcode, (void)flags;
    return 0;
}

/* ---- Posting ---- */

static int send_check(const struct mock_qp *qp, const struct ibv_send_wr *wr, uint64_t bytes)
{
    switch (wr->opcode) {
    case IBV_WR_RDMA_WRITE:
    case IBV_WR_RDMA_WRITE_WITH_IMM:
    case IBV_WR_SEND:
    case IBV_WR_SEND_WITH_IMM:
        break;
    default:
        return EOPNOTSUPP;
    }
    if (qp->sends_posted - qp->sends_free >= qp->init.cap.max_send_wr) return ENOMEM;
    if (wr->num_sge < 0 || (uint32_t)wr->num_sge > qp->init.cap.max_send_sge) return EINVAL;
    if ((wr->send_flags & IBV_SEND_INLINE) && bytes > qp->init.cap.max_inline_data) return EINVAL;
    return 0;
}

static int send_accept(struct mock_qp *qp, const struct ibv_send_wr *wr)
{
    uint64_t bytes = 0;
    for (int i = 0; i < wr->num_sge; i++) bytes += wr->sg_list[i].length;
    int error = send_check(qp, wr, bytes);
    if (error) return error;
    const uint32_t slot = (uint32_t)(qp->sends_posted % qp->init.cap.max_send_wr);
    struct mock_send *send = &qp->sends[slot];
    send->wr = *wr;
    send->bytes = bytes > UINT32_MAX ? UINT32_MAX : (uint32_t)bytes;
    send->signalled = qp->init.sq_sig_all || (wr->send_flags & IBV_SEND_SIGNALED);
    send->examined = send->refused = false;
    if (wr->send_flags & IBV_SEND_INLINE) {
        uint8_t *to = qp->inline_bytes + (size_t)slot * qp->init.cap.max_inline_data;
        send->sge[0] = (struct ibv_sge){.addr = (uintptr_t)to, .length = (uint32_t)bytes};
        send->wr.num_sge = 1;
        for (int i = 0; i < wr->num_sge; i++) {
            if (wr->sg_list[i].length) memcpy(to, (const void *)(uintptr_t)wr->sg_list[i].addr, wr->sg_list[i].length);
            to += wr->sg_list[i].length;
        }
    } else {
        for (int i = 0; i < wr->num_sge; i++) send->sge[i] = wr->sg_list[i];
    }
    qp->sends_posted++;
    mock.counters.posted_sends++;
    mock.counters.posted_inline += (wr->send_flags & IBV_SEND_INLINE) != 0;
    mock.counters.posted_signalled += send->signalled;
    return 0;
}

int mock_post_send(struct ibv_qp *base, struct ibv_send_wr *wr, struct ibv_send_wr **bad)
{
    struct mock_qp *qp = mock_container(base, struct mock_qp, base);
    const uint64_t start = mock_watch_start();
    mock_lock();
    int error = mock_call(MOCKVERBS_POST_SEND);
    if (!error && qp->device->removed) error = EIO;
    if (!error && qp->base.state != IBV_QPS_RTS && qp->base.state != IBV_QPS_ERR) error = EINVAL;
    while (!error && wr) {
        error = send_accept(qp, wr);
        if (!error) wr = wr->next;
    }
    mock_deliver(qp);
    mock_unlock();
    if (error) *bad = wr;
    mock_watch_stop(start);
    return error;
}

int mock_post_recv(struct ibv_qp *base, struct ibv_recv_wr *wr, struct ibv_recv_wr **bad)
{
    struct mock_qp *qp = mock_container(base, struct mock_qp, base);
    const uint64_t start = mock_watch_start();
    mock_lock();
    int error = mock_call(MOCKVERBS_POST_RECEIVE);
    if (!error && qp->device->removed) error = EIO;
    if (!error && qp->base.state == IBV_QPS_RESET) error = EINVAL;
    for (; !error && wr; wr = wr->next) {
        if (qp->receives_posted - qp->receives_free >= qp->init.cap.max_recv_wr) error = ENOMEM;
        if (wr->num_sge < 0 || (uint32_t)wr->num_sge > qp->init.cap.max_recv_sge) error = EINVAL;
        if (error) break;
        struct mock_receive *receive = &qp->receives[qp->receives_posted++ % qp->init.cap.max_recv_wr];
        receive->wr_id = wr->wr_id;
        receive->sge_count = wr->num_sge;
        for (int i = 0; i < wr->num_sge; i++) receive->sge[i] = wr->sg_list[i];
        mock.counters.posted_receives++;
    }
    if (qp->base.state == IBV_QPS_ERR) mock_qp_to_error(qp); /* flushes them */
    mock_unlock();
    if (error) *bad = wr;
    mock_watch_stop(start);
    return error;
}
