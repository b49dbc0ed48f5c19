/* SPDX-License-Identifier: Apache-2.0 */
/* A rendezvous for tests: real TCP connections among ranks of this host, which may be threads or forked processes. */
#ifndef TESTS_TRANSPORT_TCP_SOCKETS_H
#define TESTS_TRANSPORT_TCP_SOCKETS_H

#include <sys/socket.h>

#include "transport/core/transport.h"

#define TCP_SOCKETS_MAX_RANKS 8
#define TCP_SOCKETS_MAX_WAITING 64

/* One rank's; no other rank touches it once it runs. */
struct tcp_sockets_rank {
    struct tcp_sockets *sockets;
    uint32_t rank;
    int listener;
    uint32_t waiting_count[TCP_SOCKETS_MAX_RANKS];
    int waiting[TCP_SOCKETS_MAX_RANKS][TCP_SOCKETS_MAX_WAITING];
    uint32_t given_count; /* handed out by reach() */
    int given[TCP_SOCKETS_MAX_RANKS * TCP_SOCKETS_MAX_WAITING];
};

struct tcp_sockets {
    uint32_t rank_count;
    bool newest_first; /* hand out accepted sockets in the wrong order */
    int buffer_bytes;  /* SO_RCVBUF of the listeners, so that windows are small from the start; 0: leave it */
    struct sockaddr_storage addresses[TCP_SOCKETS_MAX_RANKS];
    struct tcp_sockets_rank ranks[TCP_SOCKETS_MAX_RANKS];
};

/* Listen for all ranks, on 127.0.0.1 or ::1. False: this host has no such address. */
bool tcp_sockets_open(struct tcp_sockets *sockets, uint32_t rank_count, int family);
/* In a forked rank: close what belongs to the others. */
void tcp_sockets_keep(struct tcp_sockets *sockets, uint32_t rank);
void tcp_sockets_close(struct tcp_sockets *sockets);

struct rendezvous tcp_sockets_rendezvous(struct tcp_sockets *sockets, uint32_t rank);

/* End all that a rank was given, as its death would. It must not have closed any. */
void tcp_sockets_kill(struct tcp_sockets *sockets, uint32_t rank);

/* A socket connected to @p rank, who will take it for one of @p as. For peers that the test plays itself. */
int tcp_sockets_dial(struct tcp_sockets *sockets, uint32_t as, uint32_t rank);
#endif
