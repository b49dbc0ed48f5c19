/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counts what one thread asks of the C library and of the kernel in a window: allocations, locks, system calls.
 *
 * Allocations and locks are those of the objects linked into the test, by the linker's --wrap (PATH_COUNTS_WRAPPED in
 * CMakeLists.txt). System calls are all of the thread's, whoever makes them: a seccomp filter turns each into a signal
 * whose handler counts it and makes it after all. The filter stays for the thread's life; other threads have none.
 */
#ifndef TESTS_PATH_COUNTS_H
#define TESTS_PATH_COUNTS_H

#include <stdbool.h>
#include <stdint.h>

enum { PATH_COUNTS_NUMBERS = 8 };

struct path_counts {
    uint64_t allocations, locks, system_calls;
    uint32_t numbers[PATH_COUNTS_NUMBERS]; /* of the first system calls */
};

/* False, with errno: this machine has no such filter. Once per thread, when it has started all its threads. */
bool path_counts_prepare(void);
/* Around a window; windows add up in *counts. */
void path_counts_begin(struct path_counts *counts);
void path_counts_end(void);
#endif
