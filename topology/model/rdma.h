/* SPDX-License-Identifier: Apache-2.0 */
/* Words and rules about RDMA devices that discovery, the choice of devices and people share. Pure. Thread: any. */
#ifndef TOPOLOGY_RDMA_H
#define TOPOLOGY_RDMA_H

#include <stdbool.h>

#include "base/diagnostic.h"
#include "topology/model/model.h"

enum { RDMA_GID_TEXT_BYTES = 46 }; /* INET6_ADDRSTRLEN */

/* "10.0.0.1" for an IPv4 address in its IPv6 form, else as an IPv6 address. */
void rdma_gid_format(const uint8_t gid[16], char text[RDMA_GID_TEXT_BYTES]);
bool rdma_gid_is_ipv4(const uint8_t gid[16]);
bool rdma_gid_is_link_local(const uint8_t gid[16]);

/*
 * Does @p filter let @p port of @p device pass? A filter is a list as "mlx5_0:1,mlx5_4": each element is the beginning
 * of a device's name, or all of it after "=", and may name one port after ":". A "^" before the list turns it round:
 * all but these. An empty filter lets everything pass. A filter that rdma_filter_check() refuses lets nothing pass.
 */
bool rdma_filter_allows(const char *filter, const char *device, uint32_t port);
/* WEFT_INVALID_ARGUMENT with a sentence that says which element is wrong. */
weft_status rdma_filter_check(const char *filter, struct diagnostic *diagnostic);
#endif
