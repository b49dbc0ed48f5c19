/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "tests/mockverbs/mockverbs_internal.h"

struct mock_registry mock = {
    .lock = PTHREAD_MUTEX_INITIALIZER,
    .acknowledged = PTHREAD_COND_INITIALIZER,
    .objects = {.next = &mock.objects, .previous = &mock.objects},
    .patience = MOCK_DEFAULT_PATIENCE,
    .next_port = 32768,
};

_Thread_local uint64_t mock_spent_ticks, mock_spent_calls;
_Thread_local bool mock_stopwatch_on;

void mockverbs_stopwatch(bool on)
{
    mock_stopwatch_on = on;
    if (on) mock_spent_ticks = mock_spent_calls = 0;
}

uint64_t mockverbs_spent_ticks(void)
{
    return mock_spent_ticks;
}

uint64_t mockverbs_spent_calls(void)
{
    return mock_spent_calls;
}

static _Thread_local uint32_t visible_host = MOCKVERBS_ALL_HOSTS;

void mock_abort(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("mockverbs: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    abort();
}

void mock_lock(void)
{
    pthread_mutex_lock(&mock.lock);
}

void mock_unlock(void)
{
    pthread_mutex_unlock(&mock.lock);
}

void *mock_allocate(size_t bytes)
{
    void *memory = calloc(1, bytes ? bytes : 1);
    if (!memory) mock_abort("no memory");
    return memory;
}

void mock_object_add(struct mock_object *object, enum mock_kind kind)
{
    object->kind = kind;
    object->previous = mock.objects.previous;
    object->next = &mock.objects;
    object->previous->next = object;
    mock.objects.previous = object;
}

void mock_object_remove(struct mock_object *object)
{
    object->previous->next = object->next;
    object->next->previous = object->previous;
}

int mock_call(enum mockverbs_call call)
{
    struct mock_call_fault *fault = &mock.call_faults[call];
    mock.counters.calls[call]++;
    if (!fault->armed) return 0;
    if (fault->after) {
        fault->after--;
        return 0;
    }
    fault->armed = false;
    return fault->error;
}

void *mock_refuse(int error)
{
    mock_unlock();
    errno = error;
    return NULL;
}

void mock_wait_acknowledged(const uint32_t *outstanding, const char *what)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 10;
    while (*outstanding) {
        if (pthread_cond_timedwait(&mock.acknowledged, &mock.lock, &until) == ETIMEDOUT)
            mock_abort("%s is destroyed with %u events fetched and not acknowledged", what, *outstanding);
    }
}

int mock_descriptor(void)
{
    int fd = eventfd(0, EFD_SEMAPHORE | EFD_CLOEXEC);
    if (fd < 0) mock_abort("no descriptor: %s", strerror(errno));
    return fd;
}

void mock_make_readable(int fd)
{
    uint64_t one = 1;
    mock.counters.wakeups++;
    if (write(fd, &one, sizeof one) != sizeof one) mock_abort("an event cannot be announced: %s", strerror(errno));
}

bool mock_take_readable(int fd)
{
    uint64_t one;
    return read(fd, &one, sizeof one) == sizeof one;
}

/* ---- Devices ---- */

struct mock_device *mock_device_named(const char *name)
{
    for (struct mock_device *device = mock.devices; device; device = device->next)
        if (!device->removed && strcmp(device->base.name, name) == 0) return device;
    return NULL;
}

bool mock_device_visible(const struct mock_device *device)
{
    return !device->removed && (visible_host == MOCKVERBS_ALL_HOSTS || visible_host == device->config.host);
}

uint32_t mock_visible_host(void)
{
    return visible_host;
}

void mockverbs_see(uint32_t host)
{
    visible_host = host;
}

static const char *const kind_names[MOCK_KINDS] = {
    [MOCK_CONTEXT] = "open device",
    [MOCK_PD] = "protection domain",
    [MOCK_MR] = "memory region",
    [MOCK_CHANNEL] = "completion channel",
    [MOCK_CQ] = "completion queue",
    [MOCK_QP] = "queue pair",
    [MOCK_CM_CHANNEL] = "rdma_cm event channel",
    [MOCK_CM_ID] = "rdma_cm id",
};

const char *mockverbs_leftovers(void)
{
    static char text[512];
    unsigned counts[MOCK_KINDS] = {0};
    mock_lock();
    for (struct mock_object *object = mock.objects.next; object != &mock.objects; object = object->next)
        counts[object->kind]++;
    size_t length = 0;
    text[0] = 0;
    for (unsigned kind = 0; kind < MOCK_KINDS; kind++)
        if (counts[kind])
            length +=
                (size_t)snprintf(text + length, sizeof text - length, "%u x %s\n", counts[kind], kind_names[kind]);
    mock_unlock();
    return text;
}

static void device_free(struct mock_device *device)
{
    if (device->cm_context) {
        struct mock_context *context = mock_context_of(device->cm_context);
        mock_forget_events(device->cm_context, NULL);
        close(device->cm_context->async_fd);
        free(context);
    }
    free(device);
}

void mockverbs_reset(void)
{
    const char *leftovers = mockverbs_leftovers();
    if (leftovers[0]) mock_abort("reset with objects left over:\n%s", leftovers);
    mock_lock();
    while (mock.devices) {
        struct mock_device *device = mock.devices;
        mock.devices = device->next;
        device_free(device);
    }
    while (mock.faults) {
        struct mock_fault *fault = mock.faults;
        mock.faults = fault->next;
        free(fault);
    }
    free(mock.regions);
    free(mock.qps);
    free(mock.busy);
    mock.regions = NULL;
    mock.qps = mock.busy = NULL;
    mock.region_count = mock.region_room = mock.qp_count = mock.qp_room = mock.busy_count = mock.device_count = 0;
    mock.delay_most = 0;
    mock.patience = MOCK_DEFAULT_PATIENCE;
    mock.locked_limit = mock.locked = 0;
    memset(mock.call_faults, 0, sizeof mock.call_faults);
    memset(&mock.counters, 0, sizeof mock.counters);
    mock.cm_lossy = false;
    mock.next_port = 32768;
    random_seed(&mock.random, 1);
    mock_unlock();
    visible_host = MOCKVERBS_ALL_HOSTS;
}

void mockverbs_counters(struct mockverbs_counters *counters)
{
    mock_lock();
    *counters = mock.counters;
    mock_unlock();
}

void mockverbs_counters_clear(void)
{
    mock_lock();
    memset(&mock.counters, 0, sizeof mock.counters);
    mock_unlock();
}
