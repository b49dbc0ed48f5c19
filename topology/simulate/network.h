/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Flows that share links, max-min fairly: no flow can get more without one that has no more getting less. That is what
 * fair queueing gives, and about what congestion control converges to (Bertsekas and Gallager, Data Networks, 1992).
 *
 * Rates are found by progressive filling, anew only for the flows that a change can reach. A link couples its flows
 * only when it could not carry all of them at the rate that the narrowest link of each allows; over others no change
 * spreads, which is exact and leaves most fabrics in small pieces.
 *
 * Rates and capacities are whole bytes per second, so that equal flows get equal rates on every machine, to the bit.
 *
 * Owner: network_create(), network_destroy(). Thread: one at a time. Out of memory: NULL or NETWORK_NONE.
 */
#ifndef TOPOLOGY_NETWORK_H
#define TOPOLOGY_NETWORK_H

#include <stdbool.h>
#include <stdint.h>

#define NETWORK_NONE UINT32_MAX

struct network;

/* Links 0 to link_count-1 of the given capacities, copied, from 1 to NETWORK_CAPACITY_MAX. Routes have at most hop_max
 * links. */
#define NETWORK_CAPACITY_MAX (UINT64_C(1) << 44)
struct network *network_create(const uint64_t *capacities, uint32_t link_count, uint32_t hop_max);
void network_destroy(struct network *network);

/*
 * A flow over @p count different links. It has no rate before network_settle(). Numbers of removed flows are used
 * again. A flow over no link at all has the rate NETWORK_UNBOUNDED.
 */
#define NETWORK_UNBOUNDED (UINT64_C(1) << 62)
uint32_t network_add(struct network *network, const uint32_t *links, uint32_t count);
void network_remove(struct network *network, uint32_t flow);

/* Bring the rates up to date. Returns how many flows have another rate than before; *changed lists them until the next
 * call. */
uint32_t network_settle(struct network *network, const uint32_t **changed);
/* How many flows settlings have looked at so far: what they cost, whatever the machine. */
uint64_t network_work(const struct network *network);
uint64_t network_rate(const struct network *network, uint32_t flow);
#endif
