/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How far apart are the processors that two ranks run on? A cache line each way at once, written and awaited by two
 * threads that stand in for the ranks: threads of one core share its caches, cores share less. Where a hypervisor
 * moves processors about, nothing but this tells, and only for the moment.
 */
#ifndef TOOLS_PING_H
#define TOOLS_PING_H

#include <weft/weft.h>

/*
 * Rank 0 measures, between its processor and the first that another rank is on, while the others wait; every rank gets
 * the same microseconds of one exchange. 0: there is only one processor, or threads cannot be bound to two. Collective.
 */
weft_status ping_measure(weft_comm *comm, double *exchange_us);
/* Between two processors of this machine, without ranks. */
double ping_between(int first_cpu, int second_cpu);
#endif
