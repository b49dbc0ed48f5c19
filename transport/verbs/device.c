/* SPDX-License-Identifier: Apache-2.0 */
/* Devices of this process, each opened once and with one protection domain, so that a registration serves everybody. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "transport/verbs/verbs_internal.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static LIST_HEAD(, verbs_device) devices = LIST_HEAD_INITIALIZER(devices);
static pthread_once_t fork_prepared = PTHREAD_ONCE_INIT;

/*
 * Registered pages must stay with the parent when it forks. It fails where somebody else in this process has registered
 * memory before; then they are the ones to have asked for it. Newer kernels do it by themselves.
 */
static void prepare_fork(void)
{
    const int error = ibv_fork_init();

    if (error) log_debug("verbs fork protection not enabled error \"%s\"", strerror(error));
}

static struct ibv_context *context_open(const char *name)
{
    struct ibv_context *context = NULL;
    int count;
    struct ibv_device **list = ibv_get_device_list(&count);

    if (!list) return NULL;
    errno = ENODEV;
    for (int i = 0; i < count; i++) {
        if (strcmp(ibv_get_device_name(list[i]), name) != 0) continue;
        context = ibv_open_device(list[i]);
        break;
    }
    const int error = errno;
    ibv_free_device_list(list);
    errno = error;
    return context;
}

static weft_status device_make(struct verbs_device *device, struct diagnostic *diagnostic)
{
    device->context = context_open(device->name);
    if (!device->context)
        return diagnose(diagnostic, verbs_status_of_errno(errno), "%s: cannot be opened: %s", device->name,
                        strerror(errno));
    device->pd = ibv_alloc_pd(device->context);
    if (device->pd && ibv_query_device(device->context, &device->limits) == 0 &&
        fcntl(device->context->async_fd, F_SETFL, O_NONBLOCK) == 0)
        return WEFT_OK;
    const int error = errno;
    if (device->pd) (void)ibv_dealloc_pd(device->pd);
    (void)ibv_close_device(device->context);
    return diagnose(diagnostic, verbs_status_of_errno(error), "%s: cannot be used: %s", device->name, strerror(error));
}

weft_status verbs_device_open(const char *name, struct verbs_device **out, struct diagnostic *diagnostic)
{
    struct verbs_device *device;
    weft_status status = WEFT_OK;

    pthread_once(&fork_prepared, prepare_fork);
    pthread_mutex_lock(&lock);
    LIST_FOREACH(device, &devices, link)
    {
        if (strcmp(device->name, name) == 0 && !atomic_load_explicit(&device->removed, memory_order_relaxed)) break;
    }
    if (!device) {
        device = calloc(1, sizeof *device);
        if (!device) {
            status = diagnose(diagnostic, WEFT_OUT_OF_MEMORY, "%s: no memory to open it", name);
        } else {
            (void)snprintf(device->name, sizeof device->name, "%s", name);
            status = device_make(device, diagnostic);
        }
        if (status == WEFT_OK) {
            LIST_INSERT_HEAD(&devices, device, link);
        } else {
            free(device);
            device = NULL;
        }
    }
    if (device) {
        device->users++;
        *out = device;
    }
    pthread_mutex_unlock(&lock);
    return status;
}

void verbs_device_close(struct verbs_device *device)
{
    pthread_mutex_lock(&lock);
    if (--device->users == 0) {
        LIST_REMOVE(device, link);
        (void)ibv_dealloc_pd(device->pd);
        (void)ibv_close_device(device->context);
        free(device);
    }
    pthread_mutex_unlock(&lock);
}

/* Where the event belongs, for whoever's it is to find. The object lives until the event is acknowledged. */
static void event_store(struct verbs_device *device, const struct ibv_async_event *event,
                        const struct verbs_async_meaning *meaning)
{
    const uint32_t port = meaning->scope == ASYNC_PORT ? UINT32_C(1) << (event->element.port_num % 32) : 0;
    struct verbs_lane *lane;
    struct verbs_queue *queue;

    switch (meaning->scope) {
    case ASYNC_QUEUE_PAIR:
        lane = event->element.qp->qp_context;
        if (meaning->fatal) atomic_store_explicit(&lane->async, (uint8_t)event->event_type + 1, memory_order_release);
        break;
    case ASYNC_COMPLETION_QUEUE:
        queue = event->element.cq->cq_context;
        atomic_store_explicit(&queue->lost, 1, memory_order_release);
        break;
    case ASYNC_PORT:
        if (event->event_type == IBV_EVENT_PORT_ERR)
            atomic_fetch_or_explicit(&device->ports_down, port, memory_order_relaxed);
        else if (event->event_type == IBV_EVENT_PORT_ACTIVE)
            atomic_fetch_and_explicit(&device->ports_down, ~port, memory_order_relaxed);
        break;
    case ASYNC_DEVICE:
        atomic_store_explicit(&device->removed, true, memory_order_relaxed);
        break;
    case ASYNC_OTHER:
        break;
    }
    atomic_fetch_add_explicit(&device->events, 1, memory_order_release);
}

void verbs_device_take_events(struct verbs_device *device)
{
    struct ibv_async_event event;

    while (ibv_get_async_event(device->context, &event) == 0) {
        const struct verbs_async_meaning *meaning = verbs_async_meaning(event.event_type);
        const uint32_t number = meaning->scope == ASYNC_PORT         ? (uint32_t)event.element.port_num
                                : meaning->scope == ASYNC_QUEUE_PAIR ? event.element.qp->qp_num
                                                                     : 0;
        log_write(meaning->fatal ? LEVEL_WARNING : LEVEL_INFO, "verbs event device %s %s %u event \"%s\"", device->name,
                  meaning->scope == ASYNC_PORT ? "port" : "qp", number, meaning->text);
        event_store(device, &event, meaning);
        ibv_ack_async_event(&event);
    }
}
