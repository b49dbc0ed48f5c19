/* SPDX-License-Identifier: Apache-2.0 */
/* What a test asks to go wrong, and what it may look at. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/mockverbs/mockverbs_internal.h"

static struct mock_qp *qp_expected(uint32_t qp_num)
{
    struct mock_qp *qp = mock_qp_of(qp_num);
    if (!qp) mock_abort("there is no queue pair %u", qp_num);
    return qp;
}

static struct mock_device *device_expected(const char *name)
{
    struct mock_device *device = mock_device_named(name);
    if (!device) mock_abort("there is no device %s", name);
    return device;
}

/* ---- Looking ---- */

static void qp_describe(const struct mock_qp *qp, struct mockverbs_qp *out)
{
    const struct mock_qp *peer = mock_qp_of(qp->attr.dest_qp_num);
    *out = (struct mockverbs_qp){
        .qp_num = qp->base.qp_num,
        .remote_qp_num = qp->attr.dest_qp_num,
        .host = qp->device->config.host,
        .remote_host = peer ? peer->device->config.host : 0,
        .port = qp->attr.port_num,
        .state = qp->base.state,
        .traffic_class = qp->attr.ah_attr.grh.traffic_class,
        .timeout = qp->attr.timeout,
        .retry_count = qp->attr.retry_cnt,
        .rnr_retry = qp->attr.rnr_retry,
        .send_outstanding = (uint32_t)(qp->sends_posted - qp->sends_free),
        .receive_outstanding = (uint32_t)(qp->receives_posted - qp->receives_done),
        .sent = qp->sent,
        .sent_bytes = qp->sent_bytes,
        .received = qp->received,
        .receiver_not_ready = qp->receiver_not_ready,
    };
    snprintf(out->device, sizeof out->device, "%.31s", qp->device->base.name);
    if (peer) snprintf(out->remote_device, sizeof out->remote_device, "%.31s", peer->device->base.name);
}

size_t mockverbs_qp_list(struct mockverbs_qp *list, size_t max)
{
    size_t count = 0;
    mock_lock();
    for (uint32_t i = 0; i < mock.qp_count; i++) {
        if (!mock.qps[i]) continue;
        if (count < max) qp_describe(mock.qps[i], &list[count]);
        count++;
    }
    mock_unlock();
    return count;
}

bool mockverbs_qp_find(uint32_t qp_num, struct mockverbs_qp *out)
{
    mock_lock();
    const struct mock_qp *qp = mock_qp_of(qp_num);
    if (qp) qp_describe(qp, out);
    mock_unlock();
    return qp != NULL;
}

/* ---- Requests ---- */

bool mock_fault_take(uint32_t qp_num, enum mockverbs_queue queue, struct mockverbs_fault *out)
{
    for (struct mock_fault **at = &mock.faults; *at; at = &(*at)->next) {
        struct mock_fault *fault = *at;
        if (fault->fault.queue != queue || (fault->fault.qp_num && fault->fault.qp_num != qp_num)) continue;
        if (fault->fault.after) {
            fault->fault.after--;
            continue;
        }
        *out = fault->fault;
        *at = fault->next;
        free(fault);
        return true;
    }
    return false;
}

void mockverbs_fail_completion(const struct mockverbs_fault *fault)
{
    struct mock_fault *made = mock_allocate(sizeof *made);
    made->fault = *fault;
    mock_lock();
    struct mock_fault **end = &mock.faults;
    while (*end) end = &(*end)->next;
    *end = made;
    mock_unlock();
}

void mockverbs_drop(uint32_t qp_num, uint32_t after)
{
    mock_lock();
    struct mock_qp *qp = qp_expected(qp_num);
    qp->dropping = true;
    qp->drop_from = qp->sends_done + after;
    mock_unlock();
}

void mockverbs_receiver_not_ready(uint32_t qp_num, bool not_ready)
{
    mock_lock();
    qp_expected(qp_num)->refuses = not_ready;
    mock_unlock();
}

void mockverbs_fail_call(enum mockverbs_call call, uint32_t after, int error)
{
    mock_lock();
    mock.call_faults[call] = (struct mock_call_fault){.armed = true, .after = after, .error = error};
    mock_unlock();
}

/* ---- Ports, devices, queues ---- */

void mockverbs_port_set(const char *name, uint8_t port, bool up)
{
    mock_lock();
    struct mock_device *device = device_expected(name);
    if (port == 0 || port > device->config.port_count) mock_abort("%s has no port %u", name, port);
    if (device->up[port - 1] != up) {
        device->up[port - 1] = up;
        mock_raise_device(device, port, up ? IBV_EVENT_PORT_ACTIVE : IBV_EVENT_PORT_ERR);
    }
    mock_unlock();
}

void mockverbs_device_remove(const char *name)
{
    mock_lock();
    struct mock_device *device = device_expected(name);
    device->removed = true;
    mock_raise_device(device, 0, IBV_EVENT_DEVICE_FATAL);
    for (uint32_t i = 0; i < mock.qp_count; i++) {
        struct mock_qp *qp = mock.qps[i];
        if (qp && qp->device == device && qp->base.state != IBV_QPS_RESET) mock_qp_to_error(qp);
    }
    mock_cm_device_removed(device);
    mock_unlock();
}

void mockverbs_cq_overrun(struct ibv_cq *cq)
{
    mock_lock();
    mock_cq_lose(mock_container(cq, struct mock_cq, base));
    mock_unlock();
}

void mockverbs_cq_overrun_of(uint32_t qp_num, enum mockverbs_queue queue)
{
    mock_lock();
    const struct mock_qp *qp = qp_expected(qp_num);
    struct ibv_cq *cq = queue == MOCKVERBS_SEND ? qp->base.send_cq : qp->base.recv_cq;
    mock_cq_lose(mock_container(cq, struct mock_cq, base));
    mock_unlock();
}

void mockverbs_event_qp(uint32_t qp_num, enum ibv_event_type type)
{
    mock_lock();
    struct mock_qp *qp = qp_expected(qp_num);
    mock_raise_qp(qp, type);
    /* After these a device processes nothing more on it. */
    if (type == IBV_EVENT_QP_FATAL || type == IBV_EVENT_QP_REQ_ERR || type == IBV_EVENT_QP_ACCESS_ERR)
        mock_qp_to_error(qp);
    mock_unlock();
}

void mockverbs_event_device(const char *name, uint8_t port, enum ibv_event_type type)
{
    mock_lock();
    mock_raise_device(device_expected(name), port, type);
    mock_unlock();
}

void mockverbs_cm_lose(uint32_t after, int reason)
{
    mock_lock();
    mock.cm_lossy = true;
    mock.cm_lose_after = after;
    mock.cm_lose_reason = reason;
    mock_unlock();
}
