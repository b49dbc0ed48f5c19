/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of this folder share. */
#ifndef FABRIC_BOOTSTRAP_INTERNAL_H
#define FABRIC_BOOTSTRAP_INTERNAL_H

#include <sys/socket.h>
#include <sys/un.h>

#include "bootstrap.h"

#define BOOTSTRAP_RANKS_MAX (UINT32_C(1) << 20)
#define ID_DESCRIPTOR_VARIABLE "WEFT_ID_FD"

bool id_is_valid(const weft_unique_id *id);
/* The descriptor that WEFT_ID_FD names. False: none, or not a number. */
bool id_descriptor(int *fd);
bool id_read(int fd, weft_unique_id *id);

/* Where @p rank of the job listens. The one place that will tell addresses on other hosts apart. */
socklen_t rank_address(const struct identity *identity, uint32_t rank, struct sockaddr_un *address);
#endif
