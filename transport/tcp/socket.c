/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/log.h"
#include "transport/tcp/tcp_internal.h"

weft_status tcp_status_of_errno(int error)
{
    switch (error) {
    case ENOMEM:
        return WEFT_OUT_OF_MEMORY;
    case EMFILE:
    case ENFILE:
    case ENOSPC: /* epoll watches */
    case ENOBUFS:
        return WEFT_RESOURCE_LIMIT;
    default:
        return WEFT_SYSTEM_ERROR;
    }
}

static bool set(int fd, int level, int option, int value)
{
    return setsockopt(fd, level, option, &value, sizeof value) == 0;
}

/*
 * The kernel probes an idle connection. TCP_USER_TIMEOUT, which would cover one with bytes on their way too, is not
 * used: it also ends connections whose peer's kernel answers every probe, but whose user does not read for that long
 * (it computes). tcp_socket_silent() sees to those.
 */
static bool set_keepalive(int fd, uint64_t keepalive_ns)
{
    enum { PROBES = 3, MOST_S = 32767 };
    uint64_t interval_s = keepalive_ns / NS_PER_S / (PROBES + 1);

    if (interval_s < 1) interval_s = 1;
    if (interval_s > MOST_S) interval_s = MOST_S;
    return set(fd, SOL_SOCKET, SO_KEEPALIVE, 1) && set(fd, IPPROTO_TCP, TCP_KEEPIDLE, (int)interval_s) &&
           set(fd, IPPROTO_TCP, TCP_KEEPINTVL, (int)interval_s) && set(fd, IPPROTO_TCP, TCP_KEEPCNT, PROBES);
}

weft_status tcp_socket_prepare(int fd, const struct tcp_config *config)
{
    int type, domain;
    socklen_t type_size = sizeof type, domain_size = sizeof domain;

    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &type_size) < 0 || type != SOCK_STREAM ||
        getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &domain_size) < 0)
        return WEFT_UNSUPPORTED;

    const int buffer = config->socket_buffer_bytes > INT32_MAX ? INT32_MAX : (int)config->socket_buffer_bytes;
    bool done = !buffer || (set(fd, SOL_SOCKET, SO_SNDBUF, buffer) && set(fd, SOL_SOCKET, SO_RCVBUF, buffer));
    if (domain == AF_INET || domain == AF_INET6) {
        done &= set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
        if (config->keepalive_ns) done &= set_keepalive(fd, config->keepalive_ns);
    }
    return done ? WEFT_OK : tcp_status_of_errno(errno);
}

static bool address_is_same(const struct sockaddr_storage *one, const struct sockaddr_storage *other)
{
    if (one->ss_family != other->ss_family) return false;
    if (one->ss_family == AF_INET)
        return ((const struct sockaddr_in *)(const void *)one)->sin_addr.s_addr ==
               ((const struct sockaddr_in *)(const void *)other)->sin_addr.s_addr;
    if (one->ss_family != AF_INET6) return false;
    return memcmp(&((const struct sockaddr_in6 *)(const void *)one)->sin6_addr,
                  &((const struct sockaddr_in6 *)(const void *)other)->sin6_addr, sizeof(struct in6_addr)) == 0;
}

bool tcp_socket_is_local(int fd)
{
    struct sockaddr_storage own, peer;
    socklen_t own_size = sizeof own, peer_size = sizeof peer;

    return getsockname(fd, (struct sockaddr *)&own, &own_size) == 0 &&
           getpeername(fd, (struct sockaddr *)&peer, &peer_size) == 0 && address_is_same(&own, &peer);
}

bool tcp_socket_silent(int fd, uint64_t keepalive_ns)
{
    struct tcp_info info;
    socklen_t size = sizeof info;

    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) < 0) return false;
    /* Both counts go back to 0 with any answer. The time alone would not do: probes of a closed window grow rare. */
    return info.tcpi_retransmits + info.tcpi_probes > 0 && info.tcpi_last_ack_recv * NS_PER_MS >= keepalive_ns;
}

bool tcp_socket_finished(int fd)
{
    enum { READS = 64 };
    char discarded[16384];
    int unacknowledged;

    for (int i = 0; i < READS; i++) {
        const ssize_t received = recv(fd, discarded, sizeof discarded, MSG_DONTWAIT);
        if (received == 0 || (received < 0 && errno != EAGAIN && errno != EINTR)) return true;
        if (received < 0) break;
    }
    /* Our own end counts as one byte, and no frame is as short. */
    return ioctl(fd, SIOCOUTQ, &unacknowledged) < 0 || unacknowledged <= 1;
}
