/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses, and sockets on them. Nothing here blocks. */
#ifndef FABRIC_NETWORK_H
#define FABRIC_NETWORK_H

#include "bootstrap.h"

/* "10.0.0.1:29501", "[fd00::1]:29501". */
#define TCP_ADDRESS_TEXT_BYTES 56
void tcp_address_text(const struct tcp_address *address, char text[TCP_ADDRESS_TEXT_BYTES]);

/*
 * Which of this host's addresses the others shall use: WEFT_INTERFACE's, else that from which packets leave for
 * @p toward (AF_UNSPEC: for the default route, else any interface's), else the loopback's. The port is 0.
 * WEFT_INVALID_ARGUMENT: there is no such interface, or it has no such address.
 */
weft_status network_own_address(const struct tcp_address *toward, struct tcp_address *own,
                                struct diagnostic *diagnostic);

/*
 * Listen at @p at; port 0: one of WEFT_PORT_RANGE, else one that the kernel chooses; @p at then says which.
 * Non-blocking, close-on-exec. WEFT_AGAIN: the port is taken. WEFT_INVALID_ARGUMENT: it is no address of this host.
 */
weft_status network_listen(struct tcp_address *at, int *fd, struct diagnostic *diagnostic);

/* A socket on its way to @p address, or -1 with errno. */
int network_connect(const struct tcp_address *address);

/* For a socket that was accepted. */
void network_prepare(int fd);

/*
 * Who shares this can reach each other by Unix sockets: the running kernel, the network name space (which abstract
 * names belong to) and the user, or in their place @p given, which is WEFT_HOST_ID's value where NULL.
 */
void network_host(const char *given, uint8_t host[16]);
#endif
