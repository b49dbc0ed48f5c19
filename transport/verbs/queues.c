/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Completion queues. Their capacity is given out when queue pairs are made, so that no queue is overrun; a port opens
 * another one when the last is full, since resizing is where drivers differ.
 */
#include <errno.h>
#include <stdlib.h>

#include "transport/verbs/verbs_internal.h"

#define QUEUE_ENTRIES 8192
#define POLL_ENTRIES 32
/* Of one queue in one poll of the endpoint: a busy peer must not keep it from telling what has come. */
#define POLL_ROUNDS 8

struct verbs_queue *verbs_queue_get(struct verbs_port *port, uint32_t entries)
{
    const uint32_t limit = (uint32_t)port->device->limits.max_cqe;
    uint32_t capacity = limit < QUEUE_ENTRIES ? limit : QUEUE_ENTRIES;
    struct verbs_queue *queue;

    LIST_FOREACH(queue, &port->queues, link)
    {
        if (queue->capacity - queue->used >= entries && !atomic_load_explicit(&queue->lost, memory_order_relaxed)) {
            queue->used += entries;
            return queue;
        }
    }
    if (capacity < entries) capacity = entries;
    queue = calloc(1, sizeof *queue);
    if (!queue) return NULL;
    queue->cq = ibv_create_cq(port->device->context, (int)capacity, queue, port->channel, 0);
    if (!queue->cq) {
        free(queue);
        return NULL;
    }
    queue->port = port;
    queue->capacity = capacity;
    queue->used = entries;
    LIST_INSERT_HEAD(&port->queues, queue, link);
    return queue;
}

void verbs_queue_put(struct verbs_queue *queue, uint32_t entries)
{
    queue->used -= entries;
}

void verbs_queues_close(struct verbs_port *port)
{
    struct verbs_queue *queue;

    while ((queue = LIST_FIRST(&port->queues))) {
        LIST_REMOVE(queue, link);
        if (queue->unacknowledged) ibv_ack_cq_events(queue->cq, queue->unacknowledged);
        (void)ibv_destroy_cq(queue->cq);
        free(queue);
    }
}

static bool queue_poll(struct verbs_queue *queue)
{
    struct ibv_wc completions[POLL_ENTRIES];
    bool any = false;

    for (uint32_t round = 0; round < POLL_ROUNDS; round++) {
        const int count = ibv_poll_cq(queue->cq, POLL_ENTRIES, completions);
        if (count < 0) {
            atomic_store_explicit(&queue->lost, 1, memory_order_relaxed);
            atomic_fetch_add_explicit(&queue->port->device->events, 1, memory_order_relaxed);
            return any;
        }
        for (int i = 0; i < count; i++) verbs_lane_completion(queue->port->endpoint, &completions[i]);
        any |= count > 0;
        if (count < POLL_ENTRIES) break;
    }
    return any;
}

bool verbs_queues_poll(struct verbs_port *port)
{
    struct verbs_queue *queue;
    bool any = false;

    LIST_FOREACH(queue, &port->queues, link) any |= queue_poll(queue);
    return any;
}

void verbs_queues_disarm(struct verbs_port *port)
{
    struct verbs_queue *queue;
    struct ibv_cq *cq;
    void *context;

    while (port->channel && ibv_get_cq_event(port->channel, &cq, &context) == 0) {
        queue = context;
        /* Each acknowledgement takes a lock: many at a time. */
        if (++queue->unacknowledged == 256) {
            ibv_ack_cq_events(queue->cq, queue->unacknowledged);
            queue->unacknowledged = 0;
        }
    }
}

bool verbs_queues_arm(struct verbs_port *port)
{
    struct verbs_queue *queue;
    bool any = false;

    LIST_FOREACH(queue, &port->queues, link)
    {
        if (ibv_req_notify_cq(queue->cq, 0) != 0) {
            atomic_store_explicit(&queue->lost, 1, memory_order_relaxed);
            atomic_fetch_add_explicit(&port->device->events, 1, memory_order_relaxed);
        }
        /* What came before is not told of any more. */
        any |= queue_poll(queue);
    }
    return !any;
}
