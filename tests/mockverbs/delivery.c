/* SPDX-License-Identifier: Apache-2.0 */
/* What a posted request does, and when. */
#include <string.h>

#include "tests/mockverbs/mockverbs_internal.h"

/* What a completion in error leaves in the fields that nobody may read. */
#define UNDEFINED_OPCODE ((enum ibv_wc_opcode)0x5a)

/* ---- Completions ---- */

/* A number of the vendor's own beside each status, so that tests see it carried through. */
static uint32_t vendor_error(enum ibv_wc_status status)
{
    return status == IBV_WC_SUCCESS ? 0 : 0x80u + (uint32_t)status;
}

static void send_complete(struct mock_qp *qp, enum ibv_wc_status status, uint32_t vendor)
{
    const uint64_t slot = qp->sends_done++;
    const struct mock_send *send = &qp->sends[slot % qp->init.cap.max_send_wr];
    qp->stuck = MOCK_MOVING;
    qp->stuck_polls = 0;
    if (status == IBV_WC_SUCCESS && !send->signalled) return;
    struct mock_entry entry = {
        .wc = {.wr_id = send->wr.wr_id, .status = status, .vendor_err = vendor, .qp_num = qp->base.qp_num},
        .qp = qp,
        .slot = slot,
        .send = true,
    };
    const bool write = send->wr.opcode == IBV_WR_RDMA_WRITE || send->wr.opcode == IBV_WR_RDMA_WRITE_WITH_IMM;
    entry.wc.opcode = status ? UNDEFINED_OPCODE : write ? IBV_WC_RDMA_WRITE : IBV_WC_SEND;
    mock_complete(mock_container(qp->base.send_cq, struct mock_cq, base), &entry, false);
}

static void receive_complete(struct mock_qp *qp, const struct mock_send *by, uint32_t src_qp, enum ibv_wc_status status,
                             uint32_t vendor)
{
    const uint64_t slot = qp->receives_done++;
    struct mock_entry entry = {
        .wc = {.wr_id = qp->receives[slot % qp->init.cap.max_recv_wr].wr_id,
               .status = status,
               .vendor_err = vendor,
               .opcode = UNDEFINED_OPCODE,
               .qp_num = qp->base.qp_num},
        .qp = qp,
        .slot = slot,
    };
    if (status == IBV_WC_SUCCESS) {
        const bool write = by->wr.opcode == IBV_WR_RDMA_WRITE_WITH_IMM;
        entry.wc.opcode = write ? IBV_WC_RECV_RDMA_WITH_IMM : IBV_WC_RECV;
        entry.wc.byte_len = by->bytes;
        entry.wc.src_qp = src_qp;
        if (by->wr.opcode != IBV_WR_SEND) {
            entry.wc.wc_flags = IBV_WC_WITH_IMM;
            entry.wc.imm_data = by->wr.imm_data;
        }
    }
    mock_complete(mock_container(qp->base.recv_cq, struct mock_cq, base), &entry,
                  by && (by->wr.send_flags & IBV_SEND_SOLICITED));
}

void mock_qp_to_error(struct mock_qp *qp)
{
    qp->base.state = IBV_QPS_ERR;
    while (qp->sends_done < qp->sends_posted) send_complete(qp, IBV_WC_WR_FLUSH_ERR, vendor_error(IBV_WC_WR_FLUSH_ERR));
    while (qp->receives_done < qp->receives_posted)
        receive_complete(qp, NULL, 0, IBV_WC_WR_FLUSH_ERR, vendor_error(IBV_WC_WR_FLUSH_ERR));
    mock_qp_forget(qp);
}

static void send_fail(struct mock_qp *qp, enum ibv_wc_status status, uint32_t vendor)
{
    send_complete(qp, status, vendor);
    mock_qp_to_error(qp);
}

/* ---- One request ---- */

/* A status other than success: of the sender. */
static enum ibv_wc_status source_check(const struct mock_qp *qp, const struct mock_send *send)
{
    if (send->bytes > MOCK_MAX_MESSAGE_BYTES) return IBV_WC_LOC_LEN_ERR;
    if (send->wr.send_flags & IBV_SEND_INLINE) return IBV_WC_SUCCESS;
    for (int i = 0; i < send->wr.num_sge; i++) {
        const struct ibv_sge *sge = &send->sge[i];
        if (sge->length && !mock_region_allows(sge->lkey, qp->base.pd, sge->addr, sge->length, 0))
            return IBV_WC_LOC_PROT_ERR;
    }
    return IBV_WC_SUCCESS;
}

static void write_copy(const struct mock_send *send)
{
    uint8_t *to = (uint8_t *)(uintptr_t)send->wr.wr.rdma.remote_addr;
    for (int i = 0; i < send->wr.num_sge; i++) {
        const struct ibv_sge *sge = &send->sge[i];
        if (sge->length) memmove(to, (const void *)(uintptr_t)sge->addr, sge->length);
        to += sge->length;
    }
}

/* Scatter over the receive's buffers; the receiver's status. */
static enum ibv_wc_status receive_copy(struct mock_qp *peer, const struct mock_send *send)
{
    const struct mock_receive *receive = &peer->receives[peer->receives_done % peer->init.cap.max_recv_wr];
    int into = 0;
    uint32_t used = 0;
    for (int i = 0; i < send->wr.num_sge; i++) {
        for (uint32_t taken = 0; taken < send->sge[i].length;) {
            while (into < receive->sge_count && used == receive->sge[into].length) into++, used = 0;
            if (into == receive->sge_count) return IBV_WC_LOC_LEN_ERR;
            const struct ibv_sge *to = &receive->sge[into];
            uint32_t bytes = send->sge[i].length - taken;
            if (bytes > to->length - used) bytes = to->length - used;
            if (!mock_region_allows(to->lkey, peer->base.pd, to->addr + used, bytes, IBV_ACCESS_LOCAL_WRITE))
                return IBV_WC_LOC_PROT_ERR;
            memmove((void *)(uintptr_t)(to->addr + used), (const void *)(uintptr_t)(send->sge[i].addr + taken), bytes);
            taken += bytes;
            used += bytes;
        }
    }
    return IBV_WC_SUCCESS;
}

/* The receiving side's part. A status other than success is the sender's; the receiver has been told its own. */
static enum ibv_wc_status arrive(struct mock_qp *qp, struct mock_qp *peer, const struct mock_send *send)
{
    const bool write = send->wr.opcode == IBV_WR_RDMA_WRITE || send->wr.opcode == IBV_WR_RDMA_WRITE_WITH_IMM;
    if (peer->base.state == IBV_QPS_RTR && !peer->established_told) {
        peer->established_told = true;
        mock_raise_qp(peer, IBV_EVENT_COMM_EST);
    }
    if (write && send->bytes) {
        if (!(peer->attr.qp_access_flags & IBV_ACCESS_REMOTE_WRITE) ||
            !mock_region_allows(send->wr.wr.rdma.rkey, peer->base.pd, send->wr.wr.rdma.remote_addr, send->bytes,
                                IBV_ACCESS_REMOTE_WRITE)) {
            mock_raise_qp(peer, IBV_EVENT_QP_ACCESS_ERR);
            mock_qp_to_error(peer);
            return IBV_WC_REM_ACCESS_ERR;
        }
        write_copy(send);
    }
    qp->sent++;
    qp->sent_bytes += send->bytes;
    peer->received++;
    mock.counters.delivered++;
    mock.counters.delivered_bytes += send->bytes;
    if (send->wr.opcode == IBV_WR_RDMA_WRITE) return IBV_WC_SUCCESS;
    struct mockverbs_fault fault;
    if (mock.faults && mock_fault_take(peer->base.qp_num, MOCKVERBS_RECEIVE, &fault)) {
        receive_complete(peer, send, qp->base.qp_num, fault.status, fault.vendor_error);
        mock_qp_to_error(peer);
        return IBV_WC_REM_OP_ERR;
    }
    const enum ibv_wc_status status = write ? IBV_WC_SUCCESS : receive_copy(peer, send);
    receive_complete(peer, send, qp->base.qp_num, status, vendor_error(status));
    if (status == IBV_WC_SUCCESS) return IBV_WC_SUCCESS;
    mock_qp_to_error(peer);
    return status == IBV_WC_LOC_LEN_ERR ? IBV_WC_REM_INV_REQ_ERR : IBV_WC_REM_OP_ERR;
}

/* Would the peer take this request now? */
static enum mock_stuck obstacle(const struct mock_qp *qp, struct mock_qp *peer, struct mock_send *send)
{
    if (qp->dropping && qp->sends_done >= qp->drop_from) return MOCK_SILENT;
    if (!peer || peer->device->removed || peer->attr.dest_qp_num != qp->base.qp_num) {
        /* One that is still to be connected answers nothing either, but it will. */
        const bool to_come = peer && !peer->device->removed && peer->base.state == IBV_QPS_INIT;
        return to_come ? MOCK_WAITING : MOCK_SILENT;
    }
    if (!qp->device->up[qp->attr.port_num - 1] || !peer->device->up[peer->attr.port_num - 1]) return MOCK_SILENT;
    if (peer->base.state != IBV_QPS_RTR && peer->base.state != IBV_QPS_RTS) return MOCK_SILENT;
    const bool takes_receive = send->wr.opcode != IBV_WR_RDMA_WRITE;
    if (!takes_receive || (!peer->refuses && peer->receives_done < peer->receives_posted)) return MOCK_MOVING;
    if (!send->refused) {
        send->refused = true;
        peer->receiver_not_ready++;
        mock.counters.receiver_not_ready++;
    }
    return MOCK_NOT_READY;
}

/* True: the oldest request is done, well or not. */
static bool deliver_one(struct mock_qp *qp)
{
    struct mock_send *send = &qp->sends[qp->sends_done % qp->init.cap.max_send_wr];
    struct mock_qp *peer = mock_qp_of(qp->attr.dest_qp_num);
    struct mockverbs_fault fault;
    if (mock.faults && !send->examined) {
        send->examined = true;
        if (mock_fault_take(qp->base.qp_num, MOCKVERBS_SEND, &fault)) {
            if (fault.delivered && obstacle(qp, peer, send) == MOCK_MOVING) arrive(qp, peer, send);
            send_fail(qp, fault.status, fault.vendor_error);
            return true;
        }
    }
    enum ibv_wc_status status = source_check(qp, send);
    if (status == IBV_WC_SUCCESS) {
        qp->stuck = obstacle(qp, peer, send);
        if (qp->stuck != MOCK_MOVING) return false;
        status = arrive(qp, peer, send);
        if (qp->base.state == IBV_QPS_ERR) return true; /* an overrun queue has ended it meanwhile */
    }
    if (status == IBV_WC_SUCCESS)
        send_complete(qp, status, 0);
    else
        send_fail(qp, status, vendor_error(status));
    return true;
}

/* ---- Turns ---- */

static bool pending(const struct mock_qp *qp)
{
    return qp->sends_done < qp->sends_posted;
}

static void keep_busy(struct mock_qp *qp)
{
    if (qp->busy || !pending(qp)) return;
    qp->busy = true;
    mock.busy[mock.busy_count++] = qp;
}

void mock_qp_forget(struct mock_qp *qp)
{
    if (!qp->busy) return;
    qp->busy = false;
    for (uint32_t i = 0; i < mock.busy_count; i++) {
        if (mock.busy[i] != qp) continue;
        memmove(&mock.busy[i], &mock.busy[i + 1], (mock.busy_count - i - 1) * sizeof(struct mock_qp *));
        mock.busy_count--;
        return;
    }
}

static void deliver_all(struct mock_qp *qp)
{
    while (pending(qp) && deliver_one(qp)) {
    }
    if (!pending(qp)) mock_qp_forget(qp);
}

void mock_deliver(struct mock_qp *qp)
{
    if (qp->base.state == IBV_QPS_ERR) {
        mock_qp_to_error(qp);
        return;
    }
    if (mock.delay_most == 0) deliver_all(qp);
    keep_busy(qp);
}

/* @p polls pass for the requests of @p cq that get no answer. */
static void timers_advance(const struct mock_cq *cq, uint32_t polls)
{
    if (mock.patience == UINT32_MAX) return;
    for (uint32_t i = 0; i < mock.busy_count;) {
        struct mock_qp *qp = mock.busy[i];
        const bool not_ready = qp->stuck == MOCK_NOT_READY && qp->attr.rnr_retry < 7;
        if (qp->base.send_cq == &cq->base && (qp->stuck == MOCK_SILENT || not_ready)) {
            qp->stuck_polls += polls;
            const enum ibv_wc_status status = not_ready ? IBV_WC_RNR_RETRY_EXC_ERR : IBV_WC_RETRY_EXC_ERR;
            if (qp->stuck_polls >= mock.patience) send_fail(qp, status, vendor_error(status));
        }
        if (i < mock.busy_count && mock.busy[i] == qp) i++;
    }
}

static void deliver_everything(void)
{
    /* Again while something moves: one queue pair's error may free or end another's. */
    for (bool moved = true; moved;) {
        moved = false;
        for (uint32_t i = 0; i < mock.busy_count;) {
            struct mock_qp *qp = mock.busy[i];
            const uint64_t before = qp->sends_done;
            deliver_all(qp);
            moved |= qp->sends_done != before;
            if (i < mock.busy_count && mock.busy[i] == qp) i++;
        }
    }
}

void mock_turn(struct mock_cq *polled)
{
    if (mock.delay_most == 0) {
        deliver_everything();
    } else {
        for (uint64_t left = random_below(&mock.random, (uint64_t)mock.delay_most + 1); left && mock.busy_count;
             left--) {
            struct mock_qp *qp = mock.busy[random_below(&mock.random, mock.busy_count)];
            deliver_one(qp);
            if (!pending(qp)) mock_qp_forget(qp);
        }
    }
    if (mock.busy_count) timers_advance(polled, 1);
}

void mock_turn_all(struct mock_cq *armed)
{
    deliver_everything();
    timers_advance(armed, mock.patience);
}

void mockverbs_settle(void)
{
    mock_lock();
    deliver_everything();
    mock_unlock();
}

void mockverbs_delay(uint64_t seed, uint32_t most_per_poll)
{
    mock_lock();
    random_seed(&mock.random, seed);
    mock.delay_most = most_per_poll;
    if (most_per_poll == 0) deliver_everything();
    mock_unlock();
}

void mockverbs_patience(uint32_t polls)
{
    mock_lock();
    mock.patience = polls ? polls : MOCK_DEFAULT_PATIENCE;
    mock_unlock();
}
