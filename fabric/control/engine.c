/* SPDX-License-Identifier: Apache-2.0 */
#include "engine.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"

struct watch {
    int fd; /* -1: free */
    uint32_t generation;
    engine_ready ready;
    void *context;
};

/*
 * `life` orders starting and stopping the thread, which must not hold `lock` while it waits for the thread to end;
 * taken before `lock`.
 */
static struct {
    pthread_mutex_t life, lock;
    pthread_once_t once;
    struct engine_member *members;
    pthread_t thread;
    bool running, stopping;
    int epoll_fd, kick_fd;
    struct watch *watches;
    uint32_t watch_count;
} engine = {
    .life = PTHREAD_MUTEX_INITIALIZER,
    .lock = PTHREAD_MUTEX_INITIALIZER,
    .once = PTHREAD_ONCE_INIT,
    .epoll_fd = -1,
    .kick_fd = -1,
};

void engine_lock(void)
{
    pthread_mutex_lock(&engine.lock);
}

bool engine_trylock(void)
{
    return pthread_mutex_trylock(&engine.lock) == 0;
}

void engine_unlock(void)
{
    pthread_mutex_unlock(&engine.lock);
}

bool engine_wait(pthread_cond_t *condition, uint64_t until_ns)
{
    struct timespec until = {.tv_sec = (time_t)(until_ns / NS_PER_S), .tv_nsec = (long)(until_ns % NS_PER_S)};
    return pthread_cond_timedwait(condition, &engine.lock, &until) != ETIMEDOUT;
}

void engine_kick(void)
{
    (void)!write(engine.kick_fd, &(uint64_t){1}, sizeof(uint64_t));
}

/* ---- Watches ---- */

/* Events that epoll has already handed out may name a watch that was removed since: the generation tells. */
static engine_watch watch_name(uint32_t index)
{
    return (uint64_t)engine.watches[index].generation << 32 | (index + 1);
}

static struct watch *watch_find(engine_watch name)
{
    uint32_t index = (uint32_t)name - 1;
    if ((uint32_t)name == 0 || index >= engine.watch_count) return NULL;
    struct watch *watch = &engine.watches[index];
    return watch->fd >= 0 && watch->generation == (uint32_t)(name >> 32) ? watch : NULL;
}

static bool watches_grow(void)
{
    uint32_t count = engine.watch_count ? 2 * engine.watch_count : 32;
    struct watch *grown = realloc(engine.watches, count * sizeof *grown);
    if (!grown) return false;
    for (uint32_t i = engine.watch_count; i < count; i++) grown[i] = (struct watch){.fd = -1};
    engine.watches = grown;
    engine.watch_count = count;
    return true;
}

engine_watch engine_watch_add(int fd, uint32_t events, engine_ready ready, void *context)
{
    uint32_t index = 0;
    while (index < engine.watch_count && engine.watches[index].fd >= 0) index++;
    if (index == engine.watch_count && !watches_grow()) return 0;
    struct watch *watch = &engine.watches[index];
    *watch = (struct watch){.fd = fd, .generation = watch->generation + 1, .ready = ready, .context = context};
    struct epoll_event event = {.events = events, .data.u64 = watch_name(index)};
    if (epoll_ctl(engine.epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0) return event.data.u64;
    watch->fd = -1;
    return 0;
}

void engine_watch_change(engine_watch name, uint32_t events)
{
    struct watch *watch = watch_find(name);
    if (!watch) return;
    struct epoll_event event = {.events = events, .data.u64 = name};
    epoll_ctl(engine.epoll_fd, EPOLL_CTL_MOD, watch->fd, &event);
}

void engine_watch_remove(engine_watch *name)
{
    struct watch *watch = watch_find(*name);
    if (watch) {
        epoll_ctl(engine.epoll_fd, EPOLL_CTL_DEL, watch->fd, NULL);
        watch->fd = -1;
    }
    *name = 0;
}

void engine_watch_forget(engine_watch *name)
{
    struct watch *watch = watch_find(*name);
    if (watch) watch->fd = -1; /* closing has taken it out of epoll */
    *name = 0;
}

/* ---- The thread ---- */

static uint64_t next_tick_ns(void)
{
    uint64_t next = UINT64_MAX;
    for (const struct engine_member *member = engine.members; member; member = member->next) {
        uint64_t member_next = member->next_ns(member);
        if (member_next < next) next = member_next;
    }
    return next;
}

static int timeout_ms(uint64_t until_ns)
{
    if (until_ns == UINT64_MAX) return -1;
    uint64_t now = clock_now_ns();
    if (now >= until_ns) return 0;
    uint64_t ms = (until_ns - now + NS_PER_MS - 1) / NS_PER_MS;
    return ms > 60000 ? 60000 : (int)ms;
}

static void dispatch(const struct epoll_event *events, int count)
{
    uint64_t now = clock_now_ns();
    for (int i = 0; i < count; i++) {
        if (events[i].data.u64 == 0) {
            uint64_t kicks;
            (void)!read(engine.kick_fd, &kicks, sizeof kicks);
            continue;
        }
        /* Copied: what is called may add watches, which moves the table. */
        const struct watch *watch = watch_find(events[i].data.u64);
        if (!watch) continue;
        struct watch called = *watch;
        called.ready(called.context, events[i].events, now);
    }
}

static void *control_thread(void *unused)
{
    (void)unused;
    enum { EVENTS_AT_ONCE = 64 };
    struct epoll_event events[EVENTS_AT_ONCE];
    engine_lock();
    while (!engine.stopping) {
        int timeout = timeout_ms(next_tick_ns());
        engine_unlock();
        int count = epoll_wait(engine.epoll_fd, events, EVENTS_AT_ONCE, timeout);
        engine_lock();
        /* What has arrived comes before what is due: silence is judged after everything was heard. */
        dispatch(events, count);
        if (count == EVENTS_AT_ONCE) continue;
        uint64_t now = clock_now_ns();
        for (struct engine_member *member = engine.members; member; member = member->next)
            if (member->next_ns(member) <= now) member->tick(member, now);
    }
    engine_unlock();
    return NULL;
}

static void close_descriptors(void)
{
    if (engine.epoll_fd >= 0) close(engine.epoll_fd);
    if (engine.kick_fd >= 0) close(engine.kick_fd);
    engine.epoll_fd = engine.kick_fd = -1;
}

/* With `life` and `lock` held. */
static weft_status thread_start(struct diagnostic *diagnostic)
{
    engine.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    engine.kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct epoll_event kick = {.events = EPOLLIN, .data.u64 = 0};
    if (engine.epoll_fd < 0 || engine.kick_fd < 0 ||
        epoll_ctl(engine.epoll_fd, EPOLL_CTL_ADD, engine.kick_fd, &kick) != 0) {
        int cause = errno;
        close_descriptors();
        return diagnose(diagnostic, WEFT_RESOURCE_LIMIT, "no descriptors for the control thread: %s", strerror(cause));
    }
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    engine.stopping = false;
    int cause = pthread_create(&engine.thread, NULL, control_thread, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (cause != 0) {
        close_descriptors();
        return diagnose(diagnostic, WEFT_RESOURCE_LIMIT, "no control thread: %s", strerror(cause));
    }
    pthread_setname_np(engine.thread, "weft-control");
    engine.running = true;
    return WEFT_OK;
}

/* ---- fork() ---- */

static void fork_prepare(void)
{
    pthread_mutex_lock(&engine.life);
    pthread_mutex_lock(&engine.lock);
}

static void fork_parent(void)
{
    pthread_mutex_unlock(&engine.lock);
    pthread_mutex_unlock(&engine.life);
}

static void fork_child(void)
{
    for (struct engine_member *member = engine.members; member; member = member->next) member->forget(member);
    for (uint32_t i = 0; i < engine.watch_count; i++) engine.watches[i].fd = -1;
    engine.members = NULL;
    engine.running = false;
    close_descriptors();
    fork_parent();
}

static void register_fork(void)
{
    pthread_atfork(fork_prepare, fork_parent, fork_child);
}

/* ---- Members ---- */

weft_status engine_enter(struct engine_member *member, struct diagnostic *diagnostic)
{
    weft_status status = WEFT_OK;
    pthread_once(&engine.once, register_fork);
    pthread_mutex_lock(&engine.life);
    engine_lock();
    if (!engine.running) status = thread_start(diagnostic);
    if (status == WEFT_OK) {
        member->next = engine.members;
        engine.members = member;
    }
    engine_unlock();
    pthread_mutex_unlock(&engine.life);
    return status;
}

void engine_leave(struct engine_member *member)
{
    pthread_mutex_lock(&engine.life);
    engine_lock();
    struct engine_member **at = &engine.members;
    while (*at && *at != member) at = &(*at)->next;
    /* Not there: we are in a child of fork(), and have nothing to stop. */
    bool last = *at && engine.members == member && !member->next;
    if (*at) *at = member->next;
    if (last) {
        engine.stopping = true;
        engine_kick();
    }
    engine_unlock();
    if (last) {
        pthread_join(engine.thread, NULL);
        engine.running = false;
        close_descriptors();
        free(engine.watches);
        engine.watches = NULL;
        engine.watch_count = 0;
    }
    pthread_mutex_unlock(&engine.life);
}
