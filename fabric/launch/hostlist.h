/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Slurm's lists of hosts: "node[01-03,7],gpu5" stands for node01 node02 node03 node7 gpu5; several brackets in one name
 * are combined, the last varying fastest. Format: the "hostlist expression" of scontrol(1) and slurm.conf(5).
 */
#ifndef FABRIC_LAUNCH_HOSTLIST_H
#define FABRIC_LAUNCH_HOSTLIST_H

#include <stddef.h>
#include <stdint.h>
#include <weft/types.h>

#include "base/diagnostic.h"

/*
 * Write host number @p index, counted from 0, of @p list. The whole list is checked, also what follows that host.
 * WEFT_INVALID_ARGUMENT, with a sentence and *host untouched: no such list, or fewer hosts. Pure. Thread: any.
 */
weft_status hostlist_host(const char *list, uint64_t index, char *host, size_t size, struct diagnostic *diagnostic);
#endif
