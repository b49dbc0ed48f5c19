/* SPDX-License-Identifier: Apache-2.0 */
/* rdma_cm's event channels, and the end of ids. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/mockverbs/cm_internal.h"

struct rdma_event_channel *rdma_create_event_channel(void)
{
    mock_lock();
    int error = mock_call(MOCKVERBS_CM_CREATE_CHANNEL);
    if (error) return mock_refuse(error);
    struct cm_channel *channel = mock_allocate(sizeof *channel);
    channel->base.fd = mock_descriptor();
    channel->last = &channel->first;
    mock_object_add(&channel->object, MOCK_CM_CHANNEL);
    mock_unlock();
    return &channel->base;
}

void rdma_destroy_event_channel(struct rdma_event_channel *base)
{
    struct cm_channel *channel = mock_container(base, struct cm_channel, base);
    mock_lock();
    if (channel->users) mock_abort("an rdma_cm event channel is destroyed with %u ids on it", channel->users);
    mock_object_remove(&channel->object);
    mock_unlock();
    close(base->fd);
    free(channel);
}

static void channel_push(struct cm_channel *channel, struct cm_event *event)
{
    event->next = NULL;
    *channel->last = event;
    channel->last = &event->next;
    mock_make_readable(channel->base.fd);
}

/* Take out the events of @p id, in order. */
static struct cm_event *channel_pull(struct cm_channel *channel, const struct cm_id *id)
{
    struct cm_event *pulled = NULL, **end = &pulled, **at = &channel->first;
    while (*at) {
        struct cm_event *event = *at;
        if (event->event.id != &id->base) {
            at = &event->next;
            continue;
        }
        *at = event->next;
        event->next = NULL;
        *end = event;
        end = &event->next;
    }
    channel->last = at;
    return pulled;
}

void cm_announce(struct cm_id *id, enum rdma_cm_event_type type, int status, const void *private_data,
                 size_t given_bytes, size_t shown_bytes)
{
    struct cm_event *event = mock_allocate(sizeof *event);
    event->event = (struct rdma_cm_event){.id = &id->base, .event = type, .status = status};
    if (type == RDMA_CM_EVENT_CONNECT_REQUEST) event->event.listen_id = &id->listener->base;
    if (given_bytes) memcpy(event->private_data, private_data, given_bytes);
    if (shown_bytes) {
        event->event.param.conn.private_data = event->private_data;
        event->event.param.conn.private_data_len = (uint8_t)shown_bytes;
    }
    event->event.param.conn.qp_num = id->remote_qp_num;
    event->event.param.conn.retry_count = id->retry_count;
    event->event.param.conn.rnr_retry_count = id->rnr_retry;
    channel_push(mock_container(id->base.channel, struct cm_channel, base), event);
}

void cm_established(struct cm_id *id)
{
    id->state = CM_CONNECTED;
    if (!id->peer || id->peer->state != CM_REPLY_SENT) return;
    id->peer->state = CM_CONNECTED;
    cm_announce(id->peer, RDMA_CM_EVENT_ESTABLISHED, 0, NULL, 0, 0);
}

/* The connecting side's library brings its queue pair up when the program fetches the answer, not before. */
static void finish_connecting(struct cm_id *id, struct cm_event *event)
{
    if (id->state != CM_REQUEST_SENT) return;
    int error = cm_qp_to_rts(id);
    if (error) {
        event->event.event = RDMA_CM_EVENT_CONNECT_ERROR;
        event->event.status = -error;
        cm_part(id);
        return;
    }
    cm_established(id);
}

int rdma_get_cm_event(struct rdma_event_channel *base, struct rdma_cm_event **out)
{
    struct cm_channel *channel = mock_container(base, struct cm_channel, base);
    for (;;) {
        if (!mock_take_readable(base->fd)) return -1;
        mock_lock();
        struct cm_event *event = channel->first;
        if (event) {
            channel->first = event->next;
            if (!channel->first) channel->last = &channel->first;
            struct cm_id *id = cm_of(event->event.id);
            id->fetched_events++;
            if (event->event.listen_id) cm_of(event->event.listen_id)->fetched_events++;
            if (event->event.event == RDMA_CM_EVENT_ESTABLISHED) finish_connecting(id, event);
            *out = &event->event;
        }
        mock_unlock();
        if (event) return 0;
    }
}

int rdma_ack_cm_event(struct rdma_cm_event *base)
{
    struct cm_event *event = mock_container(base, struct cm_event, event);
    mock_lock();
    if (cm_of(base->id)->fetched_events-- == 0) mock_abort("an rdma_cm event is acknowledged twice");
    if (base->listen_id) cm_of(base->listen_id)->fetched_events--;
    pthread_cond_broadcast(&mock.acknowledged);
    mock_unlock();
    free(event);
    return 0;
}

int rdma_migrate_id(struct rdma_cm_id *base, struct rdma_event_channel *to)
{
    struct cm_id *id = cm_of(base);
    struct cm_channel *from = mock_container(base->channel, struct cm_channel, base);
    mock_lock();
    struct cm_event *events = channel_pull(from, id);
    from->users--;
    base->channel = to;
    mock_container(to, struct cm_channel, base)->users++;
    while (events) {
        struct cm_event *event = events;
        events = event->next;
        channel_push(mock_container(to, struct cm_channel, base), event);
    }
    mock_unlock();
    return 0;
}

static void id_free(struct cm_id *id)
{
    struct cm_channel *channel = mock_container(id->base.channel, struct cm_channel, base);
    struct cm_event *events = channel_pull(channel, id);
    while (events) {
        struct cm_event *event = events;
        events = event->next;
        free(event);
    }
    channel->users--;
    mock_object_remove(&id->object);
    free(id);
}

int rdma_destroy_id(struct rdma_cm_id *base)
{
    struct cm_id *id = cm_of(base);
    mock_lock();
    if (base->qp) mock_abort("an rdma_cm id is destroyed before its queue pair");
    mock_wait_acknowledged(&id->fetched_events, "an rdma_cm id");
    if (id->state == CM_LISTENING) {
        /* Connections that arrived and that the program has not fetched yet are refused with it. */
        for (struct cm_id *other = cm_next(NULL), *next; other; other = next) {
            next = cm_next(other);
            if (other->listener != id) continue;
            other->listener = NULL;
            struct cm_channel *channel = mock_container(other->base.channel, struct cm_channel, base);
            struct cm_event *unfetched = channel_pull(channel, other);
            bool fresh = unfetched && unfetched->event.event == RDMA_CM_EVENT_CONNECT_REQUEST;
            while (unfetched) {
                struct cm_event *event = unfetched;
                unfetched = event->next;
                event->event.listen_id = NULL;
                if (fresh)
                    free(event);
                else
                    channel_push(channel, event);
            }
            if (!fresh) continue;
            cm_part(other);
            id_free(other);
        }
    }
    cm_part(id);
    id_free(id);
    mock_unlock();
    return 0;
}

void mock_cm_device_removed(struct mock_device *device)
{
    for (struct cm_id *id = cm_next(NULL); id; id = cm_next(id)) {
        if (id->device != device) continue;
        if (id->peer) id->peer->peer = NULL; /* without a word: it finds out by itself */
        id->peer = NULL;
        cm_announce(id, RDMA_CM_EVENT_DEVICE_REMOVAL, 0, NULL, 0, 0);
    }
}
