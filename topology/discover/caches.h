/* SPDX-License-Identifier: Apache-2.0 */
/* How much the last-level caches of this machine hold: a few small files, where loading hwloc takes milliseconds. */
#ifndef TOPOLOGY_DISCOVER_CACHES_H
#define TOPOLOGY_DISCOVER_CACHES_H

#include <stdint.h>

/*
 * Bytes of the last-level caches that @p rank_count ranks have between them, spread evenly over @p processor_count
 * processors (as weft_local_run() and the kernel's scheduler spread them): that of processor @p processor, which the
 * others are taken to be like, as often as ranks reach one. 0: not known, or not to be believed, which happens in
 * virtual machines. @p sysfs is where /sys is mounted.
 *
 * Thread: any.
 * Source: Documentation/ABI/testing/sysfs-devices-system-cpu of Linux, cache/index*.
 */
uint64_t last_cache_bytes(const char *sysfs, uint32_t processor, uint32_t processor_count, uint32_t rank_count);
#endif
