/* SPDX-License-Identifier: Apache-2.0 */
#include "fabric/memory/watch.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define EVENTS (UFFD_FEATURE_EVENT_UNMAP | UFFD_FEATURE_EVENT_REMAP | UFFD_FEATURE_EVENT_REMOVE)
#ifndef UFFD_USER_MODE_ONLY /* Linux 5.11 */
#define UFFD_USER_MODE_ONLY 1
#endif
#ifndef UFFD_FEATURE_WP_HUGETLBFS_SHMEM /* Linux 5.19 */
#define UFFD_FEATURE_WP_HUGETLBFS_SHMEM (1 << 12)
#endif

#define MESSAGES 16 /* read at a time */

/*
 * Lock order: lifecycle, lock, then those of the listeners as they stand in the list. The thread is started and ended
 * with `lifecycle` alone: either may unmap stacks, which may have to wait for a thread that takes the others.
 */
static struct {
    pthread_mutex_t lifecycle;
    pthread_mutex_t lock;
    struct watch_listener *listeners;
    bool running;
    int uffd, stop; /* userfaultfd; eventfd */
    pthread_t thread;
} watch = {.lifecycle = PTHREAD_MUTEX_INITIALIZER, .lock = PTHREAD_MUTEX_INITIALIZER, .uffd = -1, .stop = -1};

static void lock_all(void)
{
    pthread_mutex_lock(&watch.lock);
    for (struct watch_listener *at = watch.listeners; at; at = at->next) pthread_mutex_lock(&at->lock);
}

static void unlock_all(void)
{
    for (struct watch_listener *at = watch.listeners; at; at = at->next) pthread_mutex_unlock(&at->lock);
    pthread_mutex_unlock(&watch.lock);
}

/* ---- The thread ---- */

static void tell(uintptr_t start, uintptr_t end)
{
    for (struct watch_listener *at = watch.listeners; at; at = at->next) at->gone(at, start, end);
}

static void take(const struct uffd_msg *message)
{
    switch (message->event) {
    case UFFD_EVENT_UNMAP:
    case UFFD_EVENT_REMOVE:
        tell(message->arg.remove.start, message->arg.remove.end);
        break;
    case UFFD_EVENT_REMAP:
        tell(message->arg.remap.from, message->arg.remap.from + message->arg.remap.len);
        break;
    default: /* no page is protected or missing by our doing: there are no faults */
        break;
    }
}

/* Allocates nothing, frees nothing: it would wait for itself. */
static void *watch_run(void *unused)
{
    (void)unused;
    struct pollfd polled[2] = {{.fd = watch.uffd, .events = POLLIN}, {.fd = watch.stop, .events = POLLIN}};
    struct uffd_msg messages[MESSAGES];
    for (;;) {
        if (poll(polled, 2, -1) < 0 && errno != EINTR) break;
        if (polled[1].revents) break;
        lock_all();
        ssize_t bytes;
        while ((bytes = read(watch.uffd, messages, sizeof messages)) > 0)
            for (size_t i = 0; i < (size_t)bytes / sizeof *messages; i++) take(&messages[i]);
        unlock_all();
    }
    return NULL;
}

/* ---- Starting and stopping, with watch.lifecycle held ---- */

/* A descriptor with @p features; -1 with errno. Features can be asked for once only, so each try is a new one. */
static int uffd_open(uint64_t features, uint64_t *offered)
{
    struct uffdio_api api = {.api = UFFD_API, .features = features};
    const int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);
    if (fd < 0) return -1;
    if (ioctl(fd, UFFDIO_API, &api) != 0) {
        const int error = errno;
        close(fd);
        errno = error;
        return -1;
    }
    *offered = api.features;
    return fd;
}

static weft_status uffd_start(struct diagnostic *diagnostic)
{
    uint64_t offered;
    int fd = uffd_open(0, &offered);
    if (fd < 0) {
        const bool limit = errno == EMFILE || errno == ENFILE || errno == ENOMEM;
        return diagnose(diagnostic, limit ? WEFT_RESOURCE_LIMIT : WEFT_UNSUPPORTED,
                        "userfaultfd: %s; buffers that are not registered explicitly are copied", strerror(errno));
    }
    close(fd);
    const uint64_t needed = EVENTS | UFFD_FEATURE_PAGEFAULT_FLAG_WP;
    if ((offered & needed) != needed)
        return diagnose(diagnostic, WEFT_UNSUPPORTED,
                        "this kernel's userfaultfd does not tell of unmapped memory; buffers that are not registered "
                        "explicitly are copied");
    watch.uffd = uffd_open(needed | (offered & UFFD_FEATURE_WP_HUGETLBFS_SHMEM), &offered);
    return watch.uffd >= 0 ? WEFT_OK : diagnose(diagnostic, WEFT_RESOURCE_LIMIT, "userfaultfd: %s", strerror(errno));
}

static weft_status thread_start(struct diagnostic *diagnostic)
{
    sigset_t all, before;
    watch.stop = eventfd(0, EFD_CLOEXEC);
    if (watch.stop < 0) return diagnose(diagnostic, WEFT_RESOURCE_LIMIT, "eventfd: %s", strerror(errno));
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* the program's signals are not for this thread */
    const int error = pthread_create(&watch.thread, NULL, watch_run, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!error) return WEFT_OK;
    close(watch.stop);
    return diagnose(diagnostic, WEFT_RESOURCE_LIMIT, "a thread to watch memory: %s", strerror(error));
}

static void before_fork(void)
{
    pthread_mutex_lock(&watch.lifecycle);
    lock_all();
}

static void parent_after_fork(void)
{
    unlock_all();
    pthread_mutex_unlock(&watch.lifecycle);
}

/* No thread here, and a descriptor that would keep the parent's memory watched with nobody reading. */
static void child_after_fork(void)
{
    if (watch.running) {
        close(watch.uffd);
        close(watch.stop);
        watch.running = false;
    }
    for (struct watch_listener *at = watch.listeners; at; at = at->next) at->forked(at);
    parent_after_fork();
    watch.listeners = NULL; /* the parent's; leaving finds nothing */
}

static void fork_handlers_set(void)
{
    pthread_atfork(before_fork, parent_after_fork, child_after_fork);
}

weft_status watch_join(struct watch_listener *listener, bool wants_memory, struct diagnostic *diagnostic)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, fork_handlers_set);
    weft_status status = WEFT_OK;
    pthread_mutex_lock(&watch.lifecycle);
    if (wants_memory && !watch.running) {
        status = uffd_start(diagnostic);
        if (status == WEFT_OK) {
            status = thread_start(diagnostic);
            if (status != WEFT_OK) close(watch.uffd);
        }
        watch.running = status == WEFT_OK;
    }
    pthread_mutex_lock(&watch.lock);
    listener->next = watch.listeners;
    watch.listeners = listener;
    pthread_mutex_unlock(&watch.lock);
    pthread_mutex_unlock(&watch.lifecycle);
    return status;
}

void watch_leave(struct watch_listener *listener)
{
    pthread_mutex_lock(&watch.lifecycle);
    pthread_mutex_lock(&watch.lock);
    struct watch_listener **at = &watch.listeners;
    while (*at && *at != listener) at = &(*at)->next;
    if (*at) *at = listener->next;
    const bool last = !watch.listeners;
    pthread_mutex_unlock(&watch.lock);
    if (last && watch.running) {
        const uint64_t one = 1;
        const ssize_t written = write(watch.stop, &one, sizeof one);
        (void)written; /* a fresh counter takes it */
        pthread_join(watch.thread, NULL);
        close(watch.uffd); /* what it watched is watched no more, and who waits for it goes on */
        close(watch.stop);
        watch.running = false;
    }
    pthread_mutex_unlock(&watch.lifecycle);
}

bool watch_range(uintptr_t start, uintptr_t end)
{
    struct uffdio_register range = {
        .range = {.start = start, .len = end - start},
        .mode = UFFDIO_REGISTER_MODE_WP, /* with nothing protected: events alone */
    };
    return watch.running && ioctl(watch.uffd, UFFDIO_REGISTER, &range) == 0;
}
