/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/transport/tcp_sockets.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool listener_open(struct tcp_sockets *sockets, uint32_t rank, int family)
{
    struct sockaddr_storage *address = &sockets->addresses[rank];
    socklen_t size = sizeof *address;
    const int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    sockets->ranks[rank].listener = fd;
    if (fd < 0) return false;
    memset(address, 0, sizeof *address);
    if (family == AF_INET6) {
        *(struct sockaddr_in6 *)address = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_addr = in6addr_loopback};
    } else {
        *(struct sockaddr_in *)address =
            (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    }
    if (sockets->buffer_bytes) {
        (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &sockets->buffer_bytes, sizeof sockets->buffer_bytes);
    }
    return bind(fd, (struct sockaddr *)address, sizeof *address) == 0 && listen(fd, 128) == 0 &&
           getsockname(fd, (struct sockaddr *)address, &size) == 0;
}

bool tcp_sockets_open(struct tcp_sockets *sockets, uint32_t rank_count, int family)
{
    bool done = true;

    sockets->rank_count = rank_count;
    for (uint32_t rank = 0; rank < rank_count; rank++) {
        sockets->ranks[rank] = (struct tcp_sockets_rank){.sockets = sockets, .rank = rank, .listener = -1};
        done = done && listener_open(sockets, rank, family);
    }
    if (!done) tcp_sockets_close(sockets);
    return done;
}

static void rank_close(struct tcp_sockets_rank *rank)
{
    if (rank->listener >= 0) close(rank->listener);
    rank->listener = -1;
    for (uint32_t peer = 0; peer < TCP_SOCKETS_MAX_RANKS; peer++) {
        while (rank->waiting_count[peer] > 0) close(rank->waiting[peer][--rank->waiting_count[peer]]);
    }
}

void tcp_sockets_keep(struct tcp_sockets *sockets, uint32_t rank)
{
    for (uint32_t other = 0; other < sockets->rank_count; other++) {
        if (other != rank) rank_close(&sockets->ranks[other]);
    }
}

void tcp_sockets_close(struct tcp_sockets *sockets)
{
    tcp_sockets_keep(sockets, TCP_SOCKETS_MAX_RANKS);
}

int tcp_sockets_dial(struct tcp_sockets *sockets, uint32_t as, uint32_t rank)
{
    const struct sockaddr_storage *address = &sockets->addresses[rank];
    const int fd = socket(address->ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || connect(fd, (const struct sockaddr *)address, sizeof *address) < 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int)) < 0 ||
        send(fd, &as, sizeof as, MSG_NOSIGNAL) != sizeof as || fcntl(fd, F_SETFL, O_NONBLOCK) < 0) {
        if (fd >= 0) close(fd);
        return -1;
    }
    return fd;
}

/* Sort what has come by who came: its first word says so. */
static void accept_all(struct tcp_sockets_rank *self)
{
    int fd;

    while ((fd = accept4(self->listener, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
        uint32_t peer;
        if (recv(fd, &peer, sizeof peer, MSG_WAITALL) != sizeof peer || peer >= TCP_SOCKETS_MAX_RANKS ||
            self->waiting_count[peer] == TCP_SOCKETS_MAX_WAITING || fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
            close(fd);
        else
            self->waiting[peer][self->waiting_count[peer]++] = fd;
    }
}

static weft_status give(struct tcp_sockets_rank *self, int fd)
{
    if (self->given_count == sizeof self->given / sizeof self->given[0]) abort();
    self->given[self->given_count++] = fd;
    return WEFT_OK;
}

void tcp_sockets_kill(struct tcp_sockets *sockets, uint32_t rank)
{
    const struct tcp_sockets_rank *self = &sockets->ranks[rank];

    for (uint32_t i = 0; i < self->given_count; i++) (void)shutdown(self->given[i], SHUT_RDWR);
}

static weft_status sockets_reach(void *context, uint32_t peer, int *fd)
{
    struct tcp_sockets_rank *self = context;
    int *waiting = self->waiting[peer];

    if (self->rank < peer) {
        *fd = tcp_sockets_dial(self->sockets, self->rank, peer);
        return *fd < 0 ? WEFT_PEER_FAILED : give(self, *fd);
    }
    accept_all(self);
    if (self->waiting_count[peer] == 0) return WEFT_IN_PROGRESS;
    const uint32_t left = --self->waiting_count[peer];
    if (self->sockets->newest_first) {
        *fd = waiting[left];
    } else {
        *fd = waiting[0];
        memmove(waiting, waiting + 1, left * sizeof *waiting);
    }
    return give(self, *fd);
}

struct rendezvous tcp_sockets_rendezvous(struct tcp_sockets *sockets, uint32_t rank)
{
    return (struct rendezvous){sockets_reach, &sockets->ranks[rank]};
}
