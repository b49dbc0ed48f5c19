/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "collectives/comm/comm_internal.h"

static bool queue_push(struct post_queue *queue, struct weft_request *request)
{
    uint32_t tail = atomic_load_explicit(&queue->tail, memory_order_relaxed);
    /* Acquire pairs with queue_pop(): the place is free before it is written again. */
    if (tail - atomic_load_explicit(&queue->head, memory_order_acquire) == QUEUE_CAPACITY) return false;
    queue->requests[tail % QUEUE_CAPACITY] = request;
    /* Release pairs with queue_pop(): the request is filled in before it is seen. */
    atomic_store_explicit(&queue->tail, tail + 1, memory_order_release);
    return true;
}

static struct weft_request *queue_pop(struct post_queue *queue)
{
    uint32_t head = atomic_load_explicit(&queue->head, memory_order_relaxed);
    if (head == atomic_load_explicit(&queue->tail, memory_order_acquire)) return NULL;
    struct weft_request *request = queue->requests[head % QUEUE_CAPACITY];
    atomic_store_explicit(&queue->head, head + 1, memory_order_release);
    return request;
}

static void wake(struct progress_thread *progress)
{
    uint64_t one = 1;
    ssize_t written;
    do written = write(progress->wake, &one, sizeof one);
    while (written < 0 && errno == EINTR);
}

void progress_thread_post(struct weft_comm *comm, struct weft_request *request)
{
    struct progress_thread *progress = &comm->progress;
    while (!queue_push(&progress->queue, request)) sched_yield();
    /* Pairs with progress_sleep(). Both sides exchange, so one comes after the other and sees what the other did
     * before: either this thread sees that it has to wake, or the progress thread, looking once more, sees the request.
     */
    if (atomic_exchange_explicit(&progress->asleep, false, memory_order_acq_rel)) wake(progress);
}

/* Sleep until the poster has something, or, with operations under way, until these have news. */
static void progress_sleep(struct progress_thread *progress, const struct waiter *waiter, bool active)
{
    atomic_exchange_explicit(&progress->asleep, true, memory_order_acq_rel); /* pairs with progress_thread_post() */
    bool empty = atomic_load_explicit(&progress->queue.tail, memory_order_relaxed) ==
                 atomic_load_explicit(&progress->queue.head, memory_order_relaxed);
    if (empty && !atomic_load_explicit(&progress->stop, memory_order_acquire)) {
        struct pollfd posted = {.fd = progress->wake, .events = POLLIN};
        if (active)
            waiter_sleep(waiter, progress->wake);
        else
            poll(&posted, 1, -1);
    }
    atomic_store_explicit(&progress->asleep, false, memory_order_relaxed);
    uint64_t count;
    while (read(progress->wake, &count, sizeof count) < 0 && errno == EINTR) continue;
}

static void *progress_main(void *argument)
{
    struct weft_comm *comm = argument;
    struct progress_thread *progress = &comm->progress;
    struct waiter waiter = waiter_of_thread(comm);
    while (!atomic_load_explicit(&progress->stop, memory_order_acquire)) { /* pairs with progress_thread_stop() */
        struct weft_request *posted;
        while ((posted = queue_pop(&progress->queue))) progress_begin(comm, posted);
        uint64_t now_ns = clock_now_ns();
        if (comm->active_first && progress_turn(comm, now_ns))
            waiter_busy(&waiter);
        else if (!comm->active_first || waiter_idle(&waiter, now_ns))
            progress_sleep(progress, &waiter, comm->active_first != NULL);
    }
    return NULL;
}

weft_status progress_thread_start(struct weft_comm *comm)
{
    struct progress_thread *progress = &comm->progress;
    progress->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (progress->wake < 0) return WEFT_RESOURCE_LIMIT;
    /* The application's signals are the application's: none is delivered to this thread. */
    sigset_t all, previous;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &previous);
    int failed = pthread_create(&progress->thread, NULL, progress_main, comm);
    pthread_sigmask(SIG_SETMASK, &previous, NULL);
    if (failed) {
        close(progress->wake);
        return WEFT_RESOURCE_LIMIT;
    }
    progress->running = true;
    return WEFT_OK;
}

void progress_thread_stop(struct weft_comm *comm)
{
    struct progress_thread *progress = &comm->progress;
    if (!progress->running) return;
    atomic_store_explicit(&progress->stop, true, memory_order_release);
    wake(progress);
    pthread_join(progress->thread, NULL);
    close(progress->wake);
    progress->running = false;
}
