/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <sched.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/config.h"
#include "base/relax.h"
#include "collectives/comm/comm_internal.h"

/*
 * A caller with nothing else to do gives the core away for so long before sleeping: two scheduler ticks at 1000 Hz.
 * Ranks that share cores pass data on at every yield; a sleep and a wake-up cost several microseconds more. A progress
 * thread does neither: the core it would yield on is the one its own process computes on.
 */
#define CALLER_YIELD_NS (2 * NS_PER_MS)
/*
 * A yield that takes so long went to somebody who computes, and the next would too. For a while it is better to sleep:
 * whoever wakes up is run before those who have used their share.
 */
#define LONG_YIELD_NS (300 * NS_PER_US)
#define CROWDED_NS (20 * NS_PER_MS)
/* Longest sleep: stalls and deadlines are looked at this often. */
#define SLEEP_MS 20

/* On a thread of its own, which the kernel allows every core that the container has, bound or not. */
static void *cores_count(void *count)
{
    cpu_set_t cores;
    memset(&cores, 0xff, sizeof cores);
    (void)sched_setaffinity(0, sizeof cores, &cores);
    if (sched_getaffinity(0, sizeof cores, &cores) == 0) *(uint32_t *)count = (uint32_t)CPU_COUNT(&cores);
    return NULL;
}

uint32_t wait_core_count(void)
{
    uint32_t count = 0;
    pthread_t thread;
    if (pthread_create(&thread, NULL, cores_count, &count) == 0) pthread_join(thread, NULL);
    return count > 0 ? count : 1;
}

/*
 * Ranks that yield look busy to the scheduler, so while each core has as many they stay where they began, which is
 * anywhere. Who computes on a core still makes them go: they may run on all that they could run on before. Measured, 4
 * ranks on 2 cores, all-reduce of 2 KiB over TCP: 51 us side by side, 60 to 70 with the pairs 0, 3 and 1, 2, and 80 to
 * 90 with 0, 2 and 1, 3; by shared memory no difference.
 */
void wait_place(const struct weft_comm *comm)
{
    cpu_set_t allowed, one;
    if (config_get()->bind == BIND_NOT || sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;
    const uint32_t core_count = (uint32_t)CPU_COUNT(&allowed);
    if (comm->local_rank_count <= core_count) return;
    uint32_t before = 0;
    for (uint32_t rank = 0; rank < comm->identity.rank; rank++) before += control_same_host(comm->control, rank);
    uint32_t passed = (uint32_t)((uint64_t)before * core_count / comm->local_rank_count);
    int core = 0;
    while (!CPU_ISSET(core, &allowed) || passed-- > 0) core++;
    CPU_ZERO(&one);
    CPU_SET(core, &one);
    if (sched_setaffinity(0, sizeof one, &one) == 0) (void)sched_setaffinity(0, sizeof allowed, &allowed);
}

struct waiter waiter_of_caller(struct weft_comm *comm)
{
    return (struct waiter){.comm = comm, .spin_ns = comm->spin_ns, .yield_ns = CALLER_YIELD_NS};
}

struct waiter waiter_of_thread(struct weft_comm *comm)
{
    return (struct waiter){.comm = comm};
}

void waiter_busy(struct waiter *waiter)
{
    waiter->idle_since_ns = waiter->yielded_ns = 0;
}

bool waiter_idle(struct waiter *waiter, uint64_t now_ns)
{
    if (waiter->idle_since_ns == 0) waiter->idle_since_ns = now_ns;
    uint64_t idle_ns = now_ns - waiter->idle_since_ns;
    if (waiter->yielded_ns != 0 && now_ns - waiter->yielded_ns > LONG_YIELD_NS)
        waiter->comm->crowded_until_ns = now_ns + CROWDED_NS;
    waiter->yielded_ns = 0;
    if (idle_ns < waiter->spin_ns) {
        relax();
        return false;
    }
    if (idle_ns >= waiter->spin_ns + waiter->yield_ns || now_ns < waiter->comm->crowded_until_ns) return true;
    waiter->yielded_ns = now_ns;
    sched_yield();
    return false;
}

void waiter_sleep(const struct waiter *waiter, int wake)
{
    struct pollfd descriptors[3] = {
        {.fd = -1, .events = POLLIN},
        {.fd = control_wake_descriptor(waiter->comm->control), .events = POLLIN},
        {.fd = wake, .events = POLLIN},
    };
    weft_status armed = endpoint_arm(waiter->comm->endpoint, &descriptors[0].fd);
    if (armed == WEFT_AGAIN || (armed == WEFT_OK && engine_exchange_is_due(waiter->comm->engine))) return;
    /* A transport that cannot wake anybody is asked again after the shortest sleep there is. */
    poll(descriptors, 3, armed == WEFT_OK ? SLEEP_MS : 1);
}

void wait_for_completion(const _Atomic uint32_t *status, uint64_t spin_ns)
{
    uint64_t start_ns = clock_now_ns();
    while (clock_now_ns() - start_ns < spin_ns) {
        if (atomic_load_explicit(status, memory_order_acquire) != WEFT_IN_PROGRESS) return;
        relax();
    }
    while (atomic_load_explicit(status, memory_order_acquire) == WEFT_IN_PROGRESS)
        syscall(SYS_futex, status, FUTEX_WAIT_PRIVATE, WEFT_IN_PROGRESS, NULL, NULL, 0);
}

void wake_completion(_Atomic uint32_t *status)
{
    syscall(SYS_futex, status, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}
