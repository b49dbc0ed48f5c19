/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The process's control thread: it exists while there are members (communicators of ranks in this process), sleeps in
 * epoll with all signals blocked, and calls members when their descriptors are ready or their time has come.
 *
 * One lock guards the engine and all members. The thread holds it except while it sleeps; whoever calls from another
 * thread takes it too and then acts on the member itself, so that what it sends is on the sockets when it lets go.
 * Never held while waiting for anything: the one who would have to read may be another member of this very process.
 */
#ifndef FABRIC_CONTROL_ENGINE_H
#define FABRIC_CONTROL_ENGINE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/diagnostic.h"

/* What the engine drives. The functions are called with the lock held, by the control thread. */
struct engine_member {
    struct engine_member *next;
    void (*tick)(struct engine_member *member, uint64_t now_ns);
    uint64_t (*next_ns)(const struct engine_member *member);
    /* In a child of fork(), where there is no control thread: close every descriptor, since a copy of ours held open
     * would hide our end from the neighbours. Only async-signal-safe calls. */
    void (*forget)(struct engine_member *member);
};

/* Names a watched descriptor; a stale one is harmless. 0: none. */
typedef uint64_t engine_watch;
typedef void (*engine_ready)(void *context, uint32_t events, uint64_t now_ns);

/* Add a member; the first starts the thread. Thread: any, without the lock. */
weft_status engine_enter(struct engine_member *member, struct diagnostic *diagnostic);
/* Remove it; the last ends the thread. On return no function of the member runs any more. Without the lock. */
void engine_leave(struct engine_member *member);

void engine_lock(void);
bool engine_trylock(void);
void engine_unlock(void);
/* Wait on @p condition (of CLOCK_MONOTONIC) with the lock held, until @p until_ns. False: that has passed. */
bool engine_wait(pthread_cond_t *condition, uint64_t until_ns);
/* A member's next_ns may have come nearer: have the thread look again. With the lock. */
void engine_kick(void);

/* Call @p ready whenever @p fd has @p events (EPOLLIN, ...; EPOLLET as wanted). 0 when out of memory. With the lock. */
engine_watch engine_watch_add(int fd, uint32_t events, engine_ready ready, void *context);
void engine_watch_change(engine_watch watch, uint32_t events);
/* Before the descriptor is closed. Sets *watch to 0. */
void engine_watch_remove(engine_watch *watch);
/* After it was closed: its number may by now be another thread's. Sets *watch to 0. */
void engine_watch_forget(engine_watch *watch);
#endif
