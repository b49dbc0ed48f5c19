/* SPDX-License-Identifier: Apache-2.0 */
/* A thread to wait in for code that knows no deadline. */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/clock.h"
#include "launch_internal.h"

struct call {
    void (*function)(void *);
    void *argument;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool returned;  /* guarded by mutex */
    int references; /* guarded by mutex: the caller and the thread; the last one frees */
};

static void call_release(struct call *call)
{
    bool last = --call->references == 0;
    pthread_mutex_unlock(&call->mutex);
    if (!last) return;
    pthread_cond_destroy(&call->changed);
    pthread_mutex_destroy(&call->mutex);
    free(call);
}

static void *call_run(void *of_call)
{
    struct call *call = of_call;
    call->function(call->argument);
    pthread_mutex_lock(&call->mutex);
    call->returned = true;
    pthread_cond_signal(&call->changed);
    call_release(call);
    return NULL;
}

static struct call *call_new(void (*function)(void *), void *argument)
{
    struct call *call = calloc(1, sizeof *call);
    if (!call) return NULL;
    *call = (struct call){.function = function, .argument = argument, .references = 2};
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&call->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    pthread_mutex_init(&call->mutex, NULL);
    return call;
}

bool bounded_call(void (*function)(void *), void *argument, uint64_t deadline_at_ns, bool *started)
{
    *started = false;
    struct call *call = call_new(function, argument);
    if (!call) return false;

    pthread_t thread;
    pthread_attr_t attributes;
    sigset_t all, before;
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    /* The threads that the called code starts inherit this: the program's signals stay with the program's threads. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&thread, &attributes, call_run, call);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);

    pthread_mutex_lock(&call->mutex);
    if (failed) {
        call->references = 1;
        call_release(call);
        return false;
    }
    *started = true;
    const struct timespec until = {.tv_sec = (time_t)(deadline_at_ns / NS_PER_S),
                                   .tv_nsec = (long)(deadline_at_ns % NS_PER_S)};
    while (!call->returned && pthread_cond_timedwait(&call->changed, &call->mutex, &until) == 0) {
    }
    bool returned = call->returned;
    call_release(call);
    return returned;
}
