/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copying from and to the memory of another process: process_vm_readv(2) and process_vm_writev(2), "cross memory
 * attach". The kernel allows it to whom it would allow to attach a debugger. Nothing tells whether it does but trying:
 * while connecting each side tries it on two words of the other, and says how it went.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "transport/shm/shm_internal.h"

#ifndef PR_SET_PTRACER
#define PR_SET_PTRACER 0x59616d61
#define PR_SET_PTRACER_ANY ((unsigned long)-1)
#endif

/*
 * What peers try on. It belongs to the process, not to a connection, so that one that tries late, after the connection
 * has been given up, hits nothing else. `nonce` shows that they have found this process; nobody reads `landing`.
 */
static struct {
    uint64_t nonce, landing;
    pid_t process;
} probe;
static pthread_mutex_t probe_lock = PTHREAD_MUTEX_INITIALIZER;

void shm_probe_describe(uint64_t *address, uint64_t *nonce)
{
    pthread_mutex_lock(&probe_lock);
    if (probe.process != getpid()) { /* a forked child is another process */
        if (getrandom(&probe.nonce, sizeof probe.nonce, GRND_NONBLOCK) != (ssize_t)sizeof probe.nonce)
            probe.nonce = clock_now_ns() ^ (uint64_t)getpid() << 40;
        probe.process = getpid();
    }
    *address = (uintptr_t)&probe;
    *nonce = probe.nonce;
    pthread_mutex_unlock(&probe_lock);
}

typedef ssize_t vm_copy(pid_t, const struct iovec *, unsigned long, const struct iovec *, unsigned long, unsigned long);

/* Returns 0 or an errno. What is large is copied in parts, by the kernel's own limit. */
static int attach_copy(vm_copy *copy, pid_t process, uint64_t address, void *own, size_t bytes)
{
    for (size_t done = 0; done < bytes;) {
        const struct iovec here = {(uint8_t *)own + done, bytes - done};
        const struct iovec there = {(void *)(uintptr_t)(address + done), bytes - done};
        const ssize_t copied = copy(process, &here, 1, &there, 1, 0);
        if (copied <= 0) return copied < 0 ? errno : EFAULT;
        done += (size_t)copied;
    }
    return 0;
}

/* For the log: what is in the way, in words that help. */
static const char *obstacle_of_errno(int error)
{
    char scope = '0';

    if (error == ENOSYS) return "the kernel or a seccomp filter does not know process_vm_readv";
    if (error == ESRCH) return "it is in another pid namespace";
    if (error != EPERM) return strerror(error);
    FILE *file = fopen("/proc/sys/kernel/yama/ptrace_scope", "re");
    if (file) {
        if (fread(&scope, 1, 1, file) != 1) scope = '0';
        fclose(file);
    }
    if (scope == '1') return "kernel.yama.ptrace_scope is 1: WEFT_SHM_ATTACH=permit lifts it for ranks";
    if (scope != '0') return "kernel.yama.ptrace_scope forbids it";
    return "not permitted: another user namespace, a seccomp filter, or a process that cannot be dumped";
}

enum shm_reach shm_probe_try(const struct shm_connection *connection, const struct shm_header *header)
{
    const struct shm_endpoint *endpoint = shm_endpoint_of(connection->base.endpoint);
    const pid_t process = connection->peer_process;
    const uint64_t landing = header->probe_address + sizeof(uint64_t);
    uint64_t nonce = 0;

    /* The kernel vouches for the number, and it counts in our namespace: so this is us. */
    if (process == getpid() && !endpoint->config.apart) return SHM_REACH_DIRECTLY;
    if (endpoint->config.attach == SHM_ATTACH_OFF || header->probe_address == 0) return SHM_REACH_NOT;
    int error =
        process > 0 ? attach_copy(process_vm_readv, process, header->probe_address, &nonce, sizeof nonce) : ESRCH;
    if (!error && nonce != header->probe_nonce) error = ESRCH;
    if (!error) error = attach_copy(process_vm_writev, process, landing, &nonce, sizeof nonce);
    if (!error) return SHM_REACH_COPYING;
    log_info("shm rank %u cannot copy from memory of peer %u reason \"%s\"", connection->base.endpoint->rank,
             connection->base.peer, obstacle_of_errno(error));
    return SHM_REACH_NOT;
}

void shm_attach_permit(void)
{
    /* To anyone whom the other rules let: Yama knows one exception for each process, and there are many peers. */
    if (prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0) < 0)
        log_debug("shm no exception from yama reason \"%s\"", strerror(errno)); /* EINVAL: there is no Yama */
}

/*
 * The number of a process that has died and was waited for may become another's, but the kernel goes through all the
 * others first. In this time nobody can begin and end so many processes.
 */
#define NUMBER_HOLDS_NS NS_PER_MS

/* A pidfd, unlike a number, stays with its process. Without one, the end of the socket has to do. */
static bool peer_is_gone(struct shm_connection *connection)
{
    struct pollfd peer = {.fd = connection->process, .events = POLLIN};

    if (connection->gone || connection->process < 0) return connection->gone;
    const uint64_t now_ns = clock_now_ns();
    if (now_ns - connection->process_seen_ns < NUMBER_HOLDS_NS) return false;
    if (poll(&peer, 1, 0) == 1) return true;
    connection->process_seen_ns = now_ns; /* from before the question */
    return false;
}

static weft_status status_of_copy(int error)
{
    switch (error) {
    case 0:
        return WEFT_OK;
    case EFAULT: /* where the peer said that its buffer is there is none */
        return WEFT_PROTOCOL_ERROR;
    case ESRCH:
        return WEFT_PEER_FAILED;
    case EPERM: /* it has given up the rights by which we could, since the probe */
    case ENOSYS:
        return WEFT_UNSUPPORTED;
    default:
        return shm_status_of_errno(error);
    }
}

/* Asked afterwards: if the peer lived when it was seen, its number was its own until now, and the bytes are its. */
weft_status shm_attach_read(struct shm_connection *connection, uint64_t address, void *to, size_t bytes)
{
    const int error = attach_copy(process_vm_readv, connection->peer_process, address, to, bytes);

    return peer_is_gone(connection) ? WEFT_PEER_FAILED : status_of_copy(error);
}

/*
 * Asked before: what has been written cannot be taken back. If this thread is then kept from the processor until the
 * peer has died and its number has come round to another process of this user, that one is written to.
 */
weft_status shm_attach_write(struct shm_connection *connection, uint64_t address, const void *from, size_t bytes)
{
    if (peer_is_gone(connection)) return WEFT_PEER_FAILED;
    return status_of_copy(
        attach_copy(process_vm_writev, connection->peer_process, address, (void *)(uintptr_t)from, bytes));
}
