/* SPDX-License-Identifier: Apache-2.0 */
/* Completion queues and their channels. */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/mockverbs/mockverbs_internal.h"

struct ibv_comp_channel *ibv_create_comp_channel(struct ibv_context *context)
{
    mock_lock();
    int error = mock_call(MOCKVERBS_CREATE_CHANNEL);
    if (!error && mock_context_gone(context)) error = EIO;
    if (error) return mock_refuse(error);
    struct mock_channel *channel = mock_allocate(sizeof *channel);
    channel->base.context = context;
    channel->base.fd = mock_descriptor();
    channel->last = &channel->first;
    mock_context_of(context)->users++;
    mock_object_add(&channel->object, MOCK_CHANNEL);
    mock_unlock();
    return &channel->base;
}

int ibv_destroy_comp_channel(struct ibv_comp_channel *base)
{
    struct mock_channel *channel = mock_container(base, struct mock_channel, base);
    mock_lock();
    if (base->refcnt) {
        mock_unlock();
        return EBUSY;
    }
    mock_context_of(base->context)->users--;
    mock_object_remove(&channel->object);
    mock_unlock();
    close(base->fd);
    free(channel);
    return 0;
}

struct ibv_cq *ibv_create_cq(struct ibv_context *context, int cqe, void *cq_context, struct ibv_comp_channel *channel,
                             int vector)
{
    mock_lock();
    const struct mock_device *device = mock_context_of(context)->device;
    const int limit = (int)(device->config.max_cqe ? device->config.max_cqe : 65536);
    int error = mock_call(MOCKVERBS_CREATE_CQ);
    if (!error && device->removed) error = EIO;
    if (!error && (cqe <= 0 || cqe > limit || vector < 0 || vector >= context->num_comp_vectors)) error = EINVAL;
    if (error) return mock_refuse(error);
    struct mock_cq *cq = mock_allocate(sizeof *cq);
    cq->base = (struct ibv_cq){.context = context, .channel = channel, .cq_context = cq_context, .cqe = cqe};
    cq->capacity = (uint32_t)cqe;
    cq->entries = mock_allocate(cq->capacity * sizeof *cq->entries);
    if (channel) channel->refcnt++;
    mock_context_of(context)->users++;
    mock_object_add(&cq->object, MOCK_CQ);
    mock_unlock();
    return &cq->base;
}

int ibv_resize_cq(struct ibv_cq *cq, int cqe)
{
    (void)cq, (void)cqe;
    return EOPNOTSUPP;
}

static void channel_forget(struct mock_channel *channel, const struct mock_cq *cq)
{
    struct mock_cq **at = &channel->first;
    while (*at && *at != cq) at = &(*at)->next;
    if (!*at) return;
    *at = cq->next;
    if (!*at) channel->last = at;
}

int ibv_destroy_cq(struct ibv_cq *base)
{
    struct mock_cq *cq = mock_container(base, struct mock_cq, base);
    mock_lock();
    if (cq->users) {
        mock_unlock();
        return EBUSY;
    }
    mock_wait_acknowledged(&cq->fetched_events, "a completion queue");
    mock_forget_events(base->context, base);
    mock_wait_acknowledged(&cq->async_events, "a completion queue");
    if (base->channel) {
        channel_forget(mock_container(base->channel, struct mock_channel, base), cq);
        base->channel->refcnt--;
    }
    mock_context_of(base->context)->users--;
    mock_object_remove(&cq->object);
    mock_unlock();
    free(cq->entries);
    free(cq);
    return 0;
}

static void channel_announce(struct mock_cq *cq)
{
    if (!cq->base.channel) return;
    struct mock_channel *channel = mock_container(cq->base.channel, struct mock_channel, base);
    if (cq->pending_events++ == 0) {
        cq->next = NULL;
        *channel->last = cq;
        channel->last = &cq->next;
    }
    mock_make_readable(channel->base.fd);
}

void mock_cq_lose(struct mock_cq *cq)
{
    if (cq->lost) return;
    cq->lost = true;
    mock_raise(cq->base.context, &(struct ibv_async_event){.event_type = IBV_EVENT_CQ_ERR, .element.cq = &cq->base});
    for (uint32_t i = 0; i < mock.qp_count; i++) {
        struct mock_qp *qp = mock.qps[i];
        if (!qp || (qp->base.send_cq != &cq->base && qp->base.recv_cq != &cq->base)) continue;
        if (qp->base.state == IBV_QPS_RESET || qp->base.state == IBV_QPS_ERR) continue;
        mock_raise_qp(qp, IBV_EVENT_QP_FATAL);
        mock_qp_to_error(qp);
    }
}

void mock_complete(struct mock_cq *cq, const struct mock_entry *entry, bool solicited)
{
    if (!cq->lost && cq->count == cq->capacity) mock_cq_lose(cq);
    if (cq->lost) return;
    uint32_t at = cq->head + cq->count;
    if (at >= cq->capacity) at -= cq->capacity;
    cq->entries[at] = *entry;
    cq->count++;
    mock.counters.completions++;
    if (cq->armed == MOCK_ARMED || (cq->armed == MOCK_ARMED_SOLICITED && (solicited || entry->wc.status))) {
        cq->armed = MOCK_NOT_ARMED;
        channel_announce(cq);
    }
}

int mock_poll_cq(struct ibv_cq *base, int count, struct ibv_wc *wc)
{
    struct mock_cq *cq = mock_container(base, struct mock_cq, base);
    const uint64_t start = mock_watch_start();
    mock_lock();
    int error = mock_call(MOCKVERBS_POLL_CQ);
    if (mock.busy_count) mock_turn(cq);
    int taken = 0;
    while (!error && taken < count && cq->count) {
        const struct mock_entry *entry = &cq->entries[cq->head];
        wc[taken++] = entry->wc;
        if (entry->send)
            entry->qp->sends_free = entry->slot + 1;
        else
            entry->qp->receives_free = entry->slot + 1;
        if (++cq->head == cq->capacity) cq->head = 0;
        cq->count--;
    }
    mock.counters.empty_polls += taken == 0;
    mock_unlock();
    mock_watch_stop(start);
    return error ? -error : taken;
}

int mock_req_notify_cq(struct ibv_cq *base, int solicited_only)
{
    struct mock_cq *cq = mock_container(base, struct mock_cq, base);
    const uint64_t start = mock_watch_start();
    mock_lock();
    int error = mock_call(MOCKVERBS_REQ_NOTIFY);
    if (!error) {
        /* As a device does: what comes from now on is announced, what is there already is not. */
        enum mock_armed wish = solicited_only ? MOCK_ARMED_SOLICITED : MOCK_ARMED;
        if (wish > cq->armed) cq->armed = wish;
        if (mock.busy_count) mock_turn_all(cq);
    }
    mock_unlock();
    mock_watch_stop(start);
    return error;
}

/* A destroyed queue pair's completions are gone from the queue. */
void mock_cq_clean(struct mock_cq *cq, const struct mock_qp *qp)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < cq->count; i++) {
        const struct mock_entry *entry = &cq->entries[(cq->head + i) % cq->capacity];
        if (entry->qp != qp) cq->entries[(cq->head + kept++) % cq->capacity] = *entry;
    }
    cq->count = kept;
}

int ibv_get_cq_event(struct ibv_comp_channel *base, struct ibv_cq **out, void **cq_context)
{
    struct mock_channel *channel = mock_container(base, struct mock_channel, base);
    for (;;) {
        if (!mock_take_readable(base->fd)) return -1;
        mock_lock();
        struct mock_cq *cq = channel->first;
        if (cq) {
            cq->fetched_events++;
            if (--cq->pending_events == 0) channel_forget(channel, cq);
            *out = &cq->base;
            *cq_context = cq->base.cq_context;
        }
        mock_unlock();
        if (cq) return 0;
    }
}

void ibv_ack_cq_events(struct ibv_cq *base, unsigned int count)
{
    struct mock_cq *cq = mock_container(base, struct mock_cq, base);
    mock_lock();
    if (count > cq->fetched_events)
        mock_abort("%u completion events are acknowledged, %u were fetched", count, cq->fetched_events);
    cq->fetched_events -= count;
    pthread_cond_broadcast(&mock.acknowledged);
    mock_unlock();
}
