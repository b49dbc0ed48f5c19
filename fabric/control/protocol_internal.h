/* SPDX-License-Identifier: Apache-2.0 */
/* What protocol.c (joining, liveness, failures) and comparison.c (signatures) share. */
#ifndef FABRIC_CONTROL_PROTOCOL_INTERNAL_H
#define FABRIC_CONTROL_PROTOCOL_INTERNAL_H

#include "protocol.h"

/* While signatures wait for our own: how often to look whether it has been posted. */
#define PENDING_INTERVAL_NS (10 * NS_PER_MS)

bool neighbour_listens(const struct neighbour *neighbour);
/* If it listens. */
void protocol_send(struct protocol *protocol, uint32_t neighbour, const struct message *message);
void send_to_all(struct protocol *protocol, const struct message *message, int32_t except);
/* A failure noticed here, with this rank as reporter and its latest operation. The caller fills in the rest. */
void failure_begin(const struct protocol *protocol, weft_status status, int32_t rank, weft_failure *failure);

void comparison_receive(struct protocol *protocol, uint32_t neighbour, const struct signature *signature);
void comparison_goodbye(struct protocol *protocol, uint32_t neighbour);
void comparison_tick(struct protocol *protocol);
bool comparison_is_pending(const struct protocol *protocol);
#endif
