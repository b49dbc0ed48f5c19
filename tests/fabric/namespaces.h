/* SPDX-License-Identifier: Apache-2.0 */
/* Hosts as network namespaces on one bridge: made by root, named after the process, removed by whoever made them. */
#ifndef TESTS_FABRIC_NAMESPACES_H
#define TESTS_FABRIC_NAMESPACES_H

#include <stdbool.h>
#include <stdint.h>

struct namespaces {
    char prefix[32];
    uint32_t hosts;
};

/* Run a command; true if it succeeded. */
__attribute__((format(printf, 1, 2))) bool command(const char *format, ...);
/* Host i is "<prefix>i" and has the address 10.@p net.0.(i + 1) on its interface "net". False: they could not be made.
 */
bool namespaces_make(struct namespaces *namespaces, uint32_t hosts, uint32_t net);
void namespaces_remove(const struct namespaces *namespaces);
/* From now on this process is on that host. */
bool namespaces_enter(const struct namespaces *namespaces, uint32_t host);
#endif
