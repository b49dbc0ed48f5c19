/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Slurm's lists of hosts: "node[01-03,7],gpu5" stands for node01 node02 node03 node7 gpu5; several brackets in one name
 * are combined, the last varying fastest. Format: the "hostlist expression" of scontrol(1) and slurm.conf(5).
 *
 * Pure. Thread: any. Errors: WEFT_INVALID_ARGUMENT with a sentence that quotes the list and counts the byte.
 */
#ifndef BASE_HOSTLIST_H
#define BASE_HOSTLIST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <weft/types.h>

#include "base/diagnostic.h"

enum {
    HOSTLIST_NAME_BYTES = 256, /* a name with its end: RFC 1035 allows 255 octets */
    HOSTLIST_GROUPS_MAX = 4    /* brackets in one name; Slurm itself knows as many as its machines have dimensions, 5 */
};

/* Check the whole list and count its hosts (a few bytes may stand for 10^18). *count is untouched on error. */
weft_status hostlist_count(const char *list, uint64_t *count, struct diagnostic *diagnostic);

/*
 * Write host number @p index, counted from 0, of @p list. The whole list is checked, also what follows that host.
 * *host is untouched on error: no such list, or fewer hosts, or @p size is too small.
 */
weft_status hostlist_host(const char *list, uint64_t index, char *host, size_t size, struct diagnostic *diagnostic);

/* All hosts of a list in order; each takes time proportional to its name, however long the list. */
struct hostlist_walk {
    const char *name; /* where the current name begins in the list; NULL before the first and after the last */
    const char *next; /* where the one after it does; NULL after the last */
    int group_count;
    struct hostlist_group {
        const char *begin, *end;      /* its "[", and behind its "]" */
        const char *behind;           /* behind the range that is walked */
        uint32_t number, high, width; /* the walked range goes on from number to high */
    } groups[HOSTLIST_GROUPS_MAX];
};
/* @p list has passed hostlist_count(), and outlives the walk. */
struct hostlist_walk hostlist_walk_begin(const char *list);
/* The next host; false, with *host untouched, after the last. */
bool hostlist_walk_next(struct hostlist_walk *walk, char host[HOSTLIST_NAME_BYTES]);
#endif
